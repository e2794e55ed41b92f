"""`segidx derived`: numbers made of events of all time that are kept beside them, such as the lifetime spend."""

from __future__ import annotations

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.derived import BUILT_IN, DerivedNumber, value_text


@click.group("derived")
def derived() -> None:
    """Show, declare and take away numbers made of events of all time that are kept beside the events."""


@derived.command("set")
@click.argument("name")
@click.argument("value")
@target_options
def set_(name: str, value: str, target: Target) -> None:
    """Declare the number NAME: VALUE is a count, sum, min or max of events, or the time of the first or last.

    \b
    segidx derived set paid_spend 'sum(order.amount where paid)' --data DIR
    segidx derived set last_visit 'last(visit).time' --data DIR

    Conditions ask for VALUE as ever, and are answered without the events. Declaring a number again under its name puts
    this one in its place.
    """
    with target.account(write=True) as opened:
        found = opened.declare_derived(name, value)
    click.echo(describe(found))


@derived.command("list")
@json_option
@target_options
def list_(as_json: bool, target: Target) -> None:
    """List the derived numbers, those that every account has among them."""
    with target.account() as opened:
        found = list(opened.derived.values())
    render.print_all("derived", found, _entry, describe, as_json=as_json)


@derived.command("remove")
@click.argument("name")
@target_options
def remove(name: str, target: Target) -> None:
    """Take the number NAME away: it is no longer kept."""
    with target.account(write=True) as opened:
        opened.remove_derived(name)


def _entry(of: DerivedNumber) -> dict[str, object]:
    return {"name": of.name, "value": value_text(of.value), "built_in": of.name in BUILT_IN}


def describe(of: DerivedNumber) -> str:
    """`lifetime_spend, sum(order.amount), of every account`."""
    return f"{of.name}, {value_text(of.value)}{', of every account' if of.name in BUILT_IN else ''}"
