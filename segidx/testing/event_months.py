"""Blocks as the kernels that read events take them, and their three ways of answering at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.events import (
    EventBlock,
    EventFilter,
    EventLedger,
    EventMeasure,
    EventMonth,
    EventOrder,
    collect,
    collect_count,
    collect_set,
)

Found = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]


def months(*ranges: tuple[int, Sequence[EventBlock]]) -> list[EventMonth]:
    """The first block of each range in one month, the second in the next, and so on."""
    most = max((len(blocks) for _, blocks in ranges), default=0)
    return [month(*((number, blocks[i : i + 1]) for number, blocks in ranges))[0] for i in range(most)]


def month(*ranges: tuple[int, Iterable[EventBlock]]) -> list[EventMonth]:
    """All of them in one month."""
    held = sorted(ranges, key=lambda each: each[0])
    return [EventMonth((number, block) for number, blocks in held for block in blocks)]


def both(
    held: Sequence[EventMonth], filter: EventFilter | None, *arguments: object, ordered: bool = True, **options: object
) -> Found:
    """What collect returns, once collect_set has been found to hold the same contacts, and collect_count to count them;
    and all to say so again when the rows of the months are located, and when these are in the order of what the filter
    asks for by value."""
    found = _both(held, filter, *arguments, **options)
    measured = cast(int, arguments[2])
    with located(held, (measured,) if measured >= 0 else ()):
        again = _both(held, filter, *arguments, **options)
    assert np.array_equal(found[0], again[0])
    assert np.array_equal(found[1], again[1])
    if ordered and filter is not None and filter.equals:
        measure = cast(int, arguments[2])
        for measures in ((), (measure,) if measure >= 0 else ()):
            with orders_of(held, [equal.column for equal in filter.equals], measures):
                again = _both(held, filter, *arguments, **options)
            assert np.array_equal(found[0], again[0])
            assert np.array_equal(found[1], again[1])
    return found


@contextmanager
def located(held: Sequence[EventMonth], columns: Iterable[int] = ()) -> Iterator[None]:
    """The months with their contacts' rows located, and the values of these columns copied so far as they can be."""
    for each in held:
        each.locate()
        for column in columns:
            with suppress(ValueError):
                each.value(column)
    try:
        yield
    finally:
        for each in held:
            each.lose()


@contextmanager
def ledger(held: Sequence[EventMonth], column: int) -> Iterator[EventLedger]:
    """The months with a ledger that has the values of this column."""
    made = EventLedger(held, column)
    made.fill(1 << 40)
    made.use()
    try:
        yield made
    finally:
        made.forget()


@contextmanager
def orders_of(held: Iterable[EventMonth], columns: Iterable[int], measures: Iterable[int] = ()) -> Iterator[None]:
    """The months in the order of these columns, with those measures, so far as they can be."""
    pairs = [(each, column) for each in held for column in columns]
    for each, column in pairs:
        with suppress(ValueError):
            order = EventOrder(each, column)
            assert each.use(order)
            for measure in measures:
                assert each.measure(EventMeasure(each, order, measure))
    try:
        yield
    finally:
        for each, column in pairs:
            each.forget(column)


def _both(*arguments: object, **options: object) -> Found:
    ordinals, numbers = collect(*arguments, **options)  # type: ignore[arg-type]
    assert ordinals.dtype == np.uint32
    assert (np.diff(ordinals.astype(np.int64)) > 0).all()
    found = BitMap.deserialize(collect_set(*arguments, **options))  # type: ignore[arg-type]
    assert found.to_array().tolist() == ordinals.tolist()
    assert collect_count(*arguments, **options) == len(found)  # type: ignore[arg-type]
    for some in (found, BitMap(ordinals[::2]) | BitMap(ordinals + np.uint32(1)), BitMap()):
        for within in sets_of(some):
            assert collect_count(*arguments, **options, within=within) == len(found & some)  # type: ignore[arg-type,misc]
    among = options.get("among", arguments[5] if len(arguments) > 5 else None)
    if among is not None:
        for each in sets_of(cast("npt.NDArray[np.uint32]", among)):
            positional = (*arguments[:5], each, *arguments[6:]) if len(arguments) > 5 else arguments
            named = {**options, "among": each} if len(arguments) <= 5 else options
            again = collect(*positional, **named)  # type: ignore[arg-type]
            assert [part.tolist() for part in again] == [ordinals.tolist(), numbers.tolist()]
    return ordinals, numbers


def sets_of(among: npt.NDArray[np.uint32] | BitMap) -> list[bytes]:
    """Contacts as portable Roaring bitmaps: of arrays and bitsets, and with runs where these are shorter."""
    plain = BitMap(among)
    runs = plain.copy()
    runs.run_optimize()
    return [bytes(plain.serialize()), bytes(runs.serialize())]
