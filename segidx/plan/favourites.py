"""Favourites: the value of a property that most of a contact's events have, or that comes to the greatest sum. Compared
with strings, it is a set of codes of the property's dictionary."""

from __future__ import annotations

from collections.abc import Sequence

from segidx.model.errors import TypeMismatch
from segidx.model.events import VISIT, EventProperty, EventType, clock_of
from segidx.model.expression import Aggregate
from segidx.model.results import Estimate
from segidx.model.schema import FieldType
from segidx.plan.attribution import check_visits, is_taken, or_taken
from segidx.plan.context import BindContext
from segidx.plan.event_filters import column_of, property_dictionary
from segidx.plan.events import counting, did_any, members, passing
from segidx.plan.nodes import FavouriteScan, Plan, nothing
from segidx.plan.strings import equal_codes
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
    if is_taken(events.type, found.name, context):
        check_visits(events.start, events.end, context)
        return BoundFavourite(ValueKind.STRING, counted, found, column, by, found.name)
    return BoundFavourite(ValueKind.STRING, passing(counted, ("present", column)), found, column, by)


def favourite_is(
    favourite: BoundFavourite, wanted: Sequence[str], context: BindContext, path: str, *, ci: bool
) -> Plan:
    """The contacts whose favourite is one of the strings."""
    type = favourite.events.type
    codes = equal_codes(context, property_dictionary(type, favourite.property, context), wanted, ci=ci).tolist()
    if favourite.taken:  # behind the own codes are those of visits
        own = context.snapshot.event_dictionary(type, type.index(favourite.property.name))
        of_visits = property_dictionary(VISIT, VISIT.property(favourite.taken), context)
        codes += (len(own) + equal_codes(context, of_visits, wanted, ci=ci)).tolist()
    if not codes:
        return nothing(f"no event has such a {type.name}.{favourite.property.name}", path)
    return _scan(favourite, tuple(codes), context, path)


def favourite_is_set(favourite: BoundFavourite, context: BindContext, path: str) -> Plan:
    """The contacts that have a favourite."""
    if favourite.by < 0:
        events = favourite.events
        if favourite.taken:
            events = passing(events, *or_taken([("present", favourite.measure)], favourite.taken))
        return did_any([events], context, path)
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
