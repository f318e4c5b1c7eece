"""Ctrl-C, cancelled tasks and dead loops end what they started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import s3dlio
from s3dlio.testing import Fault, FaultServer

Remote = Callable[..., s3dlio.Store]
# 0.2 s are promised; the rest is for a busy machine.
BOUND_SECONDS = 0.2
SLACK_SECONDS = 0.1

SCRIPT = """
import sys, time
import s3dlio
store = s3dlio.Store("s3://bucket")
try:
    {call}
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
else:
    sys.exit("it came back")
"""
CALLS = {
    "get": 'store.get("key")',
    "get_range": 'store.get_range("key", 0, 10)',
    "get_many": 'store.get_many(["key", "key"])',
    "get_into": 'store.get_into("key", bytearray(10))',
    "iter_many": 'list(store.iter_many(["key"]))',
    "put": 'store.put("key", b"1")',
    "stat": 'store.stat("key")',
    "list": 'store.list("")',
    "delete": 'store.delete("key")',
    "copy": 'store.copy("key", "copy")',
    "open": 'store.open("key", "rb").read()',
    "get_async": 'import asyncio; asyncio.run(store.get_async("key"))',
}


def interrupted_after(server: FaultServer, call: str) -> float:
    """Seconds from SIGINT until `call` gave way to KeyboardInterrupt."""
    server.forget()
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(call=call)],
        stdout=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
    )
    try:
        assert server.wait_until(lambda: server.in_flight > 0, 20)
        time.sleep(0.1)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=20)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()
    assert child.returncode == 0, out
    return float(out) - sent


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_interrupts_a_stalled_call(of_server: FaultServer, name: str) -> None:
    of_server.store("bucket", "key", bytes(100_000))
    of_server.fail(Fault.stall(), times=None)
    tries = []
    while len(tries) < 3:
        tries.append(interrupted_after(of_server, CALLS[name]))
        if tries[-1] < BOUND_SECONDS + SLACK_SECONDS:
            return
    pytest.fail(f"interrupted after {tries} s")


def test_ctrl_c_in_a_body_interrupts_too(of_server: FaultServer) -> None:
    of_server.store("bucket", "key", bytes(100_000))
    of_server.fail(Fault.stall(1000), times=None)
    assert (
        min(interrupted_after(of_server, CALLS["get"]) for _ in range(3))
        < BOUND_SECONDS + SLACK_SECONDS
    )


def test_a_signal_handler_that_returns_does_not_end_the_call(
    counting: FaultServer, remote: Remote
) -> None:
    counting.store("bucket", "key", b"1")
    counting.fail(Fault.late(0.5))
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        assert remote().get("key") == b"1"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) >= 2


@pytest.mark.parametrize("at", [None, 1000])
def test_a_cancelled_task_closes_its_request(
    counting: FaultServer, remote: Remote, at: int | None
) -> None:
    counting.store("bucket", "key", bytes(1_000_000))
    counting.fail(Fault.stall(at))
    store = remote()

    async def run() -> None:
        task = asyncio.create_task(store.get_async("key"))
        assert await asyncio.to_thread(counting.wait_until, lambda: counting.in_flight > 0)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert counting.requests()[0].closed.wait(10)
    assert len(counting.requests()) == 1
    assert store.get("key") == bytes(1_000_000)


def test_a_timeout_around_a_call_ends_its_requests(counting: FaultServer, remote: Remote) -> None:
    for i in range(20):
        counting.store("bucket", f"k{i}", b"1")
    counting.fail(Fault.stall(), times=None)
    store = remote()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await store.get_many_async([f"k{i}" for i in range(20)])

    asyncio.run(run())
    assert counting.wait_until(lambda: counting.in_flight == 0)


def test_a_cancelled_put_publishes_nothing(counting: FaultServer, remote: Remote) -> None:
    mib = 1 << 20
    counting.fail(Fault.stall(), times=None, operation="UploadPart", skip=1)
    store = remote(put_part_bytes=5 * mib, put_split_bytes=5 * mib)

    async def run() -> None:
        task = asyncio.create_task(store.put_async("key", bytes(20 * mib)))
        assert await asyncio.to_thread(
            counting.wait_until, lambda: len(counting.requests("UploadPart")) >= 2
        )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert counting.wait_until(lambda: counting.in_flight == 0)
    assert counting.stored("bucket", "key") is None


def test_a_loop_that_is_closed_with_gets_in_flight_is_no_trouble(
    counting: FaultServer, remote: Remote
) -> None:
    counting.store("bucket", "key", b"1")
    counting.fail(Fault.late(0.3), times=5)
    store = remote()

    async def run() -> None:
        tasks = [asyncio.ensure_future(store.get_async("key")) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks)

    asyncio.run(run())
    assert counting.wait_until(lambda: counting.in_flight == 0)
    assert asyncio.run(store.get_async("key")) == b"1"


def test_a_writer_whose_write_was_cancelled_publishes_nothing(
    counting: FaultServer, remote: Remote
) -> None:
    counting.fail(Fault.stall(), operation="CreateMultipartUpload")
    part = bytes(6 * 1024 * 1024)

    async def run() -> None:
        writer = remote(put_part_bytes=5 * 1024 * 1024)._core.writer("key")
        await writer.write(part)
        task = asyncio.ensure_future(await_it(writer.write(part)))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for later in (writer.write(b"more"), writer.close()):
            with pytest.raises(s3dlio.IntegrityError, match="gap"):
                await later
        await writer.abort()

    asyncio.run(run())
    assert counting.stored("bucket", "key") is None


async def await_it(operation: Any) -> Any:
    return await operation
