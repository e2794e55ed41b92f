"""Tracked fields in expressions: `became` and `tagged` become scans of the events that the writer keeps of them.

A tag's time is that of the last event of the contact and the tag before the instant of evaluation, if it was added
then. Where no history is of that instant or later, the last event made what is held now, so that the time is that of
the last addition to whoever holds the tag; at an instant of the past, the last addition must be later than any removal.
"""

from __future__ import annotations

from segidx.kernels.events import TIME
from segidx.model.errors import FieldNotTracked, TypeMismatch
from segidx.model.events import CHANGE, TAGGING, EventType
from segidx.model.expression import AggregateFunction, Became, Operator, Tagged
from segidx.model.results import Estimate
from segidx.model.schema import Field, FieldType, describe
from segidx.plan.context import BindContext
from segidx.plan.nodes import CandidateCheck, EventScan, Plan, all_of, complement, nothing
from segidx.plan.strings import dictionary_of, equal_codes, plan_codes
from segidx.plan.values import BoundAggregate, BoundEvents, FilterOp, ValueKind
from segidx.store.events import FIRST_PROPERTY


def bind_became(node: Became, context: BindContext, path: str) -> Plan:
    """The contacts with a change to the value in the window. Raises UnknownField, TypeMismatch, FieldNotTracked."""
    field = context.schema[node.field]
    if field.type not in (FieldType.CATEGORY, FieldType.BOOL):
        advice = "; of tags 'tagged' asks" if field.type is FieldType.TAGS else ""
        raise TypeMismatch(
            f"'became' asks of category and bool fields, but {field.name!r} is a {field.type.value} field{advice}",
            field=field.name,
            type=field.type.value,
        )
    if isinstance(node.value, bool) != (field.type is FieldType.BOOL):
        wanted = "true or false" if field.type is FieldType.BOOL else "a string"
        raise TypeMismatch(
            f"{field.name!r} is a {field.type.value} field; it becomes {wanted}",
            field=field.name,
            type=field.type.value,
        )
    _check_tracked(field)
    start, end = context.span(node.window)
    value = node.value if isinstance(node.value, str) else str(node.value).lower()
    where = (*_equals(CHANGE, 0, field.name, context), *_equals(CHANGE, 1, value, context), ("all", 2))
    events = BoundEvents(CHANGE, start, end, where, window=node.window)
    return _scan(_count(events), 1, None, f"{field.name} became", context, path)


def bind_tagged(node: Tagged, context: BindContext, path: str) -> Plan:
    """The contacts that hold the tag and got it in the window. Raises UnknownField, TypeMismatch, FieldNotTracked."""
    field = context.schema[node.field]
    if field.type is not FieldType.TAGS:
        raise TypeMismatch(
            f"'tagged' asks of tags fields, but {field.name!r} is a {field.type.value} field",
            field=field.name,
            type=field.type.value,
        )
    _check_tracked(field)
    at = context.instant
    start, end = context.span(node.window)
    if start >= end:
        return nothing("the window holds no instant", path)
    tag = (*_equals(TAGGING, 0, field.name, context), *_equals(TAGGING, 1, node.tag, context))
    # Behind the window too, and up to the instant: what came later took the time away.
    given, taken = (
        BoundEvents(TAGGING, start, at, (*tag, ("range", FIRST_PROPERTY + 2, added, added), ("all", 3)))
        for added in (1, 0)
    )
    last_given, last_taken = (BoundAggregate(ValueKind.INSTANT, AggregateFunction.MAX, e, TIME) for e in (given, taken))
    label = f"{field.name} tagged"
    high = end - 1 if end < at else None
    added = _scan(last_given, None, high, label, context, path)
    newest = context.snapshot.newest_change
    if newest is None:
        return nothing("nothing is kept of tracked fields yet", path)
    if newest < at:
        codes = equal_codes(context, dictionary_of(context, field), [node.tag], ci=False)
        return all_of(
            [plan_codes(context, field, codes, path, sought=f'"{node.tag}"', text=node.tag), added], context.total, path
        )
    removed = CandidateCheck(
        Estimate(0, context.total // 100, context.total),
        path,
        _scan(_count(taken), 1, None, label, context, path),
        last_taken,
        Operator.GT,
        last_given,
        False,
        f"{label}, and removed since",
    )
    return all_of([added, complement(removed, context.total, path)], context.total, path)


def _check_tracked(field: Field) -> None:
    if not field.tracked:
        raise FieldNotTracked(
            f"field {field.name!r} is not tracked, so that it is not known when it changed; declare it again as tracked"
            f" (segidx schema set '{field.name}={describe(field)} tracked'), and its changes are kept from then on",
            field=field.name,
        )


def _equals(type: EventType, index: int, text: str, context: BindContext) -> tuple[FilterOp, ...]:
    """The events whose property at `index` is the text."""
    code = context.snapshot.event_dictionary(type, index).find_one(text)
    return (("constant", False),) if code is None else (("range", FIRST_PROPERTY + index, code, code),)


def _count(events: BoundEvents) -> BoundAggregate:
    return BoundAggregate(ValueKind.NUMBER, AggregateFunction.COUNT, events)


def _scan(
    aggregate: BoundAggregate, low: int | None, high: int | None, label: str, context: BindContext, path: str
) -> Plan:
    if aggregate.events.start >= aggregate.events.end:
        return nothing("the window holds no instant", path)
    # Nothing is kept yet of how many contacts have which events.
    return EventScan(Estimate(0, context.total // 10, context.total), path, aggregate, low, high, label)
