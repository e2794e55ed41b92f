"""The decoders of string blocks and hash buckets on arbitrary bytes: a typed error or an answer, never a crash."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from segidx.kernels import strings as kernel

KEY = bytes(16)
TEXTS = [f"é{i}" * (i % 4) for i in range(kernel.BLOCK)]


def _sound_block(count: int) -> bytes:
    batch = kernel.Batch.of(pa.array(TEXTS[:count], pa.string()))
    return kernel.pack_blocks(None, 0, batch, np.arange(count, dtype=np.uint32))[0].tobytes()


def _sound_bucket(count: int) -> bytes:
    entries = np.array([(i * 2654435761 & 0xFFFFFFFF) << 32 | i for i in range(count)], np.uint64)
    return kernel.build_buckets(entries, np.zeros(1, np.uint32), 1)[0].tobytes()


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """A sound value with a few bytes overwritten, cut short or grown, sometimes with its checksum made good."""
    value = bytearray(sound)
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(value) - 1), st.integers(0, 255)), max_size=6)):
        value[at] = byte
    value = value[: draw(st.integers(0, len(value)))] if draw(st.booleans()) else value
    value += draw(st.binary(max_size=9))
    if len(value) >= 8 and draw(st.booleans()):
        value[4:8] = kernel.crc32(bytes(value[:4] + value[8:])).to_bytes(4, "little")
    return bytes(value)


BLOCK_COUNT = kernel.BLOCK - 3
BLOCKS = st.one_of(st.binary(max_size=200), damaged(_sound_block(BLOCK_COUNT)))
BUCKETS = st.one_of(st.binary(max_size=200), damaged(_sound_bucket(20)))


@settings(max_examples=400, deadline=None)
@given(value=BLOCKS, shift=st.integers(0, 3))
def test_blocks(value: bytes, shift: int) -> None:
    view = memoryview(bytes(shift) + value)[shift:]
    count = BLOCK_COUNT
    codes = np.arange(count, dtype=np.uint32)[::-1].copy()
    with contextlib.suppress(kernel.CorruptStrings):
        strings = kernel.read([view], kernel.by_code(codes), count)
        strings.validate(full=True)
        assert len(strings) == count
    with contextlib.suppress(kernel.CorruptStrings):
        strings = kernel.read_slice([view], 0, count, count)
        strings.validate(full=True)
    for code in range(count):
        with contextlib.suppress(kernel.CorruptStrings):
            assert len(kernel.read_one(view, code, count)) <= kernel.MAX_STRING
            kernel.holds_one(view, code, count, b"")
    batch = kernel.Batch.of(pa.array(TEXTS[:count]))
    with contextlib.suppress(kernel.CorruptStrings):
        kernel.match([view], kernel.by_code(codes), count, batch, np.full(count, -1, np.int64))
    with contextlib.suppress(kernel.CorruptStrings):
        kernel.entries_of([view], kernel.by_code(codes), count, KEY)
    with contextlib.suppress(kernel.CorruptStrings):
        kernel.check_block(view, 0, count)
        # What passes the whole check can be rewritten, and is sound afterwards.
        kernel.check_block(kernel.blank_block(view, 0, count, 0b101), 0, count)
        packed, _ = kernel.pack_blocks(view, count, batch, np.zeros(1, np.uint32))
        kernel.check_block(packed.tobytes(), 0, count + 1)


@settings(max_examples=400, deadline=None)
@given(value=BUCKETS, shift=st.integers(0, 3), count=st.integers(0, 30))
def test_buckets(value: bytes, shift: int, count: int) -> None:
    view = memoryview(bytes(shift) + value)[shift:]
    hashes = np.array([i * 2654435761 & 0xFFFFFFFF for i in range(25)], np.uint64)
    with contextlib.suppress(kernel.CorruptStrings):
        found = kernel.probe([view], kernel.by_bucket(hashes, None, 1), hashes, count)
        assert all(key >> 32 < count for key in found.tolist())
    for hashed in hashes.tolist():
        with contextlib.suppress(kernel.CorruptStrings):
            assert all(code < count for code in kernel.probe_one(view, 0, hashed, count))
    with contextlib.suppress(kernel.CorruptStrings):
        entries = kernel.gather([view], np.zeros(1, np.uint32), 1, count)
        assert kernel.check_bucket(view, 0, 1, count) == len(entries)
        rest = kernel.remove_entries(view, 0, 1, count, entries[::2])
        assert kernel.gather([rest], np.zeros(1, np.uint32), 1, count).tolist() == entries[1::2].tolist()
