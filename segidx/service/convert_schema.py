"""Messages of SchemaService, to arguments and from results."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from segidx.model.bands import Bands
from segidx.model.derived import DerivedNumber
from segidx.model.event_groups import EventGroup
from segidx.model.events import EventType, EventTypes
from segidx.model.results import PrunedType, Stats, Suggestion
from segidx.model.schema import Field, Schema
from segidx.model.source_settings import SourceSettings
from segidx.v1 import schema_pb2
from segidx.wire import bands, derived, event_groups, event_types, results, retention, source_settings


def fields_of(request: schema_pb2.UpdateSchemaRequest) -> tuple[Field, ...]:
    return tuple(results.read_schema(request.schema))


def schema_response(schema: Schema) -> schema_pb2.GetSchemaResponse:
    response = schema_pb2.GetSchemaResponse()
    results.write_fields(schema, response.schema)
    return response


def update_schema_response(schema: Schema) -> schema_pb2.UpdateSchemaResponse:
    response = schema_pb2.UpdateSchemaResponse()
    results.write_fields(schema, response.schema)
    return response


def event_types_of(request: schema_pb2.DeclareEventTypesRequest) -> list[EventType]:
    return [event_types.read_event_type(each) for each in request.event_types]


def declared_types_response(types: EventTypes) -> schema_pb2.DeclareEventTypesResponse:
    response = schema_pb2.DeclareEventTypesResponse()
    event_types.write_event_types(types, response.event_types)
    return response


def event_types_response(types: EventTypes, groups: Iterable[EventGroup]) -> schema_pb2.ListEventTypesResponse:
    response = schema_pb2.ListEventTypesResponse()
    event_types.write_event_types(types, response.event_types)
    for group in groups:
        event_groups.write_event_group(group, response.event_groups.add())
    return response


def source_settings_of(request: schema_pb2.SetSourceSettingsRequest) -> SourceSettings:
    return source_settings.read_source_settings(request.source_settings)


def source_settings_response(settings: SourceSettings) -> schema_pb2.GetSourceSettingsResponse:
    response = schema_pb2.GetSourceSettingsResponse()
    source_settings.write_source_settings(settings, response.source_settings)
    return response


def source_settings_set(settings: SourceSettings) -> schema_pb2.SetSourceSettingsResponse:
    response = schema_pb2.SetSourceSettingsResponse()
    source_settings.write_source_settings(settings, response.source_settings)
    return response


def event_group_of(request: schema_pb2.SetEventGroupRequest) -> EventGroup:
    return event_groups.read_event_group(request.event_group)


def event_group_response(group: EventGroup) -> schema_pb2.SetEventGroupResponse:
    response = schema_pb2.SetEventGroupResponse()
    event_groups.write_event_group(group, response.event_group)
    return response


def bands_of(request: schema_pb2.SetBandsRequest) -> Bands:
    return bands.read_bands(request.bands)


def set_bands_response(of: Bands) -> schema_pb2.SetBandsResponse:
    response = schema_pb2.SetBandsResponse()
    bands.write_bands(of, response.bands)
    return response


def bands_response(declared: Iterable[Bands]) -> schema_pb2.ListBandsResponse:
    response = schema_pb2.ListBandsResponse()
    for each in declared:
        bands.write_bands(each, response.bands.add())
    return response


def bands_removed() -> schema_pb2.RemoveBandsResponse:
    return schema_pb2.RemoveBandsResponse()


def derived_of(request: schema_pb2.SetDerivedNumberRequest) -> DerivedNumber:
    return derived.read_derived(request.derived_number)


def set_derived_response(of: DerivedNumber) -> schema_pb2.SetDerivedNumberResponse:
    response = schema_pb2.SetDerivedNumberResponse()
    derived.write_derived(of, response.derived_number)
    return response


def derived_response(numbers: Iterable[DerivedNumber]) -> schema_pb2.ListDerivedNumbersResponse:
    response = schema_pb2.ListDerivedNumbersResponse()
    for each in numbers:
        derived.write_derived(each, response.derived_numbers.add())
    return response


def derived_removed() -> schema_pb2.RemoveDerivedNumberResponse:
    return schema_pb2.RemoveDerivedNumberResponse()


def before_of(request: schema_pb2.PruneEventsRequest) -> datetime:
    return retention.read_before(request)


def prune_response(pruned: Iterable[PrunedType]) -> schema_pb2.PruneEventsResponse:
    response = schema_pb2.PruneEventsResponse()
    for each in pruned:
        retention.write_pruned(each, response.pruned.add())
    return response


def suggestions_response(suggestions: list[Suggestion]) -> schema_pb2.SuggestValuesResponse:
    response = schema_pb2.SuggestValuesResponse()
    results.write_suggestions(suggestions, response)
    return response


def stats_response(stats: Stats) -> schema_pb2.GetStatsResponse:
    response = schema_pb2.GetStatsResponse()
    results.write_stats(stats, response.stats)
    return response
