"""What is tried again, how often, and what is raised when that did not help."""

from __future__ import annotations

import builtins
import contextlib
import re
from collections.abc import Callable

import pytest
from faults.verbs import BIG, DATA, PARTS, READS, VERBS, Verb

import s3dlio
from s3dlio.errors import (
    AuthenticationError,
    ConnectionError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
    S3dlioError,
    TimeoutError,
)
from s3dlio.testing import Door, Fault, FaultServer

Make = Callable[..., s3dlio.Store]

TRANSIENT = {
    "500": (Fault.answer(500, "InternalError"), S3dlioError),
    "503 SlowDown": (Fault.slow_down(), RateLimitedError),
    "429": (Fault.answer(429, "TooManyRequests"), RateLimitedError),
    "408": (Fault.answer(408, "RequestTimeout"), TimeoutError),
    "reset": (Fault.reset(), ConnectionError),
    "stall": (Fault.stall(), TimeoutError),
}
BODIES = {
    "reset at 0": Fault.reset(0),
    "reset at 1": Fault.reset(1),
    "reset at 500": Fault.reset(500),
    "truncated at 0": Fault.truncate(0),
    "truncated at 999": Fault.truncate(999),
    "stall at 300": Fault.stall(300),
    "shorter than said": Fault.wrong_length(5),
}
FINAL = {
    "401": (Fault.unauthorized(), AuthenticationError),
    "403": (Fault.access_denied(), PermissionDeniedError),
    "ExpiredToken": (Fault.expired_token(), AuthenticationError),
    "InvalidAccessKeyId": (Fault.answer(403, "InvalidAccessKeyId"), AuthenticationError),
    "SignatureDoesNotMatch": (Fault.answer(403, "SignatureDoesNotMatch"), AuthenticationError),
    "QuotaExceeded": (Fault.quota_exceeded(), QuotaExceededError),
}


@pytest.fixture(autouse=True)
def stored(server: FaultServer) -> None:
    server.store("bucket", "key", DATA)


@pytest.mark.parametrize("name", TRANSIENT)
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_passing_failure_is_tried_again(
    server: FaultServer, make: Make, call: Door, verb: Verb, name: str
) -> None:
    fault, _ = TRANSIENT[name]
    store = make(**PARTS)
    server.fail(fault, times=1 if name == "stall" else 2, operation=verb.operation)
    assert verb.good(server, verb.run(call, store))
    assert store.counters()["retries"] == (1 if name == "stall" else 2)


@pytest.mark.parametrize("name", TRANSIENT)
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_lasting_failure_is_raised_with_its_attempts(
    server: FaultServer, make: Make, verb: Verb, name: str
) -> None:
    fault, expected = TRANSIENT[name]
    if verb.operation == "HeadObject" and name == "503 SlowDown":
        expected = S3dlioError  # the answer to a HEAD has no body, so no code
    server.fail(fault, times=None, operation=verb.operation)
    with pytest.raises(expected) as caught:
        verb.run(Door("sync"), make(**PARTS, stall_timeout_seconds=0.1, put_in_flight=1))
    error = caught.value
    assert error.attempts == 3
    assert error.retryable is True
    assert "after 3 attempts" in str(error)
    # 6: each of two parts may have been tried.
    assert len(server.requests(verb.operation)) in (3, 6)
    if fault.status is not None:
        assert error.status == fault.status
        if verb.operation != "HeadObject":
            assert error.code == fault.code
            assert error.request_id is not None
            assert error.request_id in str(error)


@pytest.mark.parametrize("fault", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("verb", READS, ids=str)
def test_a_broken_body_is_completed(
    server: FaultServer, store: s3dlio.Store, call: Door, verb: Verb, fault: Fault
) -> None:
    server.fail(fault, times=2, operation="GetObject")
    assert verb.good(server, verb.run(call, store))


@pytest.mark.parametrize(
    "fault", [BODIES[name] for name in BODIES if "at 0" in name or "said" in name], ids=repr
)
def test_a_body_that_never_comes_is_an_error(
    server: FaultServer, store: s3dlio.Store, fault: Fault
) -> None:
    server.fail(fault, times=None, operation="GetObject")
    with pytest.raises((ConnectionError, IntegrityError, TimeoutError)):
        store.get("key")
    assert len(server.requests("GetObject")) == 3


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        (verb, name)
        for verb in VERBS
        for name in FINAL
        # The answer to a HEAD has no body, so no code.
        if verb.operation != "HeadObject" or name in ("401", "403")
    ],
    ids=str,
)
def test_a_final_answer_is_not_tried_again(
    server: FaultServer, make: Make, verb: Verb, name: str
) -> None:
    fault, expected = FINAL[name]
    server.fail(fault, times=None, operation=verb.operation)
    with pytest.raises(expected) as caught:
        verb.run(Door("sync"), make(**PARTS, put_in_flight=1))
    assert caught.value.attempts == 1
    assert caught.value.retryable is False
    assert len(server.requests(verb.operation)) in (
        1,
        2,
    )  # 2: each of two parts may have been tried


def test_one_part_that_is_denied_among_others_that_pass_is_told(
    server: FaultServer, make: Make, call: Door
) -> None:
    server.fail(Fault.access_denied(), operation="UploadPart", skip=1)
    with pytest.raises(PermissionDeniedError):
        call(make(**PARTS | {"put_in_flight": 4}).put, "new", BIG * 3)
    assert server.stored("bucket", "new") is None


def test_what_is_not_there_is_asked_for_once(
    server: FaultServer, store: s3dlio.Store, call: Door
) -> None:
    with pytest.raises(NotFoundError):
        call(store.get, "missing")
    assert call(store.exists, "missing") is False
    assert [request.operation for request in server.requests()] == ["GetObject", "HeadObject"]


def test_retry_after_is_waited_for(server: FaultServer, make: Make) -> None:
    server.fail(Fault.slow_down(retry_after=1), operation="GetObject")
    assert make(backoff_max_seconds=5.0).get("key") == DATA
    first, second = server.requests("GetObject")
    assert second.arrived - first.arrived >= 1.0


def test_a_retry_after_beyond_all_patience_ends_the_call(server: FaultServer, make: Make) -> None:
    server.fail(Fault.slow_down(retry_after=3600), operation="GetObject")
    with pytest.raises(RateLimitedError):
        make(backoff_max_seconds=5.0).get("key")
    assert len(server.requests()) == 1


def test_a_body_longer_than_its_length_is_never_a_short_result(
    server: FaultServer, store: s3dlio.Store, call: Door
) -> None:
    server.fail(Fault.wrong_length(-5), operation="GetObject")
    with contextlib.suppress(IntegrityError):
        assert call(store.get, "key") == DATA


def test_max_attempts_of_1_tries_once(server: FaultServer, make: Make, call: Door) -> None:
    server.fail(Fault.slow_down(), operation="GetObject")
    with pytest.raises(RateLimitedError) as caught:
        call(make(max_attempts=1).get, "key")
    assert caught.value.attempts == 1
    assert len(server.requests()) == 1


def test_one_stalled_object_of_many_does_not_hold_the_others(
    server: FaultServer, store: s3dlio.Store, call: Door
) -> None:
    for i in range(20):
        server.store("bucket", f"k{i}", b"%d" % i)
    server.fail(Fault.stall(), key="k7")
    results = call(store.get_many, [f"k{i}" for i in range(20)])
    assert [bytes(b) for b in results] == [b"%d" % i for i in range(20)]
    assert len(server.requests("GetObject")) == 21


def test_a_service_that_drips_does_not_hold_a_read_for_ever(
    server: FaultServer, make: Make, call: Door
) -> None:
    server.fail(Fault.reset(10), times=None, operation="GetObject")
    with pytest.raises(ConnectionError) as caught:
        call(make(max_attempts=3, connect_attempts=3).get, "key")
    assert caught.value.attempts == 3
    assert len(server.requests()) == 3


def test_slow_is_not_stalled(server: FaultServer, make: Make, call: Door) -> None:
    server.fail(Fault.slow(1000), operation="GetObject")
    assert call(make(stall_timeout_seconds=0.5).get, "key") == DATA
    assert len(server.requests()) == 1


def test_an_upload_that_is_reset_is_sent_again(server: FaultServer, make: Make, call: Door) -> None:
    server.fail(Fault.reset_upload(100_000), operation="PutObject")
    call(make().put, "new", BIG[:1_000_000])
    assert server.stored("bucket", "new") == BIG[:1_000_000]


@pytest.mark.parametrize("operation", ["CompleteMultipartUpload", "CopyObject"])
def test_an_error_inside_200_is_never_a_success(
    server: FaultServer, make: Make, call: Door, operation: str
) -> None:
    store = make(**PARTS)
    server.fail(Fault.error_inside_ok(), times=None, operation=operation)
    verb, *arguments = (
        (store.copy, "key", "new") if operation == "CopyObject" else (store.put, "new", BIG)
    )
    with pytest.raises(S3dlioError) as caught:
        call(verb, *arguments)
    assert caught.value.code == "InternalError"
    assert server.stored("bucket", "new") is None
    assert server.wait_until(lambda: not server.objects.uploads), "the parts were left behind"


def test_a_put_in_parts_that_fails_leaves_no_parts(
    server: FaultServer, make: Make, call: Door
) -> None:
    server.fail(Fault.access_denied(), times=None, operation="UploadPart")
    with pytest.raises(PermissionDeniedError):
        call(make(**PARTS).put, "new", BIG)
    assert server.wait_until(lambda: not server.objects.uploads)


def test_the_message_has_one_form(server: FaultServer, store: s3dlio.Store) -> None:
    server.fail(Fault.access_denied(), times=None)
    with pytest.raises(PermissionDeniedError) as caught:
        store.get("key")
    message = str(caught.value)
    assert re.match(
        r"cannot \w+ s3://bucket/key: .+ \(403 AccessDenied, request [0-9A-F]{16}\)", message
    )
    assert caught.value.hint is None or f"\nhint: {caught.value.hint}" in message
    assert isinstance(caught.value, builtins.PermissionError)
    assert caught.value.kind == "permission_denied"
    assert caught.value.uri == "s3://bucket/key"
