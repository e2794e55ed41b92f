"""Makes the tiny data directory of the current format that a `test_format_N.py` opens for ever.

    python tests/compat/make_fixture.py DIR

Run it once for a new format, into a new folder; never again over an old one: the point of the fixture is that it was
written by the code of its time.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import lmdb

from segidx.database import Database
from segidx.model.events import Order, OrderLine
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store.layout import DATABASES

ACCOUNT = AccountInfo("shop", "Europe/Warsaw", "PLN", 2)
FIELDS = (
    Field("tags", FieldType.TAGS),
    Field("interests", FieldType.TAGS),
    Field("country", FieldType.CATEGORY),
    Field("spent", FieldType.NUMBER, 2),
    Field("visits", FieldType.NUMBER),
    Field("seen", FieldType.TIMESTAMP),
    Field("born", FieldType.DATE),
    Field("consent", FieldType.BOOL),
    Field("email", FieldType.TEXT),
)
COUNTRIES = ("PL", "DE", "Österreich")
CONTACTS = 200


def fields_of(i: int) -> dict[str, object]:
    """What contact number i is given at first; every seventh has nothing at all."""
    if i % 7 == 6:
        return {}
    fields: dict[str, object] = {
        "tags": {"all", f"third-{i % 3}"},
        "country": COUNTRIES[i % 3],
        "spent": Decimal(i * i - 1000).scaleb(-2),
        "seen": datetime(2024, 3, 31, i % 24, 30, 0, 250_000, UTC),
        "born": date(1900 + i % 120, 1 + i % 12, 1 + i % 28),
        "consent": i % 2 == 0,
        "email": "łódź@example.com" if i % 2 else f"user{i}@example.com",  # one has a posting, the others none
    }
    if i % 5 == 0:
        fields |= {"interests": {"żagle"}, "visits": 10**15 + i}
    return fields


BATCH_KEY = "the last batch"
LOGGED = [
    ContactWrite("contact-3", {"country": "NO", "spent": Decimal("77.77"), "visits": None, "email": "new@example.com"}),
    ContactWrite("contact-4", tags_added={"tags": ["nowy"]}, tags_removed={"tags": ["all"]}),
    ContactWrite(
        "in the log",
        {"country": "PL", "born": date(2000, 2, 29), "consent": True},
        channels={Channel.EMAIL: {ChannelFlag.CONSENT: True}, Channel.SMS: {ChannelFlag.COMPLAINED: True}},
    ),
    ContactWrite("nobody", must_exist=True),
]
# Since format 3.
ORDERS = [
    Order(
        "order-1",
        "contact-0",
        datetime(2024, 1, 5, 12, tzinfo=UTC),
        "shop",
        True,
        lines=[
            OrderLine("żagiel", "ACME", "boats", Decimal(2), Decimal("10.50")),
            OrderLine("rope", category="boats", quantity=Decimal("1.5"), amount=Decimal("3.33")),
        ],
    ),
    Order("zamówienie 2", "contact-1", datetime(2024, 3, 31, 0, 30, tzinfo=UTC), "web", False, Decimal("99.99")),
    Order(
        "return-1",
        "contact-0",
        datetime(2024, 2, 1, tzinfo=UTC),
        lines=[OrderLine("żagiel", quantity=Decimal(-1), unit_price=Decimal("10.50"))],
    ),
    Order("order-3", "contact-2", datetime(2024, 5, 1, tzinfo=UTC)),
]
# The last of them sent again, for another contact and of an earlier time.
ORDERS_AGAIN = [
    Order(
        "order-3",
        "contact-3",
        datetime(2023, 12, 31, 23, 59, 59, tzinfo=UTC),
        "shop",
        True,
        lines=[OrderLine("rope", unit_price=Decimal("0.5"))],
    ),
]


def main(place: Path) -> None:
    with tempfile.TemporaryDirectory() as build:
        write(Path(build))
        for name in ("default", "shop"):
            target = place / "accounts" / name
            target.mkdir(parents=True)
            source = Path(build) / "accounts" / name
            with lmdb.open(str(source), max_dbs=len(DATABASES), readonly=True, lock=False) as env:
                env.copy(str(target), compact=True)
        (place / "segidx.json").write_bytes((Path(build) / "segidx.json").read_bytes())


def write(directory: Path) -> None:
    with Database.open(directory, create=True) as database:
        shop = database.create_account(ACCOUNT)
        shop.update_schema(FIELDS)
        shop.upsert([(f"contact-{i}", fields_of(i)) for i in range(CONTACTS)])
        # Changes too, so that emptied values and removed tags are in the file.
        shop.upsert([("contact-0", {"country": "FR", "spent": None}), ("kontakt ż", {"email": "ż@example.com"})])
        shop.tag(["contact-0", "contact-1"], add=["late"], remove=["third-1"])
        # Since format 2: flags, and changes that are in the log only, with new contacts, strings and tags.
        shop.write([ContactWrite("contact-2", channels={Channel.EMAIL: {ChannelFlag.CONSENT: True}})])
        shop.merge()
        shop.import_orders(ORDERS)
        shop.import_orders(ORDERS_AGAIN)
        shop.write(LOGGED, batch_key=BATCH_KEY)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
