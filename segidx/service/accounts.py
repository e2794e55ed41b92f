"""AccountService. Messages are made and read by `convert` and `convert_accounts`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from segidx.service import convert, convert_accounts
from segidx.service.calls import check_alive
from segidx.v1 import accounts_pb2_grpc

if TYPE_CHECKING:
    from segidx.database import Database
    from segidx.v1 import accounts_pb2


class AccountService(accounts_pb2_grpc.AccountServiceServicer):
    """Creates and reads accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def CreateAccount(
        self, request: accounts_pb2.CreateAccountRequest, context: grpc.ServicerContext
    ) -> accounts_pb2.CreateAccountResponse:
        check_alive(context)
        account = self._database.create_account(convert_accounts.created_account_of(request))
        return convert_accounts.create_account_response(account.info)

    def GetAccount(
        self, request: accounts_pb2.GetAccountRequest, context: grpc.ServicerContext
    ) -> accounts_pb2.GetAccountResponse:
        check_alive(context)
        return convert_accounts.account_response(self._database.account(convert.account_of(request)).info)

    def ListAccounts(
        self, request: accounts_pb2.ListAccountsRequest, context: grpc.ServicerContext
    ) -> accounts_pb2.ListAccountsResponse:
        check_alive(context)
        return convert_accounts.accounts_response(request, self._database.accounts())
