"""The oracle against a server: the whole way over the wire, as a tree and as text."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from segidx.client import connect
from segidx.database import Database
from segidx.model.errors import SegidxError
from segidx.model.expression import Expression
from segidx.model.schema import AccountInfo
from segidx.model.syntax import format_expression
from segidx.model.windows import to_millis
from segidx.service.server import start
from segidx.testing.event_lives import random_event_expression, random_life
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.strategies import EVERY_TYPE, random_contacts, random_expression


def oracle_count(oracle: Oracle, expression: Expression, at: datetime) -> int | str:
    try:
        return oracle.count(expression, at)
    except SegidxError as error:
        return error.reason


@pytest.mark.parametrize("seed", range(3))
def test_counts_over_grpc_agree_with_the_oracle(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    zone = ZONES[(seed * 5) % len(ZONES)]
    at = datetime.fromisoformat("2025-03-30T01:30:00+00:00")
    pools = pools_for(at, zone)
    rows = random_contacts(rng, EVERY_TYPE, 3000, pools)
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.upsert(rows)
    # An evaluation is one millisecond after the clock.
    with (
        Database.open(tmp_path / "d", create=True, clock=lambda: to_millis(at) - 1) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        account = client.create_account(AccountInfo("test", zone))
        account.update_schema(EVERY_TYPE.fields)
        result = account.upsert(rows)
        assert (result.accepted, result.created, result.rejects) == (3000, 3000, ())
        expressions = [random_expression(rng, EVERY_TYPE, pools) for _ in range(120)]
        expected = [oracle_count(oracle, expression, at) for expression in expressions]
        for asked in (expressions, [format_expression(e) for e in expressions]):
            answers = account.count_many(asked)
            found = [a.reason if isinstance(a, SegidxError) else a.count for a in answers]
            for expression, wanted, got in zip(expressions, expected, found, strict=True):
                assert got == wanted, format_expression(expression)
        one = account.count(expressions[0]) if isinstance(expected[0], int) else account.count("everyone")
        assert one.evaluation.evaluated_at == at


def test_counts_of_events_over_grpc_agree_with_the_oracle(tmp_path: Path) -> None:
    rng = random.Random(7)
    zone = "Europe/Warsaw"
    at = datetime.fromisoformat("2025-03-30T01:30:00+00:00")
    now = to_millis(at) - 1
    pools = pools_for(at, zone)
    rows = random_contacts(np.random.default_rng(7), EVERY_TYPE, 300, pools)
    (orders,) = random_life(rng, [contact_id for contact_id, _ in rows], [700], at=at, zone=zone, latest=at)
    orders = [order for order in orders if to_millis(order.time) < now]
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.upsert(rows)
    oracle.import_orders(orders, now)
    with (
        Database.open(tmp_path / "d", create=True, clock=lambda: now) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        account = client.create_account(AccountInfo("test", zone))
        account.update_schema(EVERY_TYPE.fields)
        account.upsert(rows)
        database.account("test").import_orders(orders)
        expressions = [random_event_expression(rng, EVERY_TYPE, pools) for _ in range(150)]
        expected = [oracle_count(oracle, expression, at) for expression in expressions]
        for asked in (expressions, [format_expression(e) for e in expressions]):
            answers = account.count_many(asked)
            found = [a.reason if isinstance(a, SegidxError) else a.count for a in answers]
            for expression, wanted, got in zip(expressions, expected, found, strict=True):
                assert got == wanted, format_expression(expression)
