"""`segidx derived`."""

from __future__ import annotations

import pytest


def test_they_are_set_listed_and_taken_away(segidx, target):
    assert segidx("derived", "list", *target).out.splitlines() == [
        "first_order, first(order).time, of every account",
        "last_interaction, last(interaction).time, of every account",
        "last_order, last(order).time, of every account",
        "lifetime_spend, sum(order.amount), of every account",
        "order_count, count(order), of every account",
    ]
    found = segidx("derived", "set", "a_visit", "last( visit ).time", *target)
    assert (found.code, found.err, found.out) == (0, "", "a_visit, last(visit).time\n")
    assert segidx("derived", "list", "--json", *target).json["derived"][0] == {
        "name": "a_visit",
        "value": "last(visit).time",
        "built_in": False,
    }
    assert segidx("derived", "remove", "a_visit", *target).code == 0
    assert segidx("derived", "remove", "a_visit", *target).code == 2
    assert "a_visit" not in segidx("derived", "list", *target).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("set", "spend", "sum(order.amuont)"), "did you mean 'amount'"),
        (("set", "my spend", "sum(order.amount)"), "is no name of a derived number"),
        (("set", "last_order", "sum(order.amount)"), "neither declared nor removed"),
        (("remove", "spend"), "there is no derived number 'spend'"),
    ],
)
def test_what_is_refused(segidx, target, arguments, says):
    found = segidx("derived", *arguments, *target)
    assert (found.code, says in found.err.replace("\n", " ")) == (2, True), found
