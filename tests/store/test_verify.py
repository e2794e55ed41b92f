"""`verify` says nothing of sound accounts, in every state that writes and merges leave, and names each damage."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap

import segidx.store.base
import segidx.store.merge
from segidx.database import Account, Database
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.kernels.bitmaps import Stop
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk, encode_chunk
from segidx.kernels.deltas import ColumnChanges, DeltaArrays, PostingChanges, build_delta, key_of
from segidx.model.errors import Cancelled, Closed, SegidxError
from segidx.model.schema import Field, FieldType
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store.base import Slices
from segidx.store.catalog import State, read_state, write_state
from segidx.store.counts import BLOCK_CODES, HAS_POSTING, read_block
from segidx.store.layout import (
    DB_CHANGES,
    DB_COLUMNS,
    DB_COUNTS,
    DB_LOG,
    DB_META,
    DB_POSTINGS,
    DB_RECEIPTS,
    DB_STRINGS,
    HEADER_BYTES,
    IDS_TABLE,
    KIND_COUNTS,
    KIND_POSTING,
    LIVE_CODE,
    META_HASH_KEY,
    META_SCHEMA,
    META_STATE,
    SHARD_BITS,
    SYSTEM_FIELD,
    block_key,
    channel_code,
    part_key,
    posting_key,
    seal,
    split_part_key,
)
from segidx.store.log import NewStrings, Record, encode_record, read_log
from segidx.store.merge import merge
from segidx.store.postings import read_shard, shard_value
from segidx.store.strings import StringTable
from segidx.testing.damage import clear, flip, get, put

FIELDS = [
    Field("n", FieldType.NUMBER, 2),
    Field("city", FieldType.CATEGORY),
    Field("note", FieldType.TEXT),
    Field("tags", FieldType.TAGS),
    Field("vip", FieldType.BOOL),
    Field("born", FieldType.DATE),
    Field("seen", FieldType.TIMESTAMP),
    Field("email", FieldType.TEXT),
]
N, CITY, NOTE, TAGS, VIP, BORN, SEEN, EMAIL = range(1, 9)
COMPAT = Path(__file__).parents[1] / "compat" / "format_1"
MERGED, CONTACTS = 300, 340  # contacts that the base knows, and all
HARD_BOUNCED = channel_code(Channel.EMAIL, ChannelFlag.HARD_BOUNCED)
SUPPRESSED = channel_code(Channel.EMAIL, None)


def write(i: int, version: int = 0) -> ContactWrite:
    """Contact i with every field, differently in each version."""
    return ContactWrite(
        f"contact-{i}",
        {
            "n": i + 1000 * version,
            "city": f"city-{(i + version) % 7}",
            "note": "common" if i % 3 else f"rare {i // 30}",
            "tags": {f"third-{i % 3}", f"version-{version}"},
            "vip": (i + version) % 2 == 0,
            "born": date(1990, 1, 1) + timedelta(days=i + version),
            "seen": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=i),
            "email": f"{i}@{version}.example",
        },
        channels={
            Channel.EMAIL: {ChannelFlag.CONSENT: True, ChannelFlag.HARD_BOUNCED: i % 5 == 0},
            Channel.SMS: {ChannelFlag.UNSUBSCRIBED: i % 7 == 0, ChannelFlag.COMPLAINED: i % 11 == 0},
        },
    )


def problems(account: Account) -> list[str]:
    return list(account.verify())


def make(path: Path) -> None:
    """An account whose contacts from 200 on the log changes: 200 to 299 are in the base, 300 to 339 are not."""
    with Database.open(path, create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.write([write(i) for i in range(MERGED)], batch_key="first")
        account.merge()
        account.write([write(i, 1) for i in range(200, CONTACTS)], batch_key="second")
        account.write([ContactWrite("contact-200", {"n": None, "tags": None, "note": None})], batch_key="third")
        account.write([ContactWrite("contact-201", tags_added={"tags": ["late"]})])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "data"
    make(path)
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "data"))


@pytest.fixture
def account(path: Path) -> Iterator[Account]:
    with Database.open(path) as database:
        yield database.account()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "empty", create=True) as database:
        database.account().update_schema(FIELDS)
        yield database.account()


# --- sound accounts ----------------------------------------------------------------------------------------


def test_a_sound_account_has_no_problems_in_any_state(empty: Account) -> None:
    assert problems(empty) == []
    for version in range(3):
        empty.write([write(i, version) for i in range(100 * version, 300 + version)], batch_key=f"key {version}")
        empty.write([ContactWrite("contact-7", {"n": None, "note": None, "tags": None})])
        verification = empty.verify()
        assert list(verification) == []
        assert verification.checked > 400
        assert verification.problems == 0
        empty.merge()
        assert problems(empty) == []
    empty.write([], batch_key="nothing at all")
    empty.write([write(i, 3) for i in range(3000)])
    assert len(get(empty, DB_LOG, part_key(empty.generation(), 1))), "a record of several parts"
    assert problems(empty) == []


def test_a_merge_that_dies_anywhere_leaves_a_sound_account(empty: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transaction of a merge is its last once; the log goes on between the attempts."""

    class Killed(Exception): ...

    left = 0
    changing = Slices._changing

    def dying(self: Slices) -> Any:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return changing(self)

    monkeypatch.setattr(segidx.store.base, "SLICE_BYTES", 1000)
    monkeypatch.setattr(segidx.store.base, "SLICE_STRINGS", 1)
    monkeypatch.setattr(Slices, "_changing", dying)
    for version in (0, 1):
        empty.write([write(i, version) for i in range(90 * version, 150 + 40 * version)])
        for attempt in range(1000):
            left = attempt
            try:
                merge(empty._store, 0, empty._store.snapshot)
                break
            except Killed:
                assert problems(empty) == []
                empty._store.overlay.clear()  # as in a process that opens the account now
                assert problems(empty) == []
            if attempt % 5 == 0:
                empty.write([write(attempt, 5), ContactWrite(f"contact-{attempt + 1}", {"note": None, "city": None})])
        assert attempt >= 10
        assert empty._store.state().merged == empty.generation()
        assert problems(empty) == []


def test_a_text_that_was_being_promoted_when_the_merge_died_and_fell_since(
    empty: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its posting stays behind, in use by nobody."""
    empty.write([ContactWrite(f"c{i}", {"note": "common"}) for i in range(64)])
    changed_block = segidx.store.base.changed_block

    def dying(txn: Any, db: Any, field: int, *rest: Any) -> bytes:
        return b"" if field == NOTE and 1 / 0 else changed_block(txn, db, field, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(segidx.store.base, "SLICE_BYTES", 1)
        patch.setattr(segidx.store.base, "changed_block", dying)
        with pytest.raises(ZeroDivisionError):
            merge(empty._store, 0, empty._store.snapshot)
    empty.write([ContactWrite("c0", {"note": None})])
    empty.merge()
    with empty._store.snapshot() as snapshot:
        assert read_shard(snapshot.txn, snapshot.dbs[DB_POSTINGS], NOTE, 0, 0)
        assert not snapshot.value_entry(NOTE, 0)[1]
    assert problems(empty) == []


def test_a_segment_that_a_merge_cuts_in_two(empty: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed into the segment while it is being merged stays in the overlay with what was merged."""
    fold = segidx.store.merge.fold

    def and_then(*args: Any) -> None:
        fold(*args)
        empty.write([write(i, 1) for i in range(40, 80)])
        empty.write([ContactWrite("contact-3", {"city": "city-9", "note": "new"}, tags_added={"tags": ["cut"]})])

    empty.write([write(i) for i in range(60)])
    with monkeypatch.context() as patch:
        patch.setattr(segidx.store.merge, "fold", and_then)
        merge(empty._store, 0, empty._store.snapshot)
    with empty._store.snapshot() as snapshot:
        assert (snapshot.state.merged, snapshot.generation) == (1, 3)
        assert [s.number for s in snapshot.view.segments] == [1]
    assert problems(empty) == []
    empty._store.overlay.clear()  # as in a process that opens the account now
    assert problems(empty) == []
    empty.merge()
    assert problems(empty) == []


def test_bulk_batches_of_more_than_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are made small here, so that two of them are soon full."""
    for module in ("base", "snapshot", "verify.stored", "verify.across"):
        monkeypatch.setattr(f"segidx.store.{module}.SHARD_BITS", 16)
    monkeypatch.setattr("segidx.ingest.pending.SHARD_BITS", 16)
    total = (1 << 16) + 3000
    rows = np.arange(total)
    batch = ContactBatch(
        pa.array([str(i) for i in range(total)], pa.string()),
        {
            "vip": FieldChange(rows, rows % 2, rows[:0]),
            "city": FieldChange(rows, pa.array(["left", "right"], pa.string()).take(pa.array(rows % 2)), rows[:0]),
        },
    )
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.apply(batch)
        assert problems(account) == []
        account.write([ContactWrite(str(i), {"vip": None, "city": "right"}) for i in (0, total - 2)])
        assert account.count("vip = true").count == total // 2
        assert problems(account) == []
        clear(account, DB_POSTINGS, posting_key(CITY, 1, 1))
        found = problems(account)
        assert len(found) == 1
        assert re.search(r"\('city'\), code 1, shard 1: lacks 1500 \(first ordinal 65537\)", found[0])


@pytest.mark.parametrize("read_only", [True, False])
def test_what_format_1_wrote(tmp_path: Path, read_only: bool) -> None:
    shutil.copytree(COMPAT, tmp_path / "data")
    with Database.open(tmp_path / "data", read_only=read_only) as database:
        for info in database.accounts():
            assert problems(database.account(info.name)) == []
        if not read_only:
            database.account("shop").upsert([("new one", {})])
            assert problems(database.account("shop")) == []


def test_what_old_generations_leave_behind_is_no_problem(account: Account) -> None:
    """Changes and receipts of a day ago are deleted, part by part; so are records that are merged."""
    with account._store.write() as w:
        w.txn.delete(part_key(1, 0), db=w.dbs[DB_CHANGES])
        w.txn.put(part_key(1, 1), b"the rest of a record", db=w.dbs[DB_LOG])
    assert problems(account) == []
    with account._store.write() as w:
        for generation in (2, 3, 4):
            w.txn.delete(part_key(generation, 0), db=w.dbs[DB_CHANGES])
    assert problems(account) == []


def test_other_readers_and_the_writer_go_on_meanwhile(account: Account) -> None:
    flip(account, DB_COUNTS, block_key(VIP, 0), 3)
    verification = account.verify()
    first = next(verification)
    account.write([write(i, 2) for i in range(500)])
    account.merge()
    assert "'vip'" in first
    assert list(verification) == [], "what is committed later is not seen"
    assert account.count("everyone").count == 500


def test_nothing_is_wrong_while_commits_and_merges_go_on(empty: Account) -> None:
    done = threading.Event()
    failures: list[BaseException] = []

    def work(go: Callable[[int], object]) -> None:
        number = 0
        try:
            while not done.is_set():
                go(number)
                number += 1
        except BaseException as error:
            failures.append(error)

    workers = [
        threading.Thread(target=work, args=(go,))
        for go in (
            lambda number: empty.write([write(i, number % 4) for i in range(number % 50, number % 50 + 90)]),
            lambda _: (empty.merge(), done.wait(0.03)),  # or it would keep the writer out
        )
    ]
    for worker in workers:
        worker.start()
    try:
        while empty.generation() < 30 and not failures:
            assert problems(empty) == []
    finally:
        done.set()
        for worker in workers:
            worker.join()
    assert not failures
    assert problems(empty) == []


def test_stopping(account: Account) -> None:
    stop = Stop()
    stop.cancel()
    with pytest.raises(Cancelled):
        list(account.verify(stop=stop))
    with pytest.raises(SegidxError, match="deadline"):
        list(account.verify(stop=Stop(time.monotonic_ns() - 1)))
    assert list(account.verify(stop=Stop())) == []
    flip(account, DB_COUNTS, block_key(VIP, 0), 3)
    verification = account.verify()
    next(verification)
    verification.close()
    with pytest.raises(StopIteration):
        next(verification)
    account.close()
    with pytest.raises(Closed):
        list(account.verify())


# --- damaging ----------------------------------------------------------------------------------------------


def posting(account: Account, field: int, code: int, change: Callable[[BitMap], object]) -> None:
    """Change shard 0 of a stored posting into another well-formed one."""
    with account._store.begin() as txn:
        bitmap = read_shard(txn, account._store.databases[DB_POSTINGS], field, code, 0)
    change(bitmap)
    value = shard_value(bitmap)
    assert value is not None
    put(account, DB_POSTINGS, posting_key(field, code, 0), value)


def cell(account: Account, field: int, ordinal: int, value: int | None) -> None:
    """Change one value of a stored column."""
    key = block_key(field, ordinal // CHUNK_ROWS)
    values, present = decode_chunk(get(account, DB_COLUMNS, key))
    values[ordinal % CHUNK_ROWS], present[ordinal % CHUNK_ROWS] = value or 0, value is not None
    put(account, DB_COLUMNS, key, encode_chunk(values, present))


def counted(account: Account, field: int, code: int, change: Callable[[int], int]) -> None:
    """Change one raw entry of the stored counts."""
    block, db = code // BLOCK_CODES, account._store.databases[DB_COUNTS]
    with account._store.begin() as txn:
        entries = read_block(txn, db, field, block)
    entries[code % BLOCK_CODES] = change(int(entries[code % BLOCK_CODES]))
    in_use = int(np.count_nonzero(entries & np.uint32(HAS_POSTING - 1)))
    put(account, DB_COUNTS, block_key(field, block), seal(KIND_COUNTS, in_use, entries.tobytes()))


def code_of(account: Account, field: int, text: str) -> int:
    with account._store.snapshot() as snapshot:
        code = snapshot.table(field).find_one(text)
    assert code is not None
    return code


def record_of(account: Account, generation: int) -> Record:
    with account._store.begin() as txn:
        ((record, _),) = read_log(txn, account._store.databases[DB_LOG], generation - 1, generation)
    return record


def log(account: Account, generation: int, **changes: Any) -> None:
    """Change a log record into another well-formed one, of one part."""
    changed = encode_record(replace(record_of(account, generation), **changes))
    with account._store.write() as w, w.txn.cursor(w.dbs[DB_LOG]) as cursor:
        while cursor.set_range(part_key(generation, 0)) and split_part_key(cursor.key())[0] == generation:
            cursor.delete()
        w.txn.put(part_key(generation, 0), changed, db=w.dbs[DB_LOG])


def strings(account: Account, generation: int, table: int, first: int | None, texts: list[str] | None) -> None:
    """Change the new strings of a log record."""
    held = dict(record_of(account, generation).strings)
    old = held.get(table, NewStrings(0, pa.array([], pa.string())))
    held[table] = NewStrings(
        old.first if first is None else first, old.strings if texts is None else pa.array(texts, pa.string())
    )
    log(account, generation, strings=held)


def delta(
    account: Account,
    generation: int,
    *,
    keys: dict[int, tuple[int, list[int], list[int]]] | None = None,
    columns: dict[int, dict[int, int | None]] | None = None,
) -> None:
    """Add keys (count, adds, removes), or replace them, and values to the delta of a log record."""
    old = DeltaArrays(record_of(account, generation).delta)
    held = {int(key): (int(old.counts[i]), *old.memberships(i)) for i, key in enumerate(old.keys)} | (keys or {})
    parts = [
        PostingChanges(
            np.array([key], np.uint64),
            np.array([count], np.int64),
            np.array([len(adds)], np.uint32),
            np.array(adds, np.uint32),
            np.array([len(removes)], np.uint32),
            np.array(removes, np.uint32),
        )
        for key, (count, adds, removes) in sorted(held.items())
    ]
    cells: dict[int, dict[int, int | None]] = {}
    for column in old.columns():
        rows = zip(column.ordinals.tolist(), column.values.tolist(), column.present.tolist(), strict=True)
        cells[column.field] = {ordinal: value if present else None for ordinal, value, present in rows}
    for field, values in (columns or {}).items():
        cells.setdefault(field, {}).update(values)
    changed = [
        ColumnChanges(
            field,
            np.array(sorted(values), np.uint32),
            np.array([values[o] or 0 for o in sorted(values)], np.int64),
            np.array([values[o] is not None for o in sorted(values)], np.bool_),
        )
        for field, values in sorted(cells.items())
    ]
    log(account, generation, delta=build_delta(parts, changed))


def feed(account: Account, generation: int, part: int, ordinals: list[int], kinds: list[int], *, last: int = 1) -> None:
    head = struct.pack("<BB2sIqII", 1, last, b"", 0, 0, len(ordinals), 0)
    body = head[8:] + np.array(ordinals, "<u4").tobytes() + bytes(kinds)
    value = head[:4] + struct.pack("<I", zlib.crc32(body)) + body
    put(account, DB_CHANGES, part_key(generation, part), value)


def receipt_keys(account: Account) -> list[bytes]:
    with account._store.begin() as txn:
        return [bytes(key) for key, _ in txn.cursor(account._store.databases[DB_RECEIPTS])]


Damage = Callable[[Account], object]


def expect(account: Account, pattern: str) -> list[str]:
    found = problems(account)
    assert [p for p in found if re.search(pattern, p)], f"{pattern!r} is not among {found}"
    return found


# --- every byte --------------------------------------------------------------------------------------------


def test_one_flipped_bit_anywhere_is_found(account: Account) -> None:
    """In every value of the data: in each byte of its header, and in some of the rest."""
    random = np.random.default_rng(5)
    for database in (DB_STRINGS, DB_POSTINGS, DB_COLUMNS, DB_COUNTS, DB_LOG, DB_CHANGES, DB_RECEIPTS):
        with account._store.begin() as txn:
            keys = [bytes(key) for key, _ in txn.cursor(account._store.databases[database])]
        for key in keys if len(keys) < 6 else random.choice(np.array(keys, object), 6, replace=False):
            value = get(account, database, key)
            places = {int(p) for p in random.integers(0, len(value), 2)} | {
                int(random.integers(0, min(16, len(value))))
            }
            for at in places:
                flip(account, database, key, at, 1 << int(random.integers(8)))
                assert problems(account), f"{database!r}, key {key.hex()}: byte {at} of {len(value)}"
                put(account, database, key, value)
    assert problems(account) == []


@pytest.mark.parametrize("at", range(40))
def test_one_flipped_bit_of_the_state_is_found(account: Account, at: int) -> None:
    flip(account, DB_META, META_STATE, at, 4)
    assert len(problems(account)) == 1


# --- the catalog -------------------------------------------------------------------------------------------


def _merged_too_far(account: Account) -> None:
    with account._store.write() as w:
        state = read_state(w.txn, w.dbs[DB_META])
        write_state(w.txn, w.dbs[DB_META], replace(state, merged=state.generation + 1))


CATALOG: dict[str, tuple[Damage, str]] = {
    "merged too far": (_merged_too_far, "the state says that generation 5 is merged, and the newest is 4"),
    "hash key": (lambda a: clear(a, DB_META, META_HASH_KEY), "catalog has no 'hash_key'"),
    "another hash key": (lambda a: put(a, DB_META, META_HASH_KEY, b"x" * 16), "another hash key"),
    "account": (
        lambda a: put(a, DB_META, b"account", get(a, DB_META, b"account").replace(b'"default"', b'"strange"')),
        "the catalog is that of account 'strange', in the directory of 'default'",
    ),
    "field ids": (
        lambda a: put(a, DB_META, META_SCHEMA, get(a, DB_META, META_SCHEMA).replace(b'"id": 8', b'"id": 9')),
        "field 'email' has the id 9 where 8 is due",
    ),
}


# --- string tables -----------------------------------------------------------------------------------------


def string_key(table: int, kind: int, number: int, zero: int = 0) -> bytes:
    return struct.pack(">HBBI", table, kind, zero, number)


def _more_ids(account: Account) -> None:
    with account._store.write() as w:
        ids = StringTable(w.txn, w.dbs[DB_STRINGS], IDS_TABLE, w.catalog().hash_key)
        ids.insert(pa.array([f"contact-{i}" for i in range(MERGED, CONTACTS + 1)]))


def _twice(account: Account) -> None:
    """The same strings have two codes: block 1 of the ids is that of block 0."""
    put(account, DB_STRINGS, string_key(IDS_TABLE, 2, 1), get(account, DB_STRINGS, string_key(IDS_TABLE, 2, 0)))


STRINGS: dict[str, tuple[Damage, str]] = {
    "ids, forward": (lambda a: flip(a, DB_STRINGS, string_key(IDS_TABLE, 2, 3), 20), "table 65535: .*of contact ids"),
    "ids, bucket": (lambda a: flip(a, DB_STRINGS, string_key(IDS_TABLE, 1, 0), 20), "table 65535: .*of contact ids"),
    "ids, state": (lambda a: flip(a, DB_STRINGS, string_key(IDS_TABLE, 0, 0), 20), "state fails its checksum.*of cont"),
    "ids, missing": (lambda a: clear(a, DB_STRINGS, string_key(IDS_TABLE, 2, 0)), "table 65535: .*of contact ids"),
    "ids, twice": (_twice, "the string of code 16 is found at code 0"),
    "dictionary": (lambda a: flip(a, DB_STRINGS, string_key(CITY, 2, 0), 20), r"table 2: .*of field 2 \('city'\)"),
    "stray table": (
        lambda a: put(a, DB_STRINGS, string_key(77, 2, 0), b"x"),
        "string table 77 is stored, and no field has it",
    ),
    "table of a number": (lambda a: put(a, DB_STRINGS, string_key(N, 0, 0), b"x"), "string table 1 is stored, and no"),
    "stray kind": (lambda a: put(a, DB_STRINGS, string_key(CITY, 3, 0), b"x"), "table 2: its key 0002030.* means noth"),
    "stray zero": (lambda a: put(a, DB_STRINGS, string_key(CITY, 2, 0, 1), b"x"), "table 2: its key 000202010.* means"),
    "stray state": (lambda a: put(a, DB_STRINGS, string_key(CITY, 0, 1), b"x"), "table 2: its key 0002000.*1 means"),
    "stray block": (
        lambda a: put(a, DB_STRINGS, string_key(CITY, 2, 9), b"x"),
        "table 2: string block 9 is past its end at 1",
    ),
    "stray bucket": (
        lambda a: put(a, DB_STRINGS, string_key(CITY, 1, 12345), b"x"),
        "table 2: hash bucket 12345 is none of its own",
    ),
    "key": (lambda a: put(a, DB_STRINGS, b"\0\2\2", b"x"), "strings: 1 keys do not have 8 bytes"),
    "base ahead of the log": (
        _more_ids,
        "table 65535 has 341 strings in the base, and 340 by the log",
    ),
}


# --- postings ----------------------------------------------------------------------------------------------


def _sealed(field: int, code: int, shard: int, cardinality: int, payload: bytes) -> Damage:
    return lambda a: put(a, DB_POSTINGS, posting_key(field, code, shard), seal(KIND_POSTING, cardinality, payload))


def _unsorted(account: Account) -> None:
    """Two ordinals of an array container change places."""
    payload = bytearray(BitMap([5, 9, 70]).serialize())
    payload[-4:] = payload[-2:] + payload[-4:-2]
    _sealed(CITY, 0, 0, 3, bytes(payload))(account)


def _bad_posting(field: int, code: int) -> Damage:
    return lambda a: put(a, DB_POSTINGS, posting_key(field, code, 0), shard_value(BitMap([1])) or b"")


POSTINGS: dict[str, tuple[Damage, str]] = {
    "payload": (
        lambda a: flip(a, DB_POSTINGS, posting_key(CITY, 0, 0), HEADER_BYTES + 9),
        r"posting of field 2 \('city'\), code 0, shard 0: checksum differs",
    ),
    "header": (
        lambda a: flip(a, DB_POSTINGS, posting_key(CITY, 0, 0), 1, 2),
        r"posting of field 2 \('city'\), code 0, shard 0: header says version 1, kind 3",
    ),
    "reserved": (
        lambda a: flip(a, DB_POSTINGS, posting_key(CITY, 0, 0), 2),
        r"field 2 \('city'\), code 0, shard 0: reserved bytes are set",
    ),
    "live contacts": (
        lambda a: flip(a, DB_POSTINGS, posting_key(SYSTEM_FIELD, LIVE_CODE, 0), HEADER_BYTES + 9),
        r"posting of field 0 \(the system's\), code 0 \(live contacts\), shard 0: checksum differs",
    ),
    "not canonical": (_unsorted, "'city'.*code 0, shard 0: an array container is not strictly ascending"),
    "cardinality": (
        _sealed(CITY, 0, 0, 4, BitMap([5, 9, 70]).serialize()),
        "'city'.*code 0, shard 0: holds 3 contacts where its header says 4",
    ),
    "empty": (_sealed(CITY, 0, 0, 0, BitMap().serialize()), "code 0, shard 0 is stored, though empty"),
    "another shard": (
        _sealed(CITY, 0, 0, 2, BitMap([5, 1 << SHARD_BITS]).serialize()),
        "'city'.*code 0, shard 0: ordinals 5 to 1048576 leave the shard",
    ),
    "no such contact": (
        _sealed(CITY, 0, 0, 2, BitMap([5, MERGED]).serialize()),
        "'city'.*code 0, shard 0: holds ordinal 300, and only 300 were given out",
    ),
    "no such field": (
        _bad_posting(99, 0),
        "posting of field 99, code 0, shard 0 is stored, and there is no such field",
    ),
    "no such code": (_bad_posting(CITY, 50), "code 50, shard 0 is stored, and the dictionary ends at 7"),
    "no such bool": (_bad_posting(VIP, 2), r"\('vip'\), code 2, shard 0 is stored, and a bool is 0 or 1"),
    "number": (_bad_posting(N, 0), r"\('n'\), code 0, shard 0 is stored, and values of a number have no codes"),
    "no such flag": (
        _bad_posting(SYSTEM_FIELD, SUPPRESSED - 1),
        "code 65550, shard 0 is stored, and this code means n",
    ),
    "no such system code": (_bad_posting(SYSTEM_FIELD, 9), "code 9, shard 0 is stored, and this code means nothing"),
    "key": (lambda a: put(a, DB_POSTINGS, b"x", b"y"), "postings: key 78 has 1 bytes, not 8"),
}


# --- columns -----------------------------------------------------------------------------------------------


def _chunk(ordinals: dict[int, int]) -> bytes:
    values, present = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
    for ordinal, value in ordinals.items():
        values[ordinal], present[ordinal] = value, 1
    return encode_chunk(values, present)


def _wide(account: Account) -> None:
    """A chunk whose codes are wider than they must be; its checksum is right."""
    codes = np.array([1, 2], "<u2").tobytes()
    fields = struct.pack("<BBHI", 1, 2, 0, 2), struct.pack("<Iqq", 2, 5, 6)
    crc = struct.pack("<I", zlib.crc32(codes, zlib.crc32(fields[0] + fields[1])))
    put(account, DB_COLUMNS, block_key(N, 0), fields[0] + crc + fields[1] + codes)


COLUMNS: dict[str, tuple[Damage, str]] = {
    "codes": (
        lambda a: flip(a, DB_COLUMNS, block_key(N, 0), 50),
        r"column of field 1 \('n'\), chunk 0: the checksum does not match",
    ),
    "no such field": (
        lambda a: put(a, DB_COLUMNS, block_key(99, 0), _chunk({0: 1})),
        "column of field 99, chunk 0 is stored, and there is no such field",
    ),
    "tags": (
        lambda a: put(a, DB_COLUMNS, block_key(TAGS, 0), _chunk({0: 1})),
        r"column of field 4 \('tags'\), chunk 0 is stored, and tags have no column",
    ),
    "no such contact": (
        lambda a: put(a, DB_COLUMNS, block_key(N, 0), _chunk({MERGED: 1})),
        r"\('n'\), chunk 0: has a value of ordinal 300, and only 300 were given out",
    ),
    "no such chunk": (
        lambda a: put(a, DB_COLUMNS, block_key(N, 1), _chunk({0: 1})),
        r"\('n'\), chunk 1: has a value of ordinal 16384, and only 300 were given out",
    ),
    "empty": (
        lambda a: put(a, DB_COLUMNS, block_key(N, 0), _chunk({})),
        r"\('n'\), chunk 0 is stored, though empty",
    ),
    "too wide": (_wide, r"\('n'\), chunk 0 is not in its shortest form"),
    "key": (lambda a: put(a, DB_COLUMNS, b"\0\1\0\1\0\0\0\0", _chunk({0: 1})), "columns: key 0001000100000000 means"),
    "key length": (lambda a: put(a, DB_COLUMNS, b"\0\1", _chunk({0: 1})), "columns: key 0001 has 2 bytes, not 8"),
}


# --- counts ------------------------------------------------------------------------------------------------


def _in_use(account: Account) -> None:
    value = get(account, DB_COUNTS, block_key(CITY, 0))
    put(account, DB_COUNTS, block_key(CITY, 0), seal(KIND_COUNTS, 6, value[HEADER_BYTES:]))


COUNTS: dict[str, tuple[Damage, str]] = {
    "payload": (
        lambda a: flip(a, DB_COUNTS, block_key(CITY, 0), 30),
        r"counts of field 2 \('city'\), block 0: checksum differs",
    ),
    "reserved": (lambda a: flip(a, DB_COUNTS, block_key(CITY, 0), 3), "'city'.*block 0: reserved bytes are set"),
    "in use": (_in_use, "'city'.*block 0: 7 codes are in use where its header says 6"),
    "length": (
        lambda a: put(a, DB_COUNTS, block_key(CITY, 0), seal(KIND_COUNTS, 0, bytes(4))),
        "'city'.*block 0: 4 bytes instead of 16384",
    ),
    "no such field": (
        lambda a: counted(a, 99, 3, lambda _: 1),
        "counts of field 99, block 0 are stored, and there is no such field",
    ),
    "no such code": (
        lambda a: counted(a, CITY, 50, lambda _: 1 | HAS_POSTING),
        r"counts of field 2 \('city'\), code 50: it has an entry, and the dictionary ends at 7",
    ),
    "no such block": (
        lambda a: counted(a, CITY, BLOCK_CODES + 1, lambda _: HAS_POSTING),
        "'city'.*code 4097: it has an entry, and the dictionary ends at 7",
    ),
    "no such bool": (
        lambda a: counted(a, VIP, 2, lambda _: 1 | HAS_POSTING),
        "'vip'.*code 2: it has an entry, and a bool is 0 or 1",
    ),
    "number": (lambda a: counted(a, N, 0, lambda _: 1), "'n'.*code 0: it has an entry, and values of a number have no"),
    "system": (lambda a: counted(a, SYSTEM_FIELD, 9, lambda _: 1), "code 9: it has an entry, and this code means"),
    "category without flag": (
        lambda a: counted(a, CITY, 0, lambda entry: entry & ~HAS_POSTING),
        r"'city'.*code 0: held by \d+, without the flag of its posting",
    ),
    "text without flag": (
        lambda a: counted(a, NOTE, code_of(a, NOTE, "common"), lambda entry: entry & ~HAS_POSTING),
        r"'note'.*code \d+: held by 200, without the flag of its posting",
    ),
    "key": (lambda a: put(a, DB_COUNTS, b"\0\1\0\1\0\0\0\0", b"x"), "counts: key 0001000100000000 means nothing"),
    "key length": (lambda a: put(a, DB_COUNTS, b"\0\1", b"x"), "counts: key 0001 has 2 bytes, not 8"),
}


# --- the log -----------------------------------------------------------------------------------------------


def _bounds(account: Account) -> None:
    """The greatest of the values that a delta sets is told too small."""
    old = record_of(account, 2).delta
    arrays = DeltaArrays(old)
    nkeys, _, _, nfields, nvalues = old.shape
    data = bytearray(old.data)
    at = 32 + 8 * nkeys + 8 * nvalues + 8 * nfields
    assert struct.unpack_from("<q", data, at)[0] == int(arrays.columns()[0].values.max())
    struct.pack_into("<q", data, at, 7)
    log(account, 2, delta=type(old)(bytes(data)))


def _other_strings_than_base(account: Account) -> None:
    """A merge has begun to fold the record, and put other strings into the base."""
    with account._store.write() as w:
        StringTable(w.txn, w.dbs[DB_STRINGS], CITY, w.catalog().hash_key).insert(pa.array(["elsewhere"]))
    held = {CITY: NewStrings(7, pa.array(["nowhere"]))}
    log(account, 4, strings=held)


def _in_one_part(account: Account) -> None:
    put(account, DB_LOG, part_key(2, 500), b"x")


LOG: dict[str, tuple[Damage, str]] = {
    "checksum": (lambda a: flip(a, DB_LOG, part_key(2, 0), 100), "the log record of generation 2 fails its checksum"),
    "missing": (lambda a: clear(a, DB_LOG, part_key(3, 0)), "the log has no record of generation 3"),
    "of another generation": (
        lambda a: put(a, DB_LOG, part_key(3, 0), get(a, DB_LOG, part_key(4, 0))),
        "the log record of generation 3 is not one",
    ),
    "reserved": (lambda a: flip(a, DB_LOG, part_key(2, 0), 2), "log record of generation 2 has reserved bytes set"),
    "newer": (
        lambda a: put(a, DB_LOG, part_key(9, 0), b"x"),
        "the log has a record of generation 9, and the newest is 4",
    ),
    "parts": (_in_one_part, r"the log record of generation 2 has the parts \[0, .*500\]"),
    "key": (lambda a: put(a, DB_LOG, b"x", b"y"), "log: 1 keys do not have 12 bytes"),
    "segment of later": (lambda a: log(a, 2, segment=9), "the log record of generation 2 is of segment 9"),
    "segment of none": (lambda a: log(a, 2, segment=0), "the log record of generation 2 is of segment 0"),
    "segments": (lambda a: log(a, 4, segment=3), "generation 4 is of segment 3, where the one before is of 2"),
    "codes with a gap": (
        lambda a: strings(a, 2, EMAIL, MERGED + 1, None),
        "generation 2 gives codes of string table 8 out from 301, where 300 is due",
    ),
    "codes twice": (
        lambda a: strings(a, 4, EMAIL, MERGED, ["again"]),
        "generation 4 gives codes of string table 8 out from 300, where 440 is due",
    ),
    "strings of no field": (lambda a: strings(a, 2, 99, 0, ["x"]), "has strings of table 99, which no field has"),
    "strings of a number": (lambda a: strings(a, 2, N, 0, ["x"]), "has strings of table 1, which no field has"),
    "strings that the base does not have": (
        _other_strings_than_base,
        "generation 4 has other strings for codes 7 to 7 of string table 2 than the base",
    ),
    "string twice": (
        lambda a: strings(a, 4, TAGS, None, ["version-1"]),
        "the log gives codes .* out, where a table ends at",
    ),
    "field": (lambda a: delta(a, 2, keys={key_of(99, 0): (1, [1], [])}), "2 changes field 99, code 0, and there is no"),
    "code": (
        lambda a: delta(a, 2, keys={key_of(CITY, 50): (1, [1], [])}),
        r"2 changes field 2 \('city'\), code 50, and the dictionary ends at 7",
    ),
    "system code": (lambda a: delta(a, 2, keys={key_of(0, 9): (1, [1], [])}), "code 9, and this code means nothing"),
    "adds nobody": (
        lambda a: delta(a, 2, keys={key_of(VIP, 1): (1, [CONTACTS], [])}),
        "2 adds ordinal 340, and only 340 were given out",
    ),
    "removes nobody": (
        lambda a: delta(a, 2, keys={key_of(VIP, 1): (1, [], [CONTACTS])}),
        "2 removes ordinal 340, and only 340 were given out",
    ),
    "adds and removes": (
        lambda a: delta(a, 2, keys={key_of(VIP, 1): (1, [3, 5], [5, 7])}),
        "2 both adds and removes ordinal 5 of one value",
    ),
    "value of nobody": (
        lambda a: delta(a, 2, columns={N: {CONTACTS: 1}}),
        "2 has a value of ordinal 340, and only 340 were given out",
    ),
    "values of tags": (
        lambda a: delta(a, 2, columns={TAGS: {5: 1}}),
        r"2 has values of field 4 \('tags'\), which has no column",
    ),
    "values of no field": (lambda a: delta(a, 2, columns={99: {5: 1}}), "has values of field 99, which has no column"),
    "value of no code": (
        lambda a: delta(a, 2, columns={CITY: {5: 7}}),
        r"2 has values of field 2 \('city'\) outside of its 7 codes",
    ),
    "value of no bool": (lambda a: delta(a, 2, columns={VIP: {5: -1}}), r"\('vip'\) outside of its 2 codes"),
    "bounds": (_bounds, "generation 2 has a delta that is not in its canonical form"),
    "untold": (
        lambda a: delta(a, 2, columns={N: {5: 1}}),
        r"generation 2 and the change feed differ in 1 contacts \(first ordinal 5\)",
    ),
}


# --- the overlay of the process, which read the log before it was changed --------------------------------------

OVERLAY: dict[str, tuple[Damage, str]] = {
    "size of a table": (
        lambda a: strings(a, 4, CITY, 7, ["more"]),
        "overlay of this process: string table 2 has 7 strings, and 8 by the log",
    ),
    "strings": (
        lambda a: strings(a, 4, TAGS, None, ["later"]),
        r"overlay of this process: string table 4 has other strings among the codes \d+ to \d+ than the log",
    ),
    "membership": (
        lambda a: delta(a, 3, keys={key_of(CITY, 0): (50, [200], [])}),
        r"overlay of this process: field 2 \('city'\), code 0: lacks 1 \(first ordinal 200\), compared with the log",
    ),
    "membership taken": (
        lambda a: delta(a, 3, keys={key_of(SYSTEM_FIELD, LIVE_CODE): (CONTACTS, [], [200])}),
        r"overlay of this process: .*\(live contacts\): has 1 too many \(first ordinal 200\), compared with the log",
    ),
    "count": (
        lambda a: delta(a, 3, keys={key_of(CITY, 6): (9, [], [])}),
        r"overlay of this process: field 2 \('city'\), code 6: counts \d+ contacts, and 9 by the log",
    ),
    "value": (
        lambda a: delta(a, 3, columns={CITY: {200: 6}}),
        r"overlay of this process: field 2 \('city'\), ordinal 200: the value is 5, and 6 by the log",
    ),
    "no value": (
        lambda a: delta(a, 3, columns={BORN: {200: None}}),
        r"overlay of this process: field 6 \('born'\), ordinal 200: the value is \d+, and none by the log",
    ),
}


# --- across structures -------------------------------------------------------------------------------------


def _no_id(account: Account) -> None:
    with account._store.write() as w:
        StringTable(w.txn, w.dbs[DB_STRINGS], IDS_TABLE, w.catalog().hash_key).blank(np.array([3]))


ACROSS: dict[str, tuple[Damage, str]] = {
    "category lacks": (
        lambda a: posting(a, CITY, 3, lambda b: b.remove(3)),
        r"posting of field 2 \('city'\), code 3, shard 0: lacks 1 \(first ordinal 3\), compared with the column",
    ),
    "category has": (
        lambda a: posting(a, CITY, 3, lambda b: b.add(4)),
        r"posting of field 2 \('city'\), code 3, shard 0: has 1 too many \(first ordinal 4\), compared with the column",
    ),
    "category has none": (
        lambda a: clear(a, DB_POSTINGS, posting_key(CITY, 3, 0)),
        r"'city'\), code 3, shard 0: lacks \d+ \(first ordinal 3\), compared with the column",
    ),
    "bool": (
        lambda a: posting(a, VIP, 1, lambda b: b.add(1)),
        r"posting of field 5 \('vip'\), code 1, shard 0: has 1 too many \(first ordinal 1\), compared with the column",
    ),
    "text": (
        lambda a: posting(a, NOTE, code_of(a, NOTE, "common"), lambda b: b.remove(1)),
        r"posting of field 3 \('note'\), code \d+, shard 0: lacks 1 \(first ordinal 1\), compared with the column",
    ),
    "text has none": (
        lambda a: clear(a, DB_POSTINGS, posting_key(NOTE, code_of(a, NOTE, "common"), 0)),
        r"posting of field 3 \('note'\), code \d+, shard 0: lacks \d+ \(first ordinal 1\), compared with the column",
    ),
    "column": (
        lambda a: cell(a, CITY, 3, 4),
        r"'city'\), code 3, shard 0: has 1 too many \(first ordinal 3\), compared with the column",
    ),
    "value of no code": (
        lambda a: cell(a, CITY, 3, 50),
        r"column of field 2 \('city'\), ordinal 3: code 50 is none of its 7 codes",
    ),
    "value of no bool": (
        lambda a: cell(a, VIP, 3, 2),
        r"column of field 5 \('vip'\), ordinal 3: code 2 is none of its 2 codes",
    ),
    **{
        f"presence of {name}": (
            lambda a, field=field: posting(a, SYSTEM_FIELD, field, lambda b: b.remove(3)),
            rf"code {field} \('{name}' is set\), shard 0: lacks 1 \(first ordinal 3\), compared with the "
            + ("tags" if name == "tags" else "column"),
        )
        for field, name in enumerate([f.name for f in FIELDS], 1)
    },
    "presence of nothing": (
        lambda a: cell(a, BORN, 3, None),
        r"code 6 \('born' is set\), shard 0: has 1 too many \(first ordinal 3\), compared with the column",
    ),
    "tag": (
        lambda a: [posting(a, TAGS, code_of(a, TAGS, t), lambda b: b.discard(3)) for t in ("third-0", "version-0")],
        r"code 4 \('tags' is set\), shard 0: has 1 too many \(first ordinal 3\), compared with the tags",
    ),
    "count of a tag": (
        lambda a: posting(a, TAGS, code_of(a, TAGS, "third-0"), lambda b: b.remove(3)),
        r"field 4 \('tags'\), code \d+: \d+ contacts are counted, and \d+ hold it",
    ),
    "count of a category": (
        lambda a: counted(a, EMAIL, 7, lambda entry: entry + 1),
        r"field 8 \('email'\), code 7: 2 contacts are counted, and 1 hold it",
    ),
    "count of a bool": (
        lambda a: delta_count(a, VIP, 1),
        r"field 5 \('vip'\), code 1: \d+ contacts are counted, and \d+ hold it",
    ),
    "count of a flag": (
        lambda a: counted(a, SYSTEM_FIELD, HARD_BOUNCED + 16, lambda _: 1),
        r"\(sms hard_bounced\): 1 contacts are counted, and 0 hold it",
    ),
    "count of live contacts": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\(live contacts\): 340 contacts are counted, and 339 hold it",
    ),
    "live without id": (
        _no_id,
        r"\(live contacts\), shard 0: has 1 too many \(first ordinal 3\), compared with the ids",
    ),
    "id of nobody live": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\(live contacts\), shard 0: lacks 1 \(first ordinal 3\), compared with the ids",
    ),
    "set, and not live": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\('born' is set\), shard 0: holds 1 contacts that are not live \(first ordinal 3\)",
    ),
    "flagged, and not live": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\(email consent\), shard 0: holds 1 contacts that are not live \(first ordinal 3\)",
    ),
    "suppressed for nothing": (
        lambda a: posting(a, SYSTEM_FIELD, SUPPRESSED, lambda b: b.add(3)),
        r"\(email suppressed\), shard 0: has 1 too many \(first ordinal 3\), compared with the flags that suppress",
    ),
    "not suppressed": (
        lambda a: posting(a, SYSTEM_FIELD, HARD_BOUNCED, lambda b: b.add(3)),
        r"\(email suppressed\), shard 0: lacks 1 \(first ordinal 3\), compared with the flags that suppress",
    ),
}


def delta_count(account: Account, field: int, code: int) -> None:
    """Merge, so that no overlay sets the count, then change it."""
    account.merge()
    counted(account, field, code, lambda entry: entry + 1)


# --- the change feed and the receipts ----------------------------------------------------------------------


def _generation_of_receipt(account: Account) -> None:
    first = receipt_keys(account)[0]
    data = zlib.compress(b'{"generation":99,"accepted":1,"created":1,"duplicates":0,"rejects":[]}')
    put(account, DB_RECEIPTS, first, struct.pack("<B3sIII", 1, b"", 1, zlib.crc32(data), 0) + data)


def _answer_of_receipt(account: Account) -> None:
    data = zlib.compress(b'{"generation":1}')
    key = receipt_keys(account)[0]
    put(account, DB_RECEIPTS, key, struct.pack("<B3sIII", 1, b"", 1, zlib.crc32(data), 0) + data)


FEED: dict[str, tuple[Damage, str]] = {
    "checksum": (lambda a: flip(a, DB_CHANGES, part_key(2, 0), 40), "the changes of generation 2 fail their checksum"),
    "missing": (lambda a: clear(a, DB_CHANGES, part_key(3, 0)), "the changes of generation 4 follow those of 2"),
    "ends": (
        lambda a: clear(a, DB_CHANGES, part_key(4, 0)),
        "the change feed ends with generation 3, and the newest is 4",
    ),
    "newer": (lambda a: feed(a, 9, 0, [1], [1]), "the changes of generation 9 are in the feed, and the newest is 4"),
    "parts": (lambda a: feed(a, 4, 2, [1], [1]), r"the changes of generation 4 have the parts \[0, 2\]"),
    "no first part": (
        lambda a: (feed(a, 4, 1, [1], [1]), clear(a, DB_CHANGES, part_key(4, 0))),
        r"the changes of generation 4 have the parts \[1\]",
    ),
    "last": (lambda a: feed(a, 4, 0, [201], [4], last=0), "generation 4: part 1 of 1 says that it is not the last"),
    "last early": (lambda a: feed(a, 4, 1, [301], [4]), "generation 4: part 1 of 2 says that it is the last"),
    "order": (lambda a: feed(a, 4, 0, [201, 5], [4, 4]), "the changes of generation 4: the contacts do not ascend"),
    "twice": (lambda a: feed(a, 4, 0, [201, 201], [4, 4]), "the changes of generation 4: the contacts do not ascend"),
    "order of parts": (lambda a: feed(a, 4, 1, [5], [4]), "the changes of generation 4: the contacts do not ascend"),
    "no kind": (lambda a: feed(a, 4, 0, [201], [0]), "generation 4: a contact changed in no known way"),
    "unknown kind": (lambda a: feed(a, 4, 0, [201], [32]), "generation 4: a contact changed in no known way"),
    "nobody": (
        lambda a: feed(a, 4, 0, [201, CONTACTS], [4, 4]),
        "generation 4: tell of ordinal 340, and only 340 were given out",
    ),
    "reserved": (
        lambda a: flip(a, DB_CHANGES, part_key(4, 0), 3),
        "the changes of generation 4: reserved bytes are set",
    ),
    "other contacts": (
        lambda a: feed(a, 4, 0, [202], [4]),
        r"record of generation 4 and the change feed differ in 2 contacts \(first ordinal 201\)",
    ),
    "key": (lambda a: put(a, DB_CHANGES, b"x", b"y"), "changes: 1 keys do not have 12 bytes"),
}

RECEIPTS: dict[str, tuple[Damage, str]] = {
    "checksum": (lambda a: flip(a, DB_RECEIPTS, receipt_keys(a)[0], 30), "the receipt [0-9a-f]{32}: .*checksum"),
    "reserved": (lambda a: flip(a, DB_RECEIPTS, receipt_keys(a)[0], 13), "the receipt .*: reserved bytes are set"),
    "part too many": (
        lambda a: put(a, DB_RECEIPTS, receipt_keys(a)[0][:17] + b"\0\1", b"x"),
        "the receipt .* has 2 parts where its header says 1",
    ),
    "part of none": (
        lambda a: put(a, DB_RECEIPTS, receipt_keys(a)[0][:17] + b"\0\7", b"x"),
        "the receipt .* lacks a part, or has a key that is none",
    ),
    "answer": (_answer_of_receipt, "the receipt .*: 'accepted'"),
    "generation": (_generation_of_receipt, "the receipt .* is of generation 99, and the newest is 4"),
    "for ever": (
        lambda a: clear(a, DB_RECEIPTS, receipt_keys(a)[-1]),
        "3 receipts are kept, and 2 are to be forgotten",
    ),
    "gone": (
        lambda a: clear(a, DB_RECEIPTS, receipt_keys(a)[0]),
        "the receipt .* is to be forgotten, and is not there",
    ),
    "key": (lambda a: put(a, DB_RECEIPTS, b"x", b"y"), "receipts: key 78 means nothing"),
    "time": (lambda a: put(a, DB_RECEIPTS, receipt_keys(a)[-1], b"\1"), "receipts: key 74.* means nothing"),
}

ALL = {"catalog": CATALOG, "strings": STRINGS, "postings": POSTINGS, "columns": COLUMNS, "counts": COUNTS, "log": LOG}
ALL |= {"overlay": OVERLAY, "across": ACROSS, "feed": FEED, "receipts": RECEIPTS}
CASES = [pytest.param(*case, id=f"{group}: {name}") for group, cases in ALL.items() for name, case in cases.items()]


@pytest.mark.parametrize(("damage", "pattern"), CASES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    assert problems(account) == []
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("group", [g for g in ALL if g != "overlay"])
def test_a_process_that_opens_the_damage_names_it_or_refuses_it(path: Path, group: str) -> None:
    """What the writing process sees is not what it remembers: another one, which has read nothing before, agrees."""
    for number, (damage, pattern) in enumerate(ALL[group].values()):
        place = Path(shutil.copytree(path, path.parent / f"{group} {number}"))
        with Database.open(place) as database:
            damage(database.account())
        with Database.open(place, read_only=True) as database:
            try:
                found = problems(database.account())
            except SegidxError as error:
                found = [error.message]
            assert [p for p in found if re.search(pattern, p)], f"{pattern!r} is not among {found}"


def test_the_id_of_a_contact_may_be_too_long(empty: Account) -> None:
    empty.write([write(0)])
    empty.merge()
    with empty._store.write() as w:
        StringTable(w.txn, w.dbs[DB_STRINGS], IDS_TABLE, w.catalog().hash_key).insert(pa.array(["x" * 256]))
    posting(empty, SYSTEM_FIELD, LIVE_CODE, lambda b: b.add(1))
    counted(empty, SYSTEM_FIELD, LIVE_CODE, lambda _: 2)
    assert problems(empty) == ["the id of ordinal 1 has 256 bytes, over the limit of 255"]


def test_damage_to_one_thing_does_not_hide_damage_to_another(account: Account) -> None:
    """What cannot be read is named once, and everything else is still compared."""
    flip(account, DB_POSTINGS, posting_key(CITY, 0, 0), HEADER_BYTES + 9)
    flip(account, DB_POSTINGS, posting_key(SYSTEM_FIELD, N, 0), HEADER_BYTES + 9)
    flip(account, DB_COLUMNS, block_key(SEEN, 0), 50)
    flip(account, DB_COUNTS, block_key(TAGS, 0), 50)
    flip(account, DB_STRINGS, string_key(NOTE, 0, 0), 20)
    cell(account, BORN, 3, None)
    posting(account, VIP, 1, lambda b: b.add(1))
    found = problems(account)
    for pattern in (
        "'city'.*checksum",
        "'n' is set.*checksum",
        "'seen'.*checksum",
        "'tags'.*checksum",
        "'note'.*",
        "'born' is set.*compared with the column",
        "'vip'.*code 1.*compared with the column",
    ):
        assert len([p for p in found if re.search(pattern, p)]) == 1, f"{pattern!r} is not once among {found}"
    assert len(found) == 7


def test_a_dictionary_that_cannot_be_opened_is_one_problem(account: Account) -> None:
    for field in (CITY, TAGS):
        key = string_key(field, 0, 0)
        flip(account, DB_STRINGS, key, 20)
        found = problems(account)
        assert len(found) == 1
        assert re.search(rf"string table {field}.* its state fails its checksum", found[0])
        flip(account, DB_STRINGS, key, 20)


def test_a_string_that_the_log_adds_to_those_of_the_base(account: Account) -> None:
    code = code_of(account, TAGS, "late")
    strings(account, 4, TAGS, None, ["third-0"])
    account._store.overlay.clear()
    expect(account, f"overlay of this process: string table 4 does not find the string of code {code} at its code")


def test_a_page_of_the_file_that_is_none(path: Path) -> None:
    """In a process of its own: LMDB ends the process for some such pages. The first of a database it searches."""
    file = path / "accounts" / "default" / "data.mdb"
    with Database.open(path) as database:
        value = get(database.account(), DB_POSTINGS, posting_key(SYSTEM_FIELD, LIVE_CODE, 0))
    data = bytearray(file.read_bytes())
    at = data.find(value)
    assert at > 0
    while at >= 0:
        page = at // 4096 * 4096
        data[page : page + 4096] = bytes(4096)
        at = data.find(value)
    file.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "segidx.cli", "verify", "--data", path], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (8, "")
    assert re.fullmatch(r".*/accounts/default: its pages cannot be read \(.*\); restore.*\n1 problem\n", done.stdout)


def test_a_state_ahead_of_the_log(account: Account) -> None:
    with account._store.write() as w:
        write_state(w.txn, w.dbs[DB_META], State(6, 1, w.state.base, w.state.schema))
    found = expect(account, "the log has no record of generation 5")
    assert any("generation 6" in p for p in found)
