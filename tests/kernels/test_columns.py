"""The column codec: round trips at every width and threshold, headers, zone maps, estimates and damage."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from segidx.kernels.bitmaps import Posting, Program
from segidx.kernels.columns import (
    CHUNK_ROWS,
    VALUE_LIMIT,
    Column,
    CorruptColumn,
    chunk_header,
    decode_chunk,
    encode_chunk,
    verify_chunk,
)


def round_trip(values: list[int | None]) -> bytes:
    present = np.array([v is not None for v in values], dtype=np.uint8)
    numbers = np.array([v or 0 for v in values], dtype=np.int64)
    data = encode_chunk(numbers, present)
    assert verify_chunk(data) is None
    got, flags = decode_chunk(data)
    assert got.dtype == np.int64
    assert flags.dtype == np.uint8
    assert len(got) == len(flags) == CHUNK_ROWS
    padded = [*values, *[None] * (CHUNK_ROWS - len(values))]
    assert [int(g) if f else None for g, f in zip(got, flags, strict=True)] == padded
    return data


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ([], 0),
        ([None, None], 0),
        ([7], 0),
        ([7, 7, 7, None], 0),
        ([7, None, 7], 1),
        ([0, 254], 1),
        ([0, 255], 2),
        ([-5, 65529], 2),
        ([-5, 65530], 4),
        ([0, 2**32 - 2], 4),
        ([0, 2**32 - 1], 8),
        ([-VALUE_LIMIT + 1, VALUE_LIMIT - 1, None, 0], 8),
    ],
)
def test_the_narrowest_width_is_chosen(values: list[int | None], width: int) -> None:
    data = round_trip(values)
    held = [v for v in values if v is not None]
    stored = len(values) - next((i for i, v in enumerate(reversed(values)) if v is not None), len(values))
    low, high = (min(held), max(held)) if held else (None, None)
    assert chunk_header(data) == (width, stored, len(held), low, high)
    assert len(data) == 32 + stored * width


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 4095, 4096, 4097, CHUNK_ROWS - 1, CHUNK_ROWS])
def test_row_counts(rows: int) -> None:
    round_trip([i * 3 for i in range(rows)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.integers(-VALUE_LIMIT + 1, VALUE_LIMIT - 1) | st.integers(-3, 3), max_size=40))
def test_round_trip(values: list[int | None]) -> None:
    round_trip(values)


@pytest.mark.parametrize("value", [VALUE_LIMIT, -VALUE_LIMIT, 2**63 - 1, -(2**63)])
def test_values_beyond_the_limit_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match=r"2\^62"):
        encode_chunk([value], [1])
    assert chunk_header(encode_chunk([value], [0]))[2] == 0


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="one length"):
        encode_chunk([1, 2], [1])
    with pytest.raises(ValueError, match="16384"):
        encode_chunk(np.zeros(CHUNK_ROWS + 1, dtype=np.int64), np.ones(CHUNK_ROWS + 1, dtype=np.uint8))


def sample() -> tuple[Column, dict[int, int]]:
    """Chunks 0, 2 and 3; chunk 1 is absent and chunk 3 short."""
    held: dict[int, int] = {}
    chunks: list[bytes | None] = []
    for number, (low, step, rows) in enumerate([(100, 1, CHUNK_ROWS), (0, 0, 0), (-50, 7, 9000), (9, 0, 10)]):
        values = low + step * np.arange(rows, dtype=np.int64)
        present = (np.arange(rows) % 3 != 1).astype(np.uint8) if number == 2 else np.ones(rows, dtype=np.uint8)
        held |= {number * CHUNK_ROWS + i: int(values[i]) for i in range(rows) if present[i]}
        chunks.append(None if number == 1 else b"hd" + encode_chunk(values, present))
    return Column(chunks, skip=2), held


def test_take_in_any_order_and_beyond_the_end() -> None:
    column, held = sample()
    assert len(column) == 4
    wanted = np.random.default_rng(2).permutation(5 * CHUNK_ROWS).astype(np.uint32)
    wanted[0] = 2**32 - 1
    values, present = column.take(wanted)
    assert [int(v) if p else None for v, p in zip(values, present, strict=True)] == [held.get(int(o)) for o in wanted]
    assert [len(a) for a in column.take([])] == [0, 0]


def test_zones_and_bounds() -> None:
    column, held = sample()
    assert column.zone(0) == (100, 100 + CHUNK_ROWS - 1, CHUNK_ROWS)
    assert column.zone(1) is None
    assert column.zone(3) == (9, 9, 10)
    assert column.zone(99) is None
    assert column.bounds() == (min(held.values()), max(held.values()), len(held))
    assert Column([None, None]).bounds() == (None, None, 0)


@pytest.mark.parametrize(
    ("low", "high"),
    [(-(10**30), 10**30), (9, 9), (0, 500), (200, 300), (10**9, 10**10), (5, 4), (-50, 100 + CHUNK_ROWS), (-1, 16483)],
)
def test_estimates_enclose_the_truth(low: int, high: int) -> None:
    column, held = sample()
    least, expected, most = column.estimate_range(low, high)
    exact = sum(low <= v <= high for v in held.values())
    assert least <= exact <= most
    assert least <= expected <= most


def test_damage_is_found_by_open_or_by_verify() -> None:
    good = encode_chunk(np.arange(300), np.arange(300) % 5 != 0)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        assert verify_chunk(bytes(bad)) is not None, at


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d[:20], "header"),
        (lambda d: b"\x02" + d[1:], "version"),
        (lambda d: d[:1] + b"\x03" + d[2:], "width"),
        (lambda d: d[:-1], "length"),
        (lambda d: d + b"\0", "length"),
        (lambda d: d[:4] + b"\xff\xff\0\0" + d[8:], "more values"),
        (lambda d: d[:12] + b"\xff\xff\0\0" + d[16:], "more rows"),
        (lambda d: d[:16] + b"\xff" * 7 + b"\x7f" + d[24:], "bounds"),
        (lambda d: d[:24] + b"\xff\xff\xff\0" + d[28:], "width does not hold"),
    ],
)
def test_open_names_the_chunk_and_the_reason(change, reason: str) -> None:
    good = encode_chunk(np.arange(200), np.arange(200) % 5 != 0)
    with pytest.raises(CorruptColumn, match=reason) as caught:
        Column([None, good, change(good)])
    assert caught.value.chunk == 2
    with pytest.raises(CorruptColumn, match=reason):
        decode_chunk(change(good))


def few(rows: int, held: int, span: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Values of so many rows, the last one among them, of which `held` have one, within a span that is reached."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-5, span - 4, rows)
    present = np.zeros(rows, np.uint8)
    at = np.append(rng.permutation(rows - 1)[: held - 1], rows - 1)
    present[at] = 1
    values[at[:2]] = [-5, span - 5][: len(at[:2])]
    return values, present


@pytest.mark.parametrize("span", [200, 60_000, 2**31, 2**40])
@pytest.mark.parametrize("rows", [100, 4096, CHUNK_ROWS - 1, CHUNK_ROWS])
@pytest.mark.parametrize("share", [0.001, 0.34, 0.35, 0.422, 0.423, 0.9, 1])
def test_of_few_rows_among_many_no_others_are_stored(rows: int, share: float, span: int) -> None:
    held = max(2, round(rows * share))
    values, present = few(rows, held, span, 7)
    data = encode_chunk(values, present)
    width = chunk_header(data)[0]
    assert width == {200: 1, 60_000: 2, 2**31: 4, 2**40: 8}[span]
    sparse = width >= 4 and 2 * (2560 + held * width) <= rows * width
    assert (data[2:4] == b"\1\0") == sparse
    assert len(data) == 32 + (2560 + held * width if sparse else rows * width)
    assert verify_chunk(data) is None
    got, flags = decode_chunk(data)
    assert np.array_equal(flags[:rows], present)
    assert not flags[rows:].any()
    assert np.array_equal(got[:rows][present != 0], values[present != 0])


@pytest.mark.parametrize("share", [0.0002, 0.01, 0.2, 0.33])
@pytest.mark.parametrize("span", [2**31, 2**40])
def test_sparse_chunks_answer_as_others_do(span: int, share: float) -> None:
    rows = CHUNK_ROWS - 21
    values, present = few(rows, max(2, round(rows * share)), span, 3)
    column = Column([encode_chunk(values, present)])
    assert encode_chunk(values, present)[2] == 1
    where = np.flatnonzero(present)
    taken, there = column.take(np.arange(CHUNK_ROWS + 5, dtype=np.uint32))
    assert np.array_equal(np.flatnonzero(there), where)
    assert np.array_equal(np.asarray(taken)[where], values[where])
    everyone = Posting([bytes(BitMap(range(CHUNK_ROWS)).serialize())])
    third = Posting([bytes(BitMap(range(0, CHUNK_ROWS, 311)).serialize())])
    cuts = [-10, -5, int(np.median(values[where])), span - 5, span]
    for low, high in [(a, b) for a in cuts for b in cuts]:
        inside = where[(values[where] >= low) & (values[where] <= high)]
        for among, some in ((everyone, inside), (third, inside[inside % 311 == 0])):
            program = Program()
            root = program.all_of([program.posting(among), program.range(column, low, high)])
            program.finish(root, everyone)
            assert program.count() == len(some), (low, high)


def test_damage_to_a_sparse_chunk_is_found() -> None:
    good = encode_chunk(*few(6000, 40, 2**40, 1))
    assert good[2] == 1
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        assert verify_chunk(bytes(bad)) is not None, at
    for name, at in (("behind the rows", 32 + 10 * 255), ("before some rows", 32 + 10 * 255 + 8)):
        bad = bytearray(good)
        bad[at] ^= 1
        bad[8:12] = zlib.crc32(bad[12:], zlib.crc32(bad[:8])).to_bytes(4, "little")
        assert name in str(verify_chunk(bytes(bad)))
        Column([bytes(bad)]).take(np.arange(CHUNK_ROWS, dtype=np.uint32))  # nothing is read that is not there
    with pytest.raises(CorruptColumn, match="flags"):
        Column([good[:2] + b"\2" + good[3:]])
    with pytest.raises(CorruptColumn, match="without codes"):
        Column([good[:1] + b"\0" + good[2:]])
