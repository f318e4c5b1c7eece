"""A store in memory behaves as a dict does, whatever is done in whatever order."""

from __future__ import annotations

import fnmatch
import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import s3dlio
from s3dlio.errors import AlreadyExistsError, NotFoundError, PreconditionFailedError, RangeError

NAMES = st.sampled_from(["a", "b", "a b", "100%", "é", "*"])
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
DATA = st.binary(max_size=40)
NUMBERS = itertools.count()


class StoreMachine(RuleBasedStateMachine):
    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.store = s3dlio.Store(f"memory://machine-{next(NUMBERS)}/root")
        self.model: dict[str, bytes] = {}
        self.etags: dict[str, str | None] = {}

    @rule(target=keys, key=KEYS)
    def name(self, key: str) -> str:
        return key

    def written(self, key: str, data: bytes, info: s3dlio.ObjectInfo) -> None:
        assert info.size == len(data)
        self.model[key], self.etags[key] = data, info.etag

    @rule(key=keys, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        self.written(key, data, self.store.put(key, data))

    @rule(key=keys, data=DATA)
    def put_if_absent(self, key: str, data: bytes) -> None:
        if key in self.model:
            with pytest.raises(AlreadyExistsError):
                self.store.put(key, data, if_absent=True)
        else:
            self.written(key, data, self.store.put(key, data, if_absent=True))

    @rule(key=keys, data=DATA, right=st.booleans())
    def put_if_match(self, key: str, data: bytes, right: bool) -> None:
        etag = self.etags.get(key) if right else '"no such etag"'
        if key in self.model and right:
            self.written(key, data, self.store.put(key, data, if_match=etag))
        else:
            with pytest.raises((PreconditionFailedError, NotFoundError)):
                self.store.put(key, data, if_match=etag or '"no such etag"')

    @rule(items=st.dictionaries(KEYS, DATA, max_size=5))
    def put_many(self, items: dict[str, bytes]) -> None:
        for (key, data), info in zip(
            items.items(), self.store.put_many(items.items()), strict=True
        ):
            self.written(key, data, info)

    @rule(key=keys, data=st.lists(DATA, max_size=3), fails=st.booleans())
    def write_a_file(self, key: str, data: list[bytes], fails: bool) -> None:
        try:
            with self.store.open(key, "wb") as file:
                for block in data:
                    file.write(block)
                if fails:
                    raise KeyError
        except KeyError:
            return
        self.written(key, b"".join(data), self.store.stat(key))

    @rule(key=keys)
    def get(self, key: str) -> None:
        if key in self.model:
            assert self.store.get(key) == self.model[key]
            with self.store.open(key, "rb") as file:
                assert file.read() == self.model[key]
        else:
            with pytest.raises(NotFoundError):
                self.store.get(key)

    @rule(key=keys, offset=st.integers(0, 50), length=st.none() | st.integers(0, 50))
    def get_range(self, key: str, offset: int, length: int | None) -> None:
        def ask() -> Any:
            return self.store.get_range(key, offset, length)

        data = self.model.get(key)
        if data is None:
            with pytest.raises(NotFoundError):
                ask()
        elif length != 0 and offset >= len(data) and (data or offset):
            with pytest.raises(RangeError):
                ask()
        elif length != 0:
            assert ask() == data[offset : None if length is None else offset + length]

    @rule(chosen=st.lists(keys, max_size=6))
    def get_many(self, chosen: list[str]) -> None:
        results = self.store.get_many(chosen, on_error="return")
        for key, result in zip(chosen, results, strict=True):
            if key in self.model:
                assert result == self.model[key]
            else:
                assert isinstance(result, NotFoundError)

    @rule(key=keys)
    def stat(self, key: str) -> None:
        assert self.store.exists(key) is (key in self.model)
        if key in self.model:
            info = self.store.stat(key)
            assert (info.size, info.etag) == (len(self.model[key]), self.etags[key])

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(chosen=st.lists(keys, max_size=4, unique=True))
    def delete_many(self, chosen: list[str]) -> None:
        self.store.delete_many(chosen)
        for key in chosen:
            self.model.pop(key, None)

    @rule(prefix=keys)
    def delete_prefix(self, prefix: str) -> None:
        below = [key for key in self.model if key.startswith(prefix + "/")]
        assert self.store.delete_prefix(prefix) == len(below)
        for key in below:
            del self.model[key]

    @rule(source=keys, destination=keys, moves=st.booleans())
    def copy_or_move(self, source: str, destination: str, moves: bool) -> None:
        if source == destination:
            return
        verb = self.store.move if moves else self.store.copy
        if source not in self.model:
            with pytest.raises(NotFoundError):
                verb(source, destination)
            return
        verb(source, destination)
        self.written(destination, self.model[source], self.store.stat(destination))
        if moves:
            del self.model[source]

    @rule(prefix=keys)
    def list_below(self, prefix: str) -> None:
        below = [key for key in self.model if key.startswith(prefix + "/")]
        names = {prefix + "/" + self.first_step(key[len(prefix) + 1 :]) for key in below}
        assert list(self.store.list(prefix)) == self.uris(names)

    @rule(pattern=st.sampled_from(["a", "b", "[a-b]"]))
    def list_one_level_by_pattern(self, pattern: str) -> None:
        matching = [
            key for key in self.model if "/" not in key and fnmatch.fnmatchcase(key, pattern)
        ]
        assert list(self.store.list("", recursive=True, pattern=pattern)) == self.uris(matching)

    @invariant()
    def everything_is_listed(self) -> None:
        listing = self.store.list("", recursive=True)
        assert list(listing) == self.uris(self.model)
        assert listing.sizes == [len(self.model[key]) for key in sorted(self.model, key=str.encode)]

    @staticmethod
    def first_step(name: str) -> str:
        first, slash, _ = name.partition("/")
        return first + slash

    def uris(self, keys: Any) -> list[str]:
        return [f"{self.store.uri}{key}" for key in sorted(keys, key=str.encode)]


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
