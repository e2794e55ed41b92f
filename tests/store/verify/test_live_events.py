"""Damage to events in the log, to what is held of their ids, and to how far a merge has come: each is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.ingest import merger
from segidx.kernels.deltas import ColumnChanges, DeltaArrays, build_delta
from segidx.kernels.events import CONTACT, EVENT, LINE, TIME, EventLayer, encode_layer
from segidx.model.errors import SegidxError
from segidx.model.events import LINE as LINES
from segidx.model.events import ORDER, VISIT, Event, Order, OrderLine, Retraction
from segidx.store.catalog import EventsMerged, write_events_merged
from segidx.store.columns import changed_chunk
from segidx.store.event_blocks import FIRST_PROPERTY
from segidx.store.layout import (
    DB_COLUMNS,
    DB_LOG,
    DB_META,
    META_EVENTS_MERGED,
    PLACE_CONTACT,
    PLACE_REVISION,
    PLACE_TIME,
    block_key,
    event_place,
    part_key,
)
from segidx.store.log import Record, append_record, read_log
from segidx.testing.verified import Damage, expect, problems

AT = datetime(2024, 3, 1, tzinfo=UTC)
Cells = list[list[np.ndarray]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Contacts 0 to 3. In the base: order 0 of contact 0, visit 0 of contact 1, visit 1 retracted before it came. In
    the log: order 0 moves to contact 1, order 1 is new, visit 0 is taken back, visit 2 is new."""
    path = tmp_path_factory.mktemp("live") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merger, "MERGE_SECONDS", 1000.0)
        with Database.open(path, create=True) as database:
            account = database.account()
            account.upsert([(f"c{i}", {}) for i in range(4)])
            line = OrderLine("p", quantity=Decimal(1), amount=Decimal(5))
            account.write_events([Order("o0", "c0", AT, "shop", True, Decimal(5), [line])])
            account.write_events([Event("visit", "v0", "c1", AT, {"url": "u"}), Retraction("visit", "v1", 7)])
            account.merge()
            account.write_events(
                [
                    Order("o0", "c1", AT, "web", None, Decimal(5), [line, line]),
                    Order("o1", "c2", AT, "web", False, Decimal(5), [line], revision=3),
                    Retraction("visit", "v0"),
                    Event("visit", "v2", "c0", AT, {"url": "w", "paid": True}),
                ]
            )
        yield path


@pytest.fixture
def account(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    shutil.copytree(template, tmp_path / "data")
    with Database.open(tmp_path / "data") as database:
        yield database.account()


# --- damage ----------------------------------------------------------------------------------------------------------


def record(change: Callable[[Record], Record]) -> Damage:
    """The log's record is another, under a right checksum."""

    def damage(account: Account) -> None:
        store = account._store
        with store.write() as write:
            ((found, _),) = read_log(write.txn, write.dbs[DB_LOG], write.state.merged, write.state.generation)
            changed = change(found)
            write.txn.delete(part_key(found.generation, 0), db=write.dbs[DB_LOG])
            append_record(write.txn, write.dbs[DB_LOG], changed)
        store.overlay.clear()

    return damage


def layer(number: int, change: Callable[[Cells, list[np.ndarray]], object]) -> Damage:
    """A layer of the record has other rows or stale places."""

    def changed(found: Record) -> Record:
        old = EventLayer(found.events[number])
        cells, stale = [list(each) for each in old.decode()], list(old.stale_places())
        change(cells, stale)
        order = np.lexsort([cells[at][0] for at in (LINE, EVENT, TIME, CONTACT)])
        columns = [(values[order], present[order]) for values, present in cells]
        return replace(found, events=found.events | {number: encode_layer(columns, *stale)})

    return record(changed)


def cell(number: int, row: int, column: int, value: int) -> Damage:
    def change(cells: Cells, _: list[np.ndarray]) -> None:
        cells[column][0][row] = value
        cells[column][1][row] = 1

    return layer(number, change)


def without_row(number: int, row: int) -> Damage:
    def change(cells: Cells, _: list[np.ndarray]) -> None:
        for each in cells:
            each[0], each[1] = np.delete(each[0], row), np.delete(each[1], row)

    return layer(number, change)


def without_stale(number: int) -> Damage:
    def change(_: Cells, stale: list[np.ndarray]) -> None:
        stale[:] = [each[:0] for each in stale]

    return layer(number, change)


def without_layer(number: int) -> Damage:
    return record(lambda found: replace(found, events={n: e for n, e in found.events.items() if n != number}))


def renumbered(number: int, to: int) -> Damage:
    def change(found: Record) -> Record:
        events = dict(found.events)
        events[to] = events.pop(number)
        return replace(found, events=events)

    return record(change)


def place_in_log(field: int, event: int, value: int | None) -> Damage:
    """The record says something else of where an event lies."""

    def change(found: Record) -> Record:
        columns = {c.field: c for c in DeltaArrays(found.delta).columns()}
        old = columns.get(field)
        held = (
            {}
            if old is None
            else dict(zip(old.ordinals.tolist(), zip(old.values, old.present, strict=True), strict=True))
        )
        held[event] = (value or 0, value is not None)
        ordinals = sorted(held)
        columns[field] = ColumnChanges(
            field,
            np.array(ordinals, np.uint32),
            np.array([held[o][0] for o in ordinals], np.int64),
            np.array([held[o][1] for o in ordinals], np.bool_),
        )
        return replace(found, delta=build_delta((), [columns[f] for f in sorted(columns)]))

    return record(change)


def place_in_base(field: int, event: int, value: int | None) -> Damage:
    def damage(account: Account) -> None:
        with account._store.write() as write:
            db = write.dbs[DB_COLUMNS]
            given = np.array([value or 0]), np.array([value is not None])
            chunk = changed_chunk(write.txn, db, field, 0, np.array([event]), *given)
            assert chunk is not None
            write.txn.put(block_key(field, 0), chunk, db=db)
            write.changed_base()

    return damage


def cursor(merged: EventsMerged) -> Damage:
    def damage(account: Account) -> None:
        with account._store.write() as write:
            write_events_merged(write.txn, write.dbs[DB_META], merged)
            write.changed_base()

    return damage


def cursor_bytes(value: bytes) -> Damage:
    def damage(account: Account) -> None:
        with account._store.write() as write:
            write.txn.put(META_EVENTS_MERGED, value, db=write.dbs[DB_META])
            write.changed_base()

    return damage


ORDERS, VISITS = ORDER.number, VISIT.number
COUNTS = -1
URL, PAID = (FIRST_PROPERTY + VISIT.index(name) for name in ("url", "paid"))
QUANTITY = FIRST_PROPERTY + LINES.index("quantity")

DAMAGES: dict[str, tuple[Damage, str]] = {
    "a type that there is not": (renumbered(VISITS, 99), "has events of type 99, and there is no such type"),
    "events of another type": (renumbered(VISITS, ORDERS), "generation 4 has order events of 16 columns instead of 8"),
    "a contact that there is not": (cell(VISITS, 0, CONTACT, 4), "visit events that are of ordinal 4, and only 4 were"),
    "an id that there is not": (
        cell(VISITS, 0, EVENT, 3),
        "visit events that have the number 3, and only 3 were given",
    ),
    "a string that there is not": (cell(VISITS, 0, URL, 2), "values of 'url' outside of its 2 codes"),
    "a bool of 2": (cell(VISITS, 0, PAID, 2), "values of 'paid' outside of its 2 codes"),
    "a line at another time": (cell(LINES.number, 0, TIME, 9), "has lines of order 0 without the order"),
    "lines without orders": (without_layer(ORDERS), "has lines of order 0 without the order"),
    "an order without its lines": (without_layer(LINES.number), "order 0 has 1 lines, and says that it has 2"),
    "a line too few": (without_row(LINES.number, 1), "order 0 has 1 lines, and says that it has 2"),
    "a line of another number": (
        cell(LINES.number, 0, LINE, 5),
        "order 0 has 2 lines, and they are not numbered from 0",
    ),
    "an order that does not count": (cell(ORDERS, 0, COUNTS, 0), "order 0 does not count, and should"),
    "a line that does not count": (cell(LINES.number, 2, COUNTS, 0), "line 0 of order 1 does not count, and should"),
    "a return that counts": (cell(LINES.number, 2, QUANTITY, -5), "line 0 of order 1 counts, and should not"),
    "a visit that does not count": (cell(VISITS, 0, COUNTS, 0), "visit 2 does not count, and should"),
    "a row at another contact": (cell(VISITS, 0, CONTACT, 2), "visit 2 lies at ordinal 2, .* said to be at ordinal 0"),
    "a contact that the feed does not tell": (cell(VISITS, 0, CONTACT, 3), "the change feed differ in 1 contacts"),
    "a visit that is not there": (without_row(VISITS, 0), "visit 2 is said to be at ordinal 0, .* and is not there"),
    "an order that is not taken away": (without_stale(ORDERS), "order 0 lies at ordinal 0, .* said to be at ordinal 1"),
    "a visit that is not taken away": (without_stale(VISITS), "visit 0 lies at ordinal 1, .* said to be nowhere"),
    "lines that are not taken away": (without_stale(LINES.number), "line 0 of order 0 lies at ordinal 0"),
    "a place in the log": (place_in_log(event_place(VISIT, PLACE_CONTACT), 2, 1), "visit 2 lies at ordinal 0"),
    "a place at no contact": (
        place_in_log(event_place(VISIT, PLACE_CONTACT), 2, 4),
        "values of the column of the visits' contacts outside of the 4 ordinals",
    ),
    "a place of no event": (
        place_in_log(event_place(VISIT, PLACE_TIME), 3, 5),
        "has a value of visit 3, and only 3 ids",
    ),
    "a contact without a time": (place_in_log(event_place(VISIT, PLACE_TIME), 2, None), "a contact without a time"),
    "no revision in the log": (place_in_log(event_place(VISIT, PLACE_REVISION), 2, 0), "visits' revisions below 1"),
    "retracted, and there": (
        place_in_log(event_place(VISIT, PLACE_REVISION), 2, 1),
        "visit 2 was retracted, and is said to be at ordinal 0",
    ),
    "never retracted": (
        place_in_log(event_place(VISIT, PLACE_REVISION), 0, None),
        "1 visit ids have no visit \\(the first is visit 0\\)",
    ),
    "retracted, in the base": (
        place_in_base(event_place(ORDER, PLACE_REVISION), 1, 3),
        "has a value of order 1, and only 1 ids were given out",
    ),
    "not retracted, in the base": (
        place_in_base(event_place(VISIT, PLACE_REVISION), 1, 14),
        "1 visit ids have no visit \\(the first is visit 1\\)",
    ),
    "merged to the merge point": (
        cursor(EventsMerged(3, 1, 0)),
        "merged in part through generation 3, and the log has",
    ),
    "merged to the future": (cursor(EventsMerged(5, 1, 0)), "merged in part through generation 5, and the log has"),
    "merged up to no type": (cursor(EventsMerged(4, 99, 0)), "up to type 99, and there is no such type"),
    "merged, and not there": (cursor(EventsMerged(4, 9, 0)), "order 1 is said to be .* and is not there"),
    "merged by damaged bytes": (cursor_bytes(bytes(24)), "how far events are merged fails its checksum"),
    "merged by too few bytes": (cursor_bytes(bytes(23)), "how far events are merged cannot be read"),
}


def test_a_sound_log_has_no_problems(account: Account) -> None:
    assert problems(account) == []
    layer(VISITS, lambda cells, stale: None)(account)
    assert problems(account) == [], "what is written again as it was is no damage"
    account.merge()
    assert problems(account) == []


@pytest.mark.parametrize(("damage", "pattern"), DAMAGES.values(), ids=DAMAGES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_never_ends_in_anything_but_errors_of_its_own(account: Account, name: str) -> None:
    """Counting and merging give a number or say why not."""
    DAMAGES[name][0](account)
    for step in (lambda: account.count("did(visit) or sum(line.amount) > 3"), account.merge, lambda: problems(account)):
        with suppress(SegidxError):
            step()
