"""The contract of the verbs that read."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest

from s3dlio import Store
from s3dlio.errors import ManyError, NotFoundError, RangeError, S3dlioError

from .door import Capabilities, Door, pattern

MIB = 1 << 20
MakeStore = Callable[..., Store]


class ReadContract:
    @pytest.mark.parametrize("size", [0, 1, 2, 4095, 4096, 4097, 65_536, MIB + 1])
    def test_returns_exactly_the_bytes_that_were_put(
        self, store: Store, call: Door, size: int
    ) -> None:
        data = pattern(size)
        call(store.put, "object", data)
        buffer = call(store.get, "object")
        assert len(buffer) == size
        assert bytes(buffer) == data
        assert buffer == data
        assert bytes(buffer.memoryview()) == data

    def test_a_buffer_can_be_written_by_its_owner(self, store: Store, call: Door) -> None:
        call(store.put, "object", b"abc")
        buffer = call(store.get, "object")
        buffer.memoryview()[0] = ord("X")
        assert buffer == b"Xbc"
        assert call(store.get, "object") == b"abc"

    def test_a_large_object_comes_whole_and_in_place(
        self, make_store: MakeStore, call: Door
    ) -> None:
        store = make_store(part_bytes=MIB, split_bytes=2 * MIB)
        data = pattern(5 * MIB + 17)
        call(store.put, "object", data)
        assert call(store.get, "object") == data
        assert call(store.get_range, "object", MIB - 3, 3 * MIB) == data[MIB - 3 : 4 * MIB - 3]

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, None),
            (0, 10),
            (0, 1),
            (3, 4),
            (9, 1),
            (9, None),
            (0, 11),
            (5, 100),
            (9, 2**40),
            (4, None),
        ],
    )
    def test_a_range_is_the_slice_of_the_object(
        self, store: Store, call: Door, offset: int, length: int | None
    ) -> None:
        data = b"0123456789"
        call(store.put, "object", data)
        stop = None if length is None else offset + length
        assert call(store.get_range, "object", offset, length) == data[offset:stop]

    @pytest.mark.parametrize(
        ("offset", "length"), [(10, None), (10, 1), (11, None), (11, 5), (2**40, 1)]
    )
    def test_a_range_that_starts_at_or_after_the_end_is_an_error(
        self, store: Store, call: Door, offset: int, length: int | None
    ) -> None:
        call(store.put, "object", b"0123456789")
        with pytest.raises(RangeError) as caught:
            call(store.get_range, "object", offset, length)
        assert isinstance(caught.value, ValueError)
        assert "object" in str(caught.value)

    @pytest.mark.parametrize("length", [None, 1, 100])
    def test_the_whole_of_an_empty_object_is_empty_by_range_too(
        self, store: Store, call: Door, length: int | None
    ) -> None:
        call(store.put, "empty", b"")
        assert call(store.get_range, "empty", 0, length) == b""

    def test_a_range_of_length_0_is_empty(self, store: Store, call: Door) -> None:
        call(store.put, "object", b"0123456789")
        assert call(store.get_range, "object", 3, 0) == b""
        with pytest.raises(NotFoundError):
            call(store.get_range, "missing", 0, 0)

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1), (-5, 3)])
    def test_a_negative_range_is_refused_at_the_call(
        self, store: Store, call: Door, offset: int, length: int | None
    ) -> None:
        before = store.counters()["requests"]
        with pytest.raises(ValueError, match="-"):
            call(store.get_range, "object", offset, length)
        assert store.counters()["requests"] == before

    def test_ranges_come_in_the_order_asked_for(self, store: Store, call: Door) -> None:
        data = pattern(100_000)
        call(store.put, "object", data)
        ranges = [(90_000, 100), (0, 10), (50_000, None), (0, 10), (5, 20), (99_999, 5), (7, 0)]
        buffers = call(store.get_ranges, "object", ranges)
        assert [bytes(b) for b in buffers] == [
            data[offset : None if length is None else offset + length] for offset, length in ranges
        ]
        assert call(store.get_ranges, "object", []) == []

    def test_ranges_that_are_joined_are_the_same_ranges(self, store: Store, call: Door) -> None:
        data = pattern(100_000)
        call(store.put, "object", data)
        ranges = [(0, 10), (20, 10), (90_000, 5), (30, 1)]
        joined = call(store.get_ranges, "object", ranges, join_gap_bytes=1000)
        assert [bytes(b) for b in joined] == [data[o : o + n] for o, n in ranges]

    def test_result_i_belongs_to_input_i_repeats_included(self, store: Store, call: Door) -> None:
        for i in range(10):
            store.put(f"f{i}", f"data {i}".encode())
        order = [5, 3, 9, 1, 5, 0, 5, 9, 2]
        buffers = call(store.get_many, [f"f{i}" for i in order])
        assert [bytes(b) for b in buffers] == [f"data {i}".encode() for i in order]
        assert call(store.get_many, []) == []

    def test_get_many_takes_full_uris_and_any_iterable(self, store: Store, call: Door) -> None:
        store.put_many([("a", b"1"), ("b", b"2")])
        listing = store.list("")
        assert [bytes(b) for b in call(store.get_many, listing)] == [b"1", b"2"]
        assert [bytes(b) for b in call(store.get_many, iter(list(listing)))] == [b"1", b"2"]
        assert [bytes(b) for b in call(store.get_many, ("b", "a"), max_in_flight=1)] == [b"2", b"1"]

    def test_get_many_raises_the_failure_of_one(self, store: Store, call: Door) -> None:
        store.put("a", b"1")
        with pytest.raises(NotFoundError, match="missing"):
            call(store.get_many, ["a", "missing", "a"])

    def test_get_many_returns_failures_in_their_places(self, store: Store, call: Door) -> None:
        store.put("a", b"1")
        results = call(store.get_many, ["a", "missing", "a", "gone"], on_error="return")
        assert results[0] == results[2] == b"1"
        assert [type(results[i]) for i in (1, 3)] == [NotFoundError, NotFoundError]
        assert results[1].uri.endswith("/missing")

    def test_get_many_collects_failures_by_index(self, store: Store, call: Door) -> None:
        store.put("a", b"1")
        with pytest.raises(ManyError) as caught:
            call(store.get_many, ["a", "missing", "a", "gone"], on_error="collect")
        assert sorted(caught.value.failures) == [1, 3]
        assert all(isinstance(failure, NotFoundError) for failure in caught.value.failures.values())
        assert caught.value.results[0] == caught.value.results[2] == b"1"

    def test_get_many_refuses_an_unknown_on_error(self, store: Store, call: Door) -> None:
        with pytest.raises(ValueError, match="ignore"):
            call(store.get_many, ["a"], on_error="ignore")

    @pytest.mark.parametrize("ordered", [True, False])
    @pytest.mark.parametrize("memory_limit", [1, 10_000, 1 << 30])
    def test_iter_many_brings_every_object_once(
        self, store: Store, call: Door, ordered: bool, memory_limit: int
    ) -> None:
        data = {f"k{i:02}": pattern(1000 + i, seed=i + 1) for i in range(20)}
        store.put_many(list(data.items()))
        keys = [*data, "k03", "k03"]
        pairs = call.each(store.iter_many, keys, memory_limit=memory_limit, ordered=ordered)
        indices = [index for index, _ in pairs]
        assert sorted(indices) == list(range(len(keys)))
        if ordered:
            assert indices == sorted(indices)
        assert all(bytes(buffer) == data[keys[index]] for index, buffer in pairs)

    def test_iter_many_of_nothing_is_empty(self, store: Store, call: Door) -> None:
        assert call.each(store.iter_many, []) == []

    def test_iter_many_raises_what_failed(self, store: Store, call: Door) -> None:
        store.put("a", b"1")
        with pytest.raises(NotFoundError, match="missing"):
            call.each(store.iter_many, ["a", "missing", "a"])

    def test_get_into_fills_the_callers_memory(self, store: Store, call: Door) -> None:
        data = pattern(5000)
        store.put("object", data)
        out = bytearray(5000)
        assert call(store.get_into, "object", out) == 5000
        assert out == data
        larger = bytearray(b"\xff" * 6000)
        assert call(store.get_into, "object", memoryview(larger)[500:5900]) == 5000
        assert larger == b"\xff" * 500 + data + b"\xff" * 500
        words = array("d", bytes(5000))
        assert call(store.get_into, "object", words) == 5000
        assert words.tobytes() == data

    def test_get_into_starts_at_the_offset(self, store: Store, call: Door) -> None:
        data = pattern(5000)
        store.put("object", data)
        out = bytearray(1000)
        assert call(store.get_into, "object", out, offset=4000) == 1000
        assert out == data[4000:]

    def test_get_into_of_an_empty_object_writes_nothing(self, store: Store, call: Door) -> None:
        store.put("empty", b"")
        out = bytearray(b"xyz")
        assert call(store.get_into, "empty", out) == 0
        assert out == b"xyz"
        assert call(store.get_into, "empty", bytearray()) == 0

    def test_get_into_splits_a_large_object_in_place(
        self, make_store: MakeStore, call: Door
    ) -> None:
        store = make_store(part_bytes=MIB, split_bytes=2 * MIB)
        data = pattern(3 * MIB + 5)
        store.put("object", data)
        out = bytearray(len(data))
        assert call(store.get_into, "object", out) == len(data)
        assert out == data

    def test_out_too_small_is_an_error_that_says_so(self, store: Store, call: Door) -> None:
        store.put("object", b"0123456789")
        with pytest.raises(ValueError, match=r"10|9"):
            call(store.get_into, "object", bytearray(9))
        with pytest.raises(ValueError):
            call(store.get_into, "object", bytearray())

    @pytest.mark.parametrize(
        "out",
        [
            b"0123456789",
            memoryview(bytearray(20))[::2],
            memoryview(bytearray(10)).toreadonly(),
            "text",
            10,
            None,
        ],
        ids=["bytes", "strided", "readonly", "str", "int", "None"],
    )
    def test_out_that_cannot_be_written_is_refused_at_the_call(
        self, store: Store, call: Door, out: Any
    ) -> None:
        store.put("object", b"0123456789")
        before = store.counters()["requests"]
        with pytest.raises((TypeError, ValueError, BufferError)):
            call(store.get_into, "object", out)
        assert store.counters()["requests"] == before

    def test_get_many_into_fills_each_out(self, store: Store, call: Door) -> None:
        store.put_many([("a", b"111"), ("b", b""), ("c", b"333333")])
        memory = bytearray(12)
        outs = [
            memoryview(memory)[0:3],
            memoryview(memory)[3:3],
            memoryview(memory)[3:9],
            memoryview(memory)[9:12],
        ]
        assert call(store.get_many_into, ["a", "b", "c", "a"], outs) == [3, 0, 6, 3]
        assert memory == b"111333333111"
        assert call(store.get_many_into, [], []) == []

    def test_get_many_into_refuses_overlapping_or_missing_outs(
        self, store: Store, call: Door
    ) -> None:
        store.put_many([("a", b"111"), ("b", b"222")])
        memory = bytearray(6)
        with pytest.raises(ValueError):
            call(store.get_many_into, ["a", "b"], [memory, memory])
        with pytest.raises(ValueError):
            call(
                store.get_many_into, ["a", "b"], [memoryview(memory)[0:4], memoryview(memory)[3:6]]
            )
        with pytest.raises(ValueError):
            call(store.get_many_into, ["a", "b"], [memory])
        assert memory == bytes(6)

    def test_what_is_missing_is_not_found_by_every_reading_verb(
        self, store: Store, call: Door
    ) -> None:
        attempts: dict[str, Callable[[], Any]] = {
            "get": lambda: call(store.get, "missing"),
            "get_range": lambda: call(store.get_range, "missing", 0, 10),
            "get_ranges": lambda: call(store.get_ranges, "missing", [(0, 10), (20, 5)]),
            "get_many": lambda: call(store.get_many, ["missing"]),
            "iter_many": lambda: call.each(store.iter_many, ["missing"]),
            "get_into": lambda: call(store.get_into, "missing", bytearray(5)),
            "get_many_into": lambda: call(store.get_many_into, ["missing"], [bytearray(5)]),
            "stat": lambda: call(store.stat, "missing"),
            "copy": lambda: call(store.copy, "missing", "other"),
            "move": lambda: call(store.move, "missing", "other"),
        }
        for verb, attempt in attempts.items():
            with pytest.raises(NotFoundError) as caught:
                attempt()
            error = caught.value
            assert isinstance(error, FileNotFoundError), verb
            assert isinstance(error, S3dlioError), verb
            assert error.kind == "not_found", verb
            assert error.uri is not None and error.uri.endswith("/missing"), verb
            assert "missing" in str(error), verb
            assert error.attempts == 1, verb
            assert error.retryable is False, verb
        with pytest.raises(NotFoundError), store.open("missing", "rb") as file:
            file.read()
        assert call(store.exists, "missing") is False

    def test_what_is_missing_in_a_missing_bucket_is_not_found(
        self, make_store: MakeStore, call: Door, can: Capabilities
    ) -> None:
        if not can.buckets:
            pytest.skip("no buckets")
        store = make_store(bucket="s3dlio-no-such-bucket")
        for attempt in (
            lambda: call(store.get, "key"),
            lambda: call(store.get_range, "key", 0, 10),
            lambda: call(store.stat, "key"),
            lambda: call(store.put, "key", b"1"),
            lambda: call(store.list, ""),
            lambda: call.each(store.iter_list, ""),
        ):
            with pytest.raises(NotFoundError):
                attempt()
