"""Stopping an evaluation: cancelled, past its deadline, between containers and inside one; and many threads at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import Posting, Program, Stop, Stopped
from segidx.kernels.columns import CHUNK_ROWS, Column, encode_chunk

ROWS = 65536


def small() -> Program:
    program = Program()
    posting = Posting([BitMap(range(10, 100_000, 3)).serialize()])
    return program.finish(program.posting(posting), posting)


def large(rows: int, leaves: int) -> Program:
    """`leaves` different ranges over a column of `rows`, of which no zone map decides any."""
    rng = np.random.default_rng(5)
    chunk = encode_chunk(rng.integers(0, 1 << 30, CHUNK_ROWS), np.ones(CHUNK_ROWS, dtype=np.uint8))
    column = Column([chunk] * -(-rows // CHUNK_ROWS))
    universe = BitMap(range(rows))
    universe.run_optimize()
    program = Program()
    nodes = [program.range(column, i * 1000 + 1, (1 << 29) + i * 1000) for i in range(leaves)]
    return program.finish(program.at_least(leaves // 2, nodes), Posting([universe.serialize()]))


@pytest.mark.parametrize("call", ["count", "any", "materialise"])
def test_a_cancelled_stop_ends_every_kind_of_call(call: str) -> None:
    stop = Stop()
    assert not stop.stopped
    getattr(small(), call)(stop=stop)
    stop.cancel()
    assert stop.stopped
    with pytest.raises(Stopped) as caught:
        getattr(small(), call)(stop=stop)
    assert caught.value.reason == "cancelled"


@pytest.mark.parametrize("call", ["count", "any", "materialise"])
def test_a_passed_deadline_ends_every_kind_of_call(call: str) -> None:
    getattr(small(), call)(stop=Stop(time.monotonic_ns() + 10**12))
    with pytest.raises(Stopped) as caught:
        getattr(small(), call)(stop=Stop(time.monotonic_ns() - 1))
    assert caught.value.reason == "deadline"


def test_a_deadline_ends_a_long_evaluation_between_containers() -> None:
    program = large(100_000_000, 60)
    with pytest.raises(Stopped) as caught:
        program.count(stop=Stop(time.monotonic_ns() + 20_000_000))
    assert caught.value.reason == "deadline"


def test_a_deadline_ends_a_long_evaluation_inside_one_container() -> None:
    program = large(ROWS, 20_000)
    for call in (program.count, program.materialise, program.any):
        with pytest.raises(Stopped):
            call(stop=Stop(time.monotonic_ns() + 10_000_000))


def test_cancelling_from_another_thread() -> None:
    program = large(100_000_000, 60)
    stop = Stop()
    timer = threading.Timer(0.03, stop.cancel)
    timer.start()
    with pytest.raises(Stopped) as caught:
        program.count(stop=stop)
    timer.join()
    assert caught.value.reason == "cancelled"


def test_threads_share_one_program_over_ranges_of_keys() -> None:
    rng = np.random.default_rng(3)
    bits = [BitMap(rng.choice(8 * ROWS, n, replace=False).astype(np.uint32)) for n in (90_000, 200_000, 9_000)]
    postings = [Posting([b.serialize()]) for b in bits]
    universe = Posting([BitMap(range(8 * ROWS)).serialize()])
    program = Program()
    a, b, c = (program.posting(p) for p in postings)
    program.finish(program.all_of([program.any_of([a, c]), program.negate(b)]), universe)
    want = (bits[0] | bits[2]) - bits[1]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda k: (program.count(k, k), program.materialise(k, k)), list(range(8)) * 20))
    assert sum(n for n, _ in parts) == 20 * len(want)
    assert BitMap.union(*[BitMap.deserialize(m) for _, m in parts]) == want
