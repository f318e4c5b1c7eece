"""Where a store is and how it is reached: its root, its options, its keys."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Self

from s3dlio import _core, aws
from s3dlio.errors import InvalidUriError, UnsupportedError
from s3dlio.info import ObjectInfo
from s3dlio.options import StoreOptions, environment_snapshot, whole
from s3dlio.uri import URI, check_key, is_full

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMING = {"gs": "gs:// comes in the next release", "az": "az:// comes in the next release"}


class Root:
    """What `Reading` and `Store` stand on."""

    __slots__ = ("_base", "_bucket", "_core", "_given", "_options", "_prefix", "_root")

    def __init__(self, root: str | URI, options: StoreOptions | None = None) -> None:
        self._open(root if isinstance(root, URI) else URI.parse(root), options)

    @classmethod
    def of_service(cls, scheme: str) -> Self:
        """Return a store without a bucket, which can only list buckets."""
        store = cls.__new__(cls)
        store._open(URI(scheme, "", ""), None)
        return store

    def _open(self, root: URI, options: StoreOptions | None) -> None:
        if options is not None and not isinstance(options, StoreOptions):
            raise TypeError(f"`options` must be StoreOptions, got {type(options).__name__}")
        if root.scheme in _COMING:
            raise UnsupportedError(f"cannot open {root}: {_COMING[root.scheme]}", uri=str(root))
        environment = environment_snapshot(root.scheme)
        self._root = root
        self._given = options
        self._options = StoreOptions.from_env(environment) if options is None else options
        self._prefix = root.folder().key
        self._base = str(root.folder())
        self._bucket = str(root.root)
        core = self._options.as_core()
        if root.scheme == "s3":
            core |= aws.resolve(self._options.s3, self._options.http, environment)
        # A folder plays the part of a bucket.
        bucket = "/" + root.key.rstrip("/") if root.is_local else root.bucket
        self._core = _core.Store(root.scheme, bucket, core, environment)

    @property
    def uri(self) -> str:
        """The root, as a prefix."""
        return self._base

    @property
    def options(self) -> StoreOptions:
        """The options that hold."""
        return self._options

    def counters(self) -> dict[str, int]:
        """Return sums over the life of this store.

        They are `requests`, `retries`, `bytes_read`, `bytes_written` and `bytes_copied`; the last
        counts bytes that were moved once more inside the process.
        """
        return self._core.counters()

    def __repr__(self) -> str:
        options = "" if self._given is None else f", {self._given!r}"
        return f"Store({self._base!r}{options})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Root):
            return NotImplemented
        return self._base == other._base and self._options == other._options

    def __hash__(self) -> int:
        return hash(self._base)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._root, self._given)

    def _key(self, name: str | URI) -> str:
        """Return the full key of the object `name`, a name below the root or a URI inside it."""
        key = self._full_key(name)
        if key == self._prefix or not key.startswith(self._prefix):
            raise InvalidUriError(f"{name!r} names no object below {self._base}", uri=self._base)
        return key

    def _folder(self, name: str | URI) -> str:
        """Return the full key of the prefix `name`: empty, or ending in "/"."""
        key = self._full_key(name)
        if key and not key.endswith("/"):
            key += "/"
        if not key.startswith(self._prefix):
            raise InvalidUriError(f"{name!r} does not lie below {self._base}", uri=self._base)
        return key

    def _full_key(self, name: str | URI) -> str:
        if not isinstance(name, str):
            if not isinstance(name, URI):
                raise TypeError(f"a key or URI must be a str, got {type(name).__name__}")
            name = str(name)
        # Most URIs need not be taken apart to be known as ours.
        if name.startswith(self._bucket):
            key = name[len(self._bucket) :]
        elif is_full(name):
            uri = URI.parse(name)
            if uri.root != self._root.root:
                raise InvalidUriError(f"{uri} does not lie below {self._base}", uri=str(uri))
            return uri.key
        else:
            key = self._prefix + name
        check_key(self._root.scheme, key, name)
        return key

    def _keys(self, names: Iterable[str | URI]) -> builtins.list[str]:
        refuse_single(names)
        return [self._key(name) for name in names]

    def _known(
        self, names: Iterable[str | URI]
    ) -> tuple[builtins.list[str], builtins.list[int] | None, builtins.list[str | None] | None]:
        """Return keys, and where a listing knows them, sizes and etags."""
        if not isinstance(names, _core.Listing):
            return self._keys(names), None, None
        for uri, is_prefix in zip(names.uris, names.is_prefix, strict=True):
            if is_prefix:
                raise InvalidUriError(
                    f"{uri} is a prefix, not an object", uri=uri, hint="list with recursive=True"
                )
            if not uri.startswith(self._base):
                raise InvalidUriError(f"{uri} does not lie below {self._base}", uri=uri)
        return names.keys, names.sizes, names.etags

    def _uri(self, key: str) -> str:
        return self._bucket + key

    def _info(self, key: str, meta: dict[str, Any]) -> ObjectInfo:
        return ObjectInfo(uri=self._uri(key), **meta)

    def _in_flight(self, given: int | None) -> int:
        if given is None:
            return self._options.read.max_in_flight
        return whole("max_in_flight", given, 1, 65_536)


def refuse_single(names: object) -> None:
    """Raise TypeError when `names` is one name, whose characters would be taken for names."""
    if isinstance(names, str | bytes | URI):
        raise TypeError(f"expected several keys or URIs, got one: {names!r}; put it into a list")
