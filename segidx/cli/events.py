"""`segidx events`: the types of events that an account has, and its groups of them."""

from __future__ import annotations

import re

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.event_groups import EventGroup, member_text
from segidx.model.events import BUILT_IN, EventProperty, EventType
from segidx.model.schema import FieldType
from segidx.model.source_settings import SourceSettings

MONEY = "money"
_TYPES = {t.value: t for t in (FieldType.CATEGORY, FieldType.BOOL, FieldType.TIMESTAMP)}
_NUMBER = re.compile(r"number(?:\(([0-9]{1,3})\))?")


@click.group("events")
def events() -> None:
    """Show and declare types of events, say what groups of them have, and show what happened to a contact."""


@events.command("declare")
@click.argument("name")
@click.option(
    "--property",
    "-p",
    "properties",
    multiple=True,
    metavar="NAME=TYPE",
    help="A property: category, bool, timestamp, number(DECIMALS) or money (repeatable).",
)
@target_options
def declare(name: str, properties: tuple[str, ...], target: Target) -> None:
    """Declare the event type NAME with its properties.

    \b
    segidx events declare download -p file=category -p price=money -p 'size=number(0)' --data DIR

    Declaring a type again as it is changes nothing; a type keeps its properties for ever.
    """
    wanted = EventType(name, tuple(_property(text) for text in properties))
    with target.account(write=True) as opened:
        opened.declare_event_types([wanted])
    click.echo(f"declared {name}" + (f" ({describe_properties(wanted)})" if wanted.properties else ""))


@events.command("group")
@click.argument("name")
@click.argument("members", nargs=-1, required=True, metavar="MEMBER...")
@target_options
def group(name: str, members: tuple[str, ...], target: Target) -> None:
    """Say which events the group NAME has: `interaction` or `touch`.

    \b
    segidx events group interaction visit order 'message where kind = "clicked"' --data DIR

    A MEMBER is written as in did(...), without a window. Conditions on the group ask for these from now on.
    """
    with target.account(write=True) as opened:
        found = opened.set_event_group(name, members)
    click.echo(f"group {found.name}: {describe_members(found)}")


@events.command("sources")
@click.option("--order-minutes", type=int, help="Orders take the source of a visit so many minutes before; 0: none do.")
@click.option(
    "--own-host", "own_hosts", multiple=True, metavar="HOST", help="A host of yours, in place of those before."
)
@click.option("--no-own-hosts", is_flag=True, help="None but the visits' own.")
@json_option
@target_options
def sources(
    order_minutes: int | None, own_hosts: tuple[str, ...], no_own_hosts: bool, as_json: bool, target: Target
) -> None:
    """Show or say where visits and orders come from.

    \b
    segidx events sources --order-minutes 60 --own-host shop.example --own-host .pay.example --data DIR

    What is not given stays. Without options the settings are shown.
    """
    if own_hosts and no_own_hosts:
        raise click.UsageError("give --own-host or --no-own-hosts, not both")
    change = order_minutes is not None or bool(own_hosts) or no_own_hosts
    with target.account(write=change) as opened:
        found = opened.source_settings
        if change:
            found = opened.set_source_settings(
                SourceSettings(
                    found.order_minutes if order_minutes is None else order_minutes,
                    own_hosts if own_hosts or no_own_hosts else found.own_hosts,
                )
            )
    if as_json:
        render.print_json({"order_minutes": found.order_minutes, "own_hosts": list(found.own_hosts)})
    else:
        click.echo(f"order minutes: {found.order_minutes}")
        click.echo(f"own hosts: {', '.join(found.own_hosts) or '(none)'}")


@events.command("list")
@json_option
@target_options
def list_(as_json: bool, target: Target) -> None:
    """List the event types and their properties, and the groups and their members."""
    with target.account() as opened:
        found, groups = opened.event_types, opened.event_groups.values()
    if as_json:
        own = {each.name for each in found.declared}
        entries = [
            {
                "name": each.name,
                "built_in": each.name not in own,
                "properties": {p.name: describe_property(p) for p in each.properties},
            }
            for each in found
        ]
        grouped = [{"name": each.name, "members": [member_text(m) for m in each.members]} for each in groups]
        render.print_json({"event_types": entries, "event_groups": grouped})
    else:
        width = max(len(each.name) for each in (*BUILT_IN, *found.declared))
        for each in found:
            click.echo(f"{each.name:<{width}}  {describe_properties(each) or '(no properties)'}")
        for each_group in groups:
            click.echo(f"group {each_group.name}: {describe_members(each_group)}")


def _property(text: str) -> EventProperty:
    name, equals, type_text = text.rpartition("=")
    if not equals:
        raise click.UsageError(f"--property {text!r}: write NAME=TYPE, such as 'price=money'")
    if type_text == MONEY:
        return EventProperty(name, FieldType.NUMBER, None)
    if type_text in _TYPES:
        return EventProperty(name, _TYPES[type_text])
    match = _NUMBER.fullmatch(type_text)
    if match is None:
        raise click.UsageError(
            f"--property {text!r}: {type_text!r} is not a type; the types are {', '.join(_TYPES)}, number(DECIMALS) and"
            f" {MONEY}"
        )
    return EventProperty(name, FieldType.NUMBER, int(match[1] or 0))


def describe_property(of: EventProperty) -> str:
    """A property's type as it is declared: `category`, `number(2)`, `money`."""
    if of.type is FieldType.NUMBER:
        return MONEY if of.scale is None else f"number({of.scale})"
    return str(of.type.value)


def describe_properties(of: EventType) -> str:
    return ", ".join(f"{p.name} {describe_property(p)}" for p in of.properties)


def describe_members(of: EventGroup) -> str:
    return ", ".join(map(member_text, of.members))
