"""Orders put into the store, and read back from it, without ingest and plan: for the tests of the store.

Numbers are as stored: milliseconds, minor units of money, thousandths of a quantity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.database import Account
from segidx.kernels.events import CONTACT, EVENT, LINE, TIME
from segidx.model.events import LINE as LINES
from segidx.model.events import ORDER, EventType
from segidx.model.schema import FieldType
from segidx.store.environment import WriteTransaction
from segidx.store.event_blocks import FIRST_PROPERTY, LAST_MONTH
from segidx.store.events import EventRows, write_events
from segidx.store.feed import append_changes
from segidx.store.layout import DB_CHANGES, DB_STRINGS, ORDER_IDS_TABLE, RANGE_BITS, event_table
from segidx.store.snapshot import Snapshot
from segidx.store.strings import StringTable

Value = str | int | None


@dataclass(frozen=True)
class StoredLine:
    product: str | None = None
    producer: str | None = None
    category: str | None = None
    quantity: int | None = 1000
    unit_price: int | None = None
    amount: int | None = None

    def properties(self) -> list[Value]:
        return [self.product, self.producer, self.category, self.quantity, self.unit_price, self.amount]

    @property
    def counts(self) -> bool:
        return self.quantity is None or self.quantity > 0


@dataclass(frozen=True)
class StoredOrder:
    order_id: str
    contact: int  # its ordinal
    time: int
    source: str | None = None
    paid: bool | None = None
    amount: int | None = None
    lines: Sequence[StoredLine] = ()

    def properties(self) -> list[Value]:
        return [self.source, None if self.paid is None else int(self.paid), self.amount]

    @property
    def counts(self) -> bool:
        return any(line.counts for line in self.lines) if self.lines else self.amount is None or self.amount >= 0


def put_orders(account: Account, orders: Sequence[StoredOrder]) -> None:
    """Commit orders as one generation, in the base. Ids must differ."""
    account.merge()
    with account._store.write() as write:
        write_stored(write, orders)
        generation = write.state.generation + 1
        nobody = np.zeros(0, np.uint32)
        append_changes(write.txn, write.dbs[DB_CHANGES], generation, 0, nobody, np.zeros(0, np.uint8))
        state = write.state
        write.save_state(type(state)(generation, generation, state.base, state.schema))


def write_stored(write: WriteTransaction, orders: Sequence[StoredOrder]) -> None:
    """The same within a transaction, without a generation."""
    numbers = _codes(write, ORDER_IDS_TABLE, [order.order_id for order in orders])
    lines = [
        (order, number, index, line)
        for order, number in zip(orders, numbers.tolist(), strict=True)
        for index, line in enumerate(order.lines)
    ]
    rows = {
        ORDER: EventRows(
            np.array([order.contact for order in orders], np.uint32),
            np.array([order.time for order in orders], np.int64),
            numbers.astype(np.uint32),
            np.array([len(order.lines) for order in orders], np.int64),
            _properties(write, ORDER, [o.properties() for o in orders], [o.counts for o in orders]),
        ),
        LINES: EventRows(
            np.array([order.contact for order, *_ in lines], np.uint32),
            np.array([order.time for order, *_ in lines], np.int64),
            np.array([number for _, number, *_ in lines], np.uint32),
            np.array([index for _, _, index, _ in lines], np.int64),
            _properties(write, LINES, [x[3].properties() for x in lines], [x[3].counts for x in lines]),
        ),
    }
    write_events(write, write.catalog(), rows)


def _codes(write: WriteTransaction, table: int, strings: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Codes of strings, -1 of None."""
    found = StringTable(write.txn, write.dbs[DB_STRINGS], table, write.catalog().hash_key)
    return found.insert(pa.array(strings, pa.string()))[0]


def _properties(
    write: WriteTransaction, type: EventType, rows: Sequence[Sequence[Value]], counts: Iterable[bool]
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    columns = []
    for index, each in enumerate(type.properties):
        given = [row[index] for row in rows]
        present = np.array([value is not None for value in given], np.bool_)
        if each.type is FieldType.CATEGORY:
            values = _codes(write, event_table(type, index), [None if v is None else str(v) for v in given])
        else:
            values = np.array([value or 0 for value in given], np.int64)
        columns.append((values, present))
    flags = np.array(list(counts), np.bool_)
    return [*columns, (flags.astype(np.int64), np.ones(len(flags), np.bool_))]


def read_orders(account: Account) -> dict[str, StoredOrder]:
    """All orders of an account by id, as its blocks hold them. Checks that each row counts as it should."""
    with account._store.snapshot() as snapshot:
        lines: dict[int, list[tuple[int, int, StoredLine]]] = {}
        for contact, time, event, _, properties, counts in _rows(snapshot, LINES):
            line = StoredLine(*properties)  # type: ignore[arg-type]
            assert line.counts == counts
            lines.setdefault(event, []).append((contact, time, line))
        found = {}
        for contact, time, event, number, properties, counts in _rows(snapshot, ORDER):
            source, paid, amount = properties
            own = lines.pop(event, [])
            assert number == len(own)
            assert all(each[:2] == (contact, time) for each in own)
            order = StoredOrder(
                str(snapshot.table(ORDER_IDS_TABLE).get_one(event)),
                contact,
                time,
                source,  # type: ignore[arg-type]
                None if paid is None else bool(paid),
                amount,  # type: ignore[arg-type]
                tuple(line for _, _, line in own),
            )
            assert order.counts == counts
            assert order.order_id not in found
            found[order.order_id] = order
        assert not lines, "lines without an order"
    return found


def _rows(snapshot: Snapshot, type: EventType) -> list[tuple[int, int, int, int, list[Value], bool]]:
    """(contact, time, event, line, properties, whether it counts) of every row, in order."""
    rows = []
    for number in snapshot.event_ranges(type):
        for block in snapshot.event_blocks(type, number, 0, LAST_MONTH):
            cells = block.decode()
            decoded: list[list[Value]] = []
            for index, each in enumerate(type.properties):
                values, present = (part.tolist() for part in cells[FIRST_PROPERTY + index])
                if each.type is FieldType.CATEGORY:
                    table = snapshot.event_dictionary(type, index)
                    decoded.append([table.get_one(v) if p else None for v, p in zip(values, present, strict=True)])
                else:
                    decoded.append([v if p else None for v, p in zip(values, present, strict=True)])
            for row in range(block.rows):
                contact, time, event, line, counts = (int(cells[at][0][row]) for at in (CONTACT, TIME, EVENT, LINE, -1))
                properties = [column[row] for column in decoded]
                rows.append(((number << RANGE_BITS) + contact, time, event, line, properties, bool(counts)))
    return rows
