"""Numbers of all time that an account declares, to be kept beside its events: how much a contact has spent, how often
it has ordered, and when first and last. Imports errors, events, expressions, their text and groups of the model only.

A number has a name, and is an aggregate without a window: a count, a sum, the least or greatest of a property, or the
time of the first or last event, of one type with or without a filter, or of a group. Every account has those of
`BUILT_IN`. A condition asks for a number by what it is, `sum(order.amount) > 1000`, not by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from segidx.model.errors import InvalidArgument, SegidxError
from segidx.model.event_groups import GROUPS, EventGroup, check_asked
from segidx.model.events import EVENT_TYPE_NAME
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Comparison,
    Events,
    Expression,
    IsSet,
    Operator,
    TextMatch,
    check,
    operands_of,
    values_of,
)
from segidx.model.syntax import format_value, parse
from segidx.model.values import Constant, FieldValue
from segidx.model.windows import AllTime

MAX_DERIVED = 64
"""Numbers that an account declares."""
OF_DERIVED = (
    AggregateFunction.COUNT,
    AggregateFunction.SUM,
    AggregateFunction.MIN,
    AggregateFunction.MAX,
    AggregateFunction.FIRST,
    AggregateFunction.LAST,
)


@dataclass(frozen=True, slots=True)
class DerivedNumber:
    """A number under its name."""

    name: str
    value: Aggregate


BUILT_IN = {
    each.name: each
    for each in (
        DerivedNumber("first_order", Aggregate(AggregateFunction.FIRST, Events("order"))),
        DerivedNumber("last_interaction", Aggregate(AggregateFunction.LAST, Events("interaction"))),
        DerivedNumber("last_order", Aggregate(AggregateFunction.LAST, Events("order"))),
        DerivedNumber("lifetime_spend", Aggregate(AggregateFunction.SUM, Events("order"), "amount")),
        DerivedNumber("order_count", Aggregate(AggregateFunction.COUNT, Events("order"))),
    )
}
"""Those of every account, by name."""


def derived_number(name: str, value: Aggregate) -> DerivedNumber:
    """A number that may be declared. Raises InvalidArgument for what cannot be one, and what `check` raises for a
    filter that cannot be or is unfinished; whether the value's type and properties are there, the account says."""
    check_name(name)
    if not isinstance(value, Aggregate) or value.function not in OF_DERIVED:
        raise InvalidArgument(
            f"derived number {name!r}: it is a count, sum, min or max of events, or the time of the first or last, such"
            " as sum(order.amount)",
            derived=name,
        )
    if not isinstance(value.events.window, AllTime):
        raise InvalidArgument(
            f"derived number {name!r} is made of the events of all time; {value_text(value)} has a window", derived=name
        )
    check(Comparison(value, Operator.EQ, Constant(Decimal(0))))
    if value.events.type in GROUPS:
        check_asked(GROUPS[value.events.type], value.function)
        if value.events.where is not None:
            raise InvalidArgument(
                f"derived number {name!r} is of a group, {value.events.type!r}, and has a filter: a filter goes with"
                " one type here",
                derived=name,
            )
    return DerivedNumber(name, value)


def check_name(name: str) -> str:
    """Raises InvalidArgument for one that no declared number has."""
    if not isinstance(name, str) or not EVENT_TYPE_NAME.fullmatch(name):
        raise InvalidArgument(
            f"{str(name)[:80]!r} is no name of a derived number: 1 to 64 of a-z, 0-9 and '_', beginning with a letter",
            derived=name,
        )
    if name in BUILT_IN:
        raise InvalidArgument(
            f"every account has the derived number {name!r}, {value_text(BUILT_IN[name].value)}: it is neither declared"
            " nor removed",
            derived=name,
        )
    return name


def derived_value(text: str) -> Aggregate:
    """The value that is written as in a comparison: `sum(order.amount)`, `last(order).time`. Raises InvalidArgument."""
    try:
        node = parse(f"({text}\n) = 0")
    except SegidxError as error:
        raise InvalidArgument(
            f"{text!r} is no derived number, such as 'sum(order.amount)' or 'last(order).time': {error.message}",
            value=text,
        ) from None
    if not isinstance(node, Comparison) or not isinstance(node.left, Aggregate) or node.right != Constant(Decimal(0)):
        raise InvalidArgument(f"{text!r} is no derived number, such as 'sum(order.amount)'", value=text)
    return node.left


def value_text(value: Aggregate) -> str:
    """A value as `derived_value` reads it."""
    return format_value(value)


def to_stored(of: DerivedNumber) -> str:
    """The number as it is stored under its name, in JSON."""
    return value_text(of.value)


def from_stored(name: str, value: object) -> DerivedNumber:
    """What `to_stored` was given. Raises as `derived_number`, and TypeError for what it never made."""
    if not isinstance(value, str):
        raise TypeError(f"derived number {name!r} is no text")
    return derived_number(name, derived_value(value))


def members_of(value: Aggregate, groups: Mapping[str, EventGroup]) -> tuple[Aggregate, ...]:
    """The numbers of one type each that a number is made of: itself, or one for each member of its group."""
    group = groups.get(value.events.type)
    if group is None:
        return (value,)
    return tuple(replace(value, events=member) for member in group.members)


def fields_of(node: Expression | None) -> Iterator[str]:
    """The names of properties that a filter reads, repeats included."""
    waiting = [] if node is None else [node]
    while waiting:
        node = waiting.pop()
        waiting += operands_of(node)
        if isinstance(node, IsSet | TextMatch):
            yield node.field
        yield from (each.field for each in values_of(node) if isinstance(each, FieldValue))
