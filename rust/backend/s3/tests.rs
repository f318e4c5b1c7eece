#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use reqsign_core::hash::{hex_hmac_sha256, hex_sha256, hmac_sha256};

use super::*;
use crate::credentials::CredentialOptions;
use crate::http::HttpOptions;

fn requests(endpoint: &str, path_style: bool) -> S3Requests {
    let client = HttpClient::new(&HttpOptions::default()).unwrap();
    let options = CredentialOptions {
        access_key_id: Some("AKIAIOSFODNN7EXAMPLE".into()),
        secret_access_key: Some("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
        environment: HashMap::new(),
        ..CredentialOptions::default()
    };
    S3Requests {
        credentials: Credentials::new(options, client.plain().clone()).unwrap(),
        client,
        policy: Policy::NEVER,
        endpoint: endpoint.into(),
        path_style,
        bucket: "train".into(),
        region: "us-east-1".into(),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    crate::runtime::current().unwrap().tokio().block_on(future)
}

#[test]
fn an_endpoint_is_chosen_by_region_and_bucket() {
    let ask =
        |custom, region, bucket, addressing| endpoint(custom, region, bucket, addressing).unwrap();
    assert_eq!(
        ask(None, "eu-west-1", "train", "auto"),
        ("https://s3.eu-west-1.amazonaws.com".into(), false)
    );
    assert_eq!(
        ask(None, "cn-north-1", "my.data", "auto"),
        ("https://s3.cn-north-1.amazonaws.com.cn".into(), true)
    );
    assert!(ask(None, "us-east-1", "Upper_case", "auto").1);
    assert!(ask(None, "us-east-1", "train", "path").1);
    let minio = Some("http://localhost:9000/");
    assert_eq!(
        ask(minio, "", "train", "auto"),
        ("http://localhost:9000".into(), true)
    );
    assert_eq!(
        ask(minio, "", "train", "virtual"),
        ("http://localhost:9000".into(), false)
    );
    assert!(ask(Some("HTTPS://[::1]:9000"), "", "", "virtual").1);
}

#[test]
fn an_endpoint_that_is_none_is_refused_by_name() {
    for address in [
        "localhost:9000",
        "ftp://host",
        "http://host/path",
        "http://host?x=1",
        "https://",
        "http://host:port",
        "http://a b",
        "http://host:",
        "http://:9000",
    ] {
        let failure = endpoint(Some(address), "", "train", "auto").unwrap_err();
        assert_eq!(failure.kind, Kind::InvalidArgument, "{address}");
        assert!(failure.to_string().contains(address), "{failure}");
    }
    let failure = endpoint(Some("http://me:secret@host"), "", "train", "auto").unwrap_err();
    assert!(!failure.to_string().contains("secret"));
    assert!(endpoint(None, "us-east-1", "my_data", "virtual").is_err());
    assert!(endpoint(None, "us-east-1", "train", "dns").is_err());
}

#[test]
fn odd_prefixes_and_keys_survive_the_url() {
    let path = requests("http://localhost:9000", true);
    assert_eq!(
        path.list_address("/a b/%2B+é\n/", false, Some("t/+=")),
        "http://localhost:9000/train?list-type=2&encoding-type=url\
         &prefix=%2Fa%20b%2F%252B%2B%C3%A9%0A%2F&delimiter=%2F&continuation-token=t%2F%2B%3D"
    );
    let host = requests("https://s3.us-east-1.amazonaws.com", false);
    assert_eq!(
        host.list_address("", true, None),
        "https://train.s3.us-east-1.amazonaws.com/?list-type=2&encoding-type=url"
    );
    assert_eq!(
        host.object_address("/x//y?#~*é"),
        "https://train.s3.us-east-1.amazonaws.com//x//y%3F%23~%2A%C3%A9"
    );
    assert_eq!(path.object_address("/x"), "http://localhost:9000/train//x");
}

/// Signature Version 4 once more, from its description (Amazon S3 API Reference, "Signature
/// Calculations for the Authorization Header"); query and headers in canonical form already.
fn signature(date: &str, request: &str) -> String {
    let scope = format!("{}/us-east-1/s3/aws4_request", &date[..8]);
    let text = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex_sha256(request.as_bytes())
    );
    let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_vec();
    for part in scope.split('/') {
        key = hmac_sha256(&key, part.as_bytes());
    }
    hex_hmac_sha256(&key, text.as_bytes())
}

#[test]
fn requests_are_signed_as_amazon_documents_it() {
    let empty = hex_sha256(b"");
    let documented = format!(
        "GET\n/\nmax-keys=2&prefix=J\nhost:examplebucket.s3.amazonaws.com\n\
         x-amz-content-sha256:{empty}\nx-amz-date:20130524T000000Z\n\n\
         host;x-amz-content-sha256;x-amz-date\n{empty}"
    );
    assert_eq!(
        signature("20130524T000000Z", &documented),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    );
    let requests = requests("http://localhost:9000", true);
    let request = Request::get(requests.list_address("a +é/", false, None));
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let credential = run(requests.credentials.fetch()).unwrap();
    run(requests.sign(&mut parts, credential, None)).unwrap();
    let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let date = header("x-amz-date");
    let canonical = format!(
        "GET\n/train\ndelimiter=%2F&encoding-type=url&list-type=2&prefix=a%20%2B%C3%A9%2F\n\
         host:localhost:9000\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{date}\n\n\
         host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD"
    );
    assert_eq!(
        header("authorization"),
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{}/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={}",
            &date[..8],
            signature(&date, &canonical)
        )
    );
}

#[test]
fn a_presigned_url_carries_its_key_exactly() {
    let requests = requests("http://localhost:9000", true);
    let hour = Duration::from_secs(3600);
    let url = run(requests.presign("/a b", Method::Get, hour)).unwrap();
    assert!(
        url.starts_with("http://localhost:9000/train//a%20b?"),
        "{url}"
    );
    assert!(
        url.contains("X-Amz-Expires=3600") && url.contains("X-Amz-Signature="),
        "{url}"
    );
    for time in [Duration::from_millis(500), PRESIGN_MAX + hour] {
        let failure = run(requests.presign("a", Method::Get, time)).unwrap_err();
        assert_eq!(failure.kind, Kind::InvalidArgument);
    }
}

/// Answers the requests that come, in order, and tells what they were.
fn serve(answers: Vec<(&'static str, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{Read, Write};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for (head, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let read = stream.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request);
                // A head without a length has no body.
                let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                    let head = head.to_ascii_lowercase();
                    let length = head
                        .split("content-length: ")
                        .nth(1)
                        .and_then(|l| l.lines().next());
                    body.len() >= length.map_or(0, |length| length.parse().unwrap())
                });
                if whole || read == 0 {
                    break;
                }
            }
            seen.push(String::from_utf8_lossy(&request).into_owned());
            let head = format!(
                "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close",
                body.len()
            );
            let silent = seen.last().unwrap().starts_with("HEAD");
            write!(stream, "{head}\r\n\r\n{}", if silent { "" } else { &body }).unwrap();
        }
        seen
    });
    (address, server)
}

fn trail() -> Trail {
    Trail::new(Arc::default())
}

fn error(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>so it is</Message></Error>")
}

fn page_of(key: &str, next: &str) -> String {
    format!(
        "<ListBucketResult><IsTruncated>{}</IsTruncated><NextContinuationToken>{next}\
         </NextContinuationToken><Contents><Key>{key}</Key><Size>1</Size></Contents></ListBucketResult>",
        !next.is_empty()
    )
}

#[test]
fn pages_follow_the_token_to_the_end() {
    let (address, server) = serve(vec![
        ("200 OK", page_of("a", "more")),
        ("200 OK", page_of("b", "")),
    ]);
    let mut pages = requests(&address, true).pages("", true, &trail());
    let mut keys = Vec::new();
    while let Some(entries) = run(pages.next()).unwrap() {
        keys.extend(entries.into_iter().map(|entry| entry.key));
    }
    assert_eq!(keys, ["a", "b"]);
    let seen = server.join().unwrap();
    assert!(!seen[0].contains("continuation-token") && !seen[0].contains("delimiter"));
    assert!(seen[1].contains("continuation-token=more"));
}

#[test]
fn a_listing_that_does_not_move_on_ends() {
    let (address, _) = serve(vec![("200 OK", page_of("a", "t"))]);
    let page = requests(&address, true);
    let failure = run(page.list_page("", true, Some("t"), &trail())).unwrap_err();
    assert_eq!(failure.kind, Kind::Integrity);
}

#[test]
fn a_bucket_is_made_once_and_in_its_region() {
    let (address, server) = serve(vec![
        ("404 Not Found", String::new()),
        ("200 OK", String::new()),
        ("200 OK", String::new()),
        ("403 Forbidden", String::new()),
        ("409 Conflict", error("BucketAlreadyExists")),
    ]);
    let mut requests = requests(&address, true);
    requests.region = "eu-west-1".into();
    run(requests.create_bucket(&trail())).unwrap();
    let mine = run(requests.create_bucket(&trail())).unwrap_err();
    assert_eq!(mine.kind, Kind::AlreadyExists);
    let theirs = run(requests.create_bucket(&trail())).unwrap_err();
    assert_eq!(theirs.kind, Kind::AlreadyExists);
    let seen = server.join().unwrap();
    assert!(seen[1].starts_with("PUT /train HTTP/1.1"), "{}", seen[1]);
    assert!(seen[1].contains("<LocationConstraint>eu-west-1</LocationConstraint>"));
    assert!(seen[4].starts_with("PUT /train HTTP/1.1"), "{}", seen[4]);
}

#[test]
fn a_bucket_with_objects_is_not_deleted() {
    let (address, _) = serve(vec![("409 Conflict", error("BucketNotEmpty"))]);
    let failure = run(requests(&address, true).delete_bucket(&trail())).unwrap_err();
    assert_eq!(failure.kind, Kind::PreconditionFailed);
    assert!(failure.to_string().contains("not empty"), "{failure}");
    assert!(failure.hint.unwrap().contains("delete_prefix"));
}

#[test]
fn anonymous_requests_are_not_signed() {
    let (address, server) = serve(vec![("200 OK", page_of("a", ""))]);
    let mut requests = requests(&address, true);
    let options = CredentialOptions {
        anonymous: true,
        ..CredentialOptions::default()
    };
    requests.credentials = Credentials::new(options, requests.client.plain().clone()).unwrap();
    run(requests.list_page("", true, None, &trail())).unwrap();
    assert!(
        !server.join().unwrap()[0]
            .to_ascii_lowercase()
            .contains("authorization")
    );
    assert!(run(requests.presign("a", Method::Get, Duration::from_secs(60))).is_err());
}

#[test]
fn expired_credentials_are_exchanged_for_new_ones_once() {
    #[derive(Debug)]
    struct Renewing(std::sync::atomic::AtomicUsize);
    impl crate::credentials::CredentialSource for Renewing {
        fn fetch(&self) -> BoxFuture<'_, std::result::Result<crate::credentials::Keys, String>> {
            let call = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Box::pin(async move {
                Ok(crate::credentials::Keys {
                    access_key_id: format!("KEY{call}"),
                    secret_access_key: "s".into(),
                    session_token: None,
                    expires_at: None,
                })
            })
        }
        fn name(&self) -> String {
            "renewing".into()
        }
    }
    let (address, server) = serve(vec![
        ("400 Bad Request", error("ExpiredToken")),
        ("200 OK", page_of("a", "")),
    ]);
    let mut requests = requests(&address, true);
    let options = CredentialOptions {
        source: Some(Arc::new(Renewing(0.into()))),
        ..CredentialOptions::default()
    };
    requests.credentials = Credentials::new(options, requests.client.plain().clone()).unwrap();
    run(requests.credentials.fetch()).unwrap();
    // Credentials younger than a second are not held to blame.
    std::thread::sleep(Duration::from_millis(1100));
    run(requests.list_page("", true, None, &trail())).unwrap();
    let seen = server.join().unwrap();
    assert!(seen[0].contains("Credential=KEY0/") && seen[1].contains("Credential=KEY1/"));
}
