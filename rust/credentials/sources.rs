//! The chain: where credentials may be, in the order in which they are looked for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqsign_aws_core::{Credential, ECSCredentialProvider, IMDSv2CredentialProvider};
use reqsign_core::ProvideCredential;
use reqsign_core::time::Timestamp;

use super::sts::{Proof, Role, assume};
use super::world::{Sender, Snapshot, direct_client, read, tell};
use super::{CredentialOptions, Keys};
use crate::failure::{Failure, Kind, Result};

pub const PROCESS_LIMIT: Duration = Duration::from_secs(60);
const INSTANCE_LIMIT: Duration = Duration::from_secs(2);
const HINT: &str = "give access_key_id and secret_access_key or a profile, set AWS_ACCESS_KEY_ID and \
                    AWS_SECRET_ACCESS_KEY, or say anonymous=True for public data";

/// Why a source gave nothing.
pub enum Miss {
    /// It is not set up; the next one is asked.
    Absent(String),
    /// It is set up and does not work; the search ends.
    Broken(String),
}

impl Miss {
    pub fn why(self) -> String {
        match self {
            Miss::Absent(why) | Miss::Broken(why) => why,
        }
    }
}

pub type Found = std::result::Result<Credential, Miss>;

pub struct Search {
    pub options: CredentialOptions,
    pub snapshot: Snapshot,
    /// To STS and SSO.
    pub sender: Sender,
    direct: OnceLock<std::result::Result<reqwest::Client, String>>,
}

#[derive(Clone, Copy)]
enum Step {
    Environment,
    Profile,
    WebIdentity,
    Container,
    Instance,
}

impl Search {
    pub fn new(mut options: CredentialOptions, client: reqwest::Client) -> Self {
        let snapshot = Snapshot {
            variables: Arc::new(std::mem::take(&mut options.environment)),
            home: options.home.clone(),
        };
        Search {
            options,
            snapshot,
            sender: Sender {
                client,
                limit: Duration::from_secs(5),
                tries: 3,
            },
            direct: OnceLock::new(),
        }
    }

    /// Credentials, and the name of the source that gave them.
    pub async fn find(&self) -> Result<(Credential, String)> {
        let (credential, source) = self.base().await?;
        let Some(arn) = self.options.role_arn.clone().filter(|arn| !arn.is_empty()) else {
            return Ok((credential, source));
        };
        let role = Role {
            arn,
            region: self.region(),
            ..Role::default()
        };
        let source = format!("role {} through {source}", role.arn);
        let credential = assume(
            &self.snapshot,
            &self.sender,
            &role,
            Proof::Keys(&credential),
        )
        .await
        .map_err(|why| broken(&source, &why))?;
        Ok((alive(credential, &source)?, source))
    }

    async fn base(&self) -> Result<(Credential, String)> {
        use Step::{Container, Environment, Instance, Profile, WebIdentity};

        let options = &self.options;
        if let (Some(id), Some(secret)) = (&options.access_key_id, &options.secret_access_key)
            && !id.is_empty()
        {
            let credential = Credential {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                session_token: options
                    .session_token
                    .clone()
                    .filter(|token| !token.is_empty()),
                expires_in: None,
            };
            return Ok((credential, "explicit keys".to_owned()));
        }
        if let Some(source) = &options.source {
            let name = source.name();
            let credential = match source.fetch().await {
                Ok(keys) => from_keys(keys),
                Err(why) => Err(why),
            };
            let credential = credential.map_err(|why| broken(&name, &why))?;
            return Ok((alive(credential, &name)?, name));
        }
        let order = match options.profile {
            Some(_) => [Profile, Environment, WebIdentity, Container, Instance],
            None => [Environment, Profile, WebIdentity, Container, Instance],
        };
        let mut tried = Vec::new();
        for step in order {
            let name = match step {
                Environment => "environment".to_owned(),
                Profile => format!("profile '{}'", self.profile_name().0),
                WebIdentity => "web identity".to_owned(),
                Container => "container".to_owned(),
                Instance => "instance metadata".to_owned(),
            };
            let found = match step {
                Environment => self.environment(),
                Profile => self.profile().await,
                WebIdentity => self.web_identity().await,
                Container => self.container().await,
                Instance => self.instance().await,
            };
            match found {
                Ok(credential) => return Ok((alive(credential, &name)?, name)),
                Err(Miss::Absent(why)) => tried.push(format!("{name}: {why}")),
                Err(Miss::Broken(why)) => return Err(broken(&name, &why)),
            }
        }
        let detail = format!("no credentials found: {}", tried.join("; "));
        Err(Failure::new(Kind::Authentication, detail).hint(HINT))
    }

    pub fn environment(&self) -> Found {
        let get = |name: &str| self.snapshot.get(name).map(str::to_owned);
        let (id, secret) = match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => (id, secret),
            (None, None) => return Err(Miss::Absent("AWS_ACCESS_KEY_ID is not set".into())),
            (Some(_), None) => {
                return Err(Miss::Broken(
                    "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not".into(),
                ));
            }
            (None, Some(_)) => {
                return Err(Miss::Broken(
                    "AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not".into(),
                ));
            }
        };
        let expires_in = match get("AWS_CREDENTIAL_EXPIRATION") {
            None => None,
            Some(when) => Some(when.parse().map_err(|_| {
                Miss::Broken(format!(
                    "AWS_CREDENTIAL_EXPIRATION is {when:?}, which is no time"
                ))
            })?),
        };
        Ok(Credential {
            access_key_id: id,
            secret_access_key: secret,
            session_token: get("AWS_SESSION_TOKEN").or_else(|| get("AWS_SECURITY_TOKEN")),
            expires_in,
        })
    }

    async fn web_identity(&self) -> Found {
        let Some(file) = self.snapshot.get("AWS_WEB_IDENTITY_TOKEN_FILE") else {
            return Err(Miss::Absent(
                "AWS_WEB_IDENTITY_TOKEN_FILE is not set".into(),
            ));
        };
        let Some(arn) = self.snapshot.get("AWS_ROLE_ARN") else {
            return Err(Miss::Broken(
                "AWS_WEB_IDENTITY_TOKEN_FILE is set but AWS_ROLE_ARN is not".into(),
            ));
        };
        let role = Role {
            arn: arn.to_owned(),
            region: self.region(),
            ..Role::default()
        };
        self.web_identity_role(&role, file)
            .await
            .map_err(Miss::Broken)
    }

    pub async fn web_identity_role(
        &self,
        role: &Role,
        file: &str,
    ) -> std::result::Result<Credential, String> {
        let token = read(file.into())
            .await?
            .ok_or_else(|| format!("the token file {file} does not exist"))?;
        let token = String::from_utf8_lossy(&token);
        match token.trim() {
            "" => Err(format!("the token file {file} is empty")),
            token => assume(&self.snapshot, &self.sender, role, Proof::Token(token)).await,
        }
    }

    /// ECS tasks and EKS pods (AWS SDKs Reference Guide, "Container credential provider").
    pub async fn container(&self) -> Found {
        let relative = self.snapshot.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let full = self.snapshot.get("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let address = match (relative, full) {
            (Some(path), _) => format!("http://169.254.170.2{path}"),
            (None, Some(address)) if may_carry_keys(address) => address.to_owned(),
            (None, Some(_)) => {
                return Err(Miss::Broken(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http to this machine or \
                     to the container agent"
                        .into(),
                ));
            }
            (None, None) => return Err(Miss::Absent("not configured".into())),
        };
        let client = match address.starts_with("https://") {
            true => self.sender.client.clone(),
            false => self.direct().map_err(Miss::Broken)?,
        };
        let sender = Sender {
            client,
            limit: Duration::from_secs(2),
            tries: 2,
        };
        let mut provider = ECSCredentialProvider::new().with_endpoint(address);
        if let Some(file) = self.snapshot.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            provider = provider.with_auth_token_file(file);
        }
        match provider
            .provide_credential(&sender.context(&self.snapshot))
            .await
        {
            Ok(Some(credential)) => Ok(credential),
            Ok(None) => Err(Miss::Broken("it gave nothing".into())),
            Err(error) => Err(Miss::Broken(tell(&error))),
        }
    }

    /// EC2's instance metadata service, version 2. Its silence is what every other machine hears.
    pub async fn instance(&self) -> Found {
        let is = |name: &str, value: &str| {
            self.snapshot
                .get(name)
                .is_some_and(|set| set.eq_ignore_ascii_case(value))
        };
        if is("AWS_EC2_METADATA_DISABLED", "true") {
            return Err(Miss::Absent(
                "switched off by AWS_EC2_METADATA_DISABLED".into(),
            ));
        }
        let endpoint = match self.snapshot.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            Some(endpoint) => endpoint.trim_end_matches('/'),
            None if is("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6") => {
                "http://[fd00:ec2::254]"
            }
            None => "http://169.254.169.254",
        };
        let sender = Sender {
            client: self.direct().map_err(Miss::Broken)?,
            limit: INSTANCE_LIMIT / 2,
            tries: 1,
        };
        let provider = IMDSv2CredentialProvider::new().with_endpoint(endpoint);
        let context = sender.context(&self.snapshot);
        let answer = tokio::time::timeout(INSTANCE_LIMIT, provider.provide_credential(&context));
        match answer.await {
            Ok(Ok(Some(credential))) => Ok(credential),
            Ok(Ok(None)) => Err(Miss::Absent("it gave nothing".into())),
            Ok(Err(error)) => Err(Miss::Absent(tell(&error))),
            Err(_) => Err(Miss::Absent(format!(
                "no answer within {} s",
                INSTANCE_LIMIT.as_secs()
            ))),
        }
    }

    pub fn region(&self) -> Option<String> {
        Some(self.options.region.clone()).filter(|region| !region.is_empty())
    }

    fn direct(&self) -> std::result::Result<reqwest::Client, String> {
        self.direct.get_or_init(direct_client).clone()
    }
}

/// Plain HTTP is for this machine and for the agents of ECS and EKS only.
fn may_carry_keys(address: &str) -> bool {
    let Ok(uri) = address.parse::<http::Uri>() else {
        return false;
    };
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => {
            let bare = host.trim_matches(['[', ']']);
            let loopback = bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
            loopback
                || matches!(
                    bare,
                    "localhost" | "169.254.170.2" | "169.254.170.23" | "fd00:ec2::23"
                )
        }
        _ => false,
    }
}

fn from_keys(keys: Keys) -> std::result::Result<Credential, String> {
    if keys.access_key_id.is_empty() || keys.secret_access_key.is_empty() {
        return Err("it gave an empty access_key_id or secret_access_key".to_owned());
    }
    let expires_in = match keys.expires_at {
        None => None,
        Some(seconds) if seconds.is_finite() => Some(
            Timestamp::from_millisecond((seconds * 1000.0) as i64)
                .map_err(|_| format!("its expires_at is no time: {seconds}"))?,
        ),
        Some(seconds) => return Err(format!("its expires_at is no time: {seconds}")),
    };
    Ok(Credential {
        access_key_id: keys.access_key_id,
        secret_access_key: keys.secret_access_key,
        session_token: keys.session_token.filter(|token| !token.is_empty()),
        expires_in,
    })
}

fn alive(credential: Credential, source: &str) -> Result<Credential> {
    match credential.expires_in {
        Some(end) if end <= Timestamp::now() => {
            Err(broken(source, &format!("its credentials expired at {end}")))
        }
        _ => Ok(credential),
    }
}

fn broken(source: &str, why: &str) -> Box<Failure> {
    Failure::new(Kind::Authentication, format!("no credentials: {source}: {why}"))
        .hint("mend this source, or give credentials that come before it: access_key_id and secret_access_key")
}
