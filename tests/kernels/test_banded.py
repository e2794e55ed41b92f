"""Several sets in the same buffers: each opened as a posting of its own, at every size of a container."""

from __future__ import annotations

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import CorruptPosting, Posting, Program, open_banded

ROWS = 65536
SIZES = (0, 1, 4095, 4096, 4097, 65535, 65536)


def members(posting: Posting) -> BitMap:
    program = Program()
    everything = Posting([BitMap(range(4 * ROWS)).serialize()])
    program.finish(program.posting(posting), everything)
    found = BitMap.deserialize(program.materialise())
    assert program.count() == len(found) == len(posting)
    return found


@pytest.mark.parametrize("runs", [False, True])
def test_each_set_is_a_posting(runs: bool) -> None:
    """Three sets in containers 0, 2 and 3, of all sizes."""
    rng = np.random.default_rng(4)
    wanted = [BitMap(), BitMap(), BitMap()]
    parts, places = [], (0, 2, 3)
    for n, place in enumerate(places):
        part = BitMap()
        for band in range(3):
            size = SIZES[(2 * n + 3 * band) % len(SIZES)]
            low = np.sort(rng.choice(ROWS, size, replace=False)).astype(np.uint32)
            part |= BitMap(low + np.uint32(band * ROWS))
            wanted[band] |= BitMap(low + np.uint32(place * ROWS))
        if runs:
            part.run_optimize()
        parts.append(b"head" + part.serialize())
    found = open_banded(parts, places, 3, skip=4)
    assert [members(each) for each in found] == wanted
    # They are operands like others, and outlive each other.
    over = found[1].overlaid(BitMap([5]).serialize(), BitMap([2 * ROWS + 7]).serialize())
    del found
    assert members(over) == (wanted[1] | BitMap([5])) - BitMap([2 * ROWS + 7])


def test_none_and_many() -> None:
    assert open_banded([], [], 0) == []
    assert [len(each) for each in open_banded([], [], 2)] == [0, 0]
    found = open_banded([BitMap([ROWS, ROWS + 1]).serialize()], [65535], 2)
    assert [len(each) for each in found] == [0, 2]
    assert found[1].min_key == found[1].max_key == 65535
    assert 65535 * ROWS + 1 in found[1]
    assert 1 not in found[1]


def test_what_cannot_be_opened() -> None:
    sound = BitMap([1, ROWS + 2]).serialize()
    with pytest.raises(CorruptPosting, match="part 1: more containers than sets"):
        open_banded([BitMap([1]).serialize(), sound], [0, 1], 1)
    with pytest.raises(CorruptPosting, match="part 0: a container of no set"):
        open_banded([BitMap([ROWS]).serialize()], [0], 1)
    for cut in range(len(sound)):
        with pytest.raises(CorruptPosting, match="part 0"):
            open_banded([sound[:cut]], [0], 2)
    with pytest.raises(CorruptPosting, match="shorter than the value header"):
        open_banded([b"1234"], [0], 2, skip=16)
    for places in ([0], [1, 1], [1, 0]):
        with pytest.raises(ValueError, match="place"):
            open_banded([sound, sound], places, 2)
