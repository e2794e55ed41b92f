"""Bands as bitmaps, over contacts of several ranges and of two stored values: columns, events and bitmaps agree while
events are merged range by range, behind merges that are killed, for bands that are declared before the events, after
them and otherwise, in other processes, and as of instants before the newest event. Damage and faults are found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.database import Account, Database
from segidx.exec.evaluate import count
from segidx.exec.query import prepare
from segidx.ingest import bands as building
from segidx.ingest import merger, writer
from segidx.model.derived import BUILT_IN
from segidx.model.events import Order, Retraction
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext
from segidx.plan.nodes import DerivedScan, Plan
from segidx.store import base
from segidx.store import derived as following
from segidx.store.bands import band_key
from segidx.store.derived import kept_numbers
from segidx.store.layout import DB_POSTINGS, HEADER_BYTES
from segidx.store.postings import shard_value

AT = datetime(2025, 3, 31, 12, 0, tzinfo=UTC)
CONTACTS = 70_000  # five ranges, of two stored values
BANDS = 'band(spend) = "{}"'.format
ASKED = [
    *map(BANDS, ("none", "<50", "50-200", "200+")),
    'band(spend) = "50-200" and tags has "vip"',
    'band(spend) in ("<50", "50-200") and not tags has "vip"',
    'not band(spend) = "<50"',
    'band(spend) in ("none", "200+")',
    "sum(order.amount) >= 200",
    "sum(order.amount) < 50",
    "sum(order.amount) >= 60",
    'band(often) = "1"',
    'band(often) in ("1", "2+")',
    'band(often) = "2+" and band(spend) = "200+"',
]


class Killed(Exception):
    """A merge that ends here."""


@pytest.fixture(autouse=True)
def merged_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merger, "MERGE_SECONDS", 100_000.0)


def opened(path: Path, *, read_only: bool = False) -> Database:
    return Database.open(path / "data", create=not read_only, read_only=read_only, clock=lambda: to_millis(AT))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as database:
        yield database


def begun(database: Database) -> Account:
    account = database.account()
    account.update_schema([Field("tags", FieldType.TAGS)])
    account.upsert([(f"c{n}", {}) for n in range(CONTACTS)])
    account.merge()
    account.tag([f"c{n}" for n in range(0, CONTACTS, 97)], add=["vip"])
    declare(account)
    return account


def declare(account: Account) -> None:
    account.declare_bands("spend", "sum(order.amount)", (50, 200))
    account.declare_bands("often", "count(order)", (1, 2), ("none", "below", "1", "2+"))


def orders(seed: int, size: int, contacts: int = CONTACTS, at: datetime = AT) -> list[Order | Retraction]:
    """Some of few ids, so that they are replaced, move to other contacts and are taken back."""
    rng = np.random.default_rng(seed)
    rows: list[Order | Retraction] = []
    for number in rng.choice(3 * size, size, replace=False).tolist():
        if rng.random() < 0.1:
            rows.append(Retraction("order", f"o{number}"))
        else:
            time = at - timedelta(minutes=int(rng.integers(1, 200_000)))
            amount = Decimal(int(rng.choice([-60, 10, 49, 50, 51, 150, 199, 200, 300])))
            rows.append(Order(f"o{number}", f"c{int(rng.integers(contacts))}", time, amount=amount))
    return rows


def pieces(plan: Plan) -> int:
    own = isinstance(plan, DerivedScan) and plan.pieces is not None
    return own + sum(map(pieces, plan.children))


def checked(account: Account, at: datetime = AT + timedelta(seconds=1), asked: list[str] = ASKED) -> int:
    """How many parts of all questions bitmaps answer, after counting each with and without rules."""
    used = 0
    for text in asked:
        found = []
        for optimised in (True, False):
            with account._store.snapshot() as snapshot:
                context = BindContext(snapshot, to_millis(at), account.info.tz)
                plan = prepare(text, context, optimised=optimised).plan
                found.append(count(plan, context))
                used += pieces(plan)
        assert found[0] == found[1], text
    return used


ALL = 12  # parts of ASKED that bitmaps answer: all but those of any order at all, and of a threshold that is none


def test_declared_before_and_after(database: Database) -> None:
    account = begun(database)
    assert checked(account) == 0
    account.write_events(orders(1, 4000))
    assert checked(account) == 0
    account.merge()
    assert checked(account) == ALL
    account.write_events(orders(2, 4000))
    assert checked(account) == ALL  # with what the log adds, replaces and takes back
    account.merge()
    assert checked(account) == ALL
    assert list(account.verify()) == []
    account.declare_bands("more", "sum(order.amount)", (-10, 60, 199))  # other pieces of the same column
    account.merge()
    assert checked(account) == ALL + 1  # of which some are several pieces; 60 is a threshold now
    assert list(account.verify()) == []
    account.write_events(orders(3, 100))
    account.remove_bands("more")
    account.merge()
    assert checked(account) == ALL
    account.remove_bands("spend")
    account.merge()
    with account._store.snapshot() as snapshot:
        assert [len(each.bands.thresholds) for each in kept_numbers(snapshot) if each.bands] == [2]
    assert checked(account, asked=['band(often) = "1"']) == 1
    assert list(account.verify()) == []


def test_declared_while_others_are_built(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes when the thread is about to be done is built too, without another merge."""
    account = begun(database)
    account.write_events(orders(1, 100))
    account.merge()
    keep, later = merger.keep_all, [(10,), (20, 30)]

    def kept(*arguments: Any) -> None:
        keep(*arguments)
        if later:
            account.declare_bands("spend", "sum(order.amount)", later.pop())

    monkeypatch.setattr(merger, "keep_all", kept)
    account.declare_bands("spend", "sum(order.amount)", (5, 6, 7))
    end = time.monotonic() + 60
    while thresholds(account) != [Decimal(10)]:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert list(account.verify()) == []


def thresholds(account: Account) -> list[Decimal]:
    """Those of the bitmaps of spend, once all are there."""
    with account._store.snapshot() as snapshot:
        spend = BUILT_IN["lifetime_spend"].value
        bands = next(each.bands for each in kept_numbers(snapshot) if each.value == spend)
    return list(bands.thresholds) if bands is not None and bands.built is None else []


def test_merged_range_by_range_and_killed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked and verified before each transaction of merges, of which some end there."""
    account = begun(database)
    account.write_events(orders(1, 4000))
    account.merge()
    monkeypatch.setattr(base, "SLICE_BYTES", 1)  # each range by itself
    monkeypatch.setattr(building, "_TOGETHER", 1)
    begin, half = account._store.write, 0
    for round, cut in enumerate((9, 12, 10, 13, 11, 0)):
        account.write_events(orders(10 + round, 500))
        if round == 3:
            account.declare_bands(
                "spend", "sum(order.amount)", (50, 60, 200), ("none", "<50", "50-200", "some", "200+")
            )
        transactions: list[int] = []

        def write(
            *arguments: object, transactions: list[int] = transactions, cut: int = cut, **named: object
        ) -> object:
            transactions.append(1)
            checked(account, asked=ASKED[1:5])
            assert list(account.verify()) == []
            if len(transactions) == cut:
                raise Killed
            return begin(*arguments, **named)  # type: ignore[arg-type]

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(account._store, "write", write)
            account.merge()
        with account._store.snapshot() as snapshot:
            half += snapshot.events_merged is not None
        checked(account)
    assert half >= 3  # some ranges were in place, and others not
    account.merge()
    assert checked(account) >= ALL
    assert list(account.verify()) == []


def test_imports_follow_and_do_not(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    account = begun(database)
    some = {row.order_id: row for row in orders(1, 300) if isinstance(row, Order)}
    account.import_orders(list(some.values()))
    account.merge()
    for seed in (2, 3):
        again = {row.order_id: row for row in orders(seed, 300) if isinstance(row, Order)}
        account.import_orders(list(again.values()))
        assert checked(account) == ALL  # in the transaction of the import
        assert list(account.verify()) == []
    monkeypatch.setattr(writer, "BULK_EVENTS", 10)
    monkeypatch.setattr(merger, "QUIET_SECONDS", 3600.0)
    account.import_orders(list(some.values()))
    assert checked(account) == 0
    assert list(account.verify()) == []
    account.merge()
    assert checked(account) == ALL
    assert list(account.verify()) == []


def test_as_of_instants_before_the_newest(database: Database) -> None:
    account = begun(database)
    account.write_events(orders(1, 4000))
    # Ahead of the instant that is asked about, in one range alone.
    ahead = [Order(f"late{n}", f"c{20_000 + n}", AT + timedelta(minutes=n), amount=Decimal(150)) for n in range(40)]
    account.write_events(ahead)
    account.merge()
    account.write_events(orders(2, 200))
    for at in (AT + timedelta(days=1), AT + timedelta(minutes=20), AT, AT - timedelta(days=20)):
        assert checked(account, at) == (ALL if at >= AT else 0)


def test_pruned_orders_stay_in_their_bands(database: Database) -> None:
    account = begun(database)
    account.write_events(orders(1, 2000))
    account.merge()
    before = [account.count(text).count for text in ASKED]
    account.prune(AT - timedelta(days=60), ["order"])
    assert [account.count(text).count for text in ASKED] == before
    account.write_events([Order("new", "c5", AT - timedelta(days=1), amount=Decimal(500))])
    account.merge()
    assert checked(account, asked=["everyone", *map(BANDS, ("<50", "200+"))]) == 2
    assert list(account.verify()) == []


def test_reopened_and_in_another_process(tmp_path: Path) -> None:
    with opened(tmp_path) as database:
        account = begun(database)
        account.write_events(orders(1, 2000))
        account.merge()
        account.write_events(orders(2, 100))
        program = (
            "import sys\nfrom segidx.database import Database\nfrom segidx.model.windows import to_millis\n"
            f"with Database.open({str(tmp_path / 'data')!r}, read_only=True) as database:\n"
            "    account = database.account()\n"
            "    for text in sys.stdin:\n"
            "        print(account.count(text.rstrip()).count, flush=True)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdin
            assert other.stdout
            for round in range(3):
                for text in ASKED:
                    other.stdin.write(f"{text}\n")
                    other.stdin.flush()
                    assert int(other.stdout.readline()) == account.count(text).count, text
                account.write_events(orders(20 + round, 100))
                account.merge()
            other.stdin.close()
        wanted = [account.count(text).count for text in ASKED]
    for read_only in (True, False):
        with opened(tmp_path, read_only=read_only) as database:
            account = database.account()
            assert [account.count(text).count for text in ASKED] == wanted
            assert checked(account) == ALL
            assert list(account.verify()) == []


def spend_number(account: Account) -> int:
    with account._store.snapshot() as snapshot:
        spend = BUILT_IN["lifetime_spend"].value
        return next(each.number for each in kept_numbers(snapshot) if each.value == spend)


def test_damage_is_found(database: Database) -> None:
    account = begun(database)
    account.write_events(
        [Order(f"{n}", f"c{66_000 + n}", AT - timedelta(days=1), amount=Decimal(70)) for n in range(9)]
    )
    account.merge()
    key = band_key(spend_number(account), 1)
    with account._store.write() as write:
        held = write.txn.get(key, db=write.dbs[DB_POSTINGS])
        assert held is not None
        sound = bytes(held)
    ordinal = 66_003
    low = ordinal & 0xFFFF
    members = BitMap.deserialize(sound[HEADER_BYTES:])
    for damaged, problems in (
        # Another contact in the band, one less, one in another band: sound values that say what the column does not.
        (
            shard_value(members | BitMap([1 << 16 | 77])),
            [f"from 50 on: has 1 too many (first ordinal {65536 + 77})"],
        ),
        (shard_value(members - BitMap([1 << 16 | low])), [f"from 50 on: lacks 1 (first ordinal {ordinal})"]),
        (
            shard_value(members - BitMap([1 << 16 | low]) | BitMap([low])),
            [f"below 50: has 1 too many (first ordinal {ordinal})", f"from 50 on: lacks 1 (first ordinal {ordinal})"],
        ),
        (None, ["from 50 on: lacks 9 (first ordinal 66000)"]),
    ):
        with account._store.write() as write:
            if damaged is None:
                write.txn.delete(key, db=write.dbs[DB_POSTINGS])
            else:
                write.txn.put(key, damaged, db=write.dbs[DB_POSTINGS])
            write.changed_base()
        assert list(account.verify()) == [f"bands of sum(order.amount), contacts 1, {each}" for each in problems]
    for at in range(len(sound)):  # each bit of the header is checked by somebody, and all others by the checksum
        flipped = bytearray(sound)
        flipped[at] ^= 1 << at % 8
        with account._store.write() as write:
            write.txn.put(key, bytes(flipped), db=write.dbs[DB_POSTINGS])
            write.changed_base()
        assert list(account.verify()), f"a bit of byte {at}"
    for stray, problem in (
        (1 << 16 | 0xFFFF, "holds ordinal 131071, and only 70000 were given out"),
        (300 << 16, "has more bands than a number has"),
    ):
        with account._store.write() as write:
            value = shard_value(members | BitMap([stray]))
            assert value is not None
            write.txn.put(key, value, db=write.dbs[DB_POSTINGS])
            write.changed_base()
        assert any(problem in each for each in account.verify())


@pytest.mark.parametrize("fault", ["nobody moves", "one value alone"])
def test_a_fault_is_found(database: Database, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Bitmaps that do not follow their column: what the tests above compare differs, and `verify` says so."""
    account = begun(database)
    account.write_events(orders(1, 1000))
    account.merge()
    if fault == "nobody moves":
        monkeypatch.setattr(following, "moves", lambda *_: None)
    else:
        follow = following.Followers.bands
        monkeypatch.setattr(following.Followers, "bands", lambda *given: follow(*given)[:1])
    account.write_events(orders(2, 1000))
    account.merge()
    with pytest.raises(AssertionError):
        checked(account)
    assert any(each.startswith("bands of sum(order.amount), contacts 1") for each in account.verify())
