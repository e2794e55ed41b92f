"""`segidx prune`: dropping events by age."""

from __future__ import annotations

import re
import time
from datetime import date, datetime

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.results import PrunedType
from segidx.model.schema import AccountInfo
from segidx.model.windows import MAX_COUNT, Unit, from_millis, shift_instant

_AGE = re.compile(r"([0-9]{1,6}) *(day|week|month|year)s?")


@click.command("prune")
@click.option("--type", "-t", "types", multiple=True, metavar="NAME", help="Events of this type (repeatable).")
@click.option("--before", metavar="DATE", help="Events before this date, or instant.")
@click.option("--older-than", metavar="AGE", help="Events older than so many days, weeks, months or years.")
@click.option("--dry-run", is_flag=True, help="Drop nothing, and show what would be dropped.")
@json_option
@target_options
def prune(
    types: tuple[str, ...], before: str | None, older_than: str | None, dry_run: bool, as_json: bool, target: Target
) -> None:
    """Drop the events before a date, and keep what they came to of the numbers that are always known.

    \b
    segidx prune --before 2024-01-01 --dry-run --data DIR
    segidx prune --type visit --older-than "24 months" --data DIR

    Without --type it is events of all types. A date begins at midnight in the account's zone. Afterwards whatever asks
    for what was before is refused, but for numbers such as sum(order.amount) over all time (docs/RETENTION.md).
    """
    if (before is None) == (older_than is None):
        raise click.UsageError("say which events are dropped: --before or --older-than")
    with target.account(write=not dry_run) as opened:
        when = _date(before) if before is not None else _age(str(older_than), opened.info)
        found = opened.prune(when, types, dry_run=dry_run, **target.limits())
    if as_json:
        entries = [
            {
                "event_type": each.type,
                "horizon": render.instant(each.horizon),
                "events": each.events,
                "lines": each.lines,
                "ended_balances": list(each.ended),
            }
            for each in found
        ]
        render.print_json({"dry_run": dry_run, "pruned": entries})
        return
    for each in found:
        click.echo(_sentence(each, "would drop" if dry_run else "dropped"))
        for number in each.ended:
            click.echo(f"{each.type}: {number} is too large for an opening balance, and is not known any more")


def _date(text: str) -> date:
    """A date, or an instant with its offset."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.UsageError(
            f"--before {text!r} is neither a date such as 2024-01-01 nor an instant such as 2024-01-01T00:00:00Z"
        )
    return found


def _age(text: str, info: AccountInfo) -> datetime:
    found = _AGE.fullmatch(text.strip())
    count = int(found[1]) if found else 0
    if found is None or not 1 <= count <= MAX_COUNT:
        raise click.UsageError(f"--older-than {text!r} is no age such as '24 months' or '90 days'")
    moved = shift_instant(time.time_ns() // 1_000_000, -count, Unit(found[2]), info.tz)
    if moved is None:
        raise click.UsageError(f"--older-than {text!r} is before all time")
    return from_millis(moved)


def _sentence(pruned: PrunedType, verb: str) -> str:
    lines = f" with {pruned.lines:,} lines" if pruned.type == "order" else ""
    return f"{pruned.type}: {verb} {pruned.events:,} events{lines} before {render.instant(pruned.horizon)}"
