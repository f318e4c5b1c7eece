"""Every verb as one row: the S3 operations behind it, a call, and what the call must bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import s3dlio
from s3dlio.testing import Door, FaultServer
from s3dlio.testing.door import pattern

MIB = 1 << 20
QUICK = {
    "access_key_id": "AKIDFAULTTEST",
    "secret_access_key": "verysecretkey/of+this=test",
    "region": "us-east-1",
    "max_attempts": 3,
    "backoff_seconds": 0.01,
    "backoff_max_seconds": 0.02,
    "stall_timeout_seconds": 0.5,
}
DATA = pattern(1000)
PARTS = {"put_part_bytes": 5 * MIB, "put_split_bytes": 5 * MIB}
BIG = pattern(6 * MIB)


def outcome(run: Callable[[], Any]) -> Any:
    """What `run()` gives, or the error of ours that it raises."""
    try:
        return run()
    except s3dlio.S3dlioError as error:
        return error


@dataclass(frozen=True)
class Verb:
    name: str
    operation: str
    """The operation that the fault is for; the verb makes it once when all goes well."""
    run: Callable[[Door, s3dlio.Store], Any]
    good: Callable[[FaultServer, Any], bool]

    def __str__(self) -> str:
        return f"{self.name}-{self.operation}"


def _open_and_read(call: Door, store: s3dlio.Store) -> bytes:
    with store.open("key", "rb") as file:
        return bytes(file.read())


def _get_into(call: Door, store: s3dlio.Store) -> bytes:
    out = bytearray(len(DATA))
    call(store.get_into, "key", out)
    return bytes(out)


def _get_many_into(call: Door, store: s3dlio.Store) -> bytes:
    out = bytearray(len(DATA))
    call(store.get_many_into, ["key"], [out])
    return bytes(out)


def _is_data(server: FaultServer, result: Any) -> bool:
    return bytes(result) == DATA


READS = [
    Verb("get", "GetObject", lambda call, s: call(s.get, "key"), _is_data),
    Verb("get_range", "GetObject", lambda call, s: call(s.get_range, "key", 0, 2000), _is_data),
    Verb(
        "get_ranges",
        "GetObject",
        lambda call, s: call(s.get_ranges, "key", [(0, 1000)])[0],
        _is_data,
    ),
    Verb("get_many", "GetObject", lambda call, s: call(s.get_many, ["key"])[0], _is_data),
    Verb("iter_many", "GetObject", lambda call, s: call.each(s.iter_many, ["key"])[0][1], _is_data),
    Verb("get_into", "GetObject", _get_into, _is_data),
    Verb("get_many_into", "GetObject", _get_many_into, _is_data),
    Verb("open", "GetObject", _open_and_read, _is_data),
]

OTHERS = [
    Verb("put", "PutObject", lambda call, s: call(s.put, "new", DATA), lambda f, _: f.stored("bucket", "new") == DATA),
    Verb(
        "put_many", "PutObject", lambda call, s: call(s.put_many, [("new", DATA)]),
        lambda f, _: f.stored("bucket", "new") == DATA,
    ),
    *(
        Verb(
            "put in parts", operation, lambda call, s: call(s.put, "new", BIG),
            lambda f, _: f.stored("bucket", "new") == BIG,
        )
        for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
    ),
    Verb("stat", "HeadObject", lambda call, s: call(s.stat, "key"), lambda _, info: bool(info.size == len(DATA))),
    Verb("exists", "HeadObject", lambda call, s: call(s.exists, "key"), lambda _, found: found is True),
    Verb("list", "ListObjectsV2", lambda call, s: call(s.list, ""), lambda _, found: found == ["s3://bucket/key"]),
    Verb("iter_list", "ListObjectsV2", lambda call, s: call.each(s.iter_list, ""), lambda _, found: len(found) == 1),
    Verb("delete", "DeleteObject", lambda call, s: call(s.delete, "key"), lambda f, _: f.stored("bucket", "key") is None),
    Verb(
        "delete_many", "DeleteObjects", lambda call, s: call(s.delete_many, ["key", "other"]),
        lambda f, _: f.stored("bucket", "key") is None,
    ),
    Verb("delete_prefix", "ListObjectsV2", lambda call, s: call(s.delete_prefix, "k", dry_run=True), lambda *_: True),
    Verb(
        "copy", "CopyObject", lambda call, s: call(s.copy, "key", "copy"),
        lambda f, _: f.stored("bucket", "copy") == DATA,
    ),
    Verb(
        "move", "CopyObject", lambda call, s: call(s.move, "key", "moved"),
        lambda f, _: f.stored("bucket", "moved") == DATA and f.stored("bucket", "key") is None,
    ),
    Verb("list_buckets", "ListBuckets", lambda call, s: call(s.list_buckets), lambda _, found: len(found) == 2),
]  # fmt: skip

VERBS = READS + OTHERS
