"""`segidx import`, and of it `contacts`. (`import_events` has the other.)"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segidx.cli import render
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.schema import declaration

if TYPE_CHECKING:
    from segidx.ingest.import_contacts import ImportReport
    from segidx.ingest.import_events import EventImportReport
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
    help="The type of a column: tags, category, number(DECIMALS), timestamp, date, bool, text, or skip; 'tracked' may"
    " stand behind tags, category and bool (repeatable).",
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
    with target.account(write=True, create=True) as account, progress_bar() as progress:
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
            "fields": {f.name: declaration(f) for f in report.fields},
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
    click.echo("fields: " + (", ".join(f"{f.name} {declaration(f)}" for f in report.fields) or "none"))
    if report.empty_columns:
        click.echo(f"left out, being empty: {', '.join(report.empty_columns)}")
    print_rejects(report)


def print_rejects(report: ImportReport | OrderImportReport | EventImportReport) -> None:
    """Tells of the first refused rows, and where all are listed."""
    if report.reject_path is not None:
        for reject in report.rejects[:5]:
            click.echo(f"refused {reject.message}", err=True)
        click.echo(f"all refused rows are listed in {report.reject_path}", err=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None] | None]:
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
