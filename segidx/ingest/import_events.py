"""Importing a file of events of one type, one row an event: find the columns, then read, check and write batch after
batch. Orders, whose files have one row a line, are imported by `import_orders`.

Importing a file again replaces its events with themselves, and an import that was cut short is finished by running it
again. Works on an account in the same process. Imports the model and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from segidx.ingest.event_batch import EventBatch, written_with_its_order
from segidx.ingest.event_columns import CONTACT_ID, choose_columns, parse_map
from segidx.ingest.events_arrow import (
    EVENT_ID,
    column_fields,
    events_from_arrow,
)
from segidx.ingest.importing import Import, Progress, numbered
from segidx.ingest.sources import Source
from segidx.model.errors import InvalidArgument
from segidx.model.events import LINE, ORDER, EventType, EventTypes
from segidx.model.results import Horizon, Reject, WriteResult
from segidx.model.retention import horizon_of
from segidx.model.schema import AccountInfo
from segidx.model.source_settings import SourceSettings

# A transaction rewrites much of what it touches, so it should bring much.
BATCH_EVENTS = 200_000


class EventAccount(Protocol):
    """What an import of events needs of an account."""

    @property
    def info(self) -> AccountInfo: ...

    @property
    def event_types(self) -> EventTypes: ...

    @property
    def source_settings(self) -> SourceSettings: ...

    @property
    def horizons(self) -> Mapping[str, Horizon]: ...

    def now(self) -> int: ...

    def apply_events(self, events: EventBatch, /) -> WriteResult: ...


@dataclass(frozen=True, slots=True)
class EventImportReport:
    """What an import did. `rows` of the file = `events` + `unchanged` + `rejected`. `rejects` are the first 20; all are
    in the file `reject_path` (None without any)."""

    type: str
    rows: int
    events: int  # written; one that two batches carry is written twice
    unchanged: int  # replaced by another of their batch, or held already in a greater revision, or retracted
    contacts_created: int
    rejected: int
    generation: int
    columns: Mapping[str, str]  # the file's column of each name
    ignored_columns: tuple[str, ...]
    rejects: tuple[Reject, ...]
    reject_path: Path | None
    seconds: float


def importable(name: str, types: EventTypes) -> EventType:
    """The type of that name, if its events may be imported here. Raises UnknownEventType, InvalidValue for lines and
    InvalidArgument for orders."""
    if name == LINE.name:
        raise written_with_its_order()
    if name == ORDER.name:
        raise InvalidArgument("a file of orders has one row a line; import it with import_orders", type=name)
    return types[name]


def parse_event_columns(options: Iterable[str], type: EventType) -> dict[str, str]:
    """`NAME=COLUMN` options. Raises InvalidArgument."""
    known = (EVENT_ID, CONTACT_ID, *column_fields(type, AccountInfo("any")))
    return parse_map(options, known, "event_id=Visit number")


def import_events(
    account: EventAccount,
    type: str,
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    reject_path: Path | None = None,
    progress: Progress | None = None,
    batch_rows: int = BATCH_EVENTS,
) -> EventImportReport:
    """Import the events of one type from a Parquet, CSV or Arrow file, one batch committed after another.

    `columns` maps names (`event_id`, `contact_id`, `time`, `revision` and the type's properties; see `column_fields`)
    to the file's columns where they are called otherwise. Naive times are local in the account's zone. Bad rows are
    refused and listed in `reject_path` (next to the source by default); the others stand. Of rows with one id that of
    the greatest revision stands, or else the last; what is held in a greater revision, or was retracted, stays as it
    is. `progress(phase, rows done, rows in all or None)` is told as it goes on.

    Raises UnknownEventType, InvalidSource for a file that cannot be read or lacks a column, and TooManyRejects, before
    anything is written, if the first batch has no good row.
    """
    if batch_rows < 1:
        raise InvalidArgument(f"batch_rows must be 1 or more, not {batch_rows}")
    of = importable(type, account.event_types)
    run = Import(path, reject_path, progress)
    source = run.source
    chosen = choose_columns(source, columns or {}, EVENT_ID, column_fields(of, account.info))
    events = unchanged = 0
    with run:
        for batch in run.batches(_batches(source, chosen, of, account, batch_rows)):
            result = account.apply_events(batch)
            run.wrote(result)
            run.also_refused(batch, result.event_rejects)
            events += result.events_accepted
            unchanged += result.events_duplicates
    return EventImportReport(
        type=type,
        rows=run.rows,
        events=events,
        unchanged=unchanged,
        contacts_created=run.created,
        rejected=run.rejected,
        generation=run.generation,
        columns=chosen,
        ignored_columns=tuple(c for c in source.columns if c not in chosen.values()),
        rejects=tuple(run.shown),
        reject_path=run.reject_path,
        seconds=run.seconds,
    )


def _batches(
    source: Source, columns: Mapping[str, str], type: EventType, account: EventAccount, batch_rows: int
) -> Iterator[tuple[int, EventBatch]]:
    """Each batch with the number of rows of the file it was made of."""
    wanted = list(dict.fromkeys(columns.values()))
    own_hosts, horizon = account.source_settings.own_hosts, horizon_of(type, account.horizons)

    def convert(rows: pa.RecordBatch, first: int) -> EventBatch:
        return events_from_arrow(
            rows, columns, type, account.info, account.now(), own_hosts=own_hosts, horizon=horizon, first_index=first
        )

    return numbered(source.batches(wanted, batch_rows, ragged=True), convert)
