"""Accounts of older formats: read as they are, brought to the present format by their first writer, and merged into."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.model.errors import Closed, GenerationExpired, ReadOnly
from segidx.model.events import (
    BUILT_IN,
    Event,
    EventProperty,
    EventType,
    Order,
    OrderLine,
    Retraction,
)
from segidx.model.expression import Everyone
from segidx.model.schema import FieldType
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store.layout import FORMAT_VERSION
from segidx.testing.reader import Reader
from segidx.testing.stored_orders import StoredLine, StoredOrder, put_orders, read_orders

COMPAT = Path(__file__).parents[1] / "compat"
AT = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMPAT / "format_1", tmp_path / "data"))


@pytest.fixture
def place_2(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMPAT / "format_2", tmp_path / "data 2"))


def test_reading_changes_nothing(place: Path) -> None:
    before = (place / "accounts/shop/data.mdb").read_bytes()
    with Database.open(place, read_only=True) as database:
        shop = database.account("shop")
        stats = shop.stats()
        assert (stats.format_version, stats.generation, stats.merged_generation) == (1, 3, 3)
        assert (stats.log_bytes, stats.log_records, stats.overlay_bytes, stats.merge_lag_seconds) == (0, 0, 0, 0)
        assert shop.changes(3) == []
        with pytest.raises(GenerationExpired):
            shop.changes(2)
        with pytest.raises(ReadOnly):
            shop.write([ContactWrite("a")])
        assert shop.generation() == 3
        assert list(shop.verify()) == []
    assert (place / "accounts/shop/data.mdb").read_bytes() == before


def test_the_first_writer_brings_it_to_the_present_format(place: Path) -> None:
    with Database.open(place) as database:
        shop = database.account("shop")
        stats = shop.stats()
        assert (stats.format_version, stats.generation, stats.merged_generation) == (FORMAT_VERSION, 3, 3)
        contacts = stats.contacts
        with pytest.raises(GenerationExpired):
            shop.changes(2)
        rows = [ContactWrite("contact-0", {"country": "ES"}), ContactWrite("new", {"country": "ES"}, {"tags": ["n"]})]
        result = shop.write(rows, batch_key="k")
        assert (result.generation, result.created) == (4, 1)
        shop.write([ContactWrite("new", channels={Channel.SMS: {ChannelFlag.CONSENT: True}})])
        for _ in range(2):  # before and after a merge
            assert shop.count('country = "ES"').count == 2
            assert shop.count('reachable("sms")').count == 1
            assert shop.count("everyone").count == contacts + 1
            assert [part.generation for part in shop.changes(3)] == [4, 5]
            assert shop.write(rows, batch_key="k").replayed
            assert list(shop.verify()) == []
            shop.merge()
    with Database.open(place, read_only=True) as database:
        assert database.account("shop").count('tags has "n"').count == 1
        assert database.account("default").stats().format_version == 1, "nobody has written to that one"


def test_a_reader_of_the_old_format_is_told_to_open_it_again(place: Path) -> None:
    with Reader(place, "shop") as reader:
        generation, ids = reader.members(Everyone(), AT)
        assert generation == 3
        with Database.open(place) as database:
            assert reader.members(Everyone(), AT) == (3, ids), "nothing was written yet"
            database.account("shop").write([ContactWrite("new")])
            with pytest.raises(Closed, match="open it again"):
                reader.members(Everyone(), AT)
    with Reader(place, "shop") as reader:
        assert reader.members(Everyone(), AT) == (4, ids | {"new"})


# --- format 2, which had no events -------------------------------------------------------------------------


def test_reading_format_2_shows_no_events_and_changes_nothing(place_2: Path) -> None:
    before = (place_2 / "accounts/shop/data.mdb").read_bytes()
    with Database.open(place_2, read_only=True) as database:
        shop = database.account("shop")
        stats = shop.stats()
        assert (stats.format_version, stats.generation, stats.merged_generation) == (2, 5, 4)
        assert "events" not in stats.sizes
        assert list(shop.verify()) == []
        with shop._store.snapshot() as snapshot:
            assert snapshot.newest_event is None
            for type in BUILT_IN:
                assert snapshot.event_ranges(type) == []
                assert snapshot.event_blocks(type, 0, 0, 1000) == ()
                assert len(snapshot.event_dictionary(type, 0)) == 0
        assert read_orders(shop) == {}
    assert (place_2 / "accounts/shop/data.mdb").read_bytes() == before


def test_the_first_writer_brings_format_2_to_the_present_format(place_2: Path) -> None:
    with Database.open(place_2) as database:
        shop = database.account("shop")
        stats = shop.stats()
        assert (stats.format_version, stats.generation, stats.merged_generation) == (FORMAT_VERSION, 5, 4)
        assert stats.sizes["events"] == 0
        assert read_orders(shop) == {}
        assert list(shop.verify()) == []
        order = StoredOrder("first", 3, 1_700_000_000_000, "shop", True, 100, (StoredLine("p"),))
        put_orders(shop, [order])
        assert shop.generation() == 6
        assert read_orders(shop) == {"first": order}
        assert list(shop.verify()) == []
    with Database.open(place_2, read_only=True) as database:
        assert read_orders(database.account("shop")) == {"first": order}
        assert database.account("default").stats().format_version == 2, "nobody has written to that one"


def test_a_reader_of_format_2_is_told_to_open_it_again(place_2: Path) -> None:
    with Reader(place_2, "shop") as reader:
        generation, ids = reader.members(Everyone(), AT)
        assert generation == 5
        with Database.open(place_2) as database:
            assert reader.members(Everyone(), AT) == (5, ids), "nothing was written yet"
            database.account("shop").write([ContactWrite("new")])
            with pytest.raises(Closed, match="open it again"):
                reader.members(Everyone(), AT)
    with Reader(place_2, "shop") as reader:
        assert reader.members(Everyone(), AT) == (6, ids | {"new"})


@pytest.mark.parametrize("older", ["place", "place_2"])
def test_a_reader_notices_an_upgrade_that_wrote_nothing_else(older: str, request: pytest.FixtureRequest) -> None:
    """It remembers the catalog, and with it the format, by version of the schema."""
    directory = request.getfixturevalue(older)
    with Reader(directory, "shop") as reader:
        generation, _ = reader.members(Everyone(), AT)
        with Database.open(directory) as database:
            assert database.account("shop").generation() == generation, "opened, and so brought to the present format"
            with pytest.raises(Closed, match="open it again"):
                reader.members(Everyone(), AT)
    with Reader(directory, "shop") as reader:
        assert reader.members(Everyone(), AT)[0] == generation


@pytest.mark.parametrize("version", [1, 2, 3])
def test_events_are_written_to_accounts_of_older_formats(version: int, tmp_path: Path) -> None:
    """Above the orders of format 3 too; and merged."""
    place = Path(shutil.copytree(COMPAT / f"format_{version}", tmp_path / "data"))
    task = EventType("task", (EventProperty("effort", FieldType.NUMBER),))
    counts = {"did(visit)": 1, "did(task where effort = 3)": 1, 'did(line where product = "new")': 1}
    if version == 3:
        counts |= {"did(order)": 3, 'did(line where product = "żagiel")': 0, 'did(line where product = "rope")': 1}
    with Database.open(place) as database:
        shop = database.account("shop")
        shop.declare_event_types([task])
        for _ in range(2):  # again: nothing changes
            shop.write_events(
                [
                    Order("order-1", "contact-9", AT, lines=[OrderLine("new")]),
                    Retraction("order", "return-1"),
                    Event("visit", "v", "contact-1", AT),
                    Event("task", "t", "new contact", AT, {"effort": 3}),
                ]
            )
            assert {text: shop.count(text).count for text in counts} == counts
            assert list(shop.verify()) == []
        shop.merge()
        assert {text: shop.count(text).count for text in counts} == counts
        assert list(shop.verify()) == []
    with Database.open(place, read_only=True) as database:
        shop = database.account("shop")
        assert shop.stats().format_version == FORMAT_VERSION
        assert {text: shop.count(text).count for text in counts} == counts
