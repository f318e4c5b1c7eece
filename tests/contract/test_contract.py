"""The contract of s3dlio.testing, on every backend that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backends import CAPABILITIES, Servers, stores_on

import s3dlio
from s3dlio.testing import Capabilities, StoreContract


class TestStore(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_store(
        cls, backend: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Callable[..., s3dlio.Store]]:
        folder: Path = tmp_path_factory.mktemp(backend)
        with stores_on(backend, servers, folder) as make:
            yield make

    @pytest.fixture(scope="class")
    @classmethod
    def can(cls, backend: str) -> Capabilities:
        return CAPABILITIES[backend]
