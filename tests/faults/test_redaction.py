"""Secrets stay where they are."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable

import pytest
from backends import make_store, options_of
from faults.verbs import QUICK, VERBS, Verb

import s3dlio
from s3dlio.errors import S3dlioError
from s3dlio.testing import Door, Fault, FaultServer

TOKEN = "FwoGZXIvYXdzsession=token+of/test"
SECRETS = (
    QUICK["secret_access_key"],
    TOKEN,
    "X-Amz-Signature",
    "Signature=",
    "Credential=",
    "proxypassword",
)
Make = Callable[..., s3dlio.Store]


def assert_no_secret(text: str) -> None:
    for secret in SECRETS:
        assert str(secret) not in text


@pytest.mark.parametrize("fault", [Fault.access_denied(), Fault.answer(403, "SignatureDoesNotMatch"), Fault.reset(),
                                   Fault.answer(500, "InternalError"), Fault.error_inside_ok()], ids=lambda f: f.code or "reset")  # fmt: skip
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_no_error_shows_a_secret(
    server: FaultServer, make: Make, call: Door, verb: Verb, fault: Fault
) -> None:
    server.fail(fault, times=None)
    try:
        verb.run(call, make(session_token=TOKEN))
    except S3dlioError as error:
        assert_no_secret("".join(traceback.format_exception(error)))
        assert_no_secret(repr(error))
        assert_no_secret(repr(vars(error)))


def test_no_repr_shows_a_secret(make: Make) -> None:
    options = {**QUICK, "session_token": TOKEN, "proxy": "http://user:proxypassword@127.0.0.1:3128"}
    assert_no_secret(repr(options_of(**options)))
    store = make(session_token=TOKEN)
    assert_no_secret(repr(store))
    assert_no_secret(str(store))
    assert_no_secret(repr(store.__reduce_ex__(4)))


def test_a_dead_proxy_is_named_without_its_password() -> None:
    store = make_store("s3://bucket", **QUICK, endpoint="http://storage.test",
                       proxy="http://user:proxypassword@127.0.0.1:1")  # fmt: skip
    with pytest.raises(S3dlioError) as caught:
        store.get("key")
    assert_no_secret(str(caught.value))


def test_a_pickled_store_still_works(server: FaultServer, store: s3dlio.Store) -> None:
    server.store("bucket", "key", b"1")
    assert pickle.loads(pickle.dumps(store)).get("key") == b"1"
