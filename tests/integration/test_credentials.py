"""Where the credentials of a request come from, seen in its signature."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from backends import make_store

import s3dlio
from s3dlio.errors import AuthenticationError
from s3dlio.testing import Fault, FaultServer


@pytest.fixture
def store(counting: FaultServer) -> Callable[..., s3dlio.Store]:
    counting.store("bucket", "key", b"1")

    def make(**options: Any) -> s3dlio.Store:
        return make_store(
            "s3://bucket", **{"endpoint": counting.endpoint, "region": "us-east-1"} | options
        )

    return make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".aws").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def soon(seconds: float = 3600) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def signer(server: FaultServer, store: s3dlio.Store) -> tuple[str | None, str | None]:
    """The key id and the session token of a request of `store`."""
    server.forget()
    assert store.get("key") == b"1"
    request = server.requests()[-1]
    return request.access_key, request.headers.get("x-amz-security-token")


class Metadata:
    """Answers each path with what `answers` holds; logs method, path and headers."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def serve(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                outer.asked.append(
                    (self.command, path, {n.lower(): v for n, v in self.headers.items()})
                )
                status, body = outer.answers.get(path, (404, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = serve

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    running = Metadata()
    yield running
    running.close()


def test_explicit_keys_win(
    counting: FaultServer, store: Callable[..., s3dlio.Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    explicit = store(access_key_id="EXPLICIT", secret_access_key="s", session_token="token")
    assert signer(counting, explicit) == ("EXPLICIT", "token")
    assert signer(counting, store()) == ("FROMENV", None)


def test_the_environment_brings_keys_and_token(
    counting: FaultServer, store: Callable[..., s3dlio.Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "envtoken")
    assert signer(counting, store()) == ("FROMENV", "envtoken")


def test_a_profile_brings_keys_region_and_endpoint(
    counting: FaultServer,
    store: Callable[..., s3dlio.Store],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store()
    (home / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = s\n"
        "[work]\naws_access_key_id = WORK\naws_secret_access_key = s\naws_session_token = worktoken\n"
    )
    (home / ".aws/config").write_text(
        f"[profile work]\nregion = eu-work-1\nendpoint_url = {counting.endpoint}\n[default]\nregion = us-default-1\n"
    )
    assert signer(counting, store()) == ("DEFAULT", None)
    assert signer(counting, store(profile="work")) == ("WORK", "worktoken")
    monkeypatch.setenv("AWS_PROFILE", "work")
    by_profile = s3dlio.Store("s3://bucket")
    assert signer(counting, by_profile) == ("WORK", "worktoken")
    assert "/eu-work-1/s3/" in counting.requests()[-1].headers["authorization"]


def test_a_profile_that_is_not_there_is_named(
    store: Callable[..., s3dlio.Store], home: Path
) -> None:
    with pytest.raises((ValueError, AuthenticationError), match="nowhere"):
        store(profile="nowhere").get("key")


def test_a_credential_process_is_asked(
    counting: FaultServer, store: Callable[..., s3dlio.Store], home: Path
) -> None:
    answer = {
        "Version": 1,
        "AccessKeyId": "PROCESS",
        "SecretAccessKey": "s",
        "SessionToken": "ptoken",
        "Expiration": soon(),
    }
    program = home / "give keys.py"
    program.write_text(f"print({json.dumps(json.dumps(answer))})")
    (home / ".aws/config").write_text(
        f'[profile outside]\ncredential_process = {sys.executable} "{program}"\n'
    )
    assert signer(counting, store(profile="outside")) == ("PROCESS", "ptoken")


def test_a_credential_process_that_fails_is_told(
    store: Callable[..., s3dlio.Store], home: Path
) -> None:
    (home / ".aws/config").write_text(
        "[profile outside]\ncredential_process = sh -c 'echo no luck >&2; exit 3'\n"
    )
    with pytest.raises(AuthenticationError, match=r"credential_process|no luck"):
        store(profile="outside").get("key")


def test_a_callable_is_asked_again_before_its_keys_expire(
    counting: FaultServer, store: Callable[..., s3dlio.Store]
) -> None:
    asked: list[int] = []

    def keys() -> dict[str, object]:
        asked.append(1)
        return {
            "access_key_id": f"CALL{len(asked)}",
            "secret_access_key": "s",
            "session_token": "t",
            # The first keys are soon over; the next hold for an hour.
            "expires_at": time.time() + (5 if len(asked) == 1 else 3600),
        }

    made = store(credentials=keys)
    assert asked == []
    assert signer(counting, made)[0] == "CALL1"
    for _ in range(100):
        last = signer(counting, made)[0]
        if last == "CALL2":
            break
        time.sleep(0.05)
    assert last == "CALL2"
    count = len(asked)
    assert signer(counting, made) == ("CALL2", "t")
    assert len(asked) == count == 2


def test_a_callable_may_give_an_object_and_a_datetime(
    counting: FaultServer, store: Callable[..., s3dlio.Store]
) -> None:
    class Keys:
        access_key_id = "OBJECT"
        secret_access_key = "s"
        session_token = None
        expires_at = datetime.now(UTC) + timedelta(hours=1)

    made = store(credentials=Keys)
    assert signer(counting, made) == ("OBJECT", None)


def test_a_callable_that_fails_is_an_authentication_error(
    store: Callable[..., s3dlio.Store],
) -> None:
    def keys() -> dict[str, str]:
        raise RuntimeError("the vault is sealed")

    with pytest.raises(AuthenticationError, match="the vault is sealed"):
        store(credentials=keys).get("key")
    with pytest.raises(AuthenticationError):
        store(credentials=lambda: {"access_key_id": "only half"}).get("key")


def test_anonymous_requests_are_not_signed(
    counting: FaultServer, store: Callable[..., s3dlio.Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert signer(counting, store(anonymous=True)) == (None, None)
    store(anonymous=True).put("new", b"1")
    assert "authorization" not in counting.requests()[-1].headers


def test_a_container_brings_keys(
    counting: FaultServer,
    store: Callable[..., s3dlio.Store],
    metadata: Metadata,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = {
        "AccessKeyId": "CONTAINER",
        "SecretAccessKey": "s",
        "Token": "ctoken",
        "Expiration": soon(),
    }
    metadata.answers["/keys"] = (200, json.dumps(answer).encode())
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.endpoint}/keys")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc")
    assert signer(counting, store()) == ("CONTAINER", "ctoken")
    assert metadata.asked[0][2]["authorization"] == "Basic abc"


def test_an_instance_brings_keys(
    counting: FaultServer,
    store: Callable[..., s3dlio.Store],
    metadata: Metadata,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = {"Code": "Success", "AccessKeyId": "INSTANCE", "SecretAccessKey": "s", "Token": "itoken", "Expiration": soon(),
              "Type": "AWS-HMAC", "LastUpdated": soon(-60)}  # fmt: skip
    metadata.answers["/latest/api/token"] = (200, b"imds-token")
    metadata.answers["/latest/meta-data/iam/security-credentials/"] = (200, b"the-role")
    metadata.answers["/latest/meta-data/iam/security-credentials/the-role"] = (
        200,
        json.dumps(answer).encode(),
    )
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint)
    assert signer(counting, store()) == ("INSTANCE", "itoken")
    assert metadata.asked[-1][2]["x-aws-ec2-metadata-token"] == "imds-token"


def test_a_web_identity_is_exchanged(
    counting: FaultServer,
    store: Callable[..., s3dlio.Store],
    metadata: Metadata,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metadata.answers["/"] = (
        200,
        f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
        <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
        <SessionToken>wtoken</SessionToken><Expiration>{soon()}</Expiration></Credentials>
        </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>""".encode(),
    )
    (tmp_path / "token").write_text("identity")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", metadata.endpoint)
    assert signer(counting, store()) == ("WEB", "wtoken")


def test_no_credentials_at_all_is_said_with_what_was_tried(
    store: Callable[..., s3dlio.Store], home: Path
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        store().get("key")
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
    assert caught.value.hint


def test_a_cloud_that_is_not_there_is_given_up_in_time(
    store: Callable[..., s3dlio.Store], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    # An address for documentation: nobody answers there.
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://192.0.2.1")
    start = time.monotonic()
    with pytest.raises(AuthenticationError):
        store().get("key")
    assert time.monotonic() - start < 10


def test_keys_that_expired_meanwhile_are_fetched_anew_once(
    counting: FaultServer, store: Callable[..., s3dlio.Store]
) -> None:
    asked: list[int] = []

    def keys() -> dict[str, object]:
        asked.append(1)
        return {
            "access_key_id": f"CALL{len(asked)}",
            "secret_access_key": "s",
            "expires_at": time.time() + 3600,
        }

    made = store(credentials=keys)
    assert signer(counting, made)[0] == "CALL1"
    time.sleep(1.2)
    counting.fail(Fault.expired_token())
    assert signer(counting, made)[0] == "CALL2"
    counting.fail(Fault.expired_token(), times=None)
    with pytest.raises(AuthenticationError):
        made.get("key")


def test_endpoint_and_region_come_from_the_environment(
    counting: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting.store("bucket", "key", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "ap-test-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", counting.endpoint)
    assert s3dlio.get("s3://bucket/key") == b"1"
    assert "/ap-test-1/s3/" in counting.requests()[-1].headers["authorization"]
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", counting.endpoint)
    assert s3dlio.get("s3://bucket/key") == b"1"


def test_the_environment_of_this_test_has_no_credentials() -> None:
    assert not [
        name
        for name in os.environ
        if name.startswith("AWS_") and name != "AWS_EC2_METADATA_DISABLED"
    ]
