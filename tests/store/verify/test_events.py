"""`verify` says nothing of sound events, and names each damage to them."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from segidx.database import Account, Database
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk, encode_chunk
from segidx.kernels.events import BLOCK_ROWS, CONTACT, EVENT, LINE, TIME, EventBlock, encode_block
from segidx.model.events import LINE as OF_LINES
from segidx.model.events import ORDER
from segidx.model.windows import to_millis
from segidx.store.event_blocks import FIRST_PROPERTY
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    DB_STRINGS,
    META_NEWEST_EVENT,
    ORDER_IDS_TABLE,
    PLACE_CONTACT,
    PLACE_TIME,
    block_key,
    event_key,
    event_place,
    event_table,
)
from segidx.store.strings import StringTable
from segidx.testing.damage import clear, flip, get, put, string_key
from segidx.testing.stored_orders import StoredLine, StoredOrder, put_orders
from segidx.testing.verified import Damage, Damages, by_name, expect, expect_opened, problems

ORDERS, LINES = 1, 2  # the numbers of the types
ORDER_CONTACT, ORDER_TIME = (event_place(ORDER, place) for place in (PLACE_CONTACT, PLACE_TIME))
SOURCE, PAID, AMOUNT = range(FIRST_PROPERTY, FIRST_PROPERTY + 3)
PRODUCT, PRODUCER, CATEGORY, QUANTITY = range(FIRST_PROPERTY, FIRST_PROPERTY + 4)
MAY = 12 * 54 + 4
TIMES = [to_millis(datetime(2024, 5 + i % 2, 1 + i // 2, 12, tzinfo=UTC)) for i in range(20)]
SECOND_MONTH = MAY + 1


def orders() -> list[StoredOrder]:
    """Twenty orders, of contacts 0 to 9 in May (even ones) and June: one in four without lines, some returned."""
    return [
        StoredOrder(
            f"order-{i}",
            i // 2,
            TIMES[i],
            ["web", "shop", None][i % 3],
            [True, False, None][i % 3],
            [100 * i, None, -5][i % 3],
            [
                StoredLine(f"product-{i % 5}", "producer", None, 1000 * (1 - 2 * (i % 5 == 2)), amount=i),
                StoredLine(f"product-{i % 3}", None, "category", None if i % 2 else 0),
            ]
            if i % 4
            else (),
        )
        for i in range(20)
    ]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify_events") / "data"
    with Database.open(path, create=True) as database:
        account = database.account()
        account.upsert([(f"contact-{i}", {}) for i in range(30)])
        put_orders(account, orders())
    return path


# --- damaging ----------------------------------------------------------------------------------------------


Cells = list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]


def block(kind: int, change: Callable[[Cells], object], month: int = MAY) -> Damage:
    """Change a stored block into another well-formed one."""

    def damage(account: Account) -> None:
        cells = EventBlock(get(account, DB_EVENTS, event_key(kind, 0, month))).decode()
        changed = change(cells)
        put(
            account, DB_EVENTS, event_key(kind, 0, month), encode_block(changed if isinstance(changed, list) else cells)
        )

    return damage


def _moved(cells: Cells) -> None:
    cells[LINE][0][-1] += 1


def cell(kind: int, row: int, column: int, value: int | None) -> Damage:
    """Change one value of a block."""

    def change(cells: Cells) -> None:
        cells[column][0][row], cells[column][1][row] = value or 0, value is not None

    return block(kind, change)


def without(kind: int, row: int) -> Damage:
    return block(kind, lambda cells: [(np.delete(values, row), np.delete(present, row)) for values, present in cells])


def said(field: int, event: int, value: int | None) -> Damage:
    """Change where an order is said to be."""

    def damage(account: Account) -> None:
        key = block_key(field, event // CHUNK_ROWS)
        values, present = decode_chunk(get(account, DB_COLUMNS, key))
        values[event], present[event] = value or 0, value is not None
        put(account, DB_COLUMNS, key, encode_chunk(values, present))

    return damage


def insert(table: int, text: str) -> Damage:
    def damage(account: Account) -> None:
        with account._store.write() as w:
            StringTable(w.txn, w.dbs[DB_STRINGS], table, w.catalog().hash_key).insert(pa.array([text]))

    return damage


def two_parts(first: int, second: int) -> Damage:
    """Cut the block of May's orders in two, of rows up to the fifth and from there on, in these places."""

    def damage(account: Account) -> None:
        cells = EventBlock(get(account, DB_EVENTS, event_key(ORDERS, 0, MAY))).decode()
        clear(account, DB_EVENTS, event_key(ORDERS, 0, MAY))
        for part, rows in ((first, slice(0, 5)), (second, slice(5, None))):
            put(
                account,
                DB_EVENTS,
                event_key(ORDERS, 0, MAY, part),
                encode_block([(v[rows], p[rows]) for v, p in cells]),
            )

    return damage


def swapped(account: Account) -> None:
    """Two contacts of May's orders change places."""
    value = get(account, DB_EVENTS, event_key(ORDERS, 0, MAY))
    start, end = 12 + 4 * 8, int.from_bytes(value[12:16], "little")
    values, present = decode_chunk(value[start:end])
    values[[3, 4]] = values[[4, 3]]
    put(account, DB_EVENTS, event_key(ORDERS, 0, MAY), value[:start] + encode_chunk(values, present) + value[end:])


def wide(account: Account) -> None:
    """The column of times, the second, has codes wider than they must be; all checksums are right."""
    key = event_key(ORDERS, 0, MAY)
    value = get(account, DB_EVENTS, key)
    ends = [12 + 4 * 8, *struct.unpack_from("<8I", value, 12)]
    chunk = value[ends[TIME] : ends[TIME + 1]]
    rows, base, most = struct.unpack_from("<Iqq", chunk, 12)
    codes = np.frombuffer(chunk[32:], "<u4").astype("<u8").tobytes()
    fields = struct.pack("<BBHI", 1, 8, 0, rows), struct.pack("<Iqq", rows, base, most)
    checksum = struct.pack("<I", zlib.crc32(codes, zlib.crc32(fields[0] + fields[1])))
    longer = fields[0] + checksum + fields[1] + codes
    moved = [end + (len(longer) - len(chunk) if at > TIME else 0) for at, end in enumerate(ends)][1:]
    fields = value[:8], struct.pack("<8I", *moved)
    checksum = struct.pack("<I", zlib.crc32(fields[0] + fields[1]))
    put(
        account,
        DB_EVENTS,
        key,
        fields[0] + checksum + fields[1] + value[ends[0] : ends[TIME]] + longer + value[ends[TIME + 1] :],
    )


def large(account: Account) -> None:
    """Lines of order 2 without end, each of another amount."""
    rows = BLOCK_ROWS
    columns = [np.full(rows, value) for value in (1, TIMES[2], 2)] + [np.arange(rows)]
    columns += [np.zeros(rows, np.int64)] * 3 + [np.full(rows, 1000)] + [np.arange(rows) << 40] * 2
    cells = [(values, np.ones(rows, np.uint8)) for values in [*columns, np.ones(rows, np.int64)]]
    put(account, DB_EVENTS, event_key(LINES, 0, MAY), encode_block(cells))


def chunk(ordinal: int) -> bytes:
    values, present = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
    values[ordinal] = present[ordinal] = 1
    return encode_chunk(values, present)


MAY_ORDERS = "events of order, range 0, month 2024-05, part 0: "
MAY_LINES = "events of line, range 0, month 2024-05, part 0: "

# Row r of May's orders is order 2 r, of contact r; of its lines, rows 0 and 1 are of order 2, then 6, 10, 14, 18.
BLOCKS: dict[str, tuple[Damage, str]] = {
    "byte": (lambda a: flip(a, DB_EVENTS, event_key(ORDERS, 0, MAY), -1), MAY_ORDERS + ".*checksum"),
    "header": (lambda a: flip(a, DB_EVENTS, event_key(LINES, 0, MAY), 0), MAY_LINES + "unknown block version"),
    "checksum": (lambda a: flip(a, DB_EVENTS, event_key(LINES, 0, MAY), 8), MAY_LINES + ".*checksum"),
    "short": (lambda a: put(a, DB_EVENTS, event_key(LINES, 0, MAY), b"x"), MAY_LINES + "shorter than a block header"),
    "columns": (block(ORDERS, lambda c: [*c, c[7]]), MAY_ORDERS + "has 9 columns instead of 8"),
    "fewer columns": (block(ORDERS, lambda c: [*c[:6], c[7]]), MAY_ORDERS + "has 7 columns instead of 8"),
    "empty": (
        block(ORDERS, lambda cells: [(values[:0], present[:0]) for values, present in cells]),
        "events of order, range 0, month 2024-05, part 0 is stored, though empty",
    ),
    "too wide": (wide, MAY_ORDERS[:-2] + " is not in its shortest form"),
    "too large": (large, MAY_LINES + r"has \d{6} bytes, over the limit of 131072"),
    "order of rows": (swapped, MAY_ORDERS + "the rows do not ascend"),
    "key": (lambda a: put(a, DB_EVENTS, b"x", b"y"), "events: key 78 has 1 bytes, not 10"),
    "type": (
        lambda a: put(a, DB_EVENTS, event_key(16, 0, MAY), b"y"),
        "events: key 001000000000028c0000 is of type 16, and there is no such type",
    ),
    "parts": (two_parts(0, 2), r"events of order, range 0, month 2024-05: has the parts \[0, 2\]"),
    "no first part": (two_parts(1, 2), r"events of order, range 0, month 2024-05: has the parts \[1, 2\]"),
    "order of parts": (two_parts(1, 0), "month 2024-05, part 1: begins before the part before it ends"),
    "range": (
        lambda a: (
            put(a, DB_EVENTS, event_key(ORDERS, 1, MAY), get(a, DB_EVENTS, event_key(ORDERS, 0, MAY))),
            clear(a, DB_EVENTS, event_key(ORDERS, 0, MAY)),
        ),
        "range 1, month 2024-05, part 0: has events of ordinal 16393, and only 30 were given out",
    ),
    "month": (
        lambda a: (
            put(a, DB_EVENTS, event_key(ORDERS, 0, MAY + 2), get(a, DB_EVENTS, event_key(ORDERS, 0, MAY))),
            clear(a, DB_EVENTS, event_key(ORDERS, 0, MAY)),
        ),
        "range 0, month 2024-07, part 0: has events of 2024-05",
    ),
    "contact": (cell(ORDERS, 9, CONTACT, 30), MAY_ORDERS + "has events of ordinal 30, and only 30 were given out"),
    "no such order": (cell(ORDERS, 9, EVENT, 20), MAY_ORDERS + "has order 20, and only 20 ids were given out"),
    "number of lines": (cell(ORDERS, 9, LINE, 1), "order 18 has 2 lines, and says that it has 1"),
    "lost line": (
        block(LINES, lambda cells: [(v[:-1], p[:-1]) for v, p in cells]),
        "has 1 lines, and says that it has 2",
    ),
    "numbers of lines": (block(LINES, lambda cells: _moved(cells)), "has 2 lines, and they are not numbered from 0"),
    "no such source": (cell(ORDERS, 3, SOURCE, 2), MAY_ORDERS + "'source' has code 2, which is none of its 2 codes"),
    "no such bool": (cell(ORDERS, 3, PAID, 2), MAY_ORDERS + "'paid' has code 2, which is none of its 2 codes"),
    "no such product": (cell(LINES, 3, PRODUCT, -1), MAY_LINES + "'product' has code -1, which is none of its 5 codes"),
    "no such category": (
        cell(LINES, 3, CATEGORY, 1),
        MAY_LINES + "'category' has code 1, which is none of its 1 codes",
    ),
}


PLACES: dict[str, tuple[Damage, str]] = {
    "contact": (
        cell(ORDERS, 9, CONTACT, 10),
        f"order 18 lies at ordinal 10, time {TIMES[18]}, and the order is said to be at ordinal 9, time {TIMES[18]}",
    ),
    "time": (
        cell(ORDERS, 3, TIME, TIMES[6] + 1),
        f"order 6 lies at ordinal 3, time {TIMES[6] + 1}, and the order is said to be at ordinal 3, time {TIMES[6]}",
    ),
    "line elsewhere": (
        cell(LINES, 9, TIME, TIMES[18] + 1),
        f"line 1 of order 18 lies at ordinal 9, time {TIMES[18] + 1}, and the order is said to be at ordinal 9",
    ),
    "line of another order": (
        cell(LINES, 9, EVENT, 19),
        f"line 1 of order 19 lies at ordinal 9, time {TIMES[18]}, and the order is said to be at ordinal 9",
    ),
    "line of no order": (
        lambda a: (
            without(ORDERS, 9)(a),
            said(ORDER_CONTACT, 18, None)(a),
            said(ORDER_TIME, 18, None)(a),
        ),
        f"line 0 of order 18 lies at ordinal 9, time {TIMES[18]}, and the order is said to be nowhere",
    ),
    "said elsewhere": (
        said(ORDER_CONTACT, 6, 4),
        f"order 6 lies at ordinal 3, time {TIMES[6]}, and the order is said to be at ordinal 4, time {TIMES[6]}",
    ),
    "said at another time": (
        said(ORDER_TIME, 6, 4),
        f"order 6 lies at ordinal 3, time {TIMES[6]}, and the order is said to be at ordinal 3, time 4",
    ),
    "contact without a time": (
        said(ORDER_TIME, 6, None),
        "order 6 has a contact without a time, or a time without a contact",
    ),
    "not there": (
        without(ORDERS, 3),
        f"order 6 is said to be at ordinal 3, time {TIMES[6]}, and is not there",
    ),
    "a group is not there": (
        lambda a: clear(a, DB_EVENTS, event_key(ORDERS, 0, SECOND_MONTH)),
        f"order 1 is said to be at ordinal 0, time {TIMES[1]}, and is not there",
    ),
    "an id of no order": (insert(ORDER_IDS_TABLE, "more"), r"1 order ids have no order \(the first is order 20\)"),
    "no places": (
        lambda a: (clear(a, DB_COLUMNS, block_key(ORDER_CONTACT, 0)), clear(a, DB_COLUMNS, block_key(ORDER_TIME, 0))),
        "order 0 lies at ordinal 0, time .*, and the order is said to be nowhere",
    ),
    "damaged places": (
        lambda a: flip(a, DB_COLUMNS, block_key(ORDER_CONTACT, 0), 40),
        "column of the orders' contacts, chunk 0: the checksum does not match",
    ),
    "places of nothing": (
        lambda a: put(a, DB_COLUMNS, block_key(ORDER_TIME, 1), chunk(3)),
        "column of the orders' times, chunk 1: has a value of order 16387, and only 20 ids were given out",
    ),
}

FLAGS: dict[str, tuple[Damage, str]] = {
    "line counts": (cell(LINES, 1, -1, 1), "line 1 of order 2 counts, and should not"),
    "line does not": (cell(LINES, 2, -1, 0), "line 0 of order 6 does not count, and should"),
    "quantity": (cell(LINES, 2, QUANTITY, 0), "order 6 counts, and should not"),
    "no quantity": (cell(LINES, 1, QUANTITY, None), "order 2 does not count, and should"),
    "order counts": (cell(ORDERS, 4, -1, 1), "order 8 counts, and should not"),
    "order does not": (cell(ORDERS, 3, -1, 0), "order 6 does not count, and should"),
    "amount": (cell(ORDERS, 0, AMOUNT, -1), "order 0 counts, and should not"),
    "lines gone": (
        lambda a: clear(a, DB_EVENTS, event_key(LINES, 0, MAY)),
        "order 14 counts, and should not",
    ),
}

STRINGS: dict[str, tuple[Damage, str]] = {
    "order ids": (
        lambda a: flip(a, DB_STRINGS, string_key(ORDER_IDS_TABLE, 2, 0), 20),
        r"string table 65534: .*\(of order ids\)",
    ),
    "order ids, state": (
        lambda a: flip(a, DB_STRINGS, string_key(ORDER_IDS_TABLE, 0, 0), 20),
        r"string table 65534: its state fails its checksum.*\(of order ids\)",
    ),
    "products": (
        lambda a: flip(a, DB_STRINGS, string_key(event_table(OF_LINES, 0), 1, 0), 20),
        r"string table 32896: .*\(of the lines' 'product'\)",
    ),
    "sources": (
        lambda a: flip(a, DB_STRINGS, string_key(event_table(ORDER, 0), 0, 0), 20),
        r"string table 32832: its state fails its checksum.*\(of the orders' 'source'\)",
    ),
    "no such table": (
        lambda a: put(a, DB_STRINGS, string_key(event_table(ORDER, 1), 2, 0), b"x"),
        "string table 32833 is stored, and no field has it",
    ),
}

NEWEST: dict[str, tuple[Damage, str]] = {
    "older": (
        lambda a: put(a, DB_META, META_NEWEST_EVENT, struct.pack("<q", max(TIMES) - 1)),
        f"the newest event is of {max(TIMES)}, and the account says {max(TIMES) - 1}",
    ),
    "none": (
        lambda a: clear(a, DB_META, META_NEWEST_EVENT),
        f"the newest event is of {max(TIMES)}, and the account says none",
    ),
    "no number": (
        lambda a: put(a, DB_META, META_NEWEST_EVENT, b"x"),
        "the newest event's time has 1 bytes, not 8; restore from a backup",
    ),
}

ALL = {"blocks": BLOCKS, "places": PLACES, "flags": FLAGS, "strings": STRINGS, "newest": NEWEST}
CASES = by_name(ALL)


def test_sound_events_have_no_problems(account: Account) -> None:
    verification = account.verify()
    assert list(verification) == []
    before = verification.checked
    put_orders(account, [StoredOrder("more", 29, 5, lines=(StoredLine(),))])
    verification = account.verify()
    assert list(verification) == []
    assert verification.checked > before
    put_orders(account, [StoredOrder("more", 29, 4)])
    assert problems(account) == [], "the newest that there was is not there any more"


@pytest.mark.parametrize(("damage", "pattern"), CASES.values(), ids=CASES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("damages", ALL.values(), ids=ALL)
def test_a_process_that_opens_the_damage_names_it_or_refuses_it(path: Path, damages: Damages) -> None:
    expect_opened(path, damages)


def test_one_flipped_bit_anywhere_is_found(account: Account) -> None:
    """In each byte of a block's header, and in some of the rest."""
    random = np.random.default_rng(5)
    with account._store.begin() as txn:
        keys = [bytes(key) for key, _ in txn.cursor(account._store.databases[DB_EVENTS])]
    for key in keys:
        value = get(account, DB_EVENTS, key)
        for at in [*range(12), *random.integers(12, len(value), 15).tolist()]:
            flip(account, DB_EVENTS, key, at, 1 << int(random.integers(8)))
            assert problems(account), f"key {key.hex()}: byte {at} of {len(value)}"
            put(account, DB_EVENTS, key, value)
    assert problems(account) == []


def test_damage_to_one_group_does_not_hide_damage_to_another(account: Account) -> None:
    flip(account, DB_EVENTS, event_key(ORDERS, 0, MAY), -1)
    cell(LINES, 9, PRODUCT, 77)(account)
    flip(account, DB_STRINGS, string_key(event_table(OF_LINES, 2), 0, 0), 20)
    found = problems(account)
    for pattern in (MAY_ORDERS + ".*checksum", "'product' has code 77", "32898: its state fails its checksum"):
        assert len([p for p in found if re.search(pattern, p)]) == 1, f"{pattern!r} is not once among {found}"
    assert len(found) == 3
