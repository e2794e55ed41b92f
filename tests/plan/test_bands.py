"""Binding of bands and crossings: which ranges and scans they become, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from segidx.database import Account, Database
from segidx.exec.query import prepare
from segidx.model.errors import InvalidExpression, SegidxError, UnknownBand, UnknownBands, UnknownThreshold
from segidx.model.expression import AggregateFunction
from segidx.model.windows import MIN_INSTANT, to_millis
from segidx.plan.context import BindContext
from segidx.plan.nodes import AnyOf, Complement, CrossingScan, EventScan, Nothing, Plan

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Database.open(tmp_path_factory.mktemp("x") / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.upsert([("anna", {})])
        account.declare_bands("spend", "sum(order.amount)", [100, 500, 1000])
        account.declare_bands("visits", "count(visit)", [2, 5], ["never", "once", "some", "often"])
        account.declare_bands("recent", "sum(order.amount during last 1 month)", [100])
        account.declare_bands("to_come", "count(order during next 1 day)", [1])
        yield account


def plan_of(account: Account, asked: str, *, optimised: bool = False) -> Plan:
    with account._store.snapshot() as snapshot:
        return prepare(asked, BindContext(snapshot, to_millis(AT), account.info.tz), optimised=optimised).plan


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        ('band(spend) = "<100"', None, 9_999),
        ('band(spend) = "100-500"', 10_000, 49_999),
        ('band(spend) = "1000+"', 100_000, None),
        ('band(spend) in ("500-1000", "100-500")', 10_000, 99_999),
        ('band(spend) in ("100-500", "<100", "<100")', None, 49_999),
        ('band(spend) in ("<100", "100-500", "500-1000", "1000+")', None, None),
        ('band(visits) = "once"', 1, 1),
        ('band(visits) = "some"', 2, 4),
        ('band(visits) in ("some", "often")', 2, None),
        ('band(visits) in ("once", "some")', 1, 4),
        ('band(recent) = "100+"', 10_000, None),
    ],
)
def test_bands_beside_each_other_are_one_range(account: Account, asked: str, low: int | None, high: int | None) -> None:
    plan = plan_of(account, asked)
    assert isinstance(plan, EventScan)
    assert (plan.low, plan.high) == (low, high)


def test_the_band_of_no_value_is_who_has_none(account: Account) -> None:
    for asked, low in (('band(spend) = "none"', None), ('band(visits) = "never"', 1)):
        plan = plan_of(account, asked)
        assert isinstance(plan, Complement)
        (scan,) = plan.operands
        assert isinstance(scan, EventScan)
        assert (scan.low, scan.high) == (low, None)


def test_bands_apart_are_ranges_apart(account: Account) -> None:
    plan = plan_of(account, 'band(spend) in ("none", "<100", "500-1000")')
    assert isinstance(plan, AnyOf)
    none, below, between = plan.operands
    assert isinstance(none, Complement)
    assert isinstance(below, EventScan)
    assert isinstance(between, EventScan)
    assert (below.low, below.high, between.low, between.high) == (None, 9_999, 50_000, 99_999)
    assert isinstance(plan_of(account, 'band(spend) != "none"'), Complement)


def test_a_window_to_come_holds_nothing_yet(account: Account) -> None:
    assert isinstance(plan_of(account, 'band(to_come) = "1+"'), Nothing)
    assert isinstance(plan_of(account, "crossed(spend, 500) in next 1 day"), Nothing)


def test_a_crossing_is_a_scan_of_its_window(account: Account) -> None:
    plan = plan_of(account, "crossed(spend, 500) during last 1 day")
    assert isinstance(plan, CrossingScan)
    assert (plan.threshold, plan.label, plan.aggregate.function) == (
        50_000,
        "spend crossing 500",
        AggregateFunction.SUM,
    )
    events = plan.aggregate.events
    assert (events.start, events.end) == (to_millis(AT - timedelta(days=1)), to_millis(AT))
    plan = plan_of(account, "crossed(visits, 5)")
    assert isinstance(plan, CrossingScan)
    assert (plan.threshold, plan.aggregate.events.start, plan.aggregate.events.end) == (5, MIN_INSTANT, to_millis(AT))


def test_dear_conditions_wait_for_the_others(account: Account) -> None:
    plan = plan_of(account, 'crossed(spend, 500) and did(order) and band(spend) != "none"', optimised=True)
    assert isinstance(plan.children[-1], CrossingScan)


@pytest.mark.parametrize(
    ("asked", "error", "path", "says"),
    [
        (
            'band(spent) = "a"',
            UnknownBands,
            "expression.band_is",
            "there are recent, spend, to_come, visits",
        ),
        ("not crossed(often, 5)", UnknownBands, "expression.negation.crossed", "there are no bands 'often'"),
        ('band(spend) = "100"', UnknownBand, "expression.band_is", '"none", "<100", "100-500", "500-1000", "1000\\+"'),
        ('band(visits) in ("some", "none")', UnknownBand, "expression.band_is", "no band 'none' of 'visits'"),
        ("crossed(spend, 250)", UnknownThreshold, "expression.crossed", "they are 100, 500, 1000"),
        ("crossed(recent, 100)", InvalidExpression, "expression.crossed", "declare bands without a window"),
    ],
)
def test_what_is_refused(account: Account, asked: str, error: type[SegidxError], path: str, says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        plan_of(account, asked)
    assert caught.value.path == path
    assert type(caught.value) is error


def test_explained(account: Account) -> None:
    explained = account.explain("crossed(spend, 500) during last 1 day", counts=True)
    assert (explained.plan.operation, explained.plan.detail, explained.plan.count) == (
        "crossings",
        "spend crossing 500",
        0,
    )
    assert account.explain('band(spend) in ("<100", "100-500")').plan.detail == "spend <100 or 100-500"
    assert account.explain('band(spend) = "none"').plan.children[0].operation == "events"
