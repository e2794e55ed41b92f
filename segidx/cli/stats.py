"""`segidx stats`."""

from __future__ import annotations

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options


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
                "sizes": dict(found.sizes),
            }
        )
        return
    from rich.markup import escape
    from rich.table import Table

    click.echo(f"account {found.account}: {found.contacts:,} contacts, generation {found.generation}")
    click.echo(
        f"{found.postings:,} postings; {_size(found.used_bytes)} used of {_size(found.file_bytes)} on disk,"
        f" {found.free_pages:,} free pages; format {found.format_version}"
    )
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


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError(count)
