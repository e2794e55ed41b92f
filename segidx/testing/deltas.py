"""Deltas and their plain models: a `Layer` of dicts and sets, the delta of it, and what layers come to together.

For tests of the overlay. It must import nothing of segidx but `segidx.kernels`; the models use no kernel at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from segidx.kernels.deltas import ColumnChanges, Delta, DeltaArrays, PostingChanges, build_delta

Values = dict[int, int | None]  # by ordinal; None takes the value away


@dataclass(frozen=True, slots=True)
class Members:
    """Memberships that a layer sets for one key, and how many contacts hold it afterwards."""

    count: int = 0
    added: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Layer:
    """What one delta sets: `keys` by key, `fields` by field."""

    keys: Mapping[int, Members] = field(default_factory=dict)
    fields: Mapping[int, Values] = field(default_factory=dict)


def delta_of(layer: Layer) -> Delta:
    """The delta of a layer."""
    keys = sorted(layer.keys)
    members = [layer.keys[key] for key in keys]
    postings = PostingChanges(
        np.array(keys, np.uint64),
        np.array([m.count for m in members], np.int64),
        np.cumsum([len(m.added) for m in members], dtype=np.uint32),
        _ascending(m.added for m in members),
        np.cumsum([len(m.removed) for m in members], dtype=np.uint32),
        _ascending(m.removed for m in members),
    )
    columns = []
    for number, values in sorted(layer.fields.items()):
        ordinals = sorted(values)
        given = [values[o] for o in ordinals]
        columns.append(
            ColumnChanges(
                number,
                np.array(ordinals, np.uint32),
                np.array([0 if v is None else v for v in given], np.int64),
                np.array([v is not None for v in given], np.bool_),
            )
        )
    return build_delta([postings] if keys else [], columns)


def _ascending(sets: Iterable[frozenset[int]]) -> np.ndarray:
    return np.array([ordinal for members in sets for ordinal in sorted(members)], np.uint32)


def layer_of(delta: Delta) -> Layer:
    """The layer that a delta's arrays spell out."""
    arrays = DeltaArrays(delta)
    keys = {}
    for at, (key, count) in enumerate(zip(arrays.keys.tolist(), arrays.counts.tolist(), strict=True)):
        added, removed = arrays.memberships(at)
        keys[key] = Members(count, frozenset(added.tolist()), frozenset(removed.tolist()))
    fields: dict[int, Values] = {}
    for column in arrays.columns():
        rows = zip(column.ordinals.tolist(), column.values.tolist(), column.present.tolist(), strict=True)
        fields[column.field] = {ordinal: value if present else None for ordinal, value, present in rows}
    return Layer(keys, fields)


def joined(layers: Sequence[Layer]) -> Layer:
    """One layer that sets what all of them set, oldest first."""
    keys: dict[int, Members] = {}
    fields: dict[int, Values] = {}
    for layer in layers:
        for key, newer in layer.keys.items():
            older = keys.get(key, Members())
            keys[key] = Members(
                newer.count,
                (older.added - newer.removed) | newer.added,
                (older.removed - newer.added) | newer.removed,
            )
        for number, values in layer.fields.items():
            fields[number] = fields.get(number, {}) | values
    return Layer(keys, fields)


def members_above(base: Iterable[int], layers: Sequence[Layer], key: int) -> set[int]:
    """Who holds a key, given who holds it below the layers."""
    held = set(base)
    for layer in layers:
        members = layer.keys.get(key, Members())
        held = (held - members.removed) | members.added
    return held


def values_above(base: Mapping[int, int], layers: Sequence[Layer], number: int) -> dict[int, int]:
    """The values of a field by ordinal, given those below the layers."""
    values: Values = dict(base)
    for layer in layers:
        values |= layer.fields.get(number, {})
    return {ordinal: value for ordinal, value in values.items() if value is not None}
