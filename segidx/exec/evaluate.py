"""Evaluation of plans: count, materialise, any; on threads where the universe is large enough to pay for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyroaring import BitMap

from segidx.exec.compile import compile_plan
from segidx.exec.pool import over_threads, threads
from segidx.kernels.bitmaps import Program, Stopped
from segidx.model.errors import Cancelled, DeadlineExceeded
from segidx.plan.context import BindContext
from segidx.plan.nodes import Plan
from segidx.store.layout import SHARD_CONTAINERS

# Below this many containers x leaves, handing work to a second thread costs more than it saves (some 50 us).
_PARALLEL_WORK = 4096


@contextmanager
def stop_errors() -> Iterator[None]:
    """Turn the kernels' Stopped into the typed errors."""
    try:
        yield
    except Stopped as stopped:
        if stopped.reason == "cancelled":
            raise Cancelled("the caller cancelled the evaluation") from None
        raise DeadlineExceeded("the deadline passed before the evaluation was done; allow more time") from None


def count(plan: Plan, context: BindContext) -> int:
    """How many live contacts the plan holds. Raises DeadlineExceeded, Cancelled."""
    with stop_errors():
        program = compile_plan(plan, context, lambda p: p.materialise(stop=context.stop))
        ranges = _ranges(program, plan)
        if len(ranges) == 1:
            return program.count(*ranges[0], context.stop)

        def part(keys: tuple[int, int]) -> int:
            return program.count(keys[0], keys[1], context.stop)

        return sum(over_threads(part, ranges))


def materialise(plan: Plan, context: BindContext) -> BitMap:
    """The ordinals that the plan holds, a bitmap of its own. Raises DeadlineExceeded, Cancelled."""
    with stop_errors():
        program = compile_plan(plan, context, lambda p: p.materialise(stop=context.stop))
        return BitMap.deserialize(program.materialise(stop=context.stop))


def holds_any(plan: Plan, context: BindContext) -> bool:
    """Whether the plan holds any contact. Raises DeadlineExceeded, Cancelled."""
    with stop_errors():
        program = compile_plan(plan, context, lambda p: p.materialise(stop=context.stop))
        return program.any(stop=context.stop)


def _ranges(program: Program, plan: Plan) -> list[tuple[int, int]]:
    """Ranges of container keys, whole shards each: two a thread, or one in all for small work."""
    keys = program.keys()
    if keys is None:
        return [(0, 0)]
    first, last = keys
    containers = last - first + 1
    if threads() == 1 or containers * _leaves(plan) < _PARALLEL_WORK:
        return [(first, last)]
    shards = range(first // SHARD_CONTAINERS, last // SHARD_CONTAINERS + 1)
    step = -(-len(shards) // (2 * threads()))
    cuts = [s * SHARD_CONTAINERS for s in shards[::step]]
    return [(a, b - 1) for a, b in zip(cuts, [*cuts[1:], last + 1], strict=True)]


def _leaves(plan: Plan) -> int:
    return sum(map(_leaves, plan.children)) if plan.children else 1
