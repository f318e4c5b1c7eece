//! A role's credentials from AWS STS, or from a server that speaks like it.
//!
//! Not reqsign's own: that one knows no other endpoint than AWS's, and refuses the role names and the
//! key lengths of MinIO and Ceph.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use percent_encoding::utf8_percent_encode;
use reqsign_aws_core::Credential;
use reqsign_aws_core::constants::AWS_QUERY_ENCODE_SET;
use reqsign_aws_v4::RequestSigner;
use reqsign_core::hash::hex_sha256;
use reqsign_core::{Context, HttpSend, SignRequest};
use serde::Deserialize;

use super::world::{Sender, Snapshot, dns_suffix, tell};

#[derive(Clone, Default)]
pub struct Role {
    pub arn: String,
    pub session_name: Option<String>,
    pub external_id: Option<String>,
    pub duration_seconds: Option<String>,
    pub region: Option<String>,
}

/// What shows STS that the role may be assumed.
pub enum Proof<'a> {
    Keys(&'a Credential),
    Token(&'a str),
}

pub async fn assume(
    snapshot: &Snapshot,
    sender: &Sender,
    role: &Role,
    proof: Proof<'_>,
) -> Result<Credential, String> {
    let region = role.region.as_deref().filter(|region| !region.is_empty());
    let endpoint = match (snapshot.service_endpoint("STS"), region) {
        (Some(endpoint), _) => endpoint.to_owned(),
        (None, Some(region)) => format!("https://sts.{region}.{}", dns_suffix(region)),
        (None, None) => "https://sts.amazonaws.com".to_owned(),
    };
    let body = form(snapshot, role, &proof);
    let (mut parts, body) = http::Request::post(format!("{endpoint}/"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("x-amz-content-sha256", hex_sha256(body.as_bytes()))
        .body(Bytes::from(body))
        .map_err(|_| format!("{endpoint:?} is not a usable STS endpoint"))?
        .into_parts();
    if let Proof::Keys(credential) = proof {
        RequestSigner::new("sts", region.unwrap_or("us-east-1"))
            .sign_request(&Context::new(), &mut parts, Some(credential), None)
            .await
            .map_err(|error| tell(&error))?;
    }
    let answer = sender
        .http_send(http::Request::from_parts(parts, body))
        .await
        .map_err(|error| format!("role {}: {}", role.arn, tell(&error)))?;
    let text = String::from_utf8_lossy(answer.body());
    if !answer.status().is_success() {
        let said = quick_xml::de::from_str::<Refusal>(&text)
            .map(|refusal| format!(": {}: {}", refusal.error.code, refusal.error.message))
            .unwrap_or_default();
        let said = match proof {
            // Nothing stops a server from quoting the token that it refuses.
            Proof::Token(token) => said.replace(token, "…"),
            Proof::Keys(_) => said,
        };
        return Err(format!(
            "STS refused role {} with status {}{said}",
            role.arn,
            answer.status().as_u16()
        ));
    }
    quick_xml::de::from_str::<Answer>(&text)
        .ok()
        .and_then(|answer| {
            let keys = answer.result.credentials;
            Some(Credential {
                expires_in: Some(keys.expiration.parse().ok()?),
                access_key_id: keys.access_key_id,
                secret_access_key: keys.secret_access_key,
                session_token: Some(keys.session_token),
            })
        })
        .ok_or_else(|| format!("the answer of STS for role {} cannot be read", role.arn))
}

fn form(snapshot: &Snapshot, role: &Role, proof: &Proof<'_>) -> String {
    let session_name = role
        .session_name
        .as_deref()
        .or_else(|| snapshot.get("AWS_ROLE_SESSION_NAME"))
        .unwrap_or("s3dlio");
    let (action, token) = match proof {
        Proof::Keys(_) => ("AssumeRole", None),
        Proof::Token(token) => ("AssumeRoleWithWebIdentity", Some(*token)),
    };
    let fields = [
        ("Action", Some(action)),
        ("Version", Some("2011-06-15")),
        ("RoleArn", Some(role.arn.as_str())),
        ("RoleSessionName", Some(session_name)),
        ("ExternalId", role.external_id.as_deref()),
        ("DurationSeconds", role.duration_seconds.as_deref()),
        ("WebIdentityToken", token),
    ];
    let fields: Vec<String> = fields
        .into_iter()
        .filter_map(|(name, value)| {
            let value = utf8_percent_encode(value?, &AWS_QUERY_ENCODE_SET);
            Some(format!("{name}={value}"))
        })
        .collect();
    fields.join("&")
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "AssumeRoleResult", alias = "AssumeRoleWithWebIdentityResult")]
    result: Granted,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Granted {
    credentials: GrantedKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GrantedKeys {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    error: RefusalReason,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RefusalReason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}
