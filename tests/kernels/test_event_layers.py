"""Layers of events: their bytes, damage to them, two made one, and what counts under them in cases made by hand."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from zlib import crc32

import numpy as np
import pytest

from segidx.kernels.bitmaps import Stop, Stopped
from segidx.kernels.columns import VALUE_LIMIT
from segidx.kernels.events import (
    BLOCK_ROWS,
    LAYER_ROWS,
    CorruptEvents,
    EventBlock,
    EventLayer,
    collect,
    encode_block,
    encode_layer,
    merge_layers,
)
from segidx.testing.event_months import both, month

Value = int | None
Row = tuple[Value, ...]
Place = tuple[int, int, int]
COLUMNS = 6  # contact, time, event, line, a value, and whether it counts
LAST = 2**32 - 1


def columns_of(rows: Sequence[Row]) -> list[tuple[np.ndarray, np.ndarray]]:
    held = list(zip(*rows, strict=True)) if rows else [()] * COLUMNS
    return [
        (np.array([v or 0 for v in values], np.int64), np.array([v is not None for v in values], np.uint8))
        for values in held
    ]


def places_of(places: Iterable[Place]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    contacts, times, events = zip(*places, strict=True) if (places := list(places)) else ((), (), ())
    return np.array(contacts, np.uint32), np.array(times, np.int64), np.array(events, np.uint32)


def encoded(rows: Sequence[Row], places: Iterable[Place] = ()) -> bytes:
    return encode_layer(columns_of(rows), *places_of(places))


def layer_of(rows: Sequence[Row], places: Iterable[Place] = ()) -> EventLayer:
    return EventLayer(encoded(rows, places))


def blocks_of(rows: Sequence[Row]) -> list[EventBlock]:
    return [EventBlock(encode_block(columns_of(rows)))]


def rows_in(layer: EventLayer) -> list[Row]:
    back = [[v if p else None for v, p in zip(vs.tolist(), ps.tolist(), strict=True)] for vs, ps in layer.decode()]
    return list(zip(*back, strict=True))


def places_in(layer: EventLayer) -> list[Place]:
    return list(zip(*(array.tolist() for array in layer.stale_places()), strict=True))


def plain(contact: int, at: int, event: int, value: Value, line: int = 0) -> Row:
    return (contact, at, event, line, value, 1)


def random_layer(rng: random.Random, rows: int, stale: int, contacts: int = 2**32) -> tuple[list[Row], list[Place]]:
    keys = sorted({(rng.randrange(contacts), rng.randrange(2**40), rng.randrange(2**32)) for _ in range(rows)})
    places = sorted({(rng.randrange(contacts), rng.randrange(-9, 2**40), rng.randrange(2**32)) for _ in range(stale)})
    return [
        (*key, rng.randrange(4), rng.choice((None, rng.randrange(-(2**30), 2**30))), rng.randrange(2)) for key in keys
    ], places


# --- bytes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "stale"), [(0, 0), (0, 9), (1, 0), (1, 1), (100, 70), (BLOCK_ROWS + 1, 3)])
def test_round_trip(n: int, stale: int) -> None:
    rows, places = random_layer(random.Random(n), n, stale)
    data = encoded(rows, places)
    buffer = memoryview(b"x" + data)[1:]  # at an odd address
    layer = EventLayer(buffer)
    assert layer.data is buffer
    assert (layer.rows, layer.stale, layer.columns, len(layer)) == (n, stale, COLUMNS, len(data))
    assert rows_in(layer) == rows
    assert places_in(layer) == places
    assert [array.dtype for array in layer.stale_places()] == [np.uint32, np.int64, np.uint32]
    for i in range(COLUMNS):
        held = [row[i] for row in rows if row[i] is not None]
        assert layer.zone(i) == ((min(held), max(held), len(held)) if held else None)
    with pytest.raises(IndexError, match="column 6"):
        layer.zone(COLUMNS)
    if rows:
        with pytest.raises(ValueError, match="ascend"):
            encoded([*rows, rows[0]], places)


def test_the_bytes_themselves() -> None:
    data = encoded([(70_000, 10, 7, 2, 5, 1), (70_300, 10, 7, 2, None, 0)], [(9, 8, 7), (70_000, 10, 7)])

    def chunk(width: int, base: int, top: int, codes: bytes, rows: int = 2) -> bytes:
        return struct.pack("<BBHIIIqq", 1, width, 0, rows, 0, rows, base, top) + codes

    head = struct.pack("<BBHI", 1, 6, 0, 2)
    rest = struct.pack("<I", 2) + chunk(2, 70_000, 70_300, struct.pack("<2H", 1, 301))
    rest += chunk(0, 10, 10, b"") + chunk(0, 7, 7, b"") + chunk(0, 2, 2, b"") + chunk(0, 5, 5, b"", 1)
    rest += chunk(1, 0, 1, b"\2\1") + struct.pack("<2I2q2I", 9, 70_000, 8, 10, 7, 7)
    assert data == head + struct.pack("<I", crc32(rest, crc32(head))) + rest


def test_ranges_and_where_contacts_lie() -> None:
    held, voided = (3, 3, 9, BLOCK_ROWS, 7 * BLOCK_ROWS, LAST), (2, 3, 5 * BLOCK_ROWS - 1, LAST - 1)
    rows = [plain(contact, 10, i, 1) for i, contact in enumerate(held)]
    layer = layer_of(rows, [(contact, 10, 7) for contact in voided])
    assert layer.ranges().dtype == np.uint32
    assert layer.ranges().tolist() == [0, 1, 4, 7, (1 << 18) - 1]
    assert layer_of([]).ranges().tolist() == []
    edges = sorted({e for o in (*held, *voided) for e in (o, o + 1)} | {-5, 0, 2**40})
    for first in edges:
        for end in edges:
            start, stop = layer.rows_of(first, end)
            assert [row[0] for row in rows][start:stop] == [o for o in held if first <= o < end]
            start, stop = layer.stale_of(first, end)
            assert list(voided)[start:stop] == [o for o in voided if first <= o < end]


ROWS = [plain(1, 10, 7, 5), plain(70_000, 10, 7, 5)]
PLACES = [(1, 10, 7), (2, 10, 7)]


@pytest.mark.parametrize(
    ("rows", "places", "reason"),
    [
        (ROWS[:1] * 2, [], "the rows do not ascend"),
        (ROWS[::-1], [], "the rows do not ascend"),
        ([plain(-1, 10, 7, 5)], [], "column 0: a contact is outside"),
        ([plain(2**32, 10, 7, 5)], [], "column 0: a contact is outside"),
        ([plain(1, 10, 2**32, 5)], [], "column 2: an event number"),
        ([plain(1, 10, 7, 5, -1)], [], "column 3: a line number"),
        ([(*ROWS[0][:5], 2)], [], "column 5: .*neither 0 nor 1"),
        ([(1, None, *ROWS[0][2:])], [], "column 1: a row has no value"),
        ([plain(1, 10, 7, VALUE_LIMIT)], [], r"column 4: .*2\^62"),
        ([row[:4] for row in ROWS], [], "5 to 32 columns, not 4"),
        ([row * 6 for row in ROWS], [], "5 to 32 columns, not 36"),
        (ROWS, PLACES[::-1], "stale places do not ascend"),
        (ROWS, PLACES[:1] * 2, "stale places do not ascend"),
        (ROWS, [(1, 10, 7), (1, 10, 6)], "stale places do not ascend"),
        (ROWS, [(1, 10, 7), (1, 9, 8)], "stale places do not ascend"),
        (ROWS, [(1, VALUE_LIMIT, 7)], "time of a stale place"),
        (ROWS, [(1, -VALUE_LIMIT, 7)], "time of a stale place"),
    ],
)
def test_what_cannot_be_encoded(rows: list[Row], places: list[Place], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encoded(rows, places)


def test_arrays_are_of_one_length_and_type() -> None:
    columns, none = columns_of(ROWS), np.zeros(0, np.uint32)
    one = (np.zeros(1), np.ones(1))
    with pytest.raises(ValueError, match="column 5 has 1 rows"):
        encode_layer([*columns[:5], one], *places_of([]))
    with pytest.raises(ValueError, match=r"column 1: .*one length"):
        encode_layer([columns[0], (np.zeros(2), np.ones(3)), *columns[2:]], *places_of([]))
    with pytest.raises(ValueError, match="2 contacts, 2 times and 0 events"):
        encode_layer(columns, *places_of(PLACES)[:2], none)
    with pytest.raises(ValueError, match="dtype"):
        encode_layer(columns, none, none, none)  # type: ignore[arg-type]
    many = np.broadcast_to(np.uint8(0), LAYER_ROWS + 1)
    with pytest.raises(ValueError, match="16777216 rows"):
        encode_layer([(many, many)] * 5, *places_of([]))


# --- two made one ------------------------------------------------------------------------------------------------


def test_the_newer_layer_voids_rows_of_the_older() -> None:
    older = layer_of([plain(1, 10, 7, 5), plain(1, 10, 7, 6, 1), plain(1, 10, 8, None), plain(3, 9, 7, 2)], PLACES)
    newer = layer_of([plain(1, 10, 7, 1000), plain(LAST, 10, 7, 1)], [(0, 1, 2), (1, 10, 7)])
    both = EventLayer(merge_layers(older, newer))
    assert rows_in(both) == [plain(1, 10, 7, 1000), plain(1, 10, 8, None), plain(3, 9, 7, 2), plain(LAST, 10, 7, 1)]
    assert places_in(both) == [(0, 1, 2), (1, 10, 7), (2, 10, 7)]
    assert both.data == encoded(rows_in(both), places_in(both))
    gone = EventLayer(merge_layers(newer, layer_of([], [(1, 10, 7), (LAST, 10, 7)])))
    assert (rows_in(gone), places_in(gone)) == ([], [(0, 1, 2), (1, 10, 7), (LAST, 10, 7)])
    empty = layer_of([])
    for pair in ((older, empty), (empty, older)):
        assert merge_layers(*pair) == older.data
    assert merge_layers(empty, empty) == empty.data


@pytest.mark.parametrize("seed", range(6))
def test_merging_is_what_sorting_comes_to(seed: int) -> None:
    rng = random.Random(seed)
    older, places = random_layer(rng, rng.choice((0, 1, 500)), 40, 2 ** rng.choice((3, 15, 32)))
    newer, voided = random_layer(rng, rng.choice((1, 300)), 40, 2 ** rng.choice((3, 15, 32)))
    voided = sorted({*voided, *rng.sample([row[:3] for row in older], len(older) // 3), *places[::3]})
    merged = merge_layers(layer_of(older, places), layer_of(newer, voided))
    kept = [row for row in older if row[:3] not in set(voided)]
    assert merged == encoded(sorted(kept + newer, key=lambda row: row[:4]), sorted({*places, *voided}))


def test_what_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="a row is in both layers"):
        merge_layers(layer_of(ROWS, PLACES), layer_of(ROWS[1:], PLACES))
    other = EventLayer(encode_layer(columns_of([(*row[:4], 1) for row in ROWS]), *places_of([])))
    with pytest.raises(ValueError, match="layers of 6 and of 5 columns"):
        merge_layers(layer_of(ROWS), other)
    half = LAYER_ROWS // 2 + 1
    ones = np.ones(half, np.uint8)
    flat, events = (np.zeros(half, np.int64), ones), (np.arange(half), ones)
    parts = [
        EventLayer(encode_layer([(flat[0] + i, flat[1]), flat, events, flat, flat], *places_of([]))) for i in (0, 1)
    ]
    with pytest.raises(ValueError, match="more rows than a layer holds"):
        merge_layers(*parts)


# --- damage ------------------------------------------------------------------------------------------------------


def resealed(data: bytes) -> bytes:
    return data[:8] + struct.pack("<I", crc32(data[12:], crc32(data[:8]))) + data[12:]


def test_damage_is_found_by_opening() -> None:
    good = encoded(*random_layer(random.Random(4), 30, 10))
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        with pytest.raises(CorruptEvents, match="event layer: "):
            EventLayer(bytes(bad))
    for size in range(len(good)):
        with pytest.raises(CorruptEvents, match="event layer: "):
            EventLayer(good[:size])
    with pytest.raises(CorruptEvents, match="length"):
        EventLayer(resealed(good + b"\0"))


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        (lambda d: d[:15], None, "shorter than a layer header"),
        (lambda d: b"\x02" + d[1:], None, "version"),
        (lambda d: d[:1] + b"\x04" + d[2:], None, "number of columns"),
        (lambda d: d[:2] + b"\1" + d[3:], None, "flags"),
        (lambda d: d[:4] + b"\1\0\0\1" + d[8:], None, "more rows than a layer"),
        (lambda d: d[:4] + b"\1\0\0\0" + d[8:], 0, "more rows than the block"),
        (lambda d: d[:4] + b"\3\0\0\0" + d[8:], 0, "a row has no value"),
        (lambda d: d[:12] + b"\1\0\0\1" + d[16:], None, "more stale places than a layer"),
        (lambda d: d[:12] + b"\1\0\0\0" + d[16:], None, "length"),
        (lambda d: d[:24] + b"\1" + d[25:], 0, "checksum of its own"),
        (lambda d: d[:30] + b"\1" + d[31:], 0, "length"),
        (lambda d: d[:48] + d[50:52] + d[48:50] + d[52:], None, "rows do not ascend"),
        (lambda d: d[:48] + b"\0" + d[49:], 0, "count of values"),
        (lambda d: d[:50] + b"\xff\xff" + d[52:], 0, "above the maximum"),
        (lambda d: d[:-1] + b"\1", None, "checksum does not match"),
        (lambda d: d[:-32] + b"\3" + d[-31:], None, "stale places do not ascend"),
        (lambda d: d[:-32], None, "length"),
    ],
)
def test_opening_says_what_is_wrong(change: Callable[[bytes], bytes], column: int | None, reason: str) -> None:
    bad = change(encoded([plain(1, 10, 7, 5), plain(700, 10, 7, 5)], PLACES))
    with pytest.raises(CorruptEvents, match=reason) as caught:
        EventLayer(bad if "checksum does" in reason else resealed(bad))
    assert caught.value.column == column


# --- by hand -------------------------------------------------------------------------------------------------------


def counted(
    blocks: Sequence[EventBlock], layers: Sequence[EventLayer], first: int = 0, measure: int = 4, how: str = "sum"
) -> dict[int, int]:
    ordinals, numbers = both(
        month((0, blocks)), None, 0, 2**62, measure, how=how, layers=layers, folded=(first, 1), ranges=(0, 1)
    )
    return dict(zip(ordinals.tolist(), numbers.tolist(), strict=True))


def plain(contact: int, at: int, event: int, value: Value, line: int = 0) -> Row:
    return (contact, at, event, line, value, 1)


def test_replaced_retracted_and_there_again() -> None:
    base = blocks_of([plain(1, 10, 7, 100), plain(1, 10, 7, 50, 1), plain(1, 10, 8, 3), plain(2, 10, 7, 9)])
    replaced = layer_of([plain(1, 10, 7, 1000)], [(1, 10, 7)])
    retracted = layer_of([], [(1, 10, 7), (2, 10, 7)])
    again = layer_of([plain(2, 10, 7, 4)], [])
    assert counted(base, []) == {1: 153, 2: 9}
    assert counted(base, [replaced]) == {1: 1003, 2: 9}
    assert counted(base, [replaced, retracted]) == {1: 3}
    assert counted(base, [replaced, retracted, again]) == {1: 3, 2: 4}
    assert counted(base, [replaced, retracted, again], first=1) == {1: 3, 2: 4}
    assert counted(base, [replaced, retracted, again], first=2) == {1: 153, 2: 13}
    assert counted(base, [replaced, retracted, again], first=3) == {1: 153, 2: 9}
    assert counted([], [replaced, retracted, again]) == {2: 4}
    assert counted(base, [replaced], how="max") == {1: 1000, 2: 9}
    assert counted(base, [replaced, retracted], how="max") == {1: 3}


def test_a_moved_event_leaves_its_old_place() -> None:
    base = blocks_of([plain(1, 10, 7, 100), plain(1, 11, 7, 1)])
    moved = layer_of([plain(3, 11, 7, 100)], [(1, 10, 7)])
    assert counted(base, [moved]) == {1: 1, 3: 100}
    assert counted(base, [moved], measure=-1) == {1: 1, 3: 1}


def test_ranges_that_are_not_asked_for_are_not_looked_at() -> None:
    layer = layer_of([plain(1, 10, 7, 100), plain(BLOCK_ROWS + 1, 10, 7, 5)], [])
    assert counted([], [layer]) == {1: 100}
    ordinals, _ = both([], None, 0, 2**62, -1, layers=[layer], folded=(1, 1))
    assert ordinals.tolist() == [BLOCK_ROWS + 1]
    for ranges, wanted in (((0, 1), [1]), ((1, 2), [BLOCK_ROWS + 1]), ((2, 9), []), ((-5, 2**70), [1, BLOCK_ROWS + 1])):
        assert both([], None, 0, 2**62, -1, layers=[layer], ranges=ranges)[0].tolist() == wanted


def test_a_sum_that_leaves_64_bits() -> None:
    top = VALUE_LIMIT - 1
    base = blocks_of([plain(1, 10, 7, top), plain(1, 10, 8, top), plain(1, 10, 9, 1)])
    assert counted(base, []) == {1: 2**63 - 1}
    with pytest.raises(OverflowError, match="64 bits"):
        counted(base, [layer_of([plain(1, 10, 10, 1)], [])])
    assert counted(base, [layer_of([plain(1, 10, 10, 1)], [(1, 10, 9)])]) == {1: 2**63 - 1}


def test_arguments_are_checked() -> None:
    layer = layer_of([plain(1, 10, 7, 100)], [])
    with pytest.raises(ValueError, match="a layer has 6 columns: there is no column 6"):
        counted([], [layer], measure=6)
    for first in (-1, 2):
        with pytest.raises(ValueError, match="of 1 layers"):
            counted([], [layer], first)
    with pytest.raises(TypeError):
        counted([], [layer.data])  # type: ignore[list-item]


def test_stopping() -> None:
    layer = layer_of([plain(1, 10, i, 100) for i in range(3000)], [])
    assert counted([], [layer]) == {1: 300_000}
    stop = Stop(time.monotonic_ns() + 1_000_000)
    with pytest.raises(Stopped) as caught:
        collect([], None, 0, 2**62, 4, stop=stop, layers=[layer] * 20_000)
    assert caught.value.reason == "deadline"
