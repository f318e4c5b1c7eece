use super::*;

#[test]
fn explicit_keys_come_before_a_profile_and_a_profile_option_before_the_environment() {
    let home = folder("order");
    std::fs::write(
        home.join(".aws/credentials"),
        format!(
            "[default]\naws_access_key_id=DEFKEY\naws_secret_access_key={SECRET}\n\
                 [p]\naws_access_key_id=PROKEY\naws_secret_access_key={SECRET}\n"
        ),
    )
    .unwrap();
    assert_eq!(
        outcome(options(Some(&home), &[])),
        found("profile 'default'", "DEFKEY")
    );
    assert_eq!(
        outcome(options(Some(&home), &ENVIRONMENT)),
        found("environment", "ENVKEY")
    );
    let mut all = options(Some(&home), &ENVIRONMENT);
    all.profile = Some("p".into());
    assert_eq!(outcome(all.clone()), found("profile 'p'", "PROKEY"));
    all.access_key_id = Some("OPTKEY".into());
    all.secret_access_key = Some(SECRET.into());
    assert_eq!(outcome(all), found("explicit keys", "OPTKEY"));
}

#[test]
fn a_search_in_vain_names_every_place_and_is_not_repeated_at_once() {
    let home = folder("vain");
    let credentials = credentials(options(Some(&home), &[]));
    let failure = run(credentials.fetch()).unwrap_err();
    assert_eq!(
        failure.to_string(),
        format!(
            "no credentials found: environment: AWS_ACCESS_KEY_ID is not set; \
             profile 'default': no such section in {0}/.aws/config or {0}/.aws/credentials; \
             web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set; container: not configured; \
             instance metadata: switched off by AWS_EC2_METADATA_DISABLED",
            home.display()
        )
    );
    assert!(failure.hint.unwrap().contains("anonymous=True"));
    std::fs::write(
        home.join(".aws/credentials"),
        "[default]\naws_access_key_id=A\naws_secret_access_key=B\n",
    )
    .unwrap();
    assert!(run(credentials.fetch()).is_err());
}

#[test]
fn what_is_set_up_but_broken_ends_the_search() {
    let home = folder("broken");
    std::fs::write(
        home.join(".aws/config"),
        "[profile half]\naws_access_key_id = A\n[profile loop]\nrole_arn = r\nsource_profile = pool\n\
         [profile pool]\nrole_arn = r\nsource_profile = loop\n[profile lost]\nrole_arn = r\n\
         source_profile = nowhere\n[profile bare]\nrole_arn = r\n",
    )
    .unwrap();
    let says = |variables: &[(&str, &str)], text: &str| {
        let said = outcome(options(Some(&home), variables)).unwrap_err();
        assert!(said.contains(text), "{said}");
    };
    says(&ENVIRONMENT[..1], "AWS_SECRET_ACCESS_KEY is not");
    says(&ENVIRONMENT[1..], "AWS_ACCESS_KEY_ID is not");
    says(
        &[("AWS_PROFILE", "gone")],
        "profile 'gone': no such section in",
    );
    says(&[("AWS_PROFILE", "half")], "aws_secret_access_key is not");
    says(&[("AWS_PROFILE", "loop")], "circle: loop -> pool -> loop");
    says(&[("AWS_PROFILE", "lost")], "source_profile 'nowhere'");
    says(
        &[("AWS_PROFILE", "bare")],
        "source_profile, credential_source",
    );
    says(
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")],
        "AWS_ROLE_ARN is not",
    );
    says(
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")],
        "does not exist",
    );
    says(
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x")],
        "must be https",
    );
}

#[test]
fn a_program_gives_credentials_and_its_words_may_be_quoted() {
    let home = folder("process");
    let printed = json_keys("PROCKEY").replace("\"Code\"", "\"Version\":1,\"Code\"");
    std::fs::write(home.join("keys and more.json"), printed).unwrap();
    let with = |command: &str| {
        std::fs::write(
            home.join(".aws/config"),
            format!("[default]\ncredential_process = {command}\n"),
        )
        .unwrap();
        outcome(options(Some(&home), &[]))
    };
    let path = home.join("keys and more.json");
    assert_eq!(
        with(&format!("cat \"{}\"", path.display())),
        found("profile 'default'", "PROCKEY")
    );
    let says = |command: &str, text: &str| {
        let said = with(command).unwrap_err();
        assert!(said.contains(text), "{said}");
    };
    says("sh -c 'echo no ticket >&2; exit 3'", "status 3: no ticket");
    says("/no/such/program", "cannot start");
    says(
        &format!("echo '{{\"Version\":1,\"SecretAccessKey\":\"{SECRET}\"'"),
        "no JSON",
    );
    says(
        &format!("echo '{{\"Version\":1,\"SecretAccessKey\":\"{SECRET}\"}}'"),
        "AccessKeyId",
    );
    says("echo '{\"Version\":2}'", "Version");
    says("cat 'open", "open quote");
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let limit = Duration::from_millis(200);
    let why = run(process::credentials("sleep 30", limit)).unwrap_err();
    assert!(why.contains("did not end in time"));
}

#[test]
fn a_role_is_assumed_with_the_keys_of_its_source_profile() {
    let (sts, _) = serve(|request| {
        assert!(request.starts_with("POST / "), "{request}");
        let name = if request.contains("RoleArn=inner") {
            assert!(request.contains("Credential=BASEKEY/"), "{request}");
            assert!(request.contains("/us-west-2/sts/aws4_request"), "{request}");
            assert!(request.contains("ExternalId=x%20y"), "{request}");
            "INNER"
        } else {
            assert!(request.contains("Credential=INNER/"), "{request}");
            assert!(request.contains("x-amz-security-token: T"), "{request}");
            "OUTER"
        };
        (200, sts_answer("AssumeRole", name))
    });
    let home = folder("role");
    std::fs::write(
        home.join(".aws/config"),
        "[profile outer]\nrole_arn = outer\nsource_profile = inner\n\
         [profile inner]\nrole_arn = inner\nexternal_id = x y\nregion = us-west-2\nsource_profile = inner\n\
         [profile env]\nrole_arn = inner\nregion = us-west-2\nexternal_id = x y\ncredential_source = Environment\n",
    )
    .unwrap();
    std::fs::write(
        home.join(".aws/credentials"),
        format!("[inner]\naws_access_key_id = BASEKEY\naws_secret_access_key = {SECRET}\n"),
    )
    .unwrap();
    let mut options = options(Some(&home), &[("AWS_ENDPOINT_URL_STS", &sts)]);
    options.profile = Some("outer".into());
    assert_eq!(outcome(options.clone()), found("profile 'outer'", "OUTER"));
    options
        .environment
        .insert("AWS_ACCESS_KEY_ID".into(), "BASEKEY".into());
    options
        .environment
        .insert("AWS_SECRET_ACCESS_KEY".into(), SECRET.into());
    options.profile = Some("env".into());
    assert_eq!(outcome(options), found("profile 'env'", "INNER"));
}

#[test]
fn the_role_option_is_assumed_with_whatever_was_found() {
    let (sts, _) = serve(|request| {
        assert!(request.contains("/eu-west-1/sts/"), "{request}");
        match request.contains("RoleArn=arn%3Agood") {
            true => (200, sts_answer("AssumeRole", "ROLEKEY")),
            false => (
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not yours</Message></Error>\
                 </ErrorResponse>"
                    .into(),
            ),
        }
    });
    let mut options = options(None, &ENVIRONMENT);
    options.environment.insert("AWS_ENDPOINT_URL".into(), sts);
    options.role_arn = Some("arn:good".into());
    assert_eq!(
        outcome(options.clone()),
        found("role arn:good through environment", "ROLEKEY")
    );
    options.role_arn = Some("arn:bad".into());
    let said = outcome(options).unwrap_err();
    assert!(
        said.contains("refused role arn:bad with status 403: AccessDenied: not yours"),
        "{said}"
    );
}

#[test]
fn a_web_identity_token_is_exchanged_and_never_told() {
    let home = folder("web");
    std::fs::write(home.join("token"), format!("{SECRET}\n")).unwrap();
    let (sts, _) = serve(|request| {
        assert!(
            request.contains("Action=AssumeRoleWithWebIdentity"),
            "{request}"
        );
        assert!(
            !request.to_ascii_lowercase().contains("authorization:"),
            "{request}"
        );
        assert!(
            request.contains(&format!("WebIdentityToken={SECRET}")),
            "{request}"
        );
        match request.contains("RoleArn=good") {
            true => (200, sts_answer("AssumeRoleWithWebIdentity", "WEBKEY")),
            false => (
                400,
                format!(
                    "<ErrorResponse><Error><Code>InvalidIdentityToken</Code>\
                         <Message>bad: {SECRET}</Message></Error></ErrorResponse>"
                ),
            ),
        }
    });
    let token = home.join("token");
    let ask = |role: &str| {
        let token = token.to_str().unwrap();
        outcome(options(
            Some(&home),
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
                ("AWS_ROLE_ARN", role),
                ("AWS_ENDPOINT_URL_STS", &sts),
            ],
        ))
    };
    assert_eq!(ask("good"), found("web identity", "WEBKEY"));
    let said = ask("bad").unwrap_err();
    assert!(said.contains("InvalidIdentityToken: bad: …"), "{said}");
}

#[test]
fn a_container_agent_is_asked_with_its_token() {
    let home = folder("container");
    std::fs::write(home.join("token"), "Bearer file\n").unwrap();
    let (agent, count) = serve(|request| {
        let request = request.to_ascii_lowercase();
        match request.contains("authorization: bearer file") {
            true => (200, json_keys("PODKEY")),
            false => (403, "no".into()),
        }
    });
    let token = home.join("token");
    let mut variables = vec![
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer variable"),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            token.to_str().unwrap(),
        ),
    ];
    assert_eq!(
        outcome(options(Some(&home), &variables)),
        found("container", "PODKEY")
    );
    variables.pop();
    let said = outcome(options(Some(&home), &variables)).unwrap_err();
    assert!(said.contains("not authorized"), "{said}");
    assert_eq!(count.load(SeqCst), 2);
}

#[test]
fn instance_metadata_is_asked_in_version_two_and_its_silence_is_short() {
    let (imds, count) = serve(|request| {
        let lower = request.to_ascii_lowercase();
        if request.starts_with("PUT /latest/api/token") {
            return (200, "TOKEN".into());
        }
        assert!(
            lower.contains("x-aws-ec2-metadata-token: token"),
            "{request}"
        );
        match request.starts_with("GET /latest/meta-data/iam/security-credentials/ ") {
            true => (200, "train-role".into()),
            false => (200, json_keys("EC2KEY")),
        }
    });
    let ask = |endpoint: &str| {
        outcome(options(
            None,
            &[
                ("AWS_EC2_METADATA_DISABLED", "false"),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint),
            ],
        ))
    };
    assert_eq!(
        ask(&format!("{imds}/")),
        found("instance metadata", "EC2KEY")
    );
    assert_eq!(count.load(SeqCst), 3);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    assert!(
        ask(&silent)
            .unwrap_err()
            .contains("instance metadata: no answer from")
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    assert!(ask(&deaf).unwrap_err().contains("within 1 s"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn sso_trades_the_stored_token_of_a_session() {
    let (sso, _) = serve(|request| {
        assert!(
            request.starts_with("GET /federation/credentials?"),
            "{request}"
        );
        assert!(
            request.contains("account_id=42") && request.contains("role_name=R"),
            "{request}"
        );
        match request
            .to_ascii_lowercase()
            .contains("x-amz-sso_bearer_token: good")
        {
            true => (
                200,
                format!(
                    r#"{{"roleCredentials":{{"accessKeyId":"SSOKEY","secretAccessKey":"{SECRET}",
                    "sessionToken":"T","expiration":{}}}}}"#,
                    (Timestamp::now().as_second() + 3600) * 1000
                ),
            ),
            false => (401, "{}".into()),
        }
    });
    let home = folder("sso");
    std::fs::write(
        home.join(".aws/config"),
        "[profile s]\nsso_session = corp\nsso_account_id = 42\nsso_role_name = R\n\
         [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp/start\n",
    )
    .unwrap();
    let ask = || {
        outcome(options(
            Some(&home),
            &[("AWS_PROFILE", "s"), ("AWS_ENDPOINT_URL_SSO", &sso)],
        ))
    };
    let said = ask().unwrap_err();
    assert!(said.contains("`aws sso login --profile s`"), "{said}");
    let cache = reqsign_core::hash::hex_sha1(b"corp");
    let store = |token: &str| {
        std::fs::write(
            home.join(format!(".aws/sso/cache/{cache}.json")),
            format!(
                r#"{{"accessToken":"{token}","expiresAt":"{}"}}"#,
                in_an_hour()
            ),
        )
        .unwrap();
    };
    store("good");
    assert_eq!(ask(), found("profile 's'", "SSOKEY"));
    store("stale");
    let said = ask().unwrap_err();
    assert!(
        said.contains("401") && said.contains("aws sso login"),
        "{said}"
    );
}
