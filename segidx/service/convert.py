"""What the requests of all services have in common: the names of accounts, expressions, limits, pages.

With its neighbours `convert_*`, one for each service, the only importer of messages here. The conversions that the
client makes too are in `segidx.wire`; these are the server's alone: requests to arguments, and results to responses.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Protocol

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from segidx.model.errors import ExpressionTooLarge, InvalidArgument
from segidx.model.expression import Expression
from segidx.v1 import accounts_pb2, contacts_pb2, counts_pb2, ingest_pb2, products_pb2, schema_pb2
from segidx.wire import results
from segidx.wire.expressions import read_expression

MAX_TEXT_BYTES = 256 * 1024
MAX_ROWS = 10_000
MAX_QUERIES = 1000
MAX_LIMIT = 1000
MAX_PAGE = 1000
DEFAULT_PAGE = 100
DEFAULT_PREVIEW = 20
DEFAULT_SUGGESTIONS = 10

_FILES = (accounts_pb2, contacts_pb2, counts_pb2, ingest_pb2, products_pb2, schema_pb2)


def service_names() -> tuple[str, ...]:
    """Full names of segidx's services: `segidx.v1.CountService`, ..."""
    return tuple(s.full_name for file in _FILES for s in file.DESCRIPTOR.services_by_name.values())


def request_classes() -> dict[str, type[Message]]:
    """The request class of each method, by its path: `/segidx.v1.CountService/CountContacts`."""
    return {
        f"/{service.full_name}/{method.name}": GetMessageClass(method.input_type)
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


class _NamesAccount(Protocol):
    @property
    def account(self) -> str: ...


def account_of(request: _NamesAccount) -> str:
    """The account that a request names. Raises InvalidArgument and InvalidAccountName."""
    return results.read_account_name(request.account)


def check_same_account(request: _NamesAccount, first: str) -> None:
    """Raises InvalidArgument for a later message of a stream that names another account than the first one did."""
    if request.account not in ("", first):
        raise InvalidArgument(
            f"a stream writes to one account; this one began with {first!r} and names {request.account!r}",
            argument="account",
        )


def query_of(request: Any) -> Expression | str:
    """The expression that a request asks about, or its text. An absent one is an unfinished expression."""
    if request.WhichOneof("query") != "text":
        return read_expression(request.expression)
    text: str = request.text
    # Characters are no more than bytes, so that most texts need no encoding.
    if len(text) > MAX_TEXT_BYTES or (len(text) * 4 > MAX_TEXT_BYTES and len(text.encode()) > MAX_TEXT_BYTES):
        raise ExpressionTooLarge(
            f"the text is longer than {MAX_TEXT_BYTES} bytes; put the values in a tag or a field instead",
            path="text",
            limit=MAX_TEXT_BYTES,
        )
    return text


def limit_of(limit: int, default: int) -> int:
    """A limit within 1 to 1000, where 0 means the default. Raises InvalidArgument."""
    if not 0 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"limit {limit} is not within 1 to {MAX_LIMIT}", argument="limit")
    return limit or default


def check_rows(count: int, argument: str, of: str = "contacts") -> None:
    """Raises InvalidArgument for more rows than a batch may have."""
    if count > MAX_ROWS:
        raise InvalidArgument(
            f"{count} {of} are more than {MAX_ROWS} in one batch; send several", limit=MAX_ROWS, argument=argument
        )


def page_size_of(size: int) -> int:
    """How many things a page has: at most 1000, and 100 where 0 is asked for. Raises InvalidArgument."""
    if size < 0:
        raise InvalidArgument(f"page size {size} is below 0", argument="page_size")
    return min(size or DEFAULT_PAGE, MAX_PAGE)


_TOKEN_VERSION = b"a1:"


def write_token(last: str) -> str:
    """The token of the page behind the one that ends with this name."""
    return base64.urlsafe_b64encode(_TOKEN_VERSION + last.encode()).decode().rstrip("=")


def read_token(token: str) -> str:
    """The name that the page before ended with; empty for the first page. Raises InvalidArgument."""
    if not token:
        return ""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if data.startswith(_TOKEN_VERSION):
            return data.removeprefix(_TOKEN_VERSION).decode()
    except (binascii.Error, ValueError):
        pass
    raise InvalidArgument("the page token is not one that this service gave; start over without", argument="page_token")
