"""Orders and lines: the oracle, the plan with and without rules, and text agree after every import, whatever was sent
again, in several ranges of contacts, after merges of what is written beside them, reopening, and in a database that is
open for reading only."""

from __future__ import annotations

import random
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.model.events import Order, OrderLine
from segidx.model.expression import Aggregate, AggregateFunction, And, Comparison, Did, Events, Expression, Operator
from segidx.model.expression import field as field_of
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.values import Constant
from segidx.model.windows import to_millis
from segidx.testing.checks import check_expression
from segidx.testing.effort import seeds, times
from segidx.testing.event_lives import random_life
from segidx.testing.event_questions import random_event_expression, random_event_group
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.strategies import EVERY_TYPE, random_contacts

# About the autumn change of clocks, a leap day and the end of a month.
INSTANTS = ("2025-10-26T00:30:00+00:00", "2024-02-29T11:30:00+00:00", "2026-03-31T22:30:00+00:00")


def new_account(database: Database, zone: str, money_scale: int) -> Account:
    account = database.create_account(AccountInfo("shop", zone, money_scale=money_scale))
    account.update_schema(EVERY_TYPE.fields)
    return account


def import_both(account: Account, oracle: Oracle, orders: list[Order], now: int) -> None:
    # The API rounds instants down to milliseconds where the oracle refuses them.
    orders = [o for o in orders if not o.time.microsecond % 1000]
    wanted, got = oracle.write_events(orders, now), account.import_orders(orders)
    assert (got.accepted, got.created, got.duplicates) == (wanted.accepted, wanted.created, wanted.duplicates)
    assert [(r.index, r.field) for r in got.rejects] == [(r.index, r.field) for r in wanted.rejects]


@pytest.mark.parametrize("seed", seeds(3))
def test_lives_of_orders_agree_with_the_oracle(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    zone = ZONES[seed % len(ZONES)]
    at = datetime.fromisoformat(INSTANTS[seed % len(INSTANTS)])
    now, scale, pools = to_millis(at), (2, 0, 4)[seed % 3], pools_for(at, zone)
    contacts = random_contacts(np.random.default_rng(seed), EVERY_TYPE, 60, pools)
    ids = [contact_id for contact_id, _ in contacts]
    life = random_life(
        rng, [*ids, "new-1", "new-2"], [40, 1, 120, 30, 60], at=at, zone=zone, money_scale=scale, bad_orders=True
    )
    oracle = Oracle(EVERY_TYPE, zone, money_scale=scale)
    oracle.upsert(contacts)
    with Database.open(tmp_path / "data", create=True, clock=lambda: now) as database:
        account = new_account(database, zone, scale)
        account.upsert(contacts)
        for number, orders in enumerate(life):
            import_both(account, oracle, orders, now)
            changed = [(rng.choice(ids), {"score": Decimal(number)}) for _ in range(3)]
            oracle.upsert(changed)
            account.upsert(changed)
            if rng.random() < 0.5:
                account.merge()
            if rng.random() < 0.5:
                group = random_event_group(rng, pools)
                oracle.set_event_group(group.name, group.members)
                assert account.set_event_group(group.name, group.members) == group
            for _ in range(25):
                asked = random_event_expression(rng, EVERY_TYPE, pools, groups=oracle.event_groups)
                check_expression(account, oracle, asked, at)
            assert list(account.verify()) == []
        groups = oracle.event_groups
        questions = [random_event_expression(rng, EVERY_TYPE, pools, groups=groups) for _ in range(20)]
    with Database.open(tmp_path / "data", read_only=True, clock=lambda: now) as reading:
        for question in questions:
            check_expression(reading.account("shop"), oracle, question, at)
            # The instant that is used when none is given lies behind the newest event.
            wanted = oracle.count(question, oracle.default_instant(now))
            assert reading.account("shop").count(question).count == wanted
    with Database.open(tmp_path / "data", clock=lambda: now) as database:
        for question in questions:
            check_expression(database.account("shop"), oracle, question, at)
        assert list(database.account("shop").verify()) == []


def test_ranges_and_months_of_many_contacts(tmp_path: Path) -> None:
    """Contacts in five ranges of 16,384, most without orders, several batches; counts narrowed by a field."""
    rng = random.Random(11)
    at = datetime.fromisoformat("2025-03-31T12:00:00+00:00")
    now = to_millis(at)
    schema = Schema((Field("n", FieldType.NUMBER),))
    rows = [(f"c{i}", {"n": Decimal(i % 100)}) for i in range(70_000)]
    oracle = Oracle(schema, "Europe/Warsaw")
    oracle.upsert(rows)
    some = [f"c{i}" for i in rng.sample(range(70_000), 400)] + ["c16383", "c16384", "c32767", "c69999"]
    life = random_life(rng, some, [1500, 800, 200], at=at, zone="Europe/Warsaw")
    with Database.open(tmp_path / "data", create=True, clock=lambda: now) as database:
        account = database.create_account(AccountInfo("shop", "Europe/Warsaw"))
        account.update_schema(schema.fields)
        account.upsert(rows)
        for orders in life:
            import_both(account, oracle, orders, now)
        pools = pools_for(at, "Europe/Warsaw")
        for _ in range(times(12)):
            asked = random_event_expression(rng, schema, pools, max_leaves=3)
            narrowed: Expression = And((field_of("n") < rng.choice((1, 30)), asked))
            check_expression(account, oracle, asked, at)
            check_expression(account, oracle, narrowed, at)
        assert list(account.verify()) == []


def test_a_contact_with_more_events_than_a_block_holds(tmp_path: Path) -> None:
    """40,000 lines of one contact in one month, beside others."""
    at = datetime.fromisoformat("2025-03-31T12:00:00+00:00")
    now = to_millis(at)
    orders = [
        Order(f"o{i}", "big" if i % 5 else "small", at, lines=[OrderLine("p", amount=Decimal(1))] * 1000)
        for i in range(50)
    ]
    with Database.open(tmp_path / "data", create=True, clock=lambda: now + 1) as database:
        account = database.account()
        account.import_orders(orders)
        lines = Events("line")
        total = Aggregate(AggregateFunction.SUM, lines, "amount")
        assert account.count(Comparison(total, Operator.EQ, Constant(40_000))).count == 1
        assert account.count(Comparison(total, Operator.EQ, Constant(10_000))).count == 1
        counted = Aggregate(AggregateFunction.COUNT, lines)
        assert account.count(Comparison(counted, Operator.GE, Constant(40_000))).count == 1
        account.import_orders(
            [Order(f"o{i}", "other", at, lines=[OrderLine("p", amount=Decimal(1))]) for i in range(0, 50, 2)]
        )
        assert account.count(Comparison(total, Operator.EQ, Constant(20_000))).count == 1
        assert account.count(Comparison(total, Operator.EQ, Constant(25))).count == 1
        assert account.count(Did(lines)).count == 3
        assert list(account.verify()) == []
