"""A store as a value: its root, its keys, its options; and the default stores of full URIs."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import s3dlio
from s3dlio import InvalidUriError, ReadOptions, S3Options, Store, StoreOptions
from s3dlio.registry import default_store

S3 = StoreOptions(s3=S3Options(access_key_id="AKID", secret_access_key="HIDDEN"))


def test_a_store_pickles_as_its_root_and_its_options() -> None:
    for store in (Store("s3://train/run1", S3), Store("file:///data"), Store("memory://m")):
        other = pickle.loads(pickle.dumps(store))
        assert other == store
        assert hash(other) == hash(store)
        assert (other.uri, other.options) == (store.uri, store.options)
    assert Store("s3://train", S3) != Store("s3://train/run1", S3)
    assert Store("memory://m") != Store("memory://m", StoreOptions(read=ReadOptions(mmap=True)))


def test_a_shown_store_holds_no_secret() -> None:
    shown = repr(Store("s3://train/run1", S3))
    assert shown.startswith("Store('s3://train/run1/', StoreOptions(")
    assert "HIDDEN" not in shown
    assert "AKID" not in shown


def test_names_are_below_the_root_and_so_are_uris() -> None:
    store = Store("memory://keys/run1")
    store.put("a", b"1")
    store.put("memory://keys/run1/b", b"2")
    assert s3dlio.get_many(["memory://keys/run1/a", "memory://keys/run1/b"]) == [b"1", b"2"]
    for name in (
        "memory://keys/run10/a",
        "memory://other/run1/a",
        "",
        "memory://keys/run1",
        "../a",
    ):
        with pytest.raises(InvalidUriError):
            store.get(name)


def test_what_the_environment_says_holds_at_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    first = default_store("s3://train/a")
    assert default_store("s3://train/b") is first
    monkeypatch.setenv("S3DLIO_MAX_ATTEMPTS", "1")
    second = default_store("s3://train/a")
    assert second is not first
    assert second.options.retry.max_attempts == 1
    monkeypatch.delenv("S3DLIO_MAX_ATTEMPTS")
    assert default_store("s3://train/a") is first


def test_options_given_are_all_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3DLIO_MAX_ATTEMPTS", "1")
    assert Store("memory://m", StoreOptions()).options.retry.max_attempts == 5
    assert Store("memory://m").options.retry.max_attempts == 1


@pytest.mark.parametrize("expires", [0, -1, float("nan"), 604_801, True, "60"])
def test_an_impossible_expiry_is_refused(expires: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="expires"):
        Store("s3://train", S3).presign("a", "GET", expires)


def test_a_file_is_not_moved_onto_itself_by_its_other_scheme() -> None:
    with pytest.raises(ValueError, match="one object"):
        s3dlio.move("file:///data/a", "direct:///data/a")


def test_a_service_is_not_a_bucket() -> None:
    for uri in ("s3://train", "s3", "http://"):
        with pytest.raises(InvalidUriError, match="expected a service"):
            s3dlio.list_buckets(uri)
    with pytest.raises(InvalidUriError, match="expected a bucket"):
        s3dlio.create_bucket("s3://train/key")
