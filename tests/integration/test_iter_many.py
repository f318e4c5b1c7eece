"""iter_many holds a bounded number of bytes, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable

import pytest

import s3dlio
from s3dlio.testing import Fault, FaultServer

Remote = Callable[..., s3dlio.Store]
SIZE = 100_000


@pytest.fixture
def keys(counting: FaultServer) -> list[str]:
    names = [f"k{i:03}" for i in range(100)]
    for name in names:
        counting.store("bucket", name, bytes(SIZE))
    return names


def settled(server: FaultServer) -> int:
    """The number of requests, once no more come."""
    before = -1
    while (now := len(server.requests())) != before or server.in_flight:
        before = now
        time.sleep(0.1)
    return now


@pytest.mark.parametrize("ordered", [True, False])
def test_a_consumer_that_waits_holds_the_requests_back(
    counting: FaultServer, remote: Remote, keys: list[str], ordered: bool
) -> None:
    store = remote()
    listing = store.list("")
    counting.forget()
    items = store.iter_many(listing, memory_limit=5 * SIZE, ordered=ordered)
    next(items)
    assert settled(counting) <= 7
    for _ in range(10):
        next(items)
    assert settled(counting) <= 17
    assert len(list(items)) == 89
    assert len(counting.requests()) == 100


def test_an_object_above_the_limit_still_comes(
    remote: Remote, counting: FaultServer, keys: list[str]
) -> None:
    store = remote()
    assert len(list(store.iter_many(keys[:5], memory_limit=10))) == 5
    assert len(list(store.iter_many(store.list(""), memory_limit=10))) == 100


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_an_abandoned_iterator_ends_its_requests(
    counting: FaultServer, remote: Remote, keys: list[str]
) -> None:
    store = remote()
    list(store.iter_many(keys))
    counting.forget()
    counting.fail(Fault.stall(10), times=None, skip=1)
    before = threads()
    items = store.iter_many(keys, ordered=False)
    next(items)
    assert counting.wait_until(lambda: counting.in_flight >= 1)
    del items
    gc.collect()
    stalled = [request for request in counting.requests() if request.sent_bytes != SIZE]
    assert stalled
    assert counting.wait_until(lambda: all(request.closed.is_set() for request in stalled))
    assert counting.wait_until(lambda: counting.in_flight == 0)
    # Threads of the server end with their connections.
    assert counting.wait_until(lambda: threads() <= before)


def test_a_loop_that_is_left_ends_its_requests(
    counting: FaultServer, remote: Remote, keys: list[str]
) -> None:
    counting.fail(Fault.stall(10), times=None, skip=1)

    async def run() -> None:
        async for _ in remote().iter_many_async(keys, ordered=False):
            break
        await asyncio.sleep(0)

    asyncio.run(run())
    gc.collect()
    assert counting.wait_until(lambda: counting.in_flight == 0)


def test_an_iterator_that_was_closed_is_over(remote: Remote, keys: list[str]) -> None:
    items = remote().iter_many(keys)
    next(items)
    items.close()
    with pytest.raises(StopIteration):
        next(items)


def test_an_iterator_nobody_asks_makes_no_request(
    counting: FaultServer, remote: Remote, keys: list[str]
) -> None:
    items = remote().iter_many(keys)
    time.sleep(0.1)
    assert counting.requests() == []
    items.close()


def test_failures_can_come_in_their_places(
    counting: FaultServer, remote: Remote, keys: list[str]
) -> None:
    items = list(remote().iter_many([keys[0], "missing", keys[1]], on_error="return"))
    assert [index for index, _ in items] == [0, 1, 2]
    assert isinstance(items[1][1], s3dlio.NotFoundError)
    assert len(items[2][1]) == SIZE
