"""The oracle's type rules: which expressions a schema makes sense of. It must not import the planner's binding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import Enum

from segidx.model import expression as asked
from segidx.model.bands import Bands
from segidx.model.errors import (
    FieldNotTracked,
    InvalidExpression,
    SegidxError,
    TypeMismatch,
    UnknownField,
    UnknownProperty,
)
from segidx.model.event_groups import GROUPS, EventGroup
from segidx.model.events import EventType, EventTypes
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Became,
    Between,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Not,
    Only,
    Operator,
    Or,
    Overdue,
    Tagged,
    TextMatch,
    TimeInWindow,
    filters_of,
    node_path,
    values_of,
    walk,
)
from segidx.model.products import BUILT_IN_PROPERTIES
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Age, Arithmetic, Constant, DaysSince, FieldValue, Negative, Scalar, Value
from segidx.testing.oracle_bands import check_bands
from segidx.testing.oracle_event_rows import property_schema
from segidx.testing.oracle_products import filter_fields
from segidx.testing.oracle_time import counts_days, has_both_ends


class ValueKind(Enum):
    """What a value is when it is compared."""

    NUMBER = "a number"
    STRING = "a string"
    BOOL = "a bool"
    DATE = "a date"
    INSTANT = "an instant"


_KIND_OF_FIELD = {
    FieldType.NUMBER: ValueKind.NUMBER,
    FieldType.CATEGORY: ValueKind.STRING,
    FieldType.TEXT: ValueKind.STRING,
    FieldType.BOOL: ValueKind.BOOL,
    FieldType.DATE: ValueKind.DATE,
    FieldType.TIMESTAMP: ValueKind.INSTANT,
}


_OF_TIME = tuple(Field(name, FieldType.NUMBER) for name in ("hour", "weekday", "month"))


_NO_BANDS: Mapping[str, Bands] = {}


def check_types(
    expression: Expression,
    schema: Schema,
    types: EventTypes,
    path: str = "expression",
    products: Schema = BUILT_IN_PROPERTIES,
    bands: Mapping[str, Bands] = _NO_BANDS,
    groups: Mapping[str, EventGroup] = GROUPS,
) -> None:
    """Raises UnknownField, UnknownEventType, UnknownProperty, TypeMismatch or InvalidExpression, with the node's path,
    at the first node that errs, and what `check_bands` raises. `path` is that of the expression itself; `products` are
    the properties of products."""
    for node, place, _depth in walk(expression, path):
        where = node_path(place, node)
        try:
            if isinstance(node, BandIs | Crossed):
                check_bands(node, bands)
            _check_node(node, schema, types)
        except SegidxError as error:
            raise error.at(where) from None
        for found in filters_of(node):
            names = [found.type]
            if found.type in groups:
                names = [member.type for member in groups[found.type].members]
            schemas = [_seen_in_filters(types[name], products) for name in dict.fromkeys(names)]
            _check_filter(found.node, found.type, schemas, types, f"{where}.{found.place}")


def _seen_in_filters(type: EventType, products: Schema) -> Schema:
    """A filter's types are those of an expression over a schema of the event's properties, of what its time says, and
    of what the catalogue says of its product."""
    own = property_schema(type)
    of_time = (field for field in _OF_TIME if field.name not in [each.name for each in own])
    return Schema((*own, *of_time, *filter_fields(type, products)))


def _check_filter(node: Expression, name: str, schemas: Sequence[Schema], types: EventTypes, path: str) -> None:
    """A filter of a type, or of a group with these types: each condition is one over those that have its property."""
    known = list(dict.fromkeys(declared.name for schema in schemas for declared in schema))
    for leaf, place, _depth in walk(node, path):
        if isinstance(leaf, And | Or | Not | AtLeast):
            continue
        named = [value.field for value in values_of(leaf) if isinstance(value, FieldValue)]
        if isinstance(leaf, IsSet | TextMatch):
            named.append(leaf.field)
        having = [schema for schema in schemas if not named or named[0] in schema]
        try:
            if not having:
                raise UnknownProperty(name, named[0], known).at(node_path(place, leaf))
            for schema in having:
                check_types(leaf, schema, types, place)
        except UnknownField as error:
            raise UnknownProperty(name, error.field, known).at(error.path) from None


def _check_node(node: Expression, schema: Schema, types: EventTypes) -> None:
    match node:
        case IsSet(field=field):
            schema[field]
        case HasTags(field=field):
            _wants(schema, field, FieldType.TAGS)
        case TextMatch(field=field):
            _wants(schema, field, FieldType.CATEGORY, FieldType.TEXT)
        case Comparison(left=left, right=right, operator=operator, ci=ci):
            ordering = operator not in (Operator.EQ, Operator.NE)
            _check_pair(left, right, schema, types, ordering=ordering, ci=ci)
        case Between(value=value, low=low, high=high):
            for end in (low, high):
                _check_pair(value, end, schema, types, ordering=True)
        case In(value=value, options=options, ci=ci):
            for option in options:
                _check_pair(value, Constant(option), schema, types, ci=ci)
        case Did(events=events) | Never(events=events) | Only(events=events) | Overdue(events=events):
            _check_events(events, types)
        case EventHas(event=Aggregate(events=events)):
            _check_events(events, types)
        case Became(field=field, value=value):
            _wants(schema, field, FieldType.CATEGORY, FieldType.BOOL)
            if isinstance(value, bool) != (schema[field].type is FieldType.BOOL):
                raise TypeMismatch(f"field {field!r} never becomes {value!r}", field=field)
            _is_tracked(schema, field)
        case Tagged(field=field):
            _wants(schema, field, FieldType.TAGS)
            _is_tracked(schema, field)
        case asked.Sequence(steps=steps):
            for step in steps:
                _check_events(step.events, types)
        case HasValue(value=value) | TimeInWindow(value=value):
            kind_of(value, schema, types)
        case InWindow(field=field, window=window):
            _wants(schema, field, FieldType.DATE, FieldType.TIMESTAMP)
            if schema[field].type is FieldType.DATE and not counts_days(window):
                raise TypeMismatch(f"field {field!r} is a date; its window cannot have hours or instants", field=field)
        case Anniversary(field=field, window=window):
            _wants(schema, field, FieldType.DATE, FieldType.TIMESTAMP)
            if not has_both_ends(window):
                raise InvalidExpression("the window of an anniversary needs a start and an end", field=field)
            if not counts_days(window):
                raise TypeMismatch(
                    "the window of an anniversary is one of days, without hours or instants", field=field
                )


def _check_events(events: Events, types: EventTypes, *, of_groups: bool = True) -> None:
    """Whether there are such events: of a type, or where `of_groups` of a group."""
    if events.type not in GROUPS:
        types[events.type]
    elif not of_groups:
        raise InvalidExpression(f"{events.type!r} is a group: nothing is made of its properties")


def _wants(schema: Schema, field: str, *types: FieldType) -> None:
    found = schema[field].type
    if found not in types:
        wanted = " or ".join(t.value for t in types)
        raise TypeMismatch(f"field {field!r} is {found.value}; this condition goes with {wanted}", field=field)


def _is_tracked(schema: Schema, field: str) -> None:
    if not schema[field].tracked:
        raise FieldNotTracked(f"field {field!r} is not tracked", field=field)


def _check_pair(
    left: Value, right: Value, schema: Schema, types: EventTypes, *, ordering: bool = False, ci: bool = False
) -> None:
    kinds = kind_of(left, schema, types), kind_of(right, schema, types)
    for one, other in ((left, right), (right, left)):
        if _is(one, AggregateFunction.FAVOURITE) and (ordering or not isinstance(other, Constant)):
            raise TypeMismatch("a favourite is equal to a string or not; it is compared with nothing else")
    if ci and kinds != (ValueKind.STRING, ValueKind.STRING):
        raise TypeMismatch("'ci' goes with strings only")
    if kinds[0] is kinds[1]:
        if ordering and kinds[0] is ValueKind.BOOL:
            raise TypeMismatch("bools have no order")
    elif not (_is_dated_timestamp(left, right, kinds) or _is_dated_timestamp(right, left, kinds[::-1])):
        raise TypeMismatch(f"{kinds[0].value} cannot be compared with {kinds[1].value}")


def _is(value: Value, function: AggregateFunction) -> bool:
    return isinstance(value, Aggregate) and value.function is function


def _is_dated_timestamp(one: Value, other: Value, kinds: tuple[ValueKind, ...]) -> bool:
    """A timestamp field, or the time of an event, beside a date constant: they compare by the local calendar date."""
    fits = kinds == (ValueKind.INSTANT, ValueKind.DATE)
    return fits and isinstance(one, FieldValue | Aggregate) and isinstance(other, Constant)


def kind_of(value: Value, schema: Schema, types: EventTypes) -> ValueKind:
    """The kind of a value. Raises UnknownField, UnknownEventType, UnknownProperty or TypeMismatch."""
    match value:
        case Constant(value=constant):
            return _kind_of_constant(constant)
        case FieldValue(field=field):
            kind = _KIND_OF_FIELD.get(schema[field].type)
            if kind is None:
                raise TypeMismatch(f"field {field!r} holds many tags; ask with 'has'", field=field)
            return kind
        case Age(field=field) | DaysSince(field=field):
            _wants(schema, field, FieldType.DATE, FieldType.TIMESTAMP)
        case Aggregate(events=events, function=AggregateFunction.FAVOURITE, property=str(name), by=by):
            _check_events(events, types, of_groups=False)
            _wants_property(types[events.type], name, FieldType.CATEGORY)
            if by is not None:
                _wants_property(types[events.type], by, FieldType.NUMBER)
            return ValueKind.STRING
        case Aggregate(events=events, function=function, property=str(name)):
            _check_events(events, types, of_groups=False)
            any_type = function is AggregateFunction.DISTINCT
            _wants_property(types[events.type], name, None if any_type else FieldType.NUMBER)
        case Aggregate(events=events, function=function):
            _check_events(events, types)
            if function.is_time or function is AggregateFunction.EXPECTED:
                return ValueKind.INSTANT
        case DaysSinceEvent(event=event):
            kind_of(event, schema, types)
        case Negative(operand=operand):
            _wants_number(operand, schema, types)
        case Arithmetic(left=left, right=right):
            _wants_number(left, schema, types)
            _wants_number(right, schema, types)
    return ValueKind.NUMBER


def _wants_property(type: EventType, name: str, wanted: FieldType | None) -> None:
    own = [declared.name for declared in type.properties]
    if name not in own and name in [of_time.name for of_time in _OF_TIME]:
        raise TypeMismatch(f"{name!r} is of the time of events, and stands in filters only", property=name)
    found = type.property(name).type
    if wanted is not None and found is not wanted:
        raise TypeMismatch(f"property {name!r} is {found.value}, not {wanted.value}", property=name)


def _wants_number(value: Value, schema: Schema, types: EventTypes) -> None:
    kind = kind_of(value, schema, types)
    if _is(value, AggregateFunction.GAP_DEVIATION):
        raise TypeMismatch("a deviation is compared, and not calculated with")
    if kind is not ValueKind.NUMBER:
        raise TypeMismatch(f"arithmetic goes with numbers, not with {kind.value}")


def _kind_of_constant(constant: Scalar) -> ValueKind:
    if isinstance(constant, bool):
        return ValueKind.BOOL
    if isinstance(constant, str):
        return ValueKind.STRING
    if isinstance(constant, datetime):
        return ValueKind.INSTANT
    return ValueKind.DATE if isinstance(constant, date) else ValueKind.NUMBER
