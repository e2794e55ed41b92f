"""Bands that an account declares: kept, seen at once, replaced under their name, taken away, refused, and named where
damaged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest import writer
from segidx.model.bands import bands
from segidx.model.errors import (
    CorruptData,
    InvalidArgument,
    InvalidValue,
    ReadOnly,
    SegidxError,
    TypeMismatch,
    UnfinishedExpression,
    UnknownBand,
    UnknownBands,
    UnknownEventType,
    UnknownProperty,
)
from segidx.model.events import EventProperty, EventType, Order
from segidx.model.expression import orders
from segidx.model.schema import AccountInfo, FieldType
from segidx.store.layout import DB_META, META_BANDS

NOW = 1_760_000_000_000


def opened(path: Path, *, read_only: bool = False) -> Database:
    return Database.open(path / "data", create=not read_only, read_only=read_only, clock=lambda: NOW)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with opened(tmp_path) as database:
        yield database.account()


def test_they_are_kept_and_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as database:
        account = database.account()
        assert account.bands == {}
        account.write_events([Order("1", "ann", datetime(2025, 1, 1, tzinfo=UTC), amount=Decimal(300))])
        generation = account.stats().generation
        first = account.declare_bands("spend", "sum(order.amount)", [100, 500])
        assert account.count('band(spend) = "100-500"').count == 1
        assert account.declare_bands("spend", "sum(order.amount)", [100, 500], first.labels) == first
        spend = account.declare_bands(
            "spend", "sum(order.amount)", [200, Decimal("299.99")], ["no", "low", "mid", "high"]
        )
        assert account.count('band(spend) = "high"').count == 1
        often = account.declare_bands("often", orders().count().value, [2])  # type: ignore[arg-type]
        assert account.bands == {"often": often, "spend": spend}
        assert list(account.bands) == ["often", "spend"]
        assert account.stats().generation == generation
        assert list(account.verify()) == []
        assert database.create_account(AccountInfo("other")).bands == {}
    with opened(tmp_path, read_only=True) as database:
        account = database.account()
        assert account.bands == {"often": often, "spend": spend}
        assert account.count('band(often) = "<2" and crossed(spend, 200)').count == 1
        with pytest.raises(ReadOnly):
            account.declare_bands("spend", "sum(order.amount)", [1])


def test_they_are_asked_for_at_once(account: Account) -> None:
    account.upsert([("ann", {})])
    with pytest.raises(UnknownBands, match=r"none are declared \(segidx bands set\)"):
        account.count('band(spend) = "none"')
    account.declare_bands("spend", "sum(order.amount)", [100])
    assert account.count('band(spend) = "none"').count == 1
    account.declare_bands("spend", "count(order)", [1], ["zero", "under", "some"])
    assert account.count('band(spend) = "zero"').count == 1
    with pytest.raises(UnknownBand):
        account.count('band(spend) = "none"')


def test_they_are_taken_away(account: Account) -> None:
    account.upsert([("ann", {})])
    account.declare_bands("spend", "sum(order.amount)", [100])
    often = account.declare_bands("often", "count(order)", [1])
    account.remove_bands("spend")
    assert account.bands == {"often": often}
    with pytest.raises(UnknownBands):
        account.count('band(spend) = "none"')
    with pytest.raises(UnknownBands):
        account.remove_bands("spend")
    account.declare_bands("spend", "count(order)", [1])
    assert account.count('band(spend) = "none"').count == 1


@pytest.mark.parametrize(
    ("value", "thresholds", "error", "message"),
    [
        ("sum(ordre.amount)", [100], UnknownEventType, "did you mean 'order'"),
        ("sum(order.amuont)", [100], UnknownProperty, "did you mean 'amount'"),
        ("sum(order.source)", [100], TypeMismatch, "is made of numbers"),
        ("count(visit where urls is set)", [1], UnknownProperty, "did you mean 'url'"),
        ("count(visit where ...)", [1], UnfinishedExpression, "unfinished"),
        ("count(interaction)", [1], InvalidArgument, "is a group of them"),
        ("average(order.amount)", [100], InvalidArgument, "a count of events or a sum"),
        ("sum(order.amount) * 2", [100], InvalidArgument, "is no value of bands"),
        ("sum(order.amount)", [Decimal("0.001")], InvalidArgument, "more decimals than the 2 of its value"),
        ("sum(visit.dwell)", [Decimal("0.0001")], InvalidArgument, "more decimals than the 3 of its value"),
        ("sum(download.size)", [Decimal("0.5")], InvalidArgument, "more decimals than the 0 of its value"),
        ("count(order)", [Decimal("1.5")], InvalidArgument, "more decimals than the 0 of its value"),
        ("sum(order.amount)", [Decimal("1e17")], InvalidArgument, "is larger than any value"),
        ("sum(order.amount)", [0.5], InvalidValue, "not exact"),
        ("sum(order.amount)", [500, 100], InvalidArgument, "thresholds ascend"),
    ],
)
def test_what_cannot_be_declared(
    account: Account, value: str, thresholds: list[Decimal], error: type[SegidxError], message: str
) -> None:
    account.declare_event_types([EventType("download", (EventProperty("size", FieldType.NUMBER, 0),))])
    with pytest.raises(error, match=message):
        account.declare_bands("spend", value, thresholds)
    assert account.bands == {}


def test_an_account_has_so_many(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_BANDS", 2)
    for name in ("one", "two"):
        account.declare_bands(name, "count(order)", [1])
    with pytest.raises(InvalidArgument, match="under at most 2 names"):
        account.declare_bands("three", "count(order)", [1])
    assert account.declare_bands("two", "count(order)", [2]) == account.bands["two"]
    assert list(account.bands) == ["one", "two"]


def test_as_they_are_stored(account: Account) -> None:
    account.declare_bands("spend", "sum(order.amount where paid)", [100, Decimal("99.50") * 10])
    with account._store.write() as write:
        stored = bytes(write.txn.get(META_BANDS, db=write.dbs[DB_META]) or b"")
    assert stored == (
        b'{"spend": {"value": "sum(order.amount where paid = true)", "thresholds": ["100", "995"],'
        b' "labels": ["none", "<100", "100-995", "995+"]}}'
    )
    assert account.bands["spend"] == bands(
        "spend",
        orders().where(account.bands["spend"].value.events.where).sum("amount").value,  # type: ignore[arg-type]
        [100, 995],
    )


@pytest.mark.parametrize(
    "stored",
    [
        b'{"spend": {"value": "order.amount", "thresholds": ["1"], "labels": ["a", "b", "c"]}}',
        b'{"spend": {"value": "count(order)", "thresholds": ["x"], "labels": ["a", "b", "c"]}}',
        b'{"spend": {"value": "count(order)", "thresholds": ["1"], "labels": ["a", "b"]}}',
        b'{"spend": {"value": "count(order)", "thresholds": ["1"]}}',
        b'{"spend": {"value": "count(order)", "thresholds": "1", "labels": ["a", "b", "c"]}}',
        b'{"spend": ["count(order)"]}',
        b'{"Spend": {"value": "count(order)", "thresholds": ["1"], "labels": ["a", "b", "c"]}}',
        b"[]",
        b"{",
    ],
)
def test_damaged_bands_are_named(tmp_path: Path, stored: bytes) -> None:
    with opened(tmp_path) as database, database.account()._store.write() as write:
        write.txn.put(META_BANDS, stored, db=write.dbs[DB_META])
    with opened(tmp_path, read_only=True) as database, pytest.raises(CorruptData, match="cannot be read"):
        database.account().count('band(spend) = "a"')
