"""`segidx prune`, and what `segidx stats` says afterwards."""

from __future__ import annotations

import pytest

ORDERS = """\
order_id,contact_id,time,order_amount
o1,anna,2022-01-05T00:00:00Z,10
o2,anna,2024-01-05T00:00:00Z,20
o3,bert,2024-02-05T00:00:00Z,40
"""


@pytest.fixture
def ordered(segidx, target, tmp_path):
    """Who has bought what. Files are imported in process only."""
    from datetime import datetime
    from decimal import Decimal

    from segidx.database import Database
    from segidx.model.events import Order

    orders = [
        Order(name, contact, datetime.fromisoformat(time), amount=Decimal(amount))
        for name, contact, time, amount in (line.split(",") for line in ORDERS.splitlines()[1:])
    ]
    if target[0] == "--data":
        with Database.open(target[1]) as database:
            database.account().write_events(orders)
    else:
        from segidx.client import connect

        with connect(target[1]) as client:
            client.account("default").write_events(orders)
    return target


def test_it_is_tried_and_done(segidx, ordered):
    would = segidx("prune", "--type", "order", "--before", "2024-02-01", "--dry-run", *ordered)
    assert (would.code, would.err) == (0, "")
    assert would.out == "order: would drop 2 events with 0 lines before 2024-02-01T00:00:00.000Z\n"
    assert segidx("count", "did(order during last 100 years)", *ordered).out == "2\n"
    done = segidx("prune", "-t", "order", "--before", "2024-02-01", *ordered)
    assert done.out == "order: dropped 2 events with 0 lines before 2024-02-01T00:00:00.000Z\n"
    assert segidx("count", "sum(order.amount) = 30", *ordered).out == "1\n"
    refused = segidx("count", "did(order during last 100 years)", *ordered)
    assert refused.code == 2
    assert "order events before 2024-02-01T00:00:00.000Z are pruned" in refused.err
    assert "order events are pruned before 2024-02-01T00:00:00.000Z; kept: " in segidx("stats", *ordered).out
    (horizon,) = segidx("stats", "--json", *ordered).json["horizons"]
    assert (horizon["event_type"], horizon["horizon"]) == ("order", "2024-02-01T00:00:00.000Z")
    assert "sum(order.amount)" in horizon["balances"]


def test_ages_and_json(segidx, ordered):
    found = segidx("prune", "--older-than", "12 months", "--type", "order", "--type", "visit", "--json", *ordered).json
    assert found["dry_run"] is False
    assert [(each["event_type"], each["events"]) for each in found["pruned"]] == [("order", 3), ("visit", 0)]
    assert segidx("count", "count(order) >= 1", *ordered).out == "2\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--before or --older-than"),
        (("--before", "2024-01-01", "--older-than", "1 year"), "--before or --older-than"),
        (("--before", "yesterday"), "is neither a date such as 2024-01-01 nor an instant"),
        (("--before", "2024-01-01T00:00:00"), "is neither a date such as 2024-01-01 nor an instant"),
        (("--before", "2999-01-01"), "before an instant from 1970 to now"),
        (("--older-than", "2 fortnights"), "is no age such as '24 months'"),
        (("--older-than", "0 days"), "is no age such as '24 months'"),
        (("--older-than", "99999 years"), "is before all time"),
        (("--before", "2024-01-01", "-t", "line"), "lines are pruned with their orders"),
        (("--before", "2024-01-01", "-t", "vist"), "did you mean 'visit'"),
    ],
)
def test_what_cannot_be(segidx, target, arguments, says):
    found = segidx("prune", *arguments, *target)
    assert (found.code, says in found.err.replace("\n", " ")) == (2, True), found
    assert segidx("stats", "--json", *target).json["horizons"] == []
