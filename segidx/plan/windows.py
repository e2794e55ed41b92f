"""Windows and anniversaries on date and timestamp fields become ranges and tables of column values."""

from __future__ import annotations

import numpy as np

from segidx.model.errors import InvalidExpression, TypeMismatch
from segidx.model.results import Estimate
from segidx.model.schema import Field, FieldType
from segidx.model.windows import (
    Absolute,
    AllTime,
    OlderThan,
    Window,
    local_date,
    resolve_dates,
    to_days,
)
from segidx.plan.calendar import FIRST_DAY, LAST_DAY, anniversary_days, instants_of_days, runs
from segidx.plan.context import BindContext
from segidx.plan.nodes import Plan, RangeScan, TableScan, any_of, nothing


def plan_range(context: BindContext, field: Field, low: int | None, high: int | None, path: str) -> Plan:
    """The contacts whose stored value lies in [low, high]."""
    if low is not None and high is not None and low > high:
        return nothing(f"no value of {field.name} lies between {low} and {high}", path)
    column = context.snapshot.column(context.field_id(field))
    lo, expected, hi = column.estimate_range(_floor(low), _ceiling(high))
    return RangeScan(
        Estimate(lo, min(hi, max(lo, round(expected))), hi), path, context.field_id(field), low, high, field.name
    )


def plan_local_days(context: BindContext, field: Field, first: int | None, last: int | None, path: str) -> Plan:
    """The contacts whose date, or whose timestamp's local date, lies in the days [first, last] since 1970."""
    if field.type is FieldType.DATE:
        return plan_range(context, field, first, last, path)
    ranges = [plan_range(context, field, *ends, path) for ends in instants_of_days(first, last, context.zone)]
    if not ranges:
        return nothing(f"no instant of {field.name} has such a local date", path)
    return ranges[0] if len(ranges) == 1 else any_of(ranges, context.total, path)


def _floor(low: int | None) -> int:
    return -(2**63) if low is None else max(low, -(2**63))


def _ceiling(high: int | None) -> int:
    return 2**63 - 1 if high is None else min(high, 2**63 - 1)


def _require_time(field: Field, what: str) -> None:
    if not field.type.is_time:
        raise TypeMismatch(
            f"{what} asks for a date or a timestamp, but {field.name!r} is a {field.type.value} field",
            field=field.name,
            type=field.type.value,
        )


def bind_window(field: Field, window: Window, context: BindContext, path: str) -> Plan:
    """`field in WINDOW`."""
    _require_time(field, "a window of time")
    if field.type is FieldType.DATE:
        start, end = resolve_dates(window, context.today)
    else:
        start, end = context.bounds(window)
    return plan_range(context, field, start, None if end is None else end - 1, path)


def bind_anniversary(field: Field, window: Window, context: BindContext, path: str) -> Plan:
    """`anniversary of field in WINDOW`, as the stored values that have one there."""
    _require_time(field, "an anniversary")
    start, end = resolve_dates(window, context.today)
    if isinstance(window, OlderThan | AllTime) or (
        isinstance(window, Absolute) and (window.start is None or window.end is None)
    ):
        raise InvalidExpression("an anniversary needs a window with a start and an end, such as 'in next 7 days'")
    # A window may also reach beyond the years 1 to 9999; there it is cut off.
    start = FIRST_DAY if start is None else max(start, FIRST_DAY)
    end = LAST_DAY + 1 if end is None else min(end, LAST_DAY + 1)
    low, high, present = context.snapshot.column(context.field_id(field)).bounds()
    if low is None or high is None:
        return nothing(f"no contact has {field.name}", path)
    if start >= end:
        return nothing("the window is empty", path)
    if field.type is FieldType.DATE:
        hits = anniversary_days(start, end, low, high)
        share = float(hits.mean())
        estimate = Estimate(0, round(share * present), present)
        bits = np.packbits(hits, bitorder="little").tobytes()
        return TableScan(estimate, path, context.field_id(field), low, bits, field.name)
    # A day more on either side: where a clock goes back across midnight, a later instant has an earlier date. West of
    # Greenwich the year 1 begins on the local 31 December before it.
    first = max(FIRST_DAY - 1, to_days(local_date(low, context.zone)) - 1)
    last = min(LAST_DAY, to_days(local_date(high, context.zone)) + 1)
    hits = anniversary_days(start, end, first, last)
    ranges = [plan_local_days(context, field, first + a, first + b, path) for a, b in runs(hits)]
    return any_of(ranges, context.total, path) if ranges else nothing("no anniversary falls in the window", path)
