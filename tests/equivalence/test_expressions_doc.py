"""Every example of docs/EXPRESSIONS.md is bound and answered: by the plan, with and without rules, as by the oracle."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.model.bands import band_value
from segidx.model.errors import UnfinishedExpression
from segidx.model.events import EventProperty, EventType, EventTypes
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.syntax import parse
from segidx.model.windows import to_millis
from segidx.testing.bulk import random_contacts
from segidx.testing.checks import check_expression
from segidx.testing.event_lives import SeededChooser
from segidx.testing.generator_events import EventRowGenerator
from segidx.testing.oracle import Oracle
from segidx.testing.pools import pools_for

DOC = (Path(__file__).parents[2] / "docs" / "EXPRESSIONS.md").read_text(encoding="utf-8")
AT, ZONE = datetime.fromisoformat("2026-01-31T12:00:00+00:00"), "Europe/Warsaw"
NOW = to_millis(AT)

# What the examples speak of.
NUMBERS = """
household_size score balance amount count line last age total baskets income bonus spend returns discounts top
"""
FIELDS = {
    FieldType.NUMBER: [*NUMBERS.split(), "Total Sales"],
    FieldType.CATEGORY: ["country", "name", "where", "prénom"],
    FieldType.TEXT: ["email", "phone"],
    FieldType.TIMESTAMP: ["signup", "last_seen"],
    FieldType.DATE: ["birthday", "renewal", "day"],
    FieldType.BOOL: ["consented", "suppressed"],
}
TRACKED = {
    "lead_stage": FieldType.CATEGORY,
    "newsletter": FieldType.BOOL,
    "tags": FieldType.TAGS,
    "interests": FieldType.TAGS,
}
SCHEMA = Schema(
    (
        *(Field(name, type, 2 if type is FieldType.NUMBER else 0) for type, names in FIELDS.items() for name in names),
        *(Field(name, type, tracked=True) for name, type in TRACKED.items()),
    )
)
DOWNLOAD = EventType("download", (EventProperty("file", FieldType.CATEGORY),))
PRODUCTS = (
    Field("brand", FieldType.CATEGORY),
    Field("weight", FieldType.NUMBER, 3),
    Field("fragile", FieldType.BOOL),
)


def examples() -> list[str]:
    lines = [line for block in re.findall(r"^```segidx\n(.*?)^```", DOC, re.M | re.S) for line in block.splitlines()]
    return [line for line in lines if line.strip()] + re.findall(r"^```segidx-text\n(.*?)^```", DOC, re.M | re.S)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Account, Oracle]]:
    """An account and the oracle that were told the same random contacts and events."""
    pools = pools_for(AT, ZONE)
    contacts = random_contacts(np.random.default_rng(7), SCHEMA, 60, pools)
    ids = [contact_id for contact_id, _ in contacts]
    types = [*EventTypes().extended([DOWNLOAD])]
    rows = EventRowGenerator(SeededChooser(random.Random(7)), ids, AT, ZONE, types=types, latest=AT)
    events = [
        *rows.imported_orders(150),
        *(e for t in types if t.name not in ("order", "line") for e in rows.imported(t, 80)),
    ]
    oracle = Oracle(SCHEMA, ZONE, clock=lambda: NOW)
    with Database.open(tmp_path_factory.mktemp("doc") / "data", create=True, clock=lambda: NOW) as database:
        account = database.create_account(AccountInfo("shop", ZONE))
        account.update_schema(SCHEMA.fields)
        account.upsert(contacts)
        oracle.upsert(contacts)
        account.declare_event_types([DOWNLOAD])
        oracle.declare_event_types([DOWNLOAD])
        account.update_product_schema(PRODUCTS)
        oracle.catalogue.declare(PRODUCTS)
        account.write_events(events)
        oracle.write_events(events, NOW)
        for declares in (account, oracle):
            declares.declare_bands("spend", band_value("sum(order.amount)"), [100, 500, 1000])
        yield account, oracle


@pytest.mark.parametrize("text", examples())
def test_example_is_answered(told: tuple[Account, Oracle], text: str) -> None:
    account, oracle = told
    at = oracle.default_instant(NOW)
    try:
        check_expression(account, oracle, parse(text), at)
    except UnfinishedExpression:
        account.count(text, allow_unfinished=True)


def test_they_are_no_examples_of_nobody(told: tuple[Account, Oracle]) -> None:
    account, _ = told
    counts = [account.count(text, allow_unfinished=True).count for text in examples()]
    assert len(counts) > 200
    assert sum(0 < count < 60 for count in counts) > len(counts) / 3
