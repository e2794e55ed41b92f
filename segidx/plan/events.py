"""Events in expressions: a selection becomes a window of instants and a filter over the columns of its kind, and an
aggregate compared with a constant a scan of events.

Columns of a kind: contact, time, event number, line, then its properties in the order of `EVENT_PROPERTIES`, and
last whether the event counts.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from segidx.kernels.events import TIME
from segidx.model.errors import InvalidExpression, SegidxError, TypeMismatch
from segidx.model.events import EVENT_PROPERTIES, EventKind, EventProperty, event_property
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    And,
    AtLeast,
    Between,
    Comparison,
    Events,
    Expression,
    In,
    IsSet,
    Not,
    Only,
    Operator,
    Or,
    TextMatch,
    child_path,
    node_path,
)
from segidx.model.results import Estimate
from segidx.model.schema import FieldType
from segidx.model.values import ArithmeticOperator, Constant, FieldValue, Scalar, Value
from segidx.model.windows import MAX_INSTANT, MIN_INSTANT, resolve_instants
from segidx.plan.calendar import instants_of_days
from segidx.plan.constants import FLIPPED, bind_constant, holds, whole_numbers
from segidx.plan.context import BindContext
from segidx.plan.nodes import EventScan, Plan, all_of, any_of, complement, everything, nothing
from segidx.plan.strings import Codes, Dictionary, compared_codes, equal_codes, fold, text_codes
from segidx.plan.values import (
    BoundAggregate,
    BoundArithmetic,
    BoundConstant,
    BoundEvents,
    FilterOp,
    ValueKind,
)
from segidx.store.events import FIRST_PROPERTY

_LOW, _HIGH = -(2**63), 2**63 - 1
# The time of the first or the last event is the least or the greatest.
_PICKS = {AggregateFunction.FIRST: AggregateFunction.MIN, AggregateFunction.LAST: AggregateFunction.MAX}
_KINDS = {
    FieldType.CATEGORY: ValueKind.STRING,
    FieldType.BOOL: ValueKind.BOOL,
    FieldType.NUMBER: ValueKind.NUMBER,
}


def counts_column(kind: EventKind) -> int:
    """The column that says whether an event counts."""
    return FIRST_PROPERTY + len(EVENT_PROPERTIES[kind])


def bind_aggregate(aggregate: Aggregate, context: BindContext, path: str) -> BoundAggregate | BoundArithmetic:
    """The aggregate with its window resolved. Raises UnknownProperty, TypeMismatch, InvalidExpression, InvalidPattern,
    those of a filter with the path of the leaf behind `path`, that of the aggregate."""
    events = bind_events(aggregate.events, context, f"{path}.events")
    kind, function = aggregate.events.kind, aggregate.function
    if function is AggregateFunction.COUNT:
        return _count(_counting(events))
    if function in _PICKS:
        return BoundAggregate(ValueKind.INSTANT, _PICKS[function], _counting(events), TIME)
    assert aggregate.property is not None
    found = event_property(kind, aggregate.property)
    if found.type is not FieldType.NUMBER:
        raise TypeMismatch(
            f"{function.value} is made of numbers, but {kind.value}.{found.name} is a {found.type.value}",
            property=found.name,
        )
    scale, column = found.decimals(context.snapshot.catalog.account.money_scale), _column(kind, found)
    if function is not AggregateFunction.AVERAGE:
        return BoundAggregate(ValueKind.NUMBER, function, events, column, scale)
    total = BoundAggregate(ValueKind.NUMBER, AggregateFunction.SUM, events, column, scale)
    # Of orders the average is over those that count: a cancelled one lowers the sum, and is no order.
    divisor = _counting(events) if kind is EventKind.ORDER else _passing(events, ("present", column))
    return BoundArithmetic(ValueKind.NUMBER, ArithmeticOperator.DIVIDE, total, _count(divisor))


def bind_did(events: Events, context: BindContext, path: str) -> Plan:
    """The contacts with at least one such event. `path` is the predicate's."""
    bound = _counting(bind_events(events, context, f"{path}.events"))
    return _scan(_count(bound), 1, None, context, path)


def bind_only(only: Only, context: BindContext, path: str) -> Plan:
    """The contacts with an event of the population that passes, and none that does not. `path` is the predicate's."""
    kind = only.events.kind
    population = bind_events(only.events, context, f"{path}.events")
    if only.events.where is None:
        population = _flagged(population)
    if only.that is None:
        return _scan(_count(population), 1, None, context, path)
    that = _filter(only.that, kind, context, f"{path}.that")
    some = _scan(_count(_passing(population, *that)), 1, None, context, path)
    others = _scan(_count(_passing(population, *that, ("not",))), 1, None, context, path)
    return all_of([some, complement(others, context.total, path)], context.total, path)


def compare_aggregate(
    aggregate: BoundAggregate, operator: Operator, constant: BoundConstant, context: BindContext, path: str
) -> Plan:
    """`aggregate operator constant`, as a range of whole units, or of instants."""
    bound = constant.value
    if constant.kind is ValueKind.DATE:
        # The instants whose local date compares so: whole local days.
        assert isinstance(bound, int)
        first = None if operator in (Operator.LT, Operator.LE) else bound + (operator is Operator.GT)
        last = None if operator in (Operator.GT, Operator.GE) else bound - (operator is Operator.LT)
        return aggregate_on_days(aggregate, first, last, context, path)
    assert isinstance(bound, Fraction | int)
    ends = whole_numbers(operator, Fraction(bound) * 10**aggregate.scale)
    if ends is None:
        return nothing("the value has fewer decimals and never equals a finer number", path)
    low, high = ends
    if aggregate.function is not AggregateFunction.COUNT:
        return _scan(aggregate, low, high, context, path)
    # A count is 0 for contacts that the events do not name: ask for the complement.
    if high is not None and high < 0:
        return nothing("a count is never below 0", path)
    if low is not None and low > 0:
        return _scan(aggregate, low, high, context, path)
    if high is None:
        return everything("a count is 0 at least", context.total, path)
    return complement(_scan(aggregate, high + 1, None, context, path), context.total, path)


def aggregate_on_days(
    aggregate: BoundAggregate, first: int | None, last: int | None, context: BindContext, path: str
) -> Plan:
    """The contacts whose aggregate is an instant with a local date in the days [first, last] since 1970."""
    scans = [_scan(aggregate, *ends, context, path) for ends in instants_of_days(first, last, context.zone)]
    if not scans:
        return nothing("no instant has such a local date", path)
    return scans[0] if len(scans) == 1 else any_of(scans, context.total, path)


def _count(events: BoundEvents) -> BoundAggregate:
    return BoundAggregate(ValueKind.NUMBER, AggregateFunction.COUNT, events)


def _counting(events: BoundEvents) -> BoundEvents:
    """The events among them that are counted: of orders not all are, of lines all."""
    return _flagged(events) if events.kind is EventKind.ORDER else events


def _flagged(events: BoundEvents) -> BoundEvents:
    """The events among them that are marked as ones that count: of lines, those of a positive quantity."""
    return _passing(events, ("range", counts_column(events.kind), 1, 1))


def _passing(events: BoundEvents, *filter: FilterOp) -> BoundEvents:
    """The events among them that pass one more filter."""
    return replace(events, where=(*events.where, *filter, ("all", 2)) if events.where else filter)


def _scan(aggregate: BoundAggregate, low: int | None, high: int | None, context: BindContext, path: str) -> Plan:
    events = aggregate.events
    label = f"{aggregate.function.value} of {events.kind.value} events"
    if events.start >= events.end:
        return nothing("the window holds no instant", path)
    if (low is not None and low > _HIGH) or (high is not None and high < _LOW):
        return nothing("no number of events is that far", path)
    # Nothing is kept yet of how many contacts have which events.
    estimate = Estimate(0, context.total // 10, context.total)
    return EventScan(estimate, path, aggregate, low, high, label)


def bind_events(events: Events, context: BindContext, path: str) -> BoundEvents:
    """The selection with its window resolved and cut off at the instant of evaluation."""
    start, end = resolve_instants(events.window, context.at, context.zone)
    start = MIN_INSTANT if start is None else start
    end = min(context.at, MAX_INSTANT if end is None else end)
    where: tuple[FilterOp, ...] = ()
    if events.where is not None:
        where = tuple(_filter(events.where, events.kind, context, f"{path}.where"))
    return BoundEvents(events.kind, start, end, where)


# --- filters -----------------------------------------------------------------------------------------------


def _filter(node: Expression, kind: EventKind, context: BindContext, path: str) -> list[FilterOp]:
    """A filter's steps in postfix order. Recursion is bounded by the depth that `check` allows."""
    match node:
        case And() | Or() | AtLeast():
            steps: list[FilterOp] = []
            for i, operand in enumerate(node.operands):
                steps += _filter(operand, kind, context, child_path(path, node, i))
            n = len(node.operands)
            if isinstance(node, AtLeast):
                return [*steps, ("at_least", node.count, n)]
            return [*steps, ("all" if isinstance(node, And) else "any", n)]
        case Not():
            return [*_filter(node.operand, kind, context, child_path(path, node, 0)), ("not",)]
    where = node_path(path, node)
    try:
        return _leaf(node, kind, context)
    except SegidxError as error:
        raise error.at(where) from None


def _leaf(node: Expression, kind: EventKind, context: BindContext) -> list[FilterOp]:
    match node:
        case Comparison():
            return _comparison(node.left, node.operator, node.right, kind, context, ci=node.ci)
        case Between():
            low = _comparison(node.value, Operator.GE, node.low, kind, context)
            high = _comparison(node.value, Operator.LE, node.high, kind, context)
            return [*low, *high, ("all", 2)]
        case In():
            return _in(node, kind, context)
        case IsSet():
            return [("present", _column(kind, event_property(kind, node.field)))]
        case TextMatch():
            found = event_property(kind, node.field)
            if found.type is not FieldType.CATEGORY:
                raise TypeMismatch(
                    f"{node.operator.value!r} works on strings, but {kind.value}.{found.name} is a {found.type.value}",
                    property=found.name,
                )
            codes = text_codes(context, _dictionary(kind, found, context), node.operator, node.pattern, ci=node.ci)
            return _table(kind, found, codes)
    raise AssertionError(f"{type(node).__name__} was not refused by check()")


def _comparison(
    left: Value, operator: Operator, right: Value, kind: EventKind, context: BindContext, *, ci: bool = False
) -> list[FilterOp]:
    if isinstance(left, Constant) and isinstance(right, Constant):
        return [("constant", _constants(left.value, operator, right.value, ci=ci))]
    if isinstance(left, Constant):
        left, operator, right = right, FLIPPED[operator], left
    if not isinstance(left, FieldValue) or not isinstance(right, Constant):
        raise InvalidExpression("a filter of events compares a property with a constant, not with another property")
    found = event_property(kind, left.field)
    _check_types(kind, found, operator, right.value, ci=ci)
    if operator is Operator.NE:
        return [*_property(kind, found, Operator.EQ, right.value, context, ci=ci), ("not",)]
    return _property(kind, found, operator, right.value, context, ci=ci)


def _constants(left: Scalar, operator: Operator, right: Scalar, *, ci: bool) -> bool:
    a, b = bind_constant(left), bind_constant(right)
    if a.kind is not b.kind:
        raise TypeMismatch(
            f"{a.kind.value} cannot be compared with {b.kind.value}", left=a.kind.name, right=b.kind.name
        )
    if a.kind is ValueKind.BOOL and operator not in (Operator.EQ, Operator.NE):
        raise TypeMismatch("a bool has no order; use = or !=")
    if ci and a.kind is not ValueKind.STRING:
        raise TypeMismatch(f"'ci' ignores the case of strings; {a.kind.value} has none")
    one, other = (fold(str(v.value)) if ci else v.value for v in (a, b))
    equal = operator is Operator.NE
    return holds(one, Operator.EQ if equal else operator, other) != equal


def _check_types(kind: EventKind, found: EventProperty, operator: Operator, constant: Scalar, *, ci: bool) -> None:
    wanted = _KINDS[found.type]
    given = bind_constant(constant).kind
    if given is not wanted:
        raise TypeMismatch(
            f"{kind.value}.{found.name}, {wanted.value}, cannot be compared with {given.value}",
            property=found.name,
            left=wanted.name,
            right=given.name,
        )
    if wanted is ValueKind.BOOL and operator not in (Operator.EQ, Operator.NE):
        raise TypeMismatch(f"{kind.value}.{found.name} has no order; use = or !=", property=found.name)
    if ci and wanted is not ValueKind.STRING:
        raise TypeMismatch(f"'ci' ignores the case of strings; {kind.value}.{found.name} has none", property=found.name)


def _property(
    kind: EventKind, found: EventProperty, operator: Operator, constant: Scalar, context: BindContext, *, ci: bool
) -> list[FilterOp]:
    """`property operator constant`, of one type, for any operator but !=."""
    column = _column(kind, found)
    if isinstance(constant, str):
        dictionary = _dictionary(kind, found, context)
        if operator is Operator.EQ:
            return _table(kind, found, equal_codes(context, dictionary, [constant], ci=ci))
        return _table(kind, found, compared_codes(context, dictionary, operator, constant))
    if isinstance(constant, bool):
        return [("range", column, int(constant), int(constant))]
    scale = found.decimals(context.snapshot.catalog.account.money_scale)
    ends = whole_numbers(operator, Fraction(constant) * 10**scale)  # type: ignore[arg-type]
    if ends is None:
        return [("constant", False)]
    low, high = _LOW if ends[0] is None else ends[0], _HIGH if ends[1] is None else ends[1]
    if low > _HIGH or high < _LOW:
        return [("constant", False)]
    return [("range", column, max(low, _LOW), min(high, _HIGH))]


def _in(node: In, kind: EventKind, context: BindContext) -> list[FilterOp]:
    if isinstance(node.value, FieldValue) and all(isinstance(o, str) for o in node.options):
        found = event_property(kind, node.value.field)
        if found.type is FieldType.CATEGORY:
            wanted = [o for o in node.options if isinstance(o, str)]
            codes = equal_codes(context, _dictionary(kind, found, context), wanted, ci=node.ci)
            return _table(kind, found, codes)
    steps: list[FilterOp] = []
    for option in node.options:
        steps += _comparison(node.value, Operator.EQ, Constant(option), kind, context, ci=node.ci)
    return [*steps, ("any", len(node.options))]


def _column(kind: EventKind, found: EventProperty) -> int:
    return FIRST_PROPERTY + EVENT_PROPERTIES[kind].index(found)


def _dictionary(kind: EventKind, found: EventProperty, context: BindContext) -> Dictionary:
    strings = context.snapshot.event_dictionary(kind, EVENT_PROPERTIES[kind].index(found))
    return Dictionary(strings, strings.find_one)


def _table(kind: EventKind, found: EventProperty, codes: Codes) -> list[FilterOp]:
    """The events whose code is one of these, ascending."""
    column = _column(kind, found)
    if not len(codes):
        return [("constant", False)]
    base, last = int(codes[0]), int(codes[-1])
    if len(codes) == last - base + 1:
        return [("range", column, base, last)]
    bits = np.zeros(last - base + 1, np.uint8)
    bits[codes - base] = 1
    return [("table", column, base, np.packbits(bits, bitorder="little").tobytes(), False)]
