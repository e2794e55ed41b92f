"""Data directories that format 5 wrote, checked in as bytes: numbers kept beside the events, pruned events with opening
balances, and what accounts say of events.

`format_5/` was made once by `make_fixture.py` and is never made again.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from held import stored_files
from make_fixture import DUE, HORIZON, KEPT_CONTACTS

from segidx.database import Account, Database
from segidx.model.errors import PrunedHistory
from segidx.model.events import Event, Retraction

FIXTURE = Path(__file__).parent / "format_5"

# Orders of each contact: its own; of contact-11 one less, which is contact-0's now, for 700; of contact-9 one less; of
# contact-1 one more, for 0.50.
ORDERS = {i: i for i in range(KEPT_CONTACTS)} | {0: 1, 11: 10, 9: 8, 1: 2}
SPENT = {i: 100.0 * n for i, n in ORDERS.items()} | {0: 700.0, 1: 100.5}
COUNTS = {
    **{f"count(order) = {n}": sum(m == n for m in ORDERS.values()) for n in range(12)},
    **{f"sum(order.amount) >= {n}": sum(m >= n for m in SPENT.values()) for n in (100, 500, 700, 701, 1000)},
    'band(spend) = "none"': 0,
    'band(spend) = "100-500"': 4,  # contacts 1 to 4
    'band(spend) in ("500-1000", "1000+")': 8,
    "first(order).time before 2023-06-01": 11,
    "last(order).time > 2023-12-15": 2,
    "count(order where amount >= 100) = 1": 2,
    "crossed(spend, 500) from 2023-06-02 to 2024-07-01": 1,
    "did(touch from 2024-06-01 to 2024-06-02)": 1,
    'did(order where source = "email" from 2024-06-01 to 2024-06-02)': 1,
    'did(line where product.producer = "ACME" from 2023-06-02 to 2024-07-01)': 6,
    'stage = "mql"': 1,
}


@pytest.fixture
def account(database: Database) -> Account:
    return database.account("kept")


def check(account: Account) -> None:
    assert {text: account.count(text).count for text in COUNTS} == COUNTS
    assert list(account.verify()) == []


def test_the_fixture_is_as_it_was_checked_in() -> None:
    assert stored_files(FIXTURE) == [
        *(f"accounts/{name}/data.mdb" for name in ("default", "half", "kept", "shop")),
        "segidx.json",
    ]


def test_what_was_dropped_is_counted_and_what_reaches_behind_is_refused(account: Account) -> None:
    check(account)
    assert {name: each.time for name, each in account.horizons.items()} == {"order": HORIZON}
    for text in (
        "average(order.amount) > 5",
        'did(line where product = "rope")',
        "did(order from 2023-05-01 to 2023-07-01)",
    ):
        with pytest.raises(PrunedHistory, match="are pruned"):
            account.count(text)


def test_what_an_account_says(account: Account) -> None:
    assert account.derived["large"].name == "large"
    assert account.bands["spend"].labels == ("none", "<100", "100-500", "500-1000", "1000+")
    assert account.source_settings.order_minutes == 10
    assert account.schema()["stage"].tracked
    assert account.product("rope").properties["producer"] == "ACME"


def test_it_is_merged_and_written_on(place: Path) -> None:
    with Database.open(place) as database:
        account = database.account("kept")
        account.merge()
        check(account)
        refused = account.write_events([Retraction("order", "kept 5-0"), Event("cart", "c", "contact-1", DUE)])
        assert [reject.reason for reject in refused.event_rejects] == ["PRUNED_HISTORY"]
        account.prune(DUE)
        for text in ("count(order) = 10", 'band(spend) = "100-500"', "count(order where amount >= 100) = 1"):
            assert account.count(text).count == COUNTS[text]
        assert list(account.verify()) == []
