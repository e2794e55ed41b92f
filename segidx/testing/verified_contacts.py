"""A small account of contacts with every kind of field, in the base and in the log, for tests of `verify`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from segidx.database import Database
from segidx.model.schema import Field, FieldType
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store.layout import channel_code

FIELDS = [
    Field("n", FieldType.NUMBER, 2),
    Field("city", FieldType.CATEGORY),
    Field("note", FieldType.TEXT),
    Field("tags", FieldType.TAGS),
    Field("vip", FieldType.BOOL),
    Field("born", FieldType.DATE),
    Field("seen", FieldType.TIMESTAMP),
    Field("email", FieldType.TEXT),
]
N, CITY, NOTE, TAGS, VIP, BORN, SEEN, EMAIL = range(1, 9)
MERGED, CONTACTS = 300, 340  # contacts that the base knows, and all
HARD_BOUNCED = channel_code(Channel.EMAIL, ChannelFlag.HARD_BOUNCED)
SUPPRESSED = channel_code(Channel.EMAIL, None)


def write(i: int, version: int = 0) -> ContactWrite:
    """Contact i with every field, differently in each version."""
    return ContactWrite(
        f"contact-{i}",
        {
            "n": i + 1000 * version,
            "city": f"city-{(i + version) % 7}",
            "note": "common" if i % 3 else f"rare {i // 30}",
            "tags": {f"third-{i % 3}", f"version-{version}"},
            "vip": (i + version) % 2 == 0,
            "born": date(1990, 1, 1) + timedelta(days=i + version),
            "seen": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=i),
            "email": f"{i}@{version}.example",
        },
        channels={
            Channel.EMAIL: {ChannelFlag.CONSENT: True, ChannelFlag.HARD_BOUNCED: i % 5 == 0},
            Channel.SMS: {ChannelFlag.UNSUBSCRIBED: i % 7 == 0, ChannelFlag.COMPLAINED: i % 11 == 0},
        },
    )


def make(path: Path) -> None:
    """An account whose contacts from 200 on the log changes: 200 to 299 are in the base, 300 to 339 are not."""
    with Database.open(path, create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.write([write(i) for i in range(MERGED)], batch_key="first")
        account.merge()
        account.write([write(i, 1) for i in range(200, CONTACTS)], batch_key="second")
        account.write([ContactWrite("contact-200", {"n": None, "tags": None, "note": None})], batch_key="third")
        account.write([ContactWrite("contact-201", tags_added={"tags": ["late"]})])
