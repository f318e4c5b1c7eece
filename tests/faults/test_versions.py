"""Bytes of two versions of an object never stand in one result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.verbs import outcome

import s3dlio
from s3dlio.errors import IntegrityError, PreconditionFailedError, UnsupportedError
from s3dlio.testing import Door, Fault, FaultServer
from s3dlio.testing.door import pattern

MIB = 1 << 20
OLD, NEW = pattern(5 * MIB + 7, seed=1), pattern(5 * MIB + 7, seed=2)
Make = Callable[..., s3dlio.Store]


@pytest.fixture
def split(make: Make) -> s3dlio.Store:
    return make(part_bytes=MIB, split_bytes=2 * MIB)


def get(call: Door, store: s3dlio.Store) -> bytes:
    return bytes(call(store.get, "key"))


def get_into(call: Door, store: s3dlio.Store) -> bytes:
    out = bytearray(len(OLD))
    call(store.get_into, "key", out)
    return bytes(out)


def get_range(call: Door, store: s3dlio.Store) -> bytes:
    return bytes(call(store.get_range, "key", 0, len(OLD)))


def get_many_of_a_listing(call: Door, store: s3dlio.Store) -> bytes:
    return bytes(call(store.get_many, store.list(""))[0])


def read_file(call: Door, store: s3dlio.Store) -> bytes:
    with store.open("key", "rb") as file:
        return b"".join(iter(lambda: file.read(700_000), b""))


def is_refusal(result: object) -> bool:
    """Whether `result` is an error that says that the object is not what it was."""
    kinds = (PreconditionFailedError, IntegrityError, UnsupportedError)
    return isinstance(result, kinds) and result.uri == "s3://bucket/key"


READERS = [get, get_into, get_range, get_many_of_a_listing, read_file]


@pytest.mark.parametrize("answers", [0, 1, 2, 4])
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_an_object_that_is_overwritten_while_it_is_read_is_one_version_or_an_error(
    server: FaultServer, split: s3dlio.Store, call: Door, read: Callable[..., bytes], answers: int
) -> None:
    server.store("bucket", "key", OLD)
    server.fail(Fault.overwritten(NEW), skip=answers, operation="GetObject")
    result = outcome(lambda: read(call, split))
    assert result in (OLD, NEW) or is_refusal(result)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_body_that_breaks_is_resumed_from_where_it_broke(
    server: FaultServer, store: s3dlio.Store, call: Door, read: Callable[..., bytes]
) -> None:
    stored = server.store("bucket", "key", OLD)
    server.fail(Fault.truncate(1_000_000), operation="GetObject")
    assert read(call, store) == OLD
    requests = server.requests("GetObject")
    assert sum(request.sent_bytes for request in requests) <= len(OLD) + 1_000_000
    if read is get:
        first, second = requests
        assert (second.range or "").startswith("bytes=1000000-")
        assert second.headers["if-match"] == stored.etag
        assert first.sent_bytes + second.sent_bytes == len(OLD)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_body_that_breaks_is_never_resumed_from_another_version(
    server: FaultServer, store: s3dlio.Store, call: Door, read: Callable[..., bytes]
) -> None:
    server.store("bucket", "key", OLD)

    def overwrite(running: FaultServer, _: object) -> None:
        running.store("bucket", "key", NEW)

    server.fail(Fault(send_bytes=1_000_000, after=overwrite), operation="GetObject")
    result = outcome(lambda: read(call, store))
    assert result == NEW or is_refusal(result)


def test_a_size_from_a_listing_that_is_out_of_date_is_no_short_result(
    server: FaultServer, store: s3dlio.Store, call: Door
) -> None:
    for old, new in ((b"12345", b"1234567"), (b"12345", b"123")):
        server.store("bucket", "key", old)
        listing = store.list("")
        server.store("bucket", "key", new)
        result = outcome(lambda: call(store.get_many, listing)[0])  # noqa: B023
        assert result == new or is_refusal(result)


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (MIB, 10), (3 * MIB, None)])
def test_a_server_that_ignores_ranges_gives_the_right_bytes_or_an_error(
    server: FaultServer, split: s3dlio.Store, call: Door, offset: int, length: int | None
) -> None:
    server.store("bucket", "key", OLD)
    server.fail(Fault.ignore_range(), times=None, operation="GetObject")
    stop = None if length is None else offset + length
    result = outcome(lambda: call(split.get_range, "key", offset, length))
    assert result == OLD[offset:stop] or is_refusal(result)
    assert get(call, split) == OLD


def test_a_body_in_chunks_comes_whole(server: FaultServer, split: s3dlio.Store, call: Door) -> None:
    server.store("bucket", "key", OLD)
    server.store("bucket", "small", b"small")
    server.fail(Fault.in_chunks(), times=None)
    assert get(call, split) == OLD
    assert call(split.get, "small") == b"small"
    assert len(call(split.list, "")) == 2


def test_a_chunked_body_that_breaks_is_completed(
    server: FaultServer, store: s3dlio.Store, call: Door
) -> None:
    server.store("bucket", "key", OLD)
    server.fail(Fault(chunked=True, send_bytes=1_000_000), times=1)
    assert get(call, store) == OLD
