"""Reads single tokens: strings, numbers, dates and instants, each with an error at its place.

Imports only `segidx.model` and lark's token type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from lark import Token

from segidx.model.errors import ExpressionSyntaxError, SegidxError

T = TypeVar("T")

_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}(?P<time>T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?P<zone>Z|[+-]\d{2}:\d{2})?)?",
    re.ASCII | re.IGNORECASE,
)
_MAX_NUMBER_LENGTH = 120  # characters; far beyond any constant that is accepted


def fail(message: str, token: Token) -> ExpressionSyntaxError:
    """The error at a token."""
    return ExpressionSyntaxError(message, line=token.line or 1, column=token.column or 1)


def make(token: Token, node: Callable[..., T], *parts: object) -> T:
    """`node(*parts)`; what the node itself refuses becomes a syntax error at the token."""
    try:
        return node(*parts)
    except SegidxError as error:
        raise fail(error.message, token) from error


def whole_number(token: Token) -> int:
    if not token.isascii() or not token.isdigit() or len(token) > 18:
        raise fail(f"{clip(token)} is not a whole number in range", token)
    return int(token)


def clip(text: str, most: int = 40) -> str:
    """Text for an error message, which must stay short whatever was sent."""
    return text if len(text) <= most else text[:most] + "…"


def moment(token: Token) -> date | datetime:
    """A date, or an instant with its zone."""
    match = _MOMENT.fullmatch(token)
    if match is None:
        raise fail(
            f"{clip(token)} is not a date such as 2026-01-31, nor an instant such as 2026-01-31T12:00:00Z", token
        )
    try:
        if match["time"] is None:
            return date.fromisoformat(token)
        if match["zone"] is None:
            raise fail(f"instant {clip(token)} has no time zone; add 'Z' for UTC or an offset such as '+02:00'", token)
        text, dot, fraction = token.upper().partition(".")
        if dot:
            # fromisoformat would silently drop digits beyond the sixth.
            digits = re.match("[0-9]+", fraction)
            assert digits is not None
            if digits[0][3:].strip("0"):
                raise fail(f"instant {clip(token)} is finer than a millisecond", token)
            text += f".{digits[0][:3]:0<3}{fraction[digits.end() :]}"
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise fail(f"{clip(token)} is not in the calendar: {error}", token) from error


def string(token: Token) -> str:
    """The text between the quotes, with JSON's escapes resolved."""
    if "\\" not in token:
        return token[1:-1]
    try:
        text = json.loads(token, strict=False)
    except json.JSONDecodeError as error:
        # No line ends within a string: the place in the token is the place on the line.
        raise ExpressionSyntaxError(
            f"{clip(token[error.pos : error.pos + 2])} is not an escape; write \\\\ for a backslash",
            line=token.line or 1,
            column=(token.column or 1) + error.pos,
        ) from error
    assert isinstance(text, str)
    return text


def number(token: Token) -> Decimal:
    """The decimal as written; whether it has too many digits, the constant made of it decides."""
    if len(token) > _MAX_NUMBER_LENGTH:
        raise fail(f"number {clip(token)} is too long", token)
    try:
        return Decimal(token)
    except InvalidOperation as error:
        raise fail(f"number {clip(token)} is out of range", token) from error
