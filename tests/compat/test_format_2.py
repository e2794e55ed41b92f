"""A data directory that format 2 wrote, checked in as bytes: some of it in the base, some only in the log.

`format_2/` was made once by `make_fixture.py` and is never made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from held import check, rows_with_log, stored_files
from make_fixture import BATCH_KEY, CONTACTS, LOGGED, fields_of

from segidx.database import Account, Database

FIXTURE = Path(__file__).parent / "format_2"
COUNTS = {
    'consented("email")': 2,
    'reachable("email")': 2,
    'suppressed("sms")': 1,
    'complained("sms") and country = "PL"': 1,
    'tags has "nowy"': 1,
}


@pytest.fixture
def shop(database: Database) -> Account:
    return database.account("shop")


def test_the_fixture_is_as_it_was_checked_in() -> None:
    assert stored_files(FIXTURE) == [
        "accounts/default/data.mdb",
        "accounts/shop/data.mdb",
        "segidx.json",
    ]


def test_base_and_log_together(shop: Account) -> None:
    stats = shop.stats()
    assert (stats.generation, stats.merged_generation, stats.log_records) == (5, 4, 1)
    assert stats.contacts == CONTACTS + 2
    check(shop, rows_with_log())
    for text, count in COUNTS.items():
        assert shop.count(text).count == count, text
    for contact_id, fields in rows_with_log().items():
        assert shop.get(contact_id).fields == fields
    assert list(shop.verify()) == []


def test_the_feed_goes_on_from_any_generation(shop: Account) -> None:
    changed = {c.contact_id for changes in shop.changes(4) for c in changes.contacts}
    assert changed == {"contact-3", "contact-4", "in the log"}
    assert [changes.generation for changes in shop.changes(0)] == [1, 2, 3, 4, 5]


def test_it_is_merged_and_written_on(place: Path) -> None:
    now = rows_with_log()
    with Database.open(place) as database:
        shop = database.account("shop")
        again = shop.write(LOGGED, batch_key=BATCH_KEY)
        assert (again.replayed, again.generation, len(again.rejects)) == (True, 5, 1)
        given: list[tuple[str, dict[str, Any]]] = [(f"new-{i}", fields_of(i + 1)) for i in range(100)]
        given += [(f"contact-{i}", {"country": "FR", "email": f"user{i}2@example.com"}) for i in range(0, 150, 3)]
        assert shop.upsert(given).created == 100
        for contact_id, fields in given:
            now.setdefault(contact_id, {}).update(fields)
        for _ in range(2):
            check(shop, now)
            assert list(shop.verify()) == []
            shop.merge()
    with Database.open(place) as database:
        check(database.account("shop"), now)
