"""A data directory that format 3 wrote, checked in as bytes: some of it in the base, orders too, some only in the log.

`format_3/` was made once by `make_fixture.py` and is never made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from held import check, rows_with_log, stored_files
from make_fixture import BATCH_KEY, CONTACTS, LOGGED, ORDERS, ORDERS_AGAIN, fields_of

from segidx.database import Account, Database
from segidx.model.windows import to_millis
from segidx.testing.stored_orders import StoredLine, StoredOrder, put_orders, read_orders

FIXTURE = Path(__file__).parent / "format_3"
COUNTS = {
    'consented("email")': 2,
    'reachable("email")': 2,
    'suppressed("sms")': 1,
    'complained("sms") and country = "PL"': 1,
    'tags has "nowy"': 1,
    "did(order)": 3,
    "never(order)": CONTACTS - 1,
    "did(order where paid = false)": 1,
    'did(line where product = "rope")': 2,
    "sum(order.amount) > 13": 2,
    'sum(line.amount where category = "boats") = 24.33': 1,
}
ORDERS_HELD = {
    order.order_id: order
    for order in (
        StoredOrder(
            "order-1",
            0,
            to_millis(ORDERS[0].time),
            "shop",
            True,
            2433,
            (
                StoredLine("żagiel", "ACME", "boats", 2000, 1050, 2100),
                StoredLine("rope", None, "boats", 1500, None, 333),
            ),
        ),
        StoredOrder("zamówienie 2", 1, to_millis(ORDERS[1].time), "web", False, 9999),
        StoredOrder(
            "return-1",
            0,
            to_millis(ORDERS[2].time),
            amount=-1050,
            lines=(StoredLine("żagiel", None, None, -1000, 1050, -1050),),
        ),
        StoredOrder(
            "order-3",
            3,
            to_millis(ORDERS_AGAIN[0].time),
            "shop",
            True,
            50,
            (StoredLine("rope", None, None, 1000, 50, 50),),
        ),
    )
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
    assert (stats.generation, stats.merged_generation, stats.log_records) == (7, 6, 1)
    assert stats.contacts == CONTACTS + 2
    check(shop, rows_with_log())
    for text, count in COUNTS.items():
        assert shop.count(text).count == count, text
    for contact_id, fields in rows_with_log().items():
        assert shop.get(contact_id).fields == fields
    assert list(shop.verify()) == []


def test_orders(shop: Account) -> None:
    assert read_orders(shop) == ORDERS_HELD
    with shop._store.snapshot() as snapshot:
        assert snapshot.newest_event == to_millis(ORDERS[3].time), "of the order that was sent again"


def test_orders_go_on(place: Path) -> None:
    now = ORDERS_HELD | {
        "order-1": StoredOrder("order-1", 5, 0, "new source"),
        "order-4": StoredOrder("order-4", 0, to_millis(ORDERS[0].time), lines=(StoredLine("rope"), StoredLine("new"))),
    }
    with Database.open(place) as database:
        shop = database.account("shop")
        put_orders(shop, [now["order-1"], now["order-4"]])
        assert read_orders(shop) == now
        assert list(shop.verify()) == []
    with Database.open(place, read_only=True) as database:
        assert read_orders(database.account("shop")) == now


def test_the_feed_goes_on_from_any_generation(shop: Account) -> None:
    changed = {c.contact_id for changes in shop.changes(6) for c in changes.contacts}
    assert changed == {"contact-3", "contact-4", "in the log"}
    assert [changes.generation for changes in shop.changes(0)] == [1, 2, 3, 4, 5, 6, 7]


def test_it_is_merged_and_written_on(place: Path) -> None:
    now = rows_with_log()
    with Database.open(place) as database:
        shop = database.account("shop")
        again = shop.write(LOGGED, batch_key=BATCH_KEY)
        assert (again.replayed, again.generation, len(again.rejects)) == (True, 7, 1)
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
