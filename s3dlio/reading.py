"""The verbs that read: objects, ranges, listings and what is known of them."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from s3dlio.errors import ManyError, S3dlioError
from s3dlio.info import ObjectInfo
from s3dlio.options import MiB, one_of, whole
from s3dlio.root import Root

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Generator,
        Iterable,
        Iterator,
        Sequence,
    )

    from typing_extensions import Buffer as Bytes

    from s3dlio import _core
    from s3dlio._core import Buffer, Listing, Operation
    from s3dlio.uri import URI

T = TypeVar("T")
OnError = Literal["raise", "collect", "return"]

MEMORY_LIMIT = 256 * MiB


class Reading(Root):
    """The half of `Store` that changes nothing."""

    __slots__ = ()

    def get(self, key: str | URI) -> Buffer:
        """Read the whole object `key`: one request when it is small, parallel ranges when large.

        Raises:
            NotFoundError: there is no such object.
        """
        return self._core.get(self._key(key)).wait()

    async def get_async(self, key: str | URI) -> Buffer:
        """`get`, awaited."""
        return await self._core.get(self._key(key))

    def get_range(self, key: str | URI, offset: int, length: int | None = None) -> Buffer:
        """Read `length` bytes of `key` from byte `offset`; None reads to the end.

        Fewer bytes come back only where the object ends first.

        Raises:
            RangeError: `offset` is at or past the end of an object that is not empty.

            >>> store = Store("memory://train")
            >>> info = store.put("a", b"0123456789")
            >>> bytes(store.get_range("a", 8, 5))
            b'89'
        """
        return self._get_range(key, offset, length).wait()

    async def get_range_async(
        self, key: str | URI, offset: int, length: int | None = None
    ) -> Buffer:
        """`get_range`, awaited."""
        return await self._get_range(key, offset, length)

    def _get_range(self, key: str | URI, offset: int, length: int | None) -> Operation[Buffer]:
        return self._core.get_range(self._key(key), *_checked_range(offset, length))

    def get_ranges(
        self,
        key: str | URI,
        ranges: Iterable[tuple[int, int | None]],
        *,
        join_gap_bytes: int | None = None,
    ) -> builtins.list[Buffer]:
        """Read the `ranges` of `key`, each an (offset, length); result i is range i.

        Ranges no further apart than `join_gap_bytes` are fetched as one; None takes the store's
        option.
        """
        return self._get_ranges(key, ranges, join_gap_bytes).wait()

    async def get_ranges_async(
        self,
        key: str | URI,
        ranges: Iterable[tuple[int, int | None]],
        *,
        join_gap_bytes: int | None = None,
    ) -> builtins.list[Buffer]:
        """`get_ranges`, awaited."""
        return await self._get_ranges(key, ranges, join_gap_bytes)

    def _get_ranges(
        self, key: str | URI, ranges: Iterable[tuple[int, int | None]], gap: int | None
    ) -> Operation[builtins.list[Buffer]]:
        checked = [_checked_range(offset, length) for offset, length in ranges]
        gap = None if gap is None else whole("join_gap_bytes", gap)
        return self._core.get_ranges(self._key(key), checked, gap)

    @overload
    def get_many(
        self,
        keys: Iterable[str | URI],
        *,
        max_in_flight: int | None = None,
        on_error: Literal["raise", "collect"] = "raise",
    ) -> builtins.list[Buffer]: ...
    @overload
    def get_many(
        self,
        keys: Iterable[str | URI],
        *,
        max_in_flight: int | None = None,
        on_error: Literal["return"],
    ) -> builtins.list[Buffer | S3dlioError]: ...
    def get_many(
        self,
        keys: Iterable[str | URI],
        *,
        max_in_flight: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        """Read all `keys`; result i is key i, repeats included.

        A `Listing` brings sizes and etags along, so that nothing is probed. `on_error` is
        "raise": stop at the first failure; "collect": read on, then raise `ManyError`;
        "return": the errors stand in the list. `max_in_flight` requests run at once; None takes
        the store's option.
        """
        return settle(self._get_many(keys, max_in_flight, on_error).wait(), on_error)

    @overload
    async def get_many_async(
        self,
        keys: Iterable[str | URI],
        *,
        max_in_flight: int | None = None,
        on_error: Literal["raise", "collect"] = "raise",
    ) -> builtins.list[Buffer]: ...
    @overload
    async def get_many_async(
        self,
        keys: Iterable[str | URI],
        *,
        max_in_flight: int | None = None,
        on_error: Literal["return"],
    ) -> builtins.list[Buffer | S3dlioError]: ...
    async def get_many_async(
        self,
        keys: Iterable[str | URI],
        *,
        max_in_flight: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        """`get_many`, awaited."""
        return settle(await self._get_many(keys, max_in_flight, on_error), on_error)

    def _get_many(
        self, keys: Iterable[str | URI], max_in_flight: int | None, on_error: OnError
    ) -> Operation[builtins.list[Buffer | S3dlioError]]:
        one_of("on_error", on_error, ("raise", "collect", "return"))
        core_mode: Literal["raise", "return"] = "raise" if on_error == "raise" else "return"
        return self._core.get_many(*self._known(keys), self._in_flight(max_in_flight), core_mode)

    @overload
    def iter_many(
        self,
        keys: Iterable[str | URI],
        *,
        memory_limit: int = ...,
        max_in_flight: int | None = None,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
    ) -> Generator[tuple[int, Buffer], None, None]: ...
    @overload
    def iter_many(
        self,
        keys: Iterable[str | URI],
        *,
        memory_limit: int = ...,
        max_in_flight: int | None = None,
        ordered: bool = True,
        on_error: Literal["return"],
    ) -> Generator[tuple[int, Buffer | S3dlioError], None, None]: ...
    def iter_many(
        self,
        keys: Iterable[str | URI],
        *,
        memory_limit: int = MEMORY_LIMIT,
        max_in_flight: int | None = None,
        ordered: bool = True,
        on_error: Literal["raise", "return"] = "raise",
    ) -> Any:
        """Read all `keys` while the caller works; yield (index, buffer).

        At most `memory_limit` bytes are read ahead, a single object larger than that excepted.
        Without `ordered`, what arrives first comes first. With `on_error="return"` a failure is
        yielded in place of its buffer. Leaving the loop stops the requests.
        """
        return _drained(
            self._stream(keys, memory_limit, max_in_flight, ordered, on_error), on_error
        )

    @overload
    def iter_many_async(
        self,
        keys: Iterable[str | URI],
        *,
        memory_limit: int = ...,
        max_in_flight: int | None = None,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
    ) -> AsyncGenerator[tuple[int, Buffer], None]: ...
    @overload
    def iter_many_async(
        self,
        keys: Iterable[str | URI],
        *,
        memory_limit: int = ...,
        max_in_flight: int | None = None,
        ordered: bool = True,
        on_error: Literal["return"],
    ) -> AsyncGenerator[tuple[int, Buffer | S3dlioError], None]: ...
    def iter_many_async(
        self,
        keys: Iterable[str | URI],
        *,
        memory_limit: int = MEMORY_LIMIT,
        max_in_flight: int | None = None,
        ordered: bool = True,
        on_error: Literal["raise", "return"] = "raise",
    ) -> Any:
        """`iter_many`, for `async for`."""
        return _drained_async(
            self._stream(keys, memory_limit, max_in_flight, ordered, on_error), on_error
        )

    def _stream(
        self,
        keys: Iterable[str | URI],
        memory_limit: int,
        max_in_flight: int | None,
        ordered: bool,
        on_error: Literal["raise", "return"],
    ) -> _core.Stream:
        one_of("on_error", on_error, ("raise", "return"))
        limit = whole("memory_limit", memory_limit, 1)
        in_flight = self._in_flight(max_in_flight)
        return self._core.iter_many(*self._known(keys), limit, in_flight, bool(ordered))

    def get_into(
        self, key: str | URI, out: Bytes, offset: int = 0, length: int | None = None
    ) -> int:
        """Read `key` from byte `offset` straight into the writable memory `out`; return the bytes.

        Raises:
            RangeError: the bytes do not fit into `out`; give `length` to read a part.
        """
        return self._get_into(key, out, offset, length).wait()

    async def get_into_async(
        self, key: str | URI, out: Bytes, offset: int = 0, length: int | None = None
    ) -> int:
        """`get_into`, awaited."""
        return await self._get_into(key, out, offset, length)

    def _get_into(
        self, key: str | URI, out: Bytes, offset: int, length: int | None
    ) -> Operation[int]:
        return self._core.get_into(self._key(key), out, *_checked_range(offset, length))

    def get_many_into(
        self,
        keys: Iterable[str | URI],
        outs: Sequence[Bytes],
        *,
        max_in_flight: int | None = None,
    ) -> builtins.list[int]:
        """Read each of `keys` into its own of `outs`; return the bytes of each."""
        return self._get_many_into(keys, outs, max_in_flight).wait()

    async def get_many_into_async(
        self,
        keys: Iterable[str | URI],
        outs: Sequence[Bytes],
        *,
        max_in_flight: int | None = None,
    ) -> builtins.list[int]:
        """`get_many_into`, awaited."""
        return await self._get_many_into(keys, outs, max_in_flight)

    def _get_many_into(
        self, keys: Iterable[str | URI], outs: Sequence[Bytes], max_in_flight: int | None
    ) -> Operation[builtins.list[int]]:
        known, _, _ = self._known(keys)
        outs = builtins.list(outs)
        if len(known) != len(outs):
            raise ValueError(
                f"`outs` must hold one place for each of {len(known)} keys, got {len(outs)}"
            )
        return self._core.get_many_into(known, outs, self._in_flight(max_in_flight))

    def stat(self, key: str | URI) -> ObjectInfo:
        """Ask what is known of the object `key`, without its bytes.

        Raises:
            NotFoundError: there is no such object.
        """
        key = self._key(key)
        return self._info(key, self._core.stat(key).wait())

    async def stat_async(self, key: str | URI) -> ObjectInfo:
        """`stat`, awaited."""
        key = self._key(key)
        return self._info(key, await self._core.stat(key))

    def exists(self, key: str | URI) -> bool:
        """Whether there is an object `key`; a failure to find out raises."""
        return self._core.exists(self._key(key)).wait()

    async def exists_async(self, key: str | URI) -> bool:
        """`exists`, awaited."""
        return await self._core.exists(self._key(key))

    def list(
        self, prefix: str | URI = "", *, recursive: bool = False, pattern: str | None = None
    ) -> Listing:
        """List the objects below the folder `prefix` as URIs, with their sizes, times and etags.

        Without `recursive`, one level: folders stand as URIs that end in "/". `pattern` is a glob
        over what follows the prefix, in which `*` does not cross a "/" and `**` does. A prefix
        with nothing below it gives an empty listing.

            >>> store = Store("memory://shelf")
            >>> info = store.put("x/a.npy", b"12")
            >>> list(store.list())
            ['memory://shelf/x/']
            >>> store.list(recursive=True, pattern="**/*.npy").sizes
            [2]
        """
        return self._core.list(*self._listed(prefix, recursive, pattern)).wait()

    async def list_async(
        self, prefix: str | URI = "", *, recursive: bool = False, pattern: str | None = None
    ) -> Listing:
        """`list`, awaited."""
        return await self._core.list(*self._listed(prefix, recursive, pattern))

    def iter_list(
        self, prefix: str | URI = "", *, recursive: bool = False, pattern: str | None = None
    ) -> Iterator[ObjectInfo]:
        """`list`, one object after the other as the pages arrive."""
        return _paged(self._core.pages(*self._listed(prefix, recursive, pattern)))

    def iter_list_async(
        self, prefix: str | URI = "", *, recursive: bool = False, pattern: str | None = None
    ) -> AsyncIterator[ObjectInfo]:
        """`iter_list`, for `async for`."""
        return _paged_async(self._core.pages(*self._listed(prefix, recursive, pattern)))

    def _listed(
        self, prefix: str | URI, recursive: bool, pattern: str | None
    ) -> tuple[str, bool, str | None]:
        if pattern is not None and not isinstance(pattern, str):
            raise TypeError(f"`pattern` must be a glob as str, got {type(pattern).__name__}")
        return self._folder(prefix), bool(recursive), pattern


def settle(results: builtins.list[T | S3dlioError], on_error: OnError) -> builtins.list[Any]:
    """Return `results`, or raise `ManyError` for the errors among them when they are collected."""
    if on_error != "collect":
        return results
    failures = {i: error for i, error in enumerate(results) if isinstance(error, S3dlioError)}
    if failures:
        first = next(iter(failures.values()))
        raise ManyError(
            f"{len(failures)} of {len(results)} objects failed; the first: {first.message}",
            failures,
            [None if index in failures else result for index, result in enumerate(results)],
        )
    return results


def _checked_range(offset: int, length: int | None) -> tuple[int, int | None]:
    return whole("offset", offset), None if length is None else whole("length", length)


def _drained(
    stream: _core.Stream, on_error: str
) -> Generator[tuple[int, Buffer | S3dlioError], None, None]:
    try:
        while (item := stream.next().wait()) is not None:
            _raise_failure(item[1], on_error)
            yield item
    finally:
        stream.close()


async def _drained_async(
    stream: _core.Stream, on_error: str
) -> AsyncGenerator[tuple[int, Buffer | S3dlioError], None]:
    try:
        while (item := await stream.next()) is not None:
            _raise_failure(item[1], on_error)
            yield item
    finally:
        stream.close()


def _raise_failure(result: object, on_error: str) -> None:
    if on_error == "raise" and isinstance(result, Exception):
        raise result


def _paged(pages: _core.Pages) -> Iterator[ObjectInfo]:
    while (page := pages.next().wait()) is not None:
        yield from _entries(page)


async def _paged_async(pages: _core.Pages) -> AsyncIterator[ObjectInfo]:
    while (page := await pages.next()) is not None:
        for entry in _entries(page):
            yield entry


def _entries(page: Listing) -> Iterator[ObjectInfo]:
    columns = zip(page.uris, page.sizes, page.modified, page.etags, page.is_prefix, strict=True)
    for uri, size, modified, etag, is_prefix in columns:
        yield ObjectInfo(uri=uri, size=size, modified=modified, etag=etag, is_prefix=is_prefix)
