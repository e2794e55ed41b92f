"""Batches of events of one type from Arrow record batches of a file, one row an event: column by column, without a
Python loop over good rows; the same rules and messages as `events_from_rows`. Imports the model and its neighbours
only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo

import numpy as np
import pyarrow as pa

from segidx.ingest.arrow import given_id, read_ids
from segidx.ingest.arrow_values import Converted, convert, element, plain
from segidx.ingest.event_batch import (
    REVISION,
    TIME,
    EventBatch,
    EventColumn,
    Ints,
    Mask,
    check_revision,
    check_time,
    event_fields,
    event_reject,
    noun,
    settled_batch,
    with_counts,
)
from segidx.ingest.event_columns import CONTACT_ID, CURRENCY, equal_to
from segidx.ingest.ragged import ragged_rows
from segidx.ingest.values import check_event_id, check_id, refuse, shown
from segidx.ingest.visits import with_sources
from segidx.model.errors import InvalidValue, SegidxError
from segidx.model.events import MAX_AHEAD_MILLIS, MAX_REVISION, VISIT, EventType
from segidx.model.results import Reject
from segidx.model.schema import AccountInfo, Field, FieldType

EVENT_ID = "event_id"
# A property of such a name has a column of another: `property.event_id`.
_TAKEN = (EVENT_ID, CONTACT_ID, TIME.name, REVISION.name)


def property_columns(type: EventType, account: AccountInfo) -> dict[str, Field]:
    """The names of the columns of a type's properties, with what they hold."""
    return {f"property.{f.name}" if f.name in _TAKEN else f.name: f for f in event_fields(type, account)}


def column_fields(type: EventType, account: AccountInfo) -> dict[str, Field]:
    """The columns besides the two of ids that a file may have, by name, with what they hold. Of a type with money, one
    says its currency, which is the account's."""
    fields = {TIME.name: TIME, REVISION.name: REVISION}
    if any(p.type is FieldType.NUMBER and p.scale is None for p in type.properties):
        fields[CURRENCY.name] = CURRENCY
    return fields | property_columns(type, account)


def events_from_arrow(
    record_batch: pa.RecordBatch,
    columns: Mapping[str, str],
    type: EventType,
    account: AccountInfo,
    now: int,
    *,
    own_hosts: Sequence[str] = (),
    horizon: int = 0,
    first_index: int = 0,
) -> EventBatch:
    """The batch of the valid rows; the refused ones are in its `rejects`, numbered from `first_index`. Of several with
    one id the one of the greatest revision stands, or else the last. `columns` gives the column of each name (see
    `column_fields`); naive times are local in the account's zone. `own_hosts` are those of the
    account's settings; events before `horizon`, in ms since 1970, are pruned and refused."""
    rows = _Rows(record_batch, columns, type, account.tz, first_index)
    ids = rows.ids(EVENT_ID)
    contacts = rows.ids(CONTACT_ID)
    times = rows.times(now, horizon)
    cells = [rows.cells(name, field) for name, field in property_columns(type, account).items()]
    rows.check_currency(type, account)
    revisions = rows.revisions()
    kept = np.flatnonzero(rows.good)
    properties = tuple(EventColumn(c.values, c.present).take(kept) for c in cells)
    if type == VISIT:
        properties = with_sources(properties, own_hosts)
    batch = EventBatch(
        type=type,
        ids=ids.take(pa.array(kept)),
        contacts=contacts.take(pa.array(kept)),
        times=times[kept],
        properties=with_counts(properties, len(kept)),
        revisions=revisions[kept],
        retracts=np.zeros(len(kept), np.bool_),
        line_counts=np.zeros(len(kept), np.int64),
        indices=kept + first_index,
    )
    return replace(settled_batch(batch), rejects=rows.rejects())


class _Rows:
    """The rows of a file and what is wrong with them; `good` those that nothing is wrong with so far."""

    def __init__(
        self, batch: pa.RecordBatch, columns: Mapping[str, str], type: EventType, zone: tzinfo, first_index: int
    ) -> None:
        self._batch = batch
        self._columns = columns
        self._type = type
        self._zone = zone
        self._first_index = first_index
        self._bad: dict[int, tuple[str, SegidxError]] = {}
        self.good: Mask = np.ones(batch.num_rows, np.bool_)
        for row, error in ragged_rows(batch).items():
            self._refuse(row, "", error)

    def _refuse(self, row: int, field: str, error: SegidxError) -> None:
        """The first thing that is wrong with a row is told."""
        self._bad.setdefault(row, (field, error))
        self.good[row] = False

    def _column(self, name: str) -> pa.Array:
        return self._batch.column(self._columns[name])

    def rejects(self) -> tuple[Reject, ...]:
        ids, contacts = self._column(EVENT_ID), self._column(CONTACT_ID)
        return tuple(
            event_reject(
                self._first_index + row, self._type.name, given_id(ids, row), given_id(contacts, row), field, error
            )
            for row, (field, error) in sorted(self._bad.items())
        )

    def ids(self, name: str) -> pa.Array:
        """The ids of events or of contacts."""
        column = self._column(name)
        ids, valid = read_ids(column, self._columns[name], name.removesuffix("_id"))
        check = check_event_id if name == EVENT_ID else check_id
        for row in np.flatnonzero(~valid).tolist():
            try:
                check(given_id(column, row))
            except SegidxError as error:
                self._refuse(row, name, error)
        return ids

    def times(self, now: int, horizon: int) -> Ints:
        cells = self.cells(TIME.name, TIME)
        values = np.asarray(cells.values)
        column = plain(self._column(TIME.name))
        beyond = cells.present & ((values < max(0, horizon)) | (values > now + MAX_AHEAD_MILLIS))
        for row in np.flatnonzero(beyond).tolist():
            try:
                check_time(int(values[row]), element(column, row), now, horizon)
            except SegidxError as error:
                self._refuse(row, TIME.name, error)
        missing = ~cells.present
        missing[list(cells.bad)] = False
        for row in np.flatnonzero(missing).tolist():
            self._refuse(row, TIME.name, refuse(TIME, f"{noun(self._type)} has a time"))
        return values

    def revisions(self) -> Ints:
        """Those that are given, 0 where none is."""
        cells = self.cells(REVISION.name, REVISION)
        values = np.where(cells.present, np.asarray(cells.values), 0)
        for row in np.flatnonzero(cells.present & ((values < 1) | (values > MAX_REVISION))).tolist():
            try:
                check_revision(int(values[row]))
            except SegidxError as error:
                self._refuse(row, REVISION.name, error)
        return values

    def check_currency(self, type: EventType, account: AccountInfo) -> None:
        if column_fields(type, account).get(CURRENCY.name) is not CURRENCY:
            return
        cells = self.cells(CURRENCY.name, CURRENCY)
        for row in np.flatnonzero(cells.present & ~equal_to(cells.values, account.currency)).tolist():
            why = f"{shown(cells.values[row].as_py())} is not the account's currency, {account.currency}"
            self._refuse(row, CURRENCY.name, refuse(CURRENCY, f"{why}; convert the amounts before the import"))

    def cells(self, name: str, field: Field) -> Converted:
        """The values of a column; none where the file has no such column."""
        if name not in self._columns:
            count = self._batch.num_rows
            values = pa.nulls(count, pa.string()) if field.type.is_string else np.zeros(count, np.int64)
            return Converted(values, np.zeros(count, np.bool_))
        cells = convert(self._column(name), field, self._zone, "")
        for row, message in cells.bad.items():
            self._refuse(row, name, InvalidValue(message, field=name))
        return cells
