"""Messages of AccountService, to arguments and from results."""

from __future__ import annotations

from collections.abc import Iterable

from segidx.model.schema import AccountInfo
from segidx.service.convert import page_size_of, read_token, write_token
from segidx.v1 import accounts_pb2
from segidx.wire import results


def created_account_of(request: accounts_pb2.CreateAccountRequest) -> AccountInfo:
    return results.read_account(request.account)


def create_account_response(info: AccountInfo) -> accounts_pb2.CreateAccountResponse:
    response = accounts_pb2.CreateAccountResponse()
    results.write_account(info, response.account)
    return response


def account_response(info: AccountInfo) -> accounts_pb2.GetAccountResponse:
    response = accounts_pb2.GetAccountResponse()
    results.write_account(info, response.account)
    return response


def accounts_response(
    request: accounts_pb2.ListAccountsRequest, accounts: Iterable[AccountInfo]
) -> accounts_pb2.ListAccountsResponse:
    """One page of accounts by name. A token holds the last name of the page before, so that accounts created or
    removed between two pages neither repeat nor hide others. Raises InvalidArgument."""
    size = page_size_of(request.page_size)
    after = read_token(request.page_token)
    rest = sorted((a for a in accounts if a.name > after), key=lambda a: a.name)
    response = accounts_pb2.ListAccountsResponse()
    for info in rest[:size]:
        results.write_account(info, response.accounts.add())
    if len(rest) > size:
        response.next_page_token = write_token(rest[size - 1].name)
    return response
