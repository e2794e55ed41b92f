"""Favourites: the value of a property that most of a contact's events have, or that comes to the greatest sum. Compared
with strings, it is a set of codes of the property's dictionary."""

from __future__ import annotations

from collections.abc import Sequence

from segidx.model.errors import TypeMismatch
from segidx.model.events import ORDER, EventProperty, EventType, clock_of
from segidx.model.expression import Aggregate
from segidx.model.results import Estimate
from segidx.model.schema import FieldType
from segidx.plan.attribution import SOURCE, TakenSources, taken_sources
from segidx.plan.context import BindContext
from segidx.plan.event_filters import column_of, property_dictionary
from segidx.plan.events import counting, did_any, members, passing
from segidx.plan.nodes import FavouriteScan, Plan, nothing
from segidx.plan.strings import equal_codes, fold
from segidx.plan.values import BoundFavourite, ValueKind


def bind_favourite(aggregate: Aggregate, context: BindContext, path: str) -> BoundFavourite:
    """The favourite with its window resolved. Raises UnknownProperty, TypeMismatch, InvalidExpression of a group, and
    what filters raise; `path` is the aggregate's."""
    (events,) = members(aggregate.events, aggregate.function, context, f"{path}.events")
    assert aggregate.property is not None
    found = _property(
        events.type, aggregate.property, FieldType.CATEGORY, "favourite is one of the values of a category"
    )
    by = -1
    if aggregate.by is not None:
        wanted = "favourite goes by the sum of a number"
        by = column_of(events.type, _property(events.type, aggregate.by, FieldType.NUMBER, wanted))
    column, counted = column_of(events.type, found), counting(events)
    if events.type == ORDER and found.name == SOURCE:
        taken = taken_sources(context, events.start, events.end)
        if taken is not None:
            return BoundFavourite(ValueKind.STRING, counted, found, column, by, taken)
    return BoundFavourite(ValueKind.STRING, passing(counted, ("present", column)), found, column, by)


def favourite_is(
    favourite: BoundFavourite, wanted: Sequence[str], context: BindContext, path: str, *, ci: bool
) -> Plan:
    """The contacts whose favourite is one of the strings."""
    type = favourite.events.type
    codes = equal_codes(context, property_dictionary(type, favourite.property, context), wanted, ci=ci).tolist()
    if isinstance(favourite.taken, TakenSources):
        fits = {fold(text) for text in wanted} if ci else set(wanted)
        texts = enumerate(favourite.taken.texts, favourite.taken.first_text)
        codes += [code for code, text in texts if (fold(text) if ci else text) in fits]
    if not codes:
        return nothing(f"no event has such a {type.name}.{favourite.property.name}", path)
    return _scan(favourite, tuple(codes), context, path)


def favourite_is_set(favourite: BoundFavourite, context: BindContext, path: str) -> Plan:
    """The contacts that have a favourite."""
    if favourite.by < 0 and favourite.taken is None:
        return did_any([favourite.events], context, path)
    return _scan(favourite, None, context, path)


def _property(type: EventType, name: str, wanted: FieldType, rule: str) -> EventProperty:
    found = clock_of(type, name)
    if found is not None:
        raise TypeMismatch(
            f"{type.name}.{name} is the {name} of the event's local time, which stands in filters only: nothing is made"
            " of it by favourite",
            property=name,
        )
    found = type.property(name)
    if found.type is not wanted:
        raise TypeMismatch(f"{rule}, but {type.name}.{name} is a {found.type.value}", property=name)
    return found


def _scan(favourite: BoundFavourite, codes: tuple[int, ...] | None, context: BindContext, path: str) -> Plan:
    events = favourite.events
    if events.start >= events.end:
        return nothing("the window holds no instant", path)
    label = f"favourite {favourite.property.name} of {events.type.name} events"
    return FavouriteScan(Estimate(0, context.total // 10, context.total), path, favourite, codes, label)
