"""Arguments that the protocol cannot carry as they are, refused before a call is made. Imports the model only."""

from __future__ import annotations

from segidx.model.errors import InvalidArgument, InvalidValue


def as_text(value: str) -> str:
    """A string that protobuf can carry; raises InvalidValue for a lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue("a string is not valid UTF-8") from error
    return value


def as_limit(value: int) -> int:
    """0 stands for the default in the protocol, so that an asked 0 must be refused here."""
    if not 1 <= value <= 1000:
        raise InvalidArgument(f"limit {value} is not within 1 to 1000", argument="limit")
    return value


def as_generation(value: int) -> int:
    """A generation that can be sent; raises InvalidArgument for a negative one."""
    if not 0 <= value < 1 << 64:
        raise InvalidArgument(f"generation {value} is none; they count up from 0", argument="generation")
    return value


def as_page_size(value: int) -> int:
    """A page size that can be sent: the server takes larger ones than its largest for that one. Raises
    InvalidArgument."""
    if value < 0:
        raise InvalidArgument(f"page size {value} is below 0", argument="page_size")
    return min(value, (1 << 31) - 1)
