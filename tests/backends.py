"""The backends that the tests run on: what each can do, and how to get an empty store on it."""

from __future__ import annotations

import importlib
import itertools
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from servers.server import Server

import s3dlio
from s3dlio.options import (
    DirectOptions,
    HttpOptions,
    ReadOptions,
    RetryOptions,
    S3Options,
    StoreOptions,
    WriteOptions,
)
from s3dlio.testing import Capabilities

SERVERS = ("moto", "minio", "versitygw", "radosgw")
LOCAL = ("file", "direct", "memory")
GROUPS: dict[str, Any] = {
    "read": ReadOptions,
    "write": WriteOptions,
    "retry": RetryOptions,
    "http": HttpOptions,
    "s3": S3Options,
    "direct": DirectOptions,
}

_FILES = Capabilities(
    content_type=False,
    metadata=False,
    presign=False,
    buckets=False,
    empty_segments=False,
    long_segments=False,
    file_and_folder=False,
    refuses=("/x", "x//y", "x/", "n" * 300),
)
_EVERYTHING = Capabilities()

CAPABILITIES: dict[str, Capabilities] = {
    "file": _FILES,
    "direct": _FILES,
    "memory": Capabilities(presign=False, buckets=False),
    "moto": _EVERYTHING,
    # A folder below: each segment is a name in a filesystem, and empty segments fall out.
    "minio": replace(_EVERYTHING, empty_segments=False, long_segments=False),
    "versitygw": replace(
        _EVERYTHING, empty_segments=False, long_segments=False, file_and_folder=False
    ),
    # 16.2 compares If-Match with the bare etag, and asks no condition when parts are completed.
    "radosgw": replace(_EVERYTHING, if_match=False, parts_if_absent=False),
}


def s3_options(server: Server, **options: Any) -> dict[str, Any]:
    """The options of a store on `server`, by their flat names."""
    return {
        "endpoint": server.endpoint,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
        "region": server.region,
    } | options


def make_store(uri: str, **options: Any) -> s3dlio.Store:
    """A store with the options given by their flat names, such as `part_bytes`."""
    return s3dlio.Store(uri, options_of(**options))


def options_of(**flat: Any) -> StoreOptions:
    """The options in their groups; `flat` holds the fields of any group by name."""
    groups = {
        name: group(
            **{part.name: flat.pop(part.name) for part in fields(group) if part.name in flat}
        )
        for name, group in GROUPS.items()
    }
    assert not flat, f"no such options: {flat}"
    return StoreOptions(**groups)


def s3_client(server: Server) -> Any:
    """The service's own client, to look at a bucket from outside."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(s3={"addressing_style": "path"}),
    )


class Servers:
    """The servers of one test run, each started when it is first asked for."""

    def __init__(self) -> None:
        self._running: dict[str, Server] = {}

    def get(self, name: str) -> Server:
        """Skips the test when the server is not there and cannot be installed."""
        if name not in self._running:
            module = importlib.import_module(f"servers.{name}")
            found = module.find_or_install()
            if not found:
                pytest.skip(f"{name}: {found.reason}")
            self._running[name] = module.start()
        return self._running[name]

    def stop(self) -> None:
        for server in self._running.values():
            server.stop()
        self._running.clear()


@contextmanager
def stores_on(
    backend: str, servers: Servers, folder: Path
) -> Iterator[Callable[..., s3dlio.Store]]:
    """A maker of empty stores on `backend`; a bucket of their own is emptied and removed at the end."""
    numbers = itertools.count()
    if backend == "memory":
        name = uuid.uuid4().hex[:12]

        def make_memory(*, bucket: str | None = None, **options: Any) -> s3dlio.Store:
            return make_store(f"memory://{bucket or name}/t{next(numbers)}", **options)

        yield make_memory
    elif backend in LOCAL:
        fallback = (
            {"direct_fallback": "buffered"}
            if backend == "direct" and not takes_direct(folder)
            else {}
        )

        def make_local(*, bucket: str | None = None, **options: Any) -> s3dlio.Store:
            root = folder / f"t{next(numbers)}"
            root.mkdir()
            return make_store(f"{backend}://{root}", **fallback, **options)

        yield make_local
    else:
        server = servers.get(backend)
        client, name = s3_client(server), f"s3dlio-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=name)

        def make_s3(*, bucket: str | None = None, **options: Any) -> s3dlio.Store:
            root = f"s3://{bucket}" if bucket else f"s3://{name}/t{next(numbers)}"
            return make_store(root, **s3_options(server, **options))

        try:
            yield make_s3
        finally:
            # What is deleted may show what it hid: MinIO lists "a" and not "a/b" beside it.
            while found := client.list_objects_v2(Bucket=name).get("Contents"):
                keys = [{"Key": item["Key"]} for item in found]
                client.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
            client.delete_bucket(Bucket=name)
            client.close()


@cache
def takes_direct(folder: Path) -> bool:
    """Whether the filesystem of `folder` opens a file with O_DIRECT."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.close(os.open(file.name, os.O_RDONLY | os.O_DIRECT))
        except OSError:
            return False
    return True
