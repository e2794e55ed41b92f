"""Pruning: what is refused afterwards and by which words, what an account is told, and what cannot be pruned. (That it
answers as if it had all events is in tests/equivalence/test_pruned.py.)"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest.event_rows import events_from_rows
from segidx.ingest.prune import record_horizons
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, InvalidArgument, PrunedHistory, ReadOnly, TooManyRejects, UnknownEventType
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.results import Horizon, PrunedType
from segidx.model.schema import AccountInfo, FieldType
from segidx.model.source_settings import SourceSettings
from segidx.model.windows import to_millis
from segidx.store.columns import stored_chunks
from segidx.store.layout import DB_COLUMNS, balance_column

NOW = datetime(2025, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HORIZON = datetime(2025, 3, 10, tzinfo=UTC)


def on(month: int, day: int, year: int = 2025) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(NOW)) as database:
        yield database


@pytest.fixture
def account(database: Database) -> Account:
    """Orders of January, March and May, two visits, and a message."""
    account = database.account()
    account.write_events(
        [
            Order("o1", "anna", on(1, 5), amount=Decimal(10), lines=[OrderLine("p"), OrderLine("q")]),
            Order("o2", "anna", on(3, 9), amount=Decimal(20)),
            Order("o3", "anna", on(3, 11), amount=Decimal(40), lines=[OrderLine("p")]),
            Order("o4", "bert", on(5, 1), amount=Decimal(80)),
            Event("visit", "v1", "bert", on(1, 2)),
            Event("visit", "v2", "bert", on(4, 2)),
            Event("message", "m1", "cora", on(1, 2), {"kind": "clicked"}),
        ]
    )
    return account


def counts(account: Account, *texts: str) -> list[int]:
    return [account.count(text).count for text in texts]


def refusal(account: Account, text: str) -> PrunedHistory:
    with pytest.raises(PrunedHistory) as caught:
        account.count(text)
    return caught.value


def test_what_is_dropped_is_told(account: Account) -> None:
    would = account.prune(HORIZON, dry_run=True)
    assert account.horizons == {}
    assert counts(account, "did(order from 2025-01-01 to 2025-02-01)") == [1]
    done = account.prune(HORIZON)
    assert would == done
    assert {each.type: (each.events, each.lines, each.ended) for each in done} == {
        "order": (2, 2, ()),
        "visit": (1, 0, ()),
        "message": (1, 0, ()),
        "cart": (0, 0, ()),
        "activity": (0, 0, ()),
    }
    assert {each.horizon for each in done} == {HORIZON}
    orders = ("last(order).time", "sum(order.amount)", "first(order).time", "count(order)")
    assert account.horizons["order"] == Horizon("order", HORIZON, account.horizons["order"].balances)
    assert set(account.horizons["order"].balances) == set(orders)
    assert account.horizons["message"].balances == ('last(message where kind = "clicked").time',)
    assert account.stats().horizons == tuple(account.horizons.values())
    assert all(each.events == 0 for each in account.prune(HORIZON))
    with account._store.snapshot() as snapshot:  # whole months are gone, and that of the horizon has what is behind it
        months = snapshot.event_months(snapshot.catalog.event_types["order"], 0, 10_000)
        assert [month.rows for month in months] == [1, 1]


def test_a_horizon_only_moves_forward(account: Account) -> None:
    account.prune(on(2, 1), ["order"])
    assert account.prune(on(1, 1)) == [
        PrunedType("order", on(2, 1), 0),
        *(PrunedType(name, on(1, 1), 0) for name in ("visit", "message", "cart", "activity")),
    ]
    assert account.horizons["order"].time == on(2, 1)
    assert account.prune(on(4, 1), ["order"])[0].events == 2
    assert counts(account, "sum(order.amount) = 70", "count(order) = 3", "count(order) = 1") == [1, 1, 1]


def test_a_date_begins_at_local_midnight(database: Database) -> None:
    account = database.create_account(AccountInfo("shop", "Europe/Warsaw"))
    assert account.prune(date(2025, 3, 10), ["order"])[0].horizon == datetime(2025, 3, 9, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "types", "error"),
    [
        (NOW + DAY, (), InvalidArgument),
        (on(1, 1, 1970), (), InvalidArgument),
        (datetime(2025, 1, 1), (), InvalidArgument),
        (datetime(2025, 1, 1, microsecond=1, tzinfo=UTC), (), InvalidArgument),
        ("2025-01-01", (), InvalidArgument),
        (on(1, 1), ("order", "line"), InvalidArgument),
        (on(1, 1), ("ordr",), UnknownEventType),
        (on(1, 1), ("change",), UnknownEventType),
        (on(1, 1), ("interaction",), UnknownEventType),
    ],
)
def test_what_cannot_be_pruned(account: Account, before: object, types: tuple[str, ...], error: type) -> None:
    for dry_run in (True, False):
        with pytest.raises(error):
            account.prune(before, types, dry_run=dry_run)  # type: ignore[arg-type]
    assert account.horizons == {}


def test_read_only(account: Account, database: Database, tmp_path: Path) -> None:
    def reading() -> Database:
        return Database.open(tmp_path / "data", read_only=True, clock=lambda: to_millis(NOW))

    database.close()
    with reading() as opened:
        assert opened.account().prune(HORIZON, ["order"], dry_run=True) == [PrunedType("order", HORIZON, 2, 2)]
        with pytest.raises(ReadOnly):
            opened.account().prune(HORIZON)
    with Database.open(tmp_path / "data", clock=lambda: to_millis(NOW)) as opened:
        opened.account().prune(HORIZON)
        horizons = opened.account().horizons
    with reading() as opened:
        assert opened.account().horizons == horizons
        assert counts(opened.account(), "sum(order.amount) = 70") == [1]
        assert refusal(opened.account(), "did(order where amount > 1)").metadata["event"] == "order"


def test_a_stop_between_transactions(account: Account) -> None:
    stop = Stop()
    stop.cancel()
    with pytest.raises(Cancelled):
        account.prune(HORIZON, stop=stop)
    # It has begun: the horizon holds, and the next one drops the rest.
    assert counts(account, "sum(order.amount) = 70") == [1]
    assert refusal(account, "did(order where amount = 10)")
    assert list(account.verify()) == []
    assert account.prune(HORIZON)[0].events == 2
    assert counts(account, "sum(order.amount) = 70") == [1]


# --- questions ---------------------------------------------------------------------------------------------


def test_the_refusal_names_type_horizon_and_node(account: Account) -> None:
    account.prune(HORIZON)
    error = refusal(account, "everyone and (count(line where quantity > 1) >= 1 or nobody)")
    assert error.path == "expression.conjunction.operands[1].disjunction.operands[0].comparison"
    assert error.metadata == {"event": "order", "horizon": "2025-03-10T00:00:00.000Z"}
    assert "order events before 2025-03-10T00:00:00.000Z are pruned" in error.message
    assert refusal(account, "did(visit during last 200 days)").metadata["event"] == "visit"


@pytest.mark.parametrize(
    "text",
    [
        "count(order where amount > 5) >= 1",
        "sum(line.amount) > 1",
        "average(order.amount) > 1",
        "max(order.amount) > 1",
        "distinct(line.product) > 1",
        "distinct_days(order) > 1",
        "did(line)",
        "never(cart)",  # whether there ever was one or not
        "never(interaction)",
        "only(order where amount > 1)",
        "first(order) has amount > 1",
        'favourite(line.product) = "p"',
        "favourite(line.product) is set",
        "mean_gap(order) > 1",
        "overdue(order)",
        "sequence(visit then order within 7 days)",
        "count(order during last 98 days) >= 1",  # from 9 March
        "count(order until 2025-03-11) >= 1",
        "count(order older than 1 year) >= 1",
        "sum(order.amount) > 0 and sum(order.amount from 2025-03-09) > 0",
        "count(order) < 2 * count(order where amount > 0)",
    ],
)
def test_what_reaches_behind(account: Account, text: str) -> None:
    before = account.count(text)
    assert before.count >= 0
    account.prune(HORIZON)
    refusal(account, text)


@pytest.mark.parametrize(
    "text",
    [
        "count(order during last 97 days) = 1",
        "count(order from 2025-03-10) = 1",
        "sum(order.amount) = 70",
        "sum(order.amount) is set",
        "count(order) = 3",
        "did(order)",
        "never(order)",
        "first(order).time before 2025-02-01",
        "last(order).time after 2025-03-10",
        "last(interaction).time before 2025-02-01",
        "days_since(last(order)) > 60",
        "last(order).time > first(order).time",
        "sum(order.amount) / count(order) > 20",
        "sum(order.amount from 2025-03-10) < sum(order.amount)",
    ],
)
def test_what_does_not(account: Account, text: str) -> None:
    before = account.count(text).count
    assert before > 0
    account.prune(HORIZON)
    assert account.count(text).count == before
    account.write_events([Order("late", "dora", on(6, 1), amount=Decimal(1))])
    assert account.count(text).count >= before


def test_what_orders_take_from_pruned_visits(account: Account) -> None:
    account.prune(HORIZON, ["visit"])
    error = refusal(account, 'did(order where source = "email")')
    assert (error.metadata["event"], error.path) == ("visit", "expression.did.events.where.comparison")
    assert "30 minutes before the window" in error.message
    assert counts(account, "did(order where amount = 10)") == [1]
    # From the horizon on, but for the minutes that a visit may lie before an order.
    refusal(account, "did(order where source is set from 2025-03-10T00:29:59Z)")
    assert counts(account, "did(order where source is set from 2025-03-10T00:30:00Z)") == [0]
    account.set_source_settings(SourceSettings(0))
    assert counts(account, 'did(order where source = "email")') == [0]


def test_the_timeline(account: Account) -> None:
    account.prune(HORIZON, ["order"])
    for start in (None, HORIZON - timedelta(milliseconds=1)):
        with pytest.raises(PrunedHistory, match="the timeline of order events"):
            account.contact_events("anna", start_time=start)
    assert [each.event_id for each in account.contact_events("anna", start_time=HORIZON).events] == ["o3"]
    assert [each.event_id for each in account.contact_events("bert", types=["visit"]).events] == ["v2", "v1"]


def test_numbers_that_are_declared_later_or_taken_away(account: Account) -> None:
    account.declare_derived("visits", "count(visit)")
    account.prune(on(2, 1))
    account.declare_derived("clicks", 'count(message where kind = "clicked")')
    assert counts(account, "count(visit) = 2") == [1]
    refusal(account, 'count(message where kind = "clicked") = 1')
    account.remove_derived("visits")
    assert counts(account, "count(visit) = 2") == [1]  # what is kept is kept until the next prune
    with account._store.snapshot() as snapshot:
        (number,) = (each.number for each in snapshot.catalog.balances if each.text == "count(visit)")
        assert stored_chunks(snapshot.txn, snapshot.dbs[DB_COLUMNS], balance_column(number)) == [0]
    account.prune(on(2, 2))
    refusal(account, "count(visit) = 2")
    with account._store.snapshot() as snapshot:
        assert stored_chunks(snapshot.txn, snapshot.dbs[DB_COLUMNS], balance_column(number)) == []
    account.declare_derived("visits", "count(visit)")
    account.prune(on(2, 3))
    refusal(account, "count(visit) = 2")


def test_bands(account: Account) -> None:
    account.declare_bands("spend", "sum(order.amount)", [50, 75])
    account.declare_bands("lately", "sum(order.amount during last 30 days)", [50])
    account.prune(HORIZON)
    texts = ('band(spend) = "50-75"', 'band(spend) = "75+"', 'band(lately) = "none"')
    assert counts(account, *texts) == [1, 1, 3]
    assert counts(account, "crossed(spend, 50) from 2025-03-10", "crossed(spend, 75) from 2025-03-10") == [2, 1]
    refusal(account, "crossed(spend, 50) from 2025-03-09")
    refusal(account, "crossed(spend, 50)")
    account.declare_bands("items", "count(line)", [1])  # which is to be asked of what comes
    refusal(account, 'band(items) = "none"')


# --- writes ------------------------------------------------------------------------------------------------


def test_writes_behind_the_horizon_and_of_pruned_events(account: Account) -> None:
    account.prune(HORIZON)
    rows = [
        Order("new", "dora", HORIZON - timedelta(milliseconds=1), amount=Decimal(1)),
        Order("o1", "dora", on(5, 2), amount=Decimal(1)),
        Order("o1", "dora", on(5, 3), amount=Decimal(1), revision=7),
        Retraction("order", "o2", 9),
        Order("o3", "anna", on(3, 1), amount=Decimal(1)),
        Order("o4", "bert", HORIZON, amount=Decimal(2)),
        Retraction("order", "unheard"),
        Event("visit", "v1", "dora", on(5, 1)),
    ]
    result = account.write_events(rows)
    assert [(each.index, each.contact_id, each.field, each.reason) for each in result.event_rejects] == [
        (0, "dora", "time", "PRUNED_HISTORY"),
        (1, "dora", "order_id", "PRUNED_HISTORY"),
        (2, "dora", "order_id", "PRUNED_HISTORY"),
        (3, "", "order_id", "PRUNED_HISTORY"),
        (4, "anna", "time", "PRUNED_HISTORY"),
        (7, "dora", "event_id", "PRUNED_HISTORY"),
    ]
    assert result.event_rejects[0].message == (
        "row 0: order 'new': field 'time': 2025-03-09T23:59:59.999000+00:00 is before 2025-03-10T00:00:00.000Z, and"
        " such events are pruned"
    )
    assert result.event_rejects[1].message.startswith("row 1: order 'o1': field 'order_id': it is pruned")
    assert (result.events_accepted, result.events_duplicates, result.created) == (2, 0, 0)
    assert counts(account, "sum(order.amount) = 70", "sum(order.amount) = 2", "everyone") == [1, 1, 3]
    account.merge()
    assert list(account.verify()) == []


def test_the_last_of_the_good_rows_of_an_id_stands(account: Account) -> None:
    account.prune(HORIZON)
    rows = [
        Order("twice", "anna", on(6, 1), amount=Decimal(1)),
        Order("twice", "anna", on(3, 1), amount=Decimal(2)),
    ]
    result = account.write_events(rows)
    assert (result.events_accepted, [each.index for each in result.event_rejects]) == (1, [1])
    assert counts(account, "sum(order.amount) = 71") == [1]


def test_imports(account: Account, tmp_path: Path) -> None:
    account.prune(HORIZON)
    found = account.import_orders(
        [
            Order("o1", "dora", on(5, 2), amount=Decimal(1)),
            Order("early", "anna", on(3, 1), amount=Decimal(1)),
            Order("good", "anna", on(6, 1), amount=Decimal(1)),
        ]
    )
    assert [(each.index, each.field) for each in found.rejects] == [(0, "order_id"), (1, "time")]
    assert (found.accepted, found.duplicates, found.created) == (1, 0, 0)
    path = tmp_path / "visits.csv"
    path.write_text(
        "event_id,contact_id,time\nv1,dora,2025-05-01T00:00:00Z\nv8,anna,2025-03-01T00:00:00Z\nv9,anna,2025-05-02T00:00:00Z\n"
    )
    report = account.import_events("visit", path)
    assert (report.events, report.unchanged, report.rejected, report.contacts_created) == (1, 0, 2, 0)
    assert [(each.index, each.field) for each in report.rejects] == [(0, "event_id"), (1, "time")]
    assert report.reject_path is not None
    assert report.reject_path.read_text().count("PRUNED_HISTORY") == 2
    path.write_text("event_id,contact_id,time\nv8,anna,2025-03-01T00:00:00Z\n")
    with pytest.raises(TooManyRejects):
        account.import_events("visit", path)
    assert list(account.verify()) == []


def test_batches_that_were_made_before(account: Account) -> None:
    """Nothing of them is written: which of several rows of an id stands is found out when a batch is made."""
    rows = [Order("a", "anna", on(6, 1), amount=Decimal(1)), Order("a", "anna", on(3, 1), amount=Decimal(2))]
    with account._store.snapshot() as snapshot:
        types = snapshot.catalog.event_types
    live, bulk = (events_from_rows(rows, types, account.info, account.now()) for _ in range(2))
    account.prune(HORIZON)
    before = account.generation()
    with pytest.raises(PrunedHistory, match="while this batch was under way"):
        account.submit_batches(live).result()
    with pytest.raises(PrunedHistory, match="while this batch was under way"):
        account.apply_events(bulk[0])
    assert account.generation() == before
    assert counts(account, "sum(order.amount) = 70") == [1]


def test_an_event_that_is_not_dropped_yet_is_pruned_all_the_same(account: Account) -> None:
    """A prune that was killed when the horizon was recorded."""
    record_horizons(account._store, {"order": to_millis(HORIZON)})
    result = account.write_events([Order("o1", "anna", on(6, 1), amount=Decimal(1)), Retraction("order", "o2")])
    assert [each.field for each in result.event_rejects] == ["order_id", "order_id"]
    assert counts(account, "sum(order.amount) = 70") == [1]
    refusal(account, "did(order where amount = 10)")
    assert list(account.verify()) == []
    account.merge()
    assert account.prune(HORIZON, ["order"])[0].events == 2
    assert counts(account, "sum(order.amount) = 70") == [1]


def test_a_declared_type(account: Account) -> None:
    account.declare_event_types([EventType("download", (EventProperty("size", FieldType.NUMBER, 0),))])
    account.declare_derived("size", "sum(download.size)")
    events = [Event("download", f"d{n}", "anna", on(1, 1) + n * DAY, {"size": n}) for n in range(100)]
    account.write_events(events)
    assert account.prune(on(2, 1), ["download"])[0].events == 31
    assert counts(account, "sum(download.size) = 4950") == [1]
    refusal(account, "count(download) = 100")
