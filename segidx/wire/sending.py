"""What becomes of a value of the model that protobuf refuses to hold. Imports only the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segidx.model.errors import InvalidArgument, SegidxError


@contextmanager
def sending(what: str, see: str, error: type[SegidxError] = InvalidArgument) -> Iterator[None]:
    """While a message is filled with `what`: raises `error` for what protobuf refuses to hold, such as a string that is
    not UTF-8 or a thing of another type, and sends the reader to the class `see`. Typed errors pass as they are."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as refused:
        raise error(f"{what} cannot be sent: {refused}; see {see} for what it takes") from refused
