"""Fuzzing the readers of postings, column chunks, deltas, blocks and layers of events, and rows on the wire: damaged
bytes raise the typed error, are refused or evaluate, never crash.

    python tests/fuzz/fuzz_decoders.py --seconds 60 --seed 1

Most worth running against a build with SEGIDX_SANITIZE=address,undefined. What a damaged value counts does not matter;
that reading it stays inside its bytes does.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
from zlib import crc32

import numpy as np
from pyroaring import BitMap

from segidx.kernels import _rows
from segidx.kernels.bitmaps import CorruptPosting, Posting, Program, open_banded, validate
from segidx.kernels.columns import Column, CorruptColumn, decode_chunk, encode_chunk, verify_chunk
from segidx.kernels.deltas import (
    ColumnChanges,
    CorruptDelta,
    Delta,
    PostingChanges,
    build_delta,
    overlay_bitmaps,
    overlay_counts,
    overlay_held,
)
from segidx.kernels.events import (
    BLOCK_ROWS,
    LINE,
    CorruptEvents,
    EventBlock,
    EventFilter,
    EventLayer,
    EventMonth,
    collect,
    collect_set,
    encode_block,
    encode_layer,
    merge_layers,
    select,
    take,
    verify_block,
)
from segidx.testing.event_months import orders_of
from segidx.v1 import ingest_pb2

ROWS = 65536
FIELD = 7
KEYS = np.array([FIELD << 32 | code for code in (0, 1, 5)], np.uint64)
WIRE_FIELDS = [(b"n", _rows.KIND_NUMBER, 2), (b"city", _rows.KIND_STRING, 0), (b"tags", _rows.KIND_TAGS, 0)]
WIRE_FIELDS += [(b"seen", _rows.KIND_TIMESTAMP, 0), (b"born", _rows.KIND_DATE, 0), (b"ok", _rows.KIND_BOOL, 0)]


def _bits(pick: random.Random) -> BitMap:
    out = BitMap()
    for start in (0, ROWS, 3 * ROWS, 4 * ROWS)[: pick.randrange(1, 5)]:
        form = pick.randrange(4)
        if form == 0:
            out |= BitMap(start + pick.randrange(ROWS) for _ in range(pick.choice([1, 40, 3000])))
        elif form == 1:
            out |= BitMap(range(start + pick.randrange(5), start + ROWS, pick.choice([2, 3, 11])))
        elif form == 2:
            length = pick.choice([3, 50, 800])
            for _ in range(pick.choice([1, 5, 80])):
                first = start + pick.randrange(ROWS - length)
                out |= BitMap(range(first, first + length))
        else:
            out |= BitMap(range(start, start + ROWS))
    return out


def posting_bytes(pick: random.Random) -> bytes:
    bits = _bits(pick)
    if pick.random() < 0.7:
        bits.run_optimize()
    return bits.serialize()


def chunk_bytes(pick: random.Random) -> bytes:
    rows = pick.choice([1, 100, 5000, 16384])
    rng = np.random.default_rng(pick.randrange(1 << 30))
    values = rng.integers(0, pick.choice([2, 200, 60_000, 1 << 30, 1 << 50]), rows)
    return encode_chunk(values, rng.random(rows) < pick.choice([0.1, 0.9, 1]))


def delta_bytes(pick: random.Random) -> bytes:
    rng = np.random.default_rng(pick.randrange(1 << 30))

    def some() -> np.ndarray:
        most, n = pick.choice([100, 5 * ROWS, 1 << 32]), pick.choice([0, 1, 60, 3000])
        return np.unique(rng.integers(0, most, n)).astype("u4")

    adds, removes = [some() for _ in KEYS], [some() for _ in KEYS]
    ordinals = some()
    values = rng.integers(-(1 << 40), 1 << 40, len(ordinals))
    postings = PostingChanges(
        KEYS,
        rng.integers(0, 1 << 20, len(KEYS)),
        np.cumsum([len(a) for a in adds]).astype("u4"),
        np.concatenate(adds),
        np.cumsum([len(r) for r in removes]).astype("u4"),
        np.concatenate(removes),
    )
    return build_delta([postings], [ColumnChanges(FIELD, ordinals, values, rng.random(len(ordinals)) < 0.8)]).data


def _event_columns(pick: random.Random, contacts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = pick.choice([0, 1, 64, 65, 700, BLOCK_ROWS])
    rng = np.random.default_rng(pick.randrange(1 << 30))
    everywhere = np.ones(rows, np.uint8)
    columns = [(np.sort(rng.integers(0, contacts, rows)), everywhere)]
    columns.append((np.arange(rows) * pick.choice([0, 1, 1000, 1 << 40]), everywhere))
    columns += [(np.arange(rows), everywhere), (rng.integers(0, 5, rows), everywhere)]
    for most in (1, 200, 60_000, 1 << 30, 1 << 50):
        columns.append((rng.integers(0, most, rows), rng.random(rows) < pick.choice([0.1, 0.9, 1])))
    return [*columns, (rng.integers(0, 2, rows), everywhere)]


def event_bytes(pick: random.Random) -> bytes:
    return encode_block(_event_columns(pick, pick.choice([1, 200, BLOCK_ROWS])))


def layer_bytes(pick: random.Random) -> bytes:
    columns = _event_columns(pick, pick.choice([1, 200, 3 * BLOCK_ROWS, 1 << 32]))
    n = pick.choice([0, 1, 50, 3000])
    rng = np.random.default_rng(pick.randrange(1 << 30))
    contacts = np.unique(rng.integers(0, pick.choice([1, 200, 3 * BLOCK_ROWS, 1 << 32]), n))
    times = rng.integers(0, pick.choice([1, 1000, 1 << 50]), len(contacts))
    return encode_layer(columns, contacts.astype("u4"), times, rng.integers(0, 1000, len(contacts)).astype("u4"))


def _layers(pick: random.Random) -> list[EventLayer]:
    """Whole ones, damaged ones whose checksum is right, so that opening looks further, and some damaged after they
    were opened."""
    found = []
    for _ in range(pick.randrange(4)):
        good = layer_bytes(pick)
        data = bytearray(damage(good, pick) if pick.random() < 0.5 else good)
        data[8:12] = crc32(data[12:], crc32(data[:8])).to_bytes(4, "little")
        with contextlib.suppress(CorruptEvents):
            found.append(EventLayer(data))
            for _ in range(pick.choice([0, 0, 1, 300])):
                data[pick.randrange(len(data))] = pick.choice([0, 0xFF, pick.randrange(256)])
    for layer in found:
        layer.decode()
        layer.stale_places()
        layer.ranges()
        layer.rows_of(5, 2 * BLOCK_ROWS)
        layer.stale_of(5, 2 * BLOCK_ROWS)
        with contextlib.suppress(ValueError):
            merge_layers(layer, pick.choice(found))
    return found


def _read_events(pick: random.Random) -> None:
    blocks = []
    for _ in range(3):
        data = damage(event_bytes(pick), pick)
        verify_block(data)
        with contextlib.suppress(CorruptEvents):
            blocks.append(EventBlock(data))
    layers = _layers(pick)
    least = min((held.columns for held in [*blocks, *layers]), default=5)
    ops: list[tuple[object, ...]] = []
    for _ in range(4):
        column, low = pick.randrange(least), pick.randrange(1 << pick.randrange(1, 50))
        ops.append(("range", column, low, low + pick.randrange(1 << pick.randrange(1, 50))))
        bits = bytes(pick.randrange(256) for _ in range(40))
        ops.append(("table", pick.randrange(least), pick.choice([low, 0]), bits, pick.random() < 0.5))
    zone = np.array([5, 1 << pick.randrange(4, 60)]), np.array([-3_600_000, pick.randrange(3_600_000)])
    ops += [("clock", "hour", *zone, 0xF0F0F0), ("clock", "weekday", *zone, pick.randrange(128))]
    ops += [("clock", "month", *zone, pick.randrange(4096)), ("any", 3)]
    ops += [("at_least", 2, 4), ("not",), ("any", 3), ("all", 4)]
    candidates = np.array(sorted(pick.sample(range(4 * BLOCK_ROWS), 3000)), np.uint32)
    few = candidates[: pick.randrange(3)]
    for block in blocks:
        block.decode()
    for chosen in (None, candidates, few):
        with contextlib.suppress(OverflowError):
            bounds = [found for block in blocks if (found := block.zone(LINE + 1)) is not None]
            value = pick.choice(bounds)[pick.randrange(2)] if bounds else 0
            rows = pick.choice([None, EventFilter(ops), EventFilter([("range", LINE + 1, value, value)])])
            end = pick.choice([1 << 10, 1 << 60])
            months = [EventMonth((number, block) for number in (0, 2) for block in blocks)]
            folded = pick.randrange(len(layers) + 1), pick.randrange(4)
            measure = pick.randrange(-1, least)
            how = pick.choice(["sum", "min", "max", "distinct"] if measure >= 0 else ["sum", "distinct_days"])
            where = zone if how == "distinct_days" else None
            held = {"layers": layers, "folded": folded}
            ask = pick.choice([collect, collect_set])
            equals = [equal.column for equal in rows.equals] if rows else []
            with orders_of(months, equals, [measure] if measure >= 0 else []):
                ask(months, rows, 0, end, measure, chosen, how=how, zone=where, **held)
            select(months, rows, 0, end, [0, pick.randrange(least)], chosen, **held)
            where = (months, rows, 0, end, layers, folded)
            columns = pick.randrange(least), pick.randrange(least)
            take(where, where, columns, pick.choice([0, 1 << 10, 1 << 62]), chosen)


def request_bytes(pick: random.Random) -> bytes:
    request = ingest_pb2.StreamWritesRequest(sequence=1, account="accounts/a")
    for i in range(pick.choice([1, 3, 40])):
        row = request.rows.add(contact_id=f"c{pick.randrange(50)}", must_exist=i % 5 == 0)
        row.fields["n"].decimal_value = str(pick.randrange(1 << pick.randrange(1, 60)))
        row.fields["city"].string_value = "x" * pick.choice([0, 3, 3000])
        row.fields["seen"].timestamp_value.seconds = pick.randrange(1 << 40)
        row.fields["born"].date_value.year = pick.randrange(10_100)
        row.fields["ok"].bool_value = True
        row.tags.add(add=["a", "b"], remove=["c"])
        order = request.events.add().order
        order.order_id, order.contact_id, order.source, order.currency = f"o{i}", "c1", "email", "PLN"
        order.time.seconds = pick.randrange(1 << 40)
        for number in range(pick.randrange(3)):
            order.lines.add(product=f"p{number}", quantity=str(pick.randrange(1 << 50)), unit_price="1.50")
    return request.SerializeToString()


def _deltas(pick: random.Random) -> tuple[Delta, ...]:
    found = []
    for _ in range(pick.randrange(4)):
        with contextlib.suppress(CorruptDelta):
            found.append(Delta(damage(delta_bytes(pick), pick) if pick.random() < 0.7 else delta_bytes(pick)))
    if len(found) > 1:
        found[0].merged(found[1])
    return tuple(found)


def _read_request(pick: random.Random) -> None:
    data = damage(request_bytes(pick), pick)
    _rows.header(data, 4, 5)
    _rows.parse_orders(data, 5, b"PLN", 2, 100, 100)
    start = 0
    while start < len(data):
        parsed = _rows.parse(data, start, 4, WIRE_FIELDS, 1000)
        if parsed is None:
            return
        start = parsed[0]


def damage(data: bytes, pick: random.Random) -> bytes:
    """Bytes changed, mostly in the header; cut; or doubled."""
    out = bytearray(data)
    for _ in range(pick.choice([0, 1, 1, 2, 8])):
        at = pick.randrange(min(len(out), pick.choice([4, 16, 64, 1 << 20])))
        out[at] = pick.choice([0, 1, 0x7F, 0x80, 0xFF, out[at] ^ (1 << pick.randrange(8)), pick.randrange(256)])
    if pick.random() < 0.15:
        del out[pick.randrange(len(out)) :]
    if pick.random() < 0.05:
        out += out[: pick.randrange(1, 100)]
    return bytes(out)


def _posting(pick: random.Random) -> Posting | None:
    overlay = [damage(posting_bytes(pick), pick) if pick.random() < 0.3 else None for _ in range(2)]
    try:
        return Posting([damage(posting_bytes(pick), pick)], *overlay)
    except CorruptPosting:
        return None


def _banded(pick: random.Random) -> list[Posting]:
    parts = [damage(posting_bytes(pick), pick) if pick.random() < 0.5 else posting_bytes(pick) for _ in range(3)]
    try:
        return open_banded(parts, sorted(pick.sample(range(6), 3)), pick.choice([1, 5, 8, 70_000]))[:5]
    except CorruptPosting:
        return []


def _column(pick: random.Random) -> Column | None:
    try:
        return Column([damage(chunk_bytes(pick), pick) if pick.random() < 0.9 else None for _ in range(4)])
    except CorruptColumn:
        return None


def once(pick: random.Random) -> bool:
    """One case; whether anything opened and was evaluated."""
    data = damage(posting_bytes(pick), pick)
    validate(data)
    chunk = damage(chunk_bytes(pick), pick)
    verify_chunk(chunk)
    with contextlib.suppress(CorruptColumn):
        decode_chunk(chunk)
    _read_request(pick)
    _read_events(pick)
    deltas = _deltas(pick)
    ordinals = np.sort(np.array([pick.randrange(5 * ROWS) for _ in KEYS], np.uint32))
    overlay_held(deltas, KEYS, ordinals, np.zeros(len(KEYS), np.uint8))
    overlay_counts(deltas, KEYS, np.zeros(len(KEYS), np.int64))
    postings = [p for p in (_posting(pick) for _ in range(4)) if p is not None]
    postings += _banded(pick)
    postings += [p.overlaid(*overlay_bitmaps(deltas, int(key))) for p, key in zip(postings, KEYS, strict=False)]
    columns = [c.overlaid(FIELD, deltas) for c in (_column(pick) for _ in range(2)) if c is not None]
    if not postings:
        return False
    program = Program()
    nodes = [program.posting(p) for p in postings]
    for column in columns:
        low = pick.randrange(1 << pick.randrange(1, 50))
        nodes.append(program.range(column, low, low + pick.randrange(1 << pick.randrange(1, 50))))
        nodes.append(program.table(column, low, bytes(pick.randrange(256) for _ in range(40)), pick.random() < 0.5))
        column.take(np.arange(0, ROWS, 97, dtype=np.uint32))
    for _ in range(6):
        some = [n if pick.random() < 0.7 else program.negate(n) for n in pick.choices(nodes, k=3)]
        join = pick.choice([program.all_of, program.any_of, lambda s: program.at_least(2, s)])
        nodes.append(join(some))
    universe = pick.choice(postings)
    program.finish(nodes[-1], universe)
    program.count()
    program.any()
    program.materialise()
    universe.contains_many(np.arange(0, 5 * ROWS, 1009, dtype=np.uint32))
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    end, cases, opened = time.monotonic() + chosen.seconds, 0, 0
    pick = random.Random(chosen.seed)
    while time.monotonic() < end:
        opened += once(pick)
        cases += 1
    print(f"{cases} cases from seed {chosen.seed}, {opened} evaluated, no crash")


if __name__ == "__main__":
    main()
