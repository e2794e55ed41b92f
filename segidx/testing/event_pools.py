"""Event types, and small pools of values that events and the conditions on them share, so that these hit. It must
import nothing but `segidx/model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from segidx.model.events import EventProperty, EventType, EventTypes
from segidx.model.products import PREFIX
from segidx.model.schema import Field, FieldType

# Types as an account declares them: one with properties of every type, and one without any.
DOWNLOAD = EventType(
    "download",
    (
        EventProperty("title", FieldType.CATEGORY),
        EventProperty("free", FieldType.BOOL),
        EventProperty("published", FieldType.TIMESTAMP),
        EventProperty("pages", FieldType.NUMBER),
        EventProperty("rating", FieldType.NUMBER, 9),
        EventProperty("price", FieldType.NUMBER, None),
    ),
)
IN_APP = EventType("in_app")
DECLARED = (DOWNLOAD, IN_APP)
ALL_TYPES = EventTypes().extended(DECLARED)

# Properties of products as an account declares them.
PRODUCT_PROPERTIES = (
    Field("brand", FieldType.CATEGORY),
    Field("labels", FieldType.TAGS),
    Field("weight", FieldType.NUMBER, 3),
    Field("fragile", FieldType.BOOL),
)

_URLS = (
    "https://shop.example/sale/shoes",
    "https://shop.example/sale/Hats?utm=1",
    "/sale",
    "https://shop.example",
    "/blog/2024/05#end",
    "",
)
_SHORT = ("email", "spring", "Spring", "sms", "", "Łódź", "\u2126", "a b")

# The strings of each property, common ones first, some that fold or normalise alike.
EVENT_STRINGS: dict[str, tuple[str, ...]] = {
    "source": ("email", "organic_search", "direct", "Email", "caf\u00e9", "cafe\u0301", "Straße", ""),
    "product": (*(f"P{n}" for n in range(12)), "p1", "Łódź", "\U0001f600"),
    "producer": ("69", "7", "Acme", "ACME", "acme corp"),
    "category": ("grocery", "drinks", "Grocery", "toys"),
    "kind": ("clicked", "opened", "soft_bounce", "add", "call", "task", "Clicked"),
    "channel": ("email", "sms", "web_push"),
    "url": _URLS,
    "link": _URLS,
    "referrer": _URLS,
    "brand": ("Acme", "acme", "Straße", "STRASSE", "Łódź", ""),
    "labels": ("new", "New", "sale", "eco", "\u2126"),
    "title": ("guide", "Guide", "price list", "caf\u00e9", "cafe\u0301", *(f"t{n}" for n in range(9))),
}
EVENT_STRINGS["accessory_of"] = EVENT_STRINGS["product"]
ABSENT_EVENT_STRINGS = ("nowhere", "EMAIL", "STRASSE", "p", "zzz")

QUANTITIES = ("1", "2", "3", "-1", "0", "0.5", "-0.5", "1.5", "-2", "12", "0.001")
AMOUNTS = ("10", "19.99", "100", "300", "0", "-19.99", "9.5", "45.25", "300.01", "1000", "-100", "0.01")
PRICES = ("10", "9.99", "0.01", "0.03", "100", "0", "99.95", "-5")
_NUMBERS = {
    "quantity": QUANTITIES,
    "unit_price": PRICES,
    "price": PRICES,
    "dwell": ("60", "1", "0", "0.25", "59.999", "600", "3600"),
    "pages": ("1", "12", "300", "0", "-1", "65536", "4294967296"),
    "weight": ("1", "2.5", "0", "0.001", "-1", "1000"),
    "rating": ("5", "4.5", "0.000000001", "3.333333333", "0", "-1"),
}


def strings_of(name: str) -> tuple[str, ...]:
    """The strings that a property of that name has, of an event or of its product."""
    return EVENT_STRINGS.get(name.removeprefix(PREFIX), _SHORT)


def numbers_of(name: str) -> tuple[str, ...]:
    """The numbers that a property of that name has, written out; some are too fine for some scales."""
    return _NUMBERS.get(name.removeprefix(PREFIX), AMOUNTS)


def fitting(numbers: Sequence[str], scale: int) -> tuple[Decimal, ...]:
    """The numbers that have no more decimals than the scale."""
    return tuple(n for n in map(Decimal, numbers) if n == round(n, scale))
