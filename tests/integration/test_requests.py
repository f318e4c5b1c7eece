"""How many requests a verb costs, counted at the server."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

import s3dlio
from s3dlio.testing import Door, Fault, FaultServer
from s3dlio.testing.door import pattern

MIB = 1 << 20
Remote = Callable[..., s3dlio.Store]


def operations(server: FaultServer) -> list[str]:
    return [request.operation for request in server.requests()]


def covered(server: FaultServer, key: str) -> list[tuple[int, int]]:
    """The ranges of `key` that were sent, in order, as (first, last)."""
    ranges = []
    for request in server.requests("GetObject", key):
        first, last = (request.range or "bytes=0-").removeprefix("bytes=").split("-")
        ranges.append((int(first), min(int(last or 2**62), int(first) + request.sent_bytes - 1)))
    return sorted(ranges)


@pytest.mark.parametrize("size", [1, 1000, MIB, 8 * MIB, 16 * MIB - 1])
def test_a_small_get_is_one_request(
    counting: FaultServer, remote: Remote, call: Door, size: int
) -> None:
    data = pattern(size)
    counting.store("bucket", "key", data)
    store = remote()
    assert call(store.get, "key") == data
    if size <= 8 * MIB:
        assert operations(counting) == ["GetObject"]
    else:
        assert operations(counting) in (["GetObject"], ["GetObject"] * 2)
    assert store.counters()["requests"] == len(operations(counting))
    assert store.counters()["bytes_read"] == size


def test_an_empty_get_asks_no_head(counting: FaultServer, remote: Remote, call: Door) -> None:
    counting.store("bucket", "key", b"")
    assert call(remote().get, "key") == b""
    assert set(operations(counting)) == {"GetObject"}
    assert len(operations(counting)) <= 2


def test_a_large_get_is_its_ranges_and_no_head(
    counting: FaultServer, remote: Remote, call: Door
) -> None:
    size = 40 * MIB + 3
    data = pattern(size)
    stored = counting.store("bucket", "key", data)
    assert call(remote().get, "key") == data
    assert set(operations(counting)) == {"GetObject"}
    ranges = covered(counting, "key")
    assert 3 <= len(ranges) <= 6
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size - 1
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(ranges))
    later = [request for request in counting.requests() if request is not counting.requests()[0]]
    assert {request.headers.get("if-match") for request in later} == {stored.etag}


def test_a_range_is_one_request(counting: FaultServer, remote: Remote, call: Door) -> None:
    data = pattern(3 * MIB)
    counting.store("bucket", "key", data)
    assert call(remote().get_range, "key", 100, 1000) == data[100:1100]
    (request,) = counting.requests()
    assert (request.operation, request.range) == ("GetObject", "bytes=100-1099")


def test_ranges_are_joined_only_when_told(
    counting: FaultServer, remote: Remote, call: Door
) -> None:
    data = pattern(MIB)
    counting.store("bucket", "key", data)
    ranges = [(0, 10), (20, 10), (500_000, 10)]
    store = remote()
    call(store.get_ranges, "key", ranges)
    assert len(operations(counting)) == 3
    counting.forget()
    joined = call(store.get_ranges, "key", ranges, join_gap_bytes=10)
    assert [bytes(b) for b in joined] == [data[o : o + n] for o, n in ranges]
    assert covered(counting, "key") == [(0, 29), (500_000, 500_009)]


def test_get_many_is_one_request_each(counting: FaultServer, remote: Remote, call: Door) -> None:
    for i in range(50):
        counting.store("bucket", f"k{i:02}", b"%d" % i)
    call(remote().get_many, [f"k{i:02}" for i in range(50)])
    assert operations(counting) == ["GetObject"] * 50


def test_get_many_of_a_listing_asks_no_head_and_no_byte_twice(
    counting: FaultServer, remote: Remote, call: Door
) -> None:
    sizes = [0, 1, 1000, 5 * MIB, 3 * MIB + 1, 64 * 1024]
    for i, size in enumerate(sizes):
        counting.store("bucket", f"k{i}", pattern(size, seed=i + 1))
    store = remote(part_bytes=MIB, split_bytes=2 * MIB)
    listing = call(store.list, "")
    counting.forget()
    buffers = call(store.get_many, listing)
    assert [bytes(b) for b in buffers] == [
        pattern(size, seed=i + 1) for i, size in enumerate(sizes)
    ]
    assert set(operations(counting)) <= {"GetObject"}
    assert sum(request.sent_bytes for request in counting.requests()) == sum(sizes)


def test_get_into_asks_no_head(counting: FaultServer, remote: Remote, call: Door) -> None:
    data = pattern(5 * MIB)
    counting.store("bucket", "key", data)
    out = bytearray(5 * MIB)
    call(remote(part_bytes=MIB, split_bytes=2 * MIB).get_into, "key", out)
    assert out == data
    assert set(operations(counting)) == {"GetObject"}
    assert sum(request.sent_bytes for request in counting.requests()) == len(data)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [("stat", ["HeadObject"]), ("exists", ["HeadObject"]), ("delete", ["DeleteObject"])],
)
def test_questions_about_one_object_are_one_request(
    counting: FaultServer, remote: Remote, call: Door, verb: str, expected: list[str]
) -> None:
    counting.store("bucket", "key", b"1")
    call(getattr(remote(), verb), "key")
    assert operations(counting) == expected


def test_a_put_is_one_request_and_a_large_one_its_parts(
    counting: FaultServer, remote: Remote, call: Door
) -> None:
    call(remote().put, "key", pattern(6 * MIB))
    assert operations(counting) == ["PutObject"]
    counting.forget()
    call(remote(put_part_bytes=5 * MIB, put_split_bytes=6 * MIB).put, "key", pattern(11 * MIB))
    made = operations(counting)
    assert made[0] == "CreateMultipartUpload"
    assert made[1:4] == ["UploadPart"] * 3
    assert made[4] == "CompleteMultipartUpload"
    assert sorted(r.received_bytes for r in counting.requests("UploadPart")) == [
        MIB,
        5 * MIB,
        5 * MIB,
    ]


def test_a_copy_moves_no_bytes_through_here(
    counting: FaultServer, remote: Remote, call: Door
) -> None:
    counting.store("bucket", "key", pattern(MIB))
    store = remote()
    call(store.copy, "key", "copy")
    assert set(operations(counting)) <= {"CopyObject", "HeadObject"}
    assert store.counters()["bytes_read"] == 0


def test_a_listing_is_its_pages(remote: Remote, counting: FaultServer, call: Door) -> None:
    for i in range(2500):
        counting.store("bucket", f"k{i:04}", b"")
    assert len(call(remote().list, "")) == 2500
    assert operations(counting) == ["ListObjectsV2"] * 3


def test_a_streamed_listing_asks_for_a_page_when_it_is_due(
    remote: Remote, counting: FaultServer
) -> None:
    for i in range(2500):
        counting.store("bucket", f"k{i:04}", b"")
    items = remote().iter_list("")
    for _ in range(10):
        next(items)
    assert len(operations(counting)) <= 2
    items.close()


def test_delete_many_is_a_request_for_a_thousand(
    remote: Remote, counting: FaultServer, call: Door
) -> None:
    for i in range(1500):
        counting.store("bucket", f"k{i:04}", b"")
    assert call(remote().delete_many, [f"k{i:04}" for i in range(1500)]) == 1500
    assert operations(counting) == ["DeleteObjects"] * 2
    assert counting.objects.buckets["bucket"] == {}


def test_no_more_requests_are_in_flight_than_allowed(
    counting: FaultServer, remote: Remote, call: Door
) -> None:
    for i in range(40):
        counting.store("bucket", f"k{i}", b"1")
    counting.fail(Fault.late(0.02), times=None)
    call(remote().get_many, [f"k{i}" for i in range(40)], max_in_flight=4)
    assert 2 <= counting.busiest <= 4


def test_a_large_put_holds_few_parts_at_once(
    counting: FaultServer, remote: Remote, call: Door
) -> None:
    counting.fail(Fault.late(0.05), times=None, operation="UploadPart")
    store = remote(put_part_bytes=5 * MIB, put_split_bytes=5 * MIB, put_in_flight=2)
    call(store.put, "key", bytes(40 * MIB))
    assert counting.busiest <= 2


def test_the_sum_of_requests_is_counted(counting: FaultServer, remote: Remote, call: Door) -> None:
    store = remote()
    call(store.put, "key", b"12345")
    call(store.get, "key")
    call(store.stat, "key")
    counters = store.counters()
    assert counters["requests"] == len(counting.requests()) == 3
    assert counters["retries"] == 0
    assert (counters["bytes_read"], counters["bytes_written"]) == (5, 5)
