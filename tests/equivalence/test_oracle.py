"""The heart of correctness: the slow oracle, the plan without rules, the plan with them, and gRPC all agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segidx.database import Account, Database
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.testing.checks import check_expression
from segidx.testing.effort import times
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.strategies import (
    EVERY_TYPE,
    TagBatch,
    UpsertBatch,
    batches_for,
    cases,
    expressions_for,
    random_contacts,
    random_expression,
)

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=times(60))


@contextmanager
def account_of(schema: Schema, zone: str) -> Iterator[Account]:
    with tempfile.TemporaryDirectory() as directory, Database.open(directory, create=True) as database:
        account = database.create_account(AccountInfo("test", zone))
        account.update_schema(schema.fields)
        yield account


@SLOW
@given(cases())
def test_every_expression_agrees_with_the_oracle(case) -> None:  # type: ignore[no-untyped-def]
    with account_of(case.schema, case.zone) as account:
        oracle = Oracle(case.schema, case.zone)
        oracle.upsert(case.rows)
        account.upsert(case.rows)
        check_expression(account, oracle, case.expression, case.evaluated_at)


def _unambiguous(row: tuple[str, Mapping[str, object]], schema: Schema) -> bool:
    """Rows that both read alike: the API also takes strings for numbers, dates and instants, and rounds instants
    down to milliseconds where the oracle refuses them."""
    strings = (FieldType.TAGS, FieldType.CATEGORY, FieldType.TEXT)
    return not any(
        (isinstance(v, str) and schema[name].type not in strings) or (isinstance(v, datetime) and v.microsecond % 1000)
        for name, v in row[1].items()
    )


@SLOW
@given(st.data())
def test_batches_of_changes_agree_with_the_oracle(data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    oracle = Oracle(EVERY_TYPE, zone)
    at = datetime.fromisoformat("2024-02-29T11:30:00+00:00")
    with account_of(EVERY_TYPE, zone) as account:
        for batch in data.draw(batches_for(EVERY_TYPE)):
            if isinstance(batch, UpsertBatch):
                rows = [r for r in batch.rows if _unambiguous(r, EVERY_TYPE)]
                wanted, got = oracle.upsert(rows), account.upsert(rows)
                assert got.duplicates == wanted.duplicates
                assert {r.index for r in got.rejects} == {r.index for r in wanted.rejects}
            else:
                assert isinstance(batch, TagBatch)
                arguments = {"field": batch.field, "add": batch.add, "remove": batch.remove, "replace": batch.replace}
                oracle.tag(batch.ids, **arguments)
                account.tag(batch.ids, **arguments)
        for contact_id, fields in oracle.contacts.items():
            held = {name: value for name, value in fields.items() if value not in (None, frozenset())}
            assert dict(account.get(contact_id).fields) == held
        for _ in range(3):
            check_expression(account, oracle, data.draw(expressions_for(EVERY_TYPE, pools=pools_for(at, zone))), at)


@pytest.mark.parametrize("seed", range(3))
def test_many_contacts_agree_with_the_oracle(seed: int) -> None:
    """Postings of every representation over several containers."""
    rng = np.random.default_rng(seed)
    zone = ZONES[seed % len(ZONES)]
    at = datetime.fromisoformat("2025-10-26T00:30:00+00:00")
    pools = pools_for(at, zone)
    rows = random_contacts(rng, EVERY_TYPE, 70_000 if seed == 0 else 9_000, pools)
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.upsert(rows)
    with account_of(EVERY_TYPE, zone) as account:
        for first in range(0, len(rows), 25_000):
            account.upsert(rows[first : first + 25_000])
        for _ in range(times(3 if seed == 0 else 20)):
            check_expression(account, oracle, random_expression(rng, EVERY_TYPE, pools, max_leaves=6), at)


def test_texts_cross_the_posting_threshold_both_ways() -> None:
    """A text gets postings when enough contacts hold it, keeps them below, and is counted right at every step."""
    schema = Schema((Field("city", FieldType.TEXT), Field("n", FieldType.NUMBER)))
    with account_of(schema, "UTC") as account:
        for total in (1, 63, 64, 65, 200):
            account.upsert([(f"c{i}", {"city": "Łódź", "n": Decimal(i)}) for i in range(total)])
            assert account.count('city = "Łódź"').count == total
            assert account.count('not city = "Łódź"').count == 0
        account.upsert([(f"c{i}", {"city": "Gdańsk"}) for i in range(150)])
        assert account.count('city = "Łódź"').count == 50
        assert account.count('city = "Gdańsk"').count == 150
        account.upsert([(f"c{i}", {"city": None}) for i in range(40, 190)])
        assert account.count('city = "Łódź"').count == 10
        assert account.count('city = "Gdańsk"').count == 40
        assert account.count("city is not set").count == 150
        assert account.count('city in ("Łódź", "Gdańsk")').count == 50
