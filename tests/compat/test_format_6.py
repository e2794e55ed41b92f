"""Data directories that format 6 wrote, checked in as bytes: bands as bitmaps beside the numbers that they are over,
above pruned events with opening balances, and sparse chunks of columns.

`format_6/` was made once by `make_fixture.py` and is never made again; its account `sparse` was made later, when chunks
came to be sparse.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from held import stored_files
from make_fixture import DUE, KEPT_CONTACTS, SPARSE_CONTACTS, sparse_fields_of, sparse_orders_of

from segidx.database import Account, Database
from segidx.kernels.columns import chunk_header
from segidx.model.events import Order
from segidx.model.writes import ContactWrite
from segidx.store.derived import kept_numbers
from segidx.store.layout import DB_COLUMNS, derived_of, split_block_key

FIXTURE = Path(__file__).parent / "format_6"

# As of format 5: contact-N has N orders of 100 each, but contact-0 has one of 700 that was contact-11's, contact-9 one
# less, and contact-1 one more, of 0.50.
SPENT = {i: 100.0 * i for i in range(KEPT_CONTACTS)} | {0: 700.0, 1: 100.5, 9: 800.0, 11: 1000.0}
COUNTS = {
    'band(spend) = "none"': 0,
    'band(spend) = "<100"': 0,
    'band(spend) = "100-500"': sum(100 <= each < 500 for each in SPENT.values()),
    'band(spend) = "500-1000"': sum(500 <= each < 1000 for each in SPENT.values()),
    'band(spend) = "1000+"': 2,
    'not band(spend) in ("100-500", "500-1000")': 2,
    'band(often) = "<2"': 1,  # contact-0
    'band(often) = "2-10"': 9,  # contact-1 to contact-9
    'band(often) = "10+"': 2,
    'band(often) = "2-10" and band(spend) = "500-1000"': 5,
    "sum(order.amount) >= 500": 8,
}

# Of whom something is said in the account whose chunks are sparse, with what the log says.
NUMBERS = {i: sparse_fields_of(i) for i in range(SPARSE_CONTACTS)}
POINTS = {i: int(str(each["points"])) for i, each in NUMBERS.items() if "points" in each and i != 50} | {51: 123}
SCORES = {i: float(str(each["score"])) for i, each in NUMBERS.items() if "score" in each} | {7: 0.5}
BOUGHT = {i: [float(str(each.amount)) for each in sparse_orders_of(i)] for i in range(SPARSE_CONTACTS)} | {31: [5.0]}
LAST = {i: sparse_orders_of(i)[-1].time for i, each in BOUGHT.items() if each and i != 31} | {31: DUE}
SPARSE_COUNTS = {
    "points is set": len(POINTS),
    "points is not set": SPARSE_CONTACTS - len(POINTS),
    "points > 0": sum(each > 0 for each in POINTS.values()),
    "points between -200000000000 and 123": sum(-200 * 10**9 <= each <= 123 for each in POINTS.values()),
    "points = 123": 1,
    "points = -200000000000": 0,  # that of contact-50, who has none any more
    "not points < 500000000000": SPARSE_CONTACTS - sum(each < 500 * 10**9 for each in POINTS.values()),
    "score is set": len(SCORES),
    "score < 1000": sum(each < 1000 for each in SCORES.values()),
    "score >= 100000.5 and n < 1400": sum(each >= 100000.5 for i, each in SCORES.items() if i < 1400),
    "points > score": sum(each > SCORES[i] for i, each in POINTS.items() if i in SCORES),
    "did(order)": sum(map(bool, BOUGHT.values())),
    "count(order) = 2": sum(len(each) == 2 for each in BOUGHT.values()),
    "sum(order.amount) > 10000": sum(sum(each) > 10000 for each in BOUGHT.values()),
    "sum(order.amount) between 5 and 1800": sum(5 <= sum(each) <= 1800 for each in BOUGHT.values() if each),
    "last(order).time >= 2025-01-01": sum(each >= datetime(2025, 1, 1, tzinfo=UTC) for each in LAST.values()),
    "first(order).time before 2023-01-01T12:00:00Z": sum(i % 24 < 12 for i in LAST if i != 31),
}


@pytest.fixture
def account(database: Database) -> Account:
    return database.account("kept")


def check(account: Account, counts: Mapping[str, int] = COUNTS) -> None:
    assert {text: account.count(text).count for text in counts} == counts
    assert list(account.verify()) == []


def banded(account: Account) -> dict[str, list[float]]:
    """The thresholds that there are bitmaps of, by the number they are over."""
    with account._store.snapshot() as snapshot:
        kept = [(each, each.bands) for each in kept_numbers(snapshot)]
    return {
        str(each.value.function.value): [float(threshold) for threshold in bands.thresholds]
        for each, bands in kept
        if bands is not None and bands.built is None
    }


BANDED = {"count": [2, 10], "sum": [100, 500, 1000]}


def test_the_fixture_is_as_it_was_checked_in() -> None:
    assert stored_files(FIXTURE) == [
        *(f"accounts/{name}/data.mdb" for name in ("default", "half", "kept", "shop", "sparse")),
        "segidx.json",
    ]


def test_bands_are_answered_from_their_bitmaps(account: Account) -> None:
    assert banded(account) == BANDED
    check(account)


def test_it_is_merged_and_written_on(place: Path) -> None:
    with Database.open(place) as database:
        account = database.account("kept")
        account.merge()
        check(account)
        account.write_events([Order("one more", "contact-4", DUE, amount=100)])
        for _ in range(2):  # before and after a merge
            assert account.count('band(spend) = "100-500"').count == COUNTS['band(spend) = "100-500"'] - 1
            assert account.count('band(spend) = "500-1000"').count == COUNTS['band(spend) = "500-1000"'] + 1
            assert list(account.verify()) == []
            account.merge()
        assert banded(account) == BANDED


def chunks(account: Account) -> dict[int, tuple[int, bool]]:
    """How many bytes a value has in the columns of fields and of derived numbers, and whether the chunk is sparse."""
    with account._store.begin() as txn:
        stored = [(bytes(key), bytes(value)) for key, value in txn.cursor(account._store.databases[DB_COLUMNS])]
    found = {split_block_key(key)[0]: (chunk_header(value)[0], value[2:4] == b"\1\0") for key, value in stored}
    return {field: how for field, how in found.items() if field <= 3 or derived_of(field) is not None}


def test_sparse_chunks(database: Database) -> None:
    account = database.account("sparse")
    held = chunks(account)
    assert [held.pop(field) for field in (1, 2, 3)] == [(2, False), (8, True), (4, True)]
    assert sorted(held.values()) == [(1, False), (4, True), (4, True), (8, True)]
    check(account, SPARSE_COUNTS)
    shown = account.preview("points > 1000000000000", fields=["points"]).contacts
    assert {each.contact_id: each.fields for each in shown} == {
        f"c{i}": {"points": points} for i, points in POINTS.items() if points > 10**12
    }


def test_sparse_chunks_are_merged_and_written_on(place: Path) -> None:
    """They stay sparse where few more contacts have a value, and cease to be where many have."""
    with Database.open(place) as database:
        account = database.account("sparse")
        account.merge()
        check(account, SPARSE_COUNTS)
        assert chunks(account)[2] == (8, True)
        rows = [ContactWrite(f"c{i}", {"points": i}) for i in range(SPARSE_CONTACTS) if i not in POINTS]
        account.write(rows[:5])
        account.merge()
        assert chunks(account)[2] == (8, True)
        account.write(rows[5:])
        for _ in range(2):  # before and after a merge
            assert account.count("points is set").count == SPARSE_CONTACTS
            assert account.count("points > 2000").count == SPARSE_COUNTS["points > 0"] - 1
            assert list(account.verify()) == []
            account.merge()
        assert chunks(account)[2] == (8, False)


def test_format_5_comes_to_have_bitmaps(tmp_path: Path) -> None:
    """Opened for reading it has none, and for writing they are made beside the columns that are there."""
    place = Path(shutil.copytree(FIXTURE.parent / "format_5", tmp_path / "data"))
    asked = [text for text in COUNTS if "often" not in text]
    with Database.open(place, read_only=True) as database:
        account = database.account("kept")
        assert banded(account) == {}
        counts = {text: account.count(text).count for text in asked}
        assert counts == {text: COUNTS[text] for text in asked}
    with Database.open(place) as database:
        account = database.account("kept")
        account.keep_derived()
        assert banded(account) == {"sum": [100, 500, 1000]}
        assert {text: account.count(text).count for text in asked} == counts
        assert list(account.verify()) == []
