"""What the commands that import files tell: how far they are, what was written, and what was refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segidx.model.schema import Field, declaration

if TYPE_CHECKING:
    from segidx.ingest.import_contacts import ImportReport
    from segidx.ingest.import_events import EventImportReport
    from segidx.ingest.import_orders import OrderImportReport
    from segidx.ingest.import_products import ProductImportReport


def entry_of(
    file: Path, report: ImportReport | ProductImportReport, kind: str, columns: Iterable[Field]
) -> dict[str, object]:
    """The report in JSON's terms; the columns that were imported are called `kind`, such as fields."""
    return {
        "file": str(file),
        "rows": report.rows,
        "accepted": report.accepted,
        "created": report.created,
        "duplicates": report.duplicates,
        "rejected": report.rejected,
        "rejects": None if report.reject_path is None else str(report.reject_path),
        kind: {column.name: declaration(column) for column in columns},
        "empty_columns": list(report.empty_columns),
        "generation": report.generation,
        "seconds": round(report.seconds, 3),
    }


def tell(
    file: Path, report: ImportReport | ProductImportReport, what: str, kind: str, columns: Iterable[Field]
) -> None:
    """The report in lines: how many of `what` were written, of which `kind` of columns."""
    click.echo(
        f"{file}: {report.rows:,} rows; {report.accepted:,} {what} written ({report.created:,} new),"
        f" {report.duplicates:,} duplicates, {report.rejected:,} refused; {report.seconds:.1f} s"
    )
    click.echo(f"{kind}: " + (", ".join(f"{column.name} {declaration(column)}" for column in columns) or "none"))
    if report.empty_columns:
        click.echo(f"left out, being empty: {', '.join(report.empty_columns)}")
    print_rejects(report)


def print_rejects(report: ImportReport | OrderImportReport | EventImportReport | ProductImportReport) -> None:
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
