"""The connection to a server, and its accounts."""

from __future__ import annotations

from typing import Any

import grpc

from segidx.client.account import RemoteAccount
from segidx.client.errors import closed, raise_from
from segidx.model.schema import AccountInfo
from segidx.v1 import accounts_pb2, accounts_pb2_grpc
from segidx.wire import results

MAX_RESPONSE_BYTES = 64 * 1024 * 1024


def connect(address: str, *, timeout: float | None = None) -> Client:
    """A client of the server at `host:port`. `timeout` in seconds is the deadline of every call that has none of its
    own, but of those that may last for ever: `write_stream`, and `changes` that follow. Connects at the first call, and
    again after the server was away."""
    return Client(address, timeout=timeout)


class Client:
    """One connection, for any number of threads. Close it, or use it as a context manager."""

    def __init__(self, address: str, *, timeout: float | None = None) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = grpc.insecure_channel(
            address,
            options=(("grpc.max_receive_message_length", MAX_RESPONSE_BYTES), ("grpc.max_send_message_length", -1)),
        )
        self._accounts = accounts_pb2_grpc.AccountServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def account(self, name: str) -> RemoteAccount:
        """The account of that name; whether it exists shows at the first call."""
        return RemoteAccount(self, results.write_account_name(name))

    def create_account(self, info: AccountInfo, *, timeout: float | None = None) -> RemoteAccount:
        """Creates an account. Raises AccountExists."""
        request = accounts_pb2.CreateAccountRequest()
        results.write_account(info, request.account)
        self._call(self._accounts.CreateAccount, request, timeout)
        return self.account(info.name)

    def accounts(self, *, timeout: float | None = None) -> list[AccountInfo]:
        """All accounts, by name."""
        found: list[AccountInfo] = []
        request = accounts_pb2.ListAccountsRequest(page_size=1000)
        while True:
            page = self._call(self._accounts.ListAccounts, request, timeout)
            found += [results.read_account(account) for account in page.accounts]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def _call(self, method: Any, request: Any, timeout: float | None) -> Any:
        """Calls, and raises what the server raised."""
        try:
            return method(request, timeout=self.timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise_from(error, self.address)
        except ValueError as error:
            raise closed(error, self.address) from error
