"""`verify` on the history of tracked fields, in the log and in the base: silent of what is sound, naming damage."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.ingest import merger
from segidx.kernels.events import CONTACT, TIME, EventBlock, EventLayer, encode_block, encode_layer
from segidx.model.errors import SegidxError
from segidx.model.events import CHANGE, TAGGING
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ContactWrite
from segidx.store.event_blocks import FIRST_PROPERTY, month_of
from segidx.store.layout import DB_EVENTS, DB_LOG, DB_META, META_NEWEST_CHANGE, META_NEWEST_EVENT, event_key, part_key
from segidx.store.log import append_record, read_log
from segidx.testing.verified import Damage, expect, problems

NOW = 1_700_000_000_000
FIELDS = (Field("stage", FieldType.CATEGORY, tracked=True), Field("tags", FieldType.TAGS, tracked=True))
MONTH = month_of(NOW)
Cells = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the base and in the log: two contacts that got a stage and a tag each."""
    path = tmp_path_factory.mktemp("history") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merger, "MERGE_SECONDS", 1000.0)
        with Database.open(path, create=True, clock=lambda: NOW) as database:
            account = database.account()
            account.update_schema(FIELDS)
            account.write([ContactWrite(name, {"stage": "lead"}, {"tags": ["x"]}) for name in ("a", "b")])
            account.merge()
            account.write([ContactWrite(name, {"stage": "mql"}, {}, {"tags": ["x"]}) for name in ("a", "b")])
    return path


@pytest.fixture
def account(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    shutil.copytree(template, tmp_path / "data")
    with Database.open(tmp_path / "data", clock=lambda: NOW) as database:
        yield database.account()


def changed(cells: Cells, row: int, column: int, value: int | None) -> Cells:
    found = [(values.copy(), present.copy()) for values, present in cells]
    found[column][0][row], found[column][1][row] = value or 0, value is not None
    return found


def in_log(number: int, row: int, column: int, value: int | None, *, stale: bool = False) -> Damage:
    def damage(account: Account) -> None:
        store = account._store
        with store.write() as write:
            ((record, _),) = read_log(write.txn, write.dbs[DB_LOG], write.state.merged, write.state.generation)
            cells = changed(EventLayer(record.events[number]).decode(), row, column, value)
            some = slice(0, int(stale))
            places = (
                cells[CONTACT][0][some].astype(np.uint32),
                cells[TIME][0][some] - 1,
                np.zeros(int(stale), np.uint32),
            )
            events = record.events | {number: encode_layer(cells, *places)}
            write.txn.delete(part_key(record.generation, 0), db=write.dbs[DB_LOG])
            append_record(write.txn, write.dbs[DB_LOG], replace(record, events=events))
        store.overlay.clear()

    return damage


def in_base(number: int, row: int, column: int, value: int | None) -> Damage:
    def damage(account: Account) -> None:
        with account._store.write() as write:
            key = event_key(number, 0, MONTH)
            block = EventBlock(bytes(write.txn.get(key, db=write.dbs[DB_EVENTS])))
            write.txn.put(key, encode_block(changed(block.decode(), row, column, value)), db=write.dbs[DB_EVENTS])
            write.changed_base()

    return damage


def meta(key: bytes, value: bytes) -> Damage:
    def damage(account: Account) -> None:
        with account._store.write() as write:
            write.txn.put(key, value, db=write.dbs[DB_META])

    return damage


FIELD, VALUE, ADDED = FIRST_PROPERTY, FIRST_PROPERTY + 1, FIRST_PROPERTY + 2
DAMAGES: dict[str, tuple[Damage, str]] = {
    "a change of no field": (in_log(CHANGE.number, 0, FIELD, None), "has change events that lack 'field'"),
    "of no field, in the base": (in_base(CHANGE.number, 0, FIELD, None), "lack 'field'"),
    "a field that there is not": (in_log(CHANGE.number, 1, FIELD, 1), "values of 'field' outside of its 1 codes"),
    "a value that there is not": (
        in_base(CHANGE.number, 1, VALUE, 2),
        "'value' has code 2, which is none of its 1 codes",
    ),
    "no tag": (in_log(TAGGING.number, 0, VALUE, None), "has tagging events that lack 'tag'"),
    "neither added nor removed": (in_base(TAGGING.number, 0, ADDED, None), "lack 'added'"),
    "a bool of 2": (in_log(TAGGING.number, 1, ADDED, 2), "values of 'added' outside of its 2 codes"),
    "a contact that there is not": (
        in_log(CHANGE.number, 1, CONTACT, 2),
        "are of ordinal 2, and only 2 were given out",
    ),
    "one that does not count": (in_log(TAGGING.number, 0, FIRST_PROPERTY + 3, 0), "tagging 0 does not count"),
    "another month": (in_base(CHANGE.number, 0, TIME, NOW - 40 * 86_400_000), "has events of 2023-10"),
    "something void": (in_log(CHANGE.number, 0, FIELD, 0, stale=True), "has change events that void 1 others"),
    "older than the newest": (meta(META_NEWEST_CHANGE, struct.pack("<q", NOW)), f"the newest change is of {NOW + 1}"),
    "no newest": (meta(META_NEWEST_CHANGE, b"x"), "the newest change's time has 1 bytes, not 8"),
    "no newest event": (meta(META_NEWEST_EVENT, struct.pack("<q", NOW)), f"the newest event is of {NOW + 1}"),
}


def test_sound_history_has_no_problems(account: Account) -> None:
    assert account.stats().log_records == 1
    for _ in range(2):
        assert problems(account) == []
        assert account.count('stage became "mql" and stage became "lead" and not tagged "x"').count == 2
        account.merge()


@pytest.mark.parametrize(("damage", "pattern"), DAMAGES.values(), ids=DAMAGES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_never_ends_in_anything_but_errors_of_its_own(account: Account, name: str) -> None:
    DAMAGES[name][0](account)
    for step in (
        lambda: account.count('stage became "mql" or tagged "x"'),
        lambda: account.tag(["a"], add=["x"]),
        account.merge,
        lambda: problems(account),
    ):
        with suppress(SegidxError):
            step()
