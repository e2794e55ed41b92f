"""What is filled in of visits that are written, from rows and from files alike: where they came from, if they do not
say so themselves.

What a visit is given stands. If it has a landing url or a referrer, the utm parameters and the search phrase that it
lacks are read off them, and if it has no source, its source is worked out, and with it whether it was paid for unless
that was given. Of a visit with a source nobody is asked whether it was paid for: that would speak of another source.
Imports the model and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segidx.ingest.event_batch import EventColumn, Ints, Mask
from segidx.ingest.visit_source import COLUMNS, derive_sources
from segidx.model.events import VISIT

_SOURCE, _PAID, _URL, _REFERRER = (VISIT.index(name) for name in ("source", "paid", "url", "referrer"))
_DERIVED: Final = {name: VISIT.index(name) for name in COLUMNS}
_UTM: Final = tuple(place for name, place in _DERIVED.items() if name.startswith("utm_"))


def with_sources(columns: tuple[EventColumn, ...], own_hosts: Sequence[str] = ()) -> tuple[EventColumn, ...]:
    """The properties of visits, in the type's order, with all that could be filled in. A visit is internal if its
    referrer is on its landing url's host or on one of `own_hosts`."""
    lacking = np.zeros(len(columns[_SOURCE].present), np.bool_)
    for place in _DERIVED.values():
        lacking |= ~columns[place].present
    rows = np.flatnonzero(lacking & (_said(columns[_URL]) | _said(columns[_REFERRER])))
    if not len(rows):
        return columns
    url, referrer, *utm = (_strings(columns[place], rows) for place in (_URL, _REFERRER, *_UTM))
    found = derive_sources(url, referrer, own_hosts, utm)
    unsourced = ~columns[_SOURCE].present[rows]
    filled = list(columns)
    for name, place in _DERIVED.items():
        values = found[name].combine_chunks()
        fills = _mask(values.is_valid()) & ~columns[place].present[rows]
        if place in (_SOURCE, _PAID):
            fills &= unsourced
        if fills.any():
            filled[place] = _filled(columns[place], rows[fills], values.filter(pa.array(fills)))
    return tuple(filled)


def _said(column: EventColumn) -> Mask:
    """Where there is a string that is not empty."""
    some = pc.greater(pc.binary_length(column.values), 0).fill_null(False)
    return column.present & _mask(some)


def _strings(column: EventColumn, rows: Ints) -> pa.Array:
    taken = column.take(rows)
    return pc.if_else(pa.array(taken.present), taken.values, None)


def _filled(column: EventColumn, rows: Ints, values: pa.Array) -> EventColumn:
    """The column with these values at those rows."""
    there = np.zeros(len(column.present), np.bool_)
    there[rows] = True
    if isinstance(column.values, pa.Array):
        return EventColumn(pc.replace_with_mask(column.values, pa.array(there), values), column.present | there)
    numbers = column.values.copy()
    numbers[rows] = _mask(values)
    return EventColumn(numbers, column.present | there)


def _mask(bools: pa.Array) -> Mask:
    return np.asarray(bools.to_numpy(zero_copy_only=False), np.bool_)
