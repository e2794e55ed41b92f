"""`segidx import contacts` and `segidx import events`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.errors import InvalidArgument
from segidx.model.schema import describe

if TYPE_CHECKING:
    from segidx.database import Account
    from segidx.ingest.import_contacts import ImportReport
    from segidx.ingest.import_orders import OrderImportReport


@click.group("import")
def import_() -> None:
    """Import files."""


@import_.command("contacts")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--id", "id_column", required=True, metavar="COLUMN", help="The column of contact ids.")
@click.option(
    "--field",
    "-f",
    "types",
    multiple=True,
    metavar="NAME=TYPE",
    help="The type of a column: tags, category, number(DECIMALS), timestamp, date, bool, text, or skip (repeatable).",
)
@click.option(
    "--schema",
    "toml",
    metavar="TOML",
    type=click.Path(path_type=Path),
    help='File with the tables [fields] (name = "type") and [rename] (column = "field").',
)
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where refused rows are listed (default: FILE.rejects.csv, written only if there are any).",
)
@click.option(
    "--tag-separator", default="|", show_default=True, metavar="TEXT", help="Splits the tags in a column of strings."
)
@json_option
@target_options
def contacts(
    file: Path,
    id_column: str,
    types: tuple[str, ...],
    toml: Path | None,
    rejects: Path | None,
    tag_separator: str,
    as_json: bool,
    target: Target,
) -> None:
    """Import contacts from a Parquet, CSV (.csv, .tsv, .csv.gz) or Arrow FILE.

    \b
    segidx import contacts contacts.parquet --id contact_id --data DIR

    The data directory is created where it is missing. Types come from --field, --schema, the account's fields, or
    else the whole file's values. Naive times are local in the account's zone. An empty cell is "not set": it clears
    the contact's field. A row with a bad value is refused and listed (rows count from 0); the others are imported.
    Importing a file again changes nothing, and finishes an import that was cut short.
    """
    from segidx.ingest.import_contacts import import_contacts
    from segidx.ingest.mapping import Overrides, parse_options, read_toml

    said = read_toml(toml) if toml is not None else Overrides()
    overrides = Overrides(types=parse_options(types), declared=said.declared, rename=said.rename)
    if target.data is not None:
        from segidx.ingest.sources import open_source

        open_source(file).column(id_column)  # before a directory is made for nothing
    with target.account(write=True, create=True) as account, _progress() as progress:
        report = import_contacts(
            account,
            file,
            id_column=id_column,
            overrides=overrides,
            reject_path=rejects,
            progress=progress,
            tag_separator=tag_separator,
        )
    if as_json:
        _print_json(file, report)
    else:
        _print(file, report)


def _print_json(file: Path, report: ImportReport) -> None:
    render.print_json(
        {
            "file": str(file),
            "rows": report.rows,
            "accepted": report.accepted,
            "created": report.created,
            "duplicates": report.duplicates,
            "rejected": report.rejected,
            "rejects": None if report.reject_path is None else str(report.reject_path),
            "fields": {f.name: describe(f) for f in report.fields},
            "empty_columns": list(report.empty_columns),
            "generation": report.generation,
            "seconds": round(report.seconds, 3),
        }
    )


def _print(file: Path, report: ImportReport) -> None:
    click.echo(
        f"{file}: {report.rows:,} rows; {report.accepted:,} contacts written ({report.created:,} new),"
        f" {report.duplicates:,} duplicates, {report.rejected:,} refused; {report.seconds:.1f} s"
    )
    click.echo("fields: " + (", ".join(f"{f.name} {describe(f)}" for f in report.fields) or "none"))
    if report.empty_columns:
        click.echo(f"left out, being empty: {', '.join(report.empty_columns)}")
    _print_rejects(report)


def _print_rejects(report: ImportReport | OrderImportReport) -> None:
    if report.reject_path is not None:
        for reject in report.rejects[:5]:
            click.echo(f"refused {reject.message}", err=True)
        click.echo(f"all refused rows are listed in {report.reject_path}", err=True)


@import_.group("events")
def events() -> None:
    """Import what contacts did."""


@events.command("order")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--map",
    "-m",
    "maps",
    multiple=True,
    metavar="NAME=COLUMN",
    help="The file's column for order_id, contact_id, time, ... where it has another name (repeatable).",
)
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where refused rows of one FILE are listed (default: FILE.rejects.csv, written only if there are any).",
)
@json_option
@target_options
def order(files: tuple[Path, ...], maps: tuple[str, ...], rejects: Path | None, as_json: bool, target: Target) -> None:
    """Import orders with their lines from Parquet, CSV (.csv, .tsv, .csv.gz) or Arrow FILEs, one row a line.

    \b
    segidx import events order orders.parquet --data DIR

    Columns: order_id, contact_id and time; and where they are there source, paid, order_amount, currency; and of the
    line product, producer, category, quantity, unit_price, amount. The rows of an order stand together. An order id
    that the account has is replaced, lines and all; contacts that it lacks are created. A bad row refuses its order
    and is listed (rows count from 0); the others are imported. Importing a file again changes no answer.
    """
    from segidx.ingest.import_orders import import_orders, parse_columns
    from segidx.ingest.orders_arrow import SeenOrders
    from segidx.ingest.sources import open_source

    columns = parse_columns(maps)
    if rejects is not None and len(files) > 1:
        raise click.UsageError("--rejects goes with one FILE; each has its own list of refused rows")
    if target.server is not None:
        raise InvalidArgument(
            "orders are not imported through a server; stop it and import in its data directory, with --data DIR",
            argument="server",
        )
    for file in files:  # before a directory is made for nothing
        open_source(file)
    seen = SeenOrders()
    reports = []
    with target.account(write=True, create=True) as opened:
        account = cast("Account", opened)
        for file in files:
            with _progress() as progress:
                report = import_orders(
                    account, file, columns=columns, reject_path=rejects, progress=progress, seen=seen
                )
            reports.append(_order_entry(file, report))
            if not as_json:
                _print_orders(file, report)
    if as_json:
        render.print_json({"files": reports})


def _order_entry(file: Path, report: OrderImportReport) -> dict[str, object]:
    return {
        "file": str(file),
        "rows": report.rows,
        "orders": report.orders,
        "lines": report.lines,
        "contacts_created": report.contacts_created,
        "rejected": report.rejected,
        "rejects": None if report.reject_path is None else str(report.reject_path),
        "columns": dict(report.columns),
        "ignored_columns": list(report.ignored_columns),
        "generation": report.generation,
        "seconds": round(report.seconds, 3),
    }


def _print_orders(file: Path, report: OrderImportReport) -> None:
    click.echo(
        f"{file}: {report.rows:,} rows; {report.orders:,} orders with {report.lines:,} lines written"
        f" ({report.contacts_created:,} new contacts), {report.rejected:,} rows refused; {report.seconds:.1f} s"
    )
    if report.ignored_columns:
        click.echo(f"left out, having no name of an order's: {', '.join(report.ignored_columns)}")
    _print_rejects(report)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar on the terminal; nothing where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def tell(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(tasks[phase], completed=done)

        yield tell
