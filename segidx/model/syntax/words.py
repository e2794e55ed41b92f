"""The words of the text syntax: which are reserved, and how tokens are called in errors.

Imports nothing of segidx. The meaning of each word is in docs/EXPRESSIONS.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# In any letter case these are never bare field names; in backticks they are. Some belong to conditions that
# later versions add: they are reserved now, so that no stored text changes its meaning then.
RESERVED: tuple[str, ...] = (
    *("after", "all", "among", "and", "anniversary", "any", "at", "became", "before", "between", "by", "ci"),
    *("contains", "during", "ends", "everyone", "false", "from", "has", "in", "is", "like", "matches", "nobody"),
    *("none", "not", "older", "or", "segment", "starts", "tagged", "then", "top", "true", "until", "where", "within"),
)

_BARE_NAME = re.compile(rf"(?!(?:{'|'.join(RESERVED)})\b)[^\W\d]\w*", re.IGNORECASE)


def is_bare_name(name: str) -> bool:
    """Whether a field of this name needs no backticks."""
    return _BARE_NAME.fullmatch(name) is not None


def is_reserved(word: str) -> bool:
    return word.casefold() in RESERVED


# The tags field that `tagged` means where none is named.
TAGS = "tags"

# Functions of events: conditions, and values.
EVENT_FUNCTIONS: tuple[str, ...] = (
    *("did", "never", "only", "overdue", "sequence"),
    *("count", "distinct", "distinct_days", "sum", "average", "min", "max", "favourite", "first", "last"),
    *("mean_gap", "gap_deviation", "expected"),
)

# Functions of what the account declares under a name: conditions.
BAND_FUNCTIONS: tuple[str, ...] = ("band", "crossed")

_EVENTS = f"of events, this version has {', '.join(EVENT_FUNCTIONS[:-1])} and {EVENT_FUNCTIONS[-1]}"
_SEGMENTS = "saved segments are not available in this version"

# Functions and words of the language's later parts, and why they are refused.
LATER: dict[str, str] = {
    **dict.fromkeys(
        ("avg", "share"),
        _EVENTS,
    ),
    **dict.fromkeys(("score", "gain", "peak"), "scores are not available in this version"),
    "rfm": "RFM models are not available in this version",
    "segment": _SEGMENTS,
    "top": "'top' is not available in this version",
}

# Terminals that are shown under one name, in the order in which they are shown. A terminal that is not listed is
# shown as its own text.
_READABLE: dict[str, str] = {
    "NAME": "a field name",
    "QUOTED_NAME": "a field name",
    "OF_PRODUCT": "a field name",
    "EVENT_TYPE": "an event type such as 'order'",
    "DOT": "'.' and a property",
    "STRING": "a string",
    "NUMBER": "a number",
    "MOMENT": "a date or an instant",
    "TRUE": "true or false",
    "FALSE": "true or false",
    "LPAR": "'('",
    "COMPARE": "a comparison such as '='",
    "_AND": "'and'",
    "_OR": "'or'",
    "RPAR": "')'",
    "COMMA": "','",
    "SECOND": "a unit of time such as 'days'",
    "MINUTE": "a unit of time such as 'days'",
    "HOUR": "a unit of time such as 'days'",
    "DAY": "a unit of time such as 'days'",
    "WEEK": "a unit of time such as 'days'",
    "MONTH": "a unit of time such as 'days'",
    "YEAR": "a unit of time such as 'days'",
}
_LAST_SHOWN: dict[str, str] = {
    "PLUS": "an arithmetic operator",
    "MINUS": "an arithmetic operator",
    "STAR": "an arithmetic operator",
    "SLASH": "an arithmetic operator",
    "$END": "the end of the text",
}
_REFUSED_TERMINALS = {"SEGMENT", "TOP"}


def readable(terminals: Iterable[str]) -> tuple[str, ...]:
    """The names of the terminals that may follow, as errors show them: each once, the likeliest first.

    Where any operand may begin, what opens one otherwise than by a field, a constant or 'not' goes without saying;
    where a whole condition has ended, so does arithmetic, and before a number its sign.
    """
    wanted = set(terminals) - _REFUSED_TERMINALS
    if "NUMBER" in wanted:
        wanted.discard("MINUS")
    if "NAME" in wanted:
        wanted -= {
            "FUNCTION",
            "EVENT_FUNCTION",
            "MADE_OF",
            "FAVOURITE",
            "ONLY",
            "WHICH",
            "SEQUENCE",
            "BAND",
            "CROSSED",
            "EVERYONE",
            "NOBODY",
            "UNFINISHED",
        }
        wanted -= {"AT", "ALL", "ANY", "ANNIVERSARY", "TAGGED"}
    if "_HAS" not in wanted:  # in a filter of events, which refuses it
        wanted.discard("BECAME")
    if "_AND" in wanted and "COMPARE" not in wanted:
        wanted -= {"PLUS", "MINUS", "STAR", "SLASH"}
    names = [name for terminal, name in _READABLE.items() if terminal in wanted]
    names += [
        "'...'" if terminal == "UNFINISHED" else f"'{terminal.strip('_').lower()}'"
        for terminal in sorted(wanted, key=lambda t: t.strip("_"))
        if terminal not in _READABLE and terminal not in _LAST_SHOWN
    ]
    names += [name for terminal, name in _LAST_SHOWN.items() if terminal in wanted]
    return tuple(dict.fromkeys(names))
