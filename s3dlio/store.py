"""Class Store: every verb on the objects of one place, each blocking and awaited."""

from __future__ import annotations

import builtins
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from s3dlio.file import READ_BUFFER_BYTES, open_object, open_object_async
from s3dlio.info import ObjectInfo
from s3dlio.options import one_of, seconds
from s3dlio.reading import Reading, settle

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Mapping

    from typing_extensions import Buffer as Bytes

    from s3dlio._core import Operation
    from s3dlio.errors import S3dlioError
    from s3dlio.file import AsyncObjectReader, AsyncObjectWriter, ObjectReader, ObjectWriter
    from s3dlio.root import Root
    from s3dlio.uri import URI

Method = Literal["GET", "PUT", "HEAD", "DELETE"]

# The longest that AWS's signatures hold: seven days.
_LONGEST_EXPIRY_SECONDS = 604_800.0


class Store(Reading):
    """The objects below the URI `root`, as `options` say.

    A key is a name below the root or a full URI inside it. Each verb has a twin that ends in
    `_async`, with the same arguments, to be awaited. A store pickles as its root and its
    options, may be shared by threads, and works in forked children.

    Without `options`, those of `StoreOptions.from_env()` hold; what they leave open follows the
    environment at this moment.

        >>> store = Store("memory://train/run1")
        >>> store.put("a", b"0123456789").size
        10
        >>> bytes(store.get("a")) == bytes(store.get("memory://train/run1/a"))
        True

    Raises:
        InvalidUriError: `root` is no URI.
        UnsupportedError: there is no backend for its scheme yet.
        ValueError: an option or a variable is impossible.
    """

    __slots__ = ()

    def put(
        self,
        key: str | URI,
        data: Bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Write the bytes of `data` as the object `key`, in parts when they are many.

        `data` is any contiguous buffer and is not copied. `if_absent` refuses to overwrite;
        `if_match` overwrites only the version with that etag.

        Raises:
            AlreadyExistsError: `if_absent`, and there is such an object.
            PreconditionFailedError: the object has another etag than `if_match`.

            >>> Store("memory://train").put("b", b"x", metadata={"by": "me"}).size
            1
        """
        key = self._key(key)
        put = _put_arguments(if_absent, if_match, content_type, metadata)
        return self._info(key, self._core.put(key, _checked_data(data), **put).wait())

    async def put_async(
        self,
        key: str | URI,
        data: Bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """`put`, awaited."""
        key = self._key(key)
        put = _put_arguments(if_absent, if_match, content_type, metadata)
        return self._info(key, await self._core.put(key, _checked_data(data), **put))

    def put_many(
        self, items: Iterable[tuple[str | URI, Bytes]], *, max_in_flight: int | None = None
    ) -> builtins.list[ObjectInfo]:
        """Write each (key, data) of `items`; result i is item i. A failure stops the rest.

        Raises:
            ValueError: two items have one key.
        """
        keys, operation = self._put_many(items, max_in_flight)
        return builtins.list(map(self._info, keys, operation.wait()))

    async def put_many_async(
        self, items: Iterable[tuple[str | URI, Bytes]], *, max_in_flight: int | None = None
    ) -> builtins.list[ObjectInfo]:
        """`put_many`, awaited."""
        keys, operation = self._put_many(items, max_in_flight)
        return builtins.list(map(self._info, keys, await operation))

    def _put_many(
        self, items: Iterable[tuple[str | URI, Bytes]], max_in_flight: int | None
    ) -> tuple[builtins.list[str], Operation[builtins.list[dict[str, Any]]]]:
        pairs = [(self._key(key), _checked_data(data)) for key, data in items]
        refuse_repeats(self._uri(key) for key, _ in pairs)
        keys = [key for key, _ in pairs]
        return keys, self._core.put_many(pairs, self._in_flight(max_in_flight))

    def delete(self, key: str | URI) -> None:
        """Delete the one object `key`; one that is not there is no error. No wildcard is expanded."""
        self._core.delete(self._key(key)).wait()

    async def delete_async(self, key: str | URI) -> None:
        """`delete`, awaited."""
        await self._core.delete(self._key(key))

    def delete_many(
        self, keys: Iterable[str | URI], *, on_error: Literal["raise", "collect"] = "raise"
    ) -> int:
        """Delete all `keys`; return how many.

        All are tried. Then `on_error="raise"` raises the first failure's own error, "collect" a
        `ManyError` of all of them.
        """
        return count_deleted(self._delete_many(keys, on_error).wait(), on_error)

    async def delete_many_async(
        self, keys: Iterable[str | URI], *, on_error: Literal["raise", "collect"] = "raise"
    ) -> int:
        """`delete_many`, awaited."""
        return count_deleted(await self._delete_many(keys, on_error), on_error)

    def _delete_many(
        self, keys: Iterable[str | URI], on_error: str
    ) -> Operation[builtins.list[S3dlioError | None]]:
        one_of("on_error", on_error, ("raise", "collect"))
        return self._core.delete_many(self._known(keys)[0])

    @overload
    def delete_prefix(self, prefix: str | URI, *, dry_run: Literal[False] = False) -> int: ...
    @overload
    def delete_prefix(self, prefix: str | URI, *, dry_run: Literal[True]) -> builtins.list[str]: ...
    def delete_prefix(self, prefix: str | URI, *, dry_run: bool = False) -> Any:
        """Delete every object below the folder `prefix`; return how many.

        With `dry_run`, delete nothing and return their URIs.
        """
        return self._core.delete_prefix(self._folder(prefix), bool(dry_run)).wait()

    @overload
    async def delete_prefix_async(
        self, prefix: str | URI, *, dry_run: Literal[False] = False
    ) -> int: ...
    @overload
    async def delete_prefix_async(
        self, prefix: str | URI, *, dry_run: Literal[True]
    ) -> builtins.list[str]: ...
    async def delete_prefix_async(self, prefix: str | URI, *, dry_run: bool = False) -> Any:
        """`delete_prefix`, awaited."""
        return await self._core.delete_prefix(self._folder(prefix), bool(dry_run))

    def copy(self, src: str | URI, dst: str | URI) -> ObjectInfo:
        """Copy the object `src` to `dst` inside the service; return what `dst` is now."""
        source, target = self._pair(src, dst)
        return self._info(target, self._core.copy(source, target).wait())

    async def copy_async(self, src: str | URI, dst: str | URI) -> ObjectInfo:
        """`copy`, awaited."""
        source, target = self._pair(src, dst)
        return self._info(target, await self._core.copy(source, target))

    def move(self, src: str | URI, dst: str | URI) -> ObjectInfo:
        """Copy the object `src` to `dst`, then delete `src`; one step on local files."""
        source, target = self._pair(src, dst)
        return self._info(target, self._core.move(source, target).wait())

    async def move_async(self, src: str | URI, dst: str | URI) -> ObjectInfo:
        """`move`, awaited."""
        source, target = self._pair(src, dst)
        return self._info(target, await self._core.move(source, target))

    def _pair(self, src: str | URI, dst: str | URI) -> tuple[str, str]:
        source, target = self._key(src), self._key(dst)
        if source == target:
            raise ValueError(f"`src` and `dst` are one object: {self._uri(source)}")
        return source, target

    def copy_from(self, other: Root, src: str | URI, dst: str | URI) -> ObjectInfo:
        """Stream the object `src` of the store `other` to `dst` of this one, in bounded memory."""
        target = self._key(dst)
        return self._info(target, self._copy_from(other, src, dst).wait())

    async def copy_from_async(self, other: Root, src: str | URI, dst: str | URI) -> ObjectInfo:
        """`copy_from`, awaited."""
        target = self._key(dst)
        return self._info(target, await self._copy_from(other, src, dst))

    def _copy_from(self, other: Root, src: str | URI, dst: str | URI) -> Operation[dict[str, Any]]:
        if not isinstance(other, Reading):
            raise TypeError(f"`other` must be a Store, got {type(other).__name__}")
        return self._core.copy_from(other._core, other._key(src), self._key(dst))

    def list_buckets(self) -> builtins.list[ObjectInfo]:
        """List the buckets that these credentials own, by name; `modified` is their creation."""
        return self._buckets(self._core.list_buckets().wait())

    async def list_buckets_async(self) -> builtins.list[ObjectInfo]:
        """`list_buckets`, awaited."""
        return self._buckets(await self._core.list_buckets())

    def _buckets(self, found: builtins.list[tuple[str, float | None]]) -> builtins.list[ObjectInfo]:
        above = self._base if self._root.is_local else f"{self._root.scheme}://"
        return [
            ObjectInfo(uri=above + name, modified=created, is_prefix=True)
            for name, created in found
        ]

    def create_bucket(self) -> None:
        """Create the bucket of this store.

        Raises:
            AlreadyExistsError: there is such a bucket.
        """
        self._core.create_bucket().wait()

    async def create_bucket_async(self) -> None:
        """`create_bucket`, awaited."""
        await self._core.create_bucket()

    def delete_bucket(self) -> None:
        """Delete the bucket of this store, which must be empty."""
        self._core.delete_bucket().wait()

    async def delete_bucket_async(self) -> None:
        """`delete_bucket`, awaited."""
        await self._core.delete_bucket()

    def presign(
        self, key: str | URI, method: Method = "GET", expires: float | timedelta = 3600.0
    ) -> str:
        """Return a URL that lets anyone do `method` on `key` for `expires` seconds."""
        return self._presign(key, method, expires).wait()

    async def presign_async(
        self, key: str | URI, method: Method = "GET", expires: float | timedelta = 3600.0
    ) -> str:
        """`presign`, awaited."""
        return await self._presign(key, method, expires)

    def _presign(
        self, key: str | URI, method: Method, expires: float | timedelta
    ) -> Operation[str]:
        one_of("method", method, ("GET", "PUT", "HEAD", "DELETE"))
        if isinstance(expires, timedelta):
            expires = expires.total_seconds()
        life = seconds("expires", expires, _LONGEST_EXPIRY_SECONDS)
        return self._core.presign(self._key(key), method, life)

    @overload
    def open(
        self, key: str | URI, mode: Literal["rb"] = "rb", *, buffer_bytes: int = ...
    ) -> ObjectReader: ...
    @overload
    def open(
        self,
        key: str | URI,
        mode: Literal["wb", "xb"],
        *,
        if_match: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectWriter: ...
    @overload
    def open(
        self,
        key: str | URI,
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
        self,
        key: str | URI,
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
        """Open the object `key` as a file: to read ("r"), write ("w") or create ("x").

        A reader seeks, keeps to the version that it opened, and reads `buffer_bytes` ahead. A
        writer sends parts as it grows and publishes the object at `close`; an exception inside
        `with` leaves nothing behind. Text is UTF-8 unless `encoding` says otherwise.

            >>> with Store("memory://train").open("log.txt", "w") as file:
            ...     count = file.write("done")
            >>> Store("memory://train").open("log.txt", "r").read()
            'done'
        """
        key = self._key(key)
        return open_object(
            self._core,
            key,
            self._uri(key),
            mode,
            buffer_bytes=buffer_bytes,
            encoding=encoding,
            errors=errors,
            newline=newline,
            **_attributes(if_match, content_type, metadata),
        )

    @overload
    async def open_async(self, key: str | URI, mode: Literal["rb"] = "rb") -> AsyncObjectReader: ...
    @overload
    async def open_async(
        self,
        key: str | URI,
        mode: Literal["wb", "xb"],
        *,
        if_match: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncObjectWriter: ...
    async def open_async(
        self,
        key: str | URI,
        mode: str = "rb",
        *,
        if_match: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Any:
        """Open the object `key` as a binary file whose methods are awaited, without a buffer."""
        key = self._key(key)
        put = _attributes(if_match, content_type, metadata)
        return await open_object_async(self._core, key, self._uri(key), mode, **put)


def count_deleted(results: builtins.list[S3dlioError | None], on_error: str) -> int:
    """Return how many were deleted, or raise as `on_error` says."""
    if on_error == "collect":
        settle(results, "collect")
    for error in results:
        if error is not None:
            raise error
    return len(results)


def refuse_repeats(uris: Iterable[str]) -> None:
    """Raise ValueError when two of `uris` are one."""
    seen: set[str] = set()
    for uri in uris:
        if uri in seen:
            raise ValueError(f"two items would be written to {uri}")
        seen.add(uri)


def _put_arguments(
    if_absent: bool,
    if_match: str | None,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
) -> dict[str, Any]:
    if if_absent and if_match is not None:
        raise ValueError("`if_absent` and `if_match` contradict each other: give one of them")
    return {"if_absent": bool(if_absent)} | _attributes(if_match, content_type, metadata)


def _attributes(
    if_match: str | None, content_type: str | None, metadata: Mapping[str, str] | None
) -> dict[str, Any]:
    for name, value in (("if_match", if_match), ("content_type", content_type)):
        if value is not None and not (isinstance(value, str) and value):
            raise TypeError(f"`{name}` must be a text, got {value!r}")
    if metadata is None:
        return {"if_match": if_match, "content_type": content_type, "metadata": None}
    for name, value in dict(metadata).items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"`metadata` must map str to str, got {name!r}: {value!r}")
    return {"if_match": if_match, "content_type": content_type, "metadata": dict(metadata)}


def _checked_data(data: Bytes) -> Bytes:
    if isinstance(data, str):
        raise TypeError("`data` must be bytes-like, got str; encode it first")
    return data
