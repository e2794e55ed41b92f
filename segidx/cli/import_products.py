"""`segidx import products`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segidx.cli import render
from segidx.cli.imports import print_rejects, progress_bar
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options
from segidx.model.schema import describe

if TYPE_CHECKING:
    from segidx.ingest.import_products import ProductImportReport


@click.command("products")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--id", "id_column", default="product_id", show_default=True, metavar="COLUMN", help="The column of product ids."
)
@click.option(
    "--field",
    "-f",
    "types",
    multiple=True,
    metavar="NAME=TYPE",
    help="The type of a column: category, tags, number(DECIMALS), bool, text, or skip (repeatable).",
)
@click.option(
    "--schema",
    "toml",
    metavar="TOML",
    type=click.Path(path_type=Path),
    help='File with the tables [fields] (name = "type") and [rename] (column = "property").',
)
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where refused rows of one FILE are listed (default: FILE.rejects.csv, written only if there are any).",
)
@click.option(
    "--tag-separator", default="|", show_default=True, metavar="TEXT", help="Splits the tags in a column of strings."
)
@json_option
@target_options
def import_products(
    files: tuple[Path, ...],
    id_column: str,
    types: tuple[str, ...],
    toml: Path | None,
    rejects: Path | None,
    tag_separator: str,
    as_json: bool,
    target: Target,
) -> None:
    """Import products into the catalogue from Parquet, CSV (.csv, .tsv, .csv.gz) or Arrow FILEs.

    \b
    segidx import products products.parquet --id sku --data DIR

    One row is a product: its id is what stands in the property `product` of lines, and each other column is a property.
    Types come from --field, --schema, the catalogue's properties, or else the whole file's values; texts become
    categories. An empty cell takes the property away. A row with a bad value is refused and listed (rows count from 0);
    the others are imported. Importing a file again changes nothing, and finishes an import that was cut short.
    """
    from segidx.ingest.import_products import import_products as run
    from segidx.ingest.mapping import Overrides, parse_options, read_toml
    from segidx.ingest.sources import open_source

    if rejects is not None and len(files) > 1:
        raise click.UsageError("--rejects goes with one FILE; each has its own list of refused rows")
    said = read_toml(toml) if toml is not None else Overrides()
    overrides = Overrides(types=parse_options(types), declared=said.declared, rename=said.rename)
    for file in files:
        open_source(file).column(id_column)  # before a directory is made for nothing
    reports = []
    with target.account(write=True, create=True) as account:
        for file in files:
            with progress_bar() as progress:
                report = run(
                    account,
                    file,
                    id_column=id_column,
                    overrides=overrides,
                    reject_path=rejects,
                    progress=progress,
                    tag_separator=tag_separator,
                )
            if as_json:
                reports.append(_entry(file, report))
            else:
                _print(file, report)
    if as_json:
        render.print_json({"files": reports})


def _entry(file: Path, report: ProductImportReport) -> dict[str, object]:
    return {
        "file": str(file),
        "rows": report.rows,
        "accepted": report.accepted,
        "created": report.created,
        "duplicates": report.duplicates,
        "rejected": report.rejected,
        "rejects": None if report.reject_path is None else str(report.reject_path),
        "properties": {p.name: describe(p) for p in report.properties},
        "empty_columns": list(report.empty_columns),
        "generation": report.generation,
        "seconds": round(report.seconds, 3),
    }


def _print(file: Path, report: ProductImportReport) -> None:
    click.echo(
        f"{file}: {report.rows:,} rows; {report.accepted:,} products written ({report.created:,} new),"
        f" {report.duplicates:,} duplicates, {report.rejected:,} refused; {report.seconds:.1f} s"
    )
    click.echo("properties: " + (", ".join(f"{p.name} {describe(p)}" for p in report.properties) or "none"))
    if report.empty_columns:
        click.echo(f"left out, being empty: {', '.join(report.empty_columns)}")
    print_rejects(report)
