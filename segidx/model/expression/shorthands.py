"""Shorthands of where a visit or an order came from: one word for a condition on its properties. Imports the nodes and
values only.

They are words of the text syntax in filters of the types that every account has; a type that an account declares may
have properties of these names, and there they are those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from segidx.model.errors import InvalidExpression
from segidx.model.expression.nodes import Comparison, Expression, In, IsSet, Operator, Or
from segidx.model.values import Constant, FieldValue

UTM_PROPERTIES = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")


def _utm() -> Expression:
    return Or(tuple(map(IsSet, UTM_PROPERTIES)))


def _search() -> Expression:
    return In(FieldValue("source"), ("paid_search", "organic_search"))


def _advert() -> Expression:
    return Comparison(FieldValue("paid"), Operator.EQ, Constant(True))


def _of_source(source: str) -> Callable[[], Expression]:
    return lambda: Comparison(FieldValue("source"), Operator.EQ, Constant(source))


_OF_ORDERS: Mapping[str, Callable[[], Expression]] = {
    "referral": _of_source("referral"),
    "search": _search,
    "advert": _advert,
    "email": _of_source("email"),
    "direct": _of_source("direct"),
}
_WORDS: Mapping[str, Mapping[str, Callable[[], Expression]]] = {
    "visit": {"utm": _utm, **_OF_ORDERS},
    "order": _OF_ORDERS,
}


def shorthands_of(type: str) -> tuple[str, ...]:
    """The words that are shorthands in filters of events of that type."""
    return tuple(_WORDS.get(type, ()))


def shorthand(word: str, type: str = "visit") -> Expression:
    """What the word stands for in a filter of visits, or of orders: `events("visit").where(shorthand("search"))`.

    `utm`: any utm property is set; `search`: the source is paid_search or organic_search; `advert`: it was paid;
    `referral`, `email`, `direct`: the source is that. Raises InvalidExpression for a word that stands for nothing.
    """
    found = _WORDS.get(type, {}).get(word)
    if found is None:
        known = ", ".join(shorthands_of(type)) or "none"
        raise InvalidExpression(f"{word!r} is no shorthand in filters of {type!r} events; there are: {known}")
    return found()
