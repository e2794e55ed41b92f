"""Comparisons: a field against a constant becomes a posting, a set of codes or a range; everything else a candidate
check."""

from __future__ import annotations

import math
from fractions import Fraction

from segidx.model.errors import TypeMismatch
from segidx.model.expression import PART_NAMES, Aggregate, AggregateFunction, DaysSinceEvent, Operator
from segidx.model.results import Estimate
from segidx.model.schema import Field, FieldType
from segidx.model.values import (
    Age,
    Arithmetic,
    Constant,
    DaysSince,
    FieldValue,
    Negative,
    Value,
)
from segidx.model.windows import to_days
from segidx.plan.calendar import FIRST_DAY, LAST_DAY, last_day_with_age
from segidx.plan.constants import FLIPPED, bind_constant, fold_constant, holds, whole_numbers
from segidx.plan.context import BindContext
from segidx.plan.event_series import bind_gaps, compare_gaps, has_gaps
from segidx.plan.events import aggregate_on_days, bind_aggregate, compare_aggregate
from segidx.plan.favourites import bind_favourite, favourite_is
from segidx.plan.nodes import CandidateCheck, Plan, PostingScan, all_of, complement, everything, nothing
from segidx.plan.strings import compared_codes, dictionary_of, equal_codes, fold, plan_codes
from segidx.plan.values import (
    BoundAge,
    BoundAggregate,
    BoundArithmetic,
    BoundConstant,
    BoundDaysSince,
    BoundFavourite,
    BoundField,
    BoundGaps,
    BoundNegative,
    BoundValue,
    LocalDate,
    ValueKind,
    fields_in,
    gaps_in,
    reads_nothing,
)
from segidx.plan.windows import plan_local_days, plan_range
from segidx.store.layout import SYSTEM_FIELD

_KINDS = {
    FieldType.NUMBER: ValueKind.NUMBER,
    FieldType.DATE: ValueKind.DATE,
    FieldType.TIMESTAMP: ValueKind.INSTANT,
    FieldType.CATEGORY: ValueKind.STRING,
    FieldType.TEXT: ValueKind.STRING,
    FieldType.BOOL: ValueKind.BOOL,
}


def bind_comparison(
    left: Value,
    operator: Operator,
    right: Value,
    context: BindContext,
    path: str,
    *,
    ci: bool = False,
    sides: tuple[str, str] = ("left", "right"),
) -> Plan:
    """The contacts for which `left operator right` holds; `sides` are the names of the two below `path`.

    Raises TypeMismatch, UnknownField, and what filters of events raise.
    """
    if operator is Operator.NE:
        equal = bind_comparison(left, Operator.EQ, right, context, path, ci=ci, sides=sides)
        return complement(equal, context.total, path)
    a = _folded(bind_value(left, context, f"{path}.{sides[0]}"))
    b = _folded(bind_value(right, context, f"{path}.{sides[1]}"))
    if a is None or b is None:
        return nothing("a division by zero is missing, and no comparison on it holds", path)
    if isinstance(a, BoundConstant) and not isinstance(b, BoundConstant):
        a, operator, b = b, FLIPPED[operator], a
    a, b = _typed(a, operator, b, ci=ci)
    if isinstance(b, BoundConstant):
        if isinstance(a, BoundConstant):
            return _constants(a, operator, b, context, path, ci=ci)
        if isinstance(a, BoundField):
            return _field_constant(context.schema[a.name], operator, b, context, path, ci=ci)
        if isinstance(a, BoundAge | BoundDaysSince):
            return _days_constant(a, operator, b, context, path)
        if isinstance(a, BoundAggregate):
            return compare_aggregate(a, operator, b, context, path)
        if isinstance(a, BoundGaps):
            return compare_gaps(a, operator, b, context, path)
        if isinstance(a, BoundFavourite):
            return _favourite_constant(a, operator, b, context, path, ci=ci)
    if isinstance(a, BoundFavourite) or isinstance(b, BoundFavourite):
        raise TypeMismatch("a favourite is compared with strings as they are written, not with fields or each other")
    return _candidate_check(a, operator, b, context, path, ci=ci)


def _folded(value: BoundValue) -> BoundValue | None:
    """The value, computed if it reads no field; None if it is missing for everyone."""
    if isinstance(value, BoundConstant) or not reads_nothing(value):
        return value
    constant = fold_constant(value)
    return None if constant is None else BoundConstant(value.kind, constant)


# --- types -------------------------------------------------------------------------------------------------


def bind_value(value: Value, context: BindContext, path: str) -> BoundValue:
    """The value with its kind; `path` is its own. Raises UnknownField, TypeMismatch, and what filters of events
    raise."""
    match value:
        case Constant():
            return bind_constant(value.value)
        case FieldValue():
            return _bind_field(context.schema[value.field], context)
        case Age() | DaysSince():
            what = "age()" if isinstance(value, Age) else "days_since()"
            day = _bind_field(context.schema[value.field], context)
            if day.kind is ValueKind.INSTANT:
                day = LocalDate(ValueKind.DATE, day)
            if day.kind is not ValueKind.DATE:
                raise TypeMismatch(
                    f"{what} asks for a date or a timestamp, but {value.field!r} is {day.kind.value}", field=value.field
                )
            bound = BoundAge if isinstance(value, Age) else BoundDaysSince
            return bound(ValueKind.NUMBER, day)
        case DaysSinceEvent():
            event = bind_aggregate(value.event, context, f"{path}.{PART_NAMES[DaysSinceEvent][0]}.aggregate")
            return BoundDaysSince(ValueKind.NUMBER, LocalDate(ValueKind.DATE, event))
        case Arithmetic():
            left_name, right_name = PART_NAMES[Arithmetic]
            left = bind_value(value.left, context, f"{path}.{left_name}")
            right = bind_value(value.right, context, f"{path}.{right_name}")
            for side in (left, right):
                _require_number(side, f"'{value.operator.value}'")
            return BoundArithmetic(ValueKind.NUMBER, value.operator, left, right)
        case Negative():
            operand = bind_value(value.operand, context, f"{path}.{PART_NAMES[Negative][0]}")
            _require_number(operand, "'-'")
            return BoundNegative(ValueKind.NUMBER, operand)
        case Aggregate(function=AggregateFunction.FAVOURITE):
            return bind_favourite(value, context, f"{path}.aggregate")
        case Aggregate():
            bind = bind_gaps if value.function.of_gaps else bind_aggregate
            return bind(value, context, f"{path}.aggregate")
    raise AssertionError(value)


def _require_number(value: BoundValue, what: str) -> None:
    if value.kind is not ValueKind.NUMBER:
        raise TypeMismatch(f"{what} works on numbers, not on {_spoken(value)}")
    if isinstance(value, BoundGaps) and value.irrational:
        raise TypeMismatch(
            f"{value.function.value} is the root of a number, which is compared exactly and not calculated with: put"
            f" {what} on the other side of the comparison"
        )


def _bind_field(field: Field, context: BindContext) -> BoundValue:
    if field.type is FieldType.TAGS:
        raise TypeMismatch(
            f"{field.name!r} is a tags field: ask with 'has', 'has any', 'has all' or 'has none'", field=field.name
        )
    return BoundField(_KINDS[field.type], field.name, context.field_id(field), field.scale)


def _spoken(value: BoundValue) -> str:
    if isinstance(value, BoundField):
        return f"{value.name!r}, {value.kind.value}"
    return value.kind.value


def _typed(a: BoundValue, operator: Operator, b: BoundValue, *, ci: bool) -> tuple[BoundValue, BoundValue]:
    """Both sides, of one kind. An instant against a date counts by its local calendar date."""
    if a.kind is not b.kind:
        kinds = {a.kind, b.kind}
        constant_instant = any(isinstance(v, BoundConstant) and v.kind is ValueKind.INSTANT for v in (a, b))
        if kinds != {ValueKind.DATE, ValueKind.INSTANT} or constant_instant:
            raise TypeMismatch(
                f"{_spoken(a)} cannot be compared with {_spoken(b)}{_advice(a, b)}",
                left=a.kind.name,
                right=b.kind.name,
            )
        if not isinstance(b, BoundConstant):  # a field against a date constant becomes a range of instants instead
            a, b = (LocalDate(ValueKind.DATE, v) if v.kind is ValueKind.INSTANT else v for v in (a, b))
    if a.kind is ValueKind.BOOL and operator is not Operator.EQ:
        raise TypeMismatch(f"{_spoken(a)} has no order; use = or !=")
    if ci and a.kind is not ValueKind.STRING:
        raise TypeMismatch(f"'ci' ignores the case of strings; {_spoken(a)} has none")
    return a, b


def _advice(a: BoundValue, b: BoundValue) -> str:
    for side, other in ((a, b), (b, a)):
        if isinstance(side, BoundField) and isinstance(other, BoundConstant):
            if side.kind is ValueKind.NUMBER and other.kind is ValueKind.STRING:
                return ": write the number without quotes"
            if side.kind is ValueKind.STRING and other.kind is ValueKind.NUMBER:
                return ': write it in quotes, or import the field with --field "name=number"'
            if side.kind is ValueKind.DATE and other.kind is ValueKind.INSTANT:
                return ": write a date such as 2026-01-31"
            if side.kind in (ValueKind.DATE, ValueKind.INSTANT) and other.kind is ValueKind.STRING:
                return ": write the date without quotes"
    return ""


# --- constants ---------------------------------------------------------------------------------------------


def _constants(
    a: BoundConstant, operator: Operator, b: BoundConstant, context: BindContext, path: str, *, ci: bool
) -> Plan:
    left, right = a.value, b.value
    if ci:
        left, right = fold(str(left)), fold(str(right))
    if holds(left, operator, right):
        return everything("two constants that compare so", context.total, path)
    return nothing("two constants that do not compare so", path)


def _field_constant(
    field: Field, operator: Operator, constant: BoundConstant, context: BindContext, path: str, *, ci: bool
) -> Plan:
    value = constant.value
    if field.type.is_string:
        assert isinstance(value, str)
        exact = operator is Operator.EQ and not ci
        if operator is Operator.EQ:
            codes = equal_codes(context, dictionary_of(context, field), [value], ci=ci)
        else:
            codes = compared_codes(context, dictionary_of(context, field), operator, value)
        sought = f'{operator.value} "{value}"'
        return plan_codes(context, field, codes, path, sought=sought, text=value if exact else None)
    if field.type is FieldType.BOOL:
        field_id, code = context.field_id(field), int(bool(value))
        count = context.snapshot.value_count(field_id, code)
        label = f"{field.name} {'true' if code else 'false'}"
        return PostingScan(Estimate(count, count, count), path, field_id, code, label)
    if field.type is FieldType.NUMBER:
        assert isinstance(value, Fraction)
        return _range(field, operator, value * 10**field.scale, context, path)
    assert isinstance(value, int)
    if field.type is FieldType.TIMESTAMP and constant.kind is ValueKind.DATE:
        # The instants whose local date compares so: whole local days.
        first = None if operator in (Operator.LT, Operator.LE) else value + (operator is Operator.GT)
        last = None if operator in (Operator.GT, Operator.GE) else value - (operator is Operator.LT)
        return plan_local_days(context, field, first, last, path)
    return _range(field, operator, Fraction(value), context, path)


def _favourite_constant(
    favourite: BoundFavourite,
    operator: Operator,
    constant: BoundConstant,
    context: BindContext,
    path: str,
    *,
    ci: bool,
) -> Plan:
    if operator is not Operator.EQ:
        raise TypeMismatch(f"a favourite is compared with =, != and in, not with {operator.value}")
    assert isinstance(constant.value, str)
    return favourite_is(favourite, [constant.value], context, path, ci=ci)


def _range(field: Field, operator: Operator, bound: Fraction, context: BindContext, path: str) -> Plan:
    """Stored integers that compare with an exact bound."""
    ends = whole_numbers(operator, bound)
    if ends is None:
        return nothing(f"{field.name} has {field.scale} decimals and never equals a finer number", path)
    return plan_range(context, field, *ends, path)


# --- ages --------------------------------------------------------------------------------------------------


def _days_constant(
    value: BoundAge | BoundDaysSince, operator: Operator, constant: BoundConstant, context: BindContext, path: str
) -> Plan:
    """`age(field) op n` and `days_since(...) op n`, both falling as the date rises: a range of dates."""
    bound = constant.value
    assert isinstance(bound, Fraction)
    if operator is Operator.EQ and bound.denominator != 1:
        return nothing("a whole number never equals a fraction", path)
    first = last = None
    for each in (Operator.GE, Operator.LE) if operator is Operator.EQ else (operator,):
        # value >= n, n whole, holds up to one last day; value <= n from the day after the last with value >= n + 1.
        at_least = each in (Operator.GE, Operator.GT)
        up = math.ceil(bound) if each in (Operator.GE, Operator.LT) else math.floor(bound) + 1
        day = _last_day(value, up, context)
        if at_least and day is None:
            return nothing("no date is that long ago", path)
        if at_least:
            last = day
        elif day is not None:
            first = day + 1
    date = value.date
    source = date.instant if isinstance(date, LocalDate) else date
    if isinstance(source, BoundAggregate):
        return aggregate_on_days(source, first, last, context, path)
    assert isinstance(source, BoundField)
    return plan_local_days(context, context.schema[source.name], first, last, path)


def _last_day(value: BoundAge | BoundDaysSince, least: int, context: BindContext) -> int | None:
    """The last day whose age or days-since is `least` or more; None if there is none."""
    if isinstance(value, BoundAge):
        return last_day_with_age(least, context.today)
    day = to_days(context.today) - least
    return None if day < FIRST_DAY else min(day, LAST_DAY)


# --- everything else ---------------------------------------------------------------------------------------


def _candidate_check(
    a: BoundValue, operator: Operator, b: BoundValue, context: BindContext, path: str, *, ci: bool
) -> Plan:
    fields = sorted(fields_in(a) | fields_in(b), key=lambda f: f.field_id)
    sets: list[Plan] = []
    for f in fields:
        count = context.snapshot.set_count(context.schema[f.name])
        sets.append(PostingScan(Estimate(count, count, count), path, SYSTEM_FIELD, f.field_id, f"{f.name} is set"))
    selections = {each.events: each for side in (a, b) for each in sorted(gaps_in(side), key=repr)}
    sets += [has_gaps(each, context, path) for each in selections.values()]
    if not sets:
        approximation: Plan = everything("events are compared", context.total, path)
    else:
        approximation = sets[0] if len(sets) == 1 else all_of(sets, context.total, path)
    hi = approximation.estimate.hi
    # Without statistics on pairs of fields, a third is the customary guess for an inequality; equality is rare.
    expected = hi // 10 if operator is Operator.EQ else hi // 3
    label = f"{' and '.join(f.name for f in fields) or 'events'} compared with {operator.value}"
    return CandidateCheck(Estimate(0, expected, hi), path, approximation, a, operator, b, ci, label)
