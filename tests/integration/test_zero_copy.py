"""The memory that the core filled is the memory that numpy sees."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from backends import make_store

import s3dlio
from s3dlio.testing import Door
from s3dlio.testing.door import pattern

DATA = pattern(300_000)
Remote = Callable[..., s3dlio.Store]


@pytest.fixture(params=["file", "direct", "memory", "s3", "mmap"])
def store(request: pytest.FixtureRequest, tmp_path: Path, remote: Remote) -> s3dlio.Store:
    if request.param == "s3":
        made = remote()
    elif request.param == "memory":
        made = make_store("memory://zero")
    else:
        scheme = "direct" if request.param == "direct" else "file"
        options = (
            {"direct_fallback": "buffered"}
            if scheme == "direct"
            else {"mmap": request.param == "mmap"}
        )
        made = make_store(f"{scheme}://{tmp_path}", **options)
    made.put("key", DATA)
    return made


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_every_view_has_one_address(store: s3dlio.Store, call: Door) -> None:
    buffer = call(store.get, "key")
    views = [
        np.frombuffer(buffer, np.uint8),
        np.frombuffer(buffer.memoryview(), np.uint8),
        np.asarray(buffer.memoryview()),
        buffer.numpy(),
        buffer.numpy(np.uint8, (300, 1000)).reshape(-1),
    ]
    if np.frombuffer(buffer, np.uint8).flags.writeable:
        views.append(np.from_dlpack(buffer))
    assert len({address(view) for view in views}) == 1
    for view in views:
        assert view.tobytes() == DATA
    assert np.frombuffer(buffer, np.uint8).ctypes.data == address(views[0])


def test_memory_is_aligned_for_vectors(store: s3dlio.Store, call: Door) -> None:
    assert address(np.frombuffer(call(store.get, "key"), np.uint8)) % 64 == 0


def test_what_was_read_can_be_written_in_place(tmp_path: Path, call: Door) -> None:
    store = make_store(f"file://{tmp_path}")
    store.put("key", DATA)
    array = call(store.get, "key").numpy(np.uint8)
    assert array.flags.writeable
    array += 1
    assert store.get("key") == DATA


def test_a_slice_is_a_view(store: s3dlio.Store) -> None:
    buffer = store.get("key")
    part = buffer[1000:2000]
    assert address(np.frombuffer(part, np.uint8)) == address(np.frombuffer(buffer, np.uint8)) + 1000
    assert part == DATA[1000:2000]
    assert buffer[5] == DATA[5]


@pytest.mark.parametrize("make_view", [
    lambda buffer: np.frombuffer(buffer, np.uint8),
    np.from_dlpack,
    lambda buffer: np.frombuffer(buffer[7:], np.uint8),
    lambda buffer: buffer.numpy(np.uint8),
], ids=["frombuffer", "dlpack", "slice", "numpy"])  # fmt: skip
def test_memory_lives_as_long_as_any_view(
    tmp_path: Path, remote: Remote, make_view: Callable[[s3dlio.Buffer], np.ndarray]
) -> None:
    store = make_store(f"file://{tmp_path}")
    store.put("key", DATA)
    store.put("other", bytes(len(DATA)))
    buffer = store.get("key")
    view = make_view(buffer)
    del buffer
    gc.collect()
    others = [store.get("other") for _ in range(20)]
    del others
    for _ in range(20):
        store.get("other")
    assert view.tobytes() == DATA[-len(view) :]


def test_dtype_and_shape_are_views_too(tmp_path: Path) -> None:
    store = make_store(f"file://{tmp_path}")
    expected = np.arange(600, dtype=np.float32).reshape(20, 30)
    store.put("key", expected)
    buffer = store.get("key")
    array = buffer.numpy(np.float32, (20, 30))
    assert address(array) == address(np.frombuffer(buffer, np.uint8))
    np.testing.assert_array_equal(array, expected)
    assert buffer.numpy("float32").shape == (600,)
    assert buffer[4:].numpy("float32", (599,))[0] == 1.0
    with pytest.raises(ValueError, match="2400"):
        buffer.numpy(np.float64, (7, 7))


def test_get_into_writes_into_the_array_itself(store: s3dlio.Store, call: Door) -> None:
    out = np.zeros((300, 1000), np.uint8)
    before = address(out)
    assert call(store.get_into, "key", out) == len(DATA)
    assert address(out) == before
    assert out.tobytes() == DATA


def test_get_many_into_fills_the_rows_of_a_batch(store: s3dlio.Store, call: Door) -> None:
    for i in range(8):
        store.put(f"row{i}", np.full(1000, i, np.float32))
    batch = np.zeros((8, 1000), np.float32)
    call(store.get_many_into, [f"row{i}" for i in range(8)], list(batch))
    np.testing.assert_array_equal(
        batch, np.repeat(np.arange(8, dtype=np.float32), 1000).reshape(8, 1000)
    )


def test_a_strided_or_readonly_array_is_refused(store: s3dlio.Store) -> None:
    frozen = np.zeros(len(DATA), np.uint8)
    frozen.flags.writeable = False
    for out in (
        np.zeros((len(DATA), 2), np.uint8)[:, 0],
        frozen,
        np.zeros(len(DATA) - 1, np.uint8),
    ):
        with pytest.raises((ValueError, TypeError, BufferError)):
            store.get_into("key", out)
        assert not out.any()


def test_nothing_is_copied_on_the_way_from_a_file(tmp_path: Path) -> None:
    store = make_store(f"file://{tmp_path}", part_bytes=1 << 20, split_bytes=2 << 20)
    data = pattern(5 << 20)
    store.put("key", data)
    assert store.get("key") == data
    assert store.get_many(["key"] * 3)[2] == data
    assert store.counters()["bytes_copied"] == 0


def test_pickling_out_of_band_copies_nothing(store: s3dlio.Store) -> None:
    buffer = store.get("key")
    outside: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(buffer, protocol=5, buffer_callback=outside.append)
    assert len(packed) < 1000
    assert len(outside) == 1
    assert address(np.frombuffer(outside[0].raw(), np.uint8)) == address(
        np.frombuffer(buffer, np.uint8)
    )
    assert pickle.loads(packed, buffers=outside) == DATA
    assert pickle.loads(pickle.dumps(buffer)) == DATA
    assert pickle.loads(pickle.dumps(buffer, protocol=2)) == DATA


def test_an_array_is_put_as_it_lies_in_memory(tmp_path: Path, call: Door) -> None:
    store = make_store(f"file://{tmp_path}")
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    call(store.put, "key", array)
    assert store.get("key") == array.tobytes()
    with pytest.raises((ValueError, TypeError, BufferError)):
        call(store.put, "key", array[:, ::2])
