"""Filters of events: a tree of conditions on an event's properties becomes steps over the columns of its type, in
postfix order, as `segidx.kernels.events.EventFilter` takes them.

Columns of a type: contact, time, event number, line, then its properties in their order, and last whether the event
counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np

from segidx.model.errors import InvalidExpression, SegidxError, TypeMismatch, UnknownProperty
from segidx.model.events import CLOCK_PROPERTIES, VISIT, EventProperty, EventType
from segidx.model.expression import (
    And,
    AtLeast,
    Between,
    Comparison,
    Expression,
    In,
    IsSet,
    Not,
    Operator,
    Or,
    TextMatch,
    child_path,
    node_path,
    values_of,
)
from segidx.model.products import PRODUCT
from segidx.model.schema import FieldType
from segidx.model.values import Constant, FieldValue, Scalar, Value
from segidx.plan.attribution import check_visits, is_taken, or_taken
from segidx.plan.calendar import instants_of_days
from segidx.plan.clocks import clock_filter, joined
from segidx.plan.constants import FLIPPED, bind_constant, check_compared, holds, whole_numbers
from segidx.plan.context import BindContext
from segidx.plan.product_filters import Named, named, names_of, product_codes
from segidx.plan.strings import Codes, Dictionary, compared_codes, equal_codes, fold, table_dictionary, text_codes
from segidx.plan.values import BoundConstant, FilterOp, ValueKind
from segidx.store.events import FIRST_PROPERTY
from segidx.store.layout import event_table

_LOW, _HIGH = -(2**63), 2**63 - 1
_KINDS = {
    FieldType.CATEGORY: ValueKind.STRING,
    FieldType.BOOL: ValueKind.BOOL,
    FieldType.NUMBER: ValueKind.NUMBER,
    FieldType.TIMESTAMP: ValueKind.INSTANT,
}


_MISSING = Named(None, None)

Span = tuple[int, int]  # start <= time < end of the events that are looked at


@dataclass(frozen=True, slots=True)
class Together:
    """Types that one filter is for, under the name of their group: it may name what one of them has, and of the events
    of the others that is missing."""

    name: str
    types: tuple[EventType, ...]


def bind_filter(
    node: Expression,
    type: EventType,
    span: Span,
    context: BindContext,
    path: str,
    group: Together | None = None,
) -> list[FilterOp]:
    """A filter's steps in postfix order, for events of the type, which may be one of a group that the filter is for.
    Recursion is bounded by the depth that `check` allows."""
    match node:
        case And() | Or() | AtLeast():
            steps: list[FilterOp] = []
            for i, operand in enumerate(node.operands):
                steps += bind_filter(operand, type, span, context, child_path(path, node, i), group)
            n = len(node.operands)
            if isinstance(node, AtLeast):
                return [*steps, ("at_least", node.count, n)]
            return joined("all" if isinstance(node, And) else "any", steps, n)
        case Not():
            return [*bind_filter(node.operand, type, span, context, child_path(path, node, 0), group), ("not",)]
    where = node_path(path, node)
    try:
        return _leaf(node, type, span, context, group)
    except SegidxError as error:
        raise error.at(where) from None


def _leaf(
    node: Expression, type: EventType, span: Span, context: BindContext, group: Together | None
) -> list[FilterOp]:
    """A condition on a property of the event, or of its product, or of the product where the event lacks its own."""
    name = next((v.field for v in values_of(node) if isinstance(v, FieldValue)), None)
    if isinstance(node, IsSet | TextMatch):
        name = node.field
    found = None if name is None else _named(type, name, context, group)
    if found == _MISSING:
        return [("constant", isinstance(node, Comparison) and node.operator is Operator.NE)]
    if name is not None and is_taken(type, name, context):
        check_visits(*span, context)
    if found is None or found.of_product is None:
        return _own_leaf(node, type, span, context)
    if isinstance(node, Comparison) and node.operator is Operator.NE:
        return [*_leaf(replace(node, operator=Operator.EQ), type, span, context, group), ("not",)]
    product = type.property(PRODUCT)
    of_product = _table(type, product, product_codes(node, found.of_product, type, context))
    if found.own is None:
        return of_product
    own = _own_leaf(node, type, span, context)
    if of_product == [("constant", False)]:
        return own
    return [*own, ("present", column_of(type, found.own)), ("not",), *of_product, ("all", 2), ("any", 2)]


def _named(type: EventType, name: str, context: BindContext, group: Together | None) -> Named:
    """What the name stands for; _MISSING where the type has nothing of that name, but another one of the group has.
    Raises UnknownProperty."""
    products = context.snapshot.catalog.products
    if group is None:
        return named(type, name, products)
    known = {each.name: names_of(each, products) for each in group.types}
    for each in (type, *group.types):
        try:
            found = named(each, name, products)
        except UnknownProperty:
            continue
        return found if each is type else _MISSING
    raise UnknownProperty(group.name, name, list(dict.fromkeys(n for names in known.values() for n in names)))


def _own_leaf(node: Expression, type: EventType, span: Span, context: BindContext) -> list[FilterOp]:
    match node:
        case Comparison():
            return _comparison(node.left, node.operator, node.right, type, span, context, ci=node.ci)
        case Between():
            low = _comparison(node.value, Operator.GE, node.low, type, span, context)
            high = _comparison(node.value, Operator.LE, node.high, type, span, context)
            return joined("all", [*low, *high], 2)
        case In():
            return _in(node, type, span, context)
        case IsSet():
            found = _property_of(type, node.field)
            if _is_clock(found):
                return [("constant", True)]
            steps: list[FilterOp] = [("present", column_of(type, found))]
            return or_taken(steps, found.name) if is_taken(type, found.name, context) else steps
        case TextMatch():
            found = _property_of(type, node.field)
            if found.type is not FieldType.CATEGORY:
                raise TypeMismatch(
                    f"{node.operator.value!r} works on strings, but {type.name}.{found.name} is a {found.type.value}",
                    property=found.name,
                )
            return _strings(
                type,
                found,
                context,
                lambda strings: text_codes(context, strings, node.operator, node.pattern, ci=node.ci),
            )
    raise AssertionError(f"{node.__class__.__name__} was not refused by check()")


def _comparison(
    left: Value,
    operator: Operator,
    right: Value,
    type: EventType,
    span: Span,
    context: BindContext,
    *,
    ci: bool = False,
) -> list[FilterOp]:
    if isinstance(left, Constant) and isinstance(right, Constant):
        return [("constant", _constants(left.value, operator, right.value, ci=ci))]
    if isinstance(left, Constant):
        left, operator, right = right, FLIPPED[operator], left
    if not isinstance(left, FieldValue) or not isinstance(right, Constant):
        raise InvalidExpression("a filter of events compares a property with a constant, not with another property")
    found = _property_of(type, left.field)
    check_compared(f"{type.name}.{found.name}", found.name, _KINDS[found.type], operator, right.value, ci=ci)
    if _is_clock(found):
        assert isinstance(right.value, Decimal)
        return [clock_filter(found, operator, right.value, span, context)]
    if operator is Operator.NE:
        return [*_property(type, found, Operator.EQ, right.value, span, context, ci=ci), ("not",)]
    return _property(type, found, operator, right.value, span, context, ci=ci)


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


def _property(
    type: EventType,
    found: EventProperty,
    operator: Operator,
    constant: Scalar,
    span: Span,
    context: BindContext,
    *,
    ci: bool,
) -> list[FilterOp]:
    """`property operator constant`, of one type, for any operator but !=."""
    column = column_of(type, found)
    if isinstance(constant, str):
        if operator is Operator.EQ:
            return _strings(type, found, context, lambda strings: equal_codes(context, strings, [constant], ci=ci))
        return _strings(type, found, context, lambda strings: compared_codes(context, strings, operator, constant))
    if isinstance(constant, bool):
        steps: list[FilterOp] = [("range", column, int(constant), int(constant))]
        if is_taken(type, found.name, context):
            return or_taken(steps, found.name, np.array([constant], np.int64))
        return steps
    if isinstance(constant, date):  # a datetime is one too
        return _instants(column, operator, bind_constant(constant), context)
    scale = found.decimals(context.snapshot.catalog.account.money_scale)
    ends = whole_numbers(operator, Fraction(constant) * 10**scale)
    if ends is None:
        return [("constant", False)]
    low, high = _LOW if ends[0] is None else ends[0], _HIGH if ends[1] is None else ends[1]
    if low > _HIGH or high < _LOW:
        return [("constant", False)]
    return [("range", column, max(low, _LOW), min(high, _HIGH))]


def _instants(column: int, operator: Operator, bound: BoundConstant, context: BindContext) -> list[FilterOp]:
    """The instants that compare so with an instant, or whose local date compares so with a date."""
    assert isinstance(bound.value, int)
    ends = whole_numbers(operator, Fraction(bound.value))
    assert ends is not None
    found = [ends] if bound.kind is ValueKind.INSTANT else instants_of_days(*ends, context.zone)
    steps: list[FilterOp] = [
        ("range", column, _LOW if low is None else low, _HIGH if high is None else high) for low, high in found
    ]
    return steps if len(steps) == 1 else [*steps, ("any", len(steps))]


def _in(node: In, type: EventType, span: Span, context: BindContext) -> list[FilterOp]:
    if isinstance(node.value, FieldValue) and all(isinstance(o, str) for o in node.options):
        found = _property_of(type, node.value.field)
        if found.type is FieldType.CATEGORY:
            wanted = [o for o in node.options if isinstance(o, str)]
            return _strings(type, found, context, lambda strings: equal_codes(context, strings, wanted, ci=node.ci))
    steps: list[FilterOp] = []
    for option in node.options:
        steps += _comparison(node.value, Operator.EQ, Constant(option), type, span, context, ci=node.ci)
    return joined("any", steps, len(node.options))


def _property_of(type: EventType, name: str) -> EventProperty:
    """The property that a condition names: of the type, or of the events' time. It is there: `named` looks first."""
    return next((each for each in type.properties if each.name == name), None) or CLOCK_PROPERTIES[name]


def _is_clock(found: EventProperty) -> bool:
    return found is CLOCK_PROPERTIES.get(found.name)


def column_of(type: EventType, found: EventProperty) -> int:
    """The column of a property in blocks."""
    return FIRST_PROPERTY + type.index(found.name)


def property_dictionary(type: EventType, found: EventProperty, context: BindContext) -> Dictionary:
    """The values of a category property."""
    return table_dictionary(context, event_table(type, type.index(found.name)))


def _strings(
    type: EventType, found: EventProperty, context: BindContext, codes_of: Callable[[Dictionary], Codes]
) -> list[FilterOp]:
    """The events that have one of the strings whose codes these are, and the orders that take it from a visit."""
    steps = _table(type, found, codes_of(property_dictionary(type, found, context)))
    if not is_taken(type, found.name, context):
        return steps
    return or_taken(steps, found.name, codes_of(property_dictionary(VISIT, VISIT.property(found.name), context)))


def _table(type: EventType, found: EventProperty, codes: Codes) -> list[FilterOp]:
    """The events whose code is one of these, ascending."""
    column = column_of(type, found)
    if not len(codes):
        return [("constant", False)]
    base, last = int(codes[0]), int(codes[-1])
    if len(codes) == last - base + 1:
        return [("range", column, base, last)]
    bits = np.zeros(last - base + 1, np.uint8)
    bits[codes - base] = 1
    return [("table", column, base, np.packbits(bits, bitorder="little").tobytes(), False)]
