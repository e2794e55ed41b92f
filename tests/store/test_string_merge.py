"""Strings of a log put into a table in bounded transactions, which are cut short, against a dict."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
import pytest

from segidx.kernels.strings import Batch, places_of
from segidx.model.errors import CorruptData
from segidx.store.string_merge import Bounds, MergedTable, merge_strings
from segidx.store.strings import BUCKET, StringTable
from segidx.store.verify.strings import VerifiedTable
from segidx.testing.effort import seeds

KEY = bytes(range(16))
ALL = 2**64 - 1
FEW = Bounds(3, 100)


class Cut(Exception):
    """The process ends here."""


class Base:
    """One table of an environment; merges into it end after `left` transactions that write."""

    def __init__(self, path: Path, mask: int = ALL) -> None:
        self.env = lmdb.open(str(path), map_size=1 << 28, max_dbs=2, sync=False)
        self.db = self.env.open_db(b"strings")
        self.mask = mask
        self.left = 1 << 60
        self.written = 0
        self.strings: list[str] = []

    @contextmanager
    def reading(self) -> Iterator[MergedTable]:
        with self.env.begin(buffers=True) as txn:
            yield MergedTable(txn, self.db, 7, KEY, hash_mask=self.mask)

    def problems(self) -> list[str]:
        with self.env.begin(buffers=True) as txn:
            return list(VerifiedTable(txn, self.db, 7, KEY, hash_mask=self.mask).verify())

    @contextmanager
    def writing(self) -> Iterator[MergedTable]:
        if not self.left:
            raise Cut
        self.left -= 1
        self.written += 1
        with self.env.begin(write=True, buffers=True) as txn:
            yield MergedTable(txn, self.db, 7, KEY, hash_mask=self.mask)

    def merge(self, first: int, strings: list[str], bounds: Bounds = FEW) -> None:
        merge_strings(self.reading, self.writing, first, pa.array(strings, pa.string()), bounds)

    def check(self, strings: list[str]) -> None:
        """What is stored are the first of those strings, as far as a reader without a log may rely on it."""
        assert self.problems() == []
        with self.reading() as table:
            assert len(table) <= len(strings)
            assert table.slice(0, len(table)).to_pylist() == strings[: len(table)]
            codes = table.find(pa.array(strings, pa.string()))
            due = np.arange(len(strings))
            assert np.array_equal(codes[: table.indexed], due[: table.indexed])
            assert bool(((codes == due) | (codes < 0))[table.indexed :].all())
            assert bool((codes[len(table) :] < 0).all())


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Base]:
    made = Base(tmp_path)
    yield made
    made.env.close()


def ids(first: int, end: int) -> list[str]:
    return [f"order-{number}" for number in range(first, end)]


def test_more_blocks_than_are_read_at_a_time(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the codes of blocks that are not being read nothing is said, whatever was in that memory before."""
    monkeypatch.setattr("segidx.store.strings.SLICE", 3)
    empty = np.empty
    monkeypatch.setattr(
        np,
        "empty",
        lambda shape, dtype=float, **rest: (
            np.full(shape, 77, dtype) if dtype is np.uint64 else empty(shape, dtype, **rest)
        ),
    )
    known = ids(0, 50)
    base.merge(0, known, Bounds(40, 2000))
    new = ids(50, 1000)
    base.merge(50, new, Bounds(40, 2000))
    base.check(known + new)
    with base.reading() as table:
        assert table.indexed == len(table) == 1000


@pytest.mark.parametrize("sizes", [(1,), (3,), (4,), (0, 1), (200,), (49, 51, 400, 2, 3000), (2500, 2501, 1)])
def test_tables_grow_by_merges(base: Base, sizes: tuple[int, ...]) -> None:
    known: list[str] = []
    for size in sizes:
        new = ids(len(known), len(known) + size)
        base.merge(len(known), new, Bounds(40, 2000))
        known += new
        base.check(known)
        with base.reading() as table:
            assert table.indexed == len(table) == len(known)
    with base.env.begin(write=True) as txn:  # what comes in bulk goes on from there
        codes, first = StringTable(txn, base.db, 7, KEY).insert(pa.array([*known, "new"]))
    assert first == len(known)
    assert codes.tolist() == list(range(len(known) + 1))


def test_strings_that_are_there_are_not_written_again(base: Base) -> None:
    base.merge(0, ids(0, 700))
    before = base.written
    base.merge(300, ids(300, 700))
    assert base.written == before
    base.merge(300, ids(300, 702))
    assert base.written == before + 1
    base.check(ids(0, 702))


@pytest.mark.parametrize("mask", [ALL, 0xFF, 0])
@pytest.mark.parametrize("seed", seeds(4))
def test_a_merge_that_is_cut_short_is_gone_on_with(tmp_path: Path, seed: int, mask: int) -> None:
    """Behind every transaction; the next merge may be of fewer strings, of the same or of more."""
    rng = np.random.default_rng(seed)
    base = Base(tmp_path, mask)
    known = 0
    strings = [f"{number}-{'é' * int(rng.integers(0, 9))}" for number in rng.permutation(9000).tolist()]
    while known < 3000:
        end = known + int(rng.integers(1, 2000))
        bounds = Bounds(int(rng.integers(1, 5)), int(rng.integers(500, 20_000)))
        base.left = int(rng.integers(0, 40))
        try:
            base.merge(known, strings[known:end], bounds)
            known = end
        except Cut:
            base.check(strings)
            if rng.random() < 0.3:  # the next is of fewer segments
                with base.reading() as table:
                    there = len(table)
                base.left = 1 << 60
                base.merge(known, strings[known : known + (there - known) // 2], bounds)
        base.check(strings)
    base.left = 1 << 60
    base.merge(known, strings[known : known + 5])
    base.check(strings)
    base.env.close()


def test_nothing_is_inserted_or_erased_before_a_merge_is_finished(base: Base) -> None:
    base.merge(0, ids(0, 100))
    base.left = 1
    with pytest.raises(Cut):
        base.merge(100, ids(100, 200), Bounds(40, 2000))
    with base.env.begin(write=True) as txn:
        table = StringTable(txn, base.db, 7, KEY)
        with pytest.raises(ValueError, match="finish the merge"):
            table.insert(pa.array(["new"]))
        with pytest.raises(ValueError, match="finish the merge"):
            table.blank(np.array([1]))


def test_other_strings_or_codes_than_the_table_has_are_corrupt(base: Base) -> None:
    base.merge(0, ids(0, 100))
    for first, strings in (
        (101, ids(101, 103)),  # a gap
        (98, ["order-98", "other"]),
        (100, ["order-3"]),
    ):
        with pytest.raises(CorruptData, match="other codes"):
            base.merge(first, strings)
        base.check(ids(0, 100))
    # Of many at once it comes out when they are indexed: an old one again, and a new one twice.
    for again in ("order-3", "order-199"):
        with pytest.raises(CorruptData, match="other codes"):
            base.merge(100, [*ids(100, 200), again])


def test_many_strings_take_few_small_transactions(base: Base) -> None:
    """30,000 in a table of 20,000, of 20 pages each: where each dirtied a page there would be 1,500."""
    base.merge(0, ids(0, 20_000), Bounds(20, 20_000))
    base.written = 0
    base.merge(20_000, ids(20_000, 50_000), Bounds(20, 20_000))
    base.check(ids(0, 50_000))
    appended, split, indexed = 24, 600 // 20, 1000 // (20 * 6)
    assert appended + split + indexed <= base.written <= appended + split + indexed + 5


def test_slices_hold_all_entries_and_end_with_buckets(base: Base) -> None:
    base.merge(0, ids(0, 5000))
    for some, pages in ((5000, 4), (300, 4), (1, 4), (5000, 1)):
        hashes = Batch.of(pa.array(ids(0, some))).hash(KEY)
        entries = np.sort((hashes & np.uint64(0xFFFFFFFF)) << np.uint64(32) | np.arange(some, dtype=np.uint64))
        with base.reading() as table:
            slices = list(table.slices(entries, pages))
            assert np.array_equal(np.concatenate(slices), entries)
            homes = [np.unique(places_of((each >> np.uint64(32)).astype(np.uint32), 100)) for each in slices]
        assert all(len(each) <= 6 * pages + 1 for each in homes)
        assert len(np.unique(np.concatenate(homes))) == sum(map(len, homes))


def test_verify_sees_an_entry_that_is_nobodys_while_some_are_lacking(base: Base) -> None:
    base.merge(0, ids(0, 100))
    base.left = 1
    with pytest.raises(Cut):
        base.merge(100, ids(100, 200), Bounds(40, 4000))
    base.check(ids(0, 200))
    with base.reading() as table:
        assert (table.indexed, len(table)) == (100, 200)
        other = MergedTable(table._txn, base.db, 7, KEY)
        stray = np.array([0x01234567 << 32 | 150], np.uint64)
        changed = other.with_entries(stray)
    with base.env.begin(write=True) as txn:
        for place, value in zip(changed.places.tolist(), changed.values, strict=True):
            txn.put(struct.pack(">HBBI", 7, BUCKET, 0, place), value, db=base.db)
    assert any("strings are found" in problem for problem in base.problems())
