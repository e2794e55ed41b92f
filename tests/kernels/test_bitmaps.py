"""The native evaluator against pyroaring: container types, thresholds, overlays, alignments, the API's edges."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import CorruptPosting, Posting, Program, simd_level, validate

ROWS = 65536


def packed(bits: BitMap, runs: bool = True) -> bytes:
    copy = BitMap(np.array(bits, dtype=np.uint32))  # arrays and bitsets only
    if runs:
        copy.run_optimize()
    return copy.serialize()


def spread(n: int, seed: int = 0) -> BitMap:
    """n ordinals of one container, scattered."""
    return BitMap(np.random.default_rng(seed).choice(ROWS, n, replace=False).astype(np.uint32))


def run(first: int, last: int) -> BitMap:
    return BitMap(range(first, last + 1))


def joined(how: str, *postings: Posting) -> Callable[[Program], int]:
    """A builder of all_of or any_of; a dash behind the name complements the last operand."""

    def build(program: Program) -> int:
        nodes = [program.posting(p) for p in postings]
        if how.endswith("-"):
            nodes[-1] = program.negate(nodes[-1])
        return (program.all_of if how.startswith("all") else program.any_of)(nodes)

    return build


EVERYTHING = Posting([packed(run(0, 3 * ROWS - 1))])


def evaluate(build, universe: Posting = EVERYTHING) -> BitMap:
    """The result of a program, after checking that its three answers agree."""
    program = Program()
    program.finish(build(program), universe)
    data = program.materialise()
    assert validate(data) is None
    result = BitMap.deserialize(data)
    assert program.count() == len(result)
    assert program.any() == bool(result)
    return result


SHAPES = {
    "none": BitMap(),
    "first": BitMap([0]),
    "last": BitMap([ROWS - 1]),
    "ends": BitMap([0, ROWS - 1]),
    "few": spread(7, 1),
    "array": spread(900, 2),
    "array 4095": spread(4095, 3),
    "array 4096": spread(4096, 4),
    "bitset 4097": spread(4097, 5),
    "bitset": spread(33000, 6),
    "bitset 65535": run(0, ROWS - 1) - BitMap([777]),
    "full": run(0, ROWS - 1),
    "one run": run(100, 40000),
    "short runs": BitMap.union(*[run(i, i + 2) for i in range(5, ROWS - 9, 97)]),
    "long runs": BitMap.union(*[run(i, i + 4000) for i in range(63, ROWS - 9000, 9001)]),
    "word runs": BitMap.union(*[run(i, i + 63) for i in range(0, ROWS, 128)]),
    "tail run": run(65000, ROWS - 1),
}
PAIRS = list(itertools.product(SHAPES, SHAPES))


@pytest.mark.parametrize("runs", [False, True])
def test_every_pair_of_container_shapes(runs: bool) -> None:
    for left, right in PAIRS:
        a, b = SHAPES[left], SHAPES[right]
        pa, pb = Posting([packed(a, runs)]), Posting([packed(b, not runs)])
        where = f"{left} / {right}"
        full = run(0, 3 * ROWS - 1)
        assert evaluate(joined("all", pa, pb)) == a & b, where
        assert evaluate(joined("any", pa, pb)) == a | b, where
        assert evaluate(joined("all-", pa, pb)) == a - b, where
        assert evaluate(joined("any-", pa, pb)) == full - (b - a), where


@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097, 65535, 65536])
def test_thresholds_of_cardinality(n: int) -> None:
    bits = spread(n, n)
    posting = Posting([packed(bits, runs=False)])
    assert posting.cardinality == n == len(posting)
    assert evaluate(lambda p: p.posting(posting)) == bits
    assert evaluate(lambda p: p.negate(p.posting(posting)), Posting([packed(run(0, ROWS - 1))])) == (
        run(0, ROWS - 1) - bits
    )


@pytest.mark.parametrize(("n", "size"), [(4096, 8192), (4097, 8192), (4095, 8190)])
def test_result_containers_are_arrays_up_to_4096_and_bitsets_above(n: int, size: int) -> None:
    program = Program()
    posting = Posting([packed(spread(n) | BitMap([ROWS + 1, ROWS + 5]))])
    data = program.finish(program.posting(posting), EVERYTHING).materialise()
    assert len(data) == 8 + 2 * 8 + size + 2 * 2


def test_shard_edges_and_parts() -> None:
    shard = 1 << 20
    values = [0, shard - 1, shard, shard + ROWS, 2 * shard - 1, 2 * shard, (1 << 32) - 1]
    bits = BitMap(values)
    parts = [packed(bits & BitMap(range(s, s + shard))) for s in (0, shard, 2 * shard)]
    parts.append(packed(BitMap([(1 << 32) - 1])))
    posting = Posting(parts)
    assert (posting.min_key, posting.max_key, posting.cardinality) == (0, 65535, len(bits))
    assert evaluate(lambda p: p.posting(posting), posting) == bits
    assert [v in posting for v in values] == [True] * len(values)
    assert not posting.contains(1)


def test_keys_split_an_evaluation() -> None:
    bits = spread(500) | BitMap(v + ROWS for v in spread(9000, 1)) | BitMap([2 * ROWS + 5])
    program = Program()
    program.finish(program.posting(Posting([packed(bits)])), EVERYTHING)
    assert program.keys() == (0, 2)
    assert [program.count(k, k) for k in range(3)] == [500, 9000, 1]
    assert program.count(1) == 9001
    assert program.count(2, 1) == 0
    assert not program.any(3, 65535)
    assert BitMap.deserialize(program.materialise(2, 2)) == BitMap([2 * ROWS + 5])


OVERLAYS = [
    (base, added, removed)
    for base in ("none", "few", "array", "array 4096", "bitset", "short runs", "full")
    for added in ("none", "few", "array", "bitset", "tail run")
    for removed in ("none", "few", "array 4096", "bitset 4097", "one run", "full")
]


def test_overlays_in_every_mixture() -> None:
    other = SHAPES["array 4095"] | SHAPES["tail run"]
    with_other = Posting([packed(other)])
    for base, added, removed in OVERLAYS:
        b = SHAPES[base]
        a, r = SHAPES[added] - b, SHAPES[removed] & b
        posting = Posting([packed(b)], packed(a), packed(r))
        want = (b - r) | a
        assert posting.cardinality == len(want), (base, added, removed)
        assert evaluate(joined("all", posting)) == want
        assert evaluate(joined("all", posting, with_other)) == want & other
        assert evaluate(joined("all", with_other), posting) == want & other
        probe = np.arange(0, ROWS, 7, dtype=np.uint32)
        assert posting.contains_many(probe).tolist() == [v in want for v in probe.tolist()]


def test_overlays_that_break_the_contract_still_evaluate_as_written() -> None:
    b, a, r = SHAPES["array"], SHAPES["one run"], SHAPES["bitset"]
    posting = Posting([packed(b)], packed(a), packed(r))
    assert evaluate(lambda p: p.posting(posting)) == (b - r) | a


def test_an_overlay_may_add_containers_the_base_lacks() -> None:
    posting = Posting([], packed(BitMap([5, ROWS + 5])), None)
    assert evaluate(lambda p: p.posting(posting)) == BitMap([5, ROWS + 5])
    assert evaluate(lambda p: p.constant(True), posting) == BitMap([5, ROWS + 5])


@pytest.mark.parametrize("shift", range(1, 10))
def test_any_alignment(shift: int) -> None:
    a, b = SHAPES["bitset"] | SHAPES["few"], SHAPES["array 4095"] | SHAPES["short runs"]
    pa = Posting([memoryview(b"x" * shift + packed(a))[shift:]])
    pb = Posting([b"y" * (shift + 2) + packed(b)], skip=shift + 2)
    assert evaluate(lambda p: p.all_of([p.posting(pa), p.posting(pb)])) == a & b
    assert evaluate(lambda p: p.any_of([p.posting(pa), p.posting(pb)])) == a | b


def test_constants_and_empty_groups() -> None:
    universe = Posting([packed(SHAPES["array"])])
    for build, want in [
        (lambda p: p.constant(True), SHAPES["array"]),
        (lambda p: p.constant(False), BitMap()),
        (lambda p: p.all_of([]), SHAPES["array"]),
        (lambda p: p.any_of([]), BitMap()),
        (lambda p: p.at_least(0, []), SHAPES["array"]),
        (lambda p: p.at_least(1, []), BitMap()),
        (lambda p: p.negate(p.constant(False)), SHAPES["array"]),
    ]:
        assert evaluate(build, universe) == want


def test_contradiction_and_excluded_middle() -> None:
    posting = Posting([packed(SHAPES["bitset"])])

    def both(p: Program, join) -> int:
        node = p.posting(posting)
        return join([node, p.negate(node)])

    assert evaluate(lambda p: both(p, p.all_of)) == BitMap()
    assert len(evaluate(lambda p: both(p, p.any_of))) == 3 * ROWS


@pytest.mark.parametrize("k", range(8))
def test_at_least(k: int) -> None:
    names = ["bitset", "array 4096", "short runs", "one run", "few", "full"]
    counts = np.zeros(ROWS, dtype=int)
    for name in names:
        counts[np.array(SHAPES[name], dtype=np.int64)] += 1
    want = BitMap(np.nonzero(counts >= k)[0].astype(np.uint32))
    postings = [Posting([packed(SHAPES[n])]) for n in names]
    universe = Posting([packed(run(0, ROWS - 1))])
    assert evaluate(lambda p: p.at_least(k, [p.posting(x) for x in postings]), universe) == want


def test_at_least_counts_a_node_listed_twice_twice() -> None:
    posting = Posting([packed(SHAPES["array"])])

    def build(p: Program) -> int:
        node = p.posting(posting)
        return p.at_least(2, [node, node])

    assert evaluate(build) == SHAPES["array"]


def test_deep_and_shared_nodes_stay_linear() -> None:
    """Each level names the one below twice: without sharing this would be 2^60 evaluations."""
    a, b = Posting([packed(SHAPES["bitset"])]), Posting([packed(SHAPES["short runs"])])
    for sparse in (False, True):
        program = Program()
        node, other = program.posting(a), program.posting(b)
        want = SHAPES["bitset"]
        for level in range(60):
            if level % 2:
                node = program.any_of([program.all_of([node, other]), program.all_of([node, program.negate(other)])])
            else:
                left = program.all_of([node, other])
                node = program.at_least(2, [node, program.any_of([left, node]), program.negate(left)])
                continue
        if sparse:
            node = program.all_of([node, program.posting(Posting([packed(SHAPES["few"])]))])
        program.finish(node, EVERYTHING)
        model = want
        for level in range(60):
            if not level % 2:
                left = model & SHAPES["short runs"]
                notleft = run(0, 3 * ROWS - 1) - left
                model = (model & (left | model)) | (model & notleft) | ((left | model) & notleft)
        assert program.count() == len(model & SHAPES["few"] if sparse else model)


def test_depth_is_limited() -> None:
    program = Program()
    a, b = program.posting(EVERYTHING), program.posting(Posting([packed(SHAPES["array"])]))
    node = a
    for level in range(1024):
        node = (program.all_of if level % 2 else program.any_of)([node, b])
    with pytest.raises(ValueError, match="deeper than 1024"):
        program.all_of([node, b])
    assert program.finish(node, EVERYTHING).count() == len(SHAPES["array"])


def test_ten_thousand_nodes() -> None:
    postings = [Posting([packed(BitMap([i % 500, ROWS + i]))]) for i in range(10_000)]
    want = BitMap.union(*[BitMap([i % 500, ROWS + i]) for i in range(10_000)])
    assert evaluate(lambda p: p.any_of([p.posting(x) for x in postings])) == want
    assert evaluate(lambda p: p.at_least(20, [p.posting(x) for x in postings])) == run(0, 499)
    assert evaluate(lambda p: p.all_of([p.posting(x) for x in postings])) == BitMap()


def test_a_program_is_used_in_order() -> None:
    program = Program()
    with pytest.raises(RuntimeError, match="not finished"):
        program.count()
    node = program.posting(EVERYTHING)
    with pytest.raises(ValueError, match="not a node"):
        program.all_of([node, 9999])
    program.finish(node, EVERYTHING)
    with pytest.raises(RuntimeError, match="is finished"):
        program.negate(node)
    with pytest.raises(ValueError, match="0 to 65535"):
        program.count(0, 65536)


def test_an_empty_universe() -> None:
    program = Program()
    program.finish(program.constant(True), Posting([]))
    assert (program.count(), program.any(), program.keys()) == (0, False, None)
    assert len(BitMap.deserialize(program.materialise())) == 0


def test_malformed_postings_name_part_and_reason() -> None:
    good = packed(SHAPES["bitset"])
    with pytest.raises(CorruptPosting, match="cut short") as caught:
        Posting([good, packed(BitMap([ROWS, 2 * ROWS]))[:-3]])
    assert caught.value.part == 1
    with pytest.raises(CorruptPosting, match="ascend"):
        Posting([good, good])
    with pytest.raises(CorruptPosting, match="cookie") as caught:
        Posting([good], removed=b"\0" * 20)
    assert caught.value.part == "removed"
    with pytest.raises(CorruptPosting, match="value header"):
        Posting([b"abc"], skip=8)


def test_validate_names_what_is_wrong() -> None:
    for bits in SHAPES.values():
        assert validate(packed(bits)) is None
        assert validate(packed(bits, runs=False)) is None
    array = bytearray(packed(BitMap([1, 2, 3]), runs=False))
    array[-6:-4], array[-4:-2] = array[-4:-2], array[-6:-4]
    assert "ascending" in (validate(array) or "")
    bits = bytearray(packed(SHAPES["bitset"], runs=False))
    bits[-1] ^= 1
    assert "cardinality" in (validate(bits) or "")
    assert "bytes follow" in (validate(packed(SHAPES["few"]) + b"\0") or "")
    assert validate(b"") is not None


def test_the_level_in_use_is_reported() -> None:
    assert simd_level() in ("scalar", "avx2", "avx512")
