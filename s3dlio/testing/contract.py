"""What every store must keep, as tests to inherit."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from s3dlio import Store

from .door import Capabilities, Door
from .listing import ListContract
from .reading import ReadContract
from .writing import FileContract, WriteContract

__all__ = ["Capabilities", "Door", "StoreContract"]


class StoreContract(ReadContract, WriteContract, FileContract, ListContract):
    """Every test of the contract, once by each door. A subclass gives the fixture `make_store`, and `can` if need be.

    class TestOurs(StoreContract):
        @pytest.fixture(scope="class")
        @classmethod
        def make_store(cls, tmp_path_factory):
            def make(*, bucket=None, **options):
                return s3dlio.Store(f"file://{tmp_path_factory.mktemp('store')}", **options)

            return make
    """

    @pytest.fixture(scope="class")
    @classmethod
    def make_store(cls) -> Callable[..., Store]:
        """`make_store(bucket=None, **options)`: an empty store, another one each time; `bucket` names its bucket."""
        raise NotImplementedError("a subclass of StoreContract gives the fixture make_store")

    @pytest.fixture(scope="class")
    @classmethod
    def can(cls) -> Capabilities:
        return Capabilities()

    @pytest.fixture
    def store(self, make_store: Callable[..., Store]) -> Store:
        return make_store()

    @pytest.fixture(params=["sync", "async"])
    def call(self, request: pytest.FixtureRequest) -> Door:
        return Door(request.param)

    @pytest.fixture
    def new_bucket(self) -> str:
        return f"s3dlio-{uuid.uuid4().hex[:12]}"
