"""A well-behaved server that counts, and stores on it and on files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from backends import make_store as store_of

import s3dlio
from s3dlio.testing import Door, FaultServer

KEYS = {"access_key_id": "AKIDTEST", "secret_access_key": "secret", "region": "us-east-1"}


@pytest.fixture
def counting() -> Iterator[FaultServer]:
    with FaultServer("bucket") as running:
        yield running


@pytest.fixture
def remote(counting: FaultServer) -> Callable[..., s3dlio.Store]:
    """`remote(uri="s3://bucket", **flat options)`: a store on `counting`."""

    def make(uri: str = "s3://bucket", **options: Any) -> s3dlio.Store:
        return store_of(uri, **KEYS | {"endpoint": counting.endpoint} | options)

    return make


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Door:
    return Door(request.param)


@pytest.fixture
def of_server(counting: FaultServer, monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    """`counting`, and an environment in which a plain s3:// URI leads there."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": counting.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIDTEST",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return counting
