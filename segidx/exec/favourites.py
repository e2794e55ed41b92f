"""Favourite values: the rows of events of some contacts at a time, added up by contact and value in native code.

Where several values of a contact are equally favoured the first, byte for byte, is its favourite: strings are looked at
only where some of these are asked for and some are not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pyroaring import BitMap

from segidx.exec.asked import Ordinals, ordinals_of
from segidx.exec.byte_order import ranks
from segidx.exec.events import Numbers, selected
from segidx.kernels.events import MISSING, favourites
from segidx.model.errors import SumTooLarge
from segidx.model.events import VISIT
from segidx.plan.context import BindContext
from segidx.plan.nodes import FavouriteScan
from segidx.plan.values import BoundFavourite
from segidx.store.postings import bitmap_of

# Contacts whose rows are held at a time.
_STEP = 1 << 20


def scan_favourite(plan: FavouriteScan, candidates: bytes | None, context: BindContext) -> bytes:
    """The contacts whose favourite has one of the codes, of the candidates where they are given; both are portable
    Roaring bitmaps. Raises Stopped, SumTooLarge."""
    wanted = None if plan.codes is None else np.array(plan.codes, np.int64)
    kept = [np.zeros(0, np.uint32)]
    for among in _steps(candidates, context):
        context.check_stop()
        kept.append(_holding(*_favoured(plan.favourite, among, context), wanted, plan.favourite, context))
    return bytes(bitmap_of(np.concatenate(kept)).serialize())


def _steps(candidates: bytes | None, context: BindContext) -> Iterator[Ordinals]:
    if candidates is None:
        for first in range(0, context.snapshot.size, _STEP):
            yield np.arange(first, min(first + _STEP, context.snapshot.size), dtype=np.uint32)
        return
    ordinals = ordinals_of(BitMap.deserialize(candidates))
    for first in range(0, len(ordinals), _STEP):
        yield ordinals[first : first + _STEP]


def _favoured(favourite: BoundFavourite, among: Ordinals, context: BindContext) -> tuple[Ordinals, Numbers]:
    """Each of the contacts with the codes that are equally favoured, those of a contact together."""
    columns = [favourite.measure] if favourite.by < 0 else [favourite.measure, favourite.by]
    ordinals, (codes, *weights) = selected(favourite.events, columns, among, context, favourite.taken)
    if favourite.taken:
        there = codes != MISSING
        ordinals, codes, weights = ordinals[there], codes[there], [weight[there] for weight in weights]
    try:
        return favourites(ordinals, codes, weights[0] if weights else None, context.stop)
    except OverflowError:
        raise SumTooLarge(
            f"the sum of a contact's {favourite.events.type.name} events is beyond 2^63 units; choose a narrower window"
        ) from None


def _holding(
    owners: Ordinals, codes: Numbers, wanted: Numbers | None, favourite: BoundFavourite, context: BindContext
) -> Ordinals:
    """The contacts whose favourite is wanted, ascending."""
    if not len(owners):
        return owners
    starts = np.flatnonzero(np.diff(owners.astype(np.int64), prepend=-1))
    if wanted is None:
        return owners[starts]
    fits = np.isin(codes, wanted)
    some, all_of_them = (reduce.reduceat(fits, starts) for reduce in (np.logical_or, np.logical_and))
    mixed = np.repeat(some & ~all_of_them, np.diff(starts, append=len(owners)))
    if mixed.any():
        type = favourite.events.type
        strings = context.snapshot.event_dictionary(type, type.index(favourite.property.name))
        others = context.snapshot.event_dictionary(VISIT, VISIT.index(favourite.taken)) if favourite.taken else None
        held, fitting = owners[mixed], fits[mixed]
        order = np.lexsort((ranks(strings, codes[mixed], context, others), held))
        first = np.flatnonzero(np.diff(held[order].astype(np.int64), prepend=-1))
        all_of_them[some & ~all_of_them] = fitting[order[first]]
    return owners[starts][all_of_them]
