"""Log records: round trips in parts, order, trimming, and bytes that are no record."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pytest

from segidx.kernels.deltas import EMPTY
from segidx.kernels.events import encode_layer
from segidx.model.errors import CorruptData
from segidx.store import log
from segidx.store.layout import part_key
from segidx.store.log import NewStrings, Record, append_record, decode_record, encode_record, read_log, trim_log
from segidx.testing.deltas import Layer, Members, delta_of

COLUMNS = [(np.array([v, v]), np.ones(2)) for v in (3, 10, 7, 0)] + [(np.array([5, 0]), np.array([1, 0]))]
COLUMNS[3] = (np.array([0, 1]), np.ones(2))
LAYER = encode_layer(
    [*COLUMNS, (np.ones(2), np.ones(2))], np.array([3], np.uint32), np.array([10]), np.array([7], np.uint32)
)
TEXTS = ("", "a", "Łódź", "x" * 2048, "\U0001f600", "a\x00b", "e\u0301")
SOUND = Record(
    7,
    5,
    -1,
    {3: NewStrings(10, pa.array(["a", "", "Łódź"])), 0xFFFF: NewStrings(0, pa.array(["c1"]))},
    delta_of(Layer({5: Members(2, frozenset({1, 2}))}, {1: {4: 9, 5: None}})),
    {1: LAYER, 16: LAYER},
)
_HEADER = struct.Struct("<B3sIQQqIIQ")
_TABLE = struct.Struct("<IIII")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[lmdb.Environment, Any]]:
    monkeypatch.setattr(log, "PART_BYTES", 100)
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"log")


def same(one: Record, other: Record) -> bool:
    def plain(record: Record) -> object:
        strings = {t: (n.first, n.strings.to_pylist()) for t, n in record.strings.items()}
        return record.generation, record.segment, record.time, strings, record.delta.data, record.events

    return plain(one) == plain(other)


def random_record(rng: random.Random, generation: int) -> Record:
    strings = {
        table: NewStrings(rng.randrange(2**31), pa.array(rng.choices(TEXTS, k=rng.choice((1, 2, 30))), pa.string()))
        for table in rng.sample((0, 1, 7, 0xFFFF), rng.randint(0, 3))
    }
    keys = {rng.randrange(2**40): Members(rng.randrange(9), frozenset(rng.sample(range(99), 5))) for _ in range(4)}
    fields = {rng.randrange(9): {rng.randrange(99): rng.choice((None, 0, -5, 2**61)) for _ in range(5)}}
    delta = rng.choice((EMPTY, delta_of(Layer(keys, fields))))
    events = dict.fromkeys(rng.sample(range(1, 300), rng.choice((0, 0, 1, 3))), LAYER)
    return Record(generation, rng.randint(1, generation), rng.choice((0, -1, 2**62)), strings, delta, events)


@pytest.mark.parametrize("seed", range(40))
def test_a_record_comes_back(seed: int) -> None:
    record = random_record(random.Random(seed), seed + 1)
    assert same(decode_record(encode_record(record), seed + 1), record)


def test_strings_that_are_a_slice_of_others() -> None:
    """Offsets of a slice do not begin at zero."""
    whole = pa.array(["left", "out", "a", "ąę", "end"])
    record = Record(1, 1, 0, {2: NewStrings(5, whole.slice(2, 2))}, EMPTY)
    found = decode_record(encode_record(record), 1).strings[2]
    assert (found.first, found.strings.to_pylist()) == (5, ["a", "ąę"])


def test_records_are_read_in_order_part_by_part(opened: Any) -> None:
    env, db = opened
    rng = random.Random(1)
    records = [random_record(rng, generation) for generation in range(3, 20)]
    with env.begin(write=True) as txn:
        sizes = [append_record(txn, db, record) for record in records]
        assert sizes == [len(encode_record(record)) for record in records]
    for buffers in (False, True):
        with env.begin(buffers=buffers) as txn:
            assert txn.stat(db)["entries"] == sum(-(-size // 100) for size in sizes) > 60
            for after, last in ((2, 19), (2, 2), (5, 11), (18, 19), (19, 19)):
                found = list(read_log(txn, db, after, last))
                assert [size for _, size in found] == sizes[after - 2 : last - 2]
                assert all(map(same, (record for record, _ in found), records[after - 2 : last - 2]))


def test_what_is_missing_is_named(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        for generation in (3, 4, 5):
            append_record(txn, db, random_record(random.Random(generation), generation))
        with pytest.raises(CorruptData, match="no record of generation 2"):
            list(read_log(txn, db, 1, 5))
        with pytest.raises(CorruptData, match="no record of generation 6"):
            list(read_log(txn, db, 2, 6))
        kept = [(bytes(k), bytes(v)) for k, v in txn.cursor(db) if bytes(k)[:8] == part_key(4, 0)[:8]]
        assert len(kept) > 2
        for lost in (0, 1, len(kept) - 1):
            txn.delete(kept[lost][0], db=db)
            with pytest.raises(CorruptData, match="generation 4"):
                list(read_log(txn, db, 2, 5))
            txn.put(*kept[lost], db=db)
        assert len(list(read_log(txn, db, 2, 5))) == 3
        txn.delete(kept[0][0], db=db)
        assert len(list(read_log(txn, db, 2, 3))) == 1, "what is not asked for may be damaged"


def test_trimming_goes_up_to_the_merge_point(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        assert trim_log(txn, db, 9, 5)
        for generation in range(1, 8):
            append_record(txn, db, random_record(random.Random(generation), generation))
        parts = txn.stat(db)["entries"]
        while not trim_log(txn, db, 4, 3):
            left = txn.stat(db)["entries"]
            assert left == parts - 3
            parts = left
        assert [record.generation for record, _ in read_log(txn, db, 4, 7)] == [5, 6, 7]
        with pytest.raises(CorruptData):
            list(read_log(txn, db, 3, 7))
        assert trim_log(txn, db, 4, 3)
        assert [record.generation for record, _ in read_log(txn, db, 4, 7)] == [5, 6, 7]
        append_record(txn, db, random_record(random.Random(8), 8))
        while not trim_log(txn, db, 8, 100):
            pass
        assert txn.stat(db)["entries"] == 0
        append_record(txn, db, random_record(random.Random(9), 9))


# --- bytes that are no record ----------------------------------------------------------------------------------


def sealed(data: bytes) -> bytes:
    """With the checksum that those bytes should have."""
    return data[:4] + struct.pack("<I", zlib.crc32(data[8:])) + data[8:]


def with_table(*, count: int = 3, size: int = 6, ends: tuple[int, ...] = (1, 1, 6), text: bytes = b"abcdef") -> bytes:
    table = _TABLE.pack(3, 10, count, size) + struct.pack(f"<{len(ends)}I", *ends) + text
    return sealed(_HEADER.pack(1, b"", 0, 7, 5, 0, 1, 0, len(EMPTY)) + table + EMPTY.data)


def with_events(
    *layers: tuple[int, bytes] | tuple[()], types: int | None = None, version: int = 2, size: int | None = None
) -> bytes:
    """A record of layers; one that says there are some where none is given."""
    given = [layer for layer in layers if layer]
    head = _HEADER.pack(version, b"", 0, 7, 5, 0, 0, len(layers) if types is None else types, len(EMPTY))
    sections = (struct.pack("<II", n, len(data) if size is None else size) + data for n, data in given)
    return sealed(head + EMPTY.data + b"".join(sections))


def test_events_come_back_by_type() -> None:
    found = decode_record(with_events((1, LAYER), (2, LAYER), (99, LAYER)), 7)
    assert found.events == {1: LAYER, 2: LAYER, 99: LAYER}
    assert decode_record(encode_record(found), 7).events == found.events
    assert decode_record(with_events(version=1), 7).events == {}


def test_every_flipped_bit_is_seen() -> None:
    good = encode_record(SOUND)
    assert same(decode_record(good, 7), SOUND)
    for at in range(len(good)):
        if at in (1, 2, 3):  # nothing yet
            continue
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        with pytest.raises(CorruptData, match="generation 7"):
            decode_record(bytes(bad), 7)


def test_every_shortened_record_is_seen() -> None:
    good = encode_record(SOUND)
    for size in range(len(good)):
        with pytest.raises(CorruptData, match="generation 7"):
            decode_record(good[:size], 7)
        if size >= 8:
            with pytest.raises(CorruptData, match="generation 7"):
                decode_record(sealed(good[:size]), 7)
    with pytest.raises(CorruptData, match="1 bytes behind its end"):
        decode_record(sealed(good + b"\0"), 7)


def test_a_record_under_another_generation_is_seen() -> None:
    with pytest.raises(CorruptData, match="generation 8"):
        decode_record(encode_record(SOUND), 8)


@pytest.mark.parametrize(
    "data",
    [
        with_table(count=0),
        with_table(count=2),
        with_table(count=4),
        with_table(count=2**32 - 1),
        with_table(size=5),
        with_table(size=7),
        with_table(size=2**32 - 1),
        with_table(ends=(1, 7, 6)),
        with_table(ends=(2, 1, 6)),
        with_table(ends=(1, 1, 5)),
        with_table(ends=(2**31, 2**31, 6)),
        with_table(text=b"abc\xff\xfe\xfd"),
        sealed(_HEADER.pack(1, b"", 0, 7, 5, 0, 3, 0, len(EMPTY)) + EMPTY.data),
        sealed(_HEADER.pack(1, b"", 0, 7, 5, 0, 0, 0, len(EMPTY)) + EMPTY.data[:-1] + b"\1"),
        sealed(_HEADER.pack(1, b"", 0, 7, 5, 0, 0, 0, 3) + b"abc"),
        sealed(_HEADER.pack(3, b"", 0, 7, 5, 0, 0, 0, len(EMPTY)) + EMPTY.data),
        with_events(()),
        with_events((1, LAYER), types=2),
        with_events((1, LAYER), types=0),
        with_events((1, LAYER), version=1),
        with_events((0, LAYER)),
        with_events((2, LAYER), (2, LAYER)),
        with_events((2, LAYER), (1, LAYER)),
        with_events((1, LAYER[:-1])),
        with_events((1, LAYER[:8] + bytes(4) + LAYER[12:])),
        with_events((1, b"")),
        with_events((1, LAYER), size=len(LAYER) + 1),
        with_events((1, LAYER), size=2**32 - 1),
    ],
)
def test_what_contradicts_itself_is_refused_under_a_right_checksum(data: bytes) -> None:
    assert decode_record(with_table(), 7).strings[3].strings.to_pylist() == ["a", "", "bcdef"]
    with pytest.raises(CorruptData, match="generation 7"):
        decode_record(data, 7)


def test_random_bytes_never_do_more_than_raise() -> None:
    rng = random.Random(2)
    good = encode_record(SOUND)
    for _ in range(3000):
        bad = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            bad[rng.randrange(8, len(bad))] = rng.randrange(256)
        try:
            decode_record(sealed(bytes(bad)), 7)
        except CorruptData:
            continue


def test_two_parts_fill_a_page(tmp_path: Path) -> None:
    """None takes pages of its own, for which LMDB would look for free ones in a row."""
    record = Record(1, 1, 0, {3: NewStrings(0, pa.array([f"string {i}" for i in range(20_000)]))}, EMPTY, {})
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        db = env.open_db(b"log")
        with env.begin(write=True) as txn:
            size = append_record(txn, db, record)
            stat = txn.stat(db)
            ((read, _),) = read_log(txn, db, 0, 1)
        assert same(read, record)
        assert stat["overflow_pages"] == 0
        assert stat["leaf_pages"] <= -(-size // (2 * log.PART_BYTES))
