"""The contract of listings and buckets."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from s3dlio import Store
from s3dlio.errors import AlreadyExistsError, S3dlioError

from .door import Capabilities, Door
from .writing import uri_of

MakeStore = Callable[..., Store]
CROWD = 2_500


class ListContract:
    @pytest.fixture(scope="class")
    @classmethod
    def crowd(cls, make_store: MakeStore) -> Store:
        """A store of more keys than fit on two pages of any service."""
        store = make_store()
        store.put_many([(f"many/{i:05}", b"x" * (i % 3)) for i in range(CROWD)])
        return store

    def test_every_page_of_a_long_listing_comes_once_and_in_order(
        self, crowd: Store, call: Door
    ) -> None:
        listing = call(crowd.list, "many")
        assert len(listing) == CROWD
        assert list(listing) == [uri_of(crowd, f"many/{i:05}") for i in range(CROWD)]
        assert listing.sizes == [i % 3 for i in range(CROWD)]

    def test_iter_list_streams_the_same(self, crowd: Store, call: Door) -> None:
        uris = [str(getattr(item, "uri", item)) for item in call.each(crowd.iter_list, "many")]
        assert uris == [uri_of(crowd, f"many/{i:05}") for i in range(CROWD)]

    def test_delete_prefix_sees_every_page(self, crowd: Store, call: Door) -> None:
        assert len(call(crowd.delete_prefix, "many", dry_run=True)) == CROWD

    def test_one_level_has_objects_and_prefixes(self, store: Store, call: Door) -> None:
        store.put_many([(key, b"12") for key in ("a", "b/c", "b/d/e", "f/g", "z")])
        listing = call(store.list, "")
        assert list(listing) == [uri_of(store, name) for name in ("a", "b/", "f/", "z")]
        assert listing.is_prefix == [False, True, True, False]
        assert list(call(store.list, "b")) == [uri_of(store, "b/c"), uri_of(store, "b/d/")]
        assert list(call(store.list, "b/")) == [uri_of(store, "b/c"), uri_of(store, "b/d/")]
        assert list(call(store.list, uri_of(store, "b"))) == [
            uri_of(store, "b/c"),
            uri_of(store, "b/d/"),
        ]

    def test_a_recursive_listing_has_every_object_and_no_prefix(
        self, store: Store, call: Door
    ) -> None:
        keys = ["a", "b/c", "b/d/e", "f/g"]
        store.put_many([(key, b"12") for key in keys])
        listing = call(store.list, "", recursive=True)
        assert list(listing) == [uri_of(store, key) for key in keys]
        assert not any(listing.is_prefix)
        assert list(call(store.list, "b", recursive=True)) == [
            uri_of(store, key) for key in ("b/c", "b/d/e")
        ]

    def test_a_prefix_is_a_folder_and_not_the_start_of_a_name(
        self, store: Store, call: Door
    ) -> None:
        store.put_many([(key, b"") for key in ("run1/a", "run10/a", "run1x")])
        assert list(call(store.list, "run1", recursive=True)) == [uri_of(store, "run1/a")]

    def test_a_missing_prefix_lists_as_empty(self, store: Store, call: Door) -> None:
        listing = call(store.list, "nothing/here")
        assert len(listing) == 0
        assert list(listing) == []
        assert call.each(store.iter_list, "nothing/here") == []
        assert len(call(store.list, "")) == 0

    @pytest.mark.parametrize(
        ("pattern", "keys"),
        [
            ("*.npy", ["a.npy"]),
            ("**/*.npy", ["a.npy", "d/b.npy", "d/e/c.npy"]),
            ("d/*", ["d/b.npy", "d/x.txt"]),
            ("d/**", ["d/b.npy", "d/e/c.npy", "d/x.txt"]),
            ("*/?.npy", ["d/b.npy"]),
            ("[ab].npy", ["a.npy"]),
            ("no*thing", []),
        ],
    )
    def test_a_pattern_is_a_glob_below_the_prefix(
        self, store: Store, call: Door, pattern: str, keys: list[str]
    ) -> None:
        store.put_many(
            [(f"top/{key}", b"") for key in ("a.npy", "d/b.npy", "d/e/c.npy", "d/x.txt")]
        )
        listing = call(store.list, "top", recursive=True, pattern=pattern)
        assert list(listing) == [uri_of(store, f"top/{key}") for key in keys]

    def test_a_listing_is_a_sequence_of_uris_with_columns(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        store.put_many([("a", b"1"), ("b", b"22"), ("c", b"")])
        listing = call(store.list, "")
        uris = [uri_of(store, key) for key in "abc"]
        assert listing == uris
        assert listing[0] == uris[0] and listing[-1] == uris[2]
        assert listing[1:] == uris[1:]
        assert uris[1] in listing and "other" not in listing
        assert listing.uris == uris
        assert listing.sizes == [1, 2, 0]
        assert len(listing.keys) == len(listing.modified) == len(listing.etags) == 3
        if can.etags:
            assert listing.etags == [store.stat(key).etag for key in "abc"]
        assert pickle.loads(pickle.dumps(listing)) == uris
        with pytest.raises(IndexError):
            listing[3]

    def test_a_listing_feeds_the_other_verbs(self, store: Store, call: Door) -> None:
        store.put_many([(f"k{i}", bytes([i])) for i in range(10)])
        listing = call(store.list, "")
        assert [bytes(b) for b in call(store.get_many, listing)] == [bytes([i]) for i in range(10)]
        assert [bytes(b) for b in call(store.get_many, listing[3:5])] == [b"\3", b"\4"]
        assert [i for i, _ in call.each(store.iter_many, listing, ordered=True)] == list(range(10))
        assert call(store.delete_many, listing) == 10

    def test_a_bucket_is_made_listed_and_removed(
        self, make_store: MakeStore, call: Door, can: Capabilities, new_bucket: str
    ) -> None:
        if not can.buckets:
            pytest.skip("no buckets")
        store = make_store(bucket=new_bucket)
        assert new_bucket not in [
            info.uri.partition("://")[2].strip("/") for info in call(store.list_buckets)
        ]
        call(store.create_bucket)
        try:
            assert new_bucket in [
                info.uri.partition("://")[2].strip("/") for info in call(store.list_buckets)
            ]
            call(store.put, "key", b"1")
            with pytest.raises(S3dlioError):
                call(store.delete_bucket)
            call(store.delete, "key")
        finally:
            call(store.delete_bucket)
        assert new_bucket not in [
            info.uri.partition("://")[2].strip("/") for info in call(store.list_buckets)
        ]

    def test_a_bucket_that_is_there_is_not_made_again(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        if not can.buckets:
            pytest.skip("no buckets")
        store.put("key", b"kept")
        try:
            call(store.create_bucket)
        except AlreadyExistsError:
            pass
        assert call(store.get, "key") == b"kept"
