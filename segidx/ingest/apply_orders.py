"""What a batch of orders writes, in one transaction: new order ids and strings get their codes, the rows of orders and
lines go to the event store. The contacts are there already, and in the base. Imports store, kernels and the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.orders import EventColumn, OrderBatch
from segidx.model.events import EventKind
from segidx.store.catalog import Catalog
from segidx.store.columns import read_cells
from segidx.store.environment import WriteTransaction
from segidx.store.events import EventRows, write_orders
from segidx.store.layout import DB_COLUMNS, DB_STRINGS, IDS_TABLE, ORDER_CONTACT, ORDER_IDS_TABLE, event_table
from segidx.store.strings import StringTable

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Tables:
    write: WriteTransaction
    catalog: Catalog

    def __call__(self, table: int) -> StringTable:
        return StringTable(self.write.txn, self.write.dbs[DB_STRINGS], table, self.catalog.hash_key)


def apply_orders(write: WriteTransaction, batch: OrderBatch) -> npt.NDArray[np.uint32]:
    """Write the batch's orders and raise the version of the base; the ascending ordinals of the contacts concerned,
    those that an order was taken from included. Raises CorruptData and StorageFull; abort the transaction then."""
    catalog = write.catalog()
    tables = _Tables(write, catalog)
    encoded = batch.contacts.dictionary_encode()
    known = tables(IDS_TABLE).find(encoded.dictionary)
    assert (known >= 0).all(), "contacts are created before their orders"
    contacts = known[encoded.indices.to_numpy(zero_copy_only=False)].astype(np.uint32)
    numbers, first_new = tables(ORDER_IDS_TABLE).insert(batch.ids)
    events = numbers.astype(np.uint32)
    left, had = read_cells(write.txn, write.dbs[DB_COLUMNS], ORDER_CONTACT, numbers[numbers < first_new])
    owner = np.repeat(np.arange(len(events)), batch.line_counts)
    first_lines = np.cumsum(batch.line_counts) - batch.line_counts
    write_orders(
        write,
        catalog,
        EventRows(
            contacts=contacts,
            times=batch.times,
            events=events,
            lines=batch.line_counts.astype(np.int64),
            properties=_properties(batch.properties, EventKind.ORDER, tables),
        ),
        EventRows(
            contacts=contacts[owner],
            times=batch.times[owner],
            events=events[owner],
            lines=np.arange(len(owner)) - first_lines[owner],
            properties=_properties(batch.lines, EventKind.LINE, tables),
        ),
    )
    return np.union1d(contacts, left[had].astype(np.uint32))


def _properties(columns: tuple[EventColumn, ...], kind: EventKind, tables: _Tables) -> list[tuple[Ints, Mask]]:
    """The columns with strings as codes of their dictionaries."""
    found = []
    for index, column in enumerate(columns):
        values = column.values
        if isinstance(values, pa.Array):
            values = _codes(column, tables(event_table(kind, index)))
        found.append((np.where(column.present, values, 0), column.present))
    return found


def _codes(column: EventColumn, table: StringTable) -> Ints:
    rows = np.flatnonzero(column.present)
    encoded = column.values.take(pa.array(rows)).dictionary_encode()
    codes = np.zeros(len(column.present), np.int64)
    if len(rows):
        codes[rows] = table.insert(encoded.dictionary)[0][encoded.indices.to_numpy(zero_copy_only=False)]
    return codes
