"""Objects as files: modes, text, and writers that nobody closed."""

from __future__ import annotations

import asyncio
import gc
import io
import warnings
from typing import Any

import pytest

import s3dlio
from s3dlio import Store
from s3dlio.errors import PreconditionFailedError, UnsupportedError


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    return Store(f"memory://{abs(hash(request.node.nodeid))}")


@pytest.mark.parametrize("mode", ["ab", "r+", "a"])
def test_a_mode_that_changes_in_place_is_unsupported(store: Store, mode: Any) -> None:
    with pytest.raises(UnsupportedError, match="whole"):
        store.open("a", mode)


@pytest.mark.parametrize("mode", ["", "b", "rw", "rbt", "rbb", "q"])
def test_an_impossible_mode_is_refused(store: Store, mode: Any) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        store.open("a", mode)


@pytest.mark.parametrize(
    ("mode", "given"),
    [
        ("rb", {"encoding": "utf-8"}),
        ("wb", {"newline": ""}),
        ("rb", {"content_type": "text/plain"}),
        ("r", {"metadata": {"a": "b"}}),
        ("xb", {"if_match": "e"}),
        ("rb", {"buffer_bytes": 0}),
    ],
)
def test_an_argument_without_a_use_is_refused(store: Store, mode: Any, given: Any) -> None:
    store.put("a", b"1")
    with pytest.raises(ValueError, match=next(iter(given))):
        store.open("a", mode, **given)


def test_text_is_utf_8_unless_told(store: Store) -> None:
    with store.open("a", "w") as file:
        file.write("grün\n")
    assert store.get("a") == "grün\n".encode()
    with store.open("a", "r", encoding="latin-1") as file:
        assert file.read() == "grÃ¼n\n"
    with store.open("b", "w", newline="\r\n") as file:
        file.write("x\n")
    assert store.get("b") == b"x\r\n"


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_an_exception_inside_with_publishes_nothing(store: Store, mode: Any) -> None:
    with pytest.raises(KeyError), store.open("a", mode) as file:
        file.write("x" if mode == "w" else b"x")
        raise KeyError
    assert not store.exists("a")
    assert file.closed


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_an_unclosed_writer_warns_and_publishes_nothing(store: Store, mode: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = store.open("a", mode)
        file.write("x" if mode == "w" else b"x")
        del file
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "nothing was published" in str(caught[0].message)
    assert not store.exists("a")


def test_a_reader_keeps_to_the_version_that_it_opened(store: Store) -> None:
    store.put("a", b"first")
    with store.open("a", buffer_bytes=1) as file:
        assert file.read(1) == b"f"
        store.put("a", b"other")
        with pytest.raises(PreconditionFailedError):
            file.read()


def test_a_closed_writer_takes_nothing_and_says_what_it_wrote(store: Store) -> None:
    with store.open("a", "wb", content_type="text/x-test", metadata={"by": "me"}) as file:
        file.write(b"12")
        assert file.tell() == 2
    assert file.info is not None
    assert file.info.size == 2
    info = store.stat("a")
    assert (info.content_type, info.metadata) == ("text/x-test", {"by": "me"})
    with pytest.raises(ValueError, match="closed"):
        file.write(b"3")


def test_an_awaited_file_reads_seeks_and_refuses_text(store: Store) -> None:
    async def run() -> None:
        async with await store.open_async("a", "xb") as writer:
            await writer.write(b"0123456789")
        with pytest.raises(FileExistsError):
            await store.open_async("a", "xb")
        async with await store.open_async("a") as reader:
            assert await reader.seek(-3, io.SEEK_END) == reader.tell() == 7
            out = bytearray(5)
            assert await reader.readinto(out) == 3
            assert await reader.read() == b""
        with pytest.raises(ValueError, match="closed"):
            await reader.read()
        with pytest.raises(UnsupportedError, match="binary"):
            await s3dlio.open_async(f"{store.uri}a", "r")  # type: ignore[call-overload]

    asyncio.run(run())
