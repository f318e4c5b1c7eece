"""Objects that go from one store to another."""

from __future__ import annotations

from pathlib import Path

import pytest

import s3dlio
from s3dlio.errors import NotFoundError
from s3dlio.testing import Door, Fault, FaultServer
from s3dlio.testing.door import pattern

DATA = pattern(300_000)


@pytest.fixture(params=["file-s3", "s3-file", "memory-s3", "file-memory"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, of_server: FaultServer) -> tuple[str, str]:
    places = {
        "file": f"file://{tmp_path}",
        "s3": "s3://bucket",
        "memory": f"memory://{tmp_path.name}",
    }
    source, target = request.param.split("-")
    return f"{places[source]}/from", f"{places[target]}/to/copy"


def test_a_copy_is_streamed_from_store_to_store(call: Door, pair: tuple[str, str]) -> None:
    source, target = pair
    s3dlio.put(source, DATA)
    assert call(s3dlio.copy, source, target).size == len(DATA)
    assert s3dlio.get(target) == s3dlio.get(source) == DATA


def test_a_move_leaves_one(call: Door, pair: tuple[str, str]) -> None:
    source, target = pair
    s3dlio.put(source, DATA)
    call(s3dlio.move, source, target)
    assert s3dlio.get(target) == DATA
    assert s3dlio.exists(source) is False


def test_a_move_that_fails_keeps_the_source(
    call: Door, tmp_path: Path, of_server: FaultServer
) -> None:
    source = f"file://{tmp_path}/from"
    s3dlio.put(source, DATA)
    of_server.fail(Fault.access_denied(), times=None, operation="PutObject")
    with pytest.raises(s3dlio.PermissionDeniedError):
        call(s3dlio.move, source, "s3://bucket/to")
    assert s3dlio.get(source) == DATA
    with pytest.raises(NotFoundError):
        call(s3dlio.copy, f"file://{tmp_path}/missing", "s3://bucket/to")


def test_many_uris_of_many_stores_come_in_order(
    call: Door, tmp_path: Path, of_server: FaultServer
) -> None:
    uris = [f"file://{tmp_path}/a", "s3://bucket/b", f"memory://{tmp_path.name}/c"]
    infos = call(s3dlio.put_many, [(uri, uri.encode()) for uri in uris])
    assert [info.uri for info in infos] == uris
    order = [uris[i] for i in (2, 0, 1, 0, 2, 2)]
    assert [bytes(b).decode() for b in call(s3dlio.get_many, order)] == order
    assert [order[i] for i, _ in call.each(s3dlio.iter_many, order)] == order
    outs = [bytearray(len(uri)) for uri in order]
    assert call(s3dlio.get_many_into, order, outs) == [len(uri) for uri in order]
    assert [out.decode() for out in outs] == order
    assert call(s3dlio.delete_many, uris) == 3


def test_memory_stores_of_one_name_are_one_store(call: Door) -> None:
    call(s3dlio.put, "memory://shared/key", b"1")
    assert s3dlio.Store("memory://shared").get("key") == b"1"
