"""`segidx preview`, `get`, `suggest` and `tag`."""

from __future__ import annotations

import click

from segidx.cli import render
from segidx.cli.queries import json_option, unfinished_option
from segidx.cli.target import Target, reading, target_options


@click.command()
@click.argument("expression")
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=20, show_default=True, help="Contacts to show.")
@click.option(
    "--field", "-f", "fields", multiple=True, metavar="NAME", help="Show this field (repeatable; default all)."
)
@json_option
@unfinished_option
@target_options
def preview(
    expression: str, limit: int, fields: tuple[str, ...], as_json: bool, allow_unfinished: bool, target: Target
) -> None:
    """Show the first contacts that EXPRESSION holds."""
    with reading(expression), target.account() as account:
        found = account.preview(
            expression, fields=fields or None, limit=limit, allow_unfinished=allow_unfinished, **target.limits()
        )
        names = fields or tuple(f.name for f in account.schema())
    if as_json:
        contacts = [render.contact_entries(contact) for contact in found.contacts]
        render.print_json({"contacts": contacts, **render.evaluation_entries(found.evaluation)})
    else:
        from rich.markup import escape
        from rich.table import Table

        table = Table("contact", *map(escape, names))
        for contact in found.contacts:
            values = (render.text(contact.fields.get(name)) for name in names)
            table.add_row(escape(contact.contact_id), *map(escape, values))
        render.print_rich(table)
    render.tell_skipped(found.evaluation)


@click.command()
@click.argument("contact_id")
@json_option
@target_options
def get(contact_id: str, as_json: bool, target: Target) -> None:
    """Show one contact with its fields."""
    with target.account() as account:
        found = account.get(contact_id)
    if as_json:
        render.print_json(render.contact_entries(found))
    else:
        width = max(map(len, found.fields), default=0)
        click.echo(found.contact_id)
        for name, value in sorted(found.fields.items()):
            click.echo(f"  {name:<{width}}  {render.text(value)}")


@click.command()
@click.argument("field")
@click.argument("typed", metavar="TEXT", default="")
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=10, show_default=True, help="Values to show.")
@json_option
@target_options
def suggest(field: str, typed: str, limit: int, as_json: bool, target: Target) -> None:
    """Show values of FIELD that contain TEXT, with the number of contacts that hold each."""
    with target.account() as account:
        found = account.suggest(field, typed, limit=limit, **target.limits())
    if as_json:
        render.print_json({"suggestions": [{"value": s.value, "count": s.count} for s in found]})
    else:
        for suggestion in found:
            click.echo(f"{suggestion.count:>10,}  {suggestion.value}")


@click.command()
@click.argument("contact_ids", nargs=-1, required=True, metavar="CONTACT_ID...")
@click.option("--field", "-f", default="tags", show_default=True, metavar="NAME", help="The tags field.")
@click.option("--add", multiple=True, metavar="TAG", help="Add a tag (repeatable).")
@click.option("--remove", multiple=True, metavar="TAG", help="Remove a tag (repeatable).")
@click.option("--replace", multiple=True, metavar="TAG", help="Hold these tags and no others (repeatable).")
@click.option("--clear", is_flag=True, help="Hold no tags.")
@target_options
@click.pass_context
def tag(
    context: click.Context,
    contact_ids: tuple[str, ...],
    field: str,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    replace: tuple[str, ...],
    clear: bool,
    target: Target,
) -> None:
    """Add, remove or replace tags of contacts.

    Contacts that are not there are named on stderr (exit code 3); the others are tagged.
    """
    if sum((bool(add or remove), bool(replace), clear)) != 1:
        raise click.UsageError("give --add and --remove, or --replace, or --clear")
    with target.account(write=True) as account:
        result = account.tag(
            contact_ids, field=field, add=add, remove=remove, replace=replace if replace or clear else None
        )
    click.echo(f"tagged {result.accepted:,} of {len(contact_ids):,} contacts")
    for reject in result.rejects:
        click.echo(f"segidx: error: {reject.message}", err=True)
    if result.rejects:
        context.exit(3)
