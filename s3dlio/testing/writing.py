"""The contract of the verbs that write, copy and delete, and of file objects."""

from __future__ import annotations

import asyncio
import io
import urllib.request
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from s3dlio import Store
from s3dlio.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
    S3dlioError,
    UnsupportedError,
)

from .door import Capabilities, Door, pattern

MIB = 1 << 20
MakeStore = Callable[..., Store]

ODD_KEYS = [
    "with space",
    "100%",
    "per%20cent",
    "a+b",
    "üñïçødé/日本語/🦀",
    "question?mark=1&x",
    "hash#tag",
    "quote'\"",
    "back\\slash",
    "semi;colon,comma:at@eq=tilde~",
    "star*[a-z]{x,y}",
    "<xml>&amp;",
    "dots...",
    ".hidden",
    "nested/deep/er/key",
    "e\u0301",
]
LONG_KEY = "/".join(["k" * 199] * 5)


class WriteContract:
    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_a_key_is_exactly_what_was_given(self, store: Store, call: Door, key: str) -> None:
        data = key.encode()
        call(store.put, key, data)
        assert call(store.get, key) == data
        assert call(store.exists, key) is True
        assert call(store.stat, key).size == len(data)
        listing = call(store.list, "", recursive=True)
        assert list(listing) == [uri_of(store, key)]
        assert call(store.get_many, listing) == [data]
        call(store.copy, key, "copy of " + key)
        assert call(store.get, "copy of " + key) == data
        call(store.delete, key)
        assert call(store.exists, key) is False
        assert call(store.delete_many, ["copy of " + key]) == 1
        assert len(call(store.list, "", recursive=True)) == 0

    def test_a_key_of_1000_bytes_is_kept(self, store: Store, call: Door, can: Capabilities) -> None:
        keys = [LONG_KEY] + (["n" * 900] if can.long_segments else [])
        for key in keys:
            call(store.put, key, b"data")
            assert call(store.get, key) == b"data"
        assert sorted(call(store.list, "", recursive=True)) == sorted(
            uri_of(store, key) for key in keys
        )

    @pytest.mark.parametrize("key", ["/leading", "double//slash", "trailing/"])
    def test_empty_segments_are_part_of_the_key(
        self, store: Store, call: Door, can: Capabilities, key: str
    ) -> None:
        if not can.empty_segments:
            pytest.skip("this server has no such keys")
        call(store.put, key, b"data")
        assert call(store.get, key) == b"data"
        assert list(call(store.list, "", recursive=True)) == [uri_of(store, key)]
        assert call(store.exists, key.replace("//", "/").strip("/")) is False

    def test_a_trailing_space_is_part_of_the_key(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        if not can.trailing_space:
            pytest.skip("this server drops it")
        call(store.put, "key ", b"with")
        call(store.put, "key", b"without")
        assert call(store.get, "key ") == b"with"
        assert call(store.get, "key") == b"without"

    def test_a_name_can_be_object_and_prefix(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        call(store.put, "a", b"1")
        if not can.file_and_folder:
            with pytest.raises(S3dlioError):
                call(store.put, "a/b", b"2")
            return
        call(store.put, "a/b", b"2")
        assert call(store.get_many, ["a", "a/b"]) == [b"1", b"2"]

    def test_a_key_that_the_backend_cannot_hold_is_refused(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        for key in can.refuses:
            with pytest.raises((S3dlioError, ValueError)):
                call(store.put, key, b"data")
        assert len(call(store.list, "", recursive=True)) == 0

    @pytest.mark.parametrize("key", ["nul\0", "../up", "a/../b", "./a", "a/.", ".."])
    def test_keys_that_mean_something_else_are_refused(
        self, store: Store, call: Door, key: str
    ) -> None:
        with pytest.raises(ValueError):
            call(store.put, key, b"data")
        with pytest.raises(ValueError):
            call(store.get, key)

    @pytest.mark.parametrize(
        "data",
        [b"12345678", bytearray(b"12345678"), memoryview(b"0123456789")[1:9], array("B", b"12345678"),
         array("d", [1.5, 2.5])],
        ids=["bytes", "bytearray", "memoryview", "array", "doubles"],
    )  # fmt: skip
    def test_put_takes_any_contiguous_buffer(self, store: Store, call: Door, data: Any) -> None:
        info = call(store.put, "object", data)
        expected = bytes(memoryview(data).cast("B"))
        assert info.size == info["size"] == len(expected)
        assert call(store.get, "object") == expected

    def test_put_takes_what_get_gave(self, store: Store, call: Door) -> None:
        store.put("object", b"data")
        call(store.put, "other", call(store.get, "object"))
        assert call(store.get, "other") == b"data"

    @pytest.mark.parametrize(
        "data", ["text", 5, None, [1, 2], memoryview(bytearray(8))[::2]], ids=repr
    )
    def test_put_refuses_what_is_not_bytes(self, store: Store, call: Door, data: Any) -> None:
        with pytest.raises((TypeError, ValueError, BufferError)):
            call(store.put, "object", data)
        assert call(store.exists, "object") is False

    def test_a_second_put_replaces_the_first(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        first = call(store.put, "object", b"first, and longer")
        second = call(store.put, "object", b"second")
        assert call(store.get, "object") == b"second"
        assert call(store.stat, "object").size == 6
        if can.etags:
            assert first.etag != second.etag

    def test_stat_says_what_put_said(self, store: Store, call: Door, can: Capabilities) -> None:
        put = call(store.put, "object", b"12345")
        info = call(store.stat, "object")
        assert info.size == info["size"] == 5
        assert info.uri == uri_of(store, "object")
        assert info.modified is not None
        if can.etags:
            assert info.etag and info.etag == put.etag
        with pytest.raises(AttributeError):
            info.size = 6

    def test_metadata_and_content_type_come_back(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        options: dict[str, Any] = {}
        if can.content_type:
            options["content_type"] = "text/x-test"
        if can.metadata:
            options["metadata"] = {"one": "1", "two-words": "a b"}
        call(store.put, "object", b"", **options)
        info = call(store.stat, "object")
        if can.content_type:
            assert info.content_type == "text/x-test"
        if can.metadata:
            assert dict(info.metadata) == {"one": "1", "two-words": "a b"}

    def test_metadata_that_cannot_be_kept_is_refused(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        if can.metadata:
            pytest.skip("it can be kept")
        with pytest.raises(UnsupportedError):
            call(store.put, "object", b"", metadata={"one": "1"})
        assert call(store.exists, "object") is False

    def test_if_absent_never_replaces(self, store: Store, call: Door, can: Capabilities) -> None:
        if not can.if_absent:
            pytest.skip("no if_absent")
        call(store.put, "object", b"first", if_absent=True)
        with pytest.raises(AlreadyExistsError) as caught:
            call(store.put, "object", b"second", if_absent=True)
        assert isinstance(caught.value, FileExistsError)
        assert call(store.get, "object") == b"first"

    def test_if_match_replaces_only_that_version(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        if not can.if_match:
            pytest.skip("no if_match")
        first = call(store.put, "object", b"first")
        second = call(store.put, "object", b"second", if_match=first.etag)
        with pytest.raises(PreconditionFailedError):
            call(store.put, "object", b"third", if_match=first.etag)
        assert call(store.get, "object") == b"second"
        call(store.put, "object", b"third", if_match=second.etag)
        assert call(store.get, "object") == b"third"

    def test_put_many_puts_all(self, store: Store, call: Door) -> None:
        items = [(f"dir/{i}", pattern(i * 100, seed=i + 1)) for i in range(20)]
        infos = call(store.put_many, items)
        assert [info.size for info in infos] == [len(data) for _, data in items]
        assert [bytes(b) for b in call(store.get_many, [key for key, _ in items])] == [
            data for _, data in items
        ]
        assert call(store.put_many, []) == []

    def test_put_many_refuses_two_writes_to_one_key(self, store: Store, call: Door) -> None:
        with pytest.raises(ValueError, match="twice"):
            call(store.put_many, [("twice", b"1"), ("once", b"2"), ("twice", b"3")])
        assert len(store.list("")) == 0

    def test_a_large_put_goes_in_parts(
        self, make_store: MakeStore, call: Door, can: Capabilities
    ) -> None:
        store = make_store(put_part_bytes=5 * MIB, put_split_bytes=6 * MIB)
        data = pattern(11 * MIB + 3)
        info = call(store.put, "object", data)
        assert info.size == len(data)
        assert call(store.get, "object") == data
        assert call(store.stat, "object").size == len(data)
        if can.if_absent and can.parts_if_absent:
            with pytest.raises(AlreadyExistsError):
                call(store.put, "object", data, if_absent=True)

    def test_copy_and_move_keep_the_bytes(self, store: Store, call: Door) -> None:
        data = pattern(10_000)
        store.put("from", data)
        assert call(store.copy, "from", "to/copy").size == len(data)
        assert call(store.get_many, ["from", "to/copy"]) == [data, data]
        assert call(store.move, "from", "to/moved").size == len(data)
        assert call(store.get, "to/moved") == data
        assert call(store.exists, "from") is False
        call(store.copy, uri_of(store, "to/moved"), uri_of(store, "again"))
        assert call(store.get, "again") == data

    def test_moving_an_object_onto_itself_loses_nothing(self, store: Store, call: Door) -> None:
        store.put("object", b"data")
        try:
            call(store.move, "object", "object")
        except (S3dlioError, ValueError):
            pass
        assert call(store.get, "object") == b"data"

    def test_delete_removes_one_object_and_minds_no_absence(self, store: Store, call: Door) -> None:
        store.put_many([("a", b""), ("ab", b"")])
        call(store.delete, "a")
        call(store.delete, "a")
        assert list(store.list("")) == [uri_of(store, "ab")]

    @pytest.mark.parametrize("wildcard", ["a*", "*", "a?", "[ab]c", "d/*", "d/**", "d/", "d"])
    def test_delete_never_expands_anything(self, store: Store, call: Door, wildcard: str) -> None:
        keys = ["ab", "ac", "bc", "d/e"]
        store.put_many([(key, b"") for key in keys])
        for verb, argument in ((store.delete, wildcard), (store.delete_many, [wildcard])):
            try:
                call(verb, argument)
            except (S3dlioError, ValueError):
                pass
        assert sorted(store.list("", recursive=True)) == [uri_of(store, key) for key in keys]

    def test_delete_many_counts_and_removes(self, store: Store, call: Door) -> None:
        store.put_many([(f"k{i}", b"") for i in range(20)])
        assert call(store.delete_many, [f"k{i}" for i in range(15)]) == 15
        assert len(store.list("")) == 5
        assert call(store.delete_many, []) == 0

    def test_delete_prefix_removes_what_lies_below_and_can_be_asked_first(
        self, store: Store, call: Door
    ) -> None:
        store.put_many([(key, b"") for key in ("run1/a", "run1/b/c", "run10/a", "run")])
        below = [uri_of(store, "run1/a"), uri_of(store, "run1/b/c")]
        assert sorted(call(store.delete_prefix, "run1", dry_run=True)) == below
        assert len(store.list("", recursive=True)) == 4
        assert call(store.delete_prefix, "run1") == 2
        assert sorted(store.list("", recursive=True)) == [
            uri_of(store, "run"),
            uri_of(store, "run10/a"),
        ]
        assert call(store.delete_prefix, "run1") == 0

    def test_a_presigned_uri_works_without_us(
        self, store: Store, call: Door, can: Capabilities
    ) -> None:
        key = "some/key with space+plus%41ü"
        if not can.presign:
            with pytest.raises(UnsupportedError):
                call(store.presign, key, "GET", 60)
            return
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        put = urllib.request.Request(
            call(store.presign, key, "PUT", 60), data=b"data", method="PUT"
        )
        put.add_header("Content-Type", "application/octet-stream")
        with opener.open(put, timeout=20) as answer:
            assert answer.status in (200, 201, 204)
        assert call(store.get, key) == b"data"
        with opener.open(call(store.presign, key, "GET", 60), timeout=20) as answer:
            assert answer.read() == b"data"


class FileContract:
    def test_a_file_reads_like_one(self, store: Store) -> None:
        data = pattern(100_000)
        store.put("object", data)
        with store.open("object", "rb") as file:
            assert file.readable() and file.seekable() and not file.writable()
            assert file.read(10) == data[:10]
            assert file.tell() == 10
            assert file.seek(-5, io.SEEK_END) == len(data) - 5
            assert file.read() == data[-5:]
            assert file.read() == file.read(1) == b""
            assert file.seek(50_000) == 50_000
            out = bytearray(1000)
            assert file.readinto(out) == 1000
            assert out == data[50_000:51_000]
            assert file.seek(10, io.SEEK_CUR) == 51_010
            assert file.read(1) == data[51_010:51_011]
            assert file.seek(0) == 0
            assert file.read() == data
        assert file.closed
        with pytest.raises(ValueError):
            file.read()

    def test_a_file_is_one_for_the_standard_library(self, store: Store) -> None:
        store.put("lines", "erste\nzweite ü\n".encode())
        with io.TextIOWrapper(store.open("lines", "rb"), encoding="utf-8") as text:
            assert text.read().splitlines() == ["erste", "zweite ü"]
        with store.open("lines", "rb") as file:
            assert file.readline() == b"erste\n"
            assert list(file) == ["zweite ü\n".encode()]

    def test_an_empty_object_is_an_empty_file(self, store: Store) -> None:
        with store.open("empty", "wb"):
            pass
        with store.open("empty", "rb") as file:
            assert file.read() == b""
            assert file.seek(0, io.SEEK_END) == 0

    def test_a_file_appears_whole_when_it_is_closed(self, make_store: MakeStore) -> None:
        store = make_store(put_part_bytes=5 * MIB, put_split_bytes=6 * MIB)
        data = pattern(11 * MIB + 1)
        with store.open("object", "wb") as file:
            assert file.writable() and not file.readable()
            for start in range(0, len(data), 700_001):
                assert file.write(data[start : start + 700_001]) == len(
                    data[start : start + 700_001]
                )
            assert file.tell() == len(data)
            assert store.exists("object") is False
        assert store.get("object") == data

    @pytest.mark.parametrize("size", [10, 11 * MIB])
    def test_an_exception_inside_with_writes_nothing(
        self, make_store: MakeStore, size: int
    ) -> None:
        store = make_store(put_part_bytes=5 * MIB, put_split_bytes=6 * MIB)
        store.put("object", b"earlier")
        for key in ("object", "other"):
            with pytest.raises(ZeroDivisionError), store.open(key, "wb") as file:
                file.write(bytes(size))
                raise ZeroDivisionError
        assert store.get("object") == b"earlier"
        assert list(store.list("", recursive=True)) == [uri_of(store, "object")]

    def test_an_awaited_file_reads_and_writes(self, make_store: MakeStore) -> None:
        store = make_store(put_part_bytes=5 * MIB, put_split_bytes=6 * MIB)
        data = pattern(11 * MIB + 1)

        async def run() -> None:
            async with await store.open_async("object", "wb") as file:
                for start in range(0, len(data), 700_001):
                    await file.write(data[start : start + 700_001])
            async with await store.open_async("object", "rb") as file:
                assert await file.read(10) == data[:10]
                assert await file.seek(-5, io.SEEK_END) == len(data) - 5
                assert await file.read() == data[-5:]
            with pytest.raises(ZeroDivisionError):
                async with await store.open_async("other", "wb") as file:
                    await file.write(b"1")
                    raise ZeroDivisionError

        asyncio.run(run())
        assert list(store.list("")) == [uri_of(store, "object")]

    def test_a_mode_of_x_never_replaces(self, store: Store, can: Capabilities) -> None:
        if not can.if_absent:
            pytest.skip("no if_absent")
        with store.open("object", "xb") as file:
            file.write(b"first")
        with pytest.raises(AlreadyExistsError), store.open("object", "xb") as file:
            file.write(b"second")
        assert store.get("object") == b"first"

    @pytest.mark.parametrize("mode", ["", "q", "r+", "a", "rw", "rbx", 5])
    def test_an_impossible_mode_is_refused(self, store: Store, mode: Any) -> None:
        with pytest.raises((ValueError, TypeError, NotImplementedError)):
            store.open("object", mode)

    def test_reading_what_is_missing_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFoundError), store.open("missing", "rb") as file:
            file.read()


def uri_of(store: Store, key: str) -> str:
    """The full URI of `key` in `store`."""
    return store.uri.removesuffix("/") + "/" + key
