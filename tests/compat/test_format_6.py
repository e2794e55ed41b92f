"""Data directories that format 6 wrote, checked in as bytes: bands as bitmaps beside the numbers that they are over,
above pruned events with opening balances.

`format_6/` was made once by `make_fixture.py` and is never made again.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.events import Order
from segidx.store.derived import kept_numbers

sys.path.insert(0, str(Path(__file__).parent))
from make_fixture import DUE, KEPT_CONTACTS

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


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(params=[False, True], ids=["for writing", "for reading"])
def account(place: Path, request: pytest.FixtureRequest) -> Iterator[Account]:
    with Database.open(place, read_only=request.param) as database:
        yield database.account("kept")


def check(account: Account) -> None:
    assert {text: account.count(text).count for text in COUNTS} == COUNTS
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
    assert sorted(str(p.relative_to(FIXTURE)) for p in FIXTURE.rglob("*") if p.is_file()) == [
        *(f"accounts/{name}/data.mdb" for name in ("default", "half", "kept", "shop")),
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
