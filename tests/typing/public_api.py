"""Checked by mypy, never run: the types that a caller sees."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import assert_type

import s3dlio
from s3dlio import (
    Buffer,
    ErrorKind,
    Listing,
    ManyError,
    ObjectInfo,
    S3dlioError,
    Store,
    TransferReport,
)
from s3dlio.file import AsyncObjectReader, AsyncObjectWriter, ObjectReader, ObjectWriter

store = Store("s3://train")
out = bytearray(10)

assert_type(store.get("a"), Buffer)
assert_type(store.get_range("a", 0, 10), Buffer)
assert_type(store.get_ranges("a", [(0, 10), (5, None)]), list[Buffer])
assert_type(store.get_many(["a"]), list[Buffer])
assert_type(store.get_many(["a"], on_error="collect"), list[Buffer])
assert_type(store.get_many(["a"], on_error="return"), list[Buffer | S3dlioError])
assert_type(store.get_many(store.list()), list[Buffer])
assert_type(store.iter_many(["a"]), Generator[tuple[int, Buffer]])
assert_type(store.iter_many(["a"], on_error="return"), Generator[tuple[int, Buffer | S3dlioError]])
assert_type(store.iter_many_async(["a"]), AsyncGenerator[tuple[int, Buffer]])
assert_type(store.get_into("a", out), int)
assert_type(store.get_many_into(["a"], [out]), list[int])
assert_type(store.put("a", b""), ObjectInfo)
assert_type(store.put_many([("a", b"")]), list[ObjectInfo])
assert_type(store.list("run1"), Listing)
assert_type(store.list("run1")[0], str)
assert_type(store.list("run1")[:2], Listing)
assert_type(store.list("run1").sizes, list[int])
assert_type(store.iter_list(), Iterator[ObjectInfo])
assert_type(store.iter_list_async(), AsyncIterator[ObjectInfo])
assert_type(store.stat("a"), ObjectInfo)
assert_type(store.exists("a"), bool)
assert_type(store.delete_many(["a"]), int)
assert_type(store.delete_prefix("run1"), int)
assert_type(store.delete_prefix("run1", dry_run=True), list[str])
assert_type(store.copy("a", "b"), ObjectInfo)
assert_type(store.list_buckets(), list[ObjectInfo])
assert_type(store.presign("a"), str)
assert_type(store.open("a"), ObjectReader)
assert_type(store.open("a", "rb"), ObjectReader)
assert_type(store.open("a", "wb"), ObjectWriter)
assert_type(store.open("a", "r"), io.TextIOWrapper)
assert_type(store.counters(), dict[str, int])

assert_type(s3dlio.get("s3://train/a"), Buffer)
assert_type(s3dlio.get_many(["s3://train/a"]), list[Buffer])
assert_type(s3dlio.iter_many(["s3://train/a"]), Generator[tuple[int, Buffer]])
assert_type(s3dlio.list("s3://train"), Listing)
assert_type(s3dlio.open("s3://train/a"), ObjectReader)
assert_type(s3dlio.open("s3://train/a", "wb"), ObjectWriter)
assert_type(s3dlio.upload(["a.txt"], "s3://train/"), TransferReport)
assert_type(s3dlio.download("s3://train/", "."), TransferReport)

buffer = store.get("a")
assert_type(len(buffer), int)
assert_type(buffer[0], int)
assert_type(buffer[1:], Buffer)
assert_type(bytes(buffer), bytes)
memoryview(buffer)

error = ManyError("text", {})
assert_type(error.kind, ErrorKind)
assert_type(error.failures, dict[int, Exception])
many: S3dlioError = error
group: ExceptionGroup[Exception] = error
missing: FileNotFoundError = s3dlio.NotFoundError("text")


async def awaited() -> None:
    assert_type(await store.get_async("a"), Buffer)
    assert_type(await store.get_many_async(["a"]), list[Buffer])
    assert_type(await store.get_many_async(["a"], on_error="return"), list[Buffer | S3dlioError])
    assert_type(await store.delete_prefix_async("a", dry_run=True), list[str])
    assert_type(await store.open_async("a"), AsyncObjectReader)
    assert_type(await store.open_async("a", "wb"), AsyncObjectWriter)
    assert_type(await s3dlio.get_async("s3://train/a"), Buffer)
    assert_type(await s3dlio.get_many_async(["s3://train/a"]), list[Buffer])
    assert_type(await s3dlio.delete_prefix_async("s3://train/a"), int)
