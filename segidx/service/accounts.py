"""AccountService and SchemaService. Messages are made and read by `convert`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from segidx.service import convert
from segidx.service.calls import await_generation, check_alive, stop_for
from segidx.v1 import accounts_pb2_grpc, schema_pb2_grpc

if TYPE_CHECKING:
    from segidx.database import Database
    from segidx.v1 import accounts_pb2, schema_pb2


class AccountService(accounts_pb2_grpc.AccountServiceServicer):
    """Creates and reads accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def CreateAccount(
        self, request: accounts_pb2.CreateAccountRequest, context: grpc.ServicerContext
    ) -> accounts_pb2.CreateAccountResponse:
        check_alive(context)
        account = self._database.create_account(convert.created_account_of(request))
        return convert.create_account_response(account.info)

    def GetAccount(
        self, request: accounts_pb2.GetAccountRequest, context: grpc.ServicerContext
    ) -> accounts_pb2.GetAccountResponse:
        check_alive(context)
        return convert.account_response(self._database.account(convert.account_of(request)).info)

    def ListAccounts(
        self, request: accounts_pb2.ListAccountsRequest, context: grpc.ServicerContext
    ) -> accounts_pb2.ListAccountsResponse:
        check_alive(context)
        return convert.accounts_response(request, self._database.accounts())


class SchemaService(schema_pb2_grpc.SchemaServiceServicer):
    """Declares fields, events, bands and derived numbers, drops events by age, and describes what is stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def GetSchema(
        self, request: schema_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> schema_pb2.GetSchemaResponse:
        check_alive(context)
        return convert.schema_response(self._database.account(convert.account_of(request)).schema())

    def UpdateSchema(
        self, request: schema_pb2.UpdateSchemaRequest, context: grpc.ServicerContext
    ) -> schema_pb2.UpdateSchemaResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert.update_schema_response(account.update_schema(convert.fields_of(request)))

    def DeclareEventTypes(
        self, request: schema_pb2.DeclareEventTypesRequest, context: grpc.ServicerContext
    ) -> schema_pb2.DeclareEventTypesResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert.declared_types_response(account.declare_event_types(convert.event_types_of(request)))

    def ListEventTypes(
        self, request: schema_pb2.ListEventTypesRequest, context: grpc.ServicerContext
    ) -> schema_pb2.ListEventTypesResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        groups = account.event_groups  # before the types, so that those of the members are among them
        return convert.event_types_response(account.event_types, groups.values())

    def SetEventGroup(
        self, request: schema_pb2.SetEventGroupRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetEventGroupResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        group = convert.event_group_of(request)
        return convert.event_group_response(account.set_event_group(group.name, group.members))

    def SetBands(
        self, request: schema_pb2.SetBandsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetBandsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        asked = convert.bands_of(request)
        return convert.set_bands_response(
            account.declare_bands(asked.name, asked.value, asked.thresholds, asked.labels)
        )

    def ListBands(
        self, request: schema_pb2.ListBandsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.ListBandsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert.bands_response(account.bands.values())

    def RemoveBands(
        self, request: schema_pb2.RemoveBandsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.RemoveBandsResponse:
        check_alive(context)
        self._database.account(convert.account_of(request)).remove_bands(request.name)
        return convert.bands_removed()

    def SetDerivedNumber(
        self, request: schema_pb2.SetDerivedNumberRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetDerivedNumberResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        asked = convert.derived_of(request)
        return convert.set_derived_response(account.declare_derived(asked.name, asked.value))

    def ListDerivedNumbers(
        self, request: schema_pb2.ListDerivedNumbersRequest, context: grpc.ServicerContext
    ) -> schema_pb2.ListDerivedNumbersResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert.derived_response(account.derived.values())

    def RemoveDerivedNumber(
        self, request: schema_pb2.RemoveDerivedNumberRequest, context: grpc.ServicerContext
    ) -> schema_pb2.RemoveDerivedNumberResponse:
        check_alive(context)
        self._database.account(convert.account_of(request)).remove_derived(request.name)
        return convert.derived_removed()

    def GetSourceSettings(
        self, request: schema_pb2.GetSourceSettingsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.GetSourceSettingsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert.source_settings_response(account.source_settings)

    def SetSourceSettings(
        self, request: schema_pb2.SetSourceSettingsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SetSourceSettingsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert.source_settings_set(account.set_source_settings(convert.source_settings_of(request)))

    def PruneEvents(
        self, request: schema_pb2.PruneEventsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.PruneEventsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        before = convert.before_of(request)
        return convert.prune_response(account.prune(before, request.event_types, dry_run=request.dry_run, stop=stop))

    def SuggestValues(
        self, request: schema_pb2.SuggestValuesRequest, context: grpc.ServicerContext
    ) -> schema_pb2.SuggestValuesResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        limit = convert.limit_of(request.limit, convert.DEFAULT_SUGGESTIONS)
        await_generation(account, request.min_generation, context, stop)
        return convert.suggestions_response(account.suggest(request.field, request.typed, limit=limit, stop=stop))

    def GetStats(
        self, request: schema_pb2.GetStatsRequest, context: grpc.ServicerContext
    ) -> schema_pb2.GetStatsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        await_generation(account, request.min_generation, context, stop)
        return convert.stats_response(account.stats())
