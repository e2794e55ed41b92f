"""The column codec: round trips at every width and threshold, headers, zone maps, estimates and damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
