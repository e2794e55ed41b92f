"""`segidx stats`."""

from __future__ import annotations

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.results import Stats


@click.command()
@json_option
@target_options
def stats(as_json: bool, target: Target) -> None:
    """Show sizes and counts of an account."""
    with target.account() as account:
        found = account.stats()
    if as_json:
        render.print_json(
            {
                "account": found.account,
                "generation": found.generation,
                "contacts": found.contacts,
                "fields": [
                    {
                        "name": f.name,
                        "type": f.type,
                        "set_count": f.set_count,
                        "distinct": f.distinct,
                        "minimum": render.plain(f.minimum),
                        "maximum": render.plain(f.maximum),
                    }
                    for f in found.fields
                ],
                "format_version": found.format_version,
                "postings": found.postings,
                "map_bytes": found.map_bytes,
                "used_bytes": found.used_bytes,
                "file_bytes": found.file_bytes,
                "free_pages": found.free_pages,
                "map_use_percent": _map_use(found),
                "log_bytes": found.log_bytes,
                "log_records": found.log_records,
                "overlay_bytes": found.overlay_bytes,
                "merged_generation": found.merged_generation,
                "merge_lag_generations": found.generation - found.merged_generation,
                "merge_lag_seconds": round(found.merge_lag_seconds, 3),
                "horizons": [
                    {"event_type": h.type, "horizon": render.instant(h.time), "balances": list(h.balances)}
                    for h in found.horizons
                ],
                "sizes": dict(found.sizes),
            }
        )
        return
    from rich.markup import escape
    from rich.table import Table

    click.echo(f"account {found.account}: {found.contacts:,} contacts, generation {found.generation}")
    click.echo(
        f"{found.postings:,} postings; {_size(found.used_bytes)} used of {_size(found.file_bytes)} on disk,"
        f" {found.free_pages:,} free pages, {_percent(_map_use(found))} of the map; format {found.format_version}"
    )
    behind = found.generation - found.merged_generation
    lag = f"{behind:,} generations, {found.merge_lag_seconds:,.1f} s behind" if behind else "nothing to merge"
    click.echo(
        f"log of {found.log_records:,} records, {_size(found.log_bytes)}; {lag}; overlay {_size(found.overlay_bytes)}"
    )
    for horizon in found.horizons:
        kept = f"; kept: {', '.join(horizon.balances)}" if horizon.balances else ""
        click.echo(f"{horizon.type} events are pruned before {render.instant(horizon.time)}{kept}")
    table = Table("field", "type", "set", "distinct", "least", "most")
    for field in found.fields:
        table.add_row(
            escape(field.name),
            field.type,
            f"{field.set_count:,}",
            "" if field.distinct is None else f"{field.distinct:,}",
            escape(render.text(field.minimum)),
            escape(render.text(field.maximum)),
        )
    render.print_rich(table)
    for name, size in sorted(found.sizes.items()):
        click.echo(f"{name:<12} {_size(size):>10}")


def _map_use(stats: Stats) -> float:
    """How much of the reserved map the data takes, in percent: at 100 no write fits any more."""
    return 100 * stats.used_bytes / stats.map_bytes if stats.map_bytes else 0.0


def _percent(share: float) -> str:
    """`12.3 %`, also of a map so large that a directory hardly shows in it."""
    return "under 0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError(count)
