//! The shared files `~/.aws/config` and `~/.aws/credentials` (AWS SDKs Reference Guide, "Shared config and credentials files").
//!
//! Not reqsign's own: that one knows neither roles nor `sso_session`, and cannot say what was missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reqsign_aws_core::{Credential, SSOCredentialProvider};
use reqsign_core::ProvideCredential;

use super::process;
use super::sources::{Found, Miss, PROCESS_LIMIT, Search};
use super::sts::{Proof, Role, assume};
use super::world::{Snapshot, dns_suffix, read, tell, variable};

type Settings = HashMap<String, String>;
type Sections = HashMap<String, Settings>;

fn named_by(environment: &HashMap<String, String>) -> Option<&str> {
    variable(environment, "AWS_PROFILE").or_else(|| variable(environment, "AWS_DEFAULT_PROFILE"))
}

fn paths(environment: &HashMap<String, String>, home: Option<&Path>) -> [PathBuf; 2] {
    let place = |name: &str, default: &str| {
        let path = variable(environment, name).unwrap_or(default);
        match (path.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    };
    [
        place("AWS_CONFIG_FILE", "~/.aws/config"),
        place("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ]
}

struct Shared {
    paths: [PathBuf; 2],
    config: Sections,
    credentials: Sections,
}

impl Shared {
    fn new(paths: [PathBuf; 2], read: impl Fn(&Path) -> Option<Vec<u8>>) -> Self {
        let sections =
            |path: &Path| parse(&String::from_utf8_lossy(&read(path).unwrap_or_default()));
        Shared {
            config: sections(&paths[0]),
            credentials: sections(&paths[1]),
            paths,
        }
    }

    async fn load(snapshot: &Snapshot) -> Result<Self, String> {
        let paths = paths(&snapshot.variables, snapshot.home.as_deref());
        let mut found = HashMap::new();
        for path in &paths {
            found.insert(path.clone(), read(path.clone()).await?);
        }
        Ok(Shared::new(paths, |path| {
            found.get(path).cloned().flatten()
        }))
    }

    /// What both files say of a profile; the credentials file wins.
    fn profile(&self, name: &str) -> Option<Settings> {
        let config = self.config.get(&format!("profile {name}")).or_else(|| {
            // Only the default profile may stand there without the word.
            (name == "default").then(|| self.config.get(name)).flatten()
        });
        let mut settings = config.cloned();
        if let Some(credentials) = self.credentials.get(name) {
            settings.get_or_insert_default().extend(credentials.clone());
        }
        settings
    }

    fn places(&self) -> String {
        let [config, credentials] = &self.paths;
        format!("{} or {}", config.display(), credentials.display())
    }
}

/// Sections and their settings; names of sections without quotes, names of settings in lower case.
/// Settings nested below another (indented more than it) belong to other tools.
fn parse(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut section: Option<String> = None;
    let mut indent = usize::MAX;
    for line in text.lines() {
        let body = line.trim();
        let depth = line.len() - line.trim_start().len();
        if body.is_empty() || body.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = body.strip_prefix('[') {
            let name = head.split(']').next().unwrap_or_default();
            let words: Vec<&str> = name.split_whitespace().collect();
            let name = words.join(" ").replace(['"', '\''], "");
            sections.entry(name.clone()).or_default();
            section = Some(name);
            indent = usize::MAX;
            continue;
        }
        let (Some(name), Some((key, value))) = (&section, body.split_once('=')) else {
            continue;
        };
        if depth > indent {
            continue;
        }
        indent = depth;
        let key = key.trim().to_ascii_lowercase();
        let value = value.trim();
        // A command may hold what would be a comment elsewhere.
        let end = match key.as_str() {
            "credential_process" => None,
            _ => [" #", " ;", "\t#", "\t;"]
                .iter()
                .filter_map(|mark| value.find(mark))
                .min(),
        };
        let value = value[..end.unwrap_or(value.len())].trim_end();
        if let Some(settings) = sections.get_mut(name) {
            settings.insert(key, value.to_owned());
        }
    }
    sections
}

impl Search {
    /// The profile's name, and whether somebody asked for it.
    pub fn profile_name(&self) -> (&str, bool) {
        let asked = self
            .options
            .profile
            .as_deref()
            .filter(|profile| !profile.is_empty())
            .or_else(|| named_by(&self.snapshot.variables));
        (asked.unwrap_or("default"), asked.is_some())
    }

    /// Follows `source_profile` to keys, then assumes the roles on the way back.
    pub async fn profile(&self) -> Found {
        let shared = Shared::load(&self.snapshot).await.map_err(Miss::Broken)?;
        let (first, asked) = self.profile_name();
        let mut name = first.to_owned();
        let mut seen: Vec<String> = Vec::new();
        let mut roles: Vec<Role> = Vec::new();
        let mut credential = loop {
            let Some(settings) = shared.profile(&name) else {
                let why = format!("no such section in {}", shared.places());
                return Err(match (seen.is_empty(), asked) {
                    (true, false) => Miss::Absent(why),
                    (true, true) => Miss::Broken(why),
                    (false, _) => Miss::Broken(format!("source_profile '{name}': {why}")),
                });
            };
            let get = |key: &str| settings.get(key).filter(|value| !value.is_empty());
            let Some(arn) = get("role_arn").filter(|_| !seen.contains(&name)) else {
                break self
                    .own(&shared, &name, &settings, !roles.is_empty())
                    .await?;
            };
            if get("mfa_serial").is_some() {
                return Err(Miss::Broken(
                    "mfa_serial asks for a code, which cannot be typed in here".into(),
                ));
            }
            let role = Role {
                arn: arn.clone(),
                session_name: get("role_session_name").cloned(),
                external_id: get("external_id").cloned(),
                duration_seconds: get("duration_seconds").cloned(),
                region: get("region").cloned().or_else(|| self.region()),
            };
            seen.push(name.clone());
            if let Some(source) = get("source_profile") {
                // A role whose source is its own profile takes the keys that stand beside it.
                if seen.contains(source) && *source != name {
                    return Err(Miss::Broken(format!(
                        "source_profile goes in a circle: {} -> {source}",
                        seen.join(" -> ")
                    )));
                }
                roles.push(role);
                name = source.clone();
            } else if let Some(source) = get("credential_source") {
                roles.push(role);
                break self.named_source(source).await?;
            } else if let Some(file) = get("web_identity_token_file") {
                break self
                    .web_identity_role(&role, file)
                    .await
                    .map_err(Miss::Broken)?;
            } else {
                return Err(Miss::Broken(
                    "role_arn is set but source_profile, credential_source and \
                     web_identity_token_file are not"
                        .into(),
                ));
            }
        };
        for role in roles.iter().rev() {
            credential = assume(&self.snapshot, &self.sender, role, Proof::Keys(&credential))
                .await
                .map_err(Miss::Broken)?;
        }
        Ok(credential)
    }

    /// What a profile gives without its role: SSO, keys, or a program, in this order.
    async fn own(&self, shared: &Shared, name: &str, settings: &Settings, needed: bool) -> Found {
        let get = |key: &str| settings.get(key).filter(|value| !value.is_empty());
        if get("sso_account_id").is_some() || get("sso_role_name").is_some() {
            return self.sso(shared, name, settings).await.map_err(Miss::Broken);
        }
        match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => {
                return Ok(Credential {
                    access_key_id: id.clone(),
                    secret_access_key: secret.clone(),
                    session_token: get("aws_session_token").cloned(),
                    expires_in: None,
                });
            }
            (Some(_), None) => {
                return Err(Miss::Broken(
                    "aws_access_key_id is set but aws_secret_access_key is not".into(),
                ));
            }
            (None, Some(_)) => {
                return Err(Miss::Broken(
                    "aws_secret_access_key is set but aws_access_key_id is not".into(),
                ));
            }
            (None, None) => {}
        }
        if let Some(command) = get("credential_process") {
            return process::credentials(command, PROCESS_LIMIT)
                .await
                .map_err(Miss::Broken);
        }
        Err(if needed {
            Miss::Broken(format!("source_profile '{name}' holds no credentials"))
        } else {
            Miss::Absent(format!("holds no credentials in {}", shared.places()))
        })
    }

    async fn named_source(&self, source: &str) -> Found {
        let found = match source {
            "Environment" => self.environment(),
            "Ec2InstanceMetadata" => self.instance().await,
            "EcsContainer" => self.container().await,
            _ => {
                return Err(Miss::Broken(format!(
                    "credential_source is '{source}', not Environment, Ec2InstanceMetadata or EcsContainer"
                )));
            }
        };
        found.map_err(|miss| Miss::Broken(format!("credential_source {source}: {}", miss.why())))
    }

    async fn sso(
        &self,
        shared: &Shared,
        name: &str,
        settings: &Settings,
    ) -> Result<Credential, String> {
        let session = settings.get("sso_session").filter(|name| !name.is_empty());
        let session_settings = match session {
            None => settings,
            Some(session) => shared
                .config
                .get(&format!("sso-session {session}"))
                .ok_or_else(|| {
                    format!(
                        "no section [sso-session {session}] in {}",
                        shared.paths[0].display()
                    )
                })?,
        };
        let need = |from: &Settings, key: &str| {
            from.get(key)
                .filter(|value| !value.is_empty())
                .cloned()
                .ok_or_else(|| format!("{key} is not set"))
        };
        let region = need(session_settings, "sso_region")?;
        let start_url = need(session_settings, "sso_start_url")?;
        let endpoint = match self.snapshot.service_endpoint("SSO") {
            Some(endpoint) => endpoint.to_owned(),
            None => format!("https://portal.sso.{region}.{}", dns_suffix(&region)),
        };
        let provider = SSOCredentialProvider::new()
            .with_account_id(need(settings, "sso_account_id")?)
            .with_role_name(need(settings, "sso_role_name")?)
            .with_region(region)
            // It only names the file of the token, and with a session the session does that.
            .with_start_url(session.cloned().unwrap_or(start_url))
            .with_endpoint(format!("{endpoint}/federation/credentials"));
        let login =
            |why: String| format!("{why}; `aws sso login --profile {name}` gets a new token");
        match provider
            .provide_credential(&self.sender.context(&self.snapshot))
            .await
        {
            Ok(Some(credential)) => Ok(credential),
            Ok(None) => Err(login("SSO gave nothing".into())),
            Err(error) => {
                let why = tell(&error);
                Err(match why.starts_with("No valid SSO token") {
                    true => login("no valid SSO token is stored".into()),
                    false if why.contains("401") => login(why),
                    false => why,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_file_is_read_as_aws_writes_it() {
        let sections = parse(
            "# made by hand\n[default]\nregion = eu-west-1 # home\n\n\
             [profile \"two words\"]\nAWS_ACCESS_KEY_ID=AK\n  s3 =\n    max_queue_size = 3\n\
             credential_process = tool \"a # b\" ; c\n[ sso-session  corp ]\n  sso_region=us-east-2\n\
             stray\n",
        );
        assert_eq!(sections["default"]["region"], "eu-west-1");
        let words = &sections["profile two words"];
        assert_eq!(words["aws_access_key_id"], "AK");
        assert_eq!(words["credential_process"], "tool \"a # b\" ; c");
        assert!(!words.contains_key("max_queue_size"));
        assert_eq!(sections["sso-session corp"]["sso_region"], "us-east-2");
    }
}
