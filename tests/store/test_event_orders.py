"""When months are put in order, when they are not any more, and what memory orders take."""

from __future__ import annotations

import numpy as np
import pytest

from segidx.kernels.events import EventBlock, EventFilter, EventLedger, EventMonth, collect, encode_block
from segidx.store import event_orders
from segidx.store.event_orders import LEDGER_MONTHS, LEDGER_SUMS, NARROWED, SCANS, SUMMED, EventOrders

MAY = 1_777_593_600_000
KIND, AMOUNT, WIDE = 4, 5, 6
TYPE = 2
# Of 2000 rows of 100 kinds, of which each is listed by range.
BYTES = 8 * 2000 + (16 + 8) * 100
COUNTS = 7
EQUAL = EventFilter([("range", KIND, 17, 17)])
COUNTING = EventFilter([("range", COUNTS, 1, 1)])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_orders, "LEAST_ROWS", 1000)


def a_month(rows: int = 2000, kinds: int = 100, amount: int = 0) -> EventMonth:
    n = np.arange(rows)
    columns = [n, n + MAY, n, n * 0, n % kinds, n + amount, n << 40, n * 0 + 1]
    return EventMonth([(0, EventBlock(encode_block([(c.astype(np.int64), np.ones(rows, np.uint8)) for c in columns])))])


def ask(orders: EventOrders, months: list[EventMonth], times: int, measure: int | None = None) -> None:
    for _ in range(times):
        orders.asked(TYPE, list(enumerate(months)), EQUAL, measure)


def test_a_month_is_put_in_order_when_it_was_asked_for_often_enough() -> None:
    orders, month = EventOrders(), a_month()
    ask(orders, [month], SCANS - 1)
    assert not month.ordered(KIND)
    assert orders.nbytes == 0
    ask(orders, [month], 1)
    assert month.ordered(KIND)
    assert orders.nbytes == BYTES


def test_one_month_a_question() -> None:
    orders, months = EventOrders(), [a_month(), a_month(3000), a_month(4000)]
    ask(orders, months, SCANS)
    assert [month.ordered(KIND) for month in months] == [True, False, False]
    ask(orders, months, 2)
    assert all(month.ordered(KIND) for month in months)


def test_sums_have_their_measure_after_as_many_more() -> None:
    orders, month = EventOrders(), a_month()
    ask(orders, [month], SCANS, AMOUNT)
    plain = orders.nbytes
    assert month.ordered(KIND)
    ask(orders, [month], SCANS, AMOUNT)
    assert orders.nbytes == plain + 4 * 2000
    ask(orders, [month], 3 * SCANS, WIDE)  # does not fit 32 bits
    assert orders.nbytes == plain + 4 * 2000
    assert collect([month], EQUAL, 0, 2**63, AMOUNT)[1].tolist() == list(range(17, 2000, 100))


@pytest.mark.parametrize("month", [a_month(999), a_month(kinds=15), a_month(kinds=1)])
def test_what_is_scanned_quickly_stays_as_it_is(month: EventMonth) -> None:
    orders = EventOrders()
    ask(orders, [month], 3 * SCANS)
    assert not month.ordered(KIND)
    assert orders.nbytes == 0


def test_what_cannot_be_ordered_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    orders, month, tried = EventOrders(), a_month(), []
    wide = EventFilter([("range", WIDE, 1 << 40, 1 << 40)])

    def order(month: EventMonth, column: int) -> None:
        tried.append(column)
        raise ValueError

    monkeypatch.setattr(event_orders, "EventOrder", order)
    for _ in range(5 * SCANS):
        orders.asked(TYPE, [(0, month)], wide)
    assert tried == [WIDE]


def test_a_month_that_did_not_change_keeps_its_order_when_it_is_opened_anew() -> None:
    orders, month = EventOrders(), a_month()
    ask(orders, [month], 2 * SCANS, AMOUNT)
    kept = orders.nbytes
    again = a_month()
    ask(orders, [again], 1, AMOUNT)
    assert again.ordered(KIND)
    assert orders.nbytes == kept
    paid = a_month(amount=5)  # the same rows, but for what is summed
    ask(orders, [paid], 1, AMOUNT)
    assert paid.ordered(KIND)
    assert orders.nbytes == kept - 4 * 2000
    assert collect([paid], EQUAL, 0, 2**63, AMOUNT)[1].tolist() == list(range(22, 2005, 100))
    assert collect([again], EQUAL, 0, 2**63, AMOUNT)[1].tolist() == list(range(17, 2000, 100))
    changed = a_month(2001)
    ask(orders, [changed], SCANS - 1, AMOUNT)
    assert not changed.ordered(KIND)
    assert orders.nbytes == 0
    ask(orders, [changed], 1, AMOUNT)
    assert changed.ordered(KIND)


def test_orders_that_are_used_no_more_give_way() -> None:
    each = BYTES
    orders, months = EventOrders(2 * each), [a_month() for _ in range(3)]
    for number, month in enumerate(months[:2]):
        for _ in range(SCANS):
            orders.asked(TYPE, [(number, month)], EQUAL)
    orders.asked(TYPE, [(0, months[0])], EQUAL)
    for _ in range(SCANS):
        orders.asked(TYPE, [(2, months[2])], EQUAL)
    assert [month.ordered(KIND) for month in months] == [True, False, True]
    assert orders.nbytes == 2 * each
    orders.clear()
    assert not any(month.ordered(KIND) for month in months)
    assert orders.nbytes == 0


def test_an_order_that_is_too_large_is_not_kept() -> None:
    orders, month = EventOrders(1000), a_month()
    ask(orders, [month], 3 * SCANS)
    assert not month.ordered(KIND)
    assert orders.nbytes == 0


def narrow(
    orders: EventOrders,
    months: list[EventMonth],
    times: int,
    measure: int | None = None,
    filter: EventFilter | None = None,
) -> None:
    for _ in range(times):
        orders.narrowed(TYPE, list(enumerate(months)), filter, measure)


def test_months_whose_rows_are_looked_up_in_an_order_are_not_located() -> None:
    orders, months = EventOrders(), [a_month(), a_month()]
    ask(orders, months[:1], SCANS)
    ordered = orders.nbytes
    narrow(orders, months, NARROWED + 2, filter=EQUAL)
    assert [month.located > 0 for month in months] == [False, True]
    assert orders.nbytes == ordered + months[1].located
    narrow(orders, months, NARROWED + 2, filter=EventFilter([("range", AMOUNT, 0, 9)]))
    assert all(month.located for month in months)


def test_months_are_located_when_they_were_asked_about_some_contacts_often_enough() -> None:
    orders, months = EventOrders(), [a_month(), a_month(3000), a_month(999)]
    ask(orders, months, 3)  # which says nothing of contacts
    narrow(orders, months, NARROWED - 1)
    assert not any(month.located for month in months)
    narrow(orders, months, 1)
    assert [month.located > 0 for month in months] == [True, False, False]
    assert orders.nbytes == months[0].located
    narrow(orders, months, 1)
    assert [month.located > 0 for month in months] == [True, True, False]  # the last one is scanned quickly
    assert orders.nbytes == months[0].located + months[1].located
    found = collect([months[0]], None, 0, 2**63, AMOUNT, np.array([7, 1999], np.uint32))[1]
    assert found.tolist() == [7, 1999]


def test_values_are_copied_when_they_were_summed_often_enough() -> None:
    orders, month = EventOrders(), a_month()
    narrow(orders, [month], NARROWED, AMOUNT)
    plain = orders.nbytes
    narrow(orders, [month], SUMMED - 1, AMOUNT)
    assert orders.nbytes == plain
    narrow(orders, [month], 1, AMOUNT)
    assert orders.nbytes == month.located == plain + -(-(4 * 2000 + 1) // 64) * 64
    found = collect([month], None, 0, 2**63, AMOUNT, np.array([7, 1999], np.uint32))[1]
    assert found.tolist() == [7, 1999]
    narrow(orders, [month], 2 * SUMMED, WIDE)  # does not fit 32 bits, and is tried once
    assert orders.nbytes == month.located


def test_a_month_that_is_opened_anew_is_located_anew() -> None:
    orders, month = EventOrders(), a_month()
    narrow(orders, [month], NARROWED)
    again = a_month()
    narrow(orders, [again], NARROWED - 1)
    assert (again.located, orders.nbytes) == (0, 0)
    narrow(orders, [again], 1)
    assert orders.nbytes == again.located > 0


def test_located_rows_and_orders_share_what_memory_there_is() -> None:
    orders, months = EventOrders(BYTES + 3000), [a_month(), a_month()]
    narrow(orders, months[:1], NARROWED)
    ask(orders, months[:1], SCANS)
    assert months[0].located
    assert months[0].ordered(KIND)
    narrow(orders, months, NARROWED)  # of which the first one's were located before
    assert all(month.located for month in months)
    assert not months[0].ordered(KIND)  # what was not used for longest
    assert orders.nbytes == months[0].located + months[1].located
    ask(orders, months[:1], SCANS)
    assert months[0].ordered(KIND)
    assert orders.nbytes <= BYTES + 3000
    orders.clear()
    assert not any(month.located for month in months)
    assert orders.nbytes == 0


def test_what_is_too_large_is_not_located() -> None:
    orders, month = EventOrders(1000), a_month()
    narrow(orders, [month], 3 * NARROWED)
    assert month.located == 0


RANGES = 3


def wide_months(n: int = LEDGER_MONTHS, amount: int = 0) -> list[EventMonth]:
    """Months of several ranges, so that a ledger of them is filled in as many steps."""
    rows = np.arange(1000)
    columns = [rows, rows + MAY, rows, rows * 0, rows % 100, rows + amount, rows << 40, rows * 0 + 1]
    block = encode_block([(c.astype(np.int64), np.ones(1000, np.uint8)) for c in columns])
    return [EventMonth([(number, EventBlock(block)) for number in range(RANGES)]) for _ in range(n)]


@pytest.fixture
def in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_orders, "LEDGER_ROWS", 1)


def ready(orders: EventOrders, months: list[EventMonth]) -> None:
    """Have all located."""
    narrow(orders, months, NARROWED + len(months) - 1)
    assert all(month.located for month in months)


def ledgers(months: list[EventMonth]) -> list[bool]:
    return [AMOUNT in month.kept_by_contact for month in months]


@pytest.mark.usefixtures("in_steps")
def test_many_months_have_a_ledger_when_they_were_summed_often_enough() -> None:
    orders, months = EventOrders(), wide_months()
    ready(orders, months)
    plain = orders.nbytes
    narrow(orders, months, LEDGER_SUMS - 1, AMOUNT)
    assert (orders.nbytes, any(ledgers(months))) == (plain, False)
    narrow(orders, months, 1, AMOUNT)
    assert all(ledgers(months))
    full = EventLedger(months, AMOUNT).nbytes
    assert orders.nbytes == plain + full
    for _ in range(RANGES + 3):
        found = collect(months, None, 0, 2**63, AMOUNT, np.array([7, 999, 16391, 40_000], np.uint32))
        assert found[1].tolist() == [LEDGER_MONTHS * each for each in (7, 999, 7)]
        narrow(orders, months, 1, AMOUNT)
    assert orders.nbytes == plain + full
    # Counts make none, and neither do sums of fewer months: these have their values copied.
    narrow(orders, months[1:], SUMMED + LEDGER_MONTHS, AMOUNT)
    assert orders.nbytes > plain + full


def test_a_ledger_grows_by_months_and_begins_anew_with_the_base() -> None:
    orders, months = EventOrders(), wide_months(2 * LEDGER_MONTHS)
    first, last = months[:LEDGER_MONTHS], months[LEDGER_MONTHS - 1 :]
    ready(orders, months)

    def asked(some: list[EventMonth], times: int) -> None:
        for _ in range(times):
            orders.narrowed(TYPE, [(months.index(month), month) for month in some], COUNTING, AMOUNT)

    asked(first, LEDGER_SUMS)
    assert ledgers(months) == [True] * LEDGER_MONTHS + [False] * LEDGER_MONTHS
    asked(last, LEDGER_SUMS)
    assert all(ledgers(months))
    asked(first, 3)
    assert all(ledgers(months))
    months = wide_months(2 * LEDGER_MONTHS)
    ready(orders, months)
    asked(months[:LEDGER_MONTHS], LEDGER_SUMS - 1)
    assert not any(ledgers(months))
    asked(months[:LEDGER_MONTHS], 2)
    assert ledgers(months) == [True] * LEDGER_MONTHS + [False] * LEDGER_MONTHS


def test_a_ledger_that_a_merge_overtook_is_not_that_of_the_new_months(monkeypatch: pytest.MonkeyPatch) -> None:
    orders, old, new = EventOrders(), wide_months(), wide_months()
    ready(orders, old)

    class Overtaken(EventLedger):
        def __init__(self, *_arguments: object) -> None:
            narrow(orders, new, 1, AMOUNT)  # another thread's question, which sees the base behind the merge

    monkeypatch.setattr(event_orders, "EventLedger", Overtaken)
    narrow(orders, old, LEDGER_SUMS, AMOUNT)
    monkeypatch.setattr(event_orders, "EventLedger", EventLedger)
    narrow(orders, new, NARROWED + len(new) + LEDGER_SUMS + 10, AMOUNT)
    assert all(ledgers(new))


def test_months_too_many_for_a_ledger_leave_that_of_fewer() -> None:
    orders, months = EventOrders(), wide_months(2 * LEDGER_MONTHS)
    few = months[:LEDGER_MONTHS]
    ready(orders, months)
    narrow(orders, few, LEDGER_SUMS, AMOUNT)
    orders._most = EventLedger(months, AMOUNT).nbytes - 1
    narrow(orders, months, LEDGER_SUMS + 1, AMOUNT)
    assert ledgers(months) == [True] * LEDGER_MONTHS + [False] * LEDGER_MONTHS
    anew = wide_months(2 * LEDGER_MONTHS)  # another version of the base
    orders._most *= 2
    ready(orders, anew)
    narrow(orders, anew, LEDGER_SUMS, AMOUNT)
    assert all(ledgers(anew))


@pytest.mark.parametrize(
    "filter",
    [
        EQUAL,
        EventFilter([("range", COUNTS, 1, 1), ("range", AMOUNT, 0, 9), ("all", 2)]),
        EventFilter([("range", COUNTS, 0, 0)]),
        EventFilter([("range", AMOUNT, 0, 9)]),
    ],
)
def test_sums_that_ask_for_more_than_what_counts_make_no_ledger(filter: EventFilter) -> None:
    orders, months = EventOrders(), wide_months()
    ready(orders, months)
    narrow(orders, months, LEDGER_SUMS + 2, AMOUNT, filter)
    assert not any(ledgers(months))
    narrow(orders, months, LEDGER_SUMS, AMOUNT, COUNTING)
    assert all(ledgers(months))


def test_ledgers_share_what_memory_there_is() -> None:
    months = wide_months()
    full = EventLedger(months, AMOUNT).nbytes
    located = EventOrders()
    ready(located, months)
    orders = EventOrders(located.nbytes + full)
    ready(orders, months)
    narrow(orders, months, LEDGER_SUMS + 1, AMOUNT)
    assert all(ledgers(months))
    ask(orders, [a_month(9000)], SCANS)
    assert not all(ledgers(months)) or not all(month.located for month in months)
    assert orders.nbytes <= located.nbytes + full
    narrow(orders, months, LEDGER_SUMS + 20, AMOUNT)
    orders.clear()
    assert not any(ledgers(months))
    assert orders.nbytes == 0


def test_what_there_is_no_ledger_of_has_its_values_copied() -> None:
    orders, months = EventOrders(100_000), wide_months()
    assert EventLedger(months, AMOUNT).nbytes > 100_000
    ready(orders, months)
    located = orders.nbytes
    narrow(orders, months, LEDGER_SUMS, AMOUNT)
    assert not any(ledgers(months))
    assert orders.nbytes == located
    narrow(orders, months, SUMMED, AMOUNT)
    assert orders.nbytes > located
    narrow(orders, months, 2 * LEDGER_SUMS, WIDE)  # does not fit 32 bits
    assert not any(ledgers(months))
    assert not any(WIDE in month.kept_by_contact for month in months)
