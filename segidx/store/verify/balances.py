"""Horizons and opening balances: against the catalog, and against where the dropped events are said to have lain.

What dropped events came to cannot be worked out anew. But it is known of each when it was and whose: nobody else has a
balance, a count is not above the number of them, and the time of the first or the last is one of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.columns import CHUNK_ROWS, decode_chunk
from segidx.model.events import LINE, ORDER, EventType
from segidx.model.expression import AggregateFunction
from segidx.model.retention import Balance
from segidx.store.layout import DB_COLUMNS, DB_STRINGS, IDS_TABLE, MAX_BALANCES, balance_column, block_key
from segidx.store.verify.context import Context
from segidx.store.verify.event_places import Places

# Contacts whose dropped events are held in memory at once, 24 bytes each.
_AT_ONCE = 1 << 22

I64 = npt.NDArray[np.int64]


def check_horizons(c: Context) -> Iterator[str]:
    """What the catalog says of them."""
    c.tick()
    catalog = c.catalog
    for name, time in catalog.horizons.items():
        if name not in catalog.event_types or name == LINE.name:
            yield f"the catalog has a horizon of {name!r} events, and there is no such type to be pruned"
        elif time <= 0:
            yield f"the catalog has {time} as the horizon of {name} events, before which there is none"
    numbers = [each.number for each in catalog.balances]
    for balance in catalog.balances:
        type = balance.value.events.type
        if type not in catalog.event_types or catalog.horizon(catalog.event_types[type]) is None:
            yield f"a balance of {balance.text} is kept, and nothing of its type was pruned"
        if numbers.count(balance.number) > 1 or not 0 <= balance.number < MAX_BALANCES:
            yield f"the balance of {balance.text} has the number {balance.number}, which is no number of its own"


def check_balances(c: Context, type: EventType, places: Places, seen: BitMap) -> Iterator[str]:
    """The balances of a type, of orders their lines' too, against its dropped events; `seen` are those that are
    there."""
    horizon = c.catalog.horizon(type)
    names = (ORDER.name, LINE.name) if type == ORDER else (type.name,)
    balances = [each for each in c.catalog.balances if each.value.events.type in names]
    if horizon is None or not balances or not places.readable or not c.readable(DB_STRINGS, IDS_TABLE):
        return
    for first in range(0, c.base_ids, _AT_ONCE):
        dropped = _Dropped(places, seen, horizon, first, min(_AT_ONCE, c.base_ids - first))
        for balance in balances:
            if c.readable(DB_COLUMNS, balance_column(balance.number)):
                yield from _check(c, balance, dropped)


class _Dropped:
    """What is known of the dropped events of some contacts, from the ordinal `first` on."""

    def __init__(self, places: Places, seen: BitMap, horizon: int, first: int, contacts: int) -> None:
        self.first = first
        self.count = np.zeros(contacts, np.int64)
        self.earliest = np.full(contacts, np.iinfo(np.int64).max)
        self.latest = np.full(contacts, np.iinfo(np.int64).min)
        for owners, times in places.dropped(seen, horizon):
            here = (owners >= first) & (owners < first + contacts)
            at = owners[here] - first
            np.add.at(self.count, at, 1)
            np.minimum.at(self.earliest, at, times[here])
            np.maximum.at(self.latest, at, times[here])


def _check(c: Context, balance: Balance, dropped: _Dropped) -> Iterator[str]:
    field, function = balance_column(balance.number), balance.value.function
    # Some orders do not count, and how many lines they had is not known.
    every = balance.value.events.where is None and balance.value.events.type not in (ORDER.name, LINE.name)
    for chunk in range(dropped.first // CHUNK_ROWS, -(-(dropped.first + len(dropped.count)) // CHUNK_ROWS)):
        c.tick()
        start = chunk * CHUNK_ROWS - dropped.first
        count, earliest, latest = (
            each[start : start + CHUNK_ROWS] for each in (dropped.count, dropped.earliest, dropped.latest)
        )
        value = c.txn.get(block_key(field, chunk), db=c.dbs[DB_COLUMNS])
        values, present = np.zeros(len(count), np.int64), np.zeros(len(count), np.bool_)
        if value is not None:
            stored, mask = decode_chunk(value)
            values, present = stored[: len(count)], mask[: len(count)] != 0
        wrong = present & (count == 0)
        for row in np.flatnonzero(wrong).tolist():
            yield f"ordinal {chunk * CHUNK_ROWS + row} has a balance of {balance.text}, and no dropped event"
        low = high = None
        if function is AggregateFunction.COUNT and balance.value.events.type != LINE.name:
            low, high = (count if every else np.ones_like(count)), count
        elif function in (AggregateFunction.FIRST, AggregateFunction.LAST):
            low, high = earliest, latest
            if every:
                low = high = earliest if function is AggregateFunction.FIRST else latest
        if low is not None and high is not None:
            for row in np.flatnonzero(present & ~wrong & ((values < low) | (values > high))).tolist():
                yield (
                    f"ordinal {chunk * CHUNK_ROWS + row} has a balance of {balance.text} of {values[row]}, and its"
                    f" dropped events come to {low[row]} to {high[row]}"
                )
            if every:
                for row in np.flatnonzero(~present & (count > 0)).tolist():
                    yield f"ordinal {chunk * CHUNK_ROWS + row} has dropped events, and no balance of {balance.text}"
