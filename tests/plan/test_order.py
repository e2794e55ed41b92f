"""Operands whose estimates are equal stand in the order of what they cost: bands as their bitmaps do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from segidx.database import Account, Database
from segidx.exec.query import prepare
from segidx.model.events import Order
from segidx.model.results import Estimate
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext
from segidx.plan.nodes import DerivedScan, Plan, PostingScan, RangeScan, all_of, any_of
from segidx.plan.rules.order import cost, order_by_cost

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
THRESHOLDS = list(range(10, 130, 10))
CONTACTS = 40


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Database.open(tmp_path_factory.mktemp("x") / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.update_schema([Field("n", FieldType.NUMBER), Field("tags", FieldType.TAGS)])
        account.upsert([(f"c{i}", {"n": i, "tags": {"vip"} if i % 2 else set()}) for i in range(CONTACTS)])
        account.declare_bands("spend", "sum(order.amount)", THRESHOLDS)
        account.declare_bands("often", "count(order)", [1, 2, 3, 4])
        account.write_events(
            [Order(f"o{i}", f"c{i}", AT - timedelta(days=1), amount=4 * i) for i in range(CONTACTS)],
        )
        account.merge()
        account.keep_derived()
        yield account


def leaf(account: Account, asked: str) -> Plan:
    """The plan of a condition, as if it kept as many as any other."""
    with account._store.snapshot() as snapshot:
        plan = prepare(asked, BindContext(snapshot, to_millis(AT), account.info.tz)).plan
    return replace(plan, estimate=Estimate(5, 5, 5))


def bands(account: Account, name: str, count: int) -> DerivedScan:
    """A scan of so many bitmaps."""
    labels = [each for each in account.bands[name].labels if each != "none"][1 : 1 + count]
    asked = ", ".join(f'"{label}"' for label in labels)
    plan = leaf(account, f"band({name}) in ({asked})")
    assert isinstance(plan, DerivedScan)
    assert plan.pieces is not None
    assert plan.pieces[1] - plan.pieces[0] + 1 == count
    return plan


def test_a_band_costs_a_posting_and_not_a_column(account: Account) -> None:
    tag, number = leaf(account, 'tags has "vip"'), leaf(account, "n > 7")
    column = leaf(account, "sum(order.amount) > 55")
    assert isinstance(tag, PostingScan)
    assert isinstance(number, RangeScan)
    assert isinstance(column, DerivedScan)
    assert column.pieces is None
    band, two = bands(account, "spend", 1), bands(account, "spend", 2)
    assert cost(tag) == cost(band) < cost(two) < cost(number) < cost(column)
    for joined in (all_of, any_of):
        ordered = order_by_cost(joined((column, number, two, band), 100, ""))
        assert [id(each) for each in ordered.children] == [id(each) for each in (band, two, number, column)]


def test_as_many_bands_as_are_asked_of_bitmaps_cost_less_than_the_column(account: Account) -> None:
    """Of more the column is read (`_MOST_PIECES` in plan/derived.py), so that no order contradicts that choice."""
    for name, most, outside in (("spend", 8, "sum(order.amount) > 55"), ("often", 3, "count(order) > 5")):
        column = leaf(account, outside)
        assert isinstance(column, DerivedScan)
        assert column.pieces is None
        assert cost(bands(account, name, most)) < cost(column)
