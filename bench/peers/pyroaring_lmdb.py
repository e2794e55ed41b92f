"""pyroaring over LMDB: the index one writes in an afternoon. One serialised bitmap a tag and a category value, read,
deserialised and combined for every count; the number is a NumPy column in one value.

Bitmaps are run-optimised, operators are the library's own, and the last operation counts without a result bitmap.
"""

from __future__ import annotations

import functools
from array import array
from pathlib import Path
from typing import cast

import lmdb
import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from bench.corpus import CORPUS_VERSION, Corpus
from bench.peers.sql import minor_units
from bench.systems import Run, stored
from segidx.model.expression import And, AtLeast, Between, Expression, HasTags, In, Not, Or

_MAP_BYTES = 1 << 36
_INCOME = b"income"


def open_peer(corpus: Corpus, directory: Path) -> PyroaringLmdb:
    stamp = {"contacts": corpus.size, "seed": corpus.seed, "corpus": CORPUS_VERSION}
    path, _ = stored(directory, stamp, lambda path: _build(corpus, path))
    return PyroaringLmdb(path)


def _build(corpus: Corpus, path: Path) -> None:
    with lmdb.open(str(path), map_size=_MAP_BYTES) as environment, environment.begin(write=True) as txn:
        for tag in corpus.tags:
            txn.put(_key("tag", tag.name), _bitmap(tag.contacts))
        for code, country in enumerate(corpus.countries):
            txn.put(_key("country", country), _bitmap(np.flatnonzero(corpus.country == code)))
        txn.put(_INCOME, corpus.income.astype("<i4").tobytes())


def _bitmap(ordinals: npt.NDArray[np.integer]) -> bytes:
    bitmap = BitMap(array("I", ordinals.astype(np.uint32).tobytes()))
    bitmap.run_optimize()
    return bytes(bitmap.serialize())


def _key(field: str, value: str) -> bytes:
    return f"{field}:{value}".encode()


class PyroaringLmdb:
    """The peer over its stored bitmaps."""

    name = "pyroaring_lmdb"

    def __init__(self, path: Path) -> None:
        self._environment = lmdb.open(str(path), readonly=True, map_size=_MAP_BYTES)

    def prepare(self, expression: Expression) -> Run:
        def run() -> int:
            with self._environment.begin(buffers=True) as txn:
                return _Evaluation(txn).count(expression)

        return run

    def close(self) -> None:
        self._environment.close()


class _Evaluation:
    """One count within one read transaction."""

    def __init__(self, txn: lmdb.Transaction) -> None:
        self._txn = txn

    def count(self, expression: Expression) -> int:
        match expression:
            case And(operands=operands):
                return self._count_and(operands)
            case Between():
                return int(np.count_nonzero(self._within(expression, self._incomes())))
        return len(self.bitmap(expression))

    def bitmap(self, expression: Expression) -> BitMap:
        match expression:
            case HasTags(tags=(tag,)):
                return self._read("tag", tag)
            case In(options=options):
                return BitMap.union(*(self._read("country", str(option)) for option in options))
            case Or(operands=operands):
                return BitMap.union(*map(self.bitmap, operands))
            case And(operands=operands):
                first, *rest = [self.bitmap(o) for o in operands]
                return functools.reduce(BitMap.__and__, rest, first)
            case AtLeast(count=count, operands=operands):
                return self._at_least(count, operands)
        raise TypeError(f"no bitmap for {expression}")

    def _count_and(self, operands: tuple[Expression, ...]) -> int:
        """Intersect what is asked for; then take the negated, or look the numbers of the survivors up."""
        wanted = [self.bitmap(o) for o in operands if not isinstance(o, Not | Between)]
        unwanted = [self.bitmap(o.operand) for o in operands if isinstance(o, Not)]
        ranges = [o for o in operands if isinstance(o, Between)]
        if not unwanted and not ranges:
            *some, last = wanted
            return int(functools.reduce(BitMap.__and__, some).intersection_cardinality(last))
        held = functools.reduce(BitMap.__and__, wanted)
        if ranges:
            held = held.difference(*unwanted) if unwanted else held
            incomes = self._incomes()[np.frombuffer(held.to_array(), np.uint32)]
            inside = functools.reduce(np.logical_and, (self._within(r, incomes) for r in ranges))
            return int(np.count_nonzero(inside))
        taken = BitMap.union(*unwanted) if len(unwanted) > 1 else unwanted[0]
        return len(held) - int(held.intersection_cardinality(taken))

    def _at_least(self, count: int, operands: tuple[Expression, ...]) -> BitMap:
        """levels[k] holds the contacts seen in more than k operands so far."""
        levels = [BitMap() for _ in range(count)]
        for operand in operands:
            seen = self.bitmap(operand)
            for k in range(count - 1, 0, -1):
                levels[k] |= levels[k - 1] & seen
            levels[0] |= seen
        return levels[-1]

    def _read(self, field: str, value: str) -> BitMap:
        # A view of LMDB's pages; pyroaring takes any buffer, whatever its annotations say.
        return BitMap.deserialize(cast(bytes, self._txn.get(_key(field, value))))

    def _incomes(self) -> npt.NDArray[np.int32]:
        """The column in LMDB's pages, valid within the transaction."""
        return np.frombuffer(cast(bytes, self._txn.get(_INCOME)), "<i4")

    @staticmethod
    def _within(expression: Between, incomes: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        return (incomes >= minor_units(expression.low)) & (incomes <= minor_units(expression.high))
