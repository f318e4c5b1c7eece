"""Endpoints that are dead, elsewhere, or behind TLS and proxies."""

from __future__ import annotations

import builtins
import datetime
import ipaddress
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import QUICK
from verbs import DATA, VERBS, Verb

import s3dlio
from backends import make_store
from s3dlio.errors import ConnectionError, S3dlioError
from s3dlio.testing import Door, Fault, FaultServer, refused_endpoint

Make = Callable[..., s3dlio.Store]
KEYS = {"access_key_id": "AKIDFAULTTEST", "secret_access_key": "secret", "region": "us-east-1"}


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_refused_endpoint_is_named_in_under_a_second(call: Door, verb: Verb) -> None:
    with refused_endpoint() as endpoint:
        store = make_store("s3://bucket", endpoint=endpoint, **KEYS)
        start = time.monotonic()
        with pytest.raises(ConnectionError) as caught:
            verb.run(call, store)
        assert time.monotonic() - start < 1.0
    assert isinstance(caught.value, builtins.ConnectionError)
    assert endpoint.removeprefix("http://") in str(caught.value)


def test_an_unknown_host_is_named(call: Door) -> None:
    store = make_store("s3://bucket", **QUICK, endpoint="http://no-such-host.invalid:9000")
    with pytest.raises(ConnectionError, match=r"no-such-host\.invalid"):
        call(store.get, "key")
    with pytest.raises(ConnectionError, match=r"no-such-host\.invalid"):
        call(store.exists, "key")


def test_a_server_that_went_away_is_a_connection_error(call: Door) -> None:
    with FaultServer("bucket") as server:
        store = make_store("s3://bucket", **QUICK, endpoint=server.endpoint)
        store.put("key", b"1")
    with pytest.raises(ConnectionError):
        call(store.get, "key")
    with pytest.raises(ConnectionError):
        call(store.exists, "key")


def test_a_server_that_comes_back_is_used_again(server: FaultServer, store: s3dlio.Store, call: Door) -> None:
    server.store("bucket", "key", DATA)
    server.fail(Fault.reset(), times=3)
    with pytest.raises(ConnectionError):
        call(store.get, "key")
    assert call(store.get, "key") == DATA


@pytest.mark.parametrize("status", [301, 307])
def test_a_bucket_elsewhere_is_found_or_named(
    server: FaultServer, store: s3dlio.Store, call: Door, status: int
) -> None:
    server.store("bucket", "key", DATA)
    location = f"{server.endpoint}/bucket/key"
    server.fail(Fault.redirect("eu-test-1", status, location), times=1, operation="GetObject")
    try:
        assert call(store.get, "key") == DATA
    except S3dlioError as error:
        assert "eu-test-1" in str(error)
    server.fail(Fault.redirect("eu-test-1", status, location), times=None, operation="GetObject")
    with pytest.raises(S3dlioError, match="eu-test-1"):
        call(store.get, "key")
    assert len(server.requests()) < 20


def test_a_host_style_bucket_is_reached_through_a_proxy(call: Door) -> None:
    with FaultServer("bucket", domain="storage.test") as proxy:
        store = make_store(
            "s3://bucket", **KEYS, endpoint="http://storage.test", addressing="virtual", proxy=proxy.endpoint
        )
        call(store.put, "a key", DATA)
        assert call(store.get, "a key") == DATA
        assert {request.headers["host"] for request in proxy.requests()} == {"bucket.storage.test"}
        assert [bool(request.access_key) for request in proxy.requests()] == [True, True]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file of a key and of a certificate for 127.0.0.1 that signs itself."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "s3dlio test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path: Path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secure(certificate: Path) -> FaultServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FaultServer("bucket", tls=context) as server:
        yield server


def test_a_custom_authority_is_trusted(secure: FaultServer, certificate: Path, call: Door) -> None:
    store = make_store("s3://bucket", **KEYS, endpoint=secure.endpoint, ca_bundle=str(certificate))
    call(store.put, "key", DATA)
    assert call(store.get, "key") == DATA


def test_the_environments_authority_is_trusted(
    secure: FaultServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    store = make_store("s3://bucket", **KEYS, endpoint=secure.endpoint)
    store.put("key", DATA)
    assert store.get("key") == DATA


def test_an_unknown_authority_is_refused(secure: FaultServer, call: Door) -> None:
    store = make_store("s3://bucket", **QUICK, endpoint=secure.endpoint)
    with pytest.raises(ConnectionError, match="(?i)certificate"):
        call(store.get, "key")
    with pytest.raises(ConnectionError):
        call(store.put, "key", b"1")
    assert secure.requests() == []


def test_verification_can_be_turned_off(secure: FaultServer, call: Door) -> None:
    store = make_store("s3://bucket", **KEYS, endpoint=secure.endpoint, verify_tls=False)
    call(store.put, "key", DATA)
    assert call(store.get, "key") == DATA
