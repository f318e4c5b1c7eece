"""Options as values: refused when wrong, redacted when shown, read from an environment."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from s3dlio.options import (
    DirectOptions,
    HttpOptions,
    ReadOptions,
    RetryOptions,
    S3Options,
    StoreOptions,
    WriteOptions,
    environment_snapshot,
)

GROUPS = [ReadOptions, WriteOptions, RetryOptions, HttpOptions, S3Options, DirectOptions]
NAN, INFINITY = float("nan"), float("inf")


def ask() -> dict[str, str]:
    return {"access_key_id": "a", "secret_access_key": "b"}


@pytest.mark.parametrize(
    ("group", "given", "text"),
    [
        (ReadOptions, {"part_bytes": 12}, "`part_bytes` must be at least 65536, got 12"),
        (ReadOptions, {"max_in_flight": 0}, "`max_in_flight` must be at least 1, got 0"),
        (ReadOptions, {"join_gap_bytes": -1}, "`join_gap_bytes` must be at least 0, got -1"),
        (WriteOptions, {"put_part_bytes": 5 * 2**20 - 1}, "`put_part_bytes` must be at least"),
        (WriteOptions, {"put_part_bytes": 5 * 2**30 + 1}, "`put_part_bytes` must be at most"),
        (RetryOptions, {"backoff_seconds": 30.0}, "must be at least `backoff_seconds`"),
        (HttpOptions, {"stall_timeout_seconds": NAN}, "`stall_timeout_seconds` must be above 0"),
        (HttpOptions, {"stall_timeout_seconds": INFINITY}, "got inf"),
        (HttpOptions, {"connect_timeout_seconds": -1.0}, "got -1.0"),
        (HttpOptions, {"proxy": "proxy:3128"}, "`proxy` must be like http://host:port"),
        (HttpOptions, {"ca_bundle": "a.pem", "verify_tls": False}, "`ca_bundle` has no use"),
        (S3Options, {"endpoint": "localhost:9000"}, "`endpoint` must be like http://host:port"),
        (S3Options, {"endpoint": "http://me:pw@host"}, "`endpoint` must hold no user name"),
        (S3Options, {"region": ""}, "`region` must be a text"),
        (S3Options, {"addressing": "both"}, "`addressing` must be one of"),
        (S3Options, {"access_key_id": "a"}, "belong together"),
        (S3Options, {"session_token": "a"}, "`session_token` belongs to"),
        (S3Options, {"anonymous": True, **ask()}, "contradict each other"),
        (S3Options, {"credentials": ask, **ask()}, "contradict each other"),
        (S3Options, {"anonymous": True, "role_arn": "arn:x"}, "contradict each other"),
        (DirectOptions, {"direct_fallback": "silently"}, "`direct_fallback` must be one of"),
    ],
)
def test_an_impossible_value_is_refused_by_name(group: Any, given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        group(**given)


@pytest.mark.parametrize(
    ("group", "given"),
    [
        (ReadOptions, {"part_bytes": True}),
        (ReadOptions, {"part_bytes": "8"}),
        (ReadOptions, {"part_bytes": 1e6}),
        (ReadOptions, {"mmap": 1}),
        (HttpOptions, {"stall_timeout_seconds": None}),
        (HttpOptions, {"stall_timeout_seconds": True}),
        (HttpOptions, {"proxy": 3128}),
        (S3Options, {"credentials": "AKID"}),
        (ReadOptions, {"part_size": 2**20}),
        (StoreOptions, {"read": RetryOptions()}),
    ],
)
def test_a_wrong_type_or_name_is_a_type_error(group: Any, given: Any) -> None:
    with pytest.raises(TypeError, match=next(iter(given))):
        group(**given)


@pytest.mark.parametrize("group", GROUPS)
def test_options_are_frozen_and_need_names(group: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(group(), fields(group)[0].name, None)
    with pytest.raises(TypeError):
        group(1)


def test_options_are_values() -> None:
    options = StoreOptions(read=ReadOptions(max_in_flight=8), s3=S3Options(credentials=ask))
    assert options == pickle.loads(pickle.dumps(options))
    assert hash(options) == hash(pickle.loads(pickle.dumps(options)))
    assert options != StoreOptions()


def test_a_shown_option_holds_no_secret() -> None:
    options = StoreOptions(
        s3=S3Options(access_key_id="AKID", secret_access_key="HIDDEN", session_token="TOKEN"),
        http=HttpOptions(proxy="http://me:HIDDEN@proxy:3128"),
    )
    shown = repr(options) + str(options)
    assert not any(secret in shown for secret in ("AKID", "HIDDEN", "TOKEN", "me:"))
    assert "http://***@proxy:3128" in shown
    with pytest.raises(ValueError, match="proxy") as caught:
        HttpOptions(proxy="ftp://me:HIDDEN@proxy")
    assert "HIDDEN" not in str(caught.value)


def test_what_is_default_is_not_shown() -> None:
    assert repr(StoreOptions()) == "StoreOptions()"
    assert repr(ReadOptions(part_bytes=2**20)) == "ReadOptions(part_bytes=1048576)"


def test_as_core_is_flat_and_names_every_field_once() -> None:
    names = [field.name for group in GROUPS for field in fields(group)]
    assert len(names) == len(set(names))
    assert sorted(StoreOptions().as_core()) == sorted(names)
    assert StoreOptions().as_core()["addressing"] == "auto"


class TestFromEnv:
    @pytest.mark.parametrize(
        ("variable", "text", "group", "name", "value"),
        [
            ("S3DLIO_PART_BYTES", "1048576", "read", "part_bytes", 2**20),
            ("S3DLIO_POOL_BYTES", "0", "read", "pool_bytes", 0),
            ("S3DLIO_MMAP", "True", "read", "mmap", True),
            ("S3DLIO_PUT_IN_FLIGHT", "2", "write", "put_in_flight", 2),
            ("S3DLIO_BACKOFF_SECONDS", "0.5", "retry", "backoff_seconds", 0.5),
            ("S3DLIO_CA_BUNDLE", "/a.pem", "http", "ca_bundle", "/a.pem"),
            ("S3DLIO_VERIFY_TLS", "0", "http", "verify_tls", False),
            ("S3DLIO_ADDRESSING", "path", "s3", "addressing", "path"),
            ("S3DLIO_ANONYMOUS", "1", "s3", "anonymous", True),
            ("S3DLIO_DIRECT_FALLBACK", "buffered", "direct", "direct_fallback", "buffered"),
        ],
    )
    def test_a_variable_sets_its_field(
        self, variable: str, text: str, group: str, name: str, value: object
    ) -> None:
        options = StoreOptions.from_env({variable: text})
        assert getattr(getattr(options, group), name) == value

    @pytest.mark.parametrize(
        ("environ", "text"),
        [
            ({"S3DLIO_PART_BYTES": "eight"}, "S3DLIO_PART_BYTES='eight': expected an integer"),
            ({"S3DLIO_PART_BYTES": "8"}, "S3DLIO_PART_BYTES=8: `part_bytes` must be at least"),
            ({"S3DLIO_MMAP": "yes"}, "S3DLIO_MMAP='yes': expected 1, true, 0 or false"),
            ({"S3DLIO_STALL_TIMEOUT_SECONDS": "nan"}, "S3DLIO_STALL_TIMEOUT_SECONDS=nan"),
            ({"S3DLIO_BACKOFF_SECONDS": "30"}, "S3DLIO_BACKOFF_SECONDS=30.0"),
        ],
    )
    def test_a_wrong_variable_is_named_with_its_value(
        self, environ: dict[str, str], text: str
    ) -> None:
        with pytest.raises(ValueError, match=text):
            StoreOptions.from_env(environ)

    def test_an_empty_variable_counts_as_absent(self) -> None:
        assert StoreOptions.from_env({"S3DLIO_PART_BYTES": ""}) == StoreOptions()

    def test_credentials_come_from_no_variable_of_ours(self) -> None:
        environ = {"S3DLIO_ACCESS_KEY_ID": "a", "S3DLIO_SECRET_ACCESS_KEY": "b"}
        assert StoreOptions.from_env(environ) == StoreOptions()


def test_a_snapshot_is_of_this_moment_and_of_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("S3DLIO_MMAP", "1")
    monkeypatch.setenv("UNRELATED", "1")
    assert (
        environment_snapshot("s3").items()
        >= {"AWS_REGION": "eu-west-1", "S3DLIO_MMAP": "1"}.items()
    )
    assert "UNRELATED" not in environment_snapshot("s3")
    assert environment_snapshot("file") == {"S3DLIO_MMAP": "1"}
    monkeypatch.delenv("AWS_REGION")
    assert "AWS_REGION" not in environment_snapshot("s3")
