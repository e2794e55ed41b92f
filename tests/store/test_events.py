"""Orders in blocks: where their rows go, what sending an order again leaves, and what is never built on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.kernels.events import CONTACT, EVENT
from segidx.model.errors import CorruptData
from segidx.model.events import BUILT_IN, ORDER, EventType
from segidx.model.events import LINE as LINES
from segidx.model.windows import to_millis
from segidx.model.writes import ContactWrite
from segidx.store.catalog import read_newest_event
from segidx.store.event_blocks import LAST_MONTH, block_columns, block_name, month_of, months_of
from segidx.store.event_places import stored_places
from segidx.store.events import MAX_BLOCK_BYTES, EventRows, write_events
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    PLACE_TIME,
    RANGE_BITS,
    block_key,
    event_key,
    event_place,
    split_event_key,
)
from segidx.testing.stored_orders import StoredLine, StoredOrder, put_orders, read_orders, write_stored

CONTACTS = 3 << RANGE_BITS
RANGE = 1 << RANGE_BITS
MAY, JUNE = 12 * 54 + 4, 12 * 54 + 5


def at(*when: int) -> int:
    return to_millis(datetime(*when, tzinfo=UTC))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An account of contacts of three ranges."""
    path = tmp_path_factory.mktemp("events") / "data"
    with Database.open(path, create=True) as database:
        database.account().upsert([(f"c{i}", {}) for i in range(CONTACTS)])
    return path


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.upsert([(f"c{i}", {}) for i in range(100)])
        yield account


def keys(account: Account) -> list[tuple[int, int, int, int]]:
    with account._store.begin() as txn:
        return [split_event_key(key) for key, _ in txn.cursor(account._store.databases[DB_EVENTS])]


def check(account: Account, orders: dict[str, StoredOrder]) -> None:
    assert read_orders(account) == orders
    assert list(account.verify()) == []


def test_an_account_without_events(account: Account) -> None:
    with account._store.snapshot() as snapshot:
        assert snapshot.newest_event is None
        for type in BUILT_IN:
            assert snapshot.event_ranges(type) == []
            assert snapshot.event_blocks(type, 0, 0, LAST_MONTH) == ()
        assert len(snapshot.event_dictionary(LINES, 0)) == 0
    put_orders(account, [])
    check(account, {})
    assert account.stats().sizes["events"] == 0


def test_months() -> None:
    assert month_of(0) == 0
    assert month_of(at(2024, 5, 31, 23, 59, 59)) == MAY
    assert months_of(np.array([at(2024, 5, 1) - 1, at(2024, 5, 1), at(2024, 6, 1)])).tolist() == [MAY - 1, MAY, JUNE]
    assert block_name(event_key(1, 3, JUNE, 2)) == "events of order, range 3, month 2024-06, part 2"
    assert block_name(event_key(2, 3, 11, 0)) == "events of line, range 3, month 1970-12, part 0"


def test_an_order_with_all_and_one_with_nothing(account: Account) -> None:
    orders = {
        "full": StoredOrder(
            "full",
            7,
            at(2024, 5, 3),
            "shop",
            True,
            1234,
            (
                StoredLine("żagiel", "ACME", "boats", 1500, 200, 300),
                StoredLine(),
                StoredLine(quantity=-1000, amount=-5),
            ),
        ),
        "bare": StoredOrder("bare", 7, at(2024, 5, 3)),
        "refund": StoredOrder("refund", 3, 0, amount=-1),
    }
    put_orders(account, list(orders.values()))
    check(account, orders)
    with account._store.snapshot() as snapshot:
        assert snapshot.newest_event == at(2024, 5, 3)
        assert snapshot.event_ranges(ORDER) == [0]
        blocks = snapshot.event_blocks(ORDER, 0, 0, LAST_MONTH)
        assert [(b.rows, b.columns) for b in blocks] == [(1, 8), (2, 8)]
        assert snapshot.event_blocks(ORDER, 0, 0, MAY) == blocks, "opened once"
        assert snapshot.event_blocks(ORDER, 0, MAY, MAY) == blocks[1:]
        assert snapshot.event_blocks(ORDER, 0, 1, MAY - 1) == ()
        assert snapshot.event_blocks(LINES, 1, 0, LAST_MONTH) == ()
        assert [block_columns(type) for type in (ORDER, LINES)] == [8, 11]
        assert snapshot.event_dictionary(LINES, 2).find_one("boats") == 0
    with account._store.snapshot() as later:
        assert later.event_blocks(ORDER, 0, 0, MAY) == blocks, "pointers serve the same base"
    assert account.stats().sizes["events"] > 0


def test_an_evaluation_is_behind_the_newest_event(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: 1000) as database:
        account = database.account()
        account.upsert([("a", {})])
        assert to_millis(account.count("everyone").evaluation.evaluated_at) == 1001
        put_orders(account, [StoredOrder("x", 0, 500)])
        assert to_millis(account.count("everyone").evaluation.evaluated_at) == 1001
        put_orders(account, [StoredOrder("x", 0, 9000)])
        assert to_millis(account.count("everyone").evaluation.evaluated_at) == 9001
        put_orders(account, [StoredOrder("x", 0, 2000)])
        assert to_millis(account.count("everyone").evaluation.evaluated_at) == 9001, "time does not go back"
        assert list(account.verify()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"contact": 8},
        {"time": at(2024, 6, 1)},
        {"time": at(2024, 5, 3, 1)},
        {"contact": 1, "time": at(2020, 1, 1)},
        {"lines": ()},
        {"lines": (StoredLine("other"),) * 3},
        {"amount": None, "source": None, "paid": None},
    ],
)
def test_sending_an_order_again_replaces_all_of_it(account: Account, change: dict[str, object]) -> None:
    order = StoredOrder("x", 7, at(2024, 5, 3), "shop", False, 5, (StoredLine("a"), StoredLine("b")))
    others = {f"o{i}": StoredOrder(f"o{i}", i, at(2024, 5, i), lines=(StoredLine("a"),)) for i in (6, 7, 8)}
    put_orders(account, [order, *others.values()])
    changed = replace(order, **change)  # type: ignore[arg-type]
    put_orders(account, [changed])
    check(account, others | {"x": changed})
    put_orders(account, [order])
    check(account, others | {"x": order})


def test_a_group_that_loses_its_last_row_is_gone(account: Account) -> None:
    put_orders(account, [StoredOrder("x", 7, at(2024, 5, 3), lines=(StoredLine(),))])
    assert keys(account) == [(1, 0, MAY, 0), (2, 0, MAY, 0)]
    put_orders(account, [StoredOrder("x", 7, at(2024, 6, 3))])
    assert keys(account) == [(1, 0, JUNE, 0)]


def test_ranges_months_and_parts(big: Path) -> None:
    rng = np.random.default_rng(3)
    count = 60_000
    contacts = np.sort(rng.integers(0, CONTACTS, count)).tolist()
    times = (at(2024, 5, 1) + rng.integers(0, 61 * 86_400_000, count)).tolist()
    orders = [
        StoredOrder(
            f"o{i}", contacts[i], times[i], f"s{i % 3}", None, i, (StoredLine(f"p{i % 300}", amount=i), StoredLine())
        )
        for i in range(count)
    ]
    # One contact alone has more than a block takes: it is cut.
    many = [StoredOrder(f"m{i}", RANGE + 5, at(2024, 7, 1) + i) for i in range(20_000)]
    with Database.open(big) as database:
        account = database.account()
        put_orders(account, orders[::2])
        put_orders(account, orders[1::2] + many)
        check(account, {order.order_id: order for order in orders + many})
        with account._store.snapshot() as snapshot:
            assert snapshot.event_ranges(LINES) == [0, 1, 2]
            assert snapshot.event_ranges(ORDER) == [0, 1, 2]
            for number in range(3):
                for month in (MAY, JUNE):
                    blocks = snapshot.event_blocks(LINES, number, month, month)
                    assert len(blocks) > 1
                    ends = [block.decode()[CONTACT][0][[0, -1]].tolist() for block in blocks]
                    assert all(before[1] < after[0] for before, after in pairwise(ends))
            cut = snapshot.event_blocks(ORDER, 1, JUNE + 1, JUNE + 1)
            assert sum(block.rows for block in cut) == 20_000
            assert all(block.rows > 2500 for block in cut)
        with account._store.begin() as txn:
            assert all(len(v) <= MAX_BLOCK_BYTES for _, v in txn.cursor(account._store.databases[DB_EVENTS]))
        # Fewer rows, fewer parts.
        put_orders(account, [replace(order, contact=1) for order in many])
        check(account, {order.order_id: order for order in orders + [replace(order, contact=1) for order in many]})


def test_random_lives(account: Account) -> None:
    random = Random(11)
    held: dict[str, StoredOrder] = {}
    for _ in range(60):
        batch = {}
        for _ in range(random.randrange(1, 40)):
            name = f"o{random.randrange(150)}"
            lines = tuple(
                StoredLine(
                    random.choice([None, "a", "b"]),
                    random.choice([None, "p"]),
                    None,
                    random.choice([None, 1000, 0, -1000]),
                    random.choice([None, 1 << 61]),
                    random.choice([None, -7, 0, 5]),
                )
                for _ in range(random.randrange(4))
            )
            batch[name] = StoredOrder(
                name,
                random.randrange(100),
                at(2024, random.randrange(1, 4), random.choice([1, 28])) + random.choice([-1, 0, 0, 1]),
                random.choice([None, "shop"]),
                random.choice([None, True, False]),
                random.choice([None, -1, 0, 10**15]),
                lines,
            )
        put_orders(account, list(batch.values()))
        held |= batch
        if random.random() < 0.3:  # contact writes and merges go on beside
            account.write([ContactWrite(f"c{random.randrange(200)}")])
        assert read_orders(account) == held
    check(account, held)


def test_a_reader_sees_the_events_of_its_transaction(account: Account) -> None:
    put_orders(account, [StoredOrder("x", 7, 5), StoredOrder("y", 7, 6)])
    with account._store.snapshot() as old:
        put_orders(account, [StoredOrder("x", 8, 5)])
        with account._store.snapshot() as new:
            for snapshot, contacts in ((old, [7, 7]), (new, [7, 8])):
                (block,) = snapshot.event_blocks(ORDER, 0, 0, 0)
                assert block.decode()[CONTACT][0].tolist() == contacts
            assert new.event_blocks(ORDER, 0, 0, 0)[0].decode()[EVENT][0].tolist() == [1, 0]


def test_where_orders_lie(account: Account) -> None:
    put_orders(account, [StoredOrder("x", 7, 5), StoredOrder("y", 8, at(2024, 5, 1))])
    with account._store.begin() as txn:
        numbers = np.array([1, 20_000, 0])
        contacts, times, there, *_ = stored_places(txn, account._store.databases[DB_COLUMNS], ORDER, numbers)
        assert (contacts.tolist(), times.tolist(), there.tolist()) == (
            [8, 0, 7],
            [at(2024, 5, 1), 0, 5],
            [True, False, True],
        )
        assert read_newest_event(txn, account._store.databases[DB_META]) == at(2024, 5, 1)


def test_what_a_transaction_wrote_is_gone_with_it(account: Account) -> None:
    put_orders(account, [StoredOrder("x", 7, 5)])

    class Failed(Exception): ...

    def fail() -> None:
        with account._store.write() as write:
            write_stored(write, [StoredOrder("x", 8, at(2030, 1, 1)), StoredOrder("z", 9, 7)])
            raise Failed

    with pytest.raises(Failed):
        fail()
    check(account, {"x": StoredOrder("x", 7, 5)})
    with account._store.snapshot() as snapshot:
        assert snapshot.newest_event == 5


# --- what is refused ---------------------------------------------------------------------------------------


def rows(type: EventType, contacts: list[int], events: list[int], times: list[int] | None = None) -> EventRows:
    count = len(contacts)
    flag = (np.ones(count, np.int64), np.ones(count, np.bool_))
    none = (np.zeros(count, np.int64), np.zeros(count, np.bool_))
    return EventRows(
        np.array(contacts, np.uint32),
        np.array(times or [5] * count, np.int64),
        np.array(events, np.uint32),
        np.arange(count) if type == LINES else np.zeros(count, np.int64),
        [none] * (block_columns(type) - 5) + [flag],
    )


ORDERS = rows(ORDER, [7, 8], [0, 1])


@pytest.mark.parametrize(
    ("orders", "lines", "message"),
    [
        (rows(ORDER, [7, 8], [1, 1]), ([], []), "an event is written twice at once"),
        (ORDERS, ([7], [2]), "a line is written without its order"),
        (rows(ORDER, [], []), ([7], [0]), "a line is written without its order"),
        (ORDERS, ([7], [1]), "a line has another contact or time than its order"),
        (ORDERS, ([8], [1], [6]), "a line has another contact or time than its order"),
        (ORDERS, ([8], [1]), "an order says another number of lines than are written"),
        (rows(ORDER, [7], [2]), ([], []), "2 is no code of string table 65534, which ends at 2"),
        (rows(ORDER, [100], [1]), ([], []), "100 is no code of string table 65535, which ends at 100"),
        (rows(LINES, [7], [1]), ([], []), "rows of order events have 3 properties and a flag"),
    ],
)
def test_rows_that_do_not_belong_together(account: Account, orders: EventRows, lines: tuple, message: str) -> None:
    held = {"x": StoredOrder("x", 7, 5), "y": StoredOrder("y", 8, 5)}
    put_orders(account, list(held.values()))
    with pytest.raises(ValueError, match=message), account._store.write() as write:
        write_events(write, write.catalog(), {ORDER: orders, LINES: rows(LINES, *lines)})
    check(account, held)


def test_nothing_is_built_on_damage(account: Account) -> None:
    put_orders(account, [StoredOrder("x", 7, at(2024, 5, 3), lines=(StoredLine("a"), StoredLine("b")))])
    for database, key in (
        (DB_EVENTS, event_key(ORDER.number, 0, MAY)),
        (DB_EVENTS, event_key(LINES.number, 0, MAY)),
        (DB_COLUMNS, block_key(event_place(ORDER, PLACE_TIME), 0)),
    ):
        with account._store.write() as write:
            whole = bytes(write.txn.get(key, db=write.dbs[database]))
            write.txn.put(key, whole[:-1] + bytes([whole[-1] ^ 1]), db=write.dbs[database])
        with pytest.raises(CorruptData, match=r"restore from a backup"):
            put_orders(account, [StoredOrder("x", 7, at(2024, 5, 3))])
        with account._store.write() as write:
            write.txn.put(key, whole, db=write.dbs[database])
    assert list(account.verify()) == []


def test_a_damaged_header_is_named_when_it_is_opened(account: Account) -> None:
    put_orders(account, [StoredOrder("x", 7, at(2024, 5, 3))])
    with account._store.write() as write:
        key = event_key(ORDER.number, 0, MAY)
        whole = bytes(write.txn.get(key, db=write.dbs[DB_EVENTS]))
        write.txn.put(key, b"\7" + whole[1:], db=write.dbs[DB_EVENTS])
        write.changed_base()
    message = "events of order, range 0, month 2024-05, part 0: unknown block version"
    with account._store.snapshot() as snapshot, pytest.raises(CorruptData, match=message):
        snapshot.event_blocks(ORDER, 0, 0, LAST_MONTH)
