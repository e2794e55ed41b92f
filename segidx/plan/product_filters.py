"""Conditions on the catalogue in filters of events: a leaf on a product's property becomes the set of codes, of the
events' property `product`, whose products hold it.

What holds is looked up in the catalogue as the snapshot sees it, whatever the instant of the evaluation: products have
no history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.model.errors import InvalidExpression, TypeMismatch, UnknownProperty
from segidx.model.events import CLOCK_PROPERTIES, EventProperty, EventType
from segidx.model.expression import Between, Comparison, Expression, In, IsSet, Operator, TextMatch
from segidx.model.products import PREFIX, PRODUCT, has_products
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Constant, FieldValue, Scalar, Value
from segidx.plan.constants import FLIPPED, check_compared, whole_numbers
from segidx.plan.context import BindContext
from segidx.plan.strings import Codes, Dictionary, compared_codes, equal_codes, matcher, text_codes
from segidx.plan.values import ValueKind
from segidx.store.layout import event_table
from segidx.store.products import ProductColumn

_KINDS = {
    FieldType.CATEGORY: ValueKind.STRING,
    FieldType.TAGS: ValueKind.STRING,
    FieldType.BOOL: ValueKind.BOOL,
    FieldType.NUMBER: ValueKind.NUMBER,
}

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Named:
    """What a name in a filter stands for: a property of the event, of its product, or of the product where the event
    has no value of its own."""

    own: EventProperty | None
    of_product: Field | None


def named(type: EventType, name: str, products: Schema) -> Named:
    """Raises UnknownProperty."""
    reached = has_products(type)
    own = CLOCK_PROPERTIES.get(name) or next((each for each in type.properties if each.name == name), None)
    if reached and name.startswith(PREFIX):
        found = products.get(name.removeprefix(PREFIX))
        if found is not None:
            return Named(None, found)
    elif own is not None:
        same = products.get(name) if reached and name not in CLOCK_PROPERTIES else None
        return Named(own, same if same is not None and same.type is own.type else None)
    elif reached and name in products:
        return Named(None, products[name])
    raise UnknownProperty(type.name, name, names_of(type, products))


def names_of(type: EventType, products: Schema) -> list[str]:
    """What may be named in a filter of events of the type."""
    own = [*{each.name: each for each in type.properties} | CLOCK_PROPERTIES]
    return [*own, *(f"{PREFIX}{each.name}" for each in products)] if has_products(type) else own


def product_codes(node: Expression, property: Field, type: EventType, context: BindContext) -> Codes:
    """The codes of the products that a leaf, any but !=, holds for, ascending. Of tags it holds where it does for one
    of them. Raises what the leaf's types make of it."""
    _check(node, property)
    snapshot, products = context.snapshot, context.snapshot.products
    if not len(products):
        return np.zeros(0, np.int64)
    column = products.column(snapshot.catalog.products.fields.index(property) + 1, property)
    holds = np.zeros(len(products) + 1, np.bool_)  # the last stands for products that are not there
    holds[column.rows[_elements(node, property, column, context)]] = True
    table = event_table(type, type.index(PRODUCT))
    places = products.places(table, snapshot.table(table))
    return np.flatnonzero(holds[places]).astype(np.int64)


def _check(node: Expression, property: Field) -> None:
    """The types of a leaf, and its pattern."""
    match node:
        case Comparison():
            _compared(node.left, node.operator, node.right, property, ci=node.ci)
        case Between():
            _compared(node.value, Operator.GE, node.low, property)
            _compared(node.value, Operator.LE, node.high, property)
        case In():
            for option in node.options:
                _compared(node.value, Operator.EQ, Constant(option), property, ci=node.ci)
        case TextMatch():
            if _KINDS[property.type] is not ValueKind.STRING:
                raise TypeMismatch(
                    f"{node.operator.value!r} works on strings, but the products' {property.name} is a"
                    f" {property.type.value}",
                    property=property.name,
                )
            matcher(node.operator, node.pattern, ci=node.ci)


def _compared(
    left: Value, operator: Operator, right: Value, property: Field, *, ci: bool = False
) -> tuple[Operator, Scalar]:
    """The operator and the constant that the property, on its left, is compared with."""
    if isinstance(left, Constant):
        left, operator, right = right, FLIPPED[operator], left
    if not isinstance(left, FieldValue) or not isinstance(right, Constant):
        raise InvalidExpression("a filter of events compares a property with a constant, not with another property")
    kind, name = _KINDS[property.type], f"the products' {property.name}"
    check_compared(name, property.name, kind, operator, right.value, ci=ci)
    return operator, right.value


def _elements(node: Expression, property: Field, column: ProductColumn, context: BindContext) -> Mask:
    """Which elements of a column a leaf holds for."""
    match node:
        case IsSet():
            return np.ones(len(column.rows), np.bool_)
        case Comparison():
            operator, constant = _compared(node.left, node.operator, node.right, property, ci=node.ci)
            return _holds(operator, constant, property, column, context, ci=node.ci)
        case Between():
            ends = ((Operator.GE, node.low), (Operator.LE, node.high))
            low, high = (_compared(node.value, operator, end, property) for operator, end in ends)
            return _holds(*low, property, column, context) & _holds(*high, property, column, context)
        case In() if _KINDS[property.type] is ValueKind.STRING:
            wanted = [str(option) for option in node.options]
            return _coded(column, equal_codes(context, _dictionary(column), wanted, ci=node.ci))
        case In():
            found = np.zeros(len(column.rows), np.bool_)
            for option in node.options:
                found |= _holds(Operator.EQ, option, property, column, context)
            return found
        case TextMatch():
            return _coded(column, text_codes(context, _dictionary(column), node.operator, node.pattern, ci=node.ci))
    raise AssertionError(f"{node.__class__.__name__} was not refused by check()")


def _holds(
    operator: Operator,
    constant: Scalar,
    property: Field,
    column: ProductColumn,
    context: BindContext,
    *,
    ci: bool = False,
) -> Mask:
    """`element operator constant`, for any operator but !=."""
    assert operator is not Operator.NE
    if isinstance(constant, str):
        if operator is Operator.EQ:
            return _coded(column, equal_codes(context, _dictionary(column), [constant], ci=ci))
        return _coded(column, compared_codes(context, _dictionary(column), operator, constant))
    if isinstance(constant, bool):
        equal: Mask = column.values == int(constant)
        return equal
    assert isinstance(constant, Decimal)
    ends = whole_numbers(operator, Fraction(constant) * 10**property.scale)
    if ends is None:
        return np.zeros(len(column.rows), np.bool_)
    found = np.ones(len(column.rows), np.bool_)
    for bound, compare in zip(ends, (np.greater_equal, np.less_equal), strict=True):
        if bound is not None:
            within: Callable[..., Mask] = compare
            found &= within(column.values, bound)
    return found


def _coded(column: ProductColumn, codes: Codes) -> Mask:
    chosen = np.zeros(len(column.strings), np.bool_)
    chosen[codes] = True
    found: Mask = chosen[column.values]
    return found


def _dictionary(column: ProductColumn) -> Dictionary:
    def find_one(text: str) -> int | None:
        code = column.strings.index(text).as_py()
        return None if code < 0 else code

    return Dictionary(_Distinct(column.strings), find_one)


class _Distinct:
    """The distinct strings of a property as conditions on strings want them."""

    def __init__(self, strings: pa.StringArray) -> None:
        self._strings = strings

    def __len__(self) -> int:
        return len(self._strings)

    def slice(self, first: int, last: int) -> pa.StringArray:
        return self._strings.slice(first, last - first)

    def find(self, strings: pa.Array) -> Codes:
        found: Codes = pc.fill_null(pc.index_in(strings, value_set=self._strings), -1).to_numpy(zero_copy_only=False)
        return found.astype(np.int64)
