"""SchemaService. Messages are made and read by `convert` and `convert_schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from segidx.service import convert, convert_schema
from segidx.service.calls import await_generation, check_alive, stop_for
from segidx.v1 import schema_pb2_grpc

if TYPE_CHECKING:
    from segidx.database import Database
    from segidx.v1 import schema_pb2


class SchemaService(schema_pb2_grpc.SchemaServiceServicer):
    """Declares fields, events, bands and derived numbers, drops events by age, and describes what is stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def GetSchema(
        self, request: schema_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> schema_pb2.GetSchemaResponse:
        check_alive(context)
        return convert_schema.schema_response(self._database.account(convert.account_of(request)).schema())

    def UpdateSchema(
        self, request: schema_pb2.UpdateSchemaRequest, context: grpc.ServicerContext
    ) -> schema_pb2.UpdateSchemaResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert_schema.update_schema_response(account.update_schema(convert_schema.fields_of(request)))

    def DeclareEventTypes(
        self, request: schema_pb2.DeclareEventTypesRequest, context: grpc.ServicerContext
    ) -> schema_pb2.DeclareEventTypesResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        types = account.declare_event_types(convert_schema.event_types_of(request))
        return convert_schema.declared_types_response(types)

    def ListEventTypes(
        self, request: schema_pb2.ListEventTypesRequest, context: grpc.ServicerContext
    ) -> schema_pb2.ListEventTypesResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        groups = account.event_groups  # before the types, so that those of the members are among them
        return convert_schema.event_types_response(account.event_types, groups.values())

    def SetEventGroup(
        self, request: schema_pb2.SetEventGroupRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetEventGroupResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        group = convert_schema.event_group_of(request)
        return convert_schema.event_group_response(account.set_event_group(group.name, group.members))

    def SetBands(
        self, request: schema_pb2.SetBandsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetBandsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        asked = convert_schema.bands_of(request)
        return convert_schema.set_bands_response(
            account.declare_bands(asked.name, asked.value, asked.thresholds, asked.labels)
        )

    def ListBands(
        self, request: schema_pb2.ListBandsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.ListBandsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert_schema.bands_response(account.bands.values())

    def RemoveBands(
        self, request: schema_pb2.RemoveBandsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.RemoveBandsResponse:
        check_alive(context)
        self._database.account(convert.account_of(request)).remove_bands(request.name)
        return convert_schema.bands_removed()

    def SetDerivedNumber(
        self, request: schema_pb2.SetDerivedNumberRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetDerivedNumberResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        asked = convert_schema.derived_of(request)
        return convert_schema.set_derived_response(account.declare_derived(asked.name, asked.value))

    def ListDerivedNumbers(
        self, request: schema_pb2.ListDerivedNumbersRequest, context: grpc.ServicerContext
    ) -> schema_pb2.ListDerivedNumbersResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert_schema.derived_response(account.derived.values())

    def RemoveDerivedNumber(
        self, request: schema_pb2.RemoveDerivedNumberRequest, context: grpc.ServicerContext
    ) -> schema_pb2.RemoveDerivedNumberResponse:
        check_alive(context)
        self._database.account(convert.account_of(request)).remove_derived(request.name)
        return convert_schema.derived_removed()

    def GetSourceSettings(
        self, request: schema_pb2.GetSourceSettingsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.GetSourceSettingsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert_schema.source_settings_response(account.source_settings)

    def SetSourceSettings(
        self, request: schema_pb2.SetSourceSettingsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetSourceSettingsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        settings = account.set_source_settings(convert_schema.source_settings_of(request))
        return convert_schema.source_settings_set(settings)

    def PruneEvents(
        self, request: schema_pb2.PruneEventsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.PruneEventsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        before = convert_schema.before_of(request)
        pruned = account.prune(before, request.event_types, dry_run=request.dry_run, stop=stop)
        return convert_schema.prune_response(pruned)

    def SuggestValues(
        self, request: schema_pb2.SuggestValuesRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SuggestValuesResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        limit = convert.limit_of(request.limit, convert.DEFAULT_SUGGESTIONS)
        await_generation(account, request.min_generation, context, stop)
        found = account.suggest(request.field, request.typed, limit=limit, stop=stop)
        return convert_schema.suggestions_response(found)

    def GetStats(
        self, request: schema_pb2.GetStatsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.GetStatsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        await_generation(account, request.min_generation, context, stop)
        return convert_schema.stats_response(account.stats())
