"""Objects as files: a seekable reader of one version, and a writer that publishes at `close`."""

from __future__ import annotations

import builtins
import io
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Self

from s3dlio.errors import AlreadyExistsError, IntegrityError, S3dlioError, UnsupportedError
from s3dlio.info import ObjectInfo
from s3dlio.options import KiB, MiB, whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Buffer as Bytes

    from s3dlio import _core

READ_BUFFER_BYTES = 1 * MiB
# Many small writes would otherwise each cross into the core.
_GATHER_BYTES = 256 * KiB


class _Raw(io.RawIOBase):
    """The bytes of one version of one object; every read is a range request."""

    def __init__(self, core: _core.Store, key: str, info: ObjectInfo) -> None:
        self._core = core
        self._key = key
        self._position = 0
        self.info = info

    @property
    def name(self) -> str:
        return self.info.uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._refuse_closed()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._refuse_closed()
        self._position = _sought(offset, whence, self._position, self.info.size)
        return self._position

    def readinto(self, out: Any, /) -> int:
        self._refuse_closed()
        view = memoryview(out).cast("B")
        count = min(len(view), max(self.info.size - self._position, 0))
        if count > 0:
            part = self._core.get_into(
                self._key, view[:count], self._position, count, self.info.etag
            )
            self._position += part.wait()
        return count

    def readall(self) -> bytes:
        self._refuse_closed()
        count = max(self.info.size - self._position, 0)
        if count == 0:
            return b""
        rest = self._core.get_range(self._key, self._position, count, self.info.etag).wait()
        self._position += count
        return bytes(rest)

    def _refuse_closed(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")


class ObjectReader(io.BufferedReader):
    """A binary reader of one object; `info` says which version.

    It reads ahead by its buffer, and raises `PreconditionFailedError` when the object is
    overwritten meanwhile.
    """

    raw: _Raw

    @property
    def info(self) -> ObjectInfo:
        """The object as it was when it was opened."""
        return self.raw.info


class _Parts:
    """What the sync and the async writer share: gathered bytes, and whether all went well."""

    def __init__(self, writer: _core.Writer, uri: str) -> None:
        self.writer = writer
        self.uri = uri
        self.gathered = bytearray()
        self.written = 0
        self.broken = False

    def take(self, data: Bytes) -> tuple[int, list[Bytes]]:
        """Accept `data`; return its size, and what has to be sent now."""
        view = memoryview(data).cast("B")
        size = len(view)
        self.written += size
        if size < _GATHER_BYTES:
            self.gathered += view
            return size, [self.swap()] if len(self.gathered) >= _GATHER_BYTES else []
        return size, [self.swap(), view] if self.gathered else [view]

    def swap(self) -> Bytes:
        """Return what was gathered; a fresh place, since the core still looks at the old one."""
        full, self.gathered = self.gathered, bytearray()
        return full

    def refuse_broken(self) -> None:
        if self.broken:
            raise IntegrityError(
                f"cannot finish {self.uri}: an earlier write failed, nothing was published",
                uri=self.uri,
            )


class ObjectWriter(io.BufferedIOBase):
    """A binary writer of one object, sent in parts as it grows.

    `close` publishes the whole object; an exception inside `with`, `abort` and an unclosed
    writer that is collected leave nothing behind. `info` says what was published.
    """

    def __init__(self, writer: _core.Writer, uri: str) -> None:
        self._parts = _Parts(writer, uri)
        self._done = False
        self.info: ObjectInfo | None = None

    @property
    def name(self) -> str:
        """The URI of the object."""
        return self._parts.uri

    def writable(self) -> bool:
        """Whether it takes bytes: always."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._parts.written

    def write(self, data: Bytes, /) -> int:
        """Take `data`; return its size in bytes."""
        if self._done:
            raise ValueError("I/O operation on a closed file")
        self._parts.refuse_broken()
        size, ready = self._parts.take(data)
        for part in ready:
            self._send(part)
        return size

    def close(self) -> None:
        """Publish the object. A second call does nothing."""
        if self._done:
            return
        if self._parts.broken:
            self.abort()
            self._parts.refuse_broken()
        try:
            if self._parts.gathered:
                self._send(self._parts.swap())
            meta = self._parts.writer.close().wait()
        except BaseException as error:
            _abort_quietly(self, error)
            raise
        self._done = True
        self.info = ObjectInfo(uri=self._parts.uri, **meta)
        super().close()

    def abort(self) -> None:
        """Drop what was written; no object appears."""
        if self._done:
            return
        self._done = True
        self._parts.gathered.clear()
        super().close()
        self._parts.writer.abort().wait()

    def __enter__(self) -> Self:
        """Return this writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish, or abort when there is an exception."""
        if kind is None:
            self.close()
        else:
            _abort_quietly(self, error)

    def __del__(self) -> None:
        """Abort what nobody closed."""
        if getattr(self, "_done", True):
            return
        _warn_unclosed(self.name, self)
        if not sys.is_finalizing():
            _abort_quietly(self, None)

    def _send(self, part: Bytes) -> None:
        try:
            self._parts.writer.write(part).wait()
        except BaseException:
            self._parts.broken = True
            raise


class TextObjectWriter(io.TextIOWrapper):
    """A text writer of one object, with the promises of `ObjectWriter`."""

    def __init__(
        self, writer: ObjectWriter, encoding: str, errors: str | None, newline: str | None
    ) -> None:
        self._writer = writer
        super().__init__(writer, encoding=encoding, errors=errors, newline=newline)

    @property
    def info(self) -> ObjectInfo | None:
        """What was published; None before `close`."""
        return self._writer.info

    def abort(self) -> None:
        """Drop what was written; no object appears."""
        self._writer.abort()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish, or abort when there is an exception."""
        if kind is None:
            self.close()
        else:
            _abort_quietly(self._writer, error)

    def __del__(self) -> None:
        """Abort what nobody closed: the base class would publish it."""
        writer = getattr(self, "_writer", None)
        if writer is not None:
            writer.__del__()


class AsyncObjectReader:
    """A binary reader of one object, awaited; unbuffered: each read is one request."""

    def __init__(self, core: _core.Store, key: str, info: ObjectInfo) -> None:
        self._core = core
        self._key = key
        self._position = 0
        self.closed = False
        self.info = info

    async def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; all that are left when it is negative."""
        self._refuse_closed()
        count = self._left() if size < 0 else min(size, self._left())
        if count == 0:
            return b""
        part = await self._core.get_range(self._key, self._position, count, self.info.etag)
        self._position += count
        return bytes(part)

    async def readinto(self, out: Bytes) -> int:
        """Fill `out` from here; return the bytes read, 0 at the end."""
        self._refuse_closed()
        view = memoryview(out).cast("B")
        count = min(len(view), self._left())
        if count == 0:
            return 0
        part = self._core.get_into(self._key, view[:count], self._position, count, self.info.etag)
        self._position += await part
        return count

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to `offset` from the start, from here (1) or from the end (2)."""
        self._refuse_closed()
        self._position = _sought(offset, whence, self._position, self.info.size)
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    async def close(self) -> None:
        """Read no more."""
        self.closed = True

    async def __aenter__(self) -> Self:
        """Return this reader."""
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Read no more."""
        self.closed = True

    def _left(self) -> int:
        return max(self.info.size - self._position, 0)

    def _refuse_closed(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")


class AsyncObjectWriter:
    """`ObjectWriter`, awaited."""

    def __init__(self, writer: _core.Writer, uri: str) -> None:
        self._parts = _Parts(writer, uri)
        self.closed = False
        self.info: ObjectInfo | None = None

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._parts.written

    async def write(self, data: Bytes) -> int:
        """Take `data`; return its size in bytes."""
        if self.closed:
            raise ValueError("I/O operation on a closed file")
        self._parts.refuse_broken()
        size, ready = self._parts.take(data)
        for part in ready:
            await self._send(part)
        return size

    async def close(self) -> None:
        """Publish the object. A second call does nothing."""
        if self.closed:
            return
        if self._parts.broken:
            await self.abort()
            self._parts.refuse_broken()
        try:
            if self._parts.gathered:
                await self._send(self._parts.swap())
            meta = await self._parts.writer.close()
        except BaseException as error:
            await self._abort_quietly(error)
            raise
        self.closed = True
        self.info = ObjectInfo(uri=self._parts.uri, **meta)

    async def abort(self) -> None:
        """Drop what was written; no object appears."""
        if self.closed:
            return
        self.closed = True
        self._parts.gathered.clear()
        await self._parts.writer.abort()

    async def __aenter__(self) -> Self:
        """Return this writer."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish, or abort when there is an exception."""
        if kind is None:
            await self.close()
        else:
            await self._abort_quietly(error)

    def __del__(self) -> None:
        """Say that nobody closed it; the core drops the parts."""
        if not getattr(self, "closed", True):
            _warn_unclosed(self._parts.uri, self)

    async def _abort_quietly(self, error: BaseException | None) -> None:
        try:
            await self.abort()
        except S3dlioError as failure:
            if error is not None:
                error.add_note(f"and then: {failure}")

    async def _send(self, part: Bytes) -> None:
        try:
            await self._parts.writer.write(part)
        except BaseException:
            self._parts.broken = True
            raise


def open_object(
    core: _core.Store,
    key: str,
    uri: str,
    mode: str,
    *,
    buffer_bytes: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    **put: Any,
) -> ObjectReader | ObjectWriter | io.TextIOWrapper:
    """Open the object `key` of `core`; see `Store.open`."""
    kind, text = _parsed_mode(mode)
    buffer_bytes = whole("buffer_bytes", buffer_bytes, 1)
    _refuse_idle(kind, text, put, encoding=encoding, errors=errors, newline=newline)
    # The same text on every machine, whatever its locale.
    encoding = encoding or "utf-8"
    if kind == "r":
        info = ObjectInfo(uri=uri, **core.stat(key).wait())
        reader = ObjectReader(_Raw(core, key, info), buffer_bytes)
        if not text:
            return reader
        return io.TextIOWrapper(reader, encoding=encoding, errors=errors, newline=newline)
    if kind == "x" and core.exists(key).wait():
        raise _exists(uri)
    writer = ObjectWriter(core.writer(key, if_absent=kind == "x", **put), uri)
    return TextObjectWriter(writer, encoding, errors, newline) if text else writer


async def open_object_async(
    core: _core.Store, key: str, uri: str, mode: str, **put: Any
) -> AsyncObjectReader | AsyncObjectWriter:
    """Open the object `key` of `core`; see `Store.open_async`."""
    kind, text = _parsed_mode(mode)
    if text:
        raise UnsupportedError(f"`mode` {mode!r}: files opened by open_async are binary, add 'b'")
    _refuse_idle(kind, text, put)
    if kind == "r":
        return AsyncObjectReader(core, key, ObjectInfo(uri=uri, **await core.stat(key)))
    if kind == "x" and await core.exists(key):
        raise _exists(uri)
    return AsyncObjectWriter(core.writer(key, if_absent=kind == "x", **put), uri)


def _parsed_mode(mode: object) -> tuple[str, bool]:
    """Return what to do ("r", "w" or "x"), and whether it is text."""
    if not isinstance(mode, str):
        raise TypeError(f"`mode` must be a str such as 'rb', got {type(mode).__name__}")
    if set(mode) & set("a+"):
        raise UnsupportedError(
            f"`mode` {mode!r}: an object is read or written as a whole, never changed in place"
        )
    kinds = [character for character in mode if character in "rwx"]
    if len(kinds) != 1 or sorted(mode) not in (sorted(kinds[0] + kind) for kind in ("", "b", "t")):
        raise ValueError(f"`mode` must be one of rb, wb, xb, r, w, x, rt, wt, xt, got {mode!r}")
    return kinds[0], "b" not in mode


def _refuse_idle(kind: str, text: bool, put: Mapping[str, object], **text_only: object) -> None:
    """Refuse arguments that this mode would ignore."""
    for name, value in put.items():
        if kind == "r" and value is not None:
            raise ValueError(f"`{name}` belongs to writing, the mode is for reading")
    for name, value in text_only.items():
        if not text and value is not None:
            raise ValueError(f"`{name}` belongs to text, the mode is binary")
    if kind == "x" and put.get("if_match") is not None:
        raise ValueError("`if_match` contradicts a mode that refuses an object that exists")


def _sought(offset: int, whence: int, position: int, size: int) -> int:
    if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
        raise ValueError(f"`whence` must be 0, 1 or 2, got {whence!r}")
    target = offset + (0, position, size)[whence]
    if target < 0:
        raise ValueError(f"cannot seek to {target}: it lies before the start")
    return target


def _exists(uri: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"cannot create {uri}: there is such an object already", uri=uri)


def _abort_quietly(writer: ObjectWriter, error: BaseException | None) -> None:
    """Abort without hiding `error`, the reason for it."""
    try:
        writer.abort()
    except S3dlioError as failure:
        if error is not None:
            error.add_note(f"and then: {failure}")


def _warn_unclosed(uri: str, source: object) -> None:
    warnings.warn(
        f"unclosed writer of {uri}: nothing was published",
        builtins.ResourceWarning,
        stacklevel=3,
        source=source,
    )
