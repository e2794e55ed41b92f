"""The oracle against a server: the whole way over the wire, as a tree and as text."""

from __future__ import annotations

import random
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from segidx.client import connect
from segidx.database import Database
from segidx.model.errors import SegidxError
from segidx.model.events import Event, Order, Retraction
from segidx.model.expression import Expression
from segidx.model.schema import AccountInfo
from segidx.model.syntax import format_expression
from segidx.model.windows import from_millis, to_millis
from segidx.service.server import start
from segidx.testing.effort import seeds
from segidx.testing.event_language import FEATURES, CloseEventGenerator, asking_for
from segidx.testing.event_lives import SeededChooser, random_life
from segidx.testing.event_pools import ALL_TYPES, DECLARED, PRODUCT_PROPERTIES
from segidx.testing.event_questions import random_event_expression, random_event_group
from segidx.testing.generator_events import EventRow, EventRowGenerator
from segidx.testing.generator_products import random_product_writes
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.strategies import EVERY_TYPE, random_contacts, random_expression


def oracle_count(oracle: Oracle, expression: Expression, at: datetime) -> int | str:
    try:
        return oracle.count(expression, at)
    except SegidxError as error:
        return error.reason


@pytest.mark.parametrize("seed", seeds(1))
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
    oracle.write_events(orders, now)
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


def test_events_of_every_type_over_grpc_agree_with_the_oracle(tmp_path: Path) -> None:
    """Declared, written, sent again and retracted over the wire, and asked for before and after a merge."""
    rng = random.Random(17)
    zone = "Europe/Warsaw"
    at = datetime.fromisoformat("2025-10-26T00:30:00+00:00")
    now = to_millis(at) - 1
    pools = pools_for(at, zone)
    contacts = random_contacts(np.random.default_rng(17), EVERY_TYPE, 60, pools)
    ids = [*(contact_id for contact_id, _ in contacts), "new-1", "new-2"]
    # An evaluation is one millisecond after the clock or the newest event, so none is ahead of it.
    generator = EventRowGenerator(SeededChooser(rng), ids, at, zone, types=tuple(ALL_TYPES), latest=from_millis(now))
    refused: list[EventRow] = [
        Event("no_such_type", "x", "new-3", at),
        Event("visit", "x", "new-3", at, {"no_such_property": "x"}),
        Event("visit", "x", "new-3", at, {"paid": "yes"}),
        Event("visit", "x", "", at),
        Event("visit", "x", "new-3", from_millis(now + 90_000_000)),
        Event("line", "x", "new-3", at),
        Event("visit", "x", "new-3", at, revision=0),
        Retraction("line", "x"),
        Retraction("visit", ""),
        Retraction("order", "x", -1),
        Order("x", "new-3", at, amount=Decimal("0.001")),
    ]
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.declare_event_types(DECLARED)
    oracle.upsert(contacts)
    with (
        Database.open(tmp_path / "d", create=True, clock=lambda: now) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        account = client.create_account(AccountInfo("test", zone))
        account.update_schema(EVERY_TYPE.fields)
        assert account.declare_event_types(DECLARED) == account.event_types == ALL_TYPES
        oracle.catalogue.declare(PRODUCT_PROPERTIES)
        assert account.update_product_schema(PRODUCT_PROPERTIES) == account.product_schema == oracle.catalogue.schema
        account.upsert(contacts)
        for number in range(6):
            rows = generator.rows(100)
            for bad in rng.sample(refused, 4):
                rows.insert(rng.randrange(len(rows)), bad)
            wanted, got = oracle.write_events(rows, now), account.write_events(rows, batch_key=f"batch {number}")
            assert [(r.index, r.field) for r in got.event_rejects] == [(r.index, r.field) for r in wanted.rejects]
            answer = (wanted.accepted, wanted.duplicates, wanted.created)
            assert (got.events_accepted, got.events_duplicates, got.created) == answer
            again = account.write_events(rows, batch_key=f"batch {number}")
            assert (again.replayed, again.events_accepted, again.events_duplicates, again.created) == (True, *answer)
            products = random_product_writes(rng, oracle.catalogue.schema, 20)
            hoped, told = oracle.catalogue.write(products), account.write_products(products, batch_key=f"{number}")
            assert [(r.index, r.field) for r in told.rejects] == [(r.index, r.field) for r in hoped.rejects]
            answered = (hoped.accepted, hoped.created, hoped.deleted, hoped.duplicates)
            assert (told.accepted, told.created, told.deleted, told.duplicates) == answered
            again_told = account.write_products(products, batch_key=f"{number}")
            assert again_told.replayed
            assert (again_told.generation, again_told.accepted) == (told.generation, told.accepted)
            listed = {each.product_id: each.properties for each in account.products(limit=1000)}
            assert listed == oracle.catalogue.held
            expressions = [
                random_event_expression(
                    rng,
                    EVERY_TYPE,
                    pools,
                    types=tuple(ALL_TYPES),
                    products=oracle.catalogue.schema,
                    groups=oracle.event_groups,
                )
                for _ in range(30)
            ]
            expected = [oracle_count(oracle, expression, at) for expression in expressions]
            for asked in (expressions, [format_expression(e) for e in expressions]):
                answers = account.count_many(asked)
                found = [a.reason if isinstance(a, SegidxError) else a.count for a in answers]
                for expression, awaited, counted in zip(expressions, expected, found, strict=True):
                    assert counted == awaited, format_expression(expression)
            if number % 2:
                database.account("test").merge()
            else:
                group = random_event_group(rng, pools, types=tuple(ALL_TYPES))
                oracle.set_event_group(group.name, group.members)
                database.account("test").set_event_group(group.name, group.members)


@pytest.mark.parametrize("feature", FEATURES)
def test_the_language_of_events_over_grpc_agrees_with_the_oracle(tmp_path: Path, feature: str) -> None:
    """First and last events, favourites, gaps, months and sequences, as messages and as text."""
    rng, zone = random.Random(27), "Europe/Warsaw"
    at = datetime.fromisoformat("2025-10-26T00:30:00+00:00")
    now = to_millis(at) - 1
    pools = pools_for(at, zone)
    contacts = random_contacts(np.random.default_rng(27), EVERY_TYPE, 30, pools)
    ids = [contact_id for contact_id, _ in contacts]
    events = CloseEventGenerator(SeededChooser(rng), ids, at, zone, types=tuple(ALL_TYPES), latest=from_millis(now))
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.declare_event_types(DECLARED)
    oracle.upsert(contacts)
    with (
        Database.open(tmp_path / "d", create=True, clock=lambda: now) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        account = client.create_account(AccountInfo("test", zone))
        account.update_schema(EVERY_TYPE.fields)
        account.declare_event_types(DECLARED)
        account.upsert(contacts)
        for size in (300, 60):
            rows = events.rows(size)
            assert account.write_events(rows).events_accepted == oracle.write_events(rows, now).accepted
            expressions = [asking_for(feature)(rng, EVERY_TYPE, pools, types=tuple(ALL_TYPES)) for _ in range(60)]
            expected = [oracle_count(oracle, expression, at) for expression in expressions]
            for asked in (expressions, [format_expression(e) for e in expressions]):
                answers = account.count_many(asked)
                found = [a.reason if isinstance(a, SegidxError) else a.count for a in answers]
                for expression, hoped, counted in zip(expressions, expected, found, strict=True):
                    assert counted == hoped, format_expression(expression)
            database.account("test").merge()
