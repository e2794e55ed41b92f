"""Bytes on disk: format version, named databases, keys, and the header of a stored value.

Changing anything here changes the format: raise FORMAT_VERSION and docs/FORMAT.md with it.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Protocol

from segidx.model.errors import CorruptData
from segidx.model.events import ORDER, EventType
from segidx.model.writes import Channel, ChannelFlag

FORMAT_VERSION = 6

# Ordinals of a shard; its postings are one value each: at most 16 containers of 8 KiB, far below 256 KiB.
# Changing this WILL corrupt every data directory: shards are part of the keys.
SHARD_BITS = 20
# Ordinals of a Roaring container. The bands of a derived number have one value for so many.
CONTAINER_BITS = 16
SHARD_CONTAINERS = 1 << (SHARD_BITS - CONTAINER_BITS)
MAX_ORDINALS = 1 << 32

# Field 0 is the system's: its code 0 is the live universe, its code F says which contacts have field F set.
SYSTEM_FIELD = 0
LIVE_CODE = 0
# The string table of contact ids; a field's dictionary has the field's id. The largest table comes last in key order,
# since LMDB fills pages well only when it appends at a database's end.
IDS_TABLE = 0xFFFF

# Events. Each type has a string table of ids (see `event_ids_table`): an event's code is its number. Dictionaries of
# properties have tables of their own (see `event_table`), and where an event lies is told by columns of no field, by
# event number (see `event_place`). All of these ids are above those that fields may have.
ORDER_IDS_TABLE = 0xFFFE
_EVENT_TABLES = 0x8000
_TYPE_TABLES = 64  # of one type
_EVENT_PLACES = 0x8000
_TYPE_PLACES = 8  # columns of one type
PLACE_CONTACT, PLACE_TIME, PLACE_REVISION = 1, 2, 3
# Derived numbers are columns by contact, behind those (see `derived_column`); their bands are postings of the same ids.
_DERIVED = 0xA000
MAX_KEPT = 4096
# Opening balances are columns by contact, behind those (see `balance_column`).
_BALANCES = 0xE000
MAX_BALANCES = 4096
# Ordinals of a block of events: those of a chunk of a column. Changing this WILL corrupt every data directory.
RANGE_BITS = 14
LAST_RANGE = (1 << (32 - RANGE_BITS)) - 1

# Codes of the system field from here on are the flags of channels, 16 a channel (see `channel_code`).
CHANNEL_CODES = 0x10000
_SUPPRESSED = 15

DB_META = b"meta"
DB_STRINGS = b"strings"
DB_POSTINGS = b"postings"
DB_COLUMNS = b"columns"
DB_COUNTS = b"counts"
DB_LOG = b"log"
DB_CHANGES = b"changes"
DB_RECEIPTS = b"receipts"
DB_EVENTS = b"events"
DB_PRODUCTS = b"products"
# What older formats had. Format 1 had the base alone: what merges write. Commits write the rest.
FORMAT_1_DATABASES = (DB_META, DB_STRINGS, DB_POSTINGS, DB_COLUMNS, DB_COUNTS)
FORMAT_2_DATABASES = (*FORMAT_1_DATABASES, DB_LOG, DB_CHANGES, DB_RECEIPTS)
# Events belong to the base too. Format 4 has no other databases to begin with: since then commits hold events.
FORMAT_3_DATABASES = (*FORMAT_2_DATABASES, DB_EVENTS)
# The catalogue of products came to format 4 later: where its database is absent, there are no products.
DATABASES = (*FORMAT_3_DATABASES, DB_PRODUCTS)

META_FORMAT = b"format"
META_ACCOUNT = b"account"
META_SCHEMA = b"schema"
META_STATE = b"state"
META_GENERATION = b"generation"  # of format 1; since then it is in the state
META_HASH_KEY = b"hash_key"
META_EVENT_GROUPS = b"event_groups"  # absent while none was said anew
META_BANDS = b"bands"  # absent while none are declared
META_DERIVED = b"derived"  # absent while none are declared
META_KEPT = b"derived_columns"  # absent until the first merge
META_SOURCE_SETTINGS = b"source_settings"  # absent while none were said
META_EVENT_TYPES = b"event_types"  # absent while none is declared
META_NEWEST_EVENT = b"newest_event"  # absent while there was none
META_NEWEST_CHANGE = b"newest_change"  # absent while nothing is kept of tracked fields
META_PRODUCT_PROPERTIES = b"product_properties"  # absent while none is declared
META_PRODUCTS = b"products"  # absent while there was none
META_HORIZONS = b"horizons"  # absent while nothing was pruned
META_BALANCES = b"balances"  # absent while no opening balance is kept
META_EVENTS_MERGED = b"events_merged"  # there while a merge has folded some of the events that it will


def channel_code(channel: Channel, flag: ChannelFlag | None) -> int:
    """The code, in the system field, of a channel's flag; for None of "suppressed": any flag that suppresses."""
    place = _SUPPRESSED if flag is None else list(ChannelFlag).index(flag)
    return CHANNEL_CODES + 16 * list(Channel).index(channel) + place


_PART_KEY = struct.Struct(">QI")
_POSTING_KEY = struct.Struct(">HIH")
_BLOCK_KEY = struct.Struct(">HHI")
_EVENT_KEY = struct.Struct(">HIHH")
EVENT_KEY_BYTES = _EVENT_KEY.size


# A database handle of py-lmdb, opaque.
Handle = Any


class Reader(Protocol):
    """What reading needs of an LMDB transaction."""

    def get(self, key: bytes, default: None = None, *, db: Handle) -> memoryview | bytes | None: ...


class Writer(Reader, Protocol):
    def put(self, key: bytes, value: bytes, *, append: bool = False, db: Handle) -> bool: ...

    def delete(self, key: bytes, *, db: Handle) -> bool: ...


def posting_key(field: int, code: int, shard: int) -> bytes:
    return _POSTING_KEY.pack(field, code, shard)


def split_posting_key(key: bytes | memoryview) -> tuple[int, int, int]:
    """(field, code, shard) of a posting's key."""
    field, code, shard = _POSTING_KEY.unpack(key)
    return field, code, shard


def block_key(field: int, block: int) -> bytes:
    """The key of a field's column chunk or block of counts."""
    return _BLOCK_KEY.pack(field, 0, block)


def event_table(type: EventType, index: int) -> int:
    """The string table of a property: the one at `index` among those of its type."""
    return _EVENT_TABLES + _TYPE_TABLES * type.number + index


def event_ids_table(type: EventType) -> int:
    """The string table of the ids of a type's events. Lines have none: they are known by their order."""
    return ORDER_IDS_TABLE if type == ORDER else event_table(type, _TYPE_TABLES - 1)


def event_place(type: EventType, place: int) -> int:
    """The column, by event number, that holds where the events of a type lie: PLACE_CONTACT, PLACE_TIME; or their
    PLACE_REVISION."""
    return _EVENT_PLACES + _TYPE_PLACES * (type.number - 1) + place


def derived_column(number: int) -> int:
    """The column, by contact, of a derived number that is kept, by its number from 0 on."""
    assert 0 <= number < MAX_KEPT
    return _DERIVED + number


def derived_of(column: int) -> int | None:
    """The number of the derived number whose column it is; None for another column."""
    number = column - _DERIVED
    return number if 0 <= number < MAX_KEPT else None


def balance_column(number: int) -> int:
    """The column, by contact, of an opening balance, by its number from 0 on."""
    assert 0 <= number < MAX_BALANCES
    return _BALANCES + number


def balance_of(column: int) -> int | None:
    """The number of the balance whose column it is; None for another column."""
    number = column - _BALANCES
    return number if 0 <= number < MAX_BALANCES else None


def event_key(type: int, number: int, month: int = 0, part: int = 0) -> bytes:
    """The key of one part of the events of a type (by its number), a range of ordinals and a month since 1970-01."""
    return _EVENT_KEY.pack(type, number, month, part)


def split_event_key(key: bytes | memoryview) -> tuple[int, int, int, int]:
    """(type, range, month, part) of a block of events. Raises CorruptData for another key."""
    if len(key) != EVENT_KEY_BYTES:
        raise CorruptData(f"the events have a key of {len(key)} bytes; run `segidx verify`, restore from a backup")
    type, number, month, part = _EVENT_KEY.unpack(key)
    return type, number, month, part


def part_key(generation: int, part: int) -> bytes:
    """The key of one part of what is kept of a generation: of its log record, of its changes."""
    return _PART_KEY.pack(generation, part)


def split_part_key(key: bytes | memoryview) -> tuple[int, int]:
    """(generation, part) of a key of the log or of the feed. Raises CorruptData for another key."""
    if len(key) != _PART_KEY.size:
        raise CorruptData(f"the log or the feed has a key of {len(key)} bytes; restore from a backup")
    generation, part = _PART_KEY.unpack(key)
    return generation, part


def split_block_key(key: bytes | memoryview) -> tuple[int, int]:
    field, _, block = _BLOCK_KEY.unpack(key)
    return field, block


# A stored value: version u8, kind u8, two zero bytes, cardinality u32, CRC-32 of the payload u32, payload length u32.
_HEADER = struct.Struct("<BBHIII")
HEADER_BYTES = _HEADER.size
VALUE_VERSION = 1
KIND_POSTING = 1
KIND_COUNTS = 2
KIND_PRODUCTS = 3


def seal(kind: int, cardinality: int, payload: bytes) -> bytes:
    """The payload behind its header."""
    return _HEADER.pack(VALUE_VERSION, kind, 0, cardinality, zlib.crc32(payload), len(payload)) + payload


def open_value(kind: int, value: memoryview | bytes, what: str, *, checksum: bool = False) -> tuple[int, memoryview]:
    """(cardinality, payload) of a stored value. The payload borrows `value`'s memory and lives no longer than it.

    Raises CorruptData, naming `what`, for another kind or version, a wrong length or (if asked) a wrong checksum.
    """
    view = memoryview(value)
    if len(view) < HEADER_BYTES:
        raise CorruptData(f"{what}: {len(view)} bytes are too few for a header; run `segidx verify` or restore")
    version, found, _, cardinality, crc, length = _HEADER.unpack_from(view)
    if version != VALUE_VERSION or found != kind or length != len(view) - HEADER_BYTES:
        raise CorruptData(
            f"{what}: header says version {version}, kind {found}, {length} bytes, where version {VALUE_VERSION},"
            f" kind {kind}, {len(view) - HEADER_BYTES} bytes stand; restore from a backup"
        )
    payload = view[HEADER_BYTES:]
    if checksum and zlib.crc32(payload) != crc:
        raise CorruptData(f"{what}: checksum differs; restore from a backup")
    return cardinality, payload
