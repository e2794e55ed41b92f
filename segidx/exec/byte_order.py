"""The order of strings, byte for byte, for codes that stand for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.plan.context import BindContext
from segidx.store.fresh import LayeredStrings

Numbers = npt.NDArray[np.int64]


def ranks_across(tables: Sequence[LayeredStrings], codes: Sequence[Numbers], context: BindContext) -> list[Numbers]:
    """The same for codes of several tables, int64[n] a table: strings of different tables that are equal have one
    number. Raises Stopped."""
    context.check_stop()
    found = [np.unique(each, return_inverse=True) for each in codes]
    named = [table.get(distinct).cast(pa.binary()) for table, (distinct, _) in zip(tables, found, strict=True)]
    encoded = pa.concat_arrays(named).dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    context.check_stop()
    ranked = np.empty(len(order), np.int64)
    ranked[order] = np.arange(len(order))
    numbers = ranked[encoded.indices.to_numpy()]
    ends = np.cumsum([len(distinct) for distinct, _ in found])
    return [part[inverse] for part, (_, inverse) in zip(np.split(numbers, ends[:-1]), found, strict=True)]


def ranks(
    strings: LayeredStrings, codes: Numbers, context: BindContext, others: LayeredStrings | None = None
) -> Numbers:
    """A number for each code, int64[n]: of two, the lesser is that of the string that comes first. Codes behind those
    of the strings are the others'. Raises Stopped."""
    context.check_stop()
    distinct, inverse = np.unique(codes, return_inverse=True)
    known = distinct if others is None else distinct[distinct < len(strings)]
    named = strings.get(known).cast(pa.binary())
    if others is not None:
        more = others.get(distinct[len(known) :] - len(strings))
        named = pa.concat_arrays([named, more.cast(pa.binary())])
    order = pc.array_sort_indices(named).to_numpy()
    context.check_stop()
    found = np.empty(len(distinct), np.int64)
    found[order] = np.arange(len(distinct))
    return found[inverse]
