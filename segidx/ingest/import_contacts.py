"""Importing a file of contacts: choose the fields, then read, convert and write batch after batch.

A file states a contact's whole value for each of its columns, so importing it again changes nothing, and an import
that was cut short is finished by running it again. Works on any account with the calls of `AccountLike`, in process
or over the network. Imports the model and its neighbours only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa

from segidx.ingest.arrow import TAG_SEPARATOR, batch_from_arrow, check_id_type
from segidx.ingest.batch import ContactBatch
from segidx.ingest.mapping import ColumnMapping, Overrides, choose_fields
from segidx.ingest.rejects import RejectFile, default_reject_path
from segidx.ingest.rows import rows_from_batch
from segidx.ingest.sources import BATCH_ROWS, Source, open_source
from segidx.model.errors import InvalidArgument, TooManyRejects
from segidx.model.results import Reject, WriteResult
from segidx.model.schema import AccountInfo, Field, Schema

SHOWN_REJECTS = 20
# Rows committed at a time: of a file of few columns more, since a transaction rewrites much of the index of ids.
BATCH_CELLS, MOST_BATCH_ROWS = 2_000_000, 500_000
# Rows of one message where the account is reached over the network: some hundred KB, far below a message's limit.
REMOTE_ROWS = 2000

Progress = Callable[[str, int, "int | None"], None]
_T = TypeVar("_T")


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


@dataclass(slots=True)
class _Totals:
    rows: int = 0
    accepted: int = 0
    created: int = 0
    duplicates: int = 0
    rejected: int = 0
    generation: int = 0


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
    began = time.monotonic()
    source = open_source(path)
    check_id_type(source.column(id_column), id_column)
    tell = progress or (lambda _phase, _done, _total: None)
    old = account.schema()
    mapping = choose_fields(
        source, old, id_column, overrides or Overrides(), lambda done: tell("looking", done, source.rows)
    )
    schema = old.extended(mapping.fields)
    totals = _Totals()
    first_rejects: list[Reject] = []
    where = reject_path or default_reject_path(source.path)
    with RejectFile(where) as rejects:
        rows = batch_rows or max(BATCH_ROWS, min(BATCH_CELLS // (1 + len(mapping.columns)), MOST_BATCH_ROWS))
        batches = _batches(source, schema, id_column, mapping, account.info, rows, tag_separator)
        for number, (count, batch) in enumerate(ahead(batches)):
            rejects.add(batch.rejects)
            first_rejects += batch.rejects[: SHOWN_REJECTS - len(first_rejects)]
            if number == 0:
                if count and len(batch.rejects) == count:
                    raise _all_refused(batch, source, where)
                _declare(account, old, mapping)
            totals.rows += count
            totals.duplicates += batch.duplicates
            totals.rejected += len(batch.rejects)
            own = set(batch.rejects)
            for result in _write(account, batch, schema):
                totals.accepted += result.accepted
                totals.created += result.created
                totals.generation = result.generation
                # What an account refuses beyond that was accepted by the schema as it was when the import began.
                extra = [replace(r, index=-1) for r in result.rejects if r not in own]
                rejects.add(extra)
                totals.rejected += len(extra)
                first_rejects += extra[: SHOWN_REJECTS - len(first_rejects)]
            tell("importing", totals.rows, source.rows)
        if not totals.rows:
            _declare(account, old, mapping)
    return ImportReport(
        rows=totals.rows,
        accepted=totals.accepted,
        created=totals.created,
        duplicates=totals.duplicates,
        rejected=totals.rejected,
        generation=totals.generation,
        fields=mapping.fields,
        empty_columns=mapping.empty,
        rejects=tuple(first_rejects),
        reject_path=where if rejects.count else None,
        seconds=time.monotonic() - began,
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
    first = 0
    wanted = list(dict.fromkeys([id_column, *mapping.columns]))
    for record_batch in source.batches(wanted, batch_rows):
        assert isinstance(record_batch, pa.RecordBatch)
        yield (
            record_batch.num_rows,
            batch_from_arrow(
                record_batch,
                schema,
                id_column,
                mapping.columns,
                first_index=first,
                zone=info.tz,
                tag_separator=tag_separator,
            ),
        )
        first += record_batch.num_rows


def ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The same items, the next one being made on a thread while the caller works on this one."""
    with ThreadPoolExecutor(1, "import-reader") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _write(account: AccountLike, batch: ContactBatch, schema: Schema) -> Iterator[WriteResult]:
    apply = getattr(account, "apply", None)
    if apply is not None:
        yield apply(batch)
        return
    rows = rows_from_batch(batch, schema)
    while part := list(islice(rows, REMOTE_ROWS)):
        yield account.upsert(part)


def _all_refused(batch: ContactBatch, source: Source, where: Path) -> TooManyRejects:
    first = batch.rejects[0]
    return TooManyRejects(
        f"all of the first {len(batch.rejects)} rows of {source.path} were refused, so nothing was imported;"
        f" the first: {first.message}; all are listed in {where}",
        rows=len(batch.rejects),
        reason_of_first=first.reason,
    )
