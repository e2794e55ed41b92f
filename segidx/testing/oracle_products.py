"""The catalogue of products, by the oracle: what is held of each product, and what filters of events see of it.

Written from the words of `segidx/model/products.py` and docs/EXPRESSIONS.md alone. It must not import anything but the
model and what the oracle says of values. The readings chosen are in the list of `oracle`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from segidx.model import products as sent
from segidx.model.errors import InvalidValue, SegidxError, UnknownProductProperty
from segidx.model.events import CLOCK_PROPERTIES, EventType
from segidx.model.results import FieldData, Reject
from segidx.model.schema import Field, FieldType, Schema
from segidx.testing.oracle_rows import clean_value


@dataclass(frozen=True, slots=True)
class ProductsWritten:
    accepted: int
    created: int
    deleted: int
    duplicates: int
    rejects: tuple[Reject, ...]


class OracleCatalogue:
    """Products by id, each with the properties that are set."""

    def __init__(self) -> None:
        self.schema = sent.BUILT_IN_PROPERTIES
        self.held: dict[str, dict[str, FieldData]] = {}

    def declare(self, properties: Iterable[Field]) -> None:
        kept = [Field(p.name, FieldType.CATEGORY) if p.type is FieldType.TEXT else p for p in properties]
        self.schema = self.schema.extended(kept)

    def write(self, rows: Sequence[sent.ProductWrite]) -> ProductsWritten:
        """Row after row."""
        before = set(self.held)
        written: set[str] = set()
        rejects: list[Reject] = []
        for index, row in enumerate(rows):
            name = ""
            try:
                product_id = _clean_id(row.product_id)
                clean: dict[str, FieldData | None] = {}
                for name, value in row.properties.items():
                    if name not in self.schema:
                        raise UnknownProductProperty(name, [p.name for p in self.schema])
                    clean[name] = clean_value(self.schema[name], value)
            except SegidxError as error:
                rejects.append(Reject(index, str(row.product_id), name, error.reason, error.message))
                continue
            written.add(product_id)
            if row.delete:
                self.held.pop(product_id, None)
            if clean or not row.delete:
                product = self.held.setdefault(product_id, {})
                for name, cleaned in clean.items():
                    product.pop(name, None)
                    if cleaned is not None:
                        product[name] = cleaned
        return ProductsWritten(
            len(written),
            len(written & (set(self.held) - before)),
            len(written & (before - set(self.held))),
            len(rows) - len(rejects) - len(written),
            tuple(rejects),
        )

    def seen(self, type: EventType, own: Mapping[str, FieldData]) -> dict[str, FieldData]:
        """What an event's filter sees beside the event's own properties, which come first."""
        product = self.held.get(str(own.get(sent.PRODUCT)), {}) if sent.PRODUCT in own else {}
        if not reached_by(type):
            return {}
        plain = {p.name for p in plain_properties(type, self.schema)}
        found = {sent.PREFIX + name: value for name, value in product.items()}
        return found | {name: value for name, value in product.items() if name in plain}


def reached_by(type: EventType) -> bool:
    """Whether its events have a product."""
    return any(p.name == sent.PRODUCT and p.type is FieldType.CATEGORY for p in type.properties)


def plain_properties(type: EventType, schema: Schema) -> list[Field]:
    """The properties of products that a plain name reaches too: those that the event lacks, and those that it has of
    the same type, where it has no value of its own."""
    own = {p.name: p.type for p in type.properties}
    return [p for p in schema if p.name not in CLOCK_PROPERTIES and own.get(p.name, p.type) is p.type]


def filter_fields(type: EventType, schema: Schema) -> list[Field]:
    """The fields that a filter has of products, as far as their types go: of tags each one is compared."""
    if not reached_by(type):
        return []
    own = {p.name for p in type.properties}
    new = [p for p in plain_properties(type, schema) if p.name not in own]
    named = [Field(sent.PREFIX + p.name, p.type, p.scale) for p in schema]
    return [Field(p.name, FieldType.CATEGORY) if p.type is FieldType.TAGS else p for p in (*new, *named)]


def _clean_id(product_id: object) -> str:
    try:
        text = product_id.decode() if isinstance(product_id, bytes) else product_id
        if not isinstance(text, str):
            raise InvalidValue("a product id is a string")
        text = unicodedata.normalize("NFC", text)
        size = len(text.encode())
    except UnicodeError as error:
        raise InvalidValue("a product id is UTF-8") from error
    if not 1 <= size <= sent.MAX_PRODUCT_ID_BYTES:
        raise InvalidValue(f"product id {text!r} has {size} bytes")
    return text
