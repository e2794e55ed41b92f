"""`segidx import events`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from segidx.cli import render
from segidx.cli.import_options import check_one_file, reject_option
from segidx.cli.import_reports import print_rejects, progress_bar
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.errors import AlreadyOpenForWriting, InvalidArgument
from segidx.model.events import ORDER, EventTypes

if TYPE_CHECKING:
    from segidx.database import Account
    from segidx.ingest.import_events import EventImportReport
    from segidx.ingest.import_orders import OrderImportReport


@click.command("events")
@click.argument("type_", metavar="TYPE")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--map",
    "-m",
    "maps",
    multiple=True,
    metavar="NAME=COLUMN",
    help="The file's column for event_id (of orders order_id), contact_id, time, ... where it has another name"
    " (repeatable).",
)
@reject_option(" of one FILE")
@json_option
@target_options
def import_events(
    type_: str, files: tuple[Path, ...], maps: tuple[str, ...], rejects: Path | None, as_json: bool, target: Target
) -> None:
    """Import what contacts did: events of one TYPE from Parquet, CSV (.csv, .tsv, .csv.gz) or Arrow FILEs.

    \b
    segidx import events visit visits.parquet --data DIR
    segidx import events order orders.parquet --data DIR

    One row is an event, with the columns event_id, contact_id and time; and where they are there revision, and one a
    property of the type. TYPE is visit, message, cart, activity, or one that the account declares; `segidx events
    list` shows their properties.

    Of `order` one row is a line, and the rows of an order stand together. Columns: order_id, contact_id and time; and
    where they are there source, paid, order_amount, currency; and of the line product, producer, category, quantity,
    unit_price, amount. A bad row refuses its order.

    An id that the account has is replaced, an order with its lines; contacts that it lacks are created. A bad row is
    refused and listed (rows count from 0); the others are imported. Importing a file again changes no answer.
    """
    from segidx.ingest.sources import open_source

    check_one_file(files, rejects)
    if target.server is not None:
        raise InvalidArgument(
            f"{'orders' if type_ == ORDER.name else 'events'} are not imported through a server; stop it and import in"
            " its data directory, with --data DIR",
            argument="server",
        )
    # What can be known to be wrong is refused before a directory is made for nothing.
    create = type_ in EventTypes()
    if create:
        _importer(type_, EventTypes(), maps)
    for file in files:
        open_source(file)
    reports = []
    with _no_server(target), target.account(write=True, create=create) as opened:
        account = cast("Account", opened)
        run = _importer(type_, account.event_types, maps)
        for file in files:
            with progress_bar() as progress:
                report = run(account, file, reject_path=rejects, progress=progress)
            if as_json:
                reports.append({"file": str(file), **_entry(report)})
            else:
                _print(file, report)
        account.keep_derived()
    if as_json:
        render.print_json({"files": reports})


@contextmanager
def _no_server(target: Target) -> Iterator[None]:
    """Lets a directory that is being served be told as such: other commands go to its server, this one cannot."""
    try:
        yield
    except AlreadyOpenForWriting as error:
        error.message = (
            f"{target.data} is already open for writing by process {error.metadata['process']}; stop it: files of"
            " events are not imported through a server"
        )
        raise


def _importer(
    type_: str, types: EventTypes, maps: Iterable[str]
) -> Callable[..., EventImportReport | OrderImportReport]:
    """What imports files of the type, one after another. Raises what is wrong with the type, or with `maps`."""
    from functools import partial

    from segidx.ingest import import_events as of_events
    from segidx.ingest import import_orders as of_orders
    from segidx.ingest.orders_arrow import SeenOrders

    if type_ == ORDER.name:
        return partial(of_orders.import_orders, columns=of_orders.parse_columns(maps), seen=SeenOrders())
    columns = of_events.parse_event_columns(maps, of_events.importable(type_, types))

    def run(account: Account, file: Path, **how: Any) -> EventImportReport:
        return of_events.import_events(account, type_, file, columns=columns, **how)

    return run


def _written(report: EventImportReport | OrderImportReport) -> dict[str, int]:
    """What was written, by its plural."""
    from segidx.ingest.import_orders import OrderImportReport

    if isinstance(report, OrderImportReport):
        return {"orders": report.orders, "lines": report.lines}
    return {"events": report.events}


def _entry(report: EventImportReport | OrderImportReport) -> dict[str, object]:
    return {
        "rows": report.rows,
        **_written(report),
        "unchanged": report.unchanged,
        "contacts_created": report.contacts_created,
        "rejected": report.rejected,
        "rejects": None if report.reject_path is None else str(report.reject_path),
        "columns": dict(report.columns),
        "ignored_columns": list(report.ignored_columns),
        "generation": report.generation,
        "seconds": round(report.seconds, 3),
    }


def _print(file: Path, report: EventImportReport | OrderImportReport) -> None:
    written = _written(report)
    said = " with ".join(f"{count:,} {what}" for what, count in written.items())
    unchanged = f", {report.unchanged:,} unchanged" if report.unchanged else ""
    # Of an order that has one bad row the others are not written either, and there may be many more of these.
    with_their_orders = ", and all else of their orders" if report.rejected and "orders" in written else ""
    click.echo(
        f"{file}: {report.rows:,} rows; {said} written ({report.contacts_created:,} new contacts){unchanged},"
        f" {report.rejected:,} rows refused{with_their_orders}; {report.seconds:.1f} s"
    )
    if report.ignored_columns:
        of = "an order's" if "orders" in written else "such an event's"
        click.echo(f"left out, having no name of {of}: {', '.join(report.ignored_columns)}")
    print_rejects(report)
