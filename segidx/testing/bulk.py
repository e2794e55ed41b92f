"""Many contacts at once, for large runs: up to hundreds of thousands of rows in about a second, from one seed.

Densities differ on purpose, so that bitmaps of every representation arise: values of one field from half of the
contacts down to a few, fields set for nearly all or for few, and every other field clustered into blocks of contacts.
It must import nothing but `segidx/model` and `segidx/testing/pools`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np

from segidx.model.results import FieldData
from segidx.model.schema import Field, FieldType, Schema
from segidx.testing.pools import Pools, pools_for

_PRESENCE = (0.97, 0.6, 0.25, 0.02)  # the share of contacts that have a field, by its position in the schema
_BLOCK = 3000  # contacts of one cluster


def random_contacts(
    rng: np.random.Generator, schema: Schema, n: int, pools: Pools | None = None, *, prefix: str = "c"
) -> list[tuple[str, dict[str, FieldData]]]:
    """n rows (contact id, fields) with ids `prefix` + seven digits, ready for an upsert."""
    rows: list[tuple[str, dict[str, FieldData]]] = [(f"{prefix}{i:07d}", {}) for i in range(n)]
    for position, field in enumerate(schema):
        present = np.flatnonzero(rng.random(n) < _PRESENCE[position % len(_PRESENCE)])
        values = _column(rng, field, present, pools or pools_for(), clustered=position % 2 == 1)
        for row, value in zip(present.tolist(), values, strict=True):
            rows[row][1][field.name] = value
    return rows


def _skewed(rng: np.random.Generator, size: int, kinds: int) -> np.ndarray:
    """Indices below `kinds`, the first for about half, each next for half of the rest, all possible."""
    geometric = np.minimum(rng.geometric(0.5, size) - 1, kinds - 1)
    return np.where(rng.random(size) < 0.02, rng.integers(0, kinds, size), geometric)


def _column(
    rng: np.random.Generator, field: Field, contacts: np.ndarray, pools: Pools, *, clustered: bool
) -> Sequence[FieldData]:
    """One value for each of the contacts (ascending row numbers)."""
    size = len(contacts)
    if field.type is FieldType.BOOL:
        return [bool(v) for v in rng.random(size) < 0.3]
    if field.type is FieldType.TAGS:
        return _tag_sets(rng, contacts, pools, clustered=clustered)
    pool = _pool(field, pools)
    if clustered:
        of_block = rng.permutation(int(contacts[-1]) // _BLOCK + 1 if size else 1) % len(pool)
        indices = of_block[contacts // _BLOCK]
        indices = np.where(rng.random(size) < 0.05, rng.integers(0, len(pool), size), indices)
    else:
        indices = _skewed(rng, size, len(pool))
    values = [pool[i] for i in indices.tolist()]
    for position in np.flatnonzero(rng.random(size) < _own_share(field)).tolist():
        values[position] = _own_value(rng, field, int(contacts[position]), pools)
    return values


def _own_share(field: Field) -> float:
    """The share of a field's values that are drawn from a wide range rather than from the small pool."""
    return {FieldType.CATEGORY: 0.0, FieldType.TEXT: 0.5}.get(field.type, 0.6)


def _own_value(rng: np.random.Generator, field: Field, contact: int, pools: Pools) -> FieldData:
    match field.type:
        case FieldType.TEXT:
            return f"user{contact}@example.{'com' if contact % 3 else 'org'}"
        case FieldType.NUMBER:
            return Decimal(int(rng.normal(100, 400) * 10**field.scale)).scaleb(-field.scale)
        case FieldType.DATE:
            return pools.dates[0] - timedelta(days=int(rng.integers(-400, 20_000)))
    instant: datetime = pools.instants[0] - timedelta(milliseconds=int(rng.integers(-(10**9), 10**11)))
    return instant


def _pool(field: Field, pools: Pools) -> Sequence[str | Decimal | date]:
    match field.type:
        case FieldType.NUMBER:
            return pools.numbers(field.scale)
        case FieldType.DATE:
            return pools.dates
        case FieldType.TIMESTAMP:
            return pools.instants
    return pools.strings


def _tag_sets(rng: np.random.Generator, contacts: np.ndarray, pools: Pools, *, clustered: bool) -> list[frozenset[str]]:
    sets: list[set[str]] = [set() for _ in range(len(contacts))]
    for position, tag in enumerate(pools.tags):
        density = 0.5 / (1 + position) ** 1.5
        held = rng.random(len(contacts)) < density
        if clustered:
            held |= (contacts // _BLOCK) % len(pools.tags) == position
        for i in np.flatnonzero(held).tolist():
            sets[i].add(tag)
    first = pools.tags[0]
    return [frozenset(tags or {first}) for tags in sets]
