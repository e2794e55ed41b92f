"""Data directories that format 4 wrote, checked in as bytes: events of many types in the base and in the log, of one
account with a merge that was cut short between them.

`format_4/` was made once by `make_fixture.py` and is never made again.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from held import check, rows, stored_files
from make_fixture import BATCH_KEY, CONTACTS, DUE, EVENTS_LOGGED, LOGGED, ORDERS, TASK

from segidx.database import Account, Database
from segidx.model.events import Event, Order, Retraction
from segidx.model.products import BUILT_IN_PROPERTIES, ProductWrite
from segidx.model.windows import to_millis
from segidx.store.layout import FORMAT_VERSION

FIXTURE = Path(__file__).parent / "format_4"
# Of both accounts: events of the base, above them those of the log.
COUNTS = {
    "did(order)": 4,  # of contact-4 and the new one, and those of the base that stayed
    'did(order where source = "web")': 1,
    'did(line where product = "rope")': 2,
    'sum(line.amount where product = "rope") = 7': 1,
    'did(line where product = "żagiel")': 1,
    "did(visit)": 1,
    'did(visit where url = "/ż" and paid)': 1,
    "count(visit) = 2": 1,
    'did(visit where url = "/late")': 0,
    "did(task)": 1,
    'did(task where kind = "mail" and urgent = false)': 1,
    'did(task where kind = "rozmowa")': 0,
    "sum(task.cost) = 1.25": 1,
}
SHOP = COUNTS | {'did(line where product = "rope")': 3, "sum(line.amount) = 7": 1}


def held() -> dict[str, dict[str, Any]]:
    """What the shop holds: format 1's rows, the batch in the log, and the contact that an order brought."""
    found = rows()
    found["contact-3"] |= {"country": "NO", "spent": Decimal("77.77"), "email": "new@example.com"}
    found["contact-3"].pop("visits", None)
    found["contact-4"]["tags"] = (found["contact-4"]["tags"] | {"nowy"}) - {"all"}
    found["in the log"] = {"country": "PL", "born": date(2000, 2, 29), "consent": True}
    found["nowy kontakt"] = {}
    return found


def count_all(account: Account, counts: dict[str, int]) -> None:
    assert {text: account.count(text).count for text in counts} == counts
    assert list(account.verify()) == []


def test_the_fixture_is_as_it_was_checked_in() -> None:
    assert stored_files(FIXTURE) == [
        "accounts/default/data.mdb",
        "accounts/half/data.mdb",
        "accounts/shop/data.mdb",
        "segidx.json",
    ]


def test_base_and_log_together(database: Database) -> None:
    shop = database.account("shop")
    stats = shop.stats()
    assert (stats.format_version, stats.log_records) == (FORMAT_VERSION if shop._store.writable else 4, 2)
    assert stats.contacts == CONTACTS + 3
    check(shop, held())
    count_all(shop, SHOP)
    with shop._store.snapshot() as snapshot:
        assert snapshot.newest_event == to_millis(DUE)
        assert snapshot.events_merged is None
    assert shop.event_types["task"].properties == TASK.properties


def test_there_are_no_products_yet(database: Database) -> None:
    """The catalogue came to format 4 later."""
    shop = database.account("shop")
    assert (shop.products(), list(shop.product_schema)) == ([], list(BUILT_IN_PROPERTIES))
    assert shop.count('did(line where product.producer = "a")').count == 0
    assert shop.count('did(line where product = "rope" and product.category is not set)').count == 3


def test_products_are_written(place: Path) -> None:
    with Database.open(place) as database:
        for name in ("shop", "half"):
            account = database.account(name)
            account.write_products([ProductWrite("rope", {"category": "sails", "accessory_of": ["żagiel"]})])
            account.merge()
            counts = SHOP if name == "shop" else COUNTS
            assert (
                account.count('did(line where product.accessory_of = "żagiel")').count
                == (counts['did(line where product = "rope")'])
            )
            assert list(account.verify()) == []
    with Database.open(place, read_only=True) as database:
        assert [each.product_id for each in database.account("shop").products()] == ["rope"]


def test_a_merge_cut_short(database: Database) -> None:
    half = database.account("half")
    with half._store.snapshot() as snapshot:
        assert snapshot.events_merged is not None
        assert snapshot.events_merged.generation == snapshot.generation - 1
    count_all(half, COUNTS | {"did(visit)": 2})


def test_they_are_merged_and_written_on(place: Path) -> None:
    with Database.open(place) as database:
        for name, counts in (("shop", SHOP), ("half", COUNTS | {"did(visit)": 2})):
            account = database.account(name)
            if name == "shop":
                assert account.write(LOGGED, batch_key=BATCH_KEY).replayed
            account.merge()
            assert account.stats().log_bytes == 0
            count_all(account, counts)
            # What was taken back stays away, and what has a revision gives way to a greater one only.
            again: list[Order | Event] = [
                *(event for event in EVENTS_LOGGED if not isinstance(event, Retraction)),
                *(order for order in ORDERS if order.order_id == "return-1"),
                Event("task", "never seen", "contact-7", DUE, revision=8),
            ]
            account.write_events(again)
            count_all(account, counts)
            account.write_events([Event("visit", "visit-2", "contact-2", DUE, revision=6)])
            account.write_events([Event("task", "never seen", "contact-7", DUE, revision=10)])
            now = counts | {"did(visit)": counts["did(visit)"] + 1, "count(visit) = 2": 0, "did(task)": 2}
            for _ in range(2):
                count_all(account, now)
                account.merge()
