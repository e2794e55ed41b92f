"""`verify` names each damage to what is stored on its own: the catalog, string tables, postings, columns and counts."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap

from segidx.database import Account
from segidx.kernels.columns import CHUNK_ROWS, encode_chunk
from segidx.store.catalog import read_state, write_state
from segidx.store.counts import BLOCK_CODES, HAS_POSTING
from segidx.store.layout import (
    DB_COLUMNS,
    DB_COUNTS,
    DB_META,
    DB_POSTINGS,
    DB_STRINGS,
    HEADER_BYTES,
    IDS_TABLE,
    KIND_COUNTS,
    KIND_POSTING,
    LIVE_CODE,
    META_HASH_KEY,
    META_SCHEMA,
    SHARD_BITS,
    SYSTEM_FIELD,
    block_key,
    posting_key,
    seal,
)
from segidx.store.postings import shard_value
from segidx.store.strings import StringTable
from segidx.testing.damage import clear, code_of, counted, flip, get, put, string_key
from segidx.testing.verified import Damage, Damages, by_name, expect, expect_opened, problems
from segidx.testing.verified_contacts import CITY, CONTACTS, MERGED, NOTE, SUPPRESSED, TAGS, VIP, N


def _merged_too_far(account: Account) -> None:
    with account._store.write() as w:
        state = read_state(w.txn, w.dbs[DB_META])
        write_state(w.txn, w.dbs[DB_META], replace(state, merged=state.generation + 1))


CATALOG: dict[str, tuple[Damage, str]] = {
    "merged too far": (_merged_too_far, "the state says that generation 5 is merged, and the newest is 4"),
    "hash key": (lambda a: clear(a, DB_META, META_HASH_KEY), "catalog has no 'hash_key'"),
    "another hash key": (lambda a: put(a, DB_META, META_HASH_KEY, b"x" * 16), "another hash key"),
    "account": (
        lambda a: put(a, DB_META, b"account", get(a, DB_META, b"account").replace(b'"default"', b'"strange"')),
        "the catalog is that of account 'strange', in the directory of 'default'",
    ),
    "field ids": (
        lambda a: put(a, DB_META, META_SCHEMA, get(a, DB_META, META_SCHEMA).replace(b'"id": 8', b'"id": 9')),
        "field 'email' has the id 9 where 8 is due",
    ),
}


def _more_ids(account: Account) -> None:
    with account._store.write() as w:
        ids = StringTable(w.txn, w.dbs[DB_STRINGS], IDS_TABLE, w.catalog().hash_key)
        ids.insert(pa.array([f"contact-{i}" for i in range(MERGED, CONTACTS + 1)]))


def _twice(account: Account) -> None:
    """The same strings have two codes: block 1 of the ids is that of block 0."""
    put(account, DB_STRINGS, string_key(IDS_TABLE, 2, 1), get(account, DB_STRINGS, string_key(IDS_TABLE, 2, 0)))


STRINGS: dict[str, tuple[Damage, str]] = {
    "ids, forward": (lambda a: flip(a, DB_STRINGS, string_key(IDS_TABLE, 2, 3), 20), "table 65535: .*of contact ids"),
    "ids, bucket": (lambda a: flip(a, DB_STRINGS, string_key(IDS_TABLE, 1, 0), 20), "table 65535: .*of contact ids"),
    "ids, state": (lambda a: flip(a, DB_STRINGS, string_key(IDS_TABLE, 0, 0), 20), "state fails its checksum.*of cont"),
    "ids, missing": (lambda a: clear(a, DB_STRINGS, string_key(IDS_TABLE, 2, 0)), "table 65535: .*of contact ids"),
    "ids, twice": (_twice, "the string of code 16 is found at code 0"),
    "dictionary": (lambda a: flip(a, DB_STRINGS, string_key(CITY, 2, 0), 20), r"table 2: .*of field 2 \('city'\)"),
    "stray table": (
        lambda a: put(a, DB_STRINGS, string_key(77, 2, 0), b"x"),
        "string table 77 is stored, and no field has it",
    ),
    "table of a number": (lambda a: put(a, DB_STRINGS, string_key(N, 0, 0), b"x"), "string table 1 is stored, and no"),
    "stray kind": (lambda a: put(a, DB_STRINGS, string_key(CITY, 3, 0), b"x"), "table 2: its key 0002030.* means noth"),
    "stray zero": (lambda a: put(a, DB_STRINGS, string_key(CITY, 2, 0, 1), b"x"), "table 2: its key 000202010.* means"),
    "stray state": (lambda a: put(a, DB_STRINGS, string_key(CITY, 0, 1), b"x"), "table 2: its key 0002000.*1 means"),
    "stray block": (
        lambda a: put(a, DB_STRINGS, string_key(CITY, 2, 9), b"x"),
        "table 2: string block 9 is past its end at 1",
    ),
    "stray bucket": (
        lambda a: put(a, DB_STRINGS, string_key(CITY, 1, 12345), b"x"),
        "table 2: hash bucket 12345 is none of its own",
    ),
    "key": (lambda a: put(a, DB_STRINGS, b"\0\2\2", b"x"), "strings: 1 keys do not have 8 bytes"),
    "base ahead of the log": (
        _more_ids,
        "table 65535 has 341 strings in the base, and 340 by the log",
    ),
}


def _sealed(field: int, code: int, shard: int, cardinality: int, payload: bytes) -> Damage:
    return lambda a: put(a, DB_POSTINGS, posting_key(field, code, shard), seal(KIND_POSTING, cardinality, payload))


def _unsorted(account: Account) -> None:
    """Two ordinals of an array container change places."""
    payload = bytearray(BitMap([5, 9, 70]).serialize())
    payload[-4:] = payload[-2:] + payload[-4:-2]
    _sealed(CITY, 0, 0, 3, bytes(payload))(account)


def _bad_posting(field: int, code: int) -> Damage:
    return lambda a: put(a, DB_POSTINGS, posting_key(field, code, 0), shard_value(BitMap([1])) or b"")


POSTINGS: dict[str, tuple[Damage, str]] = {
    "payload": (
        lambda a: flip(a, DB_POSTINGS, posting_key(CITY, 0, 0), HEADER_BYTES + 9),
        r"posting of field 2 \('city'\), code 0, shard 0: checksum differs",
    ),
    "header": (
        lambda a: flip(a, DB_POSTINGS, posting_key(CITY, 0, 0), 1, 2),
        r"posting of field 2 \('city'\), code 0, shard 0: header says version 1, kind 3",
    ),
    "reserved": (
        lambda a: flip(a, DB_POSTINGS, posting_key(CITY, 0, 0), 2),
        r"field 2 \('city'\), code 0, shard 0: reserved bytes are set",
    ),
    "live contacts": (
        lambda a: flip(a, DB_POSTINGS, posting_key(SYSTEM_FIELD, LIVE_CODE, 0), HEADER_BYTES + 9),
        r"posting of field 0 \(the system's\), code 0 \(live contacts\), shard 0: checksum differs",
    ),
    "not canonical": (_unsorted, "'city'.*code 0, shard 0: an array container is not strictly ascending"),
    "cardinality": (
        _sealed(CITY, 0, 0, 4, BitMap([5, 9, 70]).serialize()),
        "'city'.*code 0, shard 0: holds 3 contacts where its header says 4",
    ),
    "empty": (_sealed(CITY, 0, 0, 0, BitMap().serialize()), "code 0, shard 0 is stored, though empty"),
    "another shard": (
        _sealed(CITY, 0, 0, 2, BitMap([5, 1 << SHARD_BITS]).serialize()),
        "'city'.*code 0, shard 0: ordinals 5 to 1048576 leave the shard",
    ),
    "no such contact": (
        _sealed(CITY, 0, 0, 2, BitMap([5, MERGED]).serialize()),
        "'city'.*code 0, shard 0: holds ordinal 300, and only 300 were given out",
    ),
    "no such field": (
        _bad_posting(99, 0),
        "posting of field 99, code 0, shard 0 is stored, and there is no such field",
    ),
    "no such code": (_bad_posting(CITY, 50), "code 50, shard 0 is stored, and the dictionary ends at 7"),
    "no such bool": (_bad_posting(VIP, 2), r"\('vip'\), code 2, shard 0 is stored, and a bool is 0 or 1"),
    "number": (_bad_posting(N, 0), r"\('n'\), code 0, shard 0 is stored, and values of a number have no codes"),
    "no such flag": (
        _bad_posting(SYSTEM_FIELD, SUPPRESSED - 1),
        "code 65550, shard 0 is stored, and this code means n",
    ),
    "no such system code": (_bad_posting(SYSTEM_FIELD, 9), "code 9, shard 0 is stored, and this code means nothing"),
    "key": (lambda a: put(a, DB_POSTINGS, b"x", b"y"), "postings: key 78 has 1 bytes, not 8"),
}


def _chunk(ordinals: dict[int, int]) -> bytes:
    values, present = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
    for ordinal, value in ordinals.items():
        values[ordinal], present[ordinal] = value, 1
    return encode_chunk(values, present)


def _wide(account: Account) -> None:
    """A chunk whose codes are wider than they must be; its checksum is right."""
    codes = np.array([1, 2], "<u2").tobytes()
    fields = struct.pack("<BBHI", 1, 2, 0, 2), struct.pack("<Iqq", 2, 5, 6)
    crc = struct.pack("<I", zlib.crc32(codes, zlib.crc32(fields[0] + fields[1])))
    put(account, DB_COLUMNS, block_key(N, 0), fields[0] + crc + fields[1] + codes)


COLUMNS: dict[str, tuple[Damage, str]] = {
    "codes": (
        lambda a: flip(a, DB_COLUMNS, block_key(N, 0), 50),
        r"column of field 1 \('n'\), chunk 0: the checksum does not match",
    ),
    "no such field": (
        lambda a: put(a, DB_COLUMNS, block_key(99, 0), _chunk({0: 1})),
        "column of field 99, chunk 0 is stored, and there is no such field",
    ),
    "tags": (
        lambda a: put(a, DB_COLUMNS, block_key(TAGS, 0), _chunk({0: 1})),
        r"column of field 4 \('tags'\), chunk 0 is stored, and tags have no column",
    ),
    "no such contact": (
        lambda a: put(a, DB_COLUMNS, block_key(N, 0), _chunk({MERGED: 1})),
        r"\('n'\), chunk 0: has a value of ordinal 300, and only 300 were given out",
    ),
    "no such chunk": (
        lambda a: put(a, DB_COLUMNS, block_key(N, 1), _chunk({0: 1})),
        r"\('n'\), chunk 1: has a value of ordinal 16384, and only 300 were given out",
    ),
    "empty": (
        lambda a: put(a, DB_COLUMNS, block_key(N, 0), _chunk({})),
        r"\('n'\), chunk 0 is stored, though empty",
    ),
    "too wide": (_wide, r"\('n'\), chunk 0 is not in its shortest form"),
    "key": (lambda a: put(a, DB_COLUMNS, b"\0\1\0\1\0\0\0\0", _chunk({0: 1})), "columns: key 0001000100000000 means"),
    "key length": (lambda a: put(a, DB_COLUMNS, b"\0\1", _chunk({0: 1})), "columns: key 0001 has 2 bytes, not 8"),
}


def _in_use(account: Account) -> None:
    value = get(account, DB_COUNTS, block_key(CITY, 0))
    put(account, DB_COUNTS, block_key(CITY, 0), seal(KIND_COUNTS, 6, value[HEADER_BYTES:]))


COUNTS: dict[str, tuple[Damage, str]] = {
    "payload": (
        lambda a: flip(a, DB_COUNTS, block_key(CITY, 0), 30),
        r"counts of field 2 \('city'\), block 0: checksum differs",
    ),
    "reserved": (lambda a: flip(a, DB_COUNTS, block_key(CITY, 0), 3), "'city'.*block 0: reserved bytes are set"),
    "in use": (_in_use, "'city'.*block 0: 7 codes are in use where its header says 6"),
    "length": (
        lambda a: put(a, DB_COUNTS, block_key(CITY, 0), seal(KIND_COUNTS, 0, bytes(4))),
        "'city'.*block 0: 4 bytes instead of 16384",
    ),
    "no such field": (
        lambda a: counted(a, 99, 3, lambda _: 1),
        "counts of field 99, block 0 are stored, and there is no such field",
    ),
    "no such code": (
        lambda a: counted(a, CITY, 50, lambda _: 1 | HAS_POSTING),
        r"counts of field 2 \('city'\), code 50: it has an entry, and the dictionary ends at 7",
    ),
    "no such block": (
        lambda a: counted(a, CITY, BLOCK_CODES + 1, lambda _: HAS_POSTING),
        "'city'.*code 4097: it has an entry, and the dictionary ends at 7",
    ),
    "no such bool": (
        lambda a: counted(a, VIP, 2, lambda _: 1 | HAS_POSTING),
        "'vip'.*code 2: it has an entry, and a bool is 0 or 1",
    ),
    "number": (lambda a: counted(a, N, 0, lambda _: 1), "'n'.*code 0: it has an entry, and values of a number have no"),
    "system": (lambda a: counted(a, SYSTEM_FIELD, 9, lambda _: 1), "code 9: it has an entry, and this code means"),
    "category without flag": (
        lambda a: counted(a, CITY, 0, lambda entry: entry & ~HAS_POSTING),
        r"'city'.*code 0: held by \d+, without the flag of its posting",
    ),
    "text without flag": (
        lambda a: counted(a, NOTE, code_of(a, NOTE, "common"), lambda entry: entry & ~HAS_POSTING),
        r"'note'.*code \d+: held by 200, without the flag of its posting",
    ),
    "key": (lambda a: put(a, DB_COUNTS, b"\0\1\0\1\0\0\0\0", b"x"), "counts: key 0001000100000000 means nothing"),
    "key length": (lambda a: put(a, DB_COUNTS, b"\0\1", b"x"), "counts: key 0001 has 2 bytes, not 8"),
}


ALL = {"catalog": CATALOG, "strings": STRINGS, "postings": POSTINGS, "columns": COLUMNS, "counts": COUNTS}
CASES = by_name(ALL)


@pytest.mark.parametrize(("damage", "pattern"), CASES.values(), ids=CASES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    assert problems(account) == []
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("damages", ALL.values(), ids=ALL)
def test_a_process_that_opens_the_damage_names_it_or_refuses_it(path: Path, damages: Damages) -> None:
    """What the writing process sees is not what it remembers: another one, which has read nothing before, agrees."""
    expect_opened(path, damages)
