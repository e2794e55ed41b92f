"""Derived numbers in plans: which of an account's can be kept, being made of what is said in the events alone."""

from __future__ import annotations

from segidx.model.derived import DerivedNumber, fields_of, members_of, value_text
from segidx.model.errors import InvalidArgument
from segidx.model.events import CLOCK_PROPERTIES, ORDER
from segidx.model.expression import Aggregate
from segidx.plan.attribution import ATTRIBUTED
from segidx.plan.context import BindContext
from segidx.plan.product_filters import named
from segidx.store.catalog import Catalog


def check_kept(number: DerivedNumber, context: BindContext) -> None:
    """Whether a number can be kept. Raises InvalidArgument, UnknownProperty."""
    catalog = context.snapshot.catalog
    for member in members_of(number.value, catalog.event_groups):
        foreign = foreign_field(member, catalog)
        if foreign is not None:
            raise InvalidArgument(
                f"derived number {number.name!r}: {foreign!r} in {value_text(member)} is not said by the event alone;"
                " the catalogue of products, visits or the time zone decide too, so that it cannot be kept",
                derived=number.name,
                property=foreign,
            )


def foreign_field(value: Aggregate, catalog: Catalog) -> str | None:
    """A property in the filter of a number of one type that something else than its events decides: the catalogue of
    products, the visit that an order takes its source from, or the zone. None: there is none. Raises
    UnknownProperty."""
    if value.events.type not in catalog.event_types:
        return None  # binding names it
    type = catalog.event_types[value.events.type]
    for name in fields_of(value.events.where):
        if name in CLOCK_PROPERTIES or named(type, name, catalog.products).of_product is not None:
            return name
        if type == ORDER and name in ATTRIBUTED:
            return name
    return None
