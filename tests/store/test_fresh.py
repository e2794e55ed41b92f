"""New strings in memory, and tables of base and new strings together, against a list."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from segidx.model.errors import CorruptData, InvalidArgument
from segidx.store.fresh import FreshStrings, LayeredStrings
from segidx.store.log import NewStrings
from segidx.store.strings import StringTable, UnknownCode

KEY = bytes(range(16))
ODD = ("", "Łódź", "\U0001f600", "a\x00b", "x" * 2048, "é", "e\u0301")


class Memory:
    """A transaction over a dictionary."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def get(self, key: bytes, default: Any = None, db: Any = None) -> Any:
        return self.values.get(key, default)

    def put(self, key: bytes, value: Any, *, db: Any = None) -> bool:
        self.values[key] = bytes(value)
        return True


def table_of(strings: list[str]) -> StringTable:
    memory = Memory()
    StringTable(memory, None, 3, KEY).insert(pa.array(strings, pa.string()))
    return StringTable(memory, None, 3, KEY)


def fresh_of(first: int, *parts: list[str]) -> FreshStrings:
    fresh = FreshStrings(first, KEY)
    for part in parts:
        fresh.extend(NewStrings(fresh.end, pa.array(part, pa.string())))
    return fresh


def names(first: int, last: int) -> list[str]:
    """Distinct strings for codes, odd ones first."""
    return [ODD[i] if i < len(ODD) else f"s{i}" for i in range(first, last)]


def test_fresh_strings_go_on_where_the_table_ends() -> None:
    fresh = fresh_of(5, ["a"], ["", "Łódź"], [f"s{i}" for i in range(100)])
    assert (fresh.first, fresh.end) == (5, 108)
    assert fresh.find(pa.array(["Łódź", "no", "a", "", "a", "s99"]), 108).tolist() == [7, -1, 5, 6, 5, 107]
    assert fresh.find_one("", 108) == 6
    assert fresh.find_one("no", 108) is None
    assert fresh.get(np.array([7, 5, 7, 107])).to_pylist() == ["Łódź", "a", "Łódź", "s99"]


def test_a_reader_sees_no_code_behind_its_limit() -> None:
    fresh = fresh_of(5, ["a", "b", "c"])
    assert fresh.find(pa.array(["a", "b", "c"]), 6).tolist() == [5, -1, -1]
    assert fresh.find_one("b", 6) is None
    assert fresh.find_one("b", 7) == 6


@pytest.mark.parametrize(
    ("first", "strings"),
    [(7, ["c"]), (9, ["c"]), (8, ["a"]), (8, ["c", "b"]), (8, ["c", "c"])],
    ids=["before", "behind", "known", "one known", "twice"],
)
def test_strings_that_do_not_go_on_are_corrupt(first: int, strings: list[str]) -> None:
    fresh = fresh_of(5, ["a", "b", "x"])
    with pytest.raises(CorruptData, match="codes"):
        fresh.extend(NewStrings(first, pa.array(strings)))


@pytest.mark.parametrize("seed", range(40))
def test_layers_are_one_table(seed: int) -> None:
    """Layers may overlap the base, where a segment was merged while it grew, and reach beyond the snapshot's end."""
    rng = random.Random(seed)
    stored = rng.choice((0, 1, 40))
    bounds = sorted(rng.randint(0, 120) for _ in range(4))
    starts = [min(bounds[0], stored), *bounds[1:]]
    layers = [fresh_of(a, names(a, b)) for a, b in itertools.pairwise(starts) if a < b]
    end = max([stored, *(layer.end for layer in layers)])
    size = rng.randint(stored, end)
    table = LayeredStrings(table_of(names(0, stored)), layers, size)
    known = names(0, size)
    assert len(table) == size
    asked = [rng.choice((*names(0, 125), "none")) for _ in range(200)]
    wanted = [known.index(text) if text in known else -1 for text in asked]
    assert table.find(pa.array(asked)).tolist() == wanted
    assert table.find(pa.chunked_array([asked[:70], asked[70:]])).tolist() == wanted
    assert [table.find_one(text) for text in asked[:50]] == [None if c < 0 else c for c in wanted[:50]]
    codes = [rng.randrange(size) for _ in range(100)] if size else []
    assert table.get(np.array(codes, np.uint32)).to_pylist() == [known[code] for code in codes]
    assert [table.get_one(code) for code in codes[:20]] == [known[code] for code in codes[:20]]
    for _ in range(10):
        first = rng.randint(0, size)
        last = rng.randint(first, size)
        assert table.slice(first, last).to_pylist() == known[first:last]
    for beyond in (size, size + 1, 2**31):
        with pytest.raises(UnknownCode):
            table.get(np.array([beyond]))
    with pytest.raises(UnknownCode):
        table.get(np.array([-1]))
    with pytest.raises(InvalidArgument):
        table.slice(0, size + 1)


def test_a_gap_between_base_and_log_is_corrupt() -> None:
    table = LayeredStrings(table_of(["a"]), [fresh_of(3, ["d"])], 4)
    assert table.get(np.array([0, 3])).to_pylist() == ["a", "d"]
    with pytest.raises(CorruptData, match="between the base and the log"):
        table.get(np.array([0, 1, 3]))


def test_readers_while_it_grows() -> None:
    fresh = fresh_of(0, ["s0"])
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                end = fresh.end
                codes = np.arange(end)
                strings = fresh.get(codes)
                assert strings.to_pylist() == [f"s{i}" for i in range(end)]
                assert fresh.find(strings, end).tolist() == codes.tolist()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(1, 1500, 5):
        fresh.extend(NewStrings(start, pa.array([f"s{i}" for i in range(start, start + 5)])))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
