"""The exception tree, without a store."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from s3dlio import errors
from s3dlio.errors import ErrorKind, ManyError, NotFoundError, S3dlioError, TimeoutError

SINGLE = sorted(
    (
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, S3dlioError) and value is not ManyError
    ),
    key=lambda cls: cls.__name__,
)
DETAILS: dict[str, Any] = {
    "uri": "s3://b/k",
    "status": 403,
    "code": "AccessDenied",
    "request_id": "4f2",
    "attempts": 3,
    "retryable": True,
    "hint": "look here",
}


@pytest.mark.parametrize("cls", SINGLE)
def test_text_is_the_message_and_the_hint_on_its_own_line(cls: type[S3dlioError]) -> None:
    assert str(cls("cannot read s3://b/k")) == "cannot read s3://b/k"
    assert str(cls("cannot read s3://b/k", hint="look here")) == (
        "cannot read s3://b/k\nhint: look here"
    )
    assert cls("text", hint="look here").message == "text"


@pytest.mark.parametrize("cls", SINGLE)
def test_knows_its_kind_and_keeps_what_it_was_given(cls: type[S3dlioError]) -> None:
    error = cls("text", **DETAILS)
    assert error.kind is cls.kind_of_class
    assert {name: getattr(error, name) for name in DETAILS} == DETAILS
    assert cls("text", kind="timeout").kind is ErrorKind.TIMEOUT


@pytest.mark.parametrize("cls", SINGLE)
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_copies_and_pickles_fully(cls: type[S3dlioError], again: Any) -> None:
    error = cls("text", **DETAILS)
    error.add_note("a note")
    other = again(error)
    assert type(other) is cls
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    assert other.__notes__ == ["a note"]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        S3dlioError("text", kind="odd")


class TestManyError:
    @pytest.fixture
    def many(self) -> ManyError:
        failures = {0: NotFoundError("no a"), 2: TimeoutError("no c")}
        return ManyError("2 of 3 failed", failures, [None, b"b", None])

    def test_holds_failures_by_index_and_results(self, many: ManyError) -> None:
        assert many.kind is ErrorKind.MANY
        assert list(many.failures) == [0, 2]
        assert many.results == [None, b"b", None]
        assert many.exceptions == tuple(many.failures.values())
        assert str(many) == "2 of 3 failed"

    def test_except_star_sees_each_kind_with_its_index(self, many: ManyError) -> None:
        seen = {}
        try:
            raise many
        except* FileNotFoundError as group:
            seen["missing"] = group
        except* TimeoutError as group:
            seen["late"] = group
        assert {name: list(group.failures) for name, group in seen.items()} == {
            "missing": [0],
            "late": [2],
        }
        assert all(type(group) is ManyError for group in seen.values())
        assert seen["late"].results == [None, b"b", None]

    def test_pickles_fully(self, many: ManyError) -> None:
        other = pickle.loads(pickle.dumps(many))
        assert str(other) == str(many)
        assert other.results == many.results
        assert {i: str(error) for i, error in other.failures.items()} == {0: "no a", 2: "no c"}
        assert [type(error) for error in other.exceptions] == [NotFoundError, TimeoutError]
