"""Makes the tiny data directory of the current format that a `test_format_N.py` opens for ever.

    python tests/compat/make_fixture.py DIR [ACCOUNT...]

Run it once for a new format, into a new folder; never again over an old one: the point of the fixture is that it was
written by the code of its time. What comes to a format late has an account of its own, which is made alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import lmdb

from segidx.database import Account, Database
from segidx.model.events import LINE, Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.products import ProductWrite
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.model.source_settings import SourceSettings
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store import base
from segidx.store.environment import WriteTransaction
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
# Since format 4. Of what is in the base and in the log by then: moved, taken back, taken back before it came, given a
# revision, and a type that the account declares.
TASK = EventType(
    "task",
    (
        EventProperty("kind", FieldType.CATEGORY),
        EventProperty("effort", FieldType.NUMBER, 1),
        EventProperty("cost", FieldType.NUMBER, None),
        EventProperty("due", FieldType.TIMESTAMP),
        EventProperty("urgent", FieldType.BOOL),
    ),
)
DUE = datetime(2024, 6, 1, 12, tzinfo=UTC)
EVENTS = [
    Event("visit", "visit-1", "contact-1", DUE, {"url": "/ż", "paid": True, "dwell": Decimal("1.5")}),
    Event("visit", "visit-2", "contact-1", DUE, {"url": "/ż"}, revision=5),
    Event("task", "zadanie", "contact-5", DUE, {"kind": "rozmowa", "effort": Decimal("2.5"), "due": DUE}),
    Retraction("visit", "visit-3"),
]
EVENTS_LOGGED = [
    Order("order-1", "contact-4", DUE, "shop", True, lines=[OrderLine("rope", "ACME", amount=Decimal(7))]),
    Retraction("order", "return-1"),
    Order("order-5", "nowy kontakt", DUE, lines=[OrderLine("rope"), OrderLine("żagiel", amount=Decimal("0.5"))]),
    Event("visit", "visit-2", "contact-2", DUE, {"url": "/late"}, revision=4),
    Event("visit", "visit-3", "contact-2", DUE),
    Event("task", "zadanie", "contact-6", DUE, {"kind": "mail", "cost": Decimal("1.25"), "urgent": False}, revision=1),
    Retraction("task", "never seen", 9),
]
# Since format 5: numbers kept beside the events, what dropped events came to, and what came to format 4 late: a
# catalogue, tracked fields, bands, groups and settings. The orders of contact-N are N, of 100 each, from 2023 on.
TRACKED = Field("stage", FieldType.CATEGORY, tracked=True)
HORIZON = datetime(2023, 6, 1, tzinfo=UTC)
KEPT_CONTACTS = 12
KEPT_ORDERS = [
    Order(
        f"kept {i}-{n}",
        f"contact-{i}",
        datetime(2023, 1 + n, 1 + i, 12, tzinfo=UTC),
        "shop",
        n % 2 == 0,
        Decimal(100),
        lines=[OrderLine("rope", amount=Decimal(100))],
    )
    for i in range(KEPT_CONTACTS)
    for n in range(i)
]
KEPT_LOGGED = [
    Order("kept 11-10", "contact-0", datetime(2023, 12, 31, tzinfo=UTC), "shop", True, Decimal(700)),
    Retraction("order", "kept 9-7"),
    Event("visit", "kept visit", "contact-1", DUE, {"source": "email"}),
    Order("of a visit", "contact-1", DUE, amount=Decimal("0.5")),
]

# Late in format 6: chunks of columns that leave out the rows without a value, of 4 and of 8 bytes a value, of fields
# and of derived numbers; and what the log holds above them.
SPARSE_FIELDS = (Field("n", FieldType.NUMBER), Field("points", FieldType.NUMBER), Field("score", FieldType.NUMBER, 1))
SPARSE_CONTACTS = 1500


def sparse_fields_of(i: int) -> dict[str, object]:
    """What contact number i is given; every one has a `n`, and few have more."""
    fields: dict[str, object] = {"n": i}
    if i % 50 == 0:
        fields["points"] = (i - 250) * 10**9
    if i % 40 == 7:
        fields["score"] = Decimal(i * i).scaleb(-1)
    return fields


def sparse_orders_of(i: int) -> list[Order]:
    """The two orders of contact number i, if it has any."""
    if i % 60 != 30:
        return []
    times = datetime(2023, 1, 1, i % 24, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i // 2)
    return [Order(f"order {i}-{n}", f"c{i}", time, amount=Decimal(10 * i)) for n, time in enumerate(times)]


SPARSE_LOGGED = [
    ContactWrite("c50", {"points": None}),
    ContactWrite("c51", {"points": 123}),
    ContactWrite("c7", {"score": Decimal("0.5")}),
]
SPARSE_ORDER = Order("one more", "c31", DUE, amount=Decimal(5))

ACCOUNTS = ("default", "shop", "half", "kept", "sparse")


def main(place: Path, names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as build:
        write(Path(build))
        for name in names or ACCOUNTS:
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
        shop.declare_event_types([TASK])
        shop.write_events(EVENTS)
        shop.merge()
        shop.write(LOGGED, batch_key=BATCH_KEY)
        shop.write_events(EVENTS_LOGGED)
        # The same events in an account whose merge was cut short.
        half = database.create_account(replace(ACCOUNT, name="half"))
        half.upsert([(f"contact-{i}", {}) for i in range(CONTACTS)])
        half.declare_event_types([TASK])
        half.merge()
        half.write_events([*ORDERS, *EVENTS])
        half.merge()
        half.write_events(EVENTS_LOGGED)
        cut_short(half)
        half.write_events([Event("visit", "behind the cut", "contact-3", DUE)])
        keep(database.create_account(replace(ACCOUNT, name="kept")))
        leave_out(database.create_account(replace(ACCOUNT, name="sparse")))


def keep(account: Account) -> None:
    account.update_schema([TRACKED])
    account.upsert([(f"contact-{i}", {"stage": "new"}) for i in range(KEPT_CONTACTS)])
    account.upsert([("contact-3", {"stage": "mql"})])
    account.import_orders(KEPT_ORDERS)
    account.declare_bands("spend", "sum(order.amount)", [100, 500, 1000])
    account.declare_bands("often", "count(order)", [2, 10])  # since format 6 bands are bitmaps
    account.declare_derived("large", "count(order where amount >= 100)")
    account.set_event_group("touch", ["order", "cart"])
    account.set_source_settings(SourceSettings(order_minutes=10, own_hosts=("example.com",)))
    account.write_products([ProductWrite("rope", {"producer": "ACME"})])
    account.merge()
    account.prune(HORIZON, ["order"])
    account.write_events(KEPT_LOGGED)


def leave_out(account: Account) -> None:
    account.update_schema(SPARSE_FIELDS)
    account.upsert([(f"c{i}", sparse_fields_of(i)) for i in range(SPARSE_CONTACTS)])
    account.write_events([order for i in range(SPARSE_CONTACTS) for order in sparse_orders_of(i)])
    account.merge()
    account.write(SPARSE_LOGGED, events=[SPARSE_ORDER])


def cut_short(account: Account) -> None:
    """Begin a merge, and leave it as a process that is killed does."""
    base.SLICE_BYTES = 1
    write = account._store.write

    def limited() -> AbstractContextManager[WriteTransaction]:
        with account._store.snapshot() as snapshot:
            merged = snapshot.events_merged
        if merged is not None and merged.has(LINE.number, 0):
            raise SystemExit
        return write()

    account._store.write = limited  # type: ignore[method-assign]
    with suppress(SystemExit):
        account.merge()
    account._store.write = write  # type: ignore[method-assign]
    with account._store.snapshot() as snapshot:
        assert snapshot.events_merged is not None, "orders and lines are in the base, visits are not"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
