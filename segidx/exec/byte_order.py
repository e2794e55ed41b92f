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
    strings: LayeredStrings, codes: Numbers, context: BindContext, first_text: int = 0, texts: Sequence[str] = ()
) -> Numbers:
    """A number for each code, int64[n]: of two, the lesser is that of the string that comes first. Where there are
    `texts`, codes from `first_text` on are these. Raises Stopped."""
    context.check_stop()
    distinct, inverse = np.unique(codes, return_inverse=True)
    known = distinct[distinct < first_text] if texts else distinct
    named = strings.get(known).cast(pa.binary())
    if texts:
        others = [texts[code - first_text].encode() for code in distinct[len(known) :].tolist()]
        named = pa.concat_arrays([named, pa.array(others, pa.binary())])
    order = pc.array_sort_indices(named).to_numpy()
    context.check_stop()
    found = np.empty(len(distinct), np.int64)
    found[order] = np.arange(len(distinct))
    return found[inverse]
