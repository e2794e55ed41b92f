"""Scans for sequences of events: the rows of all steps, of those contacts that have one of each, followed natively.

Contacts are counted before their rows are read, since few of them have events of every step; and they are taken some
at a time, so that memory is bounded by what these did.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pyroaring import BitMap

from segidx.exec.events import Ordinals, contacts_with, ordinals_of, selected
from segidx.kernels.events import TIME, follow
from segidx.plan.context import BindContext
from segidx.plan.nodes import SequenceScan
from segidx.plan.values import BoundEvents, BoundStep
from segidx.store.layout import RANGE_BITS
from segidx.store.postings import bitmap_of

# Ranges of contacts at a time: a quarter of a million contacts.
_RANGES = 16


def scan_sequence(plan: SequenceScan, candidates: bytes | None, context: BindContext) -> bytes:
    """The contacts with such events, of the candidates where they are given; both are portable Roaring bitmaps. Raises
    Stopped."""
    steps = [step for step in plan.steps if not step.absent]
    absent = plan.steps[-1] if plan.steps[-1].absent else None
    among = None if candidates is None else ordinals_of(BitMap.deserialize(candidates))
    found = [_follow(steps, absent, part, context) for part in slices(steps[0].events, among, context)]
    return bytes(bitmap_of(np.concatenate(found) if found else np.zeros(0, np.uint32)).serialize())


def _follow(steps: list[BoundStep], absent: BoundStep | None, among: Ordinals | None, context: BindContext) -> Ordinals:
    for step in steps:
        among = contacts_with(step.events, among, context)
        if not len(among):
            return among

    def rows(step: BoundStep) -> tuple[Ordinals, np.ndarray, int | None]:
        found = selected(step.events, [TIME], among, context)
        return found.ordinals, found.columns[0], step.within

    none = None if absent is None else rows(absent)
    return follow([rows(step) for step in steps], none, steps[0].events.end, context.stop)


def slices(events: BoundEvents, among: Ordinals | None, context: BindContext) -> Iterator[Ordinals | None]:
    """The contacts, ascending, some at a time; None for all that have events, where they are few."""
    if among is None:
        numbers = context.snapshot.event_ranges(events.type)
        if len(numbers) <= _RANGES:
            yield None
            return
        for first in range(0, len(numbers), _RANGES):
            starts = np.array(numbers[first : first + _RANGES], np.int64) << RANGE_BITS
            yield (starts[:, None] + np.arange(1 << RANGE_BITS)).reshape(-1).astype(np.uint32)
        return
    size = _RANGES << RANGE_BITS
    for first in range(0, len(among), size):
        yield among[first : first + size]
