"""A data directory that format 1 wrote, checked in as bytes, is opened, counted and written to by every later segidx.

`format_1/` was made once and is never made again. What it must answer is worked out here from the
rows it was made of, in plain Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from held import check, rows, stored_files
from make_fixture import ACCOUNT, CONTACTS, FIELDS, fields_of

from segidx.database import Account, Database

FIXTURE = Path(__file__).parent / "format_1"


@pytest.fixture
def shop(place: Path) -> Iterator[Account]:
    with Database.open(place) as database:
        yield database.account("shop")


def test_the_fixture_is_as_it_was_checked_in() -> None:
    assert stored_files(FIXTURE) == [
        "accounts/default/data.mdb",
        "accounts/shop/data.mdb",
        "segidx.json",
    ]


def test_the_catalog(shop: Account) -> None:
    assert shop.info == ACCOUNT
    assert shop.schema().fields == FIELDS
    stats = shop.stats()
    assert (stats.generation, stats.contacts) == (3, CONTACTS + 1)
    by_name = {field.name: field for field in stats.fields}
    assert (by_name["born"].minimum, by_name["spent"].minimum) == (date(1900, 1, 1), Decimal("-9.99"))


def test_every_condition(shop: Account) -> None:
    check(shop, rows())


def test_every_contact(shop: Account) -> None:
    for contact_id, fields in rows().items():
        assert shop.get(contact_id).fields == fields


def test_read_only(place: Path) -> None:
    with Database.open(place, read_only=True) as database:
        assert [account.name for account in database.accounts()] == ["default", "shop"]
        assert database.account().count("everyone").count == 0
        check(database.account("shop"), rows())


def test_it_is_written_on(place: Path) -> None:
    """Dictionaries, postings, columns and counts of old are changed and grow, and all stay right."""
    held = rows()
    with Database.open(place) as database:
        shop = database.account("shop")
        given: list[tuple[str, dict[str, Any]]] = [(f"new-{i}", fields_of(i + 1)) for i in range(100)]
        given += [(f"contact-{i}", {"country": "FR", "email": f"user{i}2@example.com"}) for i in range(0, 150, 3)]
        result = shop.upsert(given)
        assert (result.accepted, result.created, result.generation) == (150, 100, 4)
        for contact_id, fields in given:
            held.setdefault(contact_id, {}).update(fields)
        check(shop, held)
    with Database.open(place) as database:
        check(database.account("shop"), held)
