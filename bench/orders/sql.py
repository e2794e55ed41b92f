"""Expressions of the events benchmark as SQL over tables `contacts`, `orders` and `lines`, as one would write it there.

Covers what `bench.orders.cases` asks, and refuses the rest. Windows are left to the engine's own calendar.
"""

from __future__ import annotations

from bench.orders.corpus import AT, BAND, BAND_ENDS, BANDS, MONEY_SCALE, TAG
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    And,
    BandIs,
    Comparison,
    Did,
    Events,
    Expression,
    HasTags,
    Never,
    Operator,
)
from segidx.model.values import Constant, FieldValue
from segidx.model.windows import AllTime, Direction, Rolling, Window

_AT = f"TIMESTAMP '{AT:%Y-%m-%d %H:%M:%S}'"
_TABLES = {"order": "orders", "line": "lines"}
_COUNTS = {"order": "counts", "line": "true"}


def count_query(expression: Expression) -> str:
    """The query for how many contacts the expression holds."""
    match expression:
        case And(operands=(HasTags(tags=(tag,)), operand)) if tag == TAG:
            return _query(operand, tagged=True)
    return _query(expression, tagged=False)


def _query(expression: Expression, *, tagged: bool) -> str:
    match expression:
        case Did(events=events):
            return f"SELECT count(DISTINCT contact) FROM {_counting(events, tagged=tagged)}"
        case Never(events=events):
            # Up to three times as fast as NOT IN, NOT EXISTS or an anti join.
            all_contacts = f"SELECT count(*) FROM contacts{f' WHERE {TAG}' if tagged else ''}"
            return f"SELECT ({all_contacts}) - ({_query(Did(events), tagged=tagged)})"
        case BandIs(name=name, labels=(label,)) if (name, label) == (BANDS, BAND):
            low, high = (end * 10**MONEY_SCALE for end in BAND_ENDS)
            spent = f"FROM {_rows(Events('order'), tagged=tagged)} GROUP BY contact"
            chosen = f"SELECT contact {spent} HAVING sum(amount) >= {low} AND sum(amount) < {high}"
            return f"SELECT count(*) FROM ({chosen})"
        case Comparison(left=Aggregate(function=function, events=events) as aggregate, operator=operator):
            bound = _bound(expression)
            if function is AggregateFunction.COUNT:
                value, rows = "count(*)", _counting(events, tagged=tagged)
            else:
                value, rows = f"sum({aggregate.property})", _rows(events, tagged=tagged)
                bound *= 10**MONEY_SCALE
            chosen = f"SELECT contact FROM {rows} GROUP BY contact HAVING {value} {operator.value} {bound}"
            return f"SELECT count(*) FROM ({chosen})"
    raise TypeError(f"no SQL for {expression}")


def _bound(comparison: Comparison) -> int:
    """Of a comparison that no contact without such events satisfies."""
    match comparison:
        case Comparison(operator=Operator.GT | Operator.GE, right=Constant(value=value), ci=False):
            bound = int(value)  # type: ignore[arg-type]
            if bound == value and bound > 0:
                return bound
    raise TypeError(f"no SQL for {comparison}")


def _counting(events: Events, *, tagged: bool) -> str:
    return f"{_rows(events, tagged=tagged)} AND {_COUNTS[events.type]}"


def _rows(events: Events, *, tagged: bool) -> str:
    """The table and the condition of the events."""
    conditions = [*_window(events.window), f"time < {_AT}"]
    match events.where:
        case None:
            pass
        case Comparison(left=FieldValue(field=name), operator=Operator.EQ, right=Constant(value=str(value))):
            conditions.append(f"{name} = '{value}'")
        case _:
            raise TypeError(f"no SQL for {events.where}")
    if tagged:
        conditions.append(f"contact IN (SELECT contact FROM contacts WHERE {TAG})")
    return f"{_TABLES[events.type]} WHERE {' AND '.join(conditions)}"


def _window(window: Window) -> list[str]:
    match window:
        case AllTime():
            return []
        case Rolling(direction=Direction.LAST, count=count, unit=unit):
            return [f"time >= {_AT} - INTERVAL {count} {unit.value}"]
    raise TypeError(f"no SQL for {window}")
