"""What a plan says of orders that take the source of a visit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.exec.query import prepare
from segidx.model.events import ORDER, VISIT, Event, Order
from segidx.model.source_settings import SourceSettings
from segidx.plan.attribution import TAKEN, is_taken, or_taken
from segidx.plan.context import BindContext
from segidx.plan.nodes import EventScan
from segidx.store.events import FIRST_PROPERTY

T = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True, clock=lambda: int(T.timestamp() * 1000)) as database:
        account = database.account()
        visit = Event("visit", "v", "ann", T - timedelta(minutes=9), {"source": "email", "paid": False})
        account.write_events([visit, Order("o", "ann", T - timedelta(minutes=5), source=None)])
        yield account


@pytest.fixture
def context(account: Account) -> Iterator[BindContext]:
    with account._store.snapshot() as snapshot:
        yield BindContext(snapshot, int(T.timestamp() * 1000), account.info.tz)


def steps(asked: str, context: BindContext) -> list[tuple[object, ...]]:
    """Those that ask for what orders take."""
    plan = prepare(asked, context).plan
    assert isinstance(plan, EventScan)
    return [step[1:] for step in plan.aggregate.events.where if step[0] == TAKEN]


def test_codes_of_visits_and_nothing_is_read(context: BindContext) -> None:
    email = np.zeros(1, np.int64).tobytes()
    assert steps('did(order where source = "email")', context) == [("source", email)]
    assert steps('did(order where source contains "m" and amount > 5)', context) == [("source", email)]
    assert steps("did(order where source is set)", context) == [("source",)]
    assert steps("did(order where paid)", context) == [("paid", np.ones(1, np.int64).tobytes())]
    assert steps("did(order where paid is set and not paid = false)", context) == [("paid",), ("paid", email)]
    assert steps('did(order where source = "none of these")', context) == []
    assert steps('did(visit where source = "email")', context) == []
    assert steps("did(order where amount > 5)", context) == []
    assert context.attributed == {}


def test_equal_questions_have_equal_plans(context: BindContext) -> None:
    one, other = (prepare(asked, context).plan for asked in ("did(order where email)",) * 2)
    assert one == other
    assert one != prepare("did(order where direct)", context).plan
    assert prepare("did(order where email) or did(order where email)", context).plan == one


def test_without_minutes_no_order_takes_anything(account: Account) -> None:
    account.set_source_settings(SourceSettings(0))
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, int(T.timestamp() * 1000), account.info.tz)
        assert steps('did(order where source = "email")', context) == []
        assert not is_taken(ORDER, "source", context)


def test_which_properties_are_taken(context: BindContext) -> None:
    assert is_taken(ORDER, "source", context)
    assert is_taken(ORDER, "paid", context)
    assert not is_taken(ORDER, "amount", context)
    assert not is_taken(VISIT, "source", context)


def test_steps() -> None:
    own = [("range", 4, 1, 1)]
    assert or_taken([*own], "paid", np.zeros(0, np.int64)) == own
    assert or_taken([*own], "source") == [*own, (TAKEN, "source"), ("any", 2)]
    lacks = [("present", FIRST_PROPERTY + ORDER.index("paid")), ("not",), ("all", 2)]
    assert or_taken([*own], "paid") == [*own, (TAKEN, "paid"), *lacks, ("any", 2)]
    assert or_taken([*own], "source", np.array([3], np.int32))[1] == (TAKEN, "source", np.int64(3).tobytes())
