"""`segidx import products`."""

from __future__ import annotations

from pathlib import Path

import click

from segidx.cli import render
from segidx.cli.import_options import check_one_file, column_options, overrides_of, reject_option, separator_option
from segidx.cli.import_reports import entry_of, progress_bar, tell
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options


@click.command("products")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--id", "id_column", default="product_id", show_default=True, metavar="COLUMN", help="The column of product ids."
)
@column_options("category, tags, number(DECIMALS), bool, text, or skip", "property")
@reject_option(" of one FILE")
@separator_option
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
    from segidx.ingest.sources import open_source

    check_one_file(files, rejects)
    overrides = overrides_of(types, toml)
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
                reports.append(entry_of(file, report, "properties", report.properties))
            else:
                tell(file, report, "products", "properties", report.properties)
    if as_json:
        render.print_json({"files": reports})
