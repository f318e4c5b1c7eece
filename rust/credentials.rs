//! Which keys sign the requests: one chain of sources and one cache, for OpenDAL and for our own requests.

mod process;
mod profile;
mod sources;
mod sts;
#[cfg(test)]
mod tests;
mod world;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
pub use reqsign_aws_core::Credential;
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, ProvideCredential};

use crate::failure::{Failure, Kind, Result};

pub use world::dns_suffix;

/// Credentials are renewed when this much of their life is left, or a fifth of it if that is less.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// Between two attempts to renew credentials that can still be used.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// Credentials this young are not to blame when the service refuses them: others were sent.
const YOUNG: Duration = Duration::from_secs(1);
/// A search that found nothing is not repeated sooner: a thousand keys must not mean a thousand searches.
const SEARCH_AGAIN: Duration = Duration::from_secs(3);
/// How long OpenDAL may keep what it was given.
const LENT: Duration = Duration::from_secs(60);

/// What the caller of Python handed over; the environment is a snapshot, read there.
#[derive(Clone, Default)]
pub struct CredentialOptions {
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub profile: Option<String>,
    /// A role to assume with whatever the chain finds.
    pub role_arn: Option<String>,
    pub anonymous: bool,
    pub source: Option<Arc<dyn CredentialSource>>,
    pub environment: HashMap<String, String>,
    pub home: Option<PathBuf>,
    pub region: String,
}

impl fmt::Debug for CredentialOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialOptions")
            .field("explicit", &self.access_key_id.is_some())
            .field("profile", &self.profile)
            .field("role_arn", &self.role_arn)
            .field("anonymous", &self.anonymous)
            .field("source", &self.source.as_ref().map(|source| source.name()))
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// What a caller's own code gives.
#[derive(Clone)]
pub struct Keys {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
    /// Seconds since the epoch.
    pub expires_at: Option<f64>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The caller's own code that gives credentials.
pub trait CredentialSource: Send + Sync + fmt::Debug {
    fn fetch(&self) -> BoxFuture<'_, std::result::Result<Keys, String>>;
    fn name(&self) -> String;
}

/// The chain and its cache. Clones share both.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    search: sources::Search,
    held: Mutex<Held>,
    /// Whoever holds this looks for credentials; the others wait for what comes of it.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    current: Option<Current>,
    served: Option<String>,
    failed: Option<(Instant, Box<Failure>)>,
}

struct Current {
    credential: Credential,
    since: Instant,
    renew_from: Option<Timestamp>,
    not_before: Instant,
}

enum Look {
    Fresh(Credential),
    /// Usable still, but it is time to renew.
    Ageing(Credential),
    Nothing,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("options", &self.0.search.options)
            .field("served_by", &self.describe())
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// `client` speaks to STS and SSO; the metadata services are asked directly, never through a proxy.
    pub fn new(options: CredentialOptions, client: reqwest::Client) -> Result<Self> {
        let refuse = |detail: &'static str| Err(Failure::new(Kind::InvalidArgument, detail));
        let filled = |value: &Option<String>| value.as_ref().is_some_and(|text| !text.is_empty());
        let (id, secret) = (
            filled(&options.access_key_id),
            filled(&options.secret_access_key),
        );
        if id != secret {
            return refuse(if id {
                "access_key_id is given but secret_access_key is not"
            } else {
                "secret_access_key is given but access_key_id is not"
            });
        }
        if !id && filled(&options.session_token) {
            return refuse(
                "session_token is given but access_key_id and secret_access_key are not",
            );
        }
        if options.anonymous
            && (id
                || options.source.is_some()
                || options.profile.is_some()
                || filled(&options.role_arn))
        {
            return refuse("anonymous=True excludes every other kind of credentials");
        }
        if id && options.source.is_some() {
            return refuse(
                "give either access_key_id and secret_access_key, or a credentials callable",
            );
        }
        Ok(Credentials(Arc::new(Inner {
            search: sources::Search::new(options, client),
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })))
    }

    /// Requests go unsigned.
    pub fn anonymous(&self) -> bool {
        self.0.search.options.anonymous
    }

    /// Which source served last, such as `environment` or `profile 'train'`.
    pub fn describe(&self) -> Option<String> {
        self.held().served.clone()
    }

    /// Credentials that can be used now, from the cache where it has some. Anonymous requests have none.
    pub async fn fetch(&self) -> Result<Credential> {
        if self.anonymous() {
            return Err(Failure::new(
                Kind::Authentication,
                "anonymous requests carry no credentials",
            ));
        }
        let usable = match self.look() {
            Look::Fresh(credential) => return Ok(credential),
            Look::Ageing(credential) => Some(credential),
            Look::Nothing => None,
        };
        let _turn = match (&usable, self.0.turn.try_lock()) {
            (_, Ok(turn)) => turn,
            (Some(credential), Err(_)) => return Ok(credential.clone()),
            (None, Err(_)) => self.0.turn.lock().await,
        };
        if let Look::Fresh(credential) = self.look() {
            return Ok(credential);
        }
        if usable.is_none()
            && let Some((when, failure)) = &self.held().failed
            && when.elapsed() < SEARCH_AGAIN
        {
            return Err(failure.clone());
        }
        let found = self.0.search.find().await;
        let mut held = self.held();
        match (found, usable) {
            (Ok((credential, source)), _) => {
                held.current = Some(Current::new(credential.clone()));
                held.served = Some(source);
                held.failed = None;
                Ok(credential)
            }
            (Err(_), Some(credential)) => {
                if let Some(current) = &mut held.current {
                    current.not_before = Instant::now() + RENEW_AGAIN;
                }
                Ok(credential)
            }
            (Err(failure), None) => {
                held.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Forgets the credentials that a service called stale; says whether there are others now.
    pub async fn renew(&self) -> bool {
        if self.anonymous() {
            return false;
        }
        let Ok(before) = self.fetch().await else {
            return false;
        };
        self.invalidate();
        self.fetch().await.is_ok_and(|after| {
            (
                after.access_key_id,
                after.secret_access_key,
                after.session_token,
            ) != (
                before.access_key_id,
                before.secret_access_key,
                before.session_token,
            )
        })
    }

    /// Forgets what the service has just refused; the next call looks anew.
    pub fn invalidate(&self) {
        let mut held = self.held();
        if held
            .current
            .as_ref()
            .is_some_and(|c| c.since.elapsed() >= YOUNG)
        {
            held.current = None;
        }
    }

    fn look(&self) -> Look {
        match &self.held().current {
            None => Look::Nothing,
            Some(current) => current.look(Timestamp::now()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn new(credential: Credential) -> Self {
        let renew_from = credential.expires_in.map(|end| {
            let life = end
                .as_system_time()
                .duration_since(Timestamp::now().as_system_time())
                .unwrap_or_default();
            end - RENEW_BEFORE.min(life / 5)
        });
        Current {
            credential,
            since: Instant::now(),
            renew_from,
            not_before: Instant::now(),
        }
    }

    fn look(&self, now: Timestamp) -> Look {
        let credential = self.credential.clone();
        if credential.expires_in.is_some_and(|end| end <= now) {
            return Look::Nothing;
        }
        match self.renew_from {
            Some(from) if now >= from && Instant::now() >= self.not_before => {
                Look::Ageing(credential)
            }
            _ => Look::Fresh(credential),
        }
    }
}

impl ProvideCredential for Credentials {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
        if self.anonymous() {
            return Ok(None);
        }
        let mut credential = self
            .fetch()
            .await
            .map_err(|failure| reqsign_core::Error::credential_invalid(failure.to_string()))?;
        // OpenDAL keeps what it is given until two minutes before its end. Lent for less, it comes back
        // for every request, and sees what was renewed or forgotten here.
        credential.expires_in = Some(Timestamp::now() + LENT);
        Ok(Some(credential))
    }
}
