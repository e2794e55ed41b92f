"""Random rows that write the catalogue of products: new ones, changed and deleted ones, some that no event names, and
rows that are to be refused. It must import nothing but `segidx/model` and `segidx/testing`.
"""

from __future__ import annotations

import random
from decimal import Decimal

from segidx.model.products import MAX_PRODUCT_ID_BYTES, ProductWrite
from segidx.model.schema import MAX_STRING_BYTES, Field, FieldType, Schema
from segidx.testing.event_pools import EVENT_STRINGS, fitting, numbers_of, strings_of

IDS = (*EVENT_STRINGS["product"], "Lo\u0301dz\u0301", "unsold", "P", "zz" * 100)


def random_product_writes(
    rng: random.Random, properties: Schema, count: int, *, bad_rows: bool = True
) -> list[ProductWrite]:
    """Rows of a batch, in which ids come again; with `bad_rows`, about one in twelve is to be refused."""
    return [
        _bad(rng, properties) if bad_rows and rng.randrange(12) == 0 else _good(rng, properties) for _ in range(count)
    ]


def _good(rng: random.Random, properties: Schema) -> ProductWrite:
    product_id: str | bytes = rng.choice(IDS)
    if rng.randrange(8) == 0:
        product_id = str(product_id).encode()
    delete = rng.randrange(5) == 0
    if delete and rng.randrange(2):
        return ProductWrite(product_id, delete=True)
    chosen = [p for p in properties if rng.randrange(3)]
    return ProductWrite(product_id, {p.name: _value(rng, p) for p in chosen}, delete)


def _value(rng: random.Random, of: Field) -> object:
    if rng.randrange(6) == 0:
        return None
    match of.type:
        case FieldType.NUMBER:
            return rng.choice(fitting(numbers_of(of.name), of.scale))
        case FieldType.BOOL:
            return bool(rng.randrange(2))
        case FieldType.TAGS:
            pool = strings_of(of.name)
            tags = [tag for tag in rng.sample(pool, rng.randrange(min(5, len(pool)))) if tag]
            return frozenset(tags) if rng.randrange(2) else tags
    return rng.choice(strings_of(of.name))


def _bad(rng: random.Random, properties: Schema) -> ProductWrite:
    good = _good(rng, properties)
    bad: list[ProductWrite] = [
        ProductWrite("", good.properties),
        ProductWrite("é" * (MAX_PRODUCT_ID_BYTES // 2 + 1), good.properties, delete=True),
        ProductWrite(good.product_id, {**good.properties, "no_such_property": "x"}),
    ]
    for each in properties:
        wrong: tuple[object, ...] = ("x" * (MAX_STRING_BYTES + 1), Decimal(1))
        if each.type is FieldType.NUMBER:
            wrong = (Decimal(1).scaleb(-each.scale - 1), "one", True)
        elif each.type is FieldType.BOOL:
            wrong = ("yes", Decimal(7))
        elif each.type is FieldType.TAGS:
            wrong = ("plain", ["x" * (MAX_STRING_BYTES + 1)], [""])
        bad += [ProductWrite(good.product_id, {each.name: value}) for value in wrong]
    return rng.choice(bad)
