"""Derived numbers that an account declares: kept, replaced, taken away, refused, and named where damaged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest import merger, writer
from segidx.model.derived import BUILT_IN
from segidx.model.errors import (
    CorruptData,
    InvalidArgument,
    ReadOnly,
    SegidxError,
    TypeMismatch,
    UnknownDerived,
    UnknownEventType,
    UnknownProperty,
)
from segidx.model.events import Order
from segidx.model.schema import Field, FieldType
from segidx.store.layout import DB_META, META_DERIVED

NOW = 1_760_000_000_000


def opened(path: Path, *, read_only: bool = False) -> Database:
    return Database.open(path / "data", create=not read_only, read_only=read_only, clock=lambda: NOW)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with opened(tmp_path) as database:
        yield database.account()


def test_they_are_kept_replaced_and_taken_away(tmp_path: Path) -> None:
    with opened(tmp_path) as database:
        account = database.account()
        assert account.derived == BUILT_IN
        generation = account.stats().generation
        first = account.declare_derived("paid", "sum(order.amount where amount > 10)")
        again = account.declare_derived("paid", "count(visit)")
        other = account.declare_derived("a_touch", "last(touch).time")
        assert first != again
        assert account.derived == {**BUILT_IN, "paid": again, "a_touch": other}
        assert list(account.derived) == sorted(account.derived)
        assert account.stats().generation == generation
    with opened(tmp_path, read_only=True) as database:
        account = database.account()
        assert account.derived["paid"] == again
        for write in (lambda: account.declare_derived("x", "count(visit)"), lambda: account.remove_derived("paid")):
            with pytest.raises(ReadOnly):
                write()
    with opened(tmp_path) as database:
        account = database.account()
        account.remove_derived("paid")
        assert account.derived == {**BUILT_IN, "a_touch": other}
        with pytest.raises(UnknownDerived, match="did you mean 'a_touch'"):
            account.remove_derived("a_tuoch")
        with pytest.raises(InvalidArgument, match="neither declared nor removed"):
            account.remove_derived("last_order")
        account.remove_derived("a_touch")
        with pytest.raises(UnknownDerived, match="none are declared"):
            account.remove_derived("a_touch")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("sum(ordre.amount)", UnknownEventType, "did you mean 'order'"),
        ("sum(order.amuont)", UnknownProperty, "did you mean 'amount'"),
        ("sum(order.source)", TypeMismatch, "is made of numbers"),
        ("count(visit where urls is set)", UnknownProperty, "did you mean 'url'"),
        ('count(order where source = "email")', InvalidArgument, "'source' in"),
        ("sum(order.amount where not paid)", InvalidArgument, "'paid' in"),
        ("count(visit where hour < 8)", InvalidArgument, "'hour' in"),
        ('count(line where producer = "A")', InvalidArgument, "'producer' in"),
        ('count(line where product.brand = "A")', InvalidArgument, "'product.brand' in"),
        ("sum(order.amount during last 1 day)", InvalidArgument, "has a window"),
    ],
)
def test_what_cannot_be_declared(account: Account, value: str, error: type[SegidxError], message: str) -> None:
    account.update_product_schema([Field("brand", FieldType.CATEGORY)])
    with pytest.raises(error, match=message):
        account.declare_derived("x", value)
    assert account.derived == BUILT_IN


def test_an_account_has_so_many(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_DERIVED", 2)
    for name in ("one", "two"):
        account.declare_derived(name, "count(order)")
    with pytest.raises(InvalidArgument, match="at most 2 derived numbers"):
        account.declare_derived("three", "count(order)")
    assert account.declare_derived("two", "count(visit)") == account.derived["two"]


@pytest.mark.parametrize("stored", [b'{"x": "order.amount"}', b'{"x": 7}', b'{"X": "count(visit)"}', b"[]", b"{"])
def test_damaged_ones_are_named(tmp_path: Path, stored: bytes) -> None:
    with opened(tmp_path) as database, database.account()._store.write() as write:
        write.txn.put(META_DERIVED, stored, db=write.dbs[DB_META])
    with opened(tmp_path, read_only=True) as database, pytest.raises(CorruptData, match="cannot be read"):
        database.account().count("everyone")


def uses_column(account: Account) -> bool:
    return "derived" in str(account.explain("sum(order.amount) >= 100"))


def test_columns_are_built_behind_bulk_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events in large numbers are not followed: questions are answered from them until the columns are built, on the
    merger's thread when no more come, or when that is asked for."""
    monkeypatch.setattr(writer, "BULK_EVENTS", 10)
    monkeypatch.setattr(merger, "QUIET_SECONDS", 3600.0)
    with opened(tmp_path) as database:
        account = database.account()
        few = [Order(f"few {i}", f"c{i}", datetime(2025, 1, 1, tzinfo=UTC), amount=Decimal(100)) for i in range(9)]
        account.import_orders(few)
        account.keep_derived()
        assert uses_column(account)
        account.import_orders([replace(few[0], order_id="followed")])
        assert uses_column(account)
        many = [replace(few[i % 9], order_id=f"many {i}", amount=Decimal(i)) for i in range(40)]
        account.import_orders(many)
        assert not uses_column(account)
        before = account.count("sum(order.amount) >= 200").count
        assert list(account.verify()) == []
        account.import_orders(many[:12])  # again, over columns that are not there
        account.keep_derived()
        assert uses_column(account)
        assert account.count("sum(order.amount) >= 200").count == before == 3
        assert account.count("count(order) >= 5").count == 9
        assert list(account.verify()) == []
        monkeypatch.setattr(merger, "QUIET_SECONDS", 0.05)
        account.import_orders([replace(order, order_id=f"again {order.order_id}") for order in many])
        end = time.monotonic() + 60
        while not uses_column(account):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert list(account.verify()) == []
        monkeypatch.setattr(merger, "QUIET_SECONDS", 3600.0)
        account.import_orders(many)
        assert not uses_column(account)
    with opened(tmp_path) as database:  # closed before they were built: they are when it is opened for writing
        account = database.account()
        account.merge()
        assert uses_column(account)
        assert list(account.verify()) == []
