"""String tables in a real LMDB environment, against a dict."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segidx.kernels.strings import BLOCK, MAX_STRING
from segidx.model.errors import CorruptData, InvalidValue
from segidx.store import strings as store
from segidx.store.strings import StringTable, UnknownCode
from segidx.store.verify.strings import VerifiedTable

KEY = bytes(range(100, 116))
ALL = 2**64 - 1


class Environment:
    """An environment with one database, reopened at will."""

    def __init__(self, path: Path, mask: int = ALL) -> None:
        self.path, self.mask = path, mask
        self.open()

    def open(self) -> None:
        self.env = lmdb.open(str(self.path), map_size=1 << 28, max_dbs=2, sync=False)
        self.db = self.env.open_db(b"strings")

    def reopen(self) -> None:
        self.env.close()
        self.open()

    @contextmanager
    def table(self, table_id: int = 1, *, write: bool = False, buffers: bool = True) -> Iterator[VerifiedTable]:
        with self.env.begin(write=write, buffers=buffers) as txn:
            yield VerifiedTable(txn, self.db, table_id, KEY, hash_mask=self.mask)

    def insert(self, strings: list[str | None], table_id: int = 1) -> tuple[list[int], int]:
        with self.table(table_id, write=True) as table:
            codes, first = table.insert(pa.array(strings, pa.string()))
            return codes.tolist(), first

    def problems(self, table_id: int = 1) -> list[str]:
        with self.table(table_id) as table:
            return list(table.verify())

    def change(self, kind: int, number: int, change: Callable[[bytes], bytes | None]) -> None:
        """Rewrite (or, with None, delete) one stored value behind the table's back."""
        key = struct.pack(">HBBI", 1, kind, 0, number)
        with self.env.begin(write=True) as txn:
            new = change(txn.get(key, db=self.db))
            if new is None:
                txn.delete(key, db=self.db)
            else:
                txn.put(key, new, db=self.db)


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    environment = Environment(tmp_path)
    yield environment
    environment.env.close()


def test_an_empty_table_knows_nothing(env: Environment) -> None:
    with env.table() as table:
        assert len(table) == 0
        assert table.find(pa.array(["a", None, ""])).tolist() == [-1, -1, -1]
        assert table.find(pa.array([], pa.string())).tolist() == []
        assert table.find_one("a") is None
        assert table.slice(0, 0).to_pylist() == []
        assert table.get(np.empty(0, np.uint32)).to_pylist() == []
        with pytest.raises(UnknownCode, match="is empty"):
            table.get(np.array([0], np.uint32))
    assert env.problems() == []


def test_codes_are_given_in_order_of_first_appearance(env: Environment) -> None:
    assert env.insert(["b", "a", None, "b", ""]) == ([0, 1, -1, 0, 2], 0)
    assert env.insert(["c", "a", "", "żółw", "c"]) == ([3, 1, 2, 4, 3], 3)
    assert env.insert(["a", None]) == ([1, -1], 5)
    assert env.insert([]) == ([], 5)
    with env.table() as table:
        assert len(table) == 5
        assert table.slice(0, 5).to_pylist() == ["b", "a", "", "c", "żółw"]
        assert [table.get_one(c) for c in range(5)] == ["b", "a", "", "c", "żółw"]
        assert [table.find_one(s) for s in ("b", "a", "", "c", "żółw", "d", "\ud800")] == [0, 1, 2, 3, 4, None, None]
        assert table.get(np.array([4, 4, 0])).to_pylist() == ["żółw", "żółw", "b"]
    assert env.problems() == []


@pytest.mark.parametrize("buffers", [True, False])
def test_two_hundred_thousand(env: Environment, buffers: bool) -> None:
    n = 200_000
    rng = np.random.default_rng(5)
    ids = pa.array([f"contact-{i:08d}" for i in range(n)])
    shuffled = ids.take(pa.array(rng.permutation(n)))
    with env.table(write=True, buffers=buffers) as table:
        codes, first = table.insert(shuffled)
        assert (first, codes.tolist()) == (0, list(range(n)))
    env.reopen()
    with env.table(buffers=buffers) as table:
        assert len(table) == n
        queries = ids.take(pa.array(rng.integers(0, n, n)))
        found = table.find(queries)
        assert table.get(found.astype(np.uint32)).equals(queries)
        assert (table.find(pa.array([f"nobody-{i}" for i in range(1000)])) == -1).all()
        parts = [table.slice(a, min(a + 65_536, n)) for a in range(0, n, 65_536)]
        assert pa.chunked_array(parts).equals(pa.chunked_array([shuffled]))
        assert list(table.verify()) == []


def test_growth_by_small_batches_across_many_splits(env: Environment) -> None:
    n, known = 0, []
    for step in range(60):
        batch = [f"{i}@example.com" for i in range(n, n + 7 * step + 1)]
        codes, first = env.insert(batch[::-1])
        assert (first, codes) == (n, list(range(n, n + len(batch))))
        known += batch[::-1]
        n += len(batch)
    with env.table() as table:
        assert table.find(pa.array(known)).tolist() == list(range(n))
        assert table._buckets == -(-n // store.LOAD) > 200
    assert env.problems() == []


def test_bulk_and_one_by_one_give_the_same_bytes(tmp_path: Path) -> None:
    strings = [f"s{i}" for i in range(store.LOAD * 5 + 3)]
    dumps = []
    for name, step in (("bulk", len(strings)), ("single", 1)):
        (tmp_path / name).mkdir()
        environment = Environment(tmp_path / name)
        for a in range(0, len(strings), step):
            environment.insert(strings[a : a + step])
        with environment.env.begin() as txn, txn.cursor(environment.db) as cursor:
            dumps.append(list(cursor))
        environment.env.close()
    assert dumps[0] == dumps[1]


def test_tables_do_not_see_each_other(env: Environment) -> None:
    env.insert(["a", "b"], 1)
    env.insert(["b", "x", "a"], 2)
    env.insert(["b"], 65535)
    for table_id, expected in ((1, [0, 1, -1]), (2, [2, 0, 1]), (65535, [-1, 0, -1]), (3, [-1, -1, -1])):
        with env.table(table_id) as table:
            assert table.find(pa.array(["a", "b", "x"])).tolist() == expected
        assert env.problems(table_id) == []
    with pytest.raises(ValueError, match="65536"), env.table(65536):
        pass


def test_lengths_at_the_limit(env: Environment) -> None:
    longest = ["é" * (MAX_STRING // 2), "x" * MAX_STRING, ""] + ["y" * (MAX_STRING - i) for i in range(1, 90)]
    assert env.insert(longest)[0] == list(range(len(longest)))
    with env.table(write=True) as table:
        with pytest.raises(InvalidValue, match="row 1: the string has 2049 bytes") as caught:
            table.insert(pa.array(["fine", "x" * (MAX_STRING + 1)]))
        assert caught.value.metadata["row"] == "1"
        with pytest.raises(InvalidValue, match="row 0: the string is not UTF-8"):
            table.insert(pa.array([b"\xff", b"a"]))
        assert len(table) == len(longest)
    with env.table() as table:
        assert table.slice(0, len(table)).to_pylist() == longest
        assert table.find(pa.array(["fine", "x" * (MAX_STRING + 1), *longest])).tolist() == [
            -1,
            -1,
            *range(len(longest)),
        ]
        assert table.find(pa.array([b"\xff"])).tolist() == [-1]
    assert env.problems() == []


@pytest.mark.parametrize("bad", [-1, 3, 2**32 - 1, 2**32, 2**40])
def test_codes_out_of_range_are_refused(env: Environment, bad: int) -> None:
    env.insert(["a", "b", "c"])
    with env.table(write=True) as table:
        for call in (table.get, table.blank):
            with pytest.raises(UnknownCode, match=str(bad)):
                call(np.array([0, bad]))
        with pytest.raises(UnknownCode, match=str(bad)):
            table.get_one(bad)
        with pytest.raises(UnknownCode):
            table.slice(0, 4)
        with pytest.raises(TypeError, match="float64"):
            table.get(np.array([0.5]))


@pytest.mark.parametrize("mask", [0, 1, 0xFF, 0xFFFF_FFFF_0000_0000])
def test_collisions_are_told_apart(tmp_path: Path, mask: int) -> None:
    environment = Environment(tmp_path, mask)
    strings = [f"string {i}" for i in range(700)]
    for a in range(0, 700, 70):
        environment.insert(strings[a : a + 100])
    with environment.table(write=True) as table:
        assert table.find(pa.array([*strings, "other"])).tolist() == [*range(700), -1]
        assert [table.find_one(s) for s in ("string 0", "string 699", "other")] == [0, 699, None]
        assert table.blank(np.arange(0, 700, 2)) == 350
        assert table.find(pa.array(strings)).tolist() == [i if i % 2 else -1 for i in range(700)]
        assert list(table.verify()) == []
    environment.env.close()


def test_blanked_strings_are_gone_and_their_codes_with_them(env: Environment) -> None:
    strings = ["", *(f"name {i}" for i in range(500))]
    env.insert(strings)
    with env.table(write=True) as table:
        assert table.blank(np.array([0, 7, 7, 450], np.uint32)) == 3
        assert table.blank(np.array([7, 8], np.uint32)) == 1
        assert table.blank(np.array([7, 8], np.uint32)) == 0
        assert table.blank(np.empty(0, np.uint32)) == 0
        assert len(table) == 501
    gone = {0, 7, 8, 450}
    with env.table(write=True) as table:
        assert table.find(pa.array(strings)).tolist() == [-1 if i in gone else i for i in range(501)]
        assert [table.find_one(strings[i]) for i in (0, 7, 9)] == [None, None, 9]
        assert table.get_one(7) == ""
        assert table.slice(0, 501).to_pylist() == ["" if i in gone else s for i, s in enumerate(strings)]
        assert list(table.verify()) == []
        assert table.insert(pa.array(["", "name 6", "new"]))[0].tolist() == [501, 502, 503]
        assert table.find_one("") == 501
        assert list(table.verify()) == []
    with env.env.begin() as txn, txn.cursor(env.db) as cursor:
        assert not any(b"name 449" in value for _, value in cursor)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.lists(st.one_of(st.none(), st.text("abé", max_size=4)), max_size=80)),
        st.tuples(st.just("blank"), st.lists(st.integers(0, 300), max_size=5)),
        st.tuples(st.just("find"), st.lists(st.text("abé", max_size=4), max_size=20)),
        st.tuples(st.just("reopen"), st.just([])),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=OPERATIONS, mask=st.sampled_from([ALL, 0xF0000000, 0]), load=st.sampled_from([2, 50]))
def test_a_table_is_a_dict(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, Any]], mask: int, load: int
) -> None:
    environment = Environment(tmp_path_factory.mktemp("table"), mask)
    codes: dict[str, int] = {}
    strings: list[str] = []
    old_load, store.LOAD = store.LOAD, load
    try:
        for name, values in operations:
            if name == "insert":
                first, expected = len(strings), []
                for s in values:
                    if s is not None and s not in codes:
                        codes[s] = len(strings)
                        strings.append(s)
                    expected.append(-1 if s is None else codes[s])
                assert environment.insert(values) == (expected, first)
            elif name == "blank":
                chosen = {c % len(strings) for c in values} if strings else set()
                with environment.table(write=True) as table:
                    assert table.blank(np.array(sorted(chosen), np.uint32)) == len(chosen & set(codes.values()))
                codes = {s: c for s, c in codes.items() if c not in chosen}
                strings = ["" if c in chosen else s for c, s in enumerate(strings)]
            elif name == "find":
                with environment.table() as table:
                    assert table.find(pa.array(values, pa.string())).tolist() == [codes.get(s, -1) for s in values]
                    assert [table.find_one(s) for s in values] == [codes.get(s) for s in values]
            else:
                environment.reopen()
            with environment.table() as table:
                assert len(table) == len(strings)
                assert table.slice(0, len(strings)).to_pylist() == strings
                backwards = np.arange(len(strings), dtype=np.uint32)[::-1]
                assert table.get(backwards).to_pylist() == strings[::-1]
        assert environment.problems() == []
    finally:
        store.LOAD = old_load
        environment.env.close()


@pytest.mark.parametrize("seed", range(4))
def test_known_and_new_strings_in_bulk_are_a_dict(env: Environment, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Buckets that were looked at, buckets that are only split, and new ones, with few and with many at a time."""
    monkeypatch.setattr(store, "LOAD", 3)
    monkeypatch.setattr(store, "SLICE", (1, 3, 100, 10_000)[seed])
    pick = random.Random(seed)
    codes: dict[str, int] = {}
    for size in (1, 2, 3, 4, 5, 15, 16, 17, 3, 200, 1, 2000, 40):
        strings = [
            pick.choice(list(codes)) if codes and pick.random() < 0.4 else f"s{pick.random()}" for _ in range(size)
        ]
        first = len(codes)
        expected = [codes.setdefault(s, len(codes)) for s in strings]
        assert env.insert(list(strings)) == (expected, first)
        assert env.problems() == []
    with env.table() as table:
        assert table.find(pa.array(list(codes))).tolist() == list(codes.values())


@pytest.mark.parametrize("number", range(8))
def test_bulk_insertion_sees_a_damaged_bucket_whether_it_was_looked_at_or_is_split(
    env: Environment, number: int
) -> None:
    """Of 8 buckets one is damaged where only checksums see it; 400 new strings meet or split them all."""
    filled(env, 400)
    places = [number << 29 for number in range(8)]
    env.change(BUCKET, places[number], flip(4))
    with env.env.begin(write=True) as txn:
        with pytest.raises(CorruptData, match=f"hash bucket {places[number]}: checksum"):
            StringTable(txn, env.db, 1, KEY).insert(pa.array([f"new {n}" for n in range(400)]))
        txn.abort()


# --- damage ------------------------------------------------------------------------------------------------


def flip(at: int) -> Callable[[bytes], bytes]:
    def change(value: bytes) -> bytes:
        damaged = bytearray(value)
        damaged[at] ^= 0x10
        return bytes(damaged)

    return change


def filled(env: Environment, n: int = 300) -> list[str]:
    strings = [f"row {i}" for i in range(n)]
    env.insert(strings)
    return strings


STATE, BUCKET, FORWARD = 0, 1, 2


@pytest.mark.parametrize("kind", [BUCKET, FORWARD])
def test_a_missing_value_is_corrupt_data(env: Environment, kind: int) -> None:
    strings = filled(env)
    env.change(kind, 0, lambda value: None)
    with env.table() as table, pytest.raises(CorruptData, match="0: it is missing"):
        table.find(pa.array(strings))
    assert any("0: it is missing" in problem for problem in env.problems())


@pytest.mark.parametrize("kind", [BUCKET, FORWARD])
def test_verify_sees_every_flipped_bit(env: Environment, kind: int) -> None:
    filled(env, BLOCK + 3)
    with env.env.begin() as txn:
        size = len(txn.get(struct.pack(">HBBI", 1, kind, 0, 0), db=env.db))
    for at in range(size):
        env.change(kind, 0, flip(at))
        assert env.problems(), at
        env.change(kind, 0, flip(at))
    assert env.problems() == []


def test_a_damaged_state_is_corrupt_data(env: Environment) -> None:
    filled(env)
    for at in range(32):
        env.change(STATE, 0, flip(at))
        with pytest.raises(CorruptData, match="string table 1: its state"), env.table():
            pass
        env.change(STATE, 0, flip(at))
    env.change(STATE, 0, lambda value: value[:-1])
    with pytest.raises(CorruptData, match="unknown format"), env.table():
        pass


def test_another_hash_key_is_told_from_damage(env: Environment) -> None:
    filled(env)
    with env.env.begin() as txn, pytest.raises(CorruptData, match="another hash key"):
        StringTable(txn, env.db, 1, bytes(16))


def test_writing_does_not_pass_damage_on(env: Environment) -> None:
    filled(env, 3)
    env.change(FORWARD, 0, flip(-1))
    with env.env.begin(write=True) as txn:
        with pytest.raises(CorruptData, match="string block 0: checksum"):
            StringTable(txn, env.db, 1, KEY).insert(pa.array(["new"]))
        txn.abort()
    env.change(FORWARD, 0, flip(-1))
    env.change(BUCKET, 0, flip(4))
    with env.env.begin(write=True) as txn:
        table = StringTable(txn, env.db, 1, KEY)
        with pytest.raises(CorruptData, match="hash bucket 0: checksum"):
            table.insert(pa.array(["new"]))
        with pytest.raises(CorruptData, match="hash bucket 0: checksum"):
            table.blank(np.array([1]))
        txn.abort()


def test_verify_sees_what_checksums_cannot(env: Environment) -> None:
    """Values that are sound in themselves, but of another table or another time."""
    filled(env, 3)
    with env.env.begin() as txn:
        old_bucket = bytes(txn.get(struct.pack(">HBBI", 1, BUCKET, 0, 0), db=env.db))
    env.insert(["one more"])
    env.change(BUCKET, 0, lambda value: old_bucket)
    assert any("3 entries" in problem for problem in env.problems())
    assert any("found at code -1" in problem for problem in env.problems())
    env.change(FORWARD, 1, lambda value: b"stray")
    assert any("string block 1 is past its end" in problem for problem in env.problems())
