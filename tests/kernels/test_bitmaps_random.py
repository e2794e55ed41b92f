"""Random expressions over random postings and columns, against sets: every answer, every SIMD level.

Also a program: `python tests/kernels/test_bitmaps_random.py SEED CASES` checks that many trees with the level that
SEGIDX_SIMD names and prints the level.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import Posting, Program, simd_level, validate
from segidx.kernels.columns import CHUNK_ROWS, Column, encode_chunk

CONTAINERS = 4
ROWS = 65536
N = CONTAINERS * ROWS
EVERYTHING = BitMap(range(N))


@dataclass(frozen=True)
class Values:
    """A column and what is in it."""

    column: Column
    values: np.ndarray
    present: np.ndarray
    top: int


class Corpus:
    """Postings, columns and a universe of four containers, each container of a random form."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.postings = [self.posting() for _ in range(14)]
        self.columns = [self.column() for _ in range(8)]
        self.universe, self.live = self.posting()
        while len(self.live) < 1000:
            self.universe, self.live = self.posting()

    def bits(self, forms: str) -> BitMap:
        """One letter a form: n none, f full, s some few, a array, b bitset, r runs."""
        out = BitMap()
        for start in range(0, N, ROWS):
            form = self.pick.choice(forms)
            if form == "f":
                out |= BitMap(range(start, start + ROWS))
            elif form == "r":
                length = self.pick.choice([2, 9, 90, 900])
                for _ in range(self.pick.choice([1, 3, 30, 100])):
                    first = self.pick.randrange(ROWS - length)
                    out |= BitMap(range(start + first, start + first + length))
            elif form != "n":
                sizes = {"s": [1, 2, 7, 40], "a": [300, 2000, 4095, 4096], "b": [4097, 9000, 33000, 60000]}[form]
                chosen = self.rng.choice(ROWS, self.pick.choice(sizes), replace=False)
                out |= BitMap((chosen + start).astype(np.uint32))
        return out

    def pack(self, bits: BitMap) -> bytes:
        copy = BitMap(bits)
        if self.pick.random() < 0.6:
            copy.run_optimize()
        return copy.serialize()

    def posting(self) -> tuple[Posting, BitMap]:
        base = self.bits("nfsabr")
        added = removed = BitMap()
        if overlaid := self.pick.random() < 0.4:
            added, removed = self.bits("nsar") - base, self.bits("nsab") & base
        cut, skip = self.pick.choice([0, 1, 2]) * ROWS, self.pick.choice([0, 1, 2, 3, 8])
        halves = base & BitMap(range(cut)), base - BitMap(range(cut))
        posting = Posting(
            [b"x" * skip + self.pack(half) for half in halves],
            self.pack(added) if overlaid else None,
            self.pack(removed) if overlaid else None,
            skip,
        )
        want = (base - removed) | added
        assert posting.cardinality == len(want)
        return posting, want

    def column(self) -> Values:
        top = self.pick.choice([3, 200, 60_000, 10**6, 2**40])
        values = self.rng.integers(-top, top, N)
        present = self.rng.random(N) < self.pick.choice([0, 0.01, 0.5, 0.99, 1])
        chunks: list[bytes | None] = []
        for start in range(0, N, CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            kind = self.pick.random()
            if kind < 0.2:
                present[part] = False
                chunks.append(None)
                continue
            if kind < 0.4:
                values[part] = 5
            if self.pick.random() < 0.2:
                present[part] = True
            present[start + self.pick.choice([CHUNK_ROWS, CHUNK_ROWS, 100, CHUNK_ROWS - 1]) : part.stop] = False
            chunks.append(b"odd" + encode_chunk(values[part], present[part]))
        return Values(Column(chunks, skip=3), values, present, top)


class Tree:
    """One random expression, built as a program and as a set side by side."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.pick = corpus, corpus.pick
        self.program = Program()
        self.seen: list[tuple[int, BitMap]] = []

    def scan(self) -> tuple[int, BitMap]:
        data = self.pick.choice(self.corpus.columns)
        overlay: dict[str, bytes] = {}
        added = removed = BitMap()
        if self.pick.random() < 0.3:
            added, removed = self.corpus.bits("nsar"), self.corpus.bits("nsbr")
            overlay = {"added": self.corpus.pack(added), "removed": self.corpus.pack(removed)}
        low = self.pick.randrange(-data.top - 5, data.top)
        if self.pick.random() < 0.6:
            high = low + self.pick.choice([-1, 0, 1, data.top // 50, data.top // 3, data.top, 3 * data.top])
            node = self.program.range(data.column, low, high, **overlay)
            match = (data.values >= low) & (data.values <= high)
        else:
            size = self.pick.choice([0, 1, 8, 50, 5000])
            bits = self.corpus.rng.integers(0, 256, size, dtype=np.uint8)
            negate = self.pick.random() < 0.4
            node = self.program.table(data.column, low, bits, negate, **overlay)
            flags = np.append(np.unpackbits(bits, bitorder="little"), 0).astype(bool)
            at = data.values - low
            match = flags[np.where((at >= 0) & (at < 8 * size), at, 8 * size)] != negate
        found = BitMap(np.nonzero(match & data.present)[0].astype(np.uint32))
        return node, (found - removed) | added

    def grow(self, depth: int) -> tuple[int, BitMap]:
        if self.seen and self.pick.random() < 0.15:
            return self.pick.choice(self.seen)
        if depth == 0 or self.pick.random() < 0.15:
            if self.pick.random() < 0.35:
                made = self.scan()
            else:
                posting, want = self.pick.choice(self.corpus.postings)
                made = self.program.posting(posting), want
        else:
            made = self.inner(depth)
        self.seen.append(made)
        return made

    def inner(self, depth: int) -> tuple[int, BitMap]:
        how = self.pick.choice(["all", "any", "not", "at least", "all", "any"])
        if how == "not":
            node, want = self.grow(depth - 1)
            return self.program.negate(node), EVERYTHING - want
        kids = [self.grow(depth - 1) for _ in range(self.pick.choice([0, 1, 2, 2, 3, 3, 4, 6]))]
        nodes, sets = [k[0] for k in kids], [k[1] for k in kids]
        if how == "all":
            return self.program.all_of(nodes), BitMap.intersection(EVERYTHING, *sets)
        if how == "any":
            return self.program.any_of(nodes), BitMap.union(BitMap(), *sets)
        k = self.pick.randrange(len(kids) + 2)
        counts = np.zeros(N, dtype=np.int64)
        for want in sets:
            counts[np.array(want, dtype=np.int64)] += 1
        return self.program.at_least(k, nodes), BitMap(np.nonzero(counts >= k)[0].astype(np.uint32))


def check(corpus: Corpus) -> None:
    """One tree: count, any and materialise agree with the set, on the whole and on a range of keys."""
    tree = Tree(corpus)
    node, want = tree.grow(corpus.pick.choice([1, 2, 3, 4]))
    want &= corpus.live
    program = tree.program.finish(node, corpus.universe)
    assert program.count() == len(want)
    assert program.any() == bool(want)
    data = program.materialise()
    assert validate(data) is None
    assert BitMap.deserialize(data) == want
    first, last = corpus.pick.randrange(CONTAINERS), corpus.pick.randrange(CONTAINERS)
    part = want & BitMap(range(first * ROWS, max(first, last + 1) * ROWS))
    assert program.count(first, last) == len(part)
    assert program.any(first, last) == bool(part)
    assert BitMap.deserialize(program.materialise(first, last)) == part


def run(seed: int, cases: int) -> None:
    corpus = Corpus(seed)
    for _ in range(cases):
        check(corpus)


@pytest.mark.parametrize("seed", range(6))
def test_random_trees(seed: int) -> None:
    run(seed, 120)


@pytest.mark.parametrize("level", ["scalar", "avx2", "avx512"])
def test_random_trees_at_each_simd_level(level: str) -> None:
    """A level this machine lacks falls back to the best it has, which the subprocess reports."""
    best = ["scalar", "avx2", "avx512"].index(simd_level() if "SEGIDX_SIMD" not in os.environ else "avx512")
    done = subprocess.run(
        [sys.executable, __file__, "77", "80"],
        env={**os.environ, "SEGIDX_SIMD": level},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    used = ["scalar", "avx2", "avx512"].index(done.stdout.strip())
    assert used == min(used, best, ["scalar", "avx2", "avx512"].index(level))


@pytest.mark.parametrize("seed", range(3))
def test_de_morgan(seed: int) -> None:
    corpus = Corpus(100 + seed)
    for _ in range(20):
        chosen = [p for p, _ in corpus.pick.sample(corpus.postings, 4)]

        def count(kind: str, chosen: list[Posting] = chosen) -> int:
            program = Program()
            nodes = [program.posting(p) for p in chosen]
            if kind == "any":
                root = program.any_of(nodes)
            elif kind == "not all not":
                root = program.negate(program.all_of([program.negate(n) for n in nodes]))
            else:
                root = program.at_least(1, nodes)
            return program.finish(root, corpus.universe).count()

        assert count("any") == count("not all not") == count("at least one")


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]))
    print(simd_level())
