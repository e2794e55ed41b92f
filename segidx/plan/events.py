"""Events in expressions: a selection becomes a window of instants and a filter over the columns of its type, and an
aggregate compared with a constant a scan of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from segidx.kernels.events import TIME
from segidx.model.errors import TypeMismatch, UnknownEventType
from segidx.model.event_groups import GROUPS, check_asked
from segidx.model.events import ORDER, EventType, clock_of
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Events,
    Expression,
    Only,
    Operator,
)
from segidx.model.results import Estimate
from segidx.model.schema import FieldType
from segidx.model.values import ArithmeticOperator
from segidx.plan.attribution import check_visits, is_taken
from segidx.plan.calendar import instants_of_days
from segidx.plan.constants import whole_numbers
from segidx.plan.context import BindContext
from segidx.plan.event_filters import Together, bind_filter, column_of
from segidx.plan.nodes import EventScan, Plan, all_of, any_of, complement, everything, nothing
from segidx.plan.reach import check_reach, opening_of, reaches_behind
from segidx.plan.values import (
    BoundAggregate,
    BoundArithmetic,
    BoundConstant,
    BoundEvents,
    BoundValue,
    FilterOp,
    ValueKind,
)
from segidx.store.events import FIRST_PROPERTY

_LOW, _HIGH = -(2**63), 2**63 - 1
# The time of the first or the last event is the least or the greatest.
_PICKS = {AggregateFunction.FIRST: AggregateFunction.MIN, AggregateFunction.LAST: AggregateFunction.MAX}


def counts_column(type: EventType) -> int:
    """The column that says whether an event counts."""
    return FIRST_PROPERTY + len(type.properties)


def bind_aggregate(aggregate: Aggregate, context: BindContext, path: str) -> BoundAggregate | BoundArithmetic:
    """The aggregate with its window resolved. Raises UnknownProperty, TypeMismatch, InvalidExpression, InvalidPattern,
    those of a filter with the path of the leaf behind `path`, that of the aggregate."""
    function = aggregate.function
    events, *others = members(aggregate.events, function, context, f"{path}.events", aggregate)
    type, also = events.type, tuple(counting(each) for each in others)
    if function is AggregateFunction.COUNT:
        return BoundAggregate(ValueKind.NUMBER, function, counting(events), also=also)
    if function is AggregateFunction.DISTINCT_DAYS:
        return BoundAggregate(ValueKind.NUMBER, function, counting(events), also=also)
    if function in _PICKS:
        return BoundAggregate(ValueKind.INSTANT, _PICKS[function], counting(events), TIME, also=also)
    assert aggregate.property is not None
    clock = clock_of(type, aggregate.property)
    if clock is not None:
        raise TypeMismatch(
            f"{type.name}.{clock.name} is the {clock.name} of the event's local time, which stands in filters only:"
            f" nothing is made of it by {function.value}",
            property=clock.name,
        )
    found = type.property(aggregate.property)
    if function is AggregateFunction.DISTINCT:
        taken = is_taken(type, found.name, context)
        if taken:
            check_visits(events.start, events.end, context)
        return BoundAggregate(
            ValueKind.NUMBER, function, counting(events), column_of(type, found), taken=found.name if taken else ""
        )
    if found.type is not FieldType.NUMBER:
        raise TypeMismatch(
            f"{function.value} is made of numbers, but {type.name}.{found.name} is a {found.type.value}",
            property=found.name,
        )
    scale, column = found.decimals(context.snapshot.catalog.account.money_scale), column_of(type, found)
    if function is not AggregateFunction.AVERAGE:
        return BoundAggregate(ValueKind.NUMBER, function, events, column, scale)
    total = BoundAggregate(ValueKind.NUMBER, AggregateFunction.SUM, events, column, scale)
    # Of orders the average is over those that count: a cancelled one lowers the sum, and is no order.
    divisor = counting(events) if type == ORDER else passing(events, ("present", column))
    return BoundArithmetic(ValueKind.NUMBER, ArithmeticOperator.DIVIDE, total, count(divisor))


def bind_did(events: Events, context: BindContext, path: str) -> Plan:
    """The contacts with at least one such event. `path` is the predicate's."""
    made = Aggregate(AggregateFunction.COUNT, events) if context.snapshot.catalog.balances else None
    among = selections(events, context, f"{path}.events", made)
    return did_any([counting(each) for each in among], context, path)


def did_any(among: Sequence[BoundEvents], context: BindContext, path: str) -> Plan:
    """The contacts with at least one event of a selection."""
    scans = [_scan(count(each), 1, None, context, path) for each in among]
    return scans[0] if len(scans) == 1 else any_of(scans, context.total, path)


def bind_only(only: Only, context: BindContext, path: str) -> Plan:
    """The contacts with an event of the population that passes, and none that does not. `path` is the predicate's."""
    population = selections(only.events, context, f"{path}.events")
    if only.events.where is None:
        population = tuple(_flagged(each) for each in population)
    if only.that is None:
        return did_any(population, context, path)
    passed, failed = divided(population, only.events.type, only.that, context, f"{path}.that")
    some, others = did_any(passed, context, path), did_any(failed, context, path)
    return all_of([some, complement(others, context.total, path)], context.total, path)


def divided(
    population: Sequence[BoundEvents], name: str, that: Expression, context: BindContext, path: str
) -> tuple[tuple[BoundEvents, ...], tuple[BoundEvents, ...]]:
    """Of each selection of a type or group of that name the events that pass the filter, and those that do not. `path`
    is the filter's."""
    filters = _filters(that, population, name, context, path)
    passed = (passing(each, *steps) for each, steps in zip(population, filters, strict=True))
    failed = (passing(each, *steps, ("not",)) for each, steps in zip(population, filters, strict=True))
    return tuple(passed), tuple(failed)


def _filters(
    where: Expression, among: Sequence[BoundEvents], name: str, context: BindContext, path: str
) -> list[list[FilterOp]]:
    """The steps of a filter for each of the selections of a group; of one type where it is one."""
    types = tuple(dict.fromkeys(each.type for each in among))
    group = Together(name, types) if name in GROUPS else None
    return [bind_filter(where, each.type, (each.start, each.end), context, path, group) for each in among]


def bind_has_value(value: BoundValue, context: BindContext, path: str) -> Plan:
    """The contacts for which the bound aggregate is not missing."""
    match value:
        case BoundAggregate() if value.function.is_count:
            return everything("a count is 0 at least", context.total, path)
        case BoundAggregate():
            if value.opened:
                return _scan(value, None, None, context, path)
            # No sum is made: one event that has the number is enough.
            having = [passing(each, ("present", value.measure)) for each in (value.events, *value.also)]
            return did_any(having, context, path)
        case BoundArithmetic(operator=ArithmeticOperator.ADD):
            # Different values, of which orders take some from visits.
            return everything("a count is 0 at least", context.total, path)
        case BoundArithmetic(left=BoundAggregate() as total, right=BoundAggregate() as divisor):  # an average
            some = bind_has_value(total, context, path)
            return all_of([some, did_any([divisor.events], context, path)], context.total, path)
    raise TypeMismatch(f"'is set' is not asked of {value.kind.value} that is made so")


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
    if not aggregate.function.is_count:
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


def aggregate_between(
    aggregate: BoundAggregate, low: int | None, high: int | None, context: BindContext, path: str
) -> Plan:
    """The contacts whose aggregate, in whole units of its scale or an instant, lies in [low, high]; None is open.
    One without such events is never among them."""
    return _scan(aggregate, low, high, context, path)


def having(events: tuple[BoundEvents, ...], least: int, context: BindContext, path: str) -> Plan:
    """The contacts with so many of the events at least, one or more."""
    return _scan(count(*events), least, None, context, path)


def count(events: BoundEvents, *also: BoundEvents) -> BoundAggregate:
    """How many they are."""
    return BoundAggregate(ValueKind.NUMBER, AggregateFunction.COUNT, events, also=also)


def counting(events: BoundEvents) -> BoundEvents:
    """The events among them that are counted: of orders not all are, of lines all."""
    return _flagged(events) if events.type == ORDER else events


def _flagged(events: BoundEvents) -> BoundEvents:
    """The events among them that are marked as ones that count: of lines, those of a positive quantity."""
    return passing(events, ("range", counts_column(events.type), 1, 1))


def passing(events: BoundEvents, *filter: FilterOp) -> BoundEvents:
    """The events among them that pass one more filter."""
    return replace(events, where=(*events.where, *filter, ("all", 2)) if events.where else filter)


def _scan(aggregate: BoundAggregate, low: int | None, high: int | None, context: BindContext, path: str) -> Plan:
    events = aggregate.events
    types = dict.fromkeys(each.type.name for each in (events, *aggregate.also))
    label = f"{aggregate.function.value} of {', '.join(types)} events"
    if events.start >= events.end:
        return nothing("the window holds no instant", path)
    if (low is not None and low > _HIGH) or (high is not None and high < _LOW):
        return nothing("no number of events is that far", path)
    # Nothing is kept yet of how many contacts have which events.
    estimate = Estimate(0, context.total // 10, context.total)
    return EventScan(estimate, path, aggregate, low, high, label)


def members(
    events: Events, function: AggregateFunction, context: BindContext, path: str, made: Aggregate | None = None
) -> tuple[BoundEvents, ...]:
    """The same as `selections`, of which that is made; not all is made of groups."""
    group = context.snapshot.catalog.event_groups.get(events.type)
    if group is not None:
        check_asked(group, function)
    return selections(events, context, path, made)


def selections(
    events: Events, context: BindContext, path: str, made: Aggregate | None = None
) -> tuple[BoundEvents, ...]:
    """The selection, or of a group those of its members, in their order; one at least. All have one window. `made` is
    what is made of them, if an opening balance may be kept of it."""
    group = context.snapshot.catalog.event_groups.get(events.type)
    if group is None:
        return (bind_events(events, context, path, made),)
    found = []
    for member in group.members:
        each = replace(member, window=events.window)
        # Of a group with a filter of its own no balance is kept.
        whole = made is not None and events.where is None
        found.append(bind_events(each, context, path, replace(made, events=each) if made and whole else None))
    if events.where is None:
        return tuple(found)
    filters = _filters(events.where, found, group.name, context, f"{path}.where")
    return tuple(passing(each, *steps) for each, steps in zip(found, filters, strict=True))


def bind_events(events: Events, context: BindContext, path: str, made: Aggregate | None = None) -> BoundEvents:
    """The selection with its window resolved and cut off at the instant of evaluation. Raises PrunedHistory where that
    reaches behind the type's horizon, unless an opening balance is kept of what is `made` of them, a number over all
    time, and the evaluation is not of an instant before the horizon."""
    catalog = context.snapshot.catalog
    if events.type not in catalog.event_types:
        raise UnknownEventType(events.type, [*(each.name for each in catalog.event_types), *catalog.event_groups])
    type = catalog.event_types[events.type]
    start, end = context.span(events.window)
    opening = None
    if reaches_behind(type, start, end, context):
        horizon, balance = context.horizon(type), None if made is None else opening_of(made, context)
        if balance is None or horizon is None or context.instant < horizon:
            check_reach(type, start, end, context)
        else:
            opening = balance.number
    where: tuple[FilterOp, ...] = ()
    if events.where is not None:
        where = tuple(bind_filter(events.where, type, (start, end), context, f"{path}.where"))
    return BoundEvents(type, start, end, where, opening, events.window)
