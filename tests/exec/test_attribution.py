"""Orders that take the source of a visit: of whom they are looked for, in which pieces, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.exec import attribution
from segidx.exec.attribution import Attributed, Attribution, filled
from segidx.exec.evaluate import count
from segidx.exec.query import prepare
from segidx.kernels.bitmaps import Stop, Stopped
from segidx.kernels.events import MISSING
from segidx.model.events import ORDER, Event, Order
from segidx.model.schema import Field, FieldType
from segidx.plan.context import BindContext
from segidx.plan.values import BoundEvents
from segidx.testing.places import quick_directory

T = datetime(2026, 3, 1, tzinfo=UTC)
AT = int(T.timestamp() * 1000)
CONTACTS = 70_000  # five ranges, and two containers
EVERY = 100  # contacts to one with an order
Asked = list[tuple[tuple[int, int], list[int] | None]]


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with quick_directory() as place, Database.open(place / "data", create=True, clock=lambda: AT) as database:
        account = database.account()
        account.update_schema([Field("tier", FieldType.CATEGORY)])
        account.upsert([(f"c{n}", {"tier": "gold" if n % 7000 == 0 else "base"}) for n in range(CONTACTS)])
        events: list[Order | Event] = []
        for n in range(0, CONTACTS, EVERY):
            seen = {"source": ("email", "direct")[n // EVERY % 2], "paid": None}
            events.append(Event("visit", f"v{n}", f"c{n}", T - timedelta(minutes=20), seen))
            events.append(Order(f"o{n}", f"c{n}", T - timedelta(minutes=15), amount=5))  # type: ignore[arg-type]
        account.write_events(events)
        account.merge()
        yield account


@pytest.fixture
def context(account: Account) -> Iterator[BindContext]:
    with account._store.snapshot() as snapshot:
        yield BindContext(snapshot, AT, account.info.tz)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Of which ranges and contacts visits are looked for."""
    calls: Asked = []
    take = attribution.take

    def noted(*arguments: object) -> object:
        among, ranges = arguments[4], arguments[6]
        calls.append((ranges, None if among is None else among.tolist()))  # type: ignore[attr-defined, arg-type]
        return take(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(attribution, "take", noted)
    return calls


def counted(asked: str, context: BindContext) -> int:
    return count(prepare(asked, context).plan, context)


def test_behind_a_narrow_filter_only_the_candidates_are_looked_at(context: BindContext, asked: Asked) -> None:
    assert counted('tier = "gold" and did(order where email)', context) == 10
    assert asked == [((0, 5), list(range(0, CONTACTS, 7000)))]
    assert context.attributed == {}


def test_wide_ones_look_at_all_once_in_an_evaluation(context: BindContext, asked: Asked) -> None:
    half = CONTACTS // EVERY // 2
    assert counted('tier = "base" and did(order where email)', context) == half - 10
    assert counted("only(order where email)", context) == half
    assert counted("distinct(order.source) = 1", context) == 2 * half
    assert counted("last(order) has source is set", context) == 2 * half
    assert counted('tier = "gold" and never(order where direct)', context) == 10
    assert asked == [((0, 5), None)]
    assert counted("did(order where email during last 1 day)", context) == half
    assert len(asked) == 2


def test_in_pieces(context: BindContext, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "_PARALLEL_ROWS", 1)
    half = CONTACTS // EVERY // 2
    assert counted("did(order where email)", context) == half
    assert counted('favourite(order.source) = "direct"', context) == half
    assert sorted(asked) == [((0, 4), None), ((4, 8), None)]
    assert counted('tier = "gold" and did(order where email)', context) == 10
    assert len(asked) == 2, "what is kept is taken"


def test_what_orders_say_themselves_stands(tmp_path: Path) -> None:
    """Without a source one takes the visit's, whatever else it says; with one it takes nothing."""
    with Database.open(tmp_path / "data", create=True, clock=lambda: AT) as database:
        account = database.account()
        visits = [
            Event("visit", f"v{n}", f"c{n}", T - timedelta(minutes=20), {"source": "email", "paid": n % 2 == 0})
            for n in range(6)
        ]
        says = [(None, None), (None, None), (None, True), (None, True), ("social", None), ("social", True)]
        orders = [
            Order(f"o{n}", f"c{n}", T - timedelta(minutes=15), source=source, paid=paid)
            for n, (source, paid) in enumerate(says)
        ]
        account.write_events([*visits, *orders])
        for _ in ("in the log", "merged"):
            counted = {
                asked: sorted(contact.contact_id for contact in account.preview(asked).contacts)
                for asked in (
                    'did(order where source = "email")',
                    "did(order where paid)",
                    "did(order where paid = false)",
                    "did(order where paid is set)",
                    'favourite(order.source) = "email"',
                )
            }
            assert counted == {
                'did(order where source = "email")': ["c0", "c1", "c2", "c3"],
                "did(order where paid)": ["c0", "c2", "c3", "c5"],
                "did(order where paid = false)": ["c1"],
                "did(order where paid is set)": ["c0", "c1", "c2", "c3", "c5"],
                'favourite(order.source) = "email"': ["c0", "c1", "c2", "c3"],
            }
            account.merge()


def test_no_more_is_kept_than_a_bound(context: BindContext, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "_KEPT_BYTES", 24 * CONTACTS // EVERY - 1)
    for round in (1, 2):
        assert counted("did(order where email)", context) == CONTACTS // EVERY // 2
        assert len(asked) == round
    assert context.attributed == {}
    monkeypatch.setattr(attribution, "_KEPT_BYTES", 24 * CONTACTS // EVERY)
    for _ in (1, 2):
        assert counted("did(order where email)", context) == CONTACTS // EVERY // 2
    assert len(asked) == 3


def test_others_than_those_of_orders_are_not_looked_for(context: BindContext, asked: Asked) -> None:
    assert counted("did(order where amount > 1) and did(visit where email)", context) == CONTACTS // EVERY // 2
    assert asked == []


def test_it_stops(account: Account) -> None:
    gone = Stop()
    gone.cancel()
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, AT, account.info.tz, gone)
        found = Attribution.of(BoundEvents(ORDER, 0, AT, ()), context)
        with pytest.raises(Stopped):
            found.found((0, 5), None)
        assert context.attributed == {}


def test_values_are_filled_where_there_are_none(context: BindContext) -> None:
    found = Attributed(np.array([9, 2, 5]), np.array([1, 0, 1]), np.array([MISSING, 0, 1]))
    values, orders = np.array([7, MISSING, MISSING, MISSING, 6]), np.array([2, 2, 3, 9, 100])
    # The orders have no source of their own: codes of visits stand behind none.
    assert filled("source", values, orders, found, context).tolist() == [7, 0, MISSING, 1, 6]
    assert filled("paid", values, orders, found, context).tolist() == [7, 0, MISSING, MISSING, 6]
    none = Attributed(*np.zeros((3, 0), np.int64))
    assert filled("paid", values, orders, none, context) is values
