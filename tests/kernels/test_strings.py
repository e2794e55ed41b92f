"""The string kernels against slow, independent versions of themselves."""

from __future__ import annotations

import itertools
import random
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segidx.kernels import strings as kernel

KEY = bytes(range(16))
MASK64 = 2**64 - 1


def slow_siphash(data: bytes, key: bytes, c: int, d: int) -> int:
    """SipHash-c-d straight from the paper's section 2."""

    def rotl(x: int, b: int) -> int:
        return (x << b | x >> (64 - b)) & MASK64

    def rounds(v: list[int], n: int) -> None:
        for _ in range(n):
            v[0] = (v[0] + v[1]) & MASK64
            v[2] = (v[2] + v[3]) & MASK64
            v[1] = rotl(v[1], 13) ^ v[0]
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[1]) & MASK64
            v[0] = (v[0] + v[3]) & MASK64
            v[1] = rotl(v[1], 17) ^ v[2]
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = rotl(v[2], 32)

    k0, k1 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    words = [b"somepseu", b"dorandom", b"lygenera", b"tedbytes"]
    v = [int.from_bytes(word, "big") ^ k for word, k in zip(words, (k0, k1, k0, k1), strict=True)]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for i in range(0, len(padded), 8):
        m = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= m
        rounds(v, c)
        v[0] ^= m
    v[2] ^= 0xFF
    rounds(v, d)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_siphash_24_gives_the_papers_example() -> None:
    """Appendix A of the paper: key 00..0f, message 00..0e."""
    assert kernel.siphash(bytes(range(15)), KEY, 2, 4) == 0xA129CA6149BE45E5


@given(st.binary(max_size=300), st.binary(min_size=16, max_size=16))
def test_siphash_agrees_with_the_slow_version(data: bytes, key: bytes) -> None:
    assert kernel.siphash(data, key, 1, 3) == slow_siphash(data, key, 1, 3)
    assert kernel.siphash(data, key, 2, 4) == slow_siphash(data, key, 2, 4)
    assert kernel.siphash(data, key) == kernel.siphash(data, key, 1, 3)


def test_a_hash_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        kernel.siphash(b"x", b"short")


@given(st.binary(max_size=200))
def test_crc32_is_zlibs(data: bytes) -> None:
    assert kernel.crc32(data) == zlib.crc32(data)


@given(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode())))
def test_utf8_validation_agrees_with_python(data: bytes) -> None:
    try:
        data.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert kernel.utf8_valid(data) == valid


@pytest.mark.parametrize("lead", [0x7F, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5])
def test_utf8_validation_at_every_second_byte(lead: int) -> None:
    for second in range(256):
        for tail in (b"", b"\x80", b"\xbf\x80", b"\x80\x80a"):
            data = bytes([lead, second]) + tail
            try:
                data.decode()
                valid = True
            except UnicodeDecodeError:
                valid = False
            assert kernel.utf8_valid(b"0123456789" + data) == valid, data


ARROW_TYPES = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()]


@pytest.mark.parametrize("kind", ARROW_TYPES, ids=str)
def test_a_batch_reads_every_arrow_layout(kind: pa.DataType) -> None:
    texts = ["skipped", "a", None, "", "żółw", "b" * 300]
    array = pa.array(texts, pa.string()).cast(kind).slice(1)
    hashes = kernel.Batch.of(array).hash(KEY)
    expected = [0 if t is None else slow_siphash(t.encode(), KEY, 1, 3) for t in texts[1:]]
    assert hashes.tolist() == expected
    assert kernel.Batch.of(array).hash(KEY, 0xFF).tolist() == [h & 0xFF for h in expected]
    assert kernel.Batch.of(pa.chunked_array([array, array])).hash(KEY).tolist() == expected * 2


def test_a_batch_of_dictionary_null_and_empty_arrays() -> None:
    assert kernel.Batch.of(pa.array(["a", "b", "a"]).dictionary_encode()).hash(KEY).tolist() == [
        slow_siphash(t, KEY, 1, 3) for t in (b"a", b"b", b"a")
    ]
    assert kernel.Batch.of(pa.nulls(2)).hash(KEY).tolist() == [0, 0]
    for kind in ARROW_TYPES:
        assert len(kernel.Batch.of(pa.array([], kind))) == 0
    with pytest.raises(TypeError, match="int64"):
        kernel.Batch.of(pa.array([1, 2]))


@pytest.mark.parametrize("offsets", [[0, 3, 2, 4], [0, 99, 2, 4], [0, -1, 2, 3]])
def test_offsets_that_leave_the_data_are_refused(offsets: list[int]) -> None:
    array = pa.StringArray.from_buffers(3, pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(b"abcd"))
    with pytest.raises(ValueError, match="outside its data"):
        kernel.Batch.of(array)


def slow_place(fingerprint: int, buckets: int) -> int:
    """Litwin's addressing, on the fingerprint with its bits reversed; the bucket's number, reversed again."""
    backwards = int(f"{fingerprint:032b}"[::-1], 2)
    level = 0
    while 2 ** (level + 1) <= buckets:
        level += 1
    number = backwards % 2**level
    if number < buckets - 2**level:
        number = backwards % 2 ** (level + 1)
    return int(f"{number:032b}"[::-1], 2)


@pytest.mark.parametrize("buckets", [1, 2, 3, 4, 5, 7, 8, 9, 1000, 1024, 1025])
def test_places_are_linear_hashing(buckets: int) -> None:
    rng = random.Random(buckets)
    prints = [0, 2**32 - 1, 2**31, 2**31 - 1, *(rng.randrange(2**32) for _ in range(300))]
    got = kernel.places_of(np.array(prints, np.uint32), buckets).tolist()
    assert got == [slow_place(p, buckets) for p in prints]
    assert set(got) <= set(kernel.place_range(0, buckets).tolist())


def test_a_place_is_at_home_in_its_bucket_and_splits_off_one_parent() -> None:
    for buckets in range(1, 70):
        places = kernel.place_range(0, buckets)
        assert kernel.places_of(places, buckets).tolist() == places.tolist()
        new = int(kernel.place_range(buckets, buckets + 1)[0])
        parent = int(kernel.places_of(np.array([new], np.uint32), buckets)[0])
        prints = np.random.default_rng(buckets).integers(0, 2**32, 500, np.uint32)
        before, after = kernel.places_of(prints, buckets), kernel.places_of(prints, buckets + 1)
        moved = before != after
        assert set(before[moved].tolist()) <= {parent}
        assert set(after[moved].tolist()) <= {new}


@given(st.lists(st.integers(0, 2**32 - 1), max_size=200), st.integers(1, 300))
def test_by_bucket_groups_every_query_once(fingerprints: list[int], buckets: int) -> None:
    hashes = np.array(fingerprints, np.uint64)
    places = kernel.by_bucket(hashes, None, buckets)
    got = [(place, index) for g, place in enumerate(places.ids.tolist()) for index in places.indexes(g).tolist()]
    assert got == sorted((slow_place(p, buckets), i) for i, p in enumerate(fingerprints))


def test_sorting_beyond_the_short_inputs_is_stable() -> None:
    codes = np.random.default_rng(7).integers(0, 2**32, 10_000, np.uint32)
    places = kernel.by_code(codes)
    blocks = codes // kernel.BLOCK
    assert places.ids.tolist() == sorted(set(blocks.tolist()))
    order = (places.keys & np.uint64(0xFFFFFFFF)).astype(int)
    assert order.tolist() == np.argsort(blocks, kind="stable").tolist()


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=60), st.sampled_from([MASK64, 3, 0]))
def test_assign_codes_in_order_of_first_appearance(texts: list[str | None], mask: int) -> None:
    batch = kernel.Batch.of(pa.array(texts, pa.string()))
    codes = np.full(len(texts), -1, np.int64)
    fresh = kernel.assign_codes(batch, batch.hash(KEY, mask), codes, 100)
    seen: dict[str, int] = {}
    expected = [-1 if t is None else seen.setdefault(t, 100 + len(seen)) for t in texts]
    assert codes.tolist() == expected
    assert [texts[i] for i in fresh.tolist()] == list(seen)


def build(texts: list[str], *, shift: int = 0) -> list[bytearray]:
    """The values of the blocks that hold `texts`, each at `shift` bytes from an aligned address."""
    batch = kernel.Batch.of(pa.array(texts, pa.string()))
    packed, ends = kernel.pack_blocks(None, 0, batch, np.arange(len(texts), dtype=np.uint32))
    cuts = [0, *ends.tolist()]
    return [bytearray(bytes(shift) + packed[a:b].tobytes()) for a, b in itertools.pairwise(cuts)]


TEXTS = [f"text {i} " + "é" * (i % 5) for i in range(3 * kernel.BLOCK + 5)] + ["", "x" * 2048]


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 6])
def test_blocks_give_back_their_strings_at_any_alignment(shift: int) -> None:
    values = [memoryview(value)[shift:] for value in build(TEXTS, shift=shift)]
    codes = np.random.default_rng(shift).integers(0, len(TEXTS), 500).astype(np.uint32)
    places = kernel.by_code(codes)
    got = kernel.read([values[i] for i in places.ids.tolist()], places, len(TEXTS))
    assert got.to_pylist() == [TEXTS[c] for c in codes.tolist()]
    assert kernel.read_slice(values, 0, len(TEXTS), len(TEXTS)).to_pylist() == TEXTS
    assert (
        kernel.read_slice(values[1:2], kernel.BLOCK + 3, kernel.BLOCK + 9, len(TEXTS)).to_pylist()
        == (TEXTS[kernel.BLOCK + 3 : kernel.BLOCK + 9])
    )


def test_returned_strings_are_copies() -> None:
    values = build(TEXTS)
    got = kernel.read_slice(values, 0, len(TEXTS), len(TEXTS))
    for value in values:
        value[:] = bytes(len(value))
    assert got.to_pylist() == TEXTS


def test_a_block_of_the_largest_strings() -> None:
    texts = [chr(97 + i) * kernel.MAX_STRING for i in range(kernel.BLOCK)]
    (value,) = build(texts)
    assert kernel.read_slice([value], 0, len(texts), len(texts)).to_pylist() == texts
    assert kernel.check_block(value, 0, len(texts)) == 0


def test_appending_to_a_partial_block_equals_packing_at_once() -> None:
    for kept in range(1, kernel.BLOCK):
        old = build(TEXTS[:kept])
        rest = kernel.Batch.of(pa.array(TEXTS[kept:]))
        packed, _ = kernel.pack_blocks(old[0], kept, rest, np.arange(len(rest), dtype=np.uint32))
        assert packed.tobytes() == b"".join(build(TEXTS))


@given(st.sets(st.integers(0, 2**64 - 1), max_size=300), st.integers(1, 20))
def test_buckets_hold_what_was_put_in(hashes: set[int], buckets: int) -> None:
    entries = np.array(
        [(h & 0xFFFFFFFF) << 32 | code for code, h in enumerate(sorted(hashes, key=lambda h: h % 977))], np.uint64
    )
    ids = np.sort(kernel.place_range(0, buckets))
    packed, ends = kernel.build_buckets(entries, ids, buckets)
    cuts = [0, *ends.tolist()]
    values = [packed[a:b].tobytes() for a, b in itertools.pairwise(cuts)]
    assert sum(
        kernel.check_bucket(v, i, buckets, len(entries)) for v, i in zip(values, ids.tolist(), strict=True)
    ) == len(entries)
    back = kernel.gather(values, ids, buckets, len(entries))
    assert back.tolist() == sorted(entries.tolist())
    wanted = np.array([e >> 32 for e in entries.tolist()], np.uint64)
    places = kernel.by_bucket(wanted, None, buckets)
    by_id = dict(zip(ids.tolist(), values, strict=True))
    found = kernel.probe([by_id[i] for i in places.ids.tolist()], places, wanted, len(entries))
    assert {(k >> 32, k & 0xFFFFFFFF) for k in found.tolist()} >= {(i, i) for i in range(len(entries))}


def test_an_entry_without_a_bucket_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="at home in none"):
        kernel.build_buckets(np.array([2**63], np.uint64), np.array([0], np.uint32), 2)


@pytest.mark.parametrize("seed", range(6))
def test_hashes_that_were_seen_are_a_set(seed: int) -> None:
    """Across many growths of the tables, with halves that collide, zeros, and pairs that repeat within a call."""
    pick = random.Random(seed)
    halves = [0, 1, MASK64, *(pick.getrandbits(64) for _ in range(3)), *(pick.getrandbits(8) << 56 for _ in range(20))]
    seen, known = kernel.Seen(), set[tuple[int, int]]()
    for size in (0, 1, 15, 16, 17, 300, 5000, 20_000):
        high = [pick.choice(halves) if pick.random() < 0.5 else pick.getrandbits(64) for _ in range(size)]
        low = [pick.choice(halves) if pick.random() < 0.5 else pick.getrandbits(64) for _ in range(size)]
        pairs = [(a, b or int(not a)) for a, b in zip(high, low, strict=True)]  # (0, 0) is taken for (0, 1)
        want = []
        for pair in pairs:
            want.append(pair in known)
            known.add(pair)
        assert seen.add(np.array(high, np.uint64), np.array(low, np.uint64)).tolist() == want
    again = np.array([a for a, _ in known], np.uint64), np.array([b for _, b in known], np.uint64)
    assert seen.add(*again).all()
    with pytest.raises(ValueError, match="one length"):
        seen.add(np.zeros(2, np.uint64), np.zeros(1, np.uint64))
