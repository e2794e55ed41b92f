"""`segidx bands`: bands over numbers that are made of events, such as those of spend."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.bands import Bands, threshold_text, value_text


@click.group("bands")
def bands() -> None:
    """Show, declare and take away bands over a number made of events, such as those of spend."""


@bands.command("set")
@click.argument("name")
@click.argument("value")
@click.argument("thresholds", nargs=-1, required=True, metavar="THRESHOLD...")
@click.option(
    "--label",
    "-l",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="What a band is called, from that of no value up: one more than thresholds, and one (repeatable).",
)
@target_options
def set_(name: str, value: str, thresholds: tuple[str, ...], labels: tuple[str, ...], target: Target) -> None:
    """Declare the bands NAME over VALUE, a count of events or a sum over them.

    \b
    segidx bands set spend 'sum(order.amount)' 100 500 1000 --data DIR
    segidx count 'band(spend) = "100-500"' --data DIR

    Each THRESHOLD is the lower bound of a band, ascending; below the first lies a band, and contacts without a value
    are in one of their own. Declaring bands again under their name puts these in their place.
    """
    numbers = [_number(text) for text in thresholds]
    with target.account(write=True) as opened:
        found = opened.declare_bands(name, value, numbers, labels or None)
    click.echo(describe(found))


@bands.command("list")
@json_option
@target_options
def list_(as_json: bool, target: Target) -> None:
    """List the bands that are declared."""
    with target.account() as opened:
        found = list(opened.bands.values())
    render.print_all("bands", found, _entry, describe, as_json=as_json)


@bands.command("remove")
@click.argument("name")
@target_options
def remove(name: str, target: Target) -> None:
    """Take the bands NAME away; conditions on them are refused from then on."""
    with target.account(write=True) as opened:
        opened.remove_bands(name)


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise click.UsageError(f"THRESHOLD {text!r} is not a number, such as 500 or 99.95") from None


def _entry(of: Bands) -> dict[str, object]:
    thresholds = [threshold_text(threshold) for threshold in of.thresholds]
    return {"name": of.name, "value": value_text(of.value), "thresholds": thresholds, "labels": list(of.labels)}


def describe(of: Bands) -> str:
    """`spend, of sum(order.amount) at 100, 500: none, <100, 100-500, 500+`."""
    thresholds = ", ".join(map(threshold_text, of.thresholds))
    return f"{of.name}, of {value_text(of.value)} at {thresholds}: {', '.join(of.labels)}"
