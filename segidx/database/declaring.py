"""What an account says of its data: fields, event types and groups, bands, derived numbers, where events come from, and
properties of products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from segidx.database.opened import Opened
from segidx.model.bands import Bands, band_value, bands, check_decimals
from segidx.model.derived import DerivedNumber, check_name, derived_number, derived_value
from segidx.model.event_groups import EventGroup, event_group, member
from segidx.model.events import EventType, EventTypes
from segidx.model.expression import Aggregate, Events
from segidx.model.schema import Field, Schema
from segidx.model.source_settings import SourceSettings, source_settings
from segidx.plan.context import BindContext
from segidx.plan.derived import check_kept
from segidx.plan.events import bind_aggregate, bind_events
from segidx.plan.values import BoundAggregate


class Declaring(Opened):
    """The part of Account that declares."""

    def schema(self) -> Schema:
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.schema

    def update_schema(self, fields: Sequence[Field]) -> Schema:
        """Declare more fields. Raises SchemaConflict for a change of type or scale.

        Of a field that is `tracked`, every change is kept with its time from then on, for `became` and `tagged`: of one
        that was declared without before too. No field ceases to be tracked; declared again without it stays so."""
        self._check_writable()
        return self._writer.declare(fields)

    @property
    def event_types(self) -> EventTypes:
        """The event types that every account has, and those declared in this one."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.event_types

    def declare_event_types(self, types: Iterable[EventType]) -> EventTypes:
        """Declare event types; all of the account. Declaring one again as it is changes nothing. Raises SchemaConflict
        for one that has other properties, InvalidSchema for one that cannot be."""
        self._check_writable()
        return self._writer.declare_event_types(types)

    @property
    def event_groups(self) -> Mapping[str, EventGroup]:
        """The groups of events by name: `interaction` and `touch`."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.event_groups

    def set_event_group(self, name: str, members: Iterable[Events | str]) -> EventGroup:
        """Say which events a group has, `interaction` or `touch`: each an `Events` without a window, or its text as in
        `did(...)`, such as `message where kind = "clicked"`. Conditions on the group ask for these from now on.

        Raises InvalidArgument for what cannot be a group, and what an evaluation of its members raises.
        """
        self._check_writable()
        group = event_group(name, [member(each) if isinstance(each, str) else each for each in members])
        with self._store.snapshot() as snapshot:
            context = BindContext(snapshot, self._clock(), self.info.tz, behind_horizons=True)
            for number, each in enumerate(group.members):
                bind_events(each, context, f"event_group.members[{number}]")
        self._writer.set_event_group(group)
        return group

    @property
    def bands(self) -> Mapping[str, Bands]:
        """The bands that are declared, by name."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.bands

    def declare_bands(
        self,
        name: str,
        value: Aggregate | str,
        thresholds: Iterable[Decimal | int],
        labels: Iterable[str] | None = None,
    ) -> Bands:
        """Declare bands over a count of events or a sum over them, `value`, which is an Aggregate or its text, such as
        `sum(order.amount)`; with a name that is known, in place of those. Conditions (`band(name) = "100-500"`) ask for
        these from now on. `thresholds` ascend, `labels` are of the bands from the lowest, two more than thresholds:
        that of no value first; without them they are `none`, `<100`, `100-500`, `500+`.

        Raises InvalidArgument for what cannot be bands, InvalidValue for a threshold that is no number, and what an
        evaluation of the value raises.
        """
        self._check_writable()
        declared = bands(name, band_value(value) if isinstance(value, str) else value, thresholds, labels)
        with self._store.snapshot() as snapshot:
            context = BindContext(snapshot, self._clock(), self.info.tz, behind_horizons=True)
            bound = bind_aggregate(declared.value, context, "bands.value")
        assert isinstance(bound, BoundAggregate)
        check_decimals(declared, bound.scale)
        self._writer.declare_bands(declared)
        return declared

    def remove_bands(self, name: str) -> None:
        """Take bands away: conditions on them are refused from now on. Raises UnknownBands."""
        self._check_writable()
        self._writer.remove_bands(name)

    @property
    def derived(self) -> Mapping[str, DerivedNumber]:
        """The derived numbers by name, those that every account has among them."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.derived

    def declare_derived(self, name: str, value: Aggregate | str) -> DerivedNumber:
        """Declare a number to be kept beside the events, an Aggregate of all time or its text, such as
        `sum(order.amount where paid)` or `last(visit).time`; with a name that is known, in place of that one. What
        conditions mean is the same with and without: those that ask for it are answered sooner.

        Raises InvalidArgument for what cannot be one, a filter on what is not of the events themselves among it (the
        catalogue of products, the source that an order takes from a visit, the hour, weekday and month), and what an
        evaluation of the value raises.
        """
        self._check_writable()
        declared = derived_number(name, derived_value(value) if isinstance(value, str) else value)
        with self._store.snapshot() as snapshot:
            context = BindContext(snapshot, self._clock(), self.info.tz, behind_horizons=True)
            check_kept(declared, context)
            bind_aggregate(declared.value, context, "derived.value")
        self._writer.declare_derived(declared)
        return declared

    def remove_derived(self, name: str) -> None:
        """Take a derived number away: it is no longer kept. Conditions that ask for it are answered from the events.
        Raises UnknownDerived, InvalidArgument for one that every account has."""
        self._check_writable()
        self._writer.remove_derived(check_name(name))

    @property
    def source_settings(self) -> SourceSettings:
        """What the account says of where visits and orders come from."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.source_settings

    def set_source_settings(self, settings: SourceSettings) -> SourceSettings:
        """Say all of it anew. Orders take a visit's source by these minutes from now on, those that are written already
        too; the hosts are for visits that are written from now on. Raises InvalidArgument for what cannot be set."""
        self._check_writable()
        found = source_settings(settings.order_minutes, settings.own_hosts)
        self._writer.set_source_settings(found)
        return found

    @property
    def product_schema(self) -> Schema:
        """The properties of products: those that every account has, then those declared in this one."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.products

    def update_product_schema(self, properties: Iterable[Field]) -> Schema:
        """Declare more properties of products: category, tags, number or bool; a text is kept as a category. Raises
        SchemaConflict for a change of type or scale, InvalidSchema for a property that cannot be."""
        self._check_writable()
        return self._writer.declare_product_properties(properties)
