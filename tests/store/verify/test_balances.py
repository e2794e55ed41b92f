"""Damage to horizons and opening balances: each is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.model.events import Event, Order
from segidx.model.windows import to_millis
from segidx.store.catalog import write_horizons
from segidx.store.columns import changed_chunk
from segidx.store.layout import DB_COLUMNS, DB_META, balance_column, block_key

JANUARY, MARCH, JUNE = (datetime(2025, month, 3, tzinfo=UTC) for month in (1, 3, 6))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Contact 0 has a dropped visit and a dropped order, contact 1 a dropped visit and one that is there."""
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(JUNE)) as database:
        account = database.account()
        account.write_events(
            [
                Event("visit", "v0", "c0", JANUARY),
                Event("visit", "v1", "c1", JANUARY),
                Event("visit", "v2", "c1", MARCH),
                Order("o0", "c0", JANUARY, amount=Decimal(5)),
            ]
        )
        account.declare_derived("visits", "count(visit)")
        account.upsert([("c2", {})])
        account.merge()
        account.prune(datetime(2025, 2, 1, tzinfo=UTC))
        assert list(account.verify()) == []
        yield account


def set_balance(account: Account, text: str, ordinal: int, value: int | None) -> None:
    with account._store.write() as write:
        (number,) = (each.number for each in write.catalog().balances if each.text == text)
        rows, values, present = np.array([ordinal]), np.array([value or 0]), np.array([value is not None])
        field, db = balance_column(number), write.dbs[DB_COLUMNS]
        chunk = changed_chunk(write.txn, db, field, 0, rows, values, present)
        assert chunk is not None
        write.txn.put(block_key(field, 0), chunk, db=db)
        write.changed_base()


@pytest.mark.parametrize(
    ("text", "ordinal", "value", "says"),
    [
        ("count(visit)", 0, 2, "ordinal 0 has a balance of count(visit) of 2, and its dropped events come to 1 to 1"),
        ("count(visit)", 1, None, "ordinal 1 has dropped events, and no balance of count(visit)"),
        ("count(visit)", 2, 1, "ordinal 2 has a balance of count(visit), and no dropped event"),
        ("last(visit).time", 1, to_millis(JUNE), "ordinal 1 has a balance of last(visit).time of"),
        ("sum(order.amount)", 1, 500, "ordinal 1 has a balance of sum(order.amount), and no dropped event"),
        ("count(order)", 0, 7, "ordinal 0 has a balance of count(order) of 7"),
        ("first(order).time", 0, to_millis(MARCH), "ordinal 0 has a balance of first(order).time of"),
    ],
)
def test_balances(account: Account, text: str, ordinal: int, value: int | None, says: str) -> None:
    set_balance(account, text, ordinal, value)
    problems = list(account.verify())
    assert any(problem.startswith(says) for problem in problems), problems
    assert any(text in problem and "differs" in problem for problem in problems), "the column of it differs now"


def test_a_dropped_event_that_is_said_to_lie_where_events_are_kept(account: Account) -> None:
    with account._store.write() as write:
        catalog = write.catalog()
        write_horizons(write.txn, write.dbs[DB_META], {**catalog.horizons, "visit": 1}, catalog.balances)
        write.save_state(replace(write.state, schema=write.state.schema + 1))
    problems = list(account.verify())
    assert sum("is not there" in problem for problem in problems) == 2


def test_the_catalog(account: Account) -> None:
    with account._store.write() as write:
        catalog = write.catalog()
        twice = [replace(each, number=0) for each in catalog.balances]
        horizons = {**catalog.horizons, "nothing": 5, "cart": 0}
        del horizons["message"]
        write_horizons(write.txn, write.dbs[DB_META], horizons, twice)
        write.save_state(replace(write.state, schema=write.state.schema + 1))
    problems = list(account.verify())
    assert "the catalog has a horizon of 'nothing' events, and there is no such type to be pruned" in problems
    assert "the catalog has 0 as the horizon of cart events, before which there is none" in problems
    assert any("which is no number of its own" in problem for problem in problems)
    assert any("and nothing of its type was pruned" in problem for problem in problems)
