"""The verbs of `Store` as functions over full URIs, each with its `_async` twin.

A URI finds its store by scheme, bucket and the environment as it is at the call: a changed
AWS_ENDPOINT_URL holds from the next call on. Options other than those of the environment need a
`Store`. What an argument means stands at the method of the same name.
"""

from __future__ import annotations

import builtins
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from s3dlio import _core
from s3dlio.file import READ_BUFFER_BYTES
from s3dlio.reading import MEMORY_LIMIT, OnError, settle
from s3dlio.registry import (
    bucket_store,
    chained,
    chained_async,
    default_store,
    gather,
    infos,
    service_store,
    spread,
    spread_into,
    spread_items,
    store_pair,
)
from s3dlio.store import Method, count_deleted

if TYPE_CHECKING:
    import io
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from typing_extensions import Buffer as Bytes

    from s3dlio._core import Buffer, Listing
    from s3dlio.errors import S3dlioError
    from s3dlio.file import AsyncObjectReader, AsyncObjectWriter, ObjectReader, ObjectWriter
    from s3dlio.info import ObjectInfo
    from s3dlio.uri import URI


def get(uri: str | URI) -> Buffer:
    """Read the whole object `uri`; see `Store.get`.

    >>> info = put("memory://train/a", b"0123456789")
    >>> bytes(get("memory://train/a"))
    b'0123456789'
    """
    return default_store(uri).get(uri)


async def get_async(uri: str | URI) -> Buffer:
    """`get`, awaited."""
    return await default_store(uri).get_async(uri)


def get_range(uri: str | URI, offset: int, length: int | None = None) -> Buffer:
    """Read `length` bytes of `uri` from byte `offset`; see `Store.get_range`."""
    return default_store(uri).get_range(uri, offset, length)


async def get_range_async(uri: str | URI, offset: int, length: int | None = None) -> Buffer:
    """`get_range`, awaited."""
    return await default_store(uri).get_range_async(uri, offset, length)


def get_ranges(
    uri: str | URI,
    ranges: Iterable[tuple[int, int | None]],
    *,
    join_gap_bytes: int | None = None,
) -> builtins.list[Buffer]:
    """Read the `ranges` of `uri`; see `Store.get_ranges`."""
    return default_store(uri).get_ranges(uri, ranges, join_gap_bytes=join_gap_bytes)


async def get_ranges_async(
    uri: str | URI,
    ranges: Iterable[tuple[int, int | None]],
    *,
    join_gap_bytes: int | None = None,
) -> builtins.list[Buffer]:
    """`get_ranges`, awaited."""
    return await default_store(uri).get_ranges_async(uri, ranges, join_gap_bytes=join_gap_bytes)


@overload
def get_many(
    uris: Iterable[str | URI],
    *,
    max_in_flight: int | None = None,
    on_error: Literal["raise", "collect"] = "raise",
) -> builtins.list[Buffer]: ...
@overload
def get_many(
    uris: Iterable[str | URI], *, max_in_flight: int | None = None, on_error: Literal["return"]
) -> builtins.list[Buffer | S3dlioError]: ...
def get_many(
    uris: Iterable[str | URI], *, max_in_flight: int | None = None, on_error: OnError = "raise"
) -> Any:
    """Read all `uris`, of any stores; result i is input i; see `Store.get_many`."""
    groups, parts = spread(uris)
    ran = [
        store._get_many(part, max_in_flight, on_error)
        for (store, _), part in zip(groups, parts, strict=True)
    ]
    return settle(gather(groups, _core.join(ran).wait()), on_error)


@overload
async def get_many_async(
    uris: Iterable[str | URI],
    *,
    max_in_flight: int | None = None,
    on_error: Literal["raise", "collect"] = "raise",
) -> builtins.list[Buffer]: ...
@overload
async def get_many_async(
    uris: Iterable[str | URI], *, max_in_flight: int | None = None, on_error: Literal["return"]
) -> builtins.list[Buffer | S3dlioError]: ...
async def get_many_async(
    uris: Iterable[str | URI], *, max_in_flight: int | None = None, on_error: OnError = "raise"
) -> Any:
    """`get_many`, awaited."""
    groups, parts = spread(uris)
    ran = [
        store._get_many(part, max_in_flight, on_error)
        for (store, _), part in zip(groups, parts, strict=True)
    ]
    return settle(gather(groups, await _core.join(ran)), on_error)


@overload
def iter_many(
    uris: Iterable[str | URI],
    *,
    memory_limit: int = ...,
    max_in_flight: int | None = None,
    ordered: bool = True,
    on_error: Literal["raise"] = "raise",
) -> Generator[tuple[int, Buffer], None, None]: ...
@overload
def iter_many(
    uris: Iterable[str | URI],
    *,
    memory_limit: int = ...,
    max_in_flight: int | None = None,
    ordered: bool = True,
    on_error: Literal["return"],
) -> Generator[tuple[int, Buffer | S3dlioError], None, None]: ...
def iter_many(
    uris: Iterable[str | URI],
    *,
    memory_limit: int = MEMORY_LIMIT,
    max_in_flight: int | None = None,
    ordered: bool = True,
    on_error: Literal["raise", "return"] = "raise",
) -> Any:
    """Read all `uris` while the caller works; see `Store.iter_many`. One bucket after the other."""
    groups, parts = spread(uris, runs=ordered)
    streams = [
        store.iter_many(
            part,
            memory_limit=memory_limit,
            max_in_flight=max_in_flight,
            ordered=ordered,
            on_error=on_error,
        )
        for (store, _), part in zip(groups, parts, strict=True)
    ]
    return chained(groups, streams)


@overload
def iter_many_async(
    uris: Iterable[str | URI],
    *,
    memory_limit: int = ...,
    max_in_flight: int | None = None,
    ordered: bool = True,
    on_error: Literal["raise"] = "raise",
) -> AsyncGenerator[tuple[int, Buffer], None]: ...
@overload
def iter_many_async(
    uris: Iterable[str | URI],
    *,
    memory_limit: int = ...,
    max_in_flight: int | None = None,
    ordered: bool = True,
    on_error: Literal["return"],
) -> AsyncGenerator[tuple[int, Buffer | S3dlioError], None]: ...
def iter_many_async(
    uris: Iterable[str | URI],
    *,
    memory_limit: int = MEMORY_LIMIT,
    max_in_flight: int | None = None,
    ordered: bool = True,
    on_error: Literal["raise", "return"] = "raise",
) -> Any:
    """`iter_many`, for `async for`."""
    groups, parts = spread(uris, runs=ordered)
    streams = [
        store.iter_many_async(
            part,
            memory_limit=memory_limit,
            max_in_flight=max_in_flight,
            ordered=ordered,
            on_error=on_error,
        )
        for (store, _), part in zip(groups, parts, strict=True)
    ]
    return chained_async(groups, streams)


def get_into(uri: str | URI, out: Bytes, offset: int = 0, length: int | None = None) -> int:
    """Read `uri` from byte `offset` straight into `out`; see `Store.get_into`."""
    return default_store(uri).get_into(uri, out, offset, length)


async def get_into_async(
    uri: str | URI, out: Bytes, offset: int = 0, length: int | None = None
) -> int:
    """`get_into`, awaited."""
    return await default_store(uri).get_into_async(uri, out, offset, length)


def get_many_into(
    uris: Iterable[str | URI], outs: Sequence[Bytes], *, max_in_flight: int | None = None
) -> builtins.list[int]:
    """Read each of `uris` into its own of `outs`; see `Store.get_many_into`."""
    groups, ran = spread_into(uris, outs, max_in_flight)
    return gather(groups, _core.join(ran).wait())


async def get_many_into_async(
    uris: Iterable[str | URI], outs: Sequence[Bytes], *, max_in_flight: int | None = None
) -> builtins.list[int]:
    """`get_many_into`, awaited."""
    groups, ran = spread_into(uris, outs, max_in_flight)
    return gather(groups, await _core.join(ran))


def put(
    uri: str | URI,
    data: Bytes,
    *,
    if_absent: bool = False,
    if_match: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ObjectInfo:
    """Write the bytes of `data` as the object `uri`; see `Store.put`."""
    return default_store(uri).put(
        uri,
        data,
        if_absent=if_absent,
        if_match=if_match,
        content_type=content_type,
        metadata=metadata,
    )


async def put_async(
    uri: str | URI,
    data: Bytes,
    *,
    if_absent: bool = False,
    if_match: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ObjectInfo:
    """`put`, awaited."""
    return await default_store(uri).put_async(
        uri,
        data,
        if_absent=if_absent,
        if_match=if_match,
        content_type=content_type,
        metadata=metadata,
    )


# For people who come from elsewhere.
put_bytes = put


def put_many(
    items: Iterable[tuple[str | URI, Bytes]], *, max_in_flight: int | None = None
) -> builtins.list[ObjectInfo]:
    """Write each (uri, data) of `items`; see `Store.put_many`."""
    groups, keys, ran = spread_items(items, max_in_flight)
    return gather(groups, infos(groups, keys, _core.join(ran).wait()))


async def put_many_async(
    items: Iterable[tuple[str | URI, Bytes]], *, max_in_flight: int | None = None
) -> builtins.list[ObjectInfo]:
    """`put_many`, awaited."""
    groups, keys, ran = spread_items(items, max_in_flight)
    return gather(groups, infos(groups, keys, await _core.join(ran)))


def list(uri: str | URI, *, recursive: bool = False, pattern: str | None = None) -> Listing:
    """List the objects below the folder `uri`; see `Store.list`."""
    return default_store(uri).list(uri, recursive=recursive, pattern=pattern)


async def list_async(
    uri: str | URI, *, recursive: bool = False, pattern: str | None = None
) -> Listing:
    """`list`, awaited."""
    return await default_store(uri).list_async(uri, recursive=recursive, pattern=pattern)


def iter_list(
    uri: str | URI, *, recursive: bool = False, pattern: str | None = None
) -> Iterator[ObjectInfo]:
    """List the objects below `uri` as the pages arrive; see `Store.iter_list`."""
    return default_store(uri).iter_list(uri, recursive=recursive, pattern=pattern)


def iter_list_async(
    uri: str | URI, *, recursive: bool = False, pattern: str | None = None
) -> AsyncIterator[ObjectInfo]:
    """`iter_list`, for `async for`."""
    return default_store(uri).iter_list_async(uri, recursive=recursive, pattern=pattern)


def stat(uri: str | URI) -> ObjectInfo:
    """Ask what is known of the object `uri`; see `Store.stat`."""
    return default_store(uri).stat(uri)


async def stat_async(uri: str | URI) -> ObjectInfo:
    """`stat`, awaited."""
    return await default_store(uri).stat_async(uri)


def exists(uri: str | URI) -> bool:
    """Whether there is an object `uri`; see `Store.exists`."""
    return default_store(uri).exists(uri)


async def exists_async(uri: str | URI) -> bool:
    """`exists`, awaited."""
    return await default_store(uri).exists_async(uri)


def delete(uri: str | URI) -> None:
    """Delete the one object `uri`; see `Store.delete`."""
    default_store(uri).delete(uri)


async def delete_async(uri: str | URI) -> None:
    """`delete`, awaited."""
    await default_store(uri).delete_async(uri)


def delete_many(
    uris: Iterable[str | URI], *, on_error: Literal["raise", "collect"] = "raise"
) -> int:
    """Delete all `uris`, of any stores; see `Store.delete_many`."""
    groups, parts = spread(uris)
    ran = [
        store._delete_many(part, on_error) for (store, _), part in zip(groups, parts, strict=True)
    ]
    return count_deleted(gather(groups, _core.join(ran).wait()), on_error)


async def delete_many_async(
    uris: Iterable[str | URI], *, on_error: Literal["raise", "collect"] = "raise"
) -> int:
    """`delete_many`, awaited."""
    groups, parts = spread(uris)
    ran = [
        store._delete_many(part, on_error) for (store, _), part in zip(groups, parts, strict=True)
    ]
    return count_deleted(gather(groups, await _core.join(ran)), on_error)


@overload
def delete_prefix(uri: str | URI, *, dry_run: Literal[False] = False) -> int: ...
@overload
def delete_prefix(uri: str | URI, *, dry_run: Literal[True]) -> builtins.list[str]: ...
def delete_prefix(uri: str | URI, *, dry_run: bool = False) -> Any:
    """Delete every object below the folder `uri`; see `Store.delete_prefix`."""
    return default_store(uri).delete_prefix(uri, dry_run=dry_run)  # type: ignore[call-overload]


@overload
async def delete_prefix_async(uri: str | URI, *, dry_run: Literal[False] = False) -> int: ...
@overload
async def delete_prefix_async(uri: str | URI, *, dry_run: Literal[True]) -> builtins.list[str]: ...
async def delete_prefix_async(uri: str | URI, *, dry_run: bool = False) -> Any:
    """`delete_prefix`, awaited."""
    return await default_store(uri).delete_prefix_async(uri, dry_run=dry_run)  # type: ignore[call-overload]


def copy(src: str | URI, dst: str | URI) -> ObjectInfo:
    """Copy the object `src` to `dst`: inside one service, or streamed from store to store."""
    source, target = store_pair(src, dst)
    if source is target:
        return source.copy(src, dst)
    return target.copy_from(source, src, dst)


async def copy_async(src: str | URI, dst: str | URI) -> ObjectInfo:
    """`copy`, awaited."""
    source, target = store_pair(src, dst)
    if source is target:
        return await source.copy_async(src, dst)
    return await target.copy_from_async(source, src, dst)


def move(src: str | URI, dst: str | URI) -> ObjectInfo:
    """Copy the object `src` to `dst`, then delete `src`; see `Store.move`."""
    source, target = store_pair(src, dst)
    if source is target:
        return source.move(src, dst)
    info = target.copy_from(source, src, dst)
    source.delete(src)
    return info


async def move_async(src: str | URI, dst: str | URI) -> ObjectInfo:
    """`move`, awaited."""
    source, target = store_pair(src, dst)
    if source is target:
        return await source.move_async(src, dst)
    info = await target.copy_from_async(source, src, dst)
    await source.delete_async(src)
    return info


def list_buckets(uri: str) -> builtins.list[ObjectInfo]:
    """List the buckets of a service, `uri` being its scheme such as "s3://"."""
    return service_store(uri).list_buckets()


async def list_buckets_async(uri: str) -> builtins.list[ObjectInfo]:
    """`list_buckets`, awaited."""
    return await service_store(uri).list_buckets_async()


def create_bucket(uri: str | URI) -> None:
    """Create the bucket `uri`, such as "s3://train"; see `Store.create_bucket`."""
    bucket_store(uri).create_bucket()


async def create_bucket_async(uri: str | URI) -> None:
    """`create_bucket`, awaited."""
    await bucket_store(uri).create_bucket_async()


def delete_bucket(uri: str | URI) -> None:
    """Delete the empty bucket `uri`; see `Store.delete_bucket`."""
    bucket_store(uri).delete_bucket()


async def delete_bucket_async(uri: str | URI) -> None:
    """`delete_bucket`, awaited."""
    await bucket_store(uri).delete_bucket_async()


def presign(uri: str | URI, method: Method = "GET", expires: float | timedelta = 3600.0) -> str:
    """Return a URL that lets anyone do `method` on `uri`; see `Store.presign`."""
    return default_store(uri).presign(uri, method, expires)


async def presign_async(
    uri: str | URI, method: Method = "GET", expires: float | timedelta = 3600.0
) -> str:
    """`presign`, awaited."""
    return await default_store(uri).presign_async(uri, method, expires)


@overload
def open(
    uri: str | URI, mode: Literal["rb"] = "rb", *, buffer_bytes: int = ...
) -> ObjectReader: ...
@overload
def open(
    uri: str | URI,
    mode: Literal["wb", "xb"],
    *,
    if_match: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ObjectWriter: ...
@overload
def open(
    uri: str | URI,
    mode: Literal["r", "rt", "w", "wt", "x", "xt"],
    *,
    buffer_bytes: int = ...,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    if_match: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> io.TextIOWrapper: ...
def open(
    uri: str | URI,
    mode: str = "rb",
    *,
    buffer_bytes: int = READ_BUFFER_BYTES,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    if_match: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Open the object `uri` as a file; see `Store.open`."""
    opened: Callable[..., Any] = default_store(uri).open
    return opened(
        uri,
        mode,
        buffer_bytes=buffer_bytes,
        encoding=encoding,
        errors=errors,
        newline=newline,
        if_match=if_match,
        content_type=content_type,
        metadata=metadata,
    )


@overload
async def open_async(uri: str | URI, mode: Literal["rb"] = "rb") -> AsyncObjectReader: ...
@overload
async def open_async(
    uri: str | URI,
    mode: Literal["wb", "xb"],
    *,
    if_match: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> AsyncObjectWriter: ...
async def open_async(
    uri: str | URI,
    mode: str = "rb",
    *,
    if_match: str | None = None,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Open the object `uri` as a binary file whose methods are awaited; see `Store.open_async`."""
    opened: Callable[..., Any] = default_store(uri).open_async
    return await opened(uri, mode, if_match=if_match, content_type=content_type, metadata=metadata)
