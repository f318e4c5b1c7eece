"""A server that fails on demand, and stores on it that do not wait long between tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from backends import make_store
from faults.verbs import QUICK

import s3dlio
from s3dlio.testing import Door, FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer("bucket", "other") as running:
        yield running


@pytest.fixture
def make(server: FaultServer) -> Callable[..., s3dlio.Store]:
    """`make(uri="s3://bucket", **flat options)`: a store on `server`."""

    def make(uri: str = "s3://bucket", **options: Any) -> s3dlio.Store:
        return make_store(uri, **QUICK | {"endpoint": server.endpoint} | options)

    return make


@pytest.fixture
def store(make: Callable[..., s3dlio.Store]) -> s3dlio.Store:
    return make()


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Door:
    return Door(request.param)
