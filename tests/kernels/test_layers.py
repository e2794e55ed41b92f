"""Postings and columns under layers of an overlay, against sets and dicts: every form of container, range and table
scans whole and for candidates only, bounds and estimates, at every SIMD level."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import Column, Posting, Program, postings_hold, simd_level
from segidx.kernels.columns import CHUNK_ROWS, VALUE_LIMIT, encode_chunk
from segidx.kernels.deltas import overlay_bitmaps
from segidx.testing.deltas import Layer, Members, Values, delta_of, joined, members_above, values_above

SIZE = 3 * 65_536 + 1000  # four containers, the last one short
FIELD = 6
THRESHOLDS = (0, 1, 63, 64, 65, 4095, 4096, 4097, 65_535, 65_536)
FEW = (2, 5, 8, 9, 31, 500)  # changes of an overlay are few, mostly
# (least value, greatest value) of a column: codes of 0, 1, 2, 4 and 8 bytes.
SPANS = ((7, 7), (-100, 100), (0, 253), (0, 254), (0, 60_000), (-5, 70_000), (-(2**31), 2**31), (-(2**61), 2**61))


def posting(ordinals: Iterable[int]) -> Posting:
    bitmap = BitMap(ordinals)
    bitmap.run_optimize()
    return Posting([bitmap.serialize()])


def run(build: Callable[[Program], int], universe: Posting) -> BitMap:
    """A program's members, after checking that its ways of answering agree."""
    program = Program()
    program.finish(build(program), universe)
    members = BitMap.deserialize(program.materialise())
    assert program.count() == len(members)
    assert program.any() == bool(members)
    return members


# --- postings --------------------------------------------------------------------------------------------------


def shapes(rng: random.Random) -> dict[str, BitMap]:
    found = {f"random {n}": BitMap(65_536 + o for o in rng.sample(range(65_536), n)) for n in (*THRESHOLDS, *FEW)}
    found |= {f"first {n}": BitMap(range(65_536, 65_536 + n)) for n in THRESHOLDS}
    found["runs"] = BitMap(o for start in range(0, SIZE, 700) for o in range(start, min(SIZE, start + 300)))
    found["every second"] = BitMap(range(0, SIZE, 2))
    found["all"] = BitMap(range(SIZE))
    return found


def check_overlaid_postings(seed: int) -> None:
    """Every base under overlays. What is added may be there already, and what is taken may not: a merge that is half
    done leaves it so."""
    rng = random.Random(seed)
    sets = shapes(rng)
    deltas = {
        (added, removed): delta_of(
            Layer({1: Members(0, frozenset(sets[added]), frozenset(sets[removed] - sets[added]))})
        )
        for added, removed in zip(sets, rng.sample(sorted(sets), len(sets)), strict=True)
    }
    members = BitMap(range(SIZE)) - BitMap([5, 70_000, 65_536 + 65_535])
    universe = posting(members)
    in_one = BitMap(65_536 + o for o in rng.sample(range(65_536), 3000))
    some = [BitMap(rng.sample(range(SIZE), 300)), in_one, sets["every second"]]
    narrowing = [(posting(narrow), narrow) for narrow in some]
    for base_name, base in sets.items():
        opened = posting(base)
        for (added, removed), delta in rng.sample(sorted(deltas.items()), 5):
            over = opened.overlaid(*overlay_bitmaps((delta,), 1))
            wanted = (base - (sets[removed] - sets[added])) | sets[added]
            check_overlaid(over, wanted, universe, members, narrowing, f"{base_name} with {added} without {removed}")
            asked = rng.sample(range(SIZE + 100), 200)
            assert over.contains_many(asked).tolist() == [o in wanted for o in asked]
            assert [over.contains(o) for o in asked[:20]] == [o in wanted for o in asked[:20]]


def check_overlaid(
    over: Posting,
    wanted: BitMap,
    universe: Posting,
    members: BitMap,
    narrowing: Sequence[tuple[Posting, BitMap]],
    what: str,
) -> None:
    for narrow, its in narrowing:
        assert run(lambda p, n=narrow: p.all_of([p.posting(n), p.posting(over)]), universe) == its & wanted & members, (
            what
        )
        without = run(lambda p, n=narrow: p.all_of([p.posting(n), p.negate(p.posting(over))]), universe)
        assert without == (its - wanted) & members, what
        either = run(lambda p, n=narrow: p.any_of([p.posting(n), p.posting(over)]), universe)
        assert either == (its | wanted) & members, what
    assert run(lambda p: p.posting(over), universe) == wanted & members, what
    assert run(lambda p: p.negate(p.posting(over)), universe) == members - wanted, what
    assert run(lambda p: p.constant(True), over) == wanted, f"{what}, as the universe"


def test_overlaid_postings() -> None:
    check_overlaid_postings(1)


def check_pairs(seed: int, rounds: int) -> None:
    """Counts of two postings that both lie under overlays, each complemented or not, asked for twice: what the first
    time found out of an overlay is used by the second one. The overlays touch some rows of the other, too."""
    rng = random.Random(seed)
    sets = list(shapes(rng).values())
    members = BitMap(range(SIZE)) - BitMap([7, 65_536 + 9])
    universe = posting(members)
    for _ in range(rounds):
        pair = []
        touched = BitMap(65_536 + o for o in rng.sample(range(65_536), rng.choice((0, 3, 40))))
        for base in rng.sample(sets, 2):
            some = BitMap(rng.sample(range(SIZE), rng.choice((0, 1, 30, 300, 3000)))) | touched
            added = BitMap(o for o in some if rng.random() < 0.6)
            removed = some - added
            if rng.random() < 0.7:  # as the writer leaves it, but for merges
                added, removed = added - base, removed & base
            delta = delta_of(Layer({1: Members(0, frozenset(added), frozenset(removed))}))
            pair.append((posting(base).overlaid(*overlay_bitmaps((delta,), 1)), (base - removed) | added))
        (a, its), (b, others) = pair
        for _ in range(2):
            assert run(lambda p, a=a, b=b: p.all_of([p.posting(a), p.posting(b)]), universe) == its & others & members
            without = run(lambda p, a=a, b=b: p.all_of([p.posting(a), p.negate(p.posting(b))]), universe)
            assert without == (its - others) & members
            either = run(lambda p, a=a, b=b: p.any_of([p.posting(a), p.posting(b)]), universe)
            assert either == (its | others) & members


def test_pairs_of_overlaid_postings() -> None:
    check_pairs(3, 60)


def check_candidates(seed: int) -> None:
    """Candidates against arrays of every length, with the first row or not: which of them are in one OR the other."""
    rng = random.Random(seed)
    universe = posting(range(65_536))
    for n in (1, 7, 8, 9, 16, 17, 63, 64, 65, 500, 4096):
        for m in (1, 2, 8, 15, 16, 17, 64, 100, 1000, 4000, 4096):
            arrays = [BitMap(rng.sample(range(rng.choice((5000, 65_536))), size)) for size in (n, m, min(m, 50))]
            for zero in arrays:
                if rng.random() < 0.5:
                    zero.add(0)
            lead, one, other = (posting(a) for a in arrays)
            found = run(
                lambda p, a=lead, b=one, c=other: p.all_of([p.posting(a), p.any_of([p.posting(b), p.posting(c)])]),
                universe,
            )
            assert found == arrays[0] & (arrays[1] | arrays[2]), (n, m)


def test_candidates_against_arrays() -> None:
    check_candidates(5)


def test_a_cardinality_under_a_clean_overlay() -> None:
    base = set(range(0, 10_000, 3))
    layers = (
        Layer({1: Members(0, frozenset({1, 2, 70_000}), frozenset({0, 3}))}),
        Layer({1: Members(0, frozenset({0}), frozenset({70_000}))}),
    )
    found = posting(base).overlaid(*overlay_bitmaps(tuple(map(delta_of, layers)), 1))
    wanted = members_above(base, layers, 1)
    assert found.contains_many(range(70_001)).tolist() == [o in wanted for o in range(70_001)]
    assert (found.min_key, found.max_key) == (0, 0)


def test_an_overlay_reaches_the_last_ordinal() -> None:
    top = 2**32 - 1
    layers = (Layer({1: Members(0, frozenset({3, top - 65_536, top}), frozenset({top - 1}))}),)
    found = posting({top - 1, top - 2}).overlaid(*overlay_bitmaps(tuple(map(delta_of, layers)), 1))
    assert run(lambda p: p.posting(found), found) == BitMap({3, top - 65_536, top - 2, top})
    assert (found.min_key, found.max_key) == (0, 65_535)


# --- columns -----------------------------------------------------------------------------------------------------


def column_of(values: dict[int, int], chunks: int) -> Column:
    stored: list[bytes | None] = []
    for first in range(0, chunks * CHUNK_ROWS, CHUNK_ROWS):
        numbers, present = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
        mine = [o for o in range(first, first + CHUNK_ROWS) if o in values]
        for o in mine:
            numbers[o - first], present[o - first] = values[o], 1
        stored.append(encode_chunk(numbers, present) if mine else None)
    return Column(stored)


def random_values(rng: random.Random, low: int, high: int, share: float, size: int) -> dict[int, int]:
    if share >= 1:
        return {o: rng.randint(low, high) for o in range(size)}
    return {o: rng.randint(low, high) for o in rng.sample(range(size), int(size * share))}


def random_layer(rng: random.Random, low: int, high: int, n: int) -> Layer:
    """Values anywhere, beyond the base's bounds and its chunks too, cleared ones, and long stretches."""
    values: Values = {}
    for o in rng.sample(range(SIZE), n):
        beyond = rng.choice((low - 1, high + 1, VALUE_LIMIT - 1, 1 - VALUE_LIMIT))
        values[o] = rng.choice((None, rng.randint(low, high), rng.randint(low, high), beyond))
    if rng.random() < 0.3:
        start = rng.randrange(SIZE - 9000)
        one = rng.choice((None, low, high + 1))
        values |= dict.fromkeys(range(start, start + 9000), one)
    return Layer({}, {FIELD: values} if values else {})


def check_layered_columns(seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    members = BitMap(range(SIZE)) - BitMap([5, 70_000, 65_536 + 65_535])
    universe = posting(members)
    candidates = [BitMap(rng.sample(range(SIZE), n)) for n in (9, 2500)]
    narrowing = [(posting(o), o) for o in (*candidates, BitMap(range(0, SIZE, 3)))]
    for number in range(rounds):
        low, high = SPANS[number % len(SPANS)]
        chunks = rng.choice((13, 13, 4, 1, 0))  # rows behind the last chunk have values in layers only
        base = random_values(rng, low, high, rng.choice((0.0, 0.01, 0.5, 1.0)), min(SIZE, chunks * CHUNK_ROWS))
        layers = [random_layer(rng, low, high, rng.choice(THRESHOLDS[:8])) for _ in range(rng.randint(1, 4))]
        other = Layer({}, {FIELD + 1: {1: 5}})
        column = column_of(base, chunks).overlaid(FIELD, tuple(map(delta_of, [*layers, other])))
        values = values_above(base, layers, FIELD)
        assert column.layered == any(layer.fields for layer in layers)
        check_lookups(rng, column, values, layers)
        for _ in range(4):
            holds, scan = random_scan(rng, column, values, low, high)
            check_scan(scan, holds, universe, members, narrowing)
            check_scan(lambda p, s=scan: p.negate(s(p)), BitMap(range(SIZE)) - holds, universe, members, narrowing)


def check_scan(
    scan: Callable[[Program], int],
    holds: BitMap,
    universe: Posting,
    members: BitMap,
    narrowing: Sequence[tuple[Posting, BitMap]],
) -> None:
    """Whole, for candidates, and within a wider union."""
    assert run(scan, universe) == holds & members
    for narrow, its in narrowing:
        assert run(lambda p, n=narrow: p.all_of([p.posting(n), scan(p)]), universe) == holds & its & members
        assert run(lambda p, n=narrow: p.any_of([p.posting(n), scan(p)]), universe) == (holds | its) & members


def check_lookups(rng: random.Random, column: Column, values: dict[int, int], layers: list[Layer]) -> None:
    touched = sorted(joined(layers).fields.get(FIELD, {}))
    asked = rng.sample(range(SIZE + 70_000), 500) + rng.sample(touched, min(len(touched), 500)) + [2**32 - 1]
    found, present = column.take(asked)
    assert [v if p else None for v, p in zip(found.tolist(), present.tolist(), strict=True)] == [
        values.get(o) for o in asked
    ]
    assert not np.any(found[present == 0])
    low, high, most = column.bounds()
    if values:
        assert low is not None
        assert high is not None
        assert low <= min(values.values()) <= max(values.values()) <= high
        assert most >= len(values)


def random_scan(
    rng: random.Random, column: Column, values: dict[int, int], low: int, high: int
) -> tuple[BitMap, Callable[[Program], int]]:
    """(whom it holds for, how it is built): a range or a table, negated at times."""
    some = rng.choice((low, high, low - 1, high + 1, VALUE_LIMIT - 1, rng.randint(low, high), rng.randint(low, high)))
    if rng.random() < 0.5:
        first, last = sorted((some, rng.choice((low, high, high + 1, -(2**63), 2**63 - 1, rng.randint(low, high)))))
        if rng.random() < 0.1:
            first, last = last + 1, first
        wanted = BitMap(o for o, v in values.items() if first <= v <= last)
        least, expected, most = column.estimate_range(first, last)
        assert least <= len(wanted) <= most, (least, expected, most, len(wanted))
        assert least <= expected <= most
        return wanted, lambda p: p.range(column, first, last)
    start = max(-(2**62), some - rng.choice((0, 1, 5, 200)))
    bits = [rng.random() < 0.5 for _ in range(rng.choice((0, 1, 7, 64, 65, 500)))]
    negate = rng.random() < 0.5
    table = np.packbits(np.array(bits, np.bool_), bitorder="little").tobytes()
    wanted = BitMap(o for o, v in values.items() if (0 <= v - start < len(bits) and bits[v - start]) != negate)
    return wanted, lambda p: p.table(column, start, table, negate)


def test_layered_columns() -> None:
    check_layered_columns(5, 24)


def test_a_column_without_such_layers_is_itself() -> None:
    column = column_of({1: 5}, 1)
    assert column.overlaid(FIELD, ()) is column
    assert column.overlaid(FIELD, (delta_of(Layer({}, {FIELD + 1: {1: 7}})),)) is column
    assert not column.layered


def test_layers_keep_what_they_borrow_alive() -> None:
    over = column_of({o: o for o in range(5000)}, 1).overlaid(
        FIELD, tuple(delta_of(Layer({}, {FIELD: dict.fromkeys(range(i, 5000, 5), 7)})) for i in range(4))
    )
    rubbish = [bytes(80_000) for _ in range(50)]  # into whatever memory might have been freed
    values, present = over.take(np.arange(5000))
    assert present.all()
    assert values.tolist() == [7 if o % 5 < 4 else o for o in range(5000)]
    assert rubbish


def test_a_layer_over_a_layered_column_replaces_its_layers() -> None:
    """`overlaid` takes all layers at once, as a snapshot has them."""
    base = column_of({1: 1, 2: 2}, 1)
    first, second = (delta_of(Layer({}, {FIELD: values})) for values in ({1: 10, 3: 30}, {1: None, 4: 40}))
    values, present = base.overlaid(FIELD, (first, second)).take([1, 2, 3, 4])
    assert (values.tolist(), present.tolist()) == ([0, 2, 30, 40], [0, 1, 1, 1])
    values, present = base.overlaid(FIELD, (second, first)).take([1, 2, 3, 4])
    assert (values.tolist(), present.tolist()) == ([10, 2, 30, 40], [1, 1, 1, 1])


def test_every_row_of_a_container_in_layers() -> None:
    """Layers of 0 to 65,536 rows of one container, over nothing, over something and over all."""
    universe = posting(range(2 * 65_536))
    few = BitMap(range(65_536, 2 * 65_536, 50))
    for n in THRESHOLDS:
        for base in ({}, {65_536 + o: 1 for o in range(0, 65_536, 7)}, {65_536 + o: 2 for o in range(65_536)}):
            layer = Layer({}, {FIELD: {65_536 + o: 1 if o % 2 else None for o in range(n)}} if n else {})
            column = column_of(base, 8).overlaid(FIELD, (delta_of(layer),))
            wanted = BitMap(o for o, v in values_above(base, [layer], FIELD).items() if v == 1)
            for scan in (lambda p, c=column: p.range(c, 1, 1), lambda p, c=column: p.table(c, 1, b"\1")):
                assert run(scan, universe) == wanted
                assert run(lambda p, s=scan: p.all_of([p.posting(posting(few)), s(p)]), universe) == wanted & few


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_layers as t;"
        "t.check_layered_columns(8, 8); t.check_overlaid_postings(2); t.check_random_trees(3, 20);"
        "t.check_pairs(4, 30); t.check_candidates(6);"
        "print(t.simd_level())"
    )
    environment = {**os.environ, "SEGIDX_SIMD": level}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    order = ["scalar", "avx2", "avx512"]
    assert order.index(found.stdout.strip()) <= order.index(level)
    assert simd_level() in order


Leaf = tuple[Callable[[Program], int], BitMap]


def random_tree(rng: random.Random, leaves: list[Leaf], everyone: BitMap, depth: int) -> Leaf:
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(leaves)
    kind = rng.choice(("all", "all", "any", "not", "least"))
    if kind == "not":
        build, members = random_tree(rng, leaves, everyone, depth - 1)
        return lambda p: p.negate(build(p)), everyone - members
    kids = [random_tree(rng, leaves, everyone, depth - 1) for _ in range(rng.randint(1, 5))]
    sets = [members for _, members in kids]
    if kind == "all":
        return lambda p: p.all_of([build(p) for build, _ in kids]), BitMap.intersection(*sets)
    if kind == "any":
        return lambda p: p.any_of([build(p) for build, _ in kids]), BitMap.union(*sets)
    k = rng.randint(1, len(kids))
    counts = np.zeros(SIZE, np.uint8)
    for members in sets:
        counts[np.array(members, np.uint32)] += 1
    return lambda p: p.at_least(k, [build(p) for build, _ in kids]), BitMap(np.flatnonzero(counts >= k).tolist())


def check_random_trees(seed: int, rounds: int) -> None:
    """Trees over postings and columns under overlays of every size, in a universe under one."""
    rng = random.Random(seed)
    sets = list(shapes(rng).values())
    everyone = BitMap(range(SIZE)) - BitMap(rng.sample(range(SIZE), 50))
    layer = Layer({1: Members(0, frozenset(everyone[:100]), frozenset({SIZE, SIZE + 1}))})
    universe = posting(everyone | BitMap([SIZE])).overlaid(*overlay_bitmaps((delta_of(layer),), 1))
    leaves: list[Leaf] = []
    for base in sets:
        added, removed = rng.choice(sets), rng.choice(sets)
        delta = delta_of(Layer({1: Members(0, frozenset(added), frozenset(removed - added))}))
        over = posting(base).overlaid(*overlay_bitmaps((delta,), 1))
        wanted = (base - removed) | added
        for one, members in ((over, wanted), (posting(base), base)):
            leaves.append((lambda p, o=one: p.posting(o), members))
    for low, high in SPANS[1:6]:
        values = random_values(rng, low, high, 0.4, 10 * CHUNK_ROWS)
        layers = [random_layer(rng, low, high, n) for n in (3, 700)]
        column = column_of(values, 10).overlaid(FIELD, tuple(map(delta_of, layers)))
        now = values_above(values, layers, FIELD)
        for _ in range(3):
            holds, scan = random_scan(rng, column, now, low, high)
            leaves.append((scan, holds & everyone))
    leaves = [(build, members & everyone) for build, members in leaves]
    for _ in range(rounds):
        build, members = random_tree(rng, leaves, everyone, 4)
        assert run(build, universe) == members & everyone


def test_random_trees_over_overlays() -> None:
    check_random_trees(9, 60)


def test_many_postings_asked_at_once() -> None:
    rng = random.Random(6)
    sets = list(shapes(rng).values())
    postings = [posting(members) for members in sets]
    asked = [sorted(rng.sample(range(SIZE), rng.choice((0, 1, 50)))) for _ in sets]
    ends = np.cumsum([len(some) for some in asked])
    ordinals = np.array([o for some in asked for o in some], np.uint32)
    wanted = [o in members for members, some in zip(sets, asked, strict=True) for o in some]
    assert postings_hold(postings, ends, ordinals).tolist() == wanted
    assert postings_hold([], np.zeros(0, np.int64), ordinals[:0]).tolist() == []
    for bad in (ends - 1, ends[:-1], ends + 1, ends[::-1].copy()):
        with pytest.raises(ValueError, match="end"):
            postings_hold(postings, bad, ordinals)
