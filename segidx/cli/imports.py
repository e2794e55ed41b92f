"""`segidx import`, and of it `contacts`. (`import_events` and `import_products` have the others.)"""

from __future__ import annotations

from pathlib import Path

import click

from segidx.cli import render
from segidx.cli.import_options import column_options, overrides_of, reject_option, separator_option
from segidx.cli.import_reports import entry_of, progress_bar, tell
from segidx.cli.queries import json_option
from segidx.cli.target import Target, target_options


@click.group("import")
def import_() -> None:
    """Import files."""


@import_.command("contacts")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--id", "id_column", required=True, metavar="COLUMN", help="The column of contact ids.")
@column_options(
    "tags, category, number(DECIMALS), timestamp, date, bool, text, or skip; 'tracked' may stand behind tags, category"
    " and bool",
    "field",
)
@reject_option()
@separator_option
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

    overrides = overrides_of(types, toml)
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
        render.print_json(entry_of(file, report, "fields", report.fields))
    else:
        tell(file, report, "contacts", "fields", report.fields)
