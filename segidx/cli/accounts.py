"""`segidx account` and `segidx schema`."""

from __future__ import annotations

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.schema import AccountInfo, declaration, parse_field


@click.group()
def account() -> None:
    """Create and list accounts."""


@account.command("create")
@click.argument("name")
@click.option("--zone", default="UTC", show_default=True, help="IANA time zone, such as Europe/Warsaw.")
@click.option("--currency", default="USD", show_default=True, help="ISO 4217 code of its money.")
@click.option("--money-scale", default=2, show_default=True, help="Decimals of its money.")
@target_options
def create(name: str, zone: str, currency: str, money_scale: int, target: Target) -> None:
    """Create the account NAME (and DIR, where it is missing)."""
    info = AccountInfo(name, zone, currency, money_scale)
    with target.database(write=True, create=True) as database:
        database.create_account(info)
    click.echo(f"created account {name} ({zone}, {currency})")


@account.command("list")
@json_option
@target_options
def list_(as_json: bool, target: Target) -> None:
    """List the accounts."""
    with target.database() as database:
        found = database.accounts()
    render.print_all("accounts", found, _entry, _line, as_json=as_json)


def _entry(of: AccountInfo) -> dict[str, object]:
    return {"name": of.name, "zone": of.zone, "currency": of.currency, "money_scale": of.money_scale}


def _line(of: AccountInfo) -> str:
    return f"{of.name}  {of.zone}  {of.currency}"


@click.group()
def schema() -> None:
    """Show and extend an account's fields."""


@schema.command("show")
@json_option
@target_options
def show(as_json: bool, target: Target) -> None:
    """List the declared fields and their types."""
    with target.account() as opened:
        found = opened.schema()
    if as_json:
        render.print_json({"fields": {f.name: declaration(f) for f in found}})
    else:
        width = max((len(f.name) for f in found), default=0)
        for field in found:
            click.echo(f"{field.name:<{width}}  {declaration(field)}")


@schema.command("set")
@click.argument("fields", nargs=-1, required=True, metavar="NAME=TYPE...")
@target_options
def set_(fields: tuple[str, ...], target: Target) -> None:
    """Declare fields: 'income=number(2)' 'country=category' 'lead_stage=category tracked'.

    Types: tags, category, number(DECIMALS), timestamp, date, bool, text. A field keeps its type for ever. Of tracked
    ones (category, bool and tags) every change is kept with its time, from when they are declared so.
    """
    wanted = []
    for text in fields:
        name, equals, type_text = text.rpartition("=")
        if not equals:
            raise click.UsageError(f"{text!r}: write NAME=TYPE, such as 'income=number(2)'")
        wanted.append(parse_field(name, type_text))
    with target.account(write=True) as opened:
        opened.update_schema(wanted)
    click.echo(f"declared {', '.join(f'{f.name} ({declaration(f)})' for f in wanted)}")
