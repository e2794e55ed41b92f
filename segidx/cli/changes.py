"""`segidx changes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from segidx.cli import render
from segidx.cli.target import Target, target_options
from segidx.model.errors import GenerationNotReached
from segidx.model.writes import Changes

# How long one wait for a commit is; a longer one would only delay Ctrl-C.
_WAIT_SECONDS = 1.0


@click.command()
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show later generations than this; the newest if not given.",
)
@click.option("--follow", is_flag=True, help="Go on with commits as they come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@target_options
def changes(after: int | None, follow: bool, as_json: bool, target: Target) -> None:
    """Show what commits changed: generations, and the contacts of each.

    Generations are kept for some time only; an --after before it is an error that names the oldest.

    \b
    segidx changes --after 0 --data DIR
    segidx changes --follow --json --server localhost:50051
    """
    if after is None and not follow:
        raise click.UsageError("give --after N, or --follow to see what comes from now on")
    with target.account() as account:
        first = account.generation() if after is None else after
        for found in _feed(account, first, follow, target):
            _print(found, as_json)


def _feed(account: Any, after: int, follow: bool, target: Target) -> Iterator[Changes]:
    """What a server streams, or the same of a directory that another process may be writing to."""
    if target.server is not None:
        yield from account.changes(after, follow=follow, timeout=target.timeout)
        return
    stop = target.limits().get("stop")
    while True:
        found = account.changes(after)
        for part in found:
            yield part
            after = part.generation
        if found:
            continue
        if not follow:
            return
        try:
            account.wait_for_generation(after + 1, stop=stop, timeout=_WAIT_SECONDS)
        except GenerationNotReached:
            continue


def _print(found: Changes, as_json: bool) -> None:
    contacts = [(c.contact_id, sorted(kind.value for kind in c.kinds)) for c in found.contacts]
    if as_json:
        render.print_json(
            {
                "generation": found.generation,
                "time": render.instant(found.time),
                "contacts": [{"contact_id": contact_id, "kinds": kinds} for contact_id, kinds in contacts],
                "last": found.last,
            }
        )
        return
    click.echo(f"generation {found.generation}  {render.instant(found.time)}")
    for contact_id, kinds in contacts:
        click.echo(f"  {contact_id}  {', '.join(kinds)}")
