"""`segidx products`: the catalogue of products. (`import_products` fills it.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.products import Product
from segidx.model.schema import describe, parse_field

if TYPE_CHECKING:
    from segidx.cli.target import AnyAccount

_PAGE = 1000


@click.group("products")
def products() -> None:
    """Show the catalogue of products, and declare their properties."""


@products.command("declare")
@click.argument("properties", nargs=-1, required=True, metavar="NAME=TYPE...")
@target_options
def declare(properties: tuple[str, ...], target: Target) -> None:
    """Declare properties of products.

    \b
    segidx products declare brand=category 'weight=number(3)' labels=tags new=bool --data DIR

    TYPE is category, tags, number(DECIMALS) or bool; a text is kept as a category. Declaring a property again as it is
    changes nothing.
    """
    wanted = []
    for text in properties:
        name, equals, type_text = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r}: write NAME=TYPE, such as 'brand=category'")
        wanted.append(parse_field(name, type_text))
    with target.account(write=True) as opened:
        found = opened.update_product_schema(wanted)
    click.echo("declared " + ", ".join(f"{p.name} {describe(found[p.name])}" for p in wanted))


@products.command("properties")
@json_option
@target_options
def properties(as_json: bool, target: Target) -> None:
    """List the properties of products."""
    with target.account() as opened:
        found = opened.product_schema
    if as_json:
        render.print_json({p.name: describe(p) for p in found})
        return
    width = max(len(p.name) for p in found)
    for each in found:
        click.echo(f"{each.name:<{width}}  {describe(each)}")


@products.command("get")
@click.argument("product_id", metavar="ID")
@json_option
@target_options
def get(product_id: str, as_json: bool, target: Target) -> None:
    """Show the product ID with its properties."""
    with target.account() as opened:
        found = opened.product(product_id)
    if as_json:
        render.print_json(_entry(found))
    else:
        click.echo(_line(found))


@products.command("list")
@click.option("--after", metavar="ID", help="Begin behind this id.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@json_option
@target_options
def list_(after: str | None, limit: int, as_json: bool, target: Target) -> None:
    """List products in byte order of their ids."""
    with target.account() as opened:
        found = _listed(opened, after, limit)
    render.print_all("products", found, _entry, _line, as_json=as_json)


def _listed(account: AnyAccount, after: str | None, limit: int) -> list[Product]:
    found: list[Product] = []
    while len(found) < limit:
        wanted = min(_PAGE, limit - len(found))
        page = account.products(after, limit=wanted)
        found += page
        if len(page) < wanted:
            break
        after = page[-1].product_id
    return found


def _entry(of: Product) -> dict[str, object]:
    return {"product_id": of.product_id, "properties": {n: render.plain(v) for n, v in sorted(of.properties.items())}}


def _line(of: Product) -> str:
    held = ", ".join(f"{name} {render.text(value)}" for name, value in sorted(of.properties.items()))
    return f"{of.product_id}  {held}".rstrip()
