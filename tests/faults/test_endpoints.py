"""Endpoints that are dead, elsewhere, or behind TLS and proxies."""

from __future__ import annotations

import builtins
import ipaddress
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backends import make_store
from faults.verbs import BIG, DATA, PARTS, QUICK, VERBS, Verb, outcome

import s3dlio
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


def test_a_server_that_comes_back_is_used_again(
    server: FaultServer, store: s3dlio.Store, call: Door
) -> None:
    server.store("bucket", "key", DATA)
    server.fail(Fault.reset(), times=3)
    with pytest.raises(ConnectionError):
        call(store.get, "key")
    assert call(store.get, "key") == DATA


REGIONAL: dict[str, tuple[str, Callable[[s3dlio.Store, Door], object]]] = {
    "get": ("GetObject", lambda store, call: call(store.get, "key")),
    "stat": ("HeadObject", lambda store, call: call(store.stat, "key")),
    "put": ("PutObject", lambda store, call: call(store.put, "new", b"1")),
    "put in parts": ("CreateMultipartUpload", lambda store, call: call(store.put, "new", BIG)),
    "list": ("ListObjectsV2", lambda store, call: call(store.list, "")),
    "iter_list": ("ListObjectsV2", lambda store, call: call.each(store.iter_list, "")),
    "delete": ("DeleteObject", lambda store, call: call(store.delete, "key")),
    "delete_many": ("DeleteObjects", lambda store, call: call(store.delete_many, ["key"])),
}


def test_requests_sent_to_the_wrong_region_side_by_side_are_all_sent_on(
    server: FaultServer, make: Make, call: Door
) -> None:
    keys = [f"k{i}" for i in range(8)]
    for key in keys:
        server.store("bucket", key, key.encode())
    # Late, so that all of them are under way before the first is told.
    late = replace(Fault.redirect("eu-test-1"), delay_seconds=0.3)
    server.fail(late, times=len(keys), operation="GetObject")
    assert [bytes(b) for b in call(make().get_many, keys)] == [key.encode() for key in keys]


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("verb", REGIONAL)
def test_the_region_that_the_service_names_is_asked_from_then_on(
    server: FaultServer, make: Make, call: Door, verb: str, status: int
) -> None:
    server.store("bucket", "key", b"data")
    store = make(region="us-east-1", **PARTS)
    operation, run = REGIONAL[verb]
    server.fail(Fault.redirect("eu-test-1", status), operation=operation)
    run(store, call)
    first, second = server.requests(operation)
    assert "/us-east-1/s3/" in first.headers["authorization"]
    assert "/eu-test-1/s3/" in second.headers["authorization"]
    assert server.stored("bucket", "new") in (None, b"1", BIG)
    call(store.exists, "key")
    assert "/eu-test-1/s3/" in server.requests("HeadObject")[-1].headers["authorization"]


@pytest.mark.parametrize("status", [301, 307])
def test_a_bucket_elsewhere_is_found_or_named(
    server: FaultServer, store: s3dlio.Store, call: Door, status: int
) -> None:
    server.store("bucket", "key", DATA)
    location = f"{server.endpoint}/bucket/key"
    server.fail(Fault.redirect("eu-test-1", status, location), times=1, operation="GetObject")
    result = outcome(lambda: call(store.get, "key"))
    assert result == DATA or "eu-test-1" in str(result)
    server.fail(Fault.redirect("eu-test-1", status, location), times=None, operation="GetObject")
    with pytest.raises(S3dlioError, match="eu-test-1"):
        call(store.get, "key")
    assert len(server.requests()) < 20


def test_a_host_style_bucket_is_reached_through_a_proxy(call: Door) -> None:
    with FaultServer("bucket", domain="storage.test") as proxy:
        store = make_store(
            "s3://bucket",
            **KEYS,
            endpoint="http://storage.test",
            addressing="virtual",
            proxy=proxy.endpoint,
        )
        call(store.put, "a key", DATA)
        assert call(store.get, "a key") == DATA
        assert {request.headers["host"] for request in proxy.requests()} == {"bucket.storage.test"}
        assert [bool(request.access_key) for request in proxy.requests()] == [True, True]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """authority.pem, and server.pem: key and certificate of 127.0.0.1, signed by that authority."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(subject: str, key: Any, issuer: str, signer: Any, *, is_authority: bool) -> Any:
        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        now = datetime.now(UTC)
        host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([host]), critical=False)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    folder = tmp_path_factory.mktemp("tls")
    authority = made(
        "s3dlio test authority", root, "s3dlio test authority", root, is_authority=True
    )
    server = made("127.0.0.1", leaf, "s3dlio test authority", root, is_authority=False)
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + server.public_bytes(pem)
    )
    return folder


@pytest.fixture
def secure(certificates: Path) -> Iterator[FaultServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    with FaultServer("bucket", tls=context) as server:
        yield server


def test_a_custom_authority_is_trusted(secure: FaultServer, certificates: Path, call: Door) -> None:
    store = make_store(
        "s3://bucket",
        **KEYS,
        endpoint=secure.endpoint,
        ca_bundle=str(certificates / "authority.pem"),
    )
    call(store.put, "key", DATA)
    assert call(store.get, "key") == DATA


def test_the_environments_authority_is_trusted(
    secure: FaultServer, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "authority.pem"))
    store = make_store("s3://bucket", **KEYS, endpoint=secure.endpoint)
    store.put("key", DATA)
    assert store.get("key") == DATA


def test_an_unknown_authority_is_refused(secure: FaultServer, call: Door) -> None:
    store = make_store("s3://bucket", **QUICK, endpoint=secure.endpoint)
    with pytest.raises(ConnectionError, match=r"(?i)certificate"):
        call(store.get, "key")
    with pytest.raises(ConnectionError):
        call(store.put, "key", b"1")
    assert secure.requests() == []


def test_verification_can_be_turned_off(secure: FaultServer, call: Door) -> None:
    store = make_store("s3://bucket", **KEYS, endpoint=secure.endpoint, verify_tls=False)
    call(store.put, "key", DATA)
    assert call(store.get, "key") == DATA
