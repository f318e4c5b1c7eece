"""Files of this machine to objects and back: many at once, streamed, the tree kept."""

from __future__ import annotations

import glob as globbing
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3dlio import _core
from s3dlio.errors import InvalidUriError, NotFoundError
from s3dlio.options import whole
from s3dlio.registry import default_store
from s3dlio.uri import URI

if TYPE_CHECKING:
    from s3dlio._core import Listing, Operation
    from s3dlio.store import Store

Path = str | os.PathLike[str]

_FILES = "file:///"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """What a transfer moved.

    >>> TransferReport(files=2, bytes=2_000_000, seconds=0.5).bytes_per_second
    4000000.0
    """

    files: int
    bytes: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        """Bytes over seconds; 0 where nothing was moved."""
        return self.bytes / self.seconds if self.bytes else 0.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """From which store, to which, and for each object its two keys as URIs."""

    source: Store
    target: Store
    pairs: list[tuple[str, str]]

    def rounds(self, max_in_flight: int) -> Iterator[Operation[list[dict[str, Any]]]]:
        """Yield the copies, `max_in_flight` at a time."""
        for start in range(0, len(self.pairs), max_in_flight):
            yield _core.join(
                [
                    self.target._copy_from(self.source, source, target)
                    for source, target in self.pairs[start : start + max_in_flight]
                ]
            )


def upload(
    paths: Path | Iterable[Path],
    dest: str | URI,
    *,
    glob: bool = False,
    max_in_flight: int = 16,
) -> TransferReport:
    """Write the files `paths` below the folder `dest`, under their own names.

    A directory is written with its name and its tree, symbolic links followed; empty directories
    leave nothing. Names are literal; with `glob` they are patterns, and the tree below the part
    without a wildcard is kept. `max_in_flight` files travel at once, in parts.

        upload(["test.txt", "data"], "s3://train/run1/")
        # s3://train/run1/test.txt, s3://train/run1/data/a/b.npy, …

    Raises:
        FileNotFoundError: one of `paths` is not there, or a pattern matches nothing.
        ValueError: two files would have one URI, or a path is neither file nor directory.
            Either is raised before anything is sent.
    """
    started = time.monotonic()
    in_flight = whole("max_in_flight", max_in_flight, 1, 1024)
    plan = _plan_upload(paths, dest, glob)
    return _report(started, [meta for ran in plan.rounds(in_flight) for meta in ran.wait()])


async def upload_async(
    paths: Path | Iterable[Path],
    dest: str | URI,
    *,
    glob: bool = False,
    max_in_flight: int = 16,
) -> TransferReport:
    """`upload`, awaited."""
    started = time.monotonic()
    in_flight = whole("max_in_flight", max_in_flight, 1, 1024)
    plan = _plan_upload(paths, dest, glob)
    return _report(started, [meta for ran in plan.rounds(in_flight) for meta in await ran])


def download(src: str | URI, dest_dir: Path, *, max_in_flight: int = 16) -> TransferReport:
    """Write the object `src`, or all objects below the prefix `src`, as files into `dest_dir`.

    What follows the prefix becomes the path below `dest_dir`; each file appears whole. An object
    and a prefix of the same name: the object, unless `src` ends in "/".

        download("s3://train/run1/", "./local")
        # ./local/test.txt, ./local/data/a/b.npy, …

    Raises:
        NotFoundError: there is neither such an object nor anything below such a prefix.
        InvalidUriError: a key would be written outside `dest_dir`.
        ValueError: two objects would be one file, or one is both file and folder.
            All are raised before a file is written.
    """
    started = time.monotonic()
    in_flight = whole("max_in_flight", max_in_flight, 1, 1024)
    place, store, target = _download_ends(src, dest_dir)
    if _may_be_object(place):
        try:
            store.stat(place)
        except NotFoundError as missing:
            plan = _plan_tree(place, store, target, store.list(place, recursive=True), missing)
        else:
            plan = _plan_one(place, store, target)
    else:
        plan = _plan_tree(place, store, target, store.list(place, recursive=True), None)
    return _report(started, [meta for ran in plan.rounds(in_flight) for meta in ran.wait()])


async def download_async(
    src: str | URI, dest_dir: Path, *, max_in_flight: int = 16
) -> TransferReport:
    """`download`, awaited."""
    started = time.monotonic()
    in_flight = whole("max_in_flight", max_in_flight, 1, 1024)
    place, store, target = _download_ends(src, dest_dir)
    if _may_be_object(place):
        try:
            await store.stat_async(place)
        except NotFoundError as missing:
            listing = await store.list_async(place, recursive=True)
            plan = _plan_tree(place, store, target, listing, missing)
        else:
            plan = _plan_one(place, store, target)
    else:
        listing = await store.list_async(place, recursive=True)
        plan = _plan_tree(place, store, target, listing, None)
    return _report(started, [meta for ran in plan.rounds(in_flight) for meta in await ran])


def _report(started: float, metas: list[dict[str, Any]]) -> TransferReport:
    return TransferReport(
        files=len(metas),
        bytes=sum(meta["size"] for meta in metas),
        seconds=time.monotonic() - started,
    )


def _plan_upload(paths: Path | Iterable[Path], dest: str | URI, glob: bool) -> _Plan:
    folder = (dest if isinstance(dest, URI) else URI.parse(dest)).folder()
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    sources: dict[str, str] = {}
    for path in given:
        for file, name in _named_files(_checked_path(path), glob):
            uri = str(folder.join(name))
            if sources.setdefault(uri, file) != file:
                raise ValueError(f"both {sources[uri]} and {file} would be written to {uri}")
    pairs = [(_file_uri(file), uri) for uri, file in sources.items()]
    return _Plan(default_store(_FILES), default_store(folder), pairs)


def _checked_path(path: object) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"a path must be a str or a Path, got {type(path).__name__}")
    if not text:
        raise ValueError("a path must not be empty")
    if "://" in text:
        raise ValueError(f"expected a path of this machine, got the URI {text!r}")
    return text


def _named_files(path: str, glob: bool) -> Iterator[tuple[str, str]]:
    """Yield each file that `path` means, absolute, and its name below the destination."""
    if not glob or not globbing.has_magic(path):
        start = os.path.abspath(path)
        yield from _tree(start, os.path.dirname(start))
        return
    fixed: list[str] = []
    for part in path.split("/"):
        if globbing.has_magic(part):
            break
        fixed.append(part)
    top = os.path.abspath("/".join(fixed) + "/" if fixed else ".")
    matches = sorted(globbing.glob(path, recursive=True))
    if not matches:
        raise FileNotFoundError(f"no file matches {path!r}")
    for match in matches:
        yield from _tree(os.path.abspath(match), top)


def _tree(start: str, top: str) -> Iterator[tuple[str, str]]:
    """Yield `start`, or the files below it, with their names relative to `top`."""
    if not os.path.isdir(start):
        _refuse_special(start)
        yield start, os.path.relpath(start, top)
        return
    for folder, folders, files in os.walk(start, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        folders.sort()
        for name in folders:
            # A link to a folder that holds it would be walked for ever.
            inner = os.path.realpath(os.path.join(folder, name))
            if os.path.commonpath([inner, real]) == inner:
                raise ValueError(f"{os.path.join(folder, name)} links to a folder that holds it")
        for name in sorted(files):
            file = os.path.join(folder, name)
            _refuse_special(file)
            yield file, os.path.relpath(file, top)


def _raise(error: OSError) -> None:
    raise error


def _refuse_special(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is neither a file nor a directory")


def _file_uri(path: str) -> str:
    return _FILES + path.lstrip("/")


def _download_ends(src: str | URI, dest_dir: Path) -> tuple[URI, Store, str]:
    place = src if isinstance(src, URI) else URI.parse(src)
    return place, default_store(place), os.path.realpath(_checked_path(dest_dir))


def _may_be_object(place: URI) -> bool:
    if not place.key or place.key.endswith("/"):
        return False
    return not (place.is_local and os.path.isdir("/" + place.key))


def _plan_one(place: URI, store: Store, target: str) -> _Plan:
    return _planned(store, target, {place.key.rpartition("/")[2]: str(place)})


def _plan_tree(
    place: URI, store: Store, target: str, listing: Listing, missing: NotFoundError | None
) -> _Plan:
    folder = str(place.folder())
    names: dict[str, str] = {}
    for uri, size in zip(listing.uris, listing.sizes, strict=True):
        name = uri[len(folder) :]
        # Consoles mark an empty folder by an empty object of its name.
        if not (name.endswith("/") and size == 0):
            names[name] = uri
    if not len(listing):
        raise missing or NotFoundError(f"there is nothing below {folder}", uri=folder)
    return _planned(store, target, names)


def _planned(store: Store, target: str, names: dict[str, str]) -> _Plan:
    """Return the plan that writes each of `names` below the directory `target`."""
    folders: dict[str, str] = {}
    for name, uri in names.items():
        parts = name.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\0" in name:
            raise InvalidUriError(f"{uri} is no path below {target}", uri=uri)
        for depth in range(1, len(parts)):
            folders.setdefault("/".join(parts[:depth]), uri)
    for folder, uri in folders.items():
        if folder in names:
            raise ValueError(f"{names[folder]} would be a file where {uri} needs a folder")
        # A link inside the directory may lead out of it.
        real = os.path.realpath(os.path.join(target, folder))
        if os.path.commonpath([real, target]) != target:
            raise InvalidUriError(f"{uri} would be written to {real}, outside {target}", uri=uri)
    os.makedirs(target, exist_ok=True)
    for folder in folders:
        os.makedirs(os.path.join(target, folder), exist_ok=True)
    pairs = [(uri, _file_uri(os.path.join(target, name))) for name, uri in names.items()]
    return _Plan(store, default_store(_FILES), pairs)
