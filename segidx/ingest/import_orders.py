"""Importing a file of orders, one row a line: find the columns, then read, check and write batch after batch.

Importing a file again replaces its orders with themselves, and an import that was cut short is finished by running it
again. Works on an account in the same process. Imports the model and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segidx.ingest.arrow import read_ids
from segidx.ingest.arrow_values import mask
from segidx.ingest.event_batch import EventBatch, Ints, joined_batches, with_found_contacts
from segidx.ingest.event_columns import CONTACT_ID, choose_columns, parse_map
from segidx.ingest.importing import Import, Progress
from segidx.ingest.orders_arrow import (
    ORDER_ID,
    SeenOrders,
    column_fields,
    orders_from_arrow,
)
from segidx.ingest.ragged import ragged_rows
from segidx.ingest.sources import Source, joined
from segidx.model.errors import InvalidArgument
from segidx.model.events import MAX_LINES, ORDER
from segidx.model.results import Horizon, Reject, WriteResult
from segidx.model.retention import horizon_of
from segidx.model.schema import AccountInfo, FieldType

# Some 200,000 orders of a few lines each: a transaction rewrites much of what it touches, so it should bring much;
# what it brings is in memory a few times over.
BATCH_LINES = 500_000
# Rows that are converted at once: few enough to stay in the processor's caches.
_PIECE_ROWS = 200_000
# Rows that are held at most while an order does not end; one of so many is refused.
_MOST_ROWS = 2 * MAX_LINES


class OrderAccount(Protocol):
    """What an import of orders needs of an account."""

    @property
    def info(self) -> AccountInfo: ...

    @property
    def horizons(self) -> Mapping[str, Horizon]: ...

    def now(self) -> int: ...

    def find_contacts(self, contact_ids: pa.Array, /) -> Ints: ...

    def apply_events(self, events: EventBatch, /) -> WriteResult: ...


@dataclass(frozen=True, slots=True)
class OrderImportReport:
    """What an import did. `rejected` rows of the file were bad, and their orders refused. `rejects` are the first 20;
    all are in the file `reject_path` (None without any)."""

    rows: int
    orders: int  # written
    lines: int  # of the file's good orders
    contacts_created: int
    rejected: int
    generation: int
    columns: Mapping[str, str]  # the file's column of each name
    ignored_columns: tuple[str, ...]
    rejects: tuple[Reject, ...]
    reject_path: Path | None
    seconds: float
    unchanged: int = 0  # orders that stay as they are held: of a greater revision, or retracted


def parse_columns(options: Iterable[str]) -> dict[str, str]:
    """`NAME=COLUMN` options. Raises InvalidArgument."""
    known = (ORDER_ID, CONTACT_ID, *column_fields(AccountInfo("any")))
    return parse_map(options, known, "order_id=Order number")


def import_orders(
    account: OrderAccount,
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    reject_path: Path | None = None,
    progress: Progress | None = None,
    batch_rows: int = BATCH_LINES,
    seen: SeenOrders | None = None,
) -> OrderImportReport:
    """Import the orders of a Parquet, CSV or Arrow file, one batch committed after another.

    `columns` maps names (`order_id`, `contact_id`, `time` and those of `column_fields`) to the file's columns where
    they are called otherwise. Naive times are local in the account's zone. Bad rows refuse their orders, ragged lines
    those before and after them, and are listed in `reject_path` (next to the source by default); the others stand. An
    order whose rows do not stand together is refused where it comes again; files that share `seen` are one import in
    this. `progress(phase, rows done, rows in all or None)` is told as it goes on.

    Raises InvalidSource for a file that cannot be read or lacks a column, and TooManyRejects, before anything is
    written, if the first batch has no good order.
    """
    if batch_rows < 1:
        raise InvalidArgument(f"batch_rows must be 1 or more, not {batch_rows}")
    run = Import(path, reject_path, progress)
    source = run.source
    chosen = choose_columns(source, columns or {}, ORDER_ID, column_fields(account.info))
    orders = lines = unchanged = 0
    said = f"all orders in the first rows of {source.path} were refused, so nothing of it was imported"
    with run:
        batches = _batches(source, chosen, account, batch_rows, seen or SeenOrders())
        for batch in run.batches(batches, said=said):
            result = account.apply_events(batch)
            run.wrote(result)
            run.also_refused(batch, result.event_rejects)
            orders += result.events_accepted
            unchanged += result.events_duplicates
            lines += int(batch.line_counts.sum())
    return OrderImportReport(
        rows=run.rows,
        orders=orders,
        lines=lines,
        contacts_created=run.created,
        rejected=run.rejected,
        generation=run.generation,
        columns=chosen,
        ignored_columns=tuple(c for c in source.columns if c not in chosen.values()),
        rejects=tuple(run.shown),
        reject_path=run.reject_path,
        seconds=run.seconds,
        unchanged=unchanged,
    )


def _batches(
    source: Source, columns: Mapping[str, str], account: OrderAccount, batch_rows: int, seen: SeenOrders
) -> Iterator[tuple[int, EventBatch]]:
    """Each batch with the number of rows of the file it was made of. Its contacts are looked up here, on the thread
    that converts, while the writer commits the batch before."""
    first = rows = 0
    info, horizon = account.info, horizon_of(ORDER, account.horizons)
    pieces: list[EventBatch] = []
    behind_ragged = False
    for some in _whole_orders(source, columns, min(batch_rows, _PIECE_ROWS), _coded(columns, info)):
        batch = orders_from_arrow(
            some,
            columns,
            info,
            account.now(),
            seen,
            horizon=horizon,
            first_index=first + rows,
            behind_ragged=behind_ragged,
        )
        behind_ragged = bool(ragged_rows(some.slice(some.num_rows - 1)))
        pieces.append(batch)
        rows += some.num_rows
        if rows + min(batch_rows, _PIECE_ROWS) > batch_rows:
            yield rows, with_found_contacts(joined_batches(pieces), account.find_contacts)
            first, rows, pieces = first + rows, 0, []
    if pieces:
        yield rows, with_found_contacts(joined_batches(pieces), account.find_contacts)


def _coded(columns: Mapping[str, str], info: AccountInfo) -> set[str]:
    """The file's columns of categories, less those that hold something else too."""
    fields = column_fields(info)
    coded = {column for name, column in columns.items() if name in fields and fields[name].type is FieldType.CATEGORY}
    return coded - {column for name, column in columns.items() if name not in fields}


def _whole_orders(
    source: Source, columns: Mapping[str, str], batch_rows: int, coded: Collection[str]
) -> Iterator[pa.RecordBatch]:
    """The file's rows, cut between orders, and never between an order and a ragged row behind it."""
    held: pa.RecordBatch | None = None
    wanted = list(dict.fromkeys(columns.values()))
    for given in source.batches(wanted, batch_rows, coded, ragged=True):
        if held is None:
            held = given
            continue
        cut = _start_of_last(held, columns[ORDER_ID])
        if not cut and held.num_rows > _MOST_ROWS:
            cut = held.num_rows
        if cut:
            yield held.slice(0, cut)
        held = joined([held.slice(cut), given]) if cut < held.num_rows else given
    if held is not None:
        yield held


def _start_of_last(rows: pa.RecordBatch, column: str) -> int:
    """Where the last order begins, behind which rows without an order id may stand that are of it; behind the end where
    no row has one."""
    ids, valid = read_ids(rows.column(column), column, "order")
    known = np.flatnonzero(valid)
    if not len(known):
        return len(ids)
    if len(known) < len(ids):
        ids = ids.take(pa.array(known))
    others = np.flatnonzero(~mask(pc.equal(ids, ids[-1])))
    return int(known[others[-1] + 1]) if len(others) else 0
