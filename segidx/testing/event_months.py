"""Blocks as the kernels that read events take them, and their three ways of answering at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.events import EventBlock, EventMonth, collect, collect_set

Found = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]


def months(*ranges: tuple[int, Sequence[EventBlock]]) -> list[EventMonth]:
    """The first block of each range in one month, the second in the next, and so on."""
    most = max((len(blocks) for _, blocks in ranges), default=0)
    return [month(*((number, blocks[i : i + 1]) for number, blocks in ranges))[0] for i in range(most)]


def month(*ranges: tuple[int, Iterable[EventBlock]]) -> list[EventMonth]:
    """All of them in one month."""
    held = sorted(ranges, key=lambda each: each[0])
    return [EventMonth((number, block) for number, blocks in held for block in blocks)]


def both(*arguments: object, **options: object) -> Found:
    """What collect returns, once collect_set has been found to hold the same contacts."""
    ordinals, numbers = collect(*arguments, **options)  # type: ignore[arg-type]
    assert ordinals.dtype == np.uint32
    assert (np.diff(ordinals.astype(np.int64)) > 0).all()
    found = BitMap.deserialize(collect_set(*arguments, **options))  # type: ignore[arg-type]
    assert found.to_array().tolist() == ordinals.tolist()
    return ordinals, numbers
