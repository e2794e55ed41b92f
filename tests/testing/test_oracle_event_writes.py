"""What the oracle keeps of events that are written, replaced and retracted, in steps that are worked out by hand; what
it refuses; and the random rows."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from segidx.model.events import MAX_REVISION, Event, Order, OrderLine, Retraction
from segidx.model.expression import Did, Events, Expression
from segidx.model.schema import MAX_MINOR_UNITS, Field, FieldType, Schema
from segidx.model.writes import ChangeKind
from segidx.testing import oracle_writes
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import ALL_TYPES, DECLARED
from segidx.testing.event_questions import random_event_expression
from segidx.testing.generator_events import EventRow, EventRowGenerator, random_event_rows
from segidx.testing.oracle import Oracle
from segidx.testing.strategies import EVERY_TYPE

NOON = datetime(2024, 6, 15, 12, tzinfo=UTC)
NOW_MS = 1_718_452_800_000
MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)
SCHEMA = Schema((Field("score", FieldType.NUMBER),))


def made() -> Oracle:
    oracle = Oracle(SCHEMA, "UTC")
    oracle.declare_event_types(DECLARED)
    return oracle


def visit(source: str, revision: int | None = None, contact_id: str = "ann") -> Event:
    return Event("visit", "v", contact_id, NOON - DAY, {"source": source}, revision)


def back(revision: int | None = None) -> Retraction:
    return Retraction("visit", "v", revision)


# Rows of one id, one behind another, and what is there in the end: the source of the visit, or None.
STEPS: list[tuple[list[EventRow], str | None, int]] = [
    # without revisions the last wins, until it is retracted
    ([visit("a")], "a", 1),
    ([visit("a"), visit("b")], "b", 2),
    ([visit("a"), back()], None, 2),
    ([visit("a"), back(), visit("b")], None, 2),
    ([back(), visit("a")], None, 1),
    ([back(), back(), visit("a")], None, 1),
    ([visit("a"), back(), back()], None, 2),
    # greater, equal, smaller
    ([visit("a", 2), visit("b", 3)], "b", 2),
    ([visit("a", 2), visit("b", 2)], "b", 2),
    ([visit("a", 2), visit("b", 1)], "a", 1),
    ([visit("a", 2), visit("b")], "a", 1),
    ([visit("a"), visit("b", 1)], "b", 2),
    ([visit("a", 5), visit("b", 7), visit("c", 6)], "b", 2),
    # retractions with revisions
    ([visit("a", 2), back(1)], "a", 1),
    ([visit("a", 2), back()], "a", 1),
    ([visit("a", 2), back(2)], None, 2),
    ([visit("a", 2), back(3)], None, 2),
    ([visit("a"), back(1)], None, 2),
    ([visit("a", 2), back(2), visit("b", 2)], None, 2),
    ([visit("a", 2), back(2), visit("b", 1)], None, 2),
    ([visit("a", 2), back(2), visit("b", 3)], "b", 3),
    ([visit("a", 2), back(4), visit("b", 3)], None, 2),
    ([visit("a", 2), back(4), visit("b", 5), back(4)], "b", 3),
    ([visit("a"), back(), visit("b", 1)], "b", 3),
    # a retraction that comes first is remembered with its revision
    ([back(3), visit("a", 2)], None, 1),
    ([back(3), visit("a", 3)], None, 1),
    ([back(3), visit("a")], None, 1),
    ([back(3), visit("a", 4)], "a", 2),
    ([back(), visit("a", 1)], "a", 2),
    ([back(2), back(5), visit("a", 4)], None, 2),
    ([back(5), back(2), visit("a", 4)], None, 1),
    ([back(2), back(5), visit("a", 6), visit("b", 6)], "b", 4),
    ([back(MAX_REVISION - 1), visit("a", MAX_REVISION)], "a", 2),
]


@pytest.mark.parametrize(("rows", "source", "effective"), STEPS)
def test_revisions(rows: list[EventRow], source: str | None, effective: int) -> None:
    """In batches of their own, and in one."""
    one, other = made(), made()
    results = [one.write_events([row], NOW_MS) for row in rows]
    assert sum(result.accepted for result in results) == effective
    assert sum(result.duplicates for result in results) == len(rows) - effective
    result = other.write_events(rows, NOW_MS)
    assert (result.accepted, result.duplicates, result.rejects) == (1, len(rows) - 1, ())
    assert one.held == other.held
    kept = one.kept("visit")
    assert [event.event.properties for event in kept.values()] == ([] if source is None else [{"source": source}])
    assert one.members(Did(Events("visit")), NOON) == (set() if source is None else {"ann"})


def test_what_takes_no_effect_makes_no_contact() -> None:
    oracle = made()
    result = oracle.write_events([visit("a", 2), visit("b", 1, "bob"), back(5), visit("c", 5, "cid")], NOW_MS)
    assert (result.accepted, result.created, result.duplicates) == (1, 1, 3)
    assert set(oracle.contacts) == {"ann"}
    assert oracle.write_events([visit("d", 3, "dee")], NOW_MS).created == 0
    # One that is replaced by a later row took effect.
    result = oracle.write_events([visit("e", 6, "eve"), visit("f", 6, "fay")], NOW_MS)
    assert (result.accepted, result.created, result.duplicates) == (1, 2, 1)
    assert set(oracle.contacts) == {"ann", "eve", "fay"}
    # A retraction has no contact.
    result = oracle.write_events([Retraction("visit", "never seen")], NOW_MS)
    assert (result.accepted, result.created, len(oracle.contacts)) == (1, 0, 3)


def test_a_moved_event_leaves_its_old_contact_and_time() -> None:
    oracle = made()
    oracle.write_events([visit("a")], NOW_MS)
    oracle.write_events([Event("visit", "v", "bob", NOON - 50 * DAY)], NOW_MS)
    assert oracle.members(Did(Events("visit")), NOON) == {"bob"}
    assert oracle.members(Did(Events("visit")), NOON - 40 * DAY) == {"bob"}
    assert oracle.kept("visit")["v"].event.properties == {}
    assert oracle.newest_event == NOW_MS - 86_400_000


def test_an_order_goes_with_its_lines() -> None:
    oracle = made()
    lines = [OrderLine("P", amount=Decimal(1)), OrderLine("Q")]
    order = Order("o", "ann", NOON - DAY, lines=lines)
    rows: list[EventRow] = [order, Event("visit", "o", "bob", NOON - DAY)]
    assert oracle.write_events(rows, NOW_MS).accepted == 2
    assert oracle.members(Did(Events("line")), NOON) == {"ann"}
    # The id of an order is no visit's.
    assert oracle.write_events([Retraction("order", "o")], NOW_MS).accepted == 1
    assert oracle.members(Did(Events("line")), NOON) == oracle.members(Did(Events("order")), NOON) == set()
    assert oracle.members(Did(Events("visit")), NOON) == {"bob"}
    assert oracle.write_events([order], NOW_MS).duplicates == 1
    again = Order("o", "cid", NOON - DAY, lines=lines[:1], revision=1)
    assert oracle.write_events([again, Order("o", "dee", NOON - DAY)], NOW_MS).created == 1
    assert oracle.members(Did(Events("line")), NOON) == {"cid"}
    # One that is written without revision does nothing, an import of it neither.
    assert oracle.write_events([order], NOW_MS).duplicates == 1
    assert oracle.members(Did(Events("order")), NOON) == {"cid"}


def test_the_newest_event_is_of_those_that_stand() -> None:
    oracle = made()
    oracle.write_events([Event("visit", "late", "ann", NOON + DAY), Retraction("visit", "late")], NOW_MS)
    assert oracle.newest_event is None
    oracle.write_events([Event("visit", "1", "ann", NOON + DAY), Event("visit", "2", "ann", NOON)], NOW_MS)
    oracle.write_events([Retraction("visit", "1")], NOW_MS)
    assert oracle.default_instant(NOW_MS) == NOON + DAY + MS


TOO_LARGE = Decimal(MAX_MINOR_UNITS + 1).scaleb(-2)


def download(**properties: object) -> Event:
    return Event("download", "x", "ann", NOON, properties)  # type: ignore[arg-type]


REFUSED: list[tuple[EventRow, str, str]] = [
    (Event("order", "x", "ann", NOON), "type", "INVALID_VALUE"),
    (Event("line", "x", "ann", NOON), "type", "INVALID_VALUE"),
    (Retraction("line", "x"), "type", "INVALID_VALUE"),
    (Event("shop", "x", "ann", NOON), "type", "UNKNOWN_EVENT_TYPE"),
    (Retraction("shop", "x"), "type", "UNKNOWN_EVENT_TYPE"),
    (Event("visit", "", "ann", NOON), "event_id", "INVALID_VALUE"),
    (Event("visit", "é" * 128, "ann", NOON), "event_id", "INVALID_VALUE"),
    (Retraction("visit", "x" * 256), "event_id", "INVALID_VALUE"),
    (Event("visit", "x", "", NOON), "contact_id", "INVALID_CONTACT_ID"),
    (Event("visit", "x", "ann", datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)), "time", "INVALID_VALUE"),
    (Event("visit", "x", "ann", NOON + DAY + MS), "time", "INVALID_VALUE"),
    (Event("visit", "x", "ann", datetime(2024, 1, 1)), "time", "INVALID_VALUE"),
    (Event("visit", "x", "ann", NOON + timedelta(microseconds=1)), "time", "INVALID_VALUE"),
    (Event("visit", "x", "ann", date(2024, 1, 1)), "time", "TYPE_MISMATCH"),  # type: ignore[arg-type]
    (Event("visit", "x", "ann", NOON, {"title": "a"}), "title", "UNKNOWN_PROPERTY"),
    (Event("in_app", "x", "ann", NOON, {"title": "a"}), "title", "UNKNOWN_PROPERTY"),
    (Event("visit", "x", "ann", NOON, {"paid": "yes"}), "paid", "TYPE_MISMATCH"),
    (Event("visit", "x", "ann", NOON, {"source": 1}), "source", "TYPE_MISMATCH"),
    (Event("visit", "x", "ann", NOON, {"source": "x" * 2049}), "source", "INVALID_VALUE"),
    (Event("visit", "x", "ann", NOON, {"dwell": Decimal("0.0001")}), "dwell", "INVALID_VALUE"),
    (download(pages=Decimal("0.5")), "pages", "INVALID_VALUE"),
    (download(pages=True), "pages", "TYPE_MISMATCH"),
    (download(price=Decimal("0.001")), "price", "INVALID_VALUE"),
    (download(price=TOO_LARGE), "price", "INVALID_VALUE"),
    (download(price=Decimal("NaN")), "price", "INVALID_VALUE"),
    (download(published="2024-01-01"), "published", "TYPE_MISMATCH"),
    (download(published=date(2024, 1, 1)), "published", "TYPE_MISMATCH"),
    (download(published=datetime(2024, 1, 1)), "published", "INVALID_VALUE"),
    (visit("a", 0), "revision", "INVALID_VALUE"),
    (visit("a", -1), "revision", "INVALID_VALUE"),
    (visit("a", MAX_REVISION + 1), "revision", "INVALID_VALUE"),
    (back(0), "revision", "INVALID_VALUE"),
    (Order("x", "ann", NOON, revision=0), "revision", "INVALID_VALUE"),
    (visit("a", True), "revision", "TYPE_MISMATCH"),
]


@pytest.mark.parametrize(("row", "field", "reason"), REFUSED)
def test_refused(row: EventRow, field: str, reason: str) -> None:
    oracle = made()
    result = oracle.write_events([visit("a"), row, visit("b")], NOW_MS)
    assert [(r.index, r.field, r.reason) for r in result.rejects] == [(1, field, reason)]
    assert (result.accepted, result.duplicates, result.created) == (1, 1, 1)
    assert set(oracle.held) == {("visit", "v")}


TAKEN: list[Event] = [
    Event("visit", "é" * 127, "ann", datetime(1970, 1, 1, tzinfo=UTC)),
    Event("visit", "x", "c" * 255, NOON + DAY, {"dwell": 3, "paid": None}),
    Event("download", "x", "ann", NOON, {"published": datetime(1950, 1, 1, tzinfo=UTC), "pages": Decimal("1.0")}),
    Event("download", "x", "ann", NOON, {"title": "", "price": TOO_LARGE - Decimal("0.01")}, MAX_REVISION),
]


@pytest.mark.parametrize("event", TAKEN)
def test_taken(event: Event) -> None:
    oracle = made()
    assert oracle.write_events([event], NOW_MS).accepted == 1
    wanted = {name: value for name, value in event.properties.items() if value is not None}
    assert oracle.kept(event.type)[event.event_id].event.properties == wanted


def test_strings_are_normal_and_ids_are_bytes() -> None:
    oracle = made()
    rows = [Event("visit", i, "ann", NOON - DAY, {"source": "cafe\u0301"}) for i in ("\u00e9", "e\u0301")]
    assert oracle.write_events(rows, NOW_MS).accepted == 2
    assert {kept.event.properties["source"] for kept in oracle.kept("visit").values()} == {"caf\u00e9"}


def test_what_writes_change() -> None:
    oracle = made()
    written = oracle_writes.write_events(oracle, [visit("a")], NOW_MS)
    events, created = ChangeKind.EVENTS, ChangeKind.CREATED
    assert oracle_writes.changes_of(oracle, written.steps) == {"ann": ({events, created}, {events, created})}
    written = oracle_writes.write_events(oracle, [visit("a")], NOW_MS)
    assert oracle_writes.changes_of(oracle, written.steps) == {"ann": (set(), {events})}
    written = oracle_writes.write_events(oracle, [visit("a", contact_id="bob")], NOW_MS)
    assert oracle_writes.changes_of(oracle, written.steps) == {
        "ann": ({events}, {events}),
        "bob": ({events, created}, {events, created}),
    }
    written = oracle_writes.write_events(oracle, [back()], NOW_MS)
    assert oracle_writes.changes_of(oracle, written.steps) == {"bob": ({events}, {events})}


# --- random rows -------------------------------------------------------------------------------------------

IDS = [f"c{n}" for n in range(25)]
TYPES = tuple(ALL_TYPES)


def lived(seed: int) -> tuple[Oracle, list[EventRow]]:
    oracle = Oracle(EVERY_TYPE, "Europe/Warsaw")
    oracle.declare_event_types(DECLARED)
    oracle.upsert([(contact_id, {"score": n % 4}) for n, contact_id in enumerate(IDS)])
    batches = random_event_rows(random.Random(seed), IDS, (150, 150, 150), at=NOON, types=TYPES, zone="Europe/Warsaw")
    for batch in batches:
        result = oracle.write_events(batch, NOW_MS)
        assert (result.rejects, result.accepted + result.duplicates) == ((), len(batch))
    return oracle, [row for batch in batches for row in batch]


def test_random_rows_have_what_matters() -> None:
    oracle, rows = lived(1)
    assert Counter(type(row) for row in rows).keys() == {Order, Event, Retraction}
    held = Counter((name, held.kept is None, held.revision > 0) for (name, _), held in oracle.held.items())
    for each in TYPES:
        if each.name != "line":
            assert held[each.name, False, False] > 3
            assert held[each.name, False, True] > 1
    assert sum(n for (_, retracted, _), n in held.items() if retracted) > 10
    seen: dict[tuple[str, str], EventRow] = {}
    again: Counter[str] = Counter()
    for row in rows:
        key = ("order", row.order_id) if isinstance(row, Order) else (row.type, row.event_id)
        old, seen[key] = seen.get(key), row
        if old is None:
            again["retracted first"] += isinstance(row, Retraction)
            continue
        again["greater"] += (row.revision or 0) > (old.revision or 0)
        again["equal"] += row.revision == old.revision
        again["smaller"] += (row.revision or 0) < (old.revision or 0)
        again["retracted"] += isinstance(row, Retraction)
        again["written after a retraction"] += isinstance(old, Retraction) and not isinstance(row, Retraction)
        if not isinstance(row, Retraction) and not isinstance(old, Retraction):
            again["moved"] += row.contact_id != old.contact_id
            again["other time"] += row.time != old.time
            again["the same"] += row == old
    assert min(again.values()) >= 3, again
    assert len(again) == 9
    times = [kept.event.time for held in oracle.held.values() if (kept := held.kept) is not None]
    assert any(time >= NOW_MS for time in times)
    assert any(time < NOW_MS - 365 * 86_400_000 for time in times)
    kept = [kept for name in ("download", "activity") for kept in oracle.kept(name).values()]
    for name in ("title", "free", "published", "pages", "rating", "price", "due", "done"):
        assert any(name in each.event.properties for each in kept), name


def test_bad_rows_are_bad() -> None:
    generator = EventRowGenerator(SeededChooser(random.Random(5)), IDS, NOON, types=TYPES)
    fields = set()
    for _ in range(300):
        row = generator.bad_row()
        (reject,) = made().write_events([row], NOW_MS).rejects
        fields.add(reject.field)
    assert {"type", "event_id", "contact_id", "time", "revision", "no_such_property", "published", "free"} <= fields


def test_random_questions_say_something() -> None:
    oracle, _ = lived(2)
    rng = random.Random(3)
    asked: list[Expression] = [random_event_expression(rng, EVERY_TYPE, types=TYPES, max_leaves=1) for _ in range(300)]
    sizes = [oracle.count(expression, NOON) for expression in asked]
    assert sum(0 < size < len(IDS) for size in sizes) > 90


def test_seeds_repeat() -> None:
    one, two = (random_event_rows(random.Random(6), IDS, (40,), at=NOON, types=TYPES, bad_rows=True) for _ in range(2))
    assert repr(one) == repr(two)  # NaN is not equal to itself
