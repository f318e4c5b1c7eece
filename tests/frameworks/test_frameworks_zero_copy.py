"""torch and JAX see the memory that the core filled."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import make_store

import s3dlio

pytestmark = pytest.mark.frameworks
VALUES = np.arange(60_000, dtype=np.float32)


@pytest.fixture
def store(tmp_path: Path) -> s3dlio.Store:
    made = make_store(f"file://{tmp_path}")
    made.put("key", VALUES)
    return made


def address(buffer: s3dlio.Buffer) -> int:
    return int(np.frombuffer(buffer, np.uint8).ctypes.data)


class TestTorch:
    torch: Any

    @pytest.fixture(autouse=True)
    def imported(self) -> None:
        type(self).torch = pytest.importorskip("torch", reason="torch is not installed")

    def test_a_buffer_is_a_tensor_at_the_same_address(self, store: s3dlio.Store) -> None:
        buffer = store.get("key")
        tensor = self.torch.from_dlpack(buffer)
        assert tensor.dtype == self.torch.uint8
        assert tensor.data_ptr() == address(buffer)
        assert self.torch.frombuffer(buffer, dtype=self.torch.float32).data_ptr() == address(buffer)
        np.testing.assert_array_equal(tensor.view(self.torch.float32).numpy(), VALUES)

    def test_a_typed_array_is_a_typed_tensor_at_the_same_address(self, store: s3dlio.Store) -> None:
        buffer = store.get("key")
        tensor = self.torch.from_dlpack(buffer.numpy(np.float32, (60, 1000)))
        assert (tensor.shape, tensor.dtype) == ((60, 1000), self.torch.float32)
        assert tensor.data_ptr() == address(buffer)
        assert self.torch.from_numpy(buffer.numpy(np.float32)).data_ptr() == address(buffer)

    def test_memory_lives_as_long_as_the_tensor(self, store: s3dlio.Store) -> None:
        tensor = self.torch.from_dlpack(store.get("key")).view(self.torch.float32)
        gc.collect()
        store.put("other", bytes(VALUES.nbytes))
        for _ in range(20):
            store.get("other")
        np.testing.assert_array_equal(tensor.numpy(), VALUES)

    def test_a_tensor_can_be_written_in_place_and_put_again(self, store: s3dlio.Store) -> None:
        tensor = self.torch.from_dlpack(store.get("key")).view(self.torch.float32)
        tensor += 1
        store.put("next", tensor.numpy())
        np.testing.assert_array_equal(store.get("next").numpy(np.float32), VALUES + 1)

    def test_get_into_fills_a_tensor(self, store: s3dlio.Store) -> None:
        tensor = self.torch.zeros(60_000)
        before = tensor.data_ptr()
        assert store.get_into("key", tensor.numpy()) == VALUES.nbytes
        assert tensor.data_ptr() == before
        np.testing.assert_array_equal(tensor.numpy(), VALUES)

    def test_a_copy_is_made_when_one_is_asked_for(self, store: s3dlio.Store) -> None:
        buffer = store.get("key")
        tensor = self.torch.from_dlpack(buffer, copy=True)
        assert tensor.data_ptr() != address(buffer)
        np.testing.assert_array_equal(tensor.view(self.torch.float32).numpy(), VALUES)


class TestJax:
    jax: Any

    @pytest.fixture(autouse=True)
    def imported(self) -> None:
        type(self).jax = pytest.importorskip("jax", reason="jax is not installed")

    def test_a_buffer_is_an_array_at_the_same_address(self, store: s3dlio.Store) -> None:
        buffer = store.get("key")
        array = self.jax.dlpack.from_dlpack(buffer)
        assert array.dtype == np.uint8
        assert array.unsafe_buffer_pointer() == address(buffer)
        np.testing.assert_array_equal(np.asarray(array), VALUES.view(np.uint8))

    def test_a_typed_array_is_a_typed_array_at_the_same_address(self, store: s3dlio.Store) -> None:
        buffer = store.get("key")
        array = self.jax.dlpack.from_dlpack(buffer.numpy(np.float32, (60, 1000)))
        assert array.shape == (60, 1000)
        assert array.unsafe_buffer_pointer() == address(buffer)

    def test_memory_lives_as_long_as_the_array(self, store: s3dlio.Store) -> None:
        array = self.jax.dlpack.from_dlpack(store.get("key"))
        gc.collect()
        store.put("other", bytes(VALUES.nbytes))
        for _ in range(20):
            store.get("other")
        np.testing.assert_array_equal(np.asarray(array), VALUES.view(np.uint8))
