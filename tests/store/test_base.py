"""Folding into the base against dicts: over several shards, in one transaction or in many, cut short and done again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap

from segidx.kernels.deltas import key_of
from segidx.model.errors import CorruptData
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.store import base
from segidx.store.base import OneTransaction, Slices, fold
from segidx.store.catalog import write_schema
from segidx.store.columns import scan_column
from segidx.store.counts import read_entry
from segidx.store.directory import DataDirectory
from segidx.store.environment import AccountStore, WriteTransaction, create_account, open_account
from segidx.store.layout import DB_COLUMNS, DB_COUNTS, DB_META, DB_POSTINGS, DB_STRINGS, SHARD_BITS
from segidx.store.log import NewStrings
from segidx.store.postings import read_shard, stored_shards
from segidx.store.strings import StringTable
from segidx.testing.deltas import Layer, Members, delta_of, joined

SHARD = 1 << SHARD_BITS
# Some at the edges of shards and chunks, and enough to promote texts.
ORDINALS = (*range(12), 16_383, 16_384, SHARD - 1, SHARD, SHARD + 1, *range(2 * SHARD, 2 * SHARD + 9))
TEXT, TAGS, NUMBER = 1, 2, 3
CODES = range(5)
LEAST = 4  # contacts that make a text worth a posting


class Cut(Exception):
    """The process is killed here."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AccountStore]:
    monkeypatch.setattr(base, "TEXT_POSTING_MIN", LEAST)
    monkeypatch.setattr(base, "SLICE_STRINGS", 2)
    monkeypatch.setattr(base, "SLICE_BYTES", 400)
    directory = DataDirectory.open(tmp_path / "d", writable=True, create=True)
    create_account(directory, AccountInfo("test"))
    store = open_account(directory, "test")
    fields = [Field("t", FieldType.TEXT), Field("g", FieldType.TAGS), Field("n", FieldType.NUMBER)]
    with store.write() as write:
        write_schema(write.txn, write.dbs[DB_META], write.catalog().with_fields(fields))
    yield store
    store.close()
    directory.close()


class Model:
    """What the base is to hold."""

    def __init__(self) -> None:
        self.texts: dict[int, int] = {}
        self.numbers: dict[int, int] = {}
        self.tags: dict[int, set[int]] = {code: set() for code in CODES}
        self.strings: list[str] = []

    def change(self, rng: random.Random) -> tuple[dict[int, NewStrings], Layer]:
        """Random changes as a commit would put them."""
        keys: dict[int, Members] = {}
        before = dict(self.texts)
        texts: dict[int, int | None] = {}
        for o in rng.sample(ORDINALS, rng.choice((1, 4, 15))):
            new = rng.choice((*CODES, 0, None))
            if new != before.get(o):
                texts[o] = new
        self.texts = {o: v for o, v in (self.texts | texts).items() if v is not None}
        for code in CODES:
            added = frozenset(o for o in texts if texts[o] == code)
            removed = frozenset(o for o in texts if before.get(o) == code)
            if added or removed:
                count = sum(v == code for v in self.texts.values())
                keys[key_of(TEXT, code)] = Members(count, added, removed)
        for code in rng.sample(CODES, 2):
            held = self.tags[code]
            added = frozenset(rng.sample(ORDINALS, 3)) - held
            removed = frozenset(rng.sample(sorted(held), min(len(held), 4)))
            self.tags[code] = (held - removed) | added
            keys[key_of(TAGS, code)] = Members(len(self.tags[code]), added, removed)
        numbers: dict[int, int | None] = {o: rng.choice((None, 5, -9)) for o in rng.sample(ORDINALS, 3)}
        self.numbers = {o: v for o, v in (self.numbers | numbers).items() if v is not None}
        new_strings = [f"s{len(self.strings) + i}" for i in range(rng.choice((0, 1, 5)))]
        strings = {TEXT: NewStrings(len(self.strings), pa.array(new_strings))} if new_strings else {}
        self.strings += new_strings
        fields = {number: values for number, values in ((TEXT, texts), (NUMBER, numbers)) if values}
        return strings, Layer(keys, fields)


def check(store: AccountStore, model: Model, *, strings: bool = True) -> None:
    with store.snapshot() as snapshot:
        txn, dbs = snapshot.txn, snapshot.dbs
        for number, wanted in ((TEXT, model.texts), (NUMBER, model.numbers)):
            found: dict[int, int] = {}
            for first, values, present in scan_column(txn, dbs[DB_COLUMNS], number):
                found |= {first + i: int(values[i]) for i in np.flatnonzero(present).tolist()}
            assert found == wanted
        for code in CODES:
            held = {o for o, v in model.texts.items() if v == code}
            count, kept = read_entry(txn, dbs[DB_COUNTS], TEXT, code)
            assert count == len(held)
            assert kept or count < LEAST
            for number, members in ((TEXT, held), (TAGS, model.tags[code])):
                if number == TEXT and not kept:
                    continue  # shards of an older promotion may be left; nobody reads them
                shards = stored_shards(txn, dbs[DB_POSTINGS], number, code)
                assert shards == sorted({o >> SHARD_BITS for o in members})
                stored = BitMap.union(
                    BitMap(), *(read_shard(txn, dbs[DB_POSTINGS], number, code, shard) for shard in shards)
                )
                assert stored == BitMap(members)
            assert read_entry(txn, dbs[DB_COUNTS], TAGS, code)[0] == len(model.tags[code])
        if strings:
            table = StringTable(txn, dbs[DB_STRINGS], TEXT, snapshot.catalog.hash_key)
            assert table.slice(0, len(table)).to_pylist() == model.strings


def fold_in_slices(store: AccountStore, strings: dict[int, NewStrings], layer: Layer, most: int | None = None) -> int:
    """Transactions that it took; with `most`, it is cut short behind so many."""
    taken = 0
    write = store.write

    @contextmanager
    def counted() -> Iterator[WriteTransaction]:
        nonlocal taken
        if taken == most:
            raise Cut
        with write() as transaction:
            yield transaction
        taken += 1

    sink = Slices(store)
    store.write = counted  # type: ignore[method-assign]
    try:
        with store.snapshot() as snapshot:
            catalog = snapshot.catalog
        fold(sink, strings, delta_of(layer), catalog)
    finally:
        sink.close()
        store.write = write  # type: ignore[method-assign]
    return taken


def fold_at_once(store: AccountStore, strings: dict[int, NewStrings], layer: Layer) -> None:
    with store.write() as write:
        fold(OneTransaction(write), strings, delta_of(layer), write.catalog())
        write.changed_base()


def test_in_one_transaction(store: AccountStore) -> None:
    rng, model = random.Random(1), Model()
    for _ in range(40):
        fold_at_once(store, *model.change(rng))
        check(store, model)


@pytest.mark.parametrize("seed", range(4))
def test_in_many_transactions_cut_short_anywhere(store: AccountStore, seed: int) -> None:
    """What is cut short is folded again together with what came since, as the next merge does."""
    rng, model = random.Random(seed), Model()
    waiting: list[Layer] = []
    strings: dict[int, NewStrings] = {}
    merges = 0
    while merges < 25:
        new, layer = model.change(rng)
        waiting.append(layer)
        for table, more in new.items():
            older = strings.get(table)
            strings[table] = more if older is None else base.concatenated([older, more])
        most = rng.choice((None, None, 0, 1, 2, 3, 5, 8, 13))
        try:
            fold_in_slices(store, strings, joined(waiting), most)
        except Cut:
            continue
        merges += 1
        check(store, model)
        waiting, strings = [], {}


def test_doing_it_again_changes_nothing(store: AccountStore) -> None:
    rng, model = random.Random(3), Model()
    for _ in range(10):
        strings, layer = model.change(rng)
        for _ in range(3):
            fold_in_slices(store, strings, layer)
        fold_at_once(store, strings, layer)
        check(store, model)


def test_shards_of_a_promotion_cut_short_are_not_taken_for_its_posting(store: AccountStore) -> None:
    """A text is held by enough contacts; its posting is made, but not yet its flag; then other contacts hold it."""
    holders = {0, 1, SHARD, SHARD + 1, 2 * SHARD}
    layer = Layer(
        {key_of(TEXT, 0): Members(len(holders), frozenset(holders))}, {TEXT: dict.fromkeys(sorted(holders), 0)}
    )
    transactions = fold_in_slices(store, {}, layer)
    with store.write() as write:  # as if it had been cut short before the flag
        write.txn.drop(write.dbs[DB_COUNTS], delete=False)
        write.changed_base()
    with store.snapshot() as snapshot:
        assert stored_shards(snapshot.txn, snapshot.dbs[DB_POSTINGS], TEXT, 0) == [0, 1, 2]
    assert transactions > 1
    now = {2 * SHARD, *range(2 * SHARD + 1, 2 * SHARD + 5)}
    gone = holders - now
    later = Layer(
        {key_of(TEXT, 0): Members(len(now), frozenset(now - holders), frozenset(gone))},
        {TEXT: dict.fromkeys(now, 0) | dict.fromkeys(gone)},
    )
    fold_in_slices(store, {}, joined([layer, later]))
    model = Model()
    model.texts = dict.fromkeys(now, 0)
    check(store, model)


def test_strings_under_other_codes_are_corrupt(store: AccountStore) -> None:
    fold_at_once(store, {TEXT: NewStrings(0, pa.array(["a", "b"]))}, Layer())
    for new in (NewStrings(1, pa.array(["c"])), NewStrings(3, pa.array(["c"])), NewStrings(2, pa.array(["a"]))):
        with pytest.raises(CorruptData, match="other codes"):
            fold_at_once(store, {TEXT: new}, Layer())
    model = Model()
    model.strings = ["a", "b"]
    check(store, model)


def test_steps_of_ascending_numbers() -> None:
    for numbers, wanted in (([], []), ([0], [0]), ([0, 0, 1, 5, 5, 5], [0, 1, 5]), ([2**64 - 1], [2**64 - 1])):
        assert base._steps(np.array(numbers, np.uint64)) == wanted
    assert base._steps(np.array([0, 2**64 - 1, 2**64 - 1], np.uint64)) == [0, 2**64 - 1]
    for kind in (np.uint64, np.uint32, np.int64):
        assert base._steps(np.array([], kind)) == []
        assert base._steps(np.array([0, 0, 1, 1, 2], kind)) == [0, 1, 2]
        assert all(type(step) is int for step in base._steps(np.array([7, 7], kind)))
    assert base._steps(np.array([0, 0, 3], np.uint32)) == [0, 3]
    assert base._steps(np.array([-1, 0, 0], np.int64)) == [-1, 0]
