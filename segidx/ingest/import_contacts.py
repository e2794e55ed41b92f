"""Importing a file of contacts: choose the fields, then read, convert and write batch after batch.

A file states a contact's whole value for each of its columns, so importing it again changes nothing, and an import
that was cut short is finished by running it again. Works on any account with the calls of `AccountLike`, in process
or over the network. Imports the model and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from segidx.ingest.arrow import TAG_SEPARATOR, batch_from_arrow, check_id_type
from segidx.ingest.batch import ContactBatch
from segidx.ingest.importing import Import, in_parts, numbered
from segidx.ingest.importing import Progress as Progress
from segidx.ingest.mapping import ColumnMapping, Overrides, choose_fields
from segidx.ingest.rows import rows_from_batch
from segidx.ingest.sources import BATCH_ROWS, Source
from segidx.model.errors import InvalidArgument
from segidx.model.results import Reject, WriteResult
from segidx.model.schema import AccountInfo, Field, Schema

# Rows committed at a time: of a file of few columns more, since a transaction rewrites much of the index of ids.
BATCH_CELLS, MOST_BATCH_ROWS = 2_000_000, 500_000


class AccountLike(Protocol):
    """What an import needs of an account. One in the same process also has `apply(ContactBatch) -> WriteResult`,
    which is used where it is there."""

    @property
    def info(self) -> AccountInfo: ...

    def schema(self) -> Schema: ...

    def update_schema(self, fields: list[Field], /) -> Schema: ...

    def upsert(self, rows: Iterable[tuple[str | bytes, Mapping[str, object]]], /) -> WriteResult: ...


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. `rows` of the file = `accepted` + `duplicates` + `rejected`; a contact that two batches
    carry is accepted twice. `rejects` are the first 20; all are in the file `reject_path` (None without any)."""

    rows: int
    accepted: int
    created: int
    duplicates: int
    rejected: int
    generation: int
    fields: tuple[Field, ...]
    empty_columns: tuple[str, ...]
    rejects: tuple[Reject, ...]
    reject_path: Path | None
    seconds: float


def import_contacts(
    account: AccountLike,
    path: str | Path,
    *,
    id_column: str,
    overrides: Overrides | None = None,
    reject_path: Path | None = None,
    progress: Progress | None = None,
    batch_rows: int | None = None,
    tag_separator: str = TAG_SEPARATOR,
) -> ImportReport:
    """Import the contacts of a Parquet, CSV or Arrow file, one batch committed after another.

    `id_column` holds the contact ids (strings, or whole numbers, which are written in decimal). Fields are declared
    as `overrides`, the account's schema and inference say, in this order of precedence. Naive times are local in the
    account's zone. A null clears the field. Bad rows are refused and listed in `reject_path` (next to the source by
    default); the others stand. `batch_rows` are committed at a time: by default 100,000, and up to 500,000 of a file of
    few columns. `progress(phase, rows done, rows in all or None)` is told as it goes on, with the phases "looking" and
    "importing".

    Raises InvalidSource for a file that cannot be read, SchemaConflict for a field that has another type already,
    and TooManyRejects, before anything is written, if the first batch has no good row.
    """
    if not tag_separator:
        raise InvalidArgument("the tag separator must not be empty")
    if batch_rows is not None and batch_rows < 1:
        raise InvalidArgument(f"batch_rows must be 1 or more, not {batch_rows}")
    run = Import(path, reject_path, progress)
    source = run.source
    check_id_type(source.column(id_column), id_column)
    old = account.schema()
    mapping = choose_fields(source, old, id_column, overrides or Overrides(), run.looking)
    schema = old.extended(mapping.fields)
    accepted = duplicates = 0
    with run:
        rows = batch_rows or max(BATCH_ROWS, min(BATCH_CELLS // (1 + len(mapping.columns)), MOST_BATCH_ROWS))
        for batch in run.batches(_batches(source, schema, id_column, mapping, account.info, rows, tag_separator)):
            if not run.rows:
                _declare(account, old, mapping)
            duplicates += batch.duplicates
            for result in _write(account, batch, schema):
                run.wrote(result)
                accepted += result.accepted
                run.refuse_late(batch, result.rejects)
        if not run.rows:
            _declare(account, old, mapping)
    return ImportReport(
        rows=run.rows,
        accepted=accepted,
        created=run.created,
        duplicates=duplicates,
        rejected=run.rejected,
        generation=run.generation,
        fields=mapping.fields,
        empty_columns=mapping.empty,
        rejects=tuple(run.shown),
        reject_path=run.reject_path,
        seconds=run.seconds,
    )


def _declare(account: AccountLike, old: Schema, mapping: ColumnMapping) -> None:
    new = [f for f in mapping.fields if f.name not in old or (f.tracked and not old[f.name].tracked)]
    if new:
        account.update_schema(new)


def _batches(
    source: Source,
    schema: Schema,
    id_column: str,
    mapping: ColumnMapping,
    info: AccountInfo,
    batch_rows: int,
    tag_separator: str,
) -> Iterator[tuple[int, ContactBatch]]:
    """Each batch with the number of rows of the file it was made of."""
    wanted = list(dict.fromkeys([id_column, *mapping.columns]))

    def convert(rows: pa.RecordBatch, first: int) -> ContactBatch:
        return batch_from_arrow(
            rows, schema, id_column, mapping.columns, first_index=first, zone=info.tz, tag_separator=tag_separator
        )

    return numbered(source.batches(wanted, batch_rows, ragged=True), convert)


def _write(account: AccountLike, batch: ContactBatch, schema: Schema) -> Iterator[WriteResult]:
    apply = getattr(account, "apply", None)
    if apply is not None:
        yield apply(batch)
        return
    for part in in_parts(rows_from_batch(batch, schema)):
        yield account.upsert(part)
