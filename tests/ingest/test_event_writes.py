"""Events written through the log, one batch or several a commit: what is held of them, what is answered, and that
merging and opening anew change nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest import writer
from segidx.model.errors import InvalidArgument, InvalidSchema, ReadOnly, SchemaConflict, StorageFull, UnknownEventType
from segidx.model.events import ORDER, Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ChangeKind, ContactWrite
from segidx.store.environment import WriteTransaction
from segidx.testing.places import quick_directory

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
STEP = EventType(
    "step",
    (
        EventProperty("name", FieldType.CATEGORY),
        EventProperty("points", FieldType.NUMBER, 1),
        EventProperty("due", FieldType.TIMESTAMP),
    ),
)
CLOCK = int(NOON.timestamp() * 1000)


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "d"


def opened(place: Path, **options) -> Database:
    return Database.open(place, create=True, clock=lambda: CLOCK, **options)


@pytest.fixture
def account(place: Path) -> Iterator[Account]:
    with opened(place) as database:
        database.account().declare_event_types([STEP])
        yield database.account()


@contextmanager
def held_up(account: Account) -> Iterator[None]:
    """What is submitted within waits, and is then one group behind a first, empty commit."""
    queue = account._writer._queue
    with account._store.write():
        account.submit([ContactWrite("first")])
        while queue:
            time.sleep(0.001)
        yield


def visit(event_id="v", contact_id="anna", when=NOON, revision=None, **properties):
    return Event("visit", event_id, contact_id, when, properties, revision)


def who(account: Account, text: str) -> set[str]:
    return {contact.contact_id for contact in account.preview(text, limit=1000).contacts}


def kinds(account: Account, after: int) -> list[dict[str, set[ChangeKind]]]:
    return [{change.contact_id: set(change.kinds) for change in part.contacts} for part in account.changes(after)]


def sound(account: Account) -> None:
    assert list(account.verify()) == []


# --- single ways ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["unmerged", "merged"])
def settle(request, account: Account):
    """What is done between one write and the next."""
    return account.merge if request.param == "merged" else lambda: None


def test_written_and_replaced(account: Account, settle) -> None:
    result = account.write_events([visit(source="ads"), Order("o", "bert", NOON, lines=[OrderLine("tea", amount=5)])])
    assert (result.generation, result.accepted, result.created, result.duplicates, result.rejects) == (1, 0, 2, 0, ())
    assert (result.events_accepted, result.events_duplicates, result.event_rejects) == (2, 0, ())
    settle()
    assert who(account, 'did(visit where source = "ads")') == {"anna"}
    assert who(account, "sum(line.amount) = 5") == {"bert"}
    result = account.write_events([visit(source="email"), Order("o", "bert", NOON, lines=[OrderLine("mug", amount=7)])])
    assert (result.created, result.events_accepted, result.events_duplicates) == (0, 2, 0)
    settle()
    assert who(account, 'did(visit where source = "ads")') == set()
    assert who(account, 'count(visit where source = "email") = 1') == {"anna"}
    assert who(account, "sum(line.amount) = 7") == {"bert"}
    assert who(account, 'did(line where product = "tea")') == set()
    sound(account)


def test_contact_and_time_may_move(account: Account, settle) -> None:
    account.write_events([visit(), Order("o", "anna", NOON, lines=[OrderLine("tea")])])
    settle()
    past = NOON - timedelta(days=40)
    before = account.generation()
    account.write_events([visit(contact_id="bert", when=past), Order("o", "bert", past, lines=[OrderLine("tea")])])
    settle()
    assert who(account, "did(visit) or did(order) or did(line)") == {"bert"}
    assert who(account, "did(visit during last 7 days) or did(line during last 7 days)") == set()
    (changed,) = kinds(account, before)
    assert changed == {"anna": {ChangeKind.EVENTS}, "bert": {ChangeKind.EVENTS, ChangeKind.CREATED}}
    sound(account)


def test_an_order_may_lose_its_lines_and_get_others(account: Account, settle) -> None:
    account.write_events([Order("o", "anna", NOON, lines=[OrderLine("tea"), OrderLine("mug")])])
    settle()
    account.write_events([Order("o", "anna", NOON)])
    settle()
    assert (account.count("did(line)").count, account.count("did(order)").count) == (0, 1)
    account.write_events([Order("o", "anna", NOON, lines=[OrderLine("jug")])])
    settle()
    assert account.count("did(line)").count == account.count('count(line where product = "jug") = 1').count == 1
    sound(account)


def test_retracted_and_brought_back(account: Account, settle) -> None:
    account.write_events([visit(), Order("o", "anna", NOON, lines=[OrderLine("tea")])])
    settle()
    before = account.generation()
    result = account.write_events([Retraction("visit", "v"), Retraction("order", "o")])
    assert (result.events_accepted, result.created) == (2, 0)
    assert kinds(account, before) == [{"anna": {ChangeKind.EVENTS}}]
    settle()
    assert account.count("did(visit) or did(order) or did(line)").count == 0
    for row in (visit(), Retraction("visit", "v"), Order("o", "anna", NOON)):  # nothing of the same revision
        generation = account.generation()
        result = account.write_events([row])
        assert (result.generation, result.events_accepted, result.events_duplicates) == (generation, 0, 1)
    assert account.count("did(visit) or did(order)").count == 0
    account.write_events([visit(contact_id="bert", revision=1), Order("o", "bert", NOON, revision=2)])
    settle()
    assert who(account, "did(visit)") == who(account, "did(order)") == {"bert"}
    assert account.count("did(line)").count == 0
    sound(account)


def test_a_retraction_may_come_first(account: Account, settle) -> None:
    before = account.generation()
    result = account.write_events([Retraction("visit", "v"), Retraction("order", "o", 5)])
    assert (result.generation, result.events_accepted, result.created) == (before + 1, 2, 0)
    assert kinds(account, before) == [{}]
    settle()
    result = account.write_events([visit(), Order("o", "bert", NOON, revision=5), Order("o", "bert", NOON)])
    assert (result.generation, result.events_accepted, result.events_duplicates) == (before + 1, 0, 3)
    assert account.count("everyone").count == 0  # nor are contacts created for what took no effect
    account.write_events([visit(revision=1), Order("o", "bert", NOON, revision=6)])
    settle()
    assert account.count("did(visit) or did(order)").count == 2
    sound(account)


def test_the_greatest_revision_stands(account: Account, settle) -> None:
    account.write_events([visit(revision=5, source="ads")])
    settle()
    for revision in (None, 1, 4):
        assert account.write_events([visit(revision=revision, contact_id="new")]).events_duplicates == 1
    assert account.write_events([Retraction("visit", "v", 4)]).events_duplicates == 1
    settle()
    assert who(account, 'did(visit where source = "ads")') == who(account, "everyone") == {"anna"}
    assert account.write_events([visit(revision=5, source="email")]).events_accepted == 1  # the last of one revision
    settle()
    assert who(account, 'count(visit where source = "email") = 1') == {"anna"}
    account.write_events([visit(revision=(1 << 61) - 1, source="shop")])
    settle()
    assert who(account, 'count(visit where source = "shop") = 1') == {"anna"}
    account.write_events([Retraction("visit", "v", (1 << 61) - 1)])
    settle()
    assert account.count("did(visit)").count == 0
    sound(account)


def test_one_id_twice_in_a_batch(account: Account, settle) -> None:
    result = account.write_events(
        [
            visit(contact_id="first", source="ads"),
            visit(contact_id="second", source="email"),
            visit("w", "third", revision=2),
            visit("w", "fourth", revision=1),
            visit("x"),
            Retraction("visit", "x"),
        ]
    )
    assert (result.events_accepted, result.events_duplicates, result.created) == (3, 3, 4)
    settle()
    assert who(account, "did(visit)") == {"second", "third"}
    assert who(account, "everyone") == {"first", "second", "third", "anna"}
    # What comes of a batch depends on what is held: revision 1 takes no effect where 2 is.
    result = account.write_events([visit("w", "fifth", revision=1), visit("w", "sixth", revision=3)])
    assert (result.events_accepted, result.events_duplicates, result.created) == (1, 1, 1)
    settle()
    assert who(account, "did(visit)") == {"second", "sixth"}
    sound(account)


# --- groups --------------------------------------------------------------------------------------------------


def test_one_id_in_two_batches_of_one_commit(account: Account) -> None:
    with held_up(account):
        futures = [
            account.submit(events=[visit(contact_id="a", source="ads"), Order("o", "a", NOON, lines=[OrderLine()])]),
            account.submit(events=[visit(contact_id="b", source="email", when=NOON - timedelta(days=60))]),
            account.submit(events=[Order("o", "b", NOON), Retraction("visit", "w", 2)]),
            account.submit(events=[visit("w", "c", revision=2), visit("w", "d", revision=1)]),
            account.submit(events=[visit("x", "a", revision=9), visit("y", "d")]),
            account.submit(events=[visit("x", "e", revision=8), visit("x", "f", revision=10)]),
        ]
    found = [future.result(20) for future in futures]
    assert {result.generation for result in found[:3]} == {2}
    assert [result.events_accepted for result in found] == [2, 1, 2, 0, 2, 1]
    assert [result.events_duplicates for result in found] == [0, 0, 0, 2, 0, 1]
    assert [result.created for result in found] == [1, 1, 0, 0, 1, 1]
    assert account.generation() == 2
    for _ in range(2):
        assert who(account, "everyone") == {"first", "a", "b", "d", "f"}
        assert who(account, "did(visit)") == {"b", "d", "f"}
        assert who(account, 'count(visit where source = "email") = 1') == {"b"}
        assert who(account, "did(order)") == {"b"}
        assert who(account, "did(line)") == set()
        sound(account)
        account.merge()


def test_contacts_and_events_of_a_batch_are_one_commit(account: Account) -> None:
    account.update_schema([Field("city", FieldType.CATEGORY)])
    with held_up(account):
        first = account.submit([ContactWrite("anna", {"city": "Oslo"})], events=[visit(), visit("w", "bert")])
        second = account.submit(
            [ContactWrite("bert", {"city": "Rome"}, must_exist=True)], events=[Retraction("visit", "v")]
        )
        third = account.submit(
            [ContactWrite("dora", must_exist=True), ContactWrite("bert", {"town": 1})],
            events=[visit("", "x"), Event("step", "s", "bert", NOON)],
        )
    results = [future.result(20) for future in (first, second, third)]
    assert [(r.accepted, r.created, r.events_accepted) for r in results] == [(1, 2, 2), (1, 0, 1), (0, 0, 1)]
    assert {r.generation for r in results} == {2}
    assert [(r.index, r.reason) for r in results[2].rejects] == [(0, "CONTACT_NOT_FOUND"), (1, "UNKNOWN_FIELD")]
    assert [(r.index, r.contact_id, r.field) for r in results[2].event_rejects] == [(0, "x", "event_id")]
    assert who(account, 'did(visit) and city = "Rome" and did(step)') == {"bert"}
    (changed,) = kinds(account, 1)
    assert changed["anna"] == {ChangeKind.CREATED, ChangeKind.FIELDS, ChangeKind.EVENTS}
    sound(account)


def test_a_key_gets_its_first_answer_again(account: Account) -> None:
    rows = [visit(), visit(""), Order("o", "bert", NOON), Retraction("visit", "w")]
    first = account.write_events(rows, batch_key="k")
    assert (first.events_accepted, len(first.event_rejects), first.created) == (3, 1, 2)
    account.write_events([Retraction("order", "o")])
    again = account.write_events(rows, batch_key="k")
    assert again.replayed
    assert (again.generation, again.created, again.events_accepted) == (first.generation, 2, 3)
    assert again.event_rejects == first.event_rejects
    assert account.count("did(order)").count == 0
    empty = account.write_events([], batch_key="empty")
    assert (empty.replayed, account.write_events([visit("z")], batch_key="empty").replayed) == (False, True)


def test_a_batch_that_fails_leaves_nothing_of_it(account: Account, place: Path) -> None:
    from segidx.ingest.event_rows import events_from_rows
    from segidx.model.events import EventTypes

    strange = EventTypes().extended([EventType("strange")])
    unknown = events_from_rows([Event("strange", "s", "x", NOON)], strange, account.info, CLOCK)
    with held_up(account):
        good = account.submit(events=[visit(source="ads")])
        bad = account.submit_batches([*events_from_rows([visit("u", "y")], strange, account.info, CLOCK), *unknown])
        other = account.submit(events=[visit("w", "bert")])
    assert [future.result(20).events_accepted for future in (good, other)] == [1, 1]
    with pytest.raises(UnknownEventType, match="strange"):
        bad.result(20)
    with pytest.raises(UnknownEventType, match="strange"):
        account.apply_events(unknown[0])
    assert who(account, "everyone") == {"first", "anna", "bert"}
    account.write_events([visit("u", "dora")])
    for _ in range(2):
        assert who(account, "did(visit)") == {"anna", "bert", "dora"}
        sound(account)
        account.merge()


def test_a_commit_that_fails_leaves_nothing(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.write_events([visit(source="ads")])
    before = account.generation()

    def full(self: WriteTransaction, *_: object) -> None:
        raise StorageFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(WriteTransaction, "save_state", full)
        with pytest.raises(StorageFull):
            account.write_events([visit(contact_id="bert"), visit("w", "dora", NOON + timedelta(hours=9))])
    assert account.generation() == before
    with account._store.snapshot() as snapshot:
        assert snapshot.newest_event == CLOCK
    account.write_events([visit("u", "emil", source="email")])
    for _ in range(2):
        assert who(account, "did(visit)") == {"anna", "emil"}
        assert who(account, "everyone") == {"anna", "emil"}
        sound(account)
        account.merge()


def test_groups_are_bounded_by_events_and_lines(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GROUP_CONTACTS", 10)
    orders = [Order(f"o{n}", "anna", NOON, lines=[OrderLine()] * 4) for n in range(6)]
    with held_up(account):
        futures = [account.submit(events=[order]) for order in orders]
    assert sorted(future.result(20).generation for future in futures) == [2, 2, 3, 3, 4, 4]


def test_batches_of_many_rows_go_through_the_log_as_one(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BULK_CONTACTS", 10)
    rows = [visit(f"v{n}", f"c{n % 7}") for n in range(50)] + [Retraction("visit", f"v{n}") for n in range(0, 50, 2)]
    result = account.write([ContactWrite(f"c{n}") for n in range(20)], events=rows)
    assert (result.generation, result.accepted, result.created, result.events_accepted) == (1, 20, 20, 50)
    assert account.count("count(visit) >= 3").count == 7
    sound(account)


# --- time, types, reading ------------------------------------------------------------------------------------


def test_events_ahead_of_the_clock_are_seen(account: Account) -> None:
    ahead = NOON + timedelta(hours=24)
    account.write_events([visit(when=ahead), visit("w", "bert")])
    assert who(account, "did(visit)") == {"anna", "bert"}
    account.write_events([Retraction("visit", "v")])
    with account._store.snapshot() as snapshot:  # it has been accepted all the same
        assert snapshot.newest_event == CLOCK + 24 * 3_600_000
    (reject,) = account.write_events([visit(when=ahead + timedelta(milliseconds=1))]).event_rejects
    assert reject.field == "time"


def test_types_are_declared_once_and_kept(place: Path) -> None:
    with opened(place) as database:
        account = database.account()
        before = account.generation()
        (reject,) = account.write_events([Event("step", "s", "anna", NOON)]).event_rejects
        assert reject.reason == "UNKNOWN_EVENT_TYPE"
        types = account.declare_event_types([STEP])
        assert types["step"].properties == STEP.properties
        assert types["step"].number >= 16
        assert account.declare_event_types([STEP, ORDER]) == types
        with pytest.raises(SchemaConflict):
            account.declare_event_types([EventType("step")])
        with pytest.raises(InvalidSchema):
            account.declare_event_types([EventType("other"), EventType("Bad name")])
        assert "other" not in account.event_types
        assert account.generation() == before
        account.write_events([Event("step", "s", "anna", NOON, {"name": "x", "points": 3, "due": NOON})])
    with Database.open(place, read_only=True, clock=lambda: CLOCK) as database:
        account = database.account()
        assert account.event_types == types
        assert who(account, 'did(step where name = "x" and points = 3)') == {"anna"}
        sound(account)
        for write in (
            lambda: account.declare_event_types([STEP]),
            lambda: account.write_events([visit()]),
            lambda: account.import_events("step", "x.csv"),
        ):
            with pytest.raises(ReadOnly):
                write()


def test_bulk_honours_what_is_held(account: Account, tmp_path: Path) -> None:
    account.write_events([visit("a", "anna", revision=3, source="ads"), visit("b", "bert"), Retraction("visit", "c")])
    account.write_events([Retraction("visit", "e", 2)])
    path = tmp_path / "visits.csv"
    path.write_text(
        "event_id,contact_id,time,revision,source\n"
        "a,x,2026-06-30T10:00:00Z,2,shop\n"
        "b,dora,2026-06-30T10:00:00Z,,shop\n"
        "c,y,2026-06-30T10:00:00Z,,shop\n"
        "d,emil,2026-06-30T10:00:00Z,7,shop\n"
        "e,emil,2026-06-30T10:00:00Z,3,inn\n"
    )
    for _ in range(2):
        report = account.import_events("visit", path)
        assert (report.rows, report.events, report.unchanged, report.rejected) == (5, 3, 2, 0)
        assert who(account, 'did(visit where source = "shop")') == {"dora", "emil"}
        assert who(account, 'count(visit where source = "inn") = 1') == {"emil"}
        assert who(account, "everyone") == {"anna", "bert", "dora", "emil"}
        assert who(account, "did(visit)") == {"anna", "dora", "emil"}
        sound(account)
    assert account.write_events([visit("d", "z", revision=6)]).events_duplicates == 1
    account.write_events([visit("d", "emil", revision=7), Retraction("order", "o", 4)])
    assert who(account, 'did(visit where source = "shop")') == {"dora"}
    result = account.import_orders([Order("o", "z", NOON, revision=4), Order("p", "anna", NOON, revision=1)])
    assert (result.accepted, result.duplicates, result.created) == (1, 1, 0)
    assert who(account, "did(order)") == {"anna"}
    sound(account)


def test_bulk_takes_no_orders_from_a_file_of_events(account: Account, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="import_orders"):
        account.import_events("order", tmp_path / "x.csv")
