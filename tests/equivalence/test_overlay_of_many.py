"""Containers, chunks and postings of every form under an overlay of thousands of changes: counts against the oracle
before a merge and after it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Database
from segidx.model.expression import Anniversary, ChannelState, OnChannel, walk
from segidx.model.results import FieldData
from segidx.model.schema import AccountInfo, Schema
from segidx.model.writes import Channel, ContactWrite
from segidx.testing import oracle_writes
from segidx.testing.checks import check_expression, check_statistics
from segidx.testing.generator import RandomChooser, random_expression
from segidx.testing.generator_writes import WRITTEN, WriteGenerator
from segidx.testing.oracle import Oracle
from segidx.testing.places import quick_directory
from segidx.testing.pools import pools_for
from segidx.testing.strategies import random_contacts

AT = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
ZONE = "Europe/Warsaw"
CONTACTS = 66_000  # two containers, five chunks; one in EVERY has fields
EVERY = 12
NEW = 700
SCHEMA = Schema(
    tuple(f for f in WRITTEN if f.name in ("tags", "country", "email", "score", "consent", "seen", "phone"))
)


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "d"


def test_counts_over_a_large_base_and_a_large_overlay(place: Path) -> None:
    rng = np.random.default_rng(5)
    pools = pools_for(AT, ZONE)
    oracle = Oracle(SCHEMA, ZONE)
    rows: list[tuple[str, dict[str, FieldData]]] = [(f"c{i}", {}) for i in range(CONTACTS)]
    for i, (_, fields) in enumerate(random_contacts(rng, SCHEMA, CONTACTS // EVERY, pools)):
        rows[i * EVERY][1].update(fields)
    # Contacts of all containers, and ones behind the base's last chunk.
    chosen = [rows[i][0] for i in rng.integers(0, CONTACTS, 1300)] + [f"new {i}" for i in range(NEW)]
    generator = WriteGenerator(RandomChooser(rng), SCHEMA, pools, chosen)
    expressions = []
    while len(expressions) < 6:
        expression = random_expression(rng, SCHEMA, pools, max_leaves=5)
        if not any(isinstance(node, Anniversary) for node, _, _ in walk(expression)):
            expressions.append(expression)
    with Database.open(place, create=True) as database:
        account = database.create_account(AccountInfo("test", ZONE))
        account.update_schema(SCHEMA.fields)
        account.upsert(rows)
        oracle.upsert(rows)
        assert account.stats().merged_generation == 1, "in bulk"
        for first in range(0, len(chosen), 1000):
            batch = [generator.row(contact_id) for contact_id in chosen[first : first + 1000]]
            # A stretch of neighbours too, so that layers have dense parts.
            batch += [ContactWrite(rows[first * 30 + i][0], {"score": i % 7, "country": "b"}) for i in range(600)]
            account.write(batch)
            oracle_writes.write(oracle, batch)
        assert account.stats().overlay_bytes > 100_000
        for expression in expressions[:4]:
            check_expression(account, oracle, expression, AT)
        check_statistics(account, oracle)
        check_expression(account, oracle, OnChannel(Channel.EMAIL, ChannelState.REACHABLE), AT)
        check_expression(account, oracle, OnChannel(Channel.SMS, ChannelState.SUPPRESSED), AT)
        account.merge()
        assert account.stats().overlay_bytes == 0
        for expression in expressions[3:]:
            check_expression(account, oracle, expression, AT)
        check_statistics(account, oracle)
        assert list(account.verify()) == []
