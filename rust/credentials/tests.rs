#![allow(clippy::unwrap_used)]

mod sources;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

const SECRET: &str = "wJalrXUtnFEMIsecret";

/// Answers every request on loopback with what `answer` makes of its head and body, and keeps count.
fn serve(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let read = stream.read(&mut piece).unwrap_or(0);
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                    let head = head.to_ascii_lowercase();
                    let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
                        rest.split("\r\n").next().unwrap().trim().parse().unwrap()
                    });
                    body.len() >= length
                });
                if whole || read == 0 {
                    break;
                }
            }
            if request.is_empty() {
                continue;
            }
            counted.fetch_add(1, SeqCst);
            let (status, body) = answer(&String::from_utf8_lossy(&request));
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (address, count)
}

/// A home of its own, gone with the test.
struct Home(PathBuf);

impl std::ops::Deref for Home {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder(name: &str) -> Home {
    let folder = std::env::temp_dir().join(format!("s3dlio-{name}-{}", std::process::id()));
    std::fs::create_dir_all(folder.join(".aws/sso/cache")).unwrap();
    Home(folder)
}

fn options(home: Option<&Path>, variables: &[(&str, &str)]) -> CredentialOptions {
    let mut environment =
        HashMap::from([("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned())]);
    for (name, value) in variables {
        environment.insert((*name).to_owned(), (*value).to_owned());
    }
    CredentialOptions {
        environment,
        home: home.map(Path::to_owned),
        region: "eu-west-1".to_owned(),
        ..CredentialOptions::default()
    }
}

fn credentials(options: CredentialOptions) -> Credentials {
    Credentials::new(options, world::direct_client().unwrap()).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    crate::runtime::current().unwrap().tokio().block_on(future)
}

/// The source that served and the access key that it gave, or the text of the failure.
fn outcome(options: CredentialOptions) -> std::result::Result<(String, String), String> {
    let credentials = credentials(options);
    run(credentials.fetch())
        .map(|found| (credentials.describe().unwrap(), found.access_key_id))
        .map_err(|failure| {
            assert_eq!(failure.kind, Kind::Authentication);
            assert!(failure.hint.is_some());
            let text = failure.to_string();
            assert!(!text.contains(SECRET), "{text}");
            text
        })
}

fn found(source: &str, key: &str) -> std::result::Result<(String, String), String> {
    Ok((source.to_owned(), key.to_owned()))
}

fn in_an_hour() -> String {
    (Timestamp::now() + Duration::from_secs(3600)).format_rfc3339_zulu()
}

fn json_keys(key: &str) -> String {
    format!(
        r#"{{"Code":"Success","Message":"","AccessKeyId":"{key}","SecretAccessKey":"{SECRET}",
            "Token":"T","Expiration":"{}"}}"#,
        in_an_hour()
    )
}

fn sts_answer(action: &str, key: &str) -> String {
    format!(
        "<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>T</SessionToken>\
         <Expiration>{}</Expiration></Credentials></{action}Result></{action}Response>",
        in_an_hour()
    )
}

const ENVIRONMENT: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "ENVKEY"),
    ("AWS_SECRET_ACCESS_KEY", SECRET),
];

#[derive(Debug, Default)]
struct Counting {
    calls: AtomicUsize,
    lives_for: f64,
    fails_from: Option<usize>,
}

impl CredentialSource for Counting {
    fn fetch(&self) -> BoxFuture<'_, std::result::Result<Keys, String>> {
        let call = self.calls.fetch_add(1, SeqCst);
        let now = Timestamp::now();
        let now = now.as_second() as f64 + f64::from(now.subsec_nanosecond()) * 1e-9;
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.fails_from.is_some_and(|first| call >= first) {
                return Err("RuntimeError: vault is sealed".to_owned());
            }
            Ok(Keys {
                access_key_id: format!("CALL{call}"),
                secret_access_key: SECRET.to_owned(),
                session_token: None,
                expires_at: (self.lives_for > 0.0).then_some(now + self.lives_for),
            })
        })
    }

    fn name(&self) -> String {
        "credentials callable".to_owned()
    }
}

fn called(source: Counting) -> (Credentials, Arc<Counting>) {
    let source = Arc::new(source);
    let mut options = options(None, &ENVIRONMENT);
    options.source = Some(source.clone());
    (credentials(options), source)
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let base = || options(None, &[]);
    let refused = |options: CredentialOptions| {
        let failure = Credentials::new(options, world::direct_client().unwrap()).unwrap_err();
        assert_eq!(failure.kind, Kind::InvalidArgument);
    };
    refused(CredentialOptions {
        access_key_id: Some("A".into()),
        ..base()
    });
    refused(CredentialOptions {
        secret_access_key: Some("A".into()),
        ..base()
    });
    refused(CredentialOptions {
        session_token: Some("A".into()),
        ..base()
    });
    refused(CredentialOptions {
        anonymous: true,
        profile: Some("p".into()),
        ..base()
    });
    let anonymous = credentials(CredentialOptions {
        anonymous: true,
        ..base()
    });
    assert!(
        run(anonymous.provide_credential(&Context::new()))
            .unwrap()
            .is_none()
    );
}

#[test]
fn many_callers_share_one_search() {
    let (credentials, source) = called(Counting::default());
    run(async {
        let calls = (0..50).map(|_| credentials.fetch());
        for result in futures::future::join_all(calls).await {
            assert_eq!(result.unwrap().access_key_id, "CALL0");
        }
    });
    assert_eq!(source.calls.load(SeqCst), 1);
    assert_eq!(credentials.describe().unwrap(), "credentials callable");
}

#[test]
fn credentials_are_renewed_before_they_expire() {
    let (credentials, _) = called(Counting {
        lives_for: 4.0,
        ..Counting::default()
    });
    assert_eq!(run(credentials.fetch()).unwrap().access_key_id, "CALL0");
    assert_eq!(run(credentials.fetch()).unwrap().access_key_id, "CALL0");
    std::thread::sleep(Duration::from_millis(3400));
    assert_eq!(run(credentials.fetch()).unwrap().access_key_id, "CALL1");
}

#[test]
fn old_credentials_serve_on_while_they_cannot_be_renewed() {
    let (credentials, source) = called(Counting {
        lives_for: 4.0,
        fails_from: Some(1),
        ..Counting::default()
    });
    run(credentials.fetch()).unwrap();
    std::thread::sleep(Duration::from_millis(3400));
    assert_eq!(run(credentials.fetch()).unwrap().access_key_id, "CALL0");
    assert_eq!(run(credentials.fetch()).unwrap().access_key_id, "CALL0");
    assert_eq!(source.calls.load(SeqCst), 2);
    std::thread::sleep(Duration::from_millis(700));
    let failure = run(credentials.fetch()).unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("credentials callable: RuntimeError: vault is sealed")
    );
}

#[test]
fn refused_credentials_are_forgotten_unless_they_are_new() {
    let (credentials, _) = called(Counting::default());
    run(credentials.fetch()).unwrap();
    credentials.invalidate();
    assert_eq!(run(credentials.fetch()).unwrap().access_key_id, "CALL0");
    std::thread::sleep(YOUNG);
    credentials.invalidate();
    assert_eq!(run(credentials.fetch()).unwrap().access_key_id, "CALL1");
}

#[test]
fn credentials_that_come_expired_are_a_failure() {
    #[derive(Debug)]
    struct Stale;
    impl CredentialSource for Stale {
        fn fetch(&self) -> BoxFuture<'_, std::result::Result<Keys, String>> {
            Box::pin(async {
                Ok(Keys {
                    access_key_id: "A".into(),
                    secret_access_key: SECRET.into(),
                    session_token: None,
                    expires_at: Some(60.0),
                })
            })
        }
        fn name(&self) -> String {
            "stale".into()
        }
    }
    let mut options = options(None, &[]);
    options.source = Some(Arc::new(Stale));
    let said = outcome(options).unwrap_err();
    assert!(
        said.contains("stale: its credentials expired at 1970-01-01T00:01:00Z"),
        "{said}"
    );
}

#[test]
fn what_opendal_is_lent_comes_back_soon() {
    let credentials = credentials(options(None, &ENVIRONMENT));
    let lent = run(credentials.provide_credential(&Context::new()))
        .unwrap()
        .unwrap();
    let end = lent.expires_in.unwrap();
    assert!(end > Timestamp::now() + Duration::from_secs(30));
    assert!(end < Timestamp::now() + Duration::from_secs(120));
}

#[test]
fn no_secret_is_shown() {
    let mut options = options(None, &ENVIRONMENT);
    options.access_key_id = Some("AKID".into());
    options.secret_access_key = Some(SECRET.into());
    options.session_token = Some(SECRET.into());
    let keys = Keys {
        access_key_id: "AKID".into(),
        secret_access_key: SECRET.into(),
        session_token: Some(SECRET.into()),
        expires_at: None,
    };
    let snapshot = world::Snapshot {
        variables: Arc::new(options.environment.clone()),
        home: None,
    };
    let shown = format!("{options:?} {keys:?} {snapshot:?}");
    let credentials = credentials(options);
    run(credentials.fetch()).unwrap();
    let chain = reqsign_core::ProvideCredentialChain::new().push(credentials.clone());
    let shown = format!("{shown} {credentials:?} {chain:?}");
    assert!(
        !shown.contains(&SECRET[..5]) && !shown.contains("AKID"),
        "{shown}"
    );
}
