"""Scans for sequences of events: the rows of all steps, of those contacts that have one of each, followed natively.

Contacts are counted before their rows are read, since few of them have events of every step; and they are taken some
at a time, so that memory is bounded by what these did.
"""

from __future__ import annotations

import numpy as np
from pyroaring import BitMap

from segidx.exec.asked import Ordinals, ordinals_of
from segidx.exec.events import contacts_with, selected_of, slices
from segidx.kernels.events import TIME, follow
from segidx.plan.context import BindContext
from segidx.plan.nodes import SequenceScan
from segidx.plan.values import BoundStep
from segidx.store.postings import bitmap_of


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
        found = selected_of(step.events, [TIME], among, context)
        return found.ordinals, found.columns[0], step.within

    none = None if absent is None else rows(absent)
    return follow([rows(step) for step in steps], none, steps[0].events[0].end, context.stop)
