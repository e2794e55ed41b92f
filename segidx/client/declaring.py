"""The methods of an account of a server that say what is in it: fields, event types and groups, bands, derived numbers,
where events come from, and properties of products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from segidx.client.arguments import as_text
from segidx.client.opened import RemoteOpened
from segidx.model.bands import Bands, band_value, bands
from segidx.model.derived import DerivedNumber, check_name, derived_number, derived_value
from segidx.model.event_groups import EventGroup, member
from segidx.model.events import EventType, EventTypes
from segidx.model.expression import Aggregate, Events
from segidx.model.schema import Field, Schema
from segidx.model.source_settings import SourceSettings
from segidx.v1 import products_pb2, schema_pb2
from segidx.wire import bands as wire_bands
from segidx.wire import derived as wire_derived
from segidx.wire import event_groups, event_types, results, source_settings


class RemoteDeclarations(RemoteOpened):
    """The part of RemoteAccount that declares."""

    def schema(self, *, timeout: float | None = None) -> Schema:
        request = schema_pb2.GetSchemaRequest(account=self._account)
        return results.read_schema(self._client._call(self._schemas.GetSchema, request, timeout).schema)

    def update_schema(self, fields: Sequence[Field], *, timeout: float | None = None) -> Schema:
        """Adds fields and returns the whole schema. Raises SchemaConflict for another type or scale."""
        request = schema_pb2.UpdateSchemaRequest(account=self._account)
        results.write_fields(fields, request.schema)
        return results.read_schema(self._client._call(self._schemas.UpdateSchema, request, timeout).schema)

    @property
    def product_schema(self) -> Schema:
        """The properties of products: those that every account has, then those declared in this one."""
        request = products_pb2.GetProductSchemaRequest(account=self._account)
        return results.read_schema(self._client._call(self._products.GetProductSchema, request, None).schema)

    def update_product_schema(self, properties: Iterable[Field], *, timeout: float | None = None) -> Schema:
        """Adds properties of products and returns all of them. Raises SchemaConflict for another type or scale, and
        InvalidSchema for a property that cannot be."""
        request = products_pb2.UpdateProductSchemaRequest(account=self._account)
        results.write_fields(tuple(properties), request.schema)
        return results.read_schema(self._client._call(self._products.UpdateProductSchema, request, timeout).schema)

    @property
    def event_types(self) -> EventTypes:
        """The event types that every account has, and those declared in this one."""
        request = schema_pb2.ListEventTypesRequest(account=self._account)
        return event_types.read_event_types(self._client._call(self._list_event_types, request, None).event_types)

    def declare_event_types(self, types: Iterable[EventType], *, timeout: float | None = None) -> EventTypes:
        """Adds types of events and returns all of them. Raises SchemaConflict for a type that has other properties, and
        InvalidSchema for one that cannot be declared."""
        request = schema_pb2.DeclareEventTypesRequest(account=self._account)
        event_types.write_event_types(types, request.event_types)
        response = self._client._call(self._schemas.DeclareEventTypes, request, timeout)
        return event_types.read_event_types(response.event_types)

    @property
    def event_groups(self) -> Mapping[str, EventGroup]:
        """The groups of events by name: `interaction` and `touch`."""
        request = schema_pb2.ListEventTypesRequest(account=self._account)
        response = self._client._call(self._list_event_types, request, None)
        return {each.name: event_groups.read_event_group(each) for each in response.event_groups}

    def set_event_group(
        self, name: str, members: Iterable[Events | str], *, timeout: float | None = None
    ) -> EventGroup:
        """Say which events a group has, `interaction` or `touch`: each an `Events` without a window, or its text as in
        `did(...)`, such as `message where kind = "clicked"`. Conditions on the group ask for these from now on.

        Raises InvalidArgument for what cannot be a group, and what an evaluation of its members raises.
        """
        request = schema_pb2.SetEventGroupRequest(account=self._account)
        given = tuple(member(each) if isinstance(each, str) else each for each in members)
        event_groups.write_event_group(EventGroup(name, given), request.event_group)
        return event_groups.read_event_group(self._client._call(self._set_event_group, request, timeout).event_group)

    @property
    def bands(self) -> Mapping[str, Bands]:
        """The bands that are declared, by name."""
        request = schema_pb2.ListBandsRequest(account=self._account)
        response = self._client._call(self._list_bands, request, None)
        return {each.name: wire_bands.read_bands(each) for each in response.bands}

    def declare_bands(
        self,
        name: str,
        value: Aggregate | str,
        thresholds: Iterable[Decimal | int],
        labels: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Bands:
        """Declare bands over a count of events or a sum over them, `value`, which is an Aggregate or its text, such as
        `sum(order.amount)`; with a name that is known, in place of those. Conditions (`band(name) = "100-500"`) ask for
        these from now on. `thresholds` ascend, `labels` are of the bands from the lowest, two more than thresholds:
        that of no value first; without them they are `none`, `<100`, `100-500`, `500+`.

        Raises InvalidArgument for what cannot be bands, InvalidValue for a threshold that is no number, and what an
        evaluation of the value raises.
        """
        request = schema_pb2.SetBandsRequest(account=self._account)
        asked = bands(name, band_value(value) if isinstance(value, str) else value, thresholds, labels)
        wire_bands.write_bands(asked, request.bands)
        return wire_bands.read_bands(self._client._call(self._set_bands, request, timeout).bands)

    def remove_bands(self, name: str, *, timeout: float | None = None) -> None:
        """Take bands away: conditions on them are refused from now on. Raises UnknownBands."""
        request = schema_pb2.RemoveBandsRequest(account=self._account, name=as_text(name))
        self._client._call(self._schemas.RemoveBands, request, timeout)

    @property
    def derived(self) -> Mapping[str, DerivedNumber]:
        """The derived numbers by name, those that every account has among them."""
        request = schema_pb2.ListDerivedNumbersRequest(account=self._account)
        response = self._client._call(self._list_derived, request, None)
        return {each.name: wire_derived.read_listed(each) for each in response.derived_numbers}

    def declare_derived(self, name: str, value: Aggregate | str, *, timeout: float | None = None) -> DerivedNumber:
        """Declare a number to be kept beside the events, an Aggregate of all time or its text, such as
        `sum(order.amount where paid)` or `last(visit).time`; with a name that is known, in place of that one. What
        conditions mean is the same with and without: those that ask for it are answered sooner.

        Raises InvalidArgument for what cannot be one, a filter on what is not of the events themselves among it (the
        catalogue of products, the source that an order takes from a visit, the hour, weekday and month), and what an
        evaluation of the value raises.
        """
        request = schema_pb2.SetDerivedNumberRequest(account=self._account)
        asked = derived_number(name, derived_value(value) if isinstance(value, str) else value)
        wire_derived.write_derived(asked, request.derived_number)
        response = self._client._call(self._set_derived, request, timeout)
        return wire_derived.read_derived(response.derived_number)

    def remove_derived(self, name: str, *, timeout: float | None = None) -> None:
        """Take a derived number away: it is no longer kept. Conditions that ask for it are answered from the events.
        Raises UnknownDerived, InvalidArgument for one that every account has."""
        request = schema_pb2.RemoveDerivedNumberRequest(account=self._account, name=check_name(name))
        self._client._call(self._schemas.RemoveDerivedNumber, request, timeout)

    @property
    def source_settings(self) -> SourceSettings:
        """What the account says of where visits and orders come from."""
        request = schema_pb2.GetSourceSettingsRequest(account=self._account)
        response = self._client._call(self._schemas.GetSourceSettings, request, None)
        return source_settings.read_source_settings(response.source_settings)

    def set_source_settings(self, settings: SourceSettings, *, timeout: float | None = None) -> SourceSettings:
        """Say all of it anew. Orders take a visit's source by these minutes from now on, those that are written already
        too; the hosts are for visits that are written from now on. Raises InvalidArgument for what cannot be set."""
        request = schema_pb2.SetSourceSettingsRequest(account=self._account)
        source_settings.write_source_settings(settings, request.source_settings)
        response = self._client._call(self._schemas.SetSourceSettings, request, timeout)
        return source_settings.read_source_settings(response.source_settings)
