"""`segidx events show`: what happened to a contact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.events import OrderLine
from segidx.model.results import ContactEvent, ContactEvents

_PAGE = 1000
_LINE_NAMES = tuple(each.name for each in fields(OrderLine))


def _instant(context: click.Context, option: click.Parameter, value: str | None) -> datetime | None:
    """An instant in ISO 8601, in UTC where no offset is given."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an instant such as 2026-01-31T18:30:00Z", context, option) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@click.command("show")
@click.argument("contact_id")
@click.option("--type", "-t", "types", multiple=True, metavar="NAME", help="Events of this type (repeatable).")
@click.option("--since", callback=_instant, metavar="INSTANT", help="Events of this instant or later.")
@click.option("--until", callback=_instant, metavar="INSTANT", help="Events before this instant.")
@click.option("--oldest-first", is_flag=True, help="Oldest first instead of newest first.")
@click.option("--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help="Events to show.")
@json_option
@target_options
def show(
    contact_id: str,
    types: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    oldest_first: bool,
    limit: int,
    as_json: bool,
    target: Target,
) -> None:
    """Show what happened to a contact, newest first: its events, and changes of its tracked fields.

    \b
    segidx events show anna --data DIR
    segidx events show anna --type order --since 2026-01-01 --server localhost:50051
    """
    question = {"types": types, "start_time": since, "end_time": until, "oldest_first": oldest_first}
    with target.account() as account:
        found = list(_pages(account, contact_id, question, limit, target))
    shown = [event for page in found for event in page.events]
    if as_json:
        entries = [_entries(event) for event in shown]
        render.print_json({"events": entries, **render.evaluation_entries(found[-1].evaluation)})
        return
    width = max((len(event.type) for event in shown), default=0)
    for event in shown:
        _print(event, width)
    if found[-1].next_page_token:
        click.echo(f"segidx: there are more; these are {len(shown):,} (--limit)", err=True)


def _pages(
    account: Any, contact_id: str, question: dict[str, Any], limit: int, target: Target
) -> Iterator[ContactEvents]:
    token = ""
    while True:
        size = min(limit, _PAGE)
        page = account.contact_events(contact_id, **question, page_size=size, page_token=token, **target.limits())
        yield page
        limit -= len(page.events)
        token = page.next_page_token
        if not token or not limit:
            return


def _print(event: ContactEvent, width: int) -> None:
    words = [*([event.event_id] if event.event_id else []), *_named(dict(sorted(event.properties.items())))]
    if event.revision is not None:
        words.append(f"(revision {event.revision})")
    click.echo(f"{render.instant(event.time)}  {event.type:<{width}}  {'  '.join(words)}".rstrip())
    for line in event.lines:
        click.echo(f"    {'  '.join(_named(_line(line)))}".rstrip())


def _named(values: Any) -> list[str]:
    return [f"{name}={render.text(value)}" for name, value in values.items()]


def _line(line: OrderLine) -> dict[str, Any]:
    return {name: value for name in _LINE_NAMES if (value := getattr(line, name)) is not None}


def _entries(event: ContactEvent) -> dict[str, Any]:
    """An event in JSON's terms."""
    found: dict[str, Any] = {"type": event.type}
    if event.event_id:
        found["event_id"] = event.event_id
    found["time"] = render.instant(event.time)
    if event.revision is not None:
        found["revision"] = event.revision
    found["properties"] = {name: render.plain(value) for name, value in sorted(event.properties.items())}
    if event.lines:
        found["lines"] = [{name: render.plain(value) for name, value in _line(each).items()} for each in event.lines]
    return found
