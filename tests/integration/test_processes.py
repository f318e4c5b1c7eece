"""Stores after fork, spawn and forkserver; each case in a process of its own, so that a hang is a timeout."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from s3dlio.testing import FaultServer

PROLOGUE = """
import asyncio, multiprocessing, os, pickle, sys, threading, time
import s3dlio

URI = sys.argv[1]

def check(store):
    assert bytes(store.get("a")) == b"data a", "get"
    assert [bytes(b) for b in store.get_many(["b", "a", "b"])] == [b"data b", b"data a", b"data b"], "get_many"
    assert bytes(asyncio.run(store.get_async("b"))) == b"data b", "get_async"
    assert store.exists("missing") is False, "exists"
    name = f"by-{os.getpid()}"
    store.put(name, b"x")
    assert bytes(store.get(name)) == b"x", "put"
    assert len(store.list("")) >= 3, "list"

def reap(pid, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"child ended with {status}"
            return
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise SystemExit("child hangs")
"""


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, of_server: FaultServer) -> str:
    of_server.store("bucket", "a", b"data a")
    of_server.store("bucket", "b", b"data b")
    (tmp_path / "a").write_bytes(b"data a")
    (tmp_path / "b").write_bytes(b"data b")
    return "s3://bucket" if request.param == "s3" else f"file://{tmp_path}"


def run(tmp_path: Path, body: str, uri: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROLOGUE + textwrap.dedent(body))
    # Python 3.12 warns of any fork beside threads; that it works is what is tested.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), uri]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=50, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def script_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("script")


@pytest.mark.parametrize("used", ["used", "only made", "not there"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_process_reads(script_folder: Path, uri: str, method: str, used: str) -> None:
    run(
        script_folder,
        f"""
        def work(store, results):
            check(store or s3dlio.Store(URI))
            results.put(os.getpid())

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            store = None if "{used}" == "not there" else s3dlio.Store(URI)
            if "{used}" == "used":
                check(store)
            results = context.Queue()
            workers = [context.Process(target=work, args=(store, results)) for _ in range(3)]
            for worker in workers: worker.start()
            pids = {{results.get(timeout=30) for _ in workers}}
            for worker in workers: worker.join(20)
            assert [worker.exitcode for worker in workers] == [0, 0, 0]
            assert len(pids) == 3
            if store: check(store)
        """,
        uri,
    )


def test_a_child_of_a_child_reads(script_folder: Path, uri: str) -> None:
    run(
        script_folder,
        """
        store = s3dlio.Store(URI)
        check(store)
        pid = os.fork()
        if pid == 0:
            check(store)
            inner = os.fork()
            if inner == 0:
                check(store)
                os._exit(0)
            reap(inner)
            check(store)
            os._exit(0)
        reap(pid)
        check(store)
        """,
        uri,
    )


def test_a_fork_in_the_midst_of_requests_does_not_hang(script_folder: Path, uri: str) -> None:
    run(
        script_folder,
        """
        store = s3dlio.Store(URI)
        check(store)
        stop = threading.Event()
        def hammer():
            while not stop.is_set():
                store.get_many(["a", "b"] * 20)
        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads: thread.start()
        for _ in range(15):
            pid = os.fork()
            if pid == 0:
                try:
                    check(store)
                except BaseException as error:
                    print(repr(error), file=sys.stderr)
                    os._exit(3)
                os._exit(0)
            reap(pid)
        stop.set()
        for thread in threads: thread.join()
        check(store)
        """,
        uri,
    )


def test_a_child_may_end_the_ordinary_way_and_drop_what_it_inherited(
    script_folder: Path, uri: str
) -> None:
    run(
        script_folder,
        """
        store = s3dlio.Store(URI)
        kept = [store.get("a") for _ in range(10)]
        items = store.iter_many(["a", "b"] * 50)
        next(items)
        pid = os.fork()
        if pid == 0:
            assert bytes(kept[0]) == b"data a"
            del kept, items
            store2 = pickle.loads(pickle.dumps(store))
            del store
            check(store2)
            sys.exit(0)
        reap(pid)
        assert [bytes(b) for b in kept] == [b"data a"] * 10
        assert len(list(items)) == 99
        """,
        uri,
    )


def test_a_fork_inside_a_running_loop_can_use_a_loop_of_its_own(
    script_folder: Path, uri: str
) -> None:
    run(
        script_folder,
        """
        store = s3dlio.Store(URI)
        async def main():
            assert bytes(await store.get_async("a")) == b"data a"
            pid = os.fork()
            if pid == 0:
                assert bytes(store.get("b")) == b"data b"
                os._exit(0)
            await asyncio.to_thread(reap, pid)
            assert bytes(await store.get_async("a")) == b"data a"
        asyncio.run(main())
        """,
        uri,
    )


def test_module_level_verbs_work_in_a_forked_pool(script_folder: Path, uri: str) -> None:
    run(
        script_folder,
        """
        def read(name):
            return bytes(s3dlio.get(f"{URI}/{name}"))

        if __name__ == "__main__":
            assert read("a") == b"data a"
            with multiprocessing.get_context("fork").Pool(4) as pool:
                assert pool.map(read, ["a", "b"] * 50) == [b"data a", b"data b"] * 50
        """,
        uri,
    )


def test_the_process_ends_at_once_with_requests_in_flight(script_folder: Path, uri: str) -> None:
    run(
        script_folder,
        """
        store = s3dlio.Store(URI)
        items = store.iter_many(["a", "b"] * 500, ordered=False)
        next(items)
        threading.Thread(target=lambda: [store.get("a") for _ in range(100)], daemon=True).start()
        """,
        uri,
    )
