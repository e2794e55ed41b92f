"""Programs against Python sets: every representation, every operator, every threshold, every SIMD level."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import Column, CorruptPosting, Posting, Program, Stop, Stopped, simd_level
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk, encode_chunk
from segidx.testing.effort import times

SHARD = 1 << 20
SIZE = 3 * 65_536 + 1000  # four containers, the last one short
THRESHOLDS = (0, 1, 2, 31, 32, 33, 4095, 4096, 4097, 65_535, 65_536)


def posting(ordinals: set[int] | BitMap, *, optimise: bool = True, odd: int = 0) -> Posting:
    """A posting of ordinals, split into shards, at an odd address if asked."""
    whole = BitMap(ordinals)
    parts = []
    for shard in range((max(whole, default=0) >> 20) + 1):
        part = whole & BitMap(range(shard * SHARD, (shard + 1) * SHARD))
        if optimise:
            part.run_optimize()
        if part:
            parts.append(memoryview(b"x" * odd + part.serialize())[odd:])
    return Posting(parts)


def shapes(rng: random.Random) -> dict[str, set[int]]:
    """Sets whose containers are arrays, bitsets and runs, at every threshold of the representations."""
    found: dict[str, set[int]] = {}
    for n in THRESHOLDS:
        found[f"random {n}"] = {65_536 + o for o in rng.sample(range(65_536), n)}
        found[f"first {n}"] = set(range(65_536, 65_536 + n))
        found[f"last {n}"] = set(range(2 * 65_536 - n, 2 * 65_536))
    found["runs"] = {o for start in range(0, SIZE, 700) for o in range(start, min(SIZE, start + 300))}
    found["every second"] = set(range(0, SIZE, 2))
    found["sparse"] = set(rng.sample(range(SIZE), 500))
    found["dense"] = set(rng.sample(range(SIZE), SIZE // 2))
    found["all"] = set(range(SIZE))
    return found


def run(program: Program) -> set[int]:
    """The program's members, after checking that its three ways of answering agree."""
    members = BitMap.deserialize(program.materialise())
    assert program.count() == len(members)
    assert program.any() == bool(members)
    keys = program.keys()
    assert keys is not None
    middle = (keys[0] + keys[1]) // 2
    assert program.count(keys[0], middle) + program.count(middle + 1, keys[1]) == len(members)
    return set(members)


UNIVERSE = set(range(SIZE)) - {5, 70_000, 140_000}


@pytest.mark.parametrize("odd", [0, 1])
def test_every_pair_of_shapes(odd: int) -> None:
    everyone = posting(UNIVERSE)
    sets = shapes(random.Random(1))
    opened = {name: posting(members, odd=odd, optimise=i % 3 != 0) for i, (name, members) in enumerate(sets.items())}
    for a in sets:
        for b in sets:
            for operation, expected in (
                ("all_of", sets[a] & sets[b]),
                ("any_of", sets[a] | sets[b]),
                ("and_not", sets[a] - sets[b]),
            ):
                program = Program()
                x, y = program.posting(opened[a]), program.posting(opened[b])
                if operation == "and_not":
                    root = program.all_of([x, program.negate(y)])
                else:
                    root = getattr(program, operation)([x, y])
                program.finish(root, everyone)
                assert program.count() == len(expected & UNIVERSE), f"{operation} of {a} and {b}"


def random_tree(
    rng: random.Random, program: Program, leaves: list[tuple[int, set[int]]], depth: int
) -> tuple[int, set[int]]:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(leaves)
    kind = rng.choice(["all_of", "any_of", "negate", "at_least"])
    if kind == "negate":
        node, members = random_tree(rng, program, leaves, depth - 1)
        return program.negate(node), UNIVERSE - members
    children = [random_tree(rng, program, leaves, depth - 1) for _ in range(rng.randint(1, 4))]
    nodes = [node for node, _ in children]
    if kind == "all_of":
        return program.all_of(nodes), set.intersection(*(m for _, m in children))
    if kind == "any_of":
        return program.any_of(nodes), set.union(*(m for _, m in children))
    k = rng.randint(1, len(nodes) + 1)
    counts: dict[int, int] = {}
    for _, members in children:
        for o in members:
            counts[o] = counts.get(o, 0) + 1
    return program.at_least(k, nodes), {o for o, n in counts.items() if n >= k}


def column_of(values: dict[int, int]) -> Column:
    chunks: list[bytes | None] = []
    for first in range(0, SIZE, CHUNK_ROWS):
        stored, present = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
        for o in range(first, min(SIZE, first + CHUNK_ROWS)):
            if o in values:
                stored[o - first], present[o - first] = values[o], 1
        chunks.append(encode_chunk(stored, present) if present.any() else None)
    return Column(chunks)


def overlaid(rng: random.Random, base: set[int]) -> tuple[Posting, set[int]]:
    """(B, A, R) with A outside B and R inside it."""
    added = set(rng.sample(sorted(set(range(SIZE)) - base), 300))
    removed = set(rng.sample(sorted(base), min(200, len(base))))
    whole = BitMap(base)
    whole.run_optimize()
    found = Posting([whole.serialize()], added=BitMap(added).serialize(), removed=BitMap(removed).serialize())
    expected = (base - removed) | added
    assert found.cardinality == len(expected)
    return found, expected


def check_random_trees(seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    everyone = posting(UNIVERSE)
    sets = shapes(rng)
    pool = [(posting(sets[name]), sets[name]) for name in ("runs", "every second", "sparse", "dense", "random 4097")]
    pool += [overlaid(rng, sets[name]) for name in ("runs", "sparse", "dense")]
    columns = []
    for width in (100, 60_000, 2**31, 2**60):
        values = {o: rng.randrange(-width, width) for o in rng.sample(range(SIZE), SIZE // 2)}
        columns.append((column_of(values), values, width))
    for _ in range(rounds):
        program = Program()
        leaves = [(program.posting(p), members & UNIVERSE) for p, members in pool]
        for column, values, width in columns:
            low, high = sorted((rng.randrange(-width, width), rng.randrange(-width, width)))
            inside = {o for o, v in values.items() if low <= v <= high} & UNIVERSE
            leaves.append((program.range(column, low, high), inside))
        column, values, _ = columns[0]
        wanted = set(rng.sample(range(-100, 100), 20))
        bits = np.packbits([v in wanted for v in range(-100, 100)], bitorder="little").tobytes()
        leaves.append((program.table(column, -100, bits), {o for o, v in values.items() if v in wanted} & UNIVERSE))
        leaves += [(program.constant(True), UNIVERSE), (program.constant(False), set())]
        root, expected = random_tree(rng, program, leaves, 4)
        program.finish(root, everyone)
        assert run(program) == expected & UNIVERSE


def test_random_trees() -> None:
    check_random_trees(7, times(25))


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_program as t;"
        "t.check_random_trees(11, 8); print(t.simd_level())"
    )
    environment = {**os.environ, "SEGIDX_SIMD": level}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    order = ["scalar", "avx2", "avx512"]
    assert order.index(found.stdout.strip()) <= order.index(level)
    assert simd_level() in order


def test_chunks_round_trip_at_every_width() -> None:
    rng = np.random.default_rng(3)
    for low, high in ((0, 0), (5, 5), (0, 253), (0, 254), (-7, 65_527), (0, 2**32 - 3), (-(2**61), 2**61), (0, 255)):
        for share in (0.0, 0.01, 1.0):
            present = (rng.random(CHUNK_ROWS) < share).astype(np.uint8)
            values = rng.integers(low, high, CHUNK_ROWS, endpoint=True)
            got, mask = decode_chunk(encode_chunk(values, present))
            assert (mask == present).all()
            assert (got[present != 0] == values[present != 0]).all()


def test_damaged_postings_are_refused_or_evaluated_but_never_crash() -> None:
    rng = random.Random(5)
    everyone = posting(UNIVERSE)
    for members in shapes(rng).values():
        bitmap = BitMap(members)
        bitmap.run_optimize()
        good = bitmap.serialize()
        for _ in range(40):
            bad = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                bad[rng.randrange(min(len(bad), 64))] = rng.randrange(256)
            data = bytes(bad[: rng.randint(0, len(bad))]) if rng.random() < 0.3 else bytes(bad)
            try:
                opened = Posting([data])
            except CorruptPosting:
                continue
            program = Program()
            program.finish(program.posting(opened), everyone)
            assert 0 <= program.count() <= len(UNIVERSE)


def test_a_stop_ends_an_evaluation() -> None:
    everyone = posting(UNIVERSE)
    program = Program()
    program.finish(program.posting(everyone), everyone)
    with pytest.raises(Stopped) as caught:
        program.count(stop=Stop(time.monotonic_ns() - 1))
    assert caught.value.reason == "deadline"
    cancelled = Stop()
    cancelled.cancel()
    with pytest.raises(Stopped) as caught:
        program.materialise(stop=cancelled)
    assert caught.value.reason == "cancelled"
    with pytest.raises(Stopped):
        cancelled.check()
    assert program.count(stop=Stop(time.monotonic_ns() + 10**12)) == len(UNIVERSE)


def test_a_deadline_stops_a_scan_of_a_hundred_million_rows() -> None:
    """One chunk, repeated: 100M rows without 100M rows of memory. Its 400 ranges take far longer than the deadline."""
    rng = np.random.default_rng(1)
    chunk = encode_chunk(rng.integers(0, 2**30, CHUNK_ROWS), np.ones(CHUNK_ROWS, np.uint8))
    rows = 100_000_000
    column = Column([chunk] * -(-rows // CHUNK_ROWS))
    full = BitMap()
    full.add_range(0, rows)
    program = Program()
    # Each cuts through every chunk's zone, so that none is answered without a scan.
    ranges = [program.range(column, i << 20, (i << 20) + 2**29) for i in range(1, 401)]
    program.finish(program.at_least(300, ranges), Posting([full.serialize()]))
    with pytest.raises(Stopped) as caught:
        program.count(stop=Stop(time.monotonic_ns() + 50_000_000))
    assert caught.value.reason == "deadline"
    stop = Stop()
    timer = threading.Timer(0.05, stop.cancel)
    timer.start()
    with pytest.raises(Stopped) as caught:
        program.count(stop=stop)
    timer.join()
    assert caught.value.reason == "cancelled"
