"""Deltas against dicts and sets: building, merging, looking up and folding layers; and bytes that are no delta."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import validate
from segidx.kernels.columns import VALUE_LIMIT
from segidx.kernels.deltas import (
    EMPTY,
    CorruptDelta,
    Delta,
    DeltaArrays,
    fold_key,
    key_of,
    overlay_bitmaps,
    overlay_counts,
    overlay_held,
)
from segidx.testing.deltas import Layer, Members, delta_of, joined, layer_of, members_above

# Sizes at which a representation, a word or a container ends.
THRESHOLDS = (0, 1, 63, 64, 65, 4095, 4096, 4097, 65_535, 65_536)
TOP = 2**32 - 1
EDGES = (0, 1, 63, 64, 65_535, 65_536, 2**20 - 1, 2**20, 2**20 + 1, 2**31, TOP - 65_536, TOP - 1, TOP)
KEYS = (0, 1, 7, key_of(0, 0x10000), key_of(1, 0), key_of(1, TOP), key_of(2, 3), key_of(0xFFFF, TOP), 2**64 - 1)
FIELDS = (0, 1, 2, 9, 0xFFFF, TOP)
VALUES = (None, None, 0, 1, -1, 255, 2**31, -(2**33), VALUE_LIMIT - 1, 1 - VALUE_LIMIT)


def some_ordinals(rng: random.Random, most: int) -> set[int]:
    """Edges, neighbours and a run, so that layers meet each other."""
    found = set(rng.sample(EDGES, rng.randint(0, len(EDGES))))
    found |= {rng.randrange(40) for _ in range(rng.randint(0, most))}
    start = rng.choice((0, 65_530, 2**20 - 5, TOP - 30))
    return found | set(range(start, start + rng.randint(0, 12)))


def random_layer(rng: random.Random, most: int = 12) -> Layer:
    keys = {}
    for key in rng.sample(KEYS, rng.randint(0, len(KEYS))):
        added, removed = some_ordinals(rng, most), some_ordinals(rng, most)
        removed -= added
        keys[key] = Members(rng.choice((0, 1, 2**31 - 1, rng.randrange(2**31))), frozenset(added), frozenset(removed))
    fields = {}
    for field in rng.sample(FIELDS, rng.randint(0, len(FIELDS))):
        values = {ordinal: rng.choice(VALUES) for ordinal in some_ordinals(rng, most)}
        if values:
            fields[field] = values
    return Layer(keys, fields)


def layers_of(seed: int, most: int = 6) -> list[Layer]:
    rng = random.Random(seed)
    return [random_layer(rng) for _ in range(rng.randint(1, most))]


def test_the_empty_delta() -> None:
    assert delta_of(Layer()).data == EMPTY.data
    assert EMPTY.shape == (0, 0, 0, 0, 0)
    assert len(EMPTY) == 32
    assert EMPTY.merged(EMPTY).data == EMPTY.data
    assert overlay_bitmaps((EMPTY,), 5) == (None, None)
    assert overlay_bitmaps((), 5) == (None, None)


@pytest.mark.parametrize("seed", range(60))
def test_what_is_built_is_read_back(seed: int) -> None:
    for layer in layers_of(seed):
        delta = delta_of(layer)
        assert layer_of(delta) == layer
        assert len(delta) == len(delta.data)
        assert delta.shape == (
            len(layer.keys),
            sum(len(m.added) for m in layer.keys.values()),
            sum(len(m.removed) for m in layer.keys.values()),
            len(layer.fields),
            sum(map(len, layer.fields.values())),
        )
        assert [k for k in (*KEYS, 5, 2**40) if delta.has_key(k)] == [k for k in KEYS if k in layer.keys]
        assert [f for f in (*FIELDS, 3) if delta.has_field(f)] == [f for f in FIELDS if f in layer.fields]
        arrays = DeltaArrays(delta)
        for field in (0, 1, 2, 3):
            here = arrays.keys_of(field)
            assert arrays.keys[here].tolist() == sorted(k for k in layer.keys if k >> 32 == field)
        assert arrays.values_of(3) is None


@pytest.mark.parametrize("seed", range(120))
def test_merging_is_setting_one_after_the_other(seed: int) -> None:
    """Byte for byte what would have been built, whatever is merged first."""
    layers = layers_of(seed)
    wanted = delta_of(joined(layers)).data
    left = right = None
    for layer in layers:
        left = delta_of(layer) if left is None else left.merged(delta_of(layer))
    for layer in reversed(layers):
        right = delta_of(layer) if right is None else delta_of(layer).merged(right)
    assert left is not None
    assert right is not None
    assert left.data == wanted
    assert right.data == wanted
    assert left.merged(left).data == wanted, "what sets may be applied again"


@pytest.mark.parametrize("older", THRESHOLDS)
@pytest.mark.parametrize("newer", THRESHOLDS)
def test_merging_at_every_threshold(older: int, newer: int) -> None:
    for first, step in ((0, 1), (30_000, 2), (older, 1)):
        a = Layer({9: Members(5, frozenset(range(older)), frozenset(range(70_000, 70_000 + older)))})
        mine = frozenset(range(first, first + newer * step, step))
        b = Layer({9: Members(6, frozenset(range(70_000, 70_000 + newer // 2)) - mine, mine)})
        delta = delta_of(a).merged(delta_of(b))
        assert delta.data == delta_of(joined([a, b])).data


@pytest.mark.parametrize("seed", range(60))
def test_pairs_held_counts_and_bitmaps(seed: int) -> None:
    rng = random.Random(-seed)
    layers = layers_of(seed)
    deltas = tuple(map(delta_of, layers))
    below = {key: some_ordinals(rng, 30) for key in KEYS}
    now = {key: members_above(below[key], layers, key) for key in KEYS}

    pairs = [(key, ordinal) for key in KEYS for ordinal in rng.sample([*EDGES, *range(45)], 40)]
    if seed % 2:
        rng.shuffle(pairs)
    held = np.array([ordinal in below[key] for key, ordinal in pairs], np.uint8)
    overlay_held(deltas, np.array([k for k, _ in pairs], np.uint64), np.array([o for _, o in pairs], np.uint32), held)
    assert held.tolist() == [ordinal in now[key] for key, ordinal in pairs]

    keys = np.array([*KEYS, 12_345], np.uint64)
    counts = np.arange(len(keys), dtype=np.int64) - 3
    wanted = counts.tolist()
    for layer in layers:
        for i, key in enumerate(KEYS):
            if key in layer.keys:
                wanted[i] = layer.keys[key].count
    known = {key for layer in layers for key in layer.keys}
    assert overlay_counts(deltas, keys, counts) == len(known)
    assert counts.tolist() == wanted

    together = joined(layers)
    for key in (*KEYS, 12_345):
        # Step by step, each step with what came before once more.
        fold = fold_key(deltas[:1], key)
        for at in range(1, len(deltas)):
            fold = fold_key(deltas[random.Random(at).randrange(at + 1) : at + 1], key, fold)
        assert fold.bitmaps == overlay_bitmaps(deltas, key)
        assert fold_key((), key, fold).bitmaps == fold.bitmaps
        added, removed = overlay_bitmaps(deltas, key)
        members = together.keys.get(key, Members())
        for bitmap, ordinals in ((added, members.added), (removed, members.removed)):
            assert (bitmap is None) == (not ordinals)
            if bitmap is not None:
                assert validate(bitmap) is None
                assert BitMap.deserialize(bitmap) == BitMap(ordinals)


@pytest.mark.parametrize("n", THRESHOLDS)
def test_bitmaps_of_every_size(n: int) -> None:
    """As one container, over a container's end, over a shard's end, as every other, and as the last ordinals."""
    for first, step in ((0, 1), (65_536 - n // 2, 1), (2**20 - n // 2, 1), (0, 2), (2**32 - n, 1)):
        wanted = BitMap(range(first, first + n * step, step)) if n else BitMap()
        layers = (
            Layer({4: Members(0, frozenset(wanted))}),
            Layer({3: Members(1, frozenset({7}))}),
            Layer({4: Members(0, frozenset(), frozenset(o + 1 for o in wanted if o < TOP) - frozenset(wanted))}),
        )
        added, removed = overlay_bitmaps(tuple(map(delta_of, layers)), 4)
        assert (added is None) == (n == 0)
        if added is not None:
            assert validate(added) is None
            assert BitMap.deserialize(added) == wanted
        if removed is not None:
            assert BitMap.deserialize(removed) == BitMap(layers[2].keys[4].removed)


def test_lengths_must_agree() -> None:
    keys = np.zeros(2, np.uint64)
    with pytest.raises(ValueError, match="one length"):
        overlay_held((), keys, np.zeros(1, np.uint32), np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="one length"):
        overlay_held((), keys, np.zeros(2, np.uint32), np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="one length"):
        overlay_counts((), keys, np.zeros(3, np.int64))


# --- bytes that are no delta ---------------------------------------------------------------------------------

SOUND = Layer(
    {5: Members(2, frozenset({1, 2, 3}), frozenset({4, 9})), key_of(1, 1): Members(0, frozenset(), frozenset({8, 12}))},
    {3: {1: 10, 2: None, 5: -4}, 8: {0: 7, 6: 1}},
)


def parts_of(delta: Delta) -> dict[str, tuple[int, int, str]]:
    """Where each array lies: name -> (offset, elements, format)."""
    nkeys, nadds, nremoves, nfields, nvalues = delta.shape
    at = 32
    found = {}
    for name, kind, n in (
        ("keys", "Q", nkeys),
        ("values", "q", nvalues),
        ("least", "q", nfields),
        ("most", "q", nfields),
        ("counts", "I", nkeys),
        ("add_ends", "I", nkeys),
        ("remove_ends", "I", nkeys),
        ("adds", "I", nadds),
        ("removes", "I", nremoves),
        ("fields", "I", nfields),
        ("field_ends", "I", nfields),
        ("ordinals", "I", nvalues),
        ("present", "B", nvalues),
    ):
        found[name] = (at, n, kind)
        at += n * struct.calcsize(kind)
    assert at == len(delta)
    return found


def changed(name: str, index: int, value: int) -> bytes:
    delta = delta_of(SOUND)
    at, n, kind = parts_of(delta)[name]
    assert index < n
    data = bytearray(delta.data)
    struct.pack_into(f"<{kind}", data, at + index * struct.calcsize(kind), value)
    return bytes(data)


def header(index: int, value: int) -> bytes:
    data = bytearray(delta_of(SOUND).data)
    struct.pack_into("<I", data, 4 * index, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter than its header"),
        (delta_of(SOUND).data[:31], "shorter than its header"),
        (header(0, 2), "unknown version"),
        (header(6, 1), "unknown version"),
        (header(7, 1), "unknown version"),
        *((header(i, 100), "length") for i in range(1, 6)),
        *((header(i, 2**32 - 1), "length") for i in range(1, 6)),
        (delta_of(SOUND).data[:-1], "length"),
        (delta_of(SOUND).data + b"\0", "length"),
        (changed("keys", 1, 5), "keys do not ascend"),
        (changed("keys", 0, 2**63), "keys do not ascend"),
        (changed("fields", 0, 8), "fields do not ascend"),
        (changed("fields", 1, 2), "fields do not ascend"),
        (changed("counts", 1, 2**31), "count is too large"),
        (changed("values", 0, VALUE_LIMIT), "out of range"),
        (changed("values", 4, -VALUE_LIMIT), "out of range"),
        (changed("add_ends", 0, 4), "added ordinals"),
        (changed("add_ends", 1, 2), "added ordinals"),
        (changed("add_ends", 1, 4), "added ordinals"),
        (changed("adds", 1, 1), "added ordinals"),
        (changed("adds", 2, 0), "added ordinals"),
        (changed("remove_ends", 0, 3), "removed ordinals"),
        (changed("remove_ends", 1, 5), "removed ordinals"),
        (changed("removes", 1, 4), "removed ordinals"),
        (changed("field_ends", 0, 6), "ordinals of values"),
        (changed("field_ends", 1, 4), "ordinals of values"),
        (changed("ordinals", 4, 0), "ordinals of values"),
        (changed("ordinals", 0, 2**31), "ordinals of values"),
    ],
)
def test_every_check_of_opening(data: bytes, reason: str) -> None:
    with pytest.raises(CorruptDelta, match=reason):
        Delta(data)


def test_random_damage_is_refused_or_harmless() -> None:
    """Whatever opens may be merged, folded and looked up: wrong, perhaps, but without a crash."""
    rng = random.Random(3)
    opened = 0
    for seed in range(40):
        good = delta_of(joined(layers_of(seed))).data
        for _ in range(60):
            bad = bytearray(good)
            for _ in range(rng.randint(1, 3)):
                bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            try:
                delta = Delta(bytes(bad))
            except CorruptDelta:
                continue
            opened += 1
            for one, other in ((delta, Delta(good)), (Delta(good), delta), (delta, delta)):
                merged = one.merged(other)
                assert merged.shape[0] >= delta.shape[0]
                for key in KEYS:
                    overlay_bitmaps((one, other, merged), key)
            pairs = np.array(KEYS, np.uint64)
            overlay_held((delta,), pairs, np.arange(len(KEYS), dtype=np.uint32), np.zeros(len(KEYS), np.uint8))
            overlay_counts((delta,), pairs, np.zeros(len(KEYS), np.int64))
    assert opened, "some damage is to values only"


def test_garbage_never_opens() -> None:
    rng = random.Random(4)
    for n in (0, 1, 31, 32, 33, 64, 500):
        for _ in range(50):
            with pytest.raises(CorruptDelta):
                Delta(rng.randbytes(n))
