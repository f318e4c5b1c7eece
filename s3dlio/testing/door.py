"""How the contract calls a verb, and what a backend may leave out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import s3dlio


@dataclass(frozen=True)
class Capabilities:
    """What a backend can; the contract skips what it cannot, or asks for a typed refusal."""

    etags: bool = True
    """Every write changes the etag."""
    content_type: bool = True
    metadata: bool = True
    if_absent: bool = True
    if_match: bool = True
    parts_if_absent: bool = True
    """`if_absent` holds for an object written in parts too."""
    presign: bool = True
    buckets: bool = True
    """Buckets are made and removed by verbs, and a missing one is an error."""
    empty_segments: bool = True
    """Keys such as "/x", "x//y" and "x/" are what they are."""
    long_segments: bool = True
    """1000 bytes of a key without a slash."""
    file_and_folder: bool = True
    """Both "a" and "a/b" can be objects."""
    trailing_space: bool = True
    refuses: tuple[str, ...] = field(default=())
    """Keys that are refused with a typed error, not stored under another name."""


class Door:
    """Runs a verb by one of its two doors; the test is the same for both."""

    def __init__(self, name: Literal["sync", "async"]) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Door({self.name!r})"

    def __call__(self, verb: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The result of `verb`, or of its `_async` twin in an event loop of its own."""
        if self.name == "sync":
            return verb(*arguments, **options)

        async def run() -> Any:
            answer: Awaitable[Any] = twin(verb)(*arguments, **options)
            return await answer

        return asyncio.run(run())

    def each(self, verb: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
        """Everything that the iterator of `verb`, or the async iterator of its twin, brings."""
        if self.name == "sync":
            return list(verb(*arguments, **options))

        async def run() -> list[Any]:
            items: AsyncIterator[Any] = twin(verb)(*arguments, **options)
            return [item async for item in items]

        return asyncio.run(run())


def twin(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The `_async` twin of a method of a store or of a function of s3dlio."""
    owner = getattr(verb, "__self__", s3dlio)
    found: Callable[..., Any] = getattr(owner, f"{verb.__name__}_async")
    return found


def pattern(size: int, seed: int = 1) -> bytes:
    """`size` bytes that are nowhere the same as 4 KiB or 1 MiB further on, so that a misplaced part shows."""
    words = range(seed * 1_000_003, seed * 1_000_003 + size // 8 + 1)
    return b"".join(word.to_bytes(8, "little") for word in words)[:size]
