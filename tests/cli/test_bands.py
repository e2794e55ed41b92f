"""`segidx bands`."""

from __future__ import annotations

import pytest


def test_they_are_set_listed_asked_for_and_taken_away(segidx, target):
    assert segidx("bands", "list", *target).out == ""
    found = segidx("bands", "set", "spend", "sum( order.amount )", "100", "99.5e1", *target)
    assert (found.code, found.err) == (0, "")
    assert found.out == "spend, of sum(order.amount) at 100, 995: none, <100, 100-995, 995+\n"
    labels = [word for label in ("never", "0", "few", "many") for word in ("--label", label)]
    often = segidx("bands", "set", "often", "count(visit during last 1 month)", "1", "5", *labels, *target)
    assert often.out == "often, of count(visit during last 1 month) at 1, 5: never, 0, few, many\n"
    assert segidx("bands", "list", *target).out == often.out + found.out
    assert segidx("bands", "list", "--json", *target).json["bands"][1] == {
        "name": "spend",
        "value": "sum(order.amount)",
        "thresholds": ["100", "995"],
        "labels": ["none", "<100", "100-995", "995+"],
    }
    assert segidx("count", 'band(spend) = "none" and band(often) != "few"', *target).out == "3\n"
    assert segidx("count", "crossed(spend, 995) during last 1 day", *target).out == "0\n"
    again = segidx("bands", "set", "spend", "sum(order.amount)", *target, "--", "-5", "0")
    assert again.out == "spend, of sum(order.amount) at -5, 0: none, <-5, -5-0, 0+\n"
    assert segidx("bands", "remove", "spend", *target).code == 0
    assert segidx("bands", "remove", "spend", *target).code == 2
    assert segidx("bands", "list", *target).out == often.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing argument 'NAME'"),
        (("spend", "sum(order.amount)"), "Missing argument 'THRESHOLD...'"),
        (("spend", "sum(order.amount)", "100,500"), "THRESHOLD '100,500' is not a number"),
        (("spend", "sum(order.amount)", "nan"), "is not a finite number"),
        (("spend", "sum(order.amount)", "500", "100"), "thresholds ascend, but 100 comes after 500"),
        (("spend", "sum(order.amount)", "100", "-l", "a"), "have 3 labels"),
        (("spend", "order.amount", "100"), "is no value of bands, such as 'sum(order.amount)'"),
        (("spend", "sum(order.amuont)", "100"), "did you mean 'amount'"),
        (("my spend", "sum(order.amount)", "100"), "'my spend' is no name of bands"),
    ],
)
def test_what_cannot_be_set(segidx, target, arguments, says):
    found = segidx("bands", "set", *arguments, *target)
    assert (found.code, says in found.err.replace("\n", " ")) == (2, True), found
    assert segidx("bands", "list", *target).out == ""


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ('band(spend) = "none"', "there are no bands 'spend'"),
        ("crossed(spend, 5)", "none are declared (segidx bands set)"),
    ],
)
def test_what_is_not_declared(segidx, target, asked, says):
    found = segidx("count", asked, *target)
    assert (found.code, says in found.err) == (2, True)
