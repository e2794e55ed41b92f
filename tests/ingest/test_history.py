"""What the writer keeps of tracked fields: one event a real change, in its commit, and nothing of anything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest import group, history, merger, writer
from segidx.ingest.history import TagChanges
from segidx.ingest.import_contacts import import_contacts
from segidx.ingest.mapping import Overrides, parse_options
from segidx.kernels.events import CONTACT, TIME
from segidx.model.errors import InvalidSchema, SchemaConflict, StorageFull
from segidx.model.events import CHANGE, TAGGING, Event, EventType, Retraction
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ContactWrite
from segidx.store.event_blocks import FIRST_PROPERTY
from segidx.testing.places import quick_directory

STAGE = Field("stage", FieldType.CATEGORY, tracked=True)
FIELDS = (
    STAGE,
    Field("agreed", FieldType.BOOL, tracked=True),
    Field("tags", FieldType.TAGS, tracked=True),
    Field("interests", FieldType.TAGS, tracked=True),
    Field("city", FieldType.CATEGORY),
    Field("score", FieldType.NUMBER),
)


@dataclass
class Clock:
    now: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    with quick_directory() as directory, Database.open(directory / "d", create=True, clock=clock) as database:
        account = database.account()
        account.update_schema(FIELDS)
        yield account


def kept(account: Account, type: EventType) -> list[tuple[object, ...]]:
    """Contact, time less that of the first clock, properties of each row, by time and contact."""
    assert list(account.verify()) == []
    rows = []
    with account._store.snapshot() as snapshot:
        blocks = [
            [(values + (number << 14) * (at == CONTACT), there) for at, (values, there) in enumerate(block.decode())]
            for number in snapshot.event_ranges(type)
            for block in snapshot.event_blocks(type, number, 0, 65_535)
        ]
        layers = snapshot.event_layers(type)
        merged = snapshot.events_merged
        assert merged is None
        for cells in [*blocks, *(layer.decode() for layer in layers)]:
            for row in range(len(cells[TIME][0])):
                properties: list[object] = []
                for index, each in enumerate(type.properties):
                    values, present = cells[FIRST_PROPERTY + index]
                    value = int(values[row])
                    if each.type is FieldType.CATEGORY and present[row]:
                        properties.append(snapshot.event_dictionary(type, index).get_one(value))
                    else:
                        properties.append(bool(value) if present[row] else None)
                name = snapshot.ids.get_one(int(cells[CONTACT][0][row]))
                rows.append((int(cells[TIME][0][row]) - 1_700_000_000_000, name, *properties))
    return sorted(rows, key=str)


def test_each_real_change_is_kept_once(account: Account, clock: Clock) -> None:
    account.write([ContactWrite("a", {"stage": "lead", "agreed": False, "city": "x", "score": 1}), ContactWrite("b")])
    clock.now += 10
    account.write(
        [ContactWrite("a", {"stage": "lead", "agreed": True, "city": "y"}), ContactWrite("b", {"stage": "x"})]
    )
    clock.now += 10
    account.write([ContactWrite("a", {"stage": None}), ContactWrite("b", {"stage": None, "agreed": None})])
    clock.now += 10
    account.write([ContactWrite("b", {"stage": None}), ContactWrite("a", {"city": "z", "score": 2})])
    wanted = [
        (0, "a", "agreed", "false"),
        (0, "a", "stage", "lead"),
        (10, "a", "agreed", "true"),
        (10, "b", "stage", "x"),
        (20, "a", "stage", None),
        (20, "b", "stage", None),
    ]
    for _ in range(2):
        assert kept(account, CHANGE) == wanted
        assert kept(account, TAGGING) == []
        account.merge()


def test_tags_are_kept_where_they_differ(account: Account, clock: Clock) -> None:
    account.upsert([("a", {"tags": {"x", "y"}, "interests": {"x"}}), ("b", {})])
    clock.now += 10
    account.upsert([("a", {"tags": {"y", "z"}}), ("b", {"tags": {"y"}})])
    clock.now += 10
    account.tag(["a", "b", "nobody"], add=["y"], remove=["z", "never held"])
    clock.now += 10
    account.tag(["a", "b"], replace=["y"])
    clock.now += 10
    account.write([ContactWrite("a", tags_removed={"tags": ["y"], "interests": ["q"]})])
    clock.now += 10
    account.write([ContactWrite("a", tags_added={"tags": ["y"]}), ContactWrite("b", {"tags": []})])
    wanted = [
        (0, "a", "interests", "x", True),
        (0, "a", "tags", "x", True),
        (0, "a", "tags", "y", True),
        (10, "a", "tags", "x", False),
        (10, "a", "tags", "z", True),
        (10, "b", "tags", "y", True),
        (20, "a", "tags", "z", False),
        (40, "a", "tags", "y", False),
        (50, "a", "tags", "y", True),
        (50, "b", "tags", "y", False),
    ]
    for _ in range(2):
        assert kept(account, TAGGING) == wanted
        account.merge()


def test_a_request_is_one_change(account: Account, clock: Clock) -> None:
    """Also where its rows cannot be joined, so that it becomes several batches."""
    account.write([ContactWrite("a", {"stage": "lead"}, {"tags": ["held", "old"]})])
    clock.now += 10
    account.write(
        [
            ContactWrite(
                "a", {"stage": "mql", "agreed": True}, tags_removed={"tags": ["held", "old"]}, must_exist=True
            ),
            ContactWrite("a", {"stage": "sql"}, {"tags": ["held", "new"]}, must_exist=True),
            ContactWrite(
                "a", {"stage": "lead", "agreed": None}, {"tags": ["late"]}, {"tags": ["new"]}, must_exist=True
            ),
            ContactWrite("a", {"stage": "lead"}),
        ]
    )
    assert kept(account, CHANGE) == [(0, "a", "stage", "lead")]
    assert kept(account, TAGGING) == [
        (0, "a", "tags", "held", True),
        (0, "a", "tags", "old", True),
        (10, "a", "tags", "late", True),
        (10, "a", "tags", "old", False),
    ]


def test_requests_of_one_commit_are_changes_of_their_own(account: Account, clock: Clock) -> None:
    with account._store.write():  # so that all wait
        futures = [account.submit([ContactWrite("first")])]
        futures += [account.submit([ContactWrite("a", {"stage": stage})]) for stage in ("lead", "mql", "mql", "lead")]
        futures += [account.submit([ContactWrite(name, {"stage": "lead"})]) for name in ("b", "c")]
    generations = {future.result(20).generation for future in futures}
    assert len(generations) <= 2
    *rows, (last, *_), _, _ = kept(account, CHANGE)
    assert [(name, value) for _, name, _, value in rows] == [("a", "lead"), ("a", "mql")]
    times = [time for time, *_ in rows]
    assert times == sorted(set(times))
    assert account.count('stage became "mql"').count == 1
    assert last >= times[-1]


def test_times_go_on_where_the_clock_goes_back(account: Account, clock: Clock) -> None:
    account.tag(["a"], add=["x"])
    account.upsert([("a", {})])
    clock.now += 1000
    account.tag(["a"], add=["x"])
    clock.now -= 1000
    account.tag(["a"], remove=["x"])
    assert account.count('tagged "x"').count == 0
    account.tag(["a"], add=["x"])
    account.merge()
    account.tag(["a"], remove=["x"])
    assert account.count('tagged "x"').count == 0
    assert [(time, added) for time, *_, added in kept(account, TAGGING)] == [
        (1000, True),
        (1001, False),
        (1002, True),
        (1003, False),
    ]
    clock.now += 5000
    account.tag(["a"], add=["x"])
    assert kept(account, TAGGING)[-1][0] == 5000


def test_a_large_batch_is_kept_in_the_base(account: Account, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BULK_CONTACTS", 40)
    monkeypatch.setattr(history, "LAYER_ROWS", 17)
    account.upsert([(f"c{i}", {"stage": "lead", "tags": {"x"}}) for i in range(30)])
    clock.now += 40 * 86_400_000
    account.upsert([(f"c{i}", {"stage": "mql" if i % 2 else "lead", "tags": {"x", "y"}}) for i in range(50)])
    assert account.stats().log_records == 0
    assert account.count('stage became "lead"').count == 40
    assert account.count('stage became "lead" during last 1 day').count == 10
    assert account.count('stage became "mql" during last 1 day').count == 25
    assert account.count('tagged "x" during last 1 day').count == 20
    assert account.count('tagged "y" during last 1 day').count == 50
    assert len(kept(account, TAGGING)) == 30 + 20 + 50
    assert len(kept(account, CHANGE)) == 30 + 15 + 20


def test_history_begins_when_a_field_is_tracked(account: Account, clock: Clock) -> None:
    account.write([ContactWrite("a", {"city": "x"})])
    assert account.update_schema([Field("city", FieldType.CATEGORY, tracked=True)])["city"].tracked
    account.write([ContactWrite("a", {"city": "x"}), ContactWrite("b", {"city": "x"})])
    assert kept(account, CHANGE) == [(0, "b", "city", "x")]
    schema = account.update_schema([Field("city", FieldType.CATEGORY), replace(STAGE, tracked=False)])
    assert schema["city"].tracked
    assert schema["stage"].tracked
    with pytest.raises(SchemaConflict):
        account.update_schema([Field("city", FieldType.TEXT)])
    with pytest.raises(InvalidSchema, match="cannot be tracked"):
        account.update_schema([Field("score", FieldType.NUMBER, tracked=True)])


def test_nothing_is_kept_where_nothing_is_tracked() -> None:
    with quick_directory() as directory, Database.open(directory / "d", create=True) as database:
        account = database.account()
        account.update_schema([replace(field, tracked=False) for field in FIELDS])
        account.write([ContactWrite("a", {"stage": "lead", "agreed": True}, {"tags": ["x"]})])
        account.merge()
        assert kept(account, CHANGE) == kept(account, TAGGING) == []
        with account._store.snapshot() as snapshot:
            assert snapshot.newest_change is None
            assert snapshot.newest_event is None


def test_batches_that_fail_leave_nothing(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    original = group.changes_of
    failing = {"on"}

    def changes_of(batch: object, pending: object) -> object:
        found = original(batch, pending)
        if failing and "bad" in batch.ids.to_pylist():
            assert found.history
            raise StorageFull("no room")
        return found

    monkeypatch.setattr(group, "changes_of", changes_of)
    with account._store.write():
        account.submit([ContactWrite("first")])
        bad = account.submit([ContactWrite("bad", {"stage": "mql"})])
        good = account.submit([ContactWrite("good", {"stage": "lead"})])
    with pytest.raises(StorageFull):
        bad.result(20)
    assert good.result(20).created == 1
    assert [row[1:] for row in kept(account, CHANGE)] == [("good", "stage", "lead")]
    failing.clear()
    account.write([ContactWrite("bad", {"stage": "mql"})])
    assert len(kept(account, CHANGE)) == 2


@pytest.mark.parametrize("type", ["change", "tagging"])
def test_nobody_else_writes_history(account: Account, type: str) -> None:
    rows = [Event(type, "1", "a", datetime(2020, 1, 1, tzinfo=UTC)), Retraction(type, "1")]
    result = account.write_events(rows)
    assert [(r.index, r.field, r.reason) for r in result.event_rejects] == [
        (0, "type", "UNKNOWN_EVENT_TYPE"),
        (1, "type", "UNKNOWN_EVENT_TYPE"),
    ]
    with pytest.raises(InvalidSchema, match="no word of the text syntax"):
        account.declare_event_types([EventType(type)])
    assert type not in account.event_types


def test_an_event_that_makes_a_contact_changes_no_field(account: Account) -> None:
    account.write(
        [ContactWrite("a", {"stage": "lead"})],
        events=[Event("visit", "1", "b", datetime(2020, 1, 1, tzinfo=UTC))],
    )
    assert [row[1:] for row in kept(account, CHANGE)] == [("a", "stage", "lead")]


def test_a_file_may_say_that_a_field_is_tracked(account: Account, tmp_path: Path) -> None:
    path = tmp_path / "contacts.csv"
    path.write_text("id,city,plan\na,x,free\nb,y,paid\n", encoding="utf-8")
    overrides = Overrides(types=parse_options(["city=category tracked", "plan=category tracked"]))
    report = import_contacts(account, path, id_column="id", overrides=overrides)
    assert all(field.tracked for field in report.fields)
    path.write_text("id,city,plan\na,x,paid\nb,y,paid\n", encoding="utf-8")
    import_contacts(account, path, id_column="id")
    assert [row[1:] for row in kept(account, CHANGE)] == [
        ("a", "city", "x"),
        ("a", "plan", "free"),
        ("b", "city", "y"),
        ("b", "plan", "paid"),
        ("a", "plan", "paid"),
    ]


def test_pairs_are_kept_once() -> None:
    """Of changes that come one behind another: nothing of what is undone."""
    import numpy as np

    field = FIELDS[2]

    def part(*pairs: tuple[int, int, bool]) -> list[TagChanges]:
        codes, ordinals, added = (list(each) for each in zip(*pairs, strict=True))
        return [TagChanges(field, np.array(codes), np.array(ordinals, np.uint32), np.array(added))]

    first, second, third = part((1, 1, True), (2, 1, False)), part((2, 1, True), (3, 9, True)), part((3, 9, False))
    (net,) = history._net([*first, *second, *third, *part((3, 9, True))])
    assert isinstance(net, TagChanges)
    found = zip(net.codes.tolist(), net.ordinals.tolist(), net.added.tolist(), strict=True)
    assert list(found) == [(1, 1, True), (3, 9, True)]
