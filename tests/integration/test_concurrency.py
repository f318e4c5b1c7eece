"""Threads, event loops and many objects at once."""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from backends import make_store

import s3dlio
from s3dlio.testing import Door, Fault, FaultServer

Remote = Callable[..., s3dlio.Store]


@pytest.fixture(params=["file", "memory", "s3"])
def hundred(request: pytest.FixtureRequest, tmp_path: Path, remote: Remote) -> s3dlio.Store:
    """A store of the objects k0 … k99, each with its number inside."""
    uri = {"file": f"file://{tmp_path}", "memory": "memory://hundred"}.get(request.param)
    store = make_store(uri) if uri else remote()
    store.put_many([(f"k{i}", b"%d" % i) for i in range(100)])
    return store


def test_threads_share_a_store(hundred: s3dlio.Store) -> None:
    def read(i: int) -> bytes:
        return bytes(hundred.get(f"k{i % 100}"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(read, range(1000))) == [b"%d" % (i % 100) for i in range(1000)]


def test_a_thousand_gathered_gets_each_bring_their_own(hundred: s3dlio.Store) -> None:
    async def run() -> list[bytes]:
        buffers = await asyncio.gather(*(hundred.get_async(f"k{i % 100}") for i in range(1000)))
        return [bytes(buffer) for buffer in buffers]

    assert asyncio.run(run()) == [b"%d" % (i % 100) for i in range(1000)]


class CountingSelector(selectors.DefaultSelector):  # type: ignore[misc]
    """Counts how often its loop came to look for news."""

    looks = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.looks += 1
        return super().select(timeout)


def test_a_burst_of_completions_wakes_the_loop_once(tmp_path: Path) -> None:
    store = make_store(f"file://{tmp_path}")
    store.put_many([(f"k{i}", b"%03d" % i) for i in range(1000)])
    before = store.counters()["bytes_read"]
    selector = CountingSelector()

    async def run() -> int:
        tasks = [asyncio.create_task(store.get_async(f"k{i}")) for i in range(1000)]
        await asyncio.sleep(0)
        # The loop is busy here, as with a training step, while all of them arrive.
        while store.counters()["bytes_read"] - before < 3000:
            time.sleep(0.01)  # noqa: ASYNC251
        time.sleep(0.2)  # noqa: ASYNC251
        looks = selector.looks
        await asyncio.gather(*tasks)
        return selector.looks - looks

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        assert runner.run(run()) <= 10


def test_a_blocking_call_works_inside_a_running_loop(hundred: s3dlio.Store) -> None:
    async def run() -> None:
        assert hundred.get("k1") == b"1"
        assert len(hundred.list("")) == 100
        assert await hundred.get_async("k2") == b"2"
        assert [index for index, _ in hundred.iter_many(["k1", "k2"])] == [0, 1]

    asyncio.run(run())


def test_one_store_serves_many_loops(hundred: s3dlio.Store) -> None:
    async def run() -> list[bytes]:
        return [bytes(b) for b in await hundred.get_many_async([f"k{i}" for i in range(100)])]

    expected = [b"%d" % i for i in range(100)]
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: asyncio.run(run()), range(8)):
            assert result == expected


def test_other_threads_run_while_a_call_waits(counting: FaultServer, remote: Remote) -> None:
    counting.store("bucket", "key", b"1")
    counting.fail(Fault.late(0.5))
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.wait(0.005):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        assert remote().get("key") == b"1"
    finally:
        stop.set()
        thread.join()
    assert ticks >= 10


@pytest.mark.parametrize("scheme", ["file", "memory"])
@pytest.mark.timeout(120)
def test_a_hundred_thousand_uris_bring_as_many_results(
    tmp_path: Path, call: Door, scheme: str
) -> None:
    store = make_store(f"file://{tmp_path}" if scheme == "file" else "memory://crowd")
    store.put_many([(f"k{i}", b"%d" % i) for i in range(100)])
    before = store.counters()["requests"]
    order = [(i * 37) % 100 for i in range(100_000)]
    buffers = call(store.get_many, [f"k{i}" for i in order])
    assert len(buffers) == 100_000
    assert all(buffers[i] == b"%d" % order[i] for i in range(0, 100_000, 97))
    if scheme == "file":
        assert store.counters()["requests"] - before == 100_000
    assert sum(len(buffer) for buffer in buffers) == sum(len(str(i)) for i in order)


def test_nothing_is_asked_before_the_answer_is_awaited(
    counting: FaultServer, remote: Remote
) -> None:
    counting.store("bucket", "key", b"1")
    coroutine = remote().get_async("key")
    time.sleep(0.05)
    assert counting.requests() == []
    coroutine.close()


def test_the_async_door_runs_at_once_with_others(counting: FaultServer, remote: Remote) -> None:
    for i in range(20):
        counting.store("bucket", f"k{i}", b"1")
    counting.fail(Fault.late(0.1), times=None)
    store = remote()

    async def run() -> None:
        await asyncio.gather(*(store.get_async(f"k{i}") for i in range(20)))

    asyncio.run(run())
    assert counting.busiest >= 10


def test_loops_that_take_turns_in_one_thread_keep_their_descriptors(hundred: s3dlio.Store) -> None:
    loops = [asyncio.new_event_loop() for _ in range(2)]
    try:
        for loop in loops:
            assert loop.run_until_complete(hundred.get_async("k1")) == b"1"
        before = len(os.listdir("/proc/self/fd"))
        for i in range(50):
            assert loops[i % 2].run_until_complete(hundred.get_async("k2")) == b"2"
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        for loop in loops:
            loop.close()
