"""The product catalogue: what is known of products apart from who bought them. Imports the schema's types only.

A product is known by the string that stands in the property `product` of lines and of other events. Its properties are
declared as fields are; three every account has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal

from segidx.model.errors import InvalidSchema
from segidx.model.events import CART, CLOCK_PROPERTIES, EVENT_TYPE_NAME, LINE, EventType
from segidx.model.schema import Field, FieldType, Schema

MAX_PRODUCT_ID_BYTES = 255
MAX_PRODUCT_PROPERTIES = 64  # of one account, those that every account has among them
MAX_PRODUCT_BYTES = 64 << 10  # of the values of one product

PRODUCT = "product"  # the property of an event that names its product
PREFIX = "product."  # before the name of a product's property, in filters of events

PRODUCER = Field("producer", FieldType.CATEGORY)
CATEGORY = Field("category", FieldType.CATEGORY)
ACCESSORY_OF = Field("accessory_of", FieldType.TAGS)  # ids of the products that it is an accessory of
BUILT_IN_PROPERTIES = Schema((PRODUCER, CATEGORY, ACCESSORY_OF))

# Names that would say two things where a filter of lines or carts names a property plainly.
_TAKEN = frozenset(
    {"time", *CLOCK_PROPERTIES, *(p.name for type in (LINE, CART) for p in type.properties)}
) - frozenset(p.name for p in BUILT_IN_PROPERTIES)
_TYPES = (FieldType.CATEGORY, FieldType.TAGS, FieldType.NUMBER, FieldType.BOOL)

ProductValue = str | Decimal | bool | frozenset[str]


@dataclass(frozen=True, slots=True)
class ProductWrite:
    """One row of a batch: properties to set by name, as a contact's fields are given; None takes one away, a tags value
    replaces the tags held, those not named stay. An unknown product is made.

    With `delete` what is held of the product is taken away first; without properties the product is gone then.
    """

    product_id: str | bytes
    properties: Mapping[str, object] = field(default_factory=dict)
    delete: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """A product with the properties that are set; tags are a frozenset."""

    product_id: str
    properties: Mapping[str, ProductValue]


def extended(schema: Schema, properties: Iterable[Field]) -> Schema:
    """The properties with more of them; a text is kept as a category. Declaring one again as it is changes nothing.
    Raises SchemaConflict for another type or scale, InvalidSchema for a property that cannot be."""
    wanted = [Field(p.name, FieldType.CATEGORY) if p.type is FieldType.TEXT else p for p in properties]
    for each in wanted:
        if each.name not in schema:
            _check(each)
    found = schema.extended(wanted)
    if len(found) > MAX_PRODUCT_PROPERTIES:
        raise InvalidSchema(f"products have at most {MAX_PRODUCT_PROPERTIES} properties, not {len(found)}")
    return found


def _check(each: Field) -> None:
    if not EVENT_TYPE_NAME.fullmatch(each.name):
        raise InvalidSchema(
            f"product property {each.name!r} must be 1 to 64 of a-z, 0-9 and '_', beginning with a letter",
            property=each.name,
        )
    if each.name in _TAKEN:
        raise InvalidSchema(
            f"product property {each.name!r} cannot have this name, which lines and carts give a meaning of their own;"
            " choose another",
            property=each.name,
        )
    if each.type not in _TYPES:
        raise InvalidSchema(
            f"product property {each.name!r} is a {each.type.value}; products have"
            f" {', '.join(t.value for t in _TYPES)} and text, which is kept as a category",
            property=each.name,
        )


def has_products(type: EventType) -> bool:
    """Whether events of the type name products, so that filters reach the catalogue."""
    for each in type.properties:
        if each.name == PRODUCT:
            return each.type is FieldType.CATEGORY
    return False


def product_size(values: Iterable[object]) -> int:
    """Bytes of a product's values as MAX_PRODUCT_BYTES counts them: 8 a number or bool, strings and tags 4 and their
    bytes."""
    size = 0
    for value in values:
        if isinstance(value, str):
            size += 4 + len(value.encode())
        elif isinstance(value, Set | tuple | list):
            size += 4 + sum(4 + len(str(tag).encode()) for tag in value)
        else:
            size += 8
    return size
