"""What a store says of an object: attributes and mapping at once."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest

from s3dlio.info import ObjectInfo

INFO = ObjectInfo(uri="s3://train/a", size=3, modified=86_400.0, metadata={"by": "me"})


def test_every_field_is_attribute_and_item() -> None:
    assert INFO.size == INFO["size"] == 3
    assert dict(INFO) == {name: getattr(INFO, name) for name in INFO}
    assert "etag" in INFO
    assert INFO.get("etag", "x") is None
    with pytest.raises(KeyError):
        INFO["modified_at"]


def test_it_is_a_value() -> None:
    assert pickle.loads(pickle.dumps(INFO)) == INFO
    assert hash(INFO) == hash(pickle.loads(pickle.dumps(INFO)))
    with pytest.raises(FrozenInstanceError):
        INFO.size = 4  # type: ignore[misc]


def test_the_time_is_of_utc() -> None:
    assert INFO.modified_at == datetime(1970, 1, 2, tzinfo=UTC)
    assert ObjectInfo(uri="s3://train/a").modified_at is None
