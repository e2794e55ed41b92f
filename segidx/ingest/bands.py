"""Keeping bands as bitmaps: of which numbers there are to be some, and building those that are not there yet, from the
columns of their numbers.

As columns are built (`segidx.ingest.derived`): some at a time, in transactions of their own, while nothing asks for
them and whoever changes a chunk changes what is built of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal

import numpy as np

from segidx.kernels.columns import CHUNK_ROWS
from segidx.model.derived import members_of
from segidx.model.expression import Aggregate
from segidx.store.bands import CHUNKS, MAX_PIECES, KeptBands, Numbers, band_key, in_units, new_value, stored_places
from segidx.store.catalog import Catalog
from segidx.store.columns import read_chunk, stored_chunks
from segidx.store.derived import KeptNumber, read_kept, write_kept
from segidx.store.environment import AccountStore
from segidx.store.layout import DB_COLUMNS, DB_META, DB_POSTINGS, derived_column
from segidx.store.snapshot import Snapshot

Scale = Callable[[KeptNumber, Snapshot], int]

# Values of one transaction: 128 KiB each at most, and so 4 MB.
_TOGETHER = 32


def thresholds_to_keep(catalog: Catalog) -> dict[Aggregate, tuple[Decimal, ...]]:
    """By number of one type, the thresholds of all bands that are over it, as many as there are pieces for: bands whose
    names come later are answered from the column."""
    found: dict[Aggregate, tuple[Decimal, ...]] = {}
    for bands in catalog.bands.values():
        if bands.is_windowed or members_of(bands.value, catalog.event_groups) != (bands.value,):
            continue
        together = tuple(sorted({*found.get(bands.value, ()), *bands.thresholds}))
        if len(together) < MAX_PIECES:
            found[bands.value] = together
    return found


def other_bands(kept: Iterable[KeptNumber], catalog: Catalog) -> bool:
    """Whether columns have other bitmaps of bands than they are to have, or only a part of them."""
    wanted = thresholds_to_keep(catalog)
    for each in kept:
        held = None if each.bands is None else each.bands.thresholds
        if not each.too_large and (held != wanted.get(each.value) or (each.bands and each.bands.built is not None)):
            return True
    return False


def without_other_bands(each: KeptNumber, catalog: Catalog) -> KeptNumber:
    """The number without bitmaps that it is not to have: what is left of them is deleted before others are begun."""
    if each.bands is None or each.bands.thresholds == thresholds_to_keep(catalog).get(each.value):
        return each
    return replace(each, bands=None)


def begin_bands(store: AccountStore) -> None:
    """Begin those that are to be, once nothing is left of others."""
    with store.snapshot() as snapshot:
        if not other_bands(read_kept(snapshot.txn, snapshot.dbs[DB_META]), snapshot.catalog):
            return
    with store.write() as write:
        wanted = thresholds_to_keep(write.catalog())
        before = read_kept(write.txn, write.dbs[DB_META])
        after = [
            replace(each, bands=KeptBands(wanted[each.value], 0))
            if each.bands is None
            and not each.too_large
            and each.value in wanted
            and not stored_places(write.txn, write.dbs[DB_POSTINGS], each.number)
            else each
            for each in before
        ]
        write_kept(write, after)
        write.changed_base()


def build_more_bands(store: AccountStore, scale: Scale) -> bool:
    """Build some values of one number's; whether there is nothing to build. `scale` says how many decimals a number's
    column has."""
    with store.snapshot() as snapshot:
        todo = _unbuilt(read_kept(snapshot.txn, snapshot.dbs[DB_META]))
        if todo is None:
            return True
        kept, bands = todo
        base = snapshot.state.base
        assert bands.built is not None
        chunks = stored_chunks(snapshot.txn, snapshot.dbs[DB_COLUMNS], derived_column(kept.number))
        end = bands.built + _TOGETHER
        last = max(chunks, default=-1) // CHUNKS
        thresholds = in_units(bands.thresholds, scale(kept, snapshot))
        values = [
            (place, _value(snapshot, kept, thresholds, place)) for place in range(bands.built, min(end, last + 1))
        ]
        built = replace(kept, bands=replace(bands, built=None if end > last else end))
    with store.write() as write:
        if write.state.base != base:
            return False  # the column may have changed: look again
        for place, value in values:
            if value is not None:
                write.txn.put(band_key(kept.number, place), value, db=write.dbs[DB_POSTINGS])
        now = read_kept(write.txn, write.dbs[DB_META])
        write_kept(write, [built if each.number == kept.number else each for each in now])
        write.changed_base()
    return False


def _unbuilt(kept: Iterable[KeptNumber]) -> tuple[KeptNumber, KeptBands] | None:
    for each in kept:
        if each.is_whole and each.bands is not None and each.bands.built is not None:
            return each, each.bands
    return None


def _value(snapshot: Snapshot, kept: KeptNumber, thresholds: Numbers, place: int) -> bytes | None:
    column = derived_column(kept.number)
    chunks = [
        read_chunk(snapshot.txn, snapshot.dbs[DB_COLUMNS], column, place * CHUNKS + chunk) for chunk in range(CHUNKS)
    ]
    values, present = (np.concatenate(each) for each in zip(*chunks, strict=True))
    assert len(values) == CHUNKS * CHUNK_ROWS
    return new_value(thresholds, values, present)
