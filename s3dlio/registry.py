"""Which store a full URI belongs to: default stores, and lists of URIs spread over them."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, TypeVar

from s3dlio import _core
from s3dlio.errors import InvalidUriError
from s3dlio.info import ObjectInfo
from s3dlio.options import environment_snapshot
from s3dlio.root import refuse_single
from s3dlio.store import Store
from s3dlio.uri import SCHEMES, URI

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Sequence

    from typing_extensions import Buffer as Bytes

    from s3dlio._core import Operation

    # A store, and the positions in the caller's list of what belongs to it.
    Group = tuple[Store, Sequence[int]]

T = TypeVar("T")
_MOST_STORES = 64
# Without a lock, which a fork could leave locked for ever: two threads may make a store twice.
_stores: dict[tuple[str, frozenset[tuple[str, str]]], Store] = {}


def default_store(uri: str | URI) -> Store:
    """Return the store of the bucket of `uri` under the environment of this moment."""
    place = uri if isinstance(uri, URI) else URI.parse(uri)
    key = (str(place.root), frozenset(environment_snapshot(place.scheme).items()))
    store = _stores.get(key)
    if store is None:
        for oldest in list(_stores)[: len(_stores) + 1 - _MOST_STORES]:
            _stores.pop(oldest, None)
        store = _stores.setdefault(key, Store(place.root))
    return store


def service_store(uri: str) -> Store:
    """Return a store that lists the buckets of the service `uri`, such as "s3://"."""
    if not isinstance(uri, str):
        raise TypeError(f"a URI must be a str, got {type(uri).__name__}")
    scheme, mark, rest = uri.partition("://")
    if not mark or rest.strip("/") or scheme not in SCHEMES:
        raise InvalidUriError(f"expected a service such as 's3://', got {uri!r}", uri=uri)
    return Store.of_service(scheme)


def bucket_store(uri: str | URI) -> Store:
    """Return the store of the bucket `uri`, which must have no key."""
    place = uri if isinstance(uri, URI) else URI.parse(uri)
    if place.key and not place.is_local:
        raise InvalidUriError(f"expected a bucket such as {place.root}, got {uri}", uri=str(uri))
    return Store(place) if place.is_local else default_store(place)


def store_pair(src: str | URI, dst: str | URI) -> tuple[Store, Store]:
    """Return the stores of `src` and `dst`.

    Raises:
        ValueError: both name one object.
    """
    source = src if isinstance(src, URI) else URI.parse(src)
    target = dst if isinstance(dst, URI) else URI.parse(dst)
    # file:// and direct:// are two ways to the same file, and moving would delete it.
    if source == target or (source.is_local and target.is_local and source.key == target.key):
        raise ValueError(f"`src` and `dst` are one object: {source}")
    return default_store(source), default_store(target)


def spread(
    uris: Iterable[str | URI], *, runs: bool = False
) -> tuple[list[Group], list[Iterable[str | URI]]]:
    """Return the stores of `uris`, and for each what it has to fetch.

    With `runs`, a store comes again where `uris` comes back to it, so that order is kept.
    """
    if isinstance(uris, _core.Listing):
        if not len(uris):
            return [], []
        return [(default_store(uris[0]), range(len(uris)))], [uris]
    refuse_single(uris)
    known: dict[str, Store] = {}
    places: dict[tuple[int, int], tuple[Store, list[int], list[str | URI]]] = {}
    run, last = 0, None
    for index, uri in enumerate(uris):
        text = uri if isinstance(uri, str) else ""
        end = text.find("/", text.find("://") + 3)
        bucket = text[:end] if end > 0 else text
        store = known.get(bucket)
        if store is None:
            store = default_store(uri)
            if text.startswith("/", len(bucket)):
                known[bucket] = store
        if runs and store is not last:
            run, last = run + 1, store
        _, positions, part = places.setdefault((run, id(store)), (store, [], []))
        positions.append(index)
        part.append(uri)
    return (
        [(store, positions) for store, positions, _ in places.values()],
        [part for _, _, part in places.values()],
    )


def gather(groups: Sequence[Group], answers: Sequence[list[T]]) -> list[T]:
    """Return the answers of the stores in the order of the caller's list."""
    if len(groups) == 1:
        return list(answers[0])
    placed: list[Any] = [None] * sum(len(positions) for _, positions in groups)
    for (_, positions), results in zip(groups, answers, strict=True):
        for position, result in zip(positions, results, strict=True):
            placed[position] = result
    return placed


def spread_into(
    uris: Iterable[str | URI], outs: Sequence[Bytes], max_in_flight: int | None
) -> tuple[list[Group], list[Operation[list[int]]]]:
    """Return the stores of `uris`, and for each the reading into its own of `outs`."""
    outs = list(outs)
    groups, parts = spread(uris)
    count = sum(len(positions) for _, positions in groups)
    if count != len(outs):
        raise ValueError(f"`outs` must hold one place for each of {count} URIs, got {len(outs)}")
    ran = [
        store._get_many_into(part, [outs[position] for position in positions], max_in_flight)
        for (store, positions), part in zip(groups, parts, strict=True)
    ]
    return groups, ran


def spread_items(
    items: Iterable[tuple[str | URI, Bytes]], max_in_flight: int | None
) -> tuple[list[Group], list[list[str]], list[Operation[list[dict[str, Any]]]]]:
    """Return the stores of `items`, and for each its keys and their writing."""
    items = list(items)
    groups, _ = spread(uri for uri, _ in items)
    written = [
        store._put_many([items[position] for position in positions], max_in_flight)
        for store, positions in groups
    ]
    return groups, [keys for keys, _ in written], [operation for _, operation in written]


def infos(
    groups: Sequence[Group],
    keys: Sequence[Sequence[str]],
    answers: Sequence[list[dict[str, Any]]],
) -> list[list[ObjectInfo]]:
    """Return what the stores say of the `keys` that they wrote."""
    return [
        list(map(store._info, part, metas))
        for (store, _), part, metas in zip(groups, keys, answers, strict=True)
    ]


def chained(
    groups: Sequence[Group], streams: Sequence[Generator[tuple[int, T]]]
) -> Generator[tuple[int, T]]:
    """Yield what the `streams` of the stores yield, one after the other, by the caller's index."""
    for (_, positions), stream in zip(groups, streams, strict=True):
        with closing(stream):
            for index, item in stream:
                yield positions[index], item


async def chained_async(
    groups: Sequence[Group], streams: Sequence[AsyncGenerator[tuple[int, T]]]
) -> AsyncGenerator[tuple[int, T]]:
    """`chained`, for `async for`."""
    for (_, positions), stream in zip(groups, streams, strict=True):
        async with aclosing(stream):
            async for index, item in stream:
                yield positions[index], item
