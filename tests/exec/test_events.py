"""Scans of events: what they read, sums beyond 64 bits, and stopping."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pyroaring import BitMap

from segidx.database import Account, Database
from segidx.exec import asked as exec_asked
from segidx.exec import held_events
from segidx.exec.evaluate import materialise
from segidx.exec.query import prepare
from segidx.kernels.bitmaps import Posting, Program, Stop
from segidx.model.errors import Cancelled, SumTooLarge
from segidx.model.events import Order, Retraction
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext
from segidx.store.snapshot import Snapshot

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
FAR = 40_000  # in the third range of contacts


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.update_schema([Field("n", FieldType.NUMBER)])
        account.upsert((f"c{i}", {"n": i}) for i in range(FAR + 1))
        account.import_orders(
            Order(f"o{i}", f"c{i}", datetime(2025, 1 + i // 100 % 5, 3, tzinfo=UTC), amount=Decimal(i))
            for i in range(0, FAR + 1, 100)
        )
        yield account


def test_only_the_windows_months_are_read(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    months = Snapshot.event_months

    def noted(self: Snapshot, kind: object, first: int, last: int, *asked: object) -> object:
        read.append((first, last))
        return months(self, kind, first, last, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(Snapshot, "event_months", noted)
    assert account.count("did(order)").count == FAR // 100 + 1
    read.clear()
    assert account.count("did(order from 2025-02-01 to 2025-03-01) and n >= 33000").count == 14
    february = (2025 - 1970) * 12 + 1
    assert read == [(february, february)]
    read.clear()
    assert account.count("did(order during next 3 days)").count == 0
    assert read == []


def test_what_the_log_holds_is_read_with_the_blocks(account: Account) -> None:
    """Of ranges and months that have blocks, of such that have none, and not where nothing can be in the window."""
    account.upsert([(f"c{60_000 + i}", {}) for i in range(10)])  # in the range that has blocks, and behind it
    far = f"new {FAR}"
    account.upsert((f"new {i}", {}) for i in range(FAR + 1))  # ranges without blocks
    when = datetime(2025, 2, 5, tzinfo=UTC)
    account.write_events([Order("log 1", "c7", when, amount=Decimal(3)), Order("log 2", far, when, amount=Decimal(4))])
    account.write_events([Order("o100", "c200", when, amount=Decimal(5)), Retraction("order", "o200")])
    for _ in range(2):
        # c100 has none any more, and c200 another.
        assert account.count("did(order)").count == FAR // 100 + 1 + 2 - 1
        assert account.count("sum(order.amount) = 5").count == 1
        assert account.count("sum(order.amount during last 1 year) = 200").count == 0
        assert account.count("did(order from 2025-02-01 to 2025-03-01) and n >= 33000").count == 14
        assert account.count("did(order from 2025-02-01 to 2025-03-01) and not n >= 0").count == 1
        assert account.count("did(order from 2026-02-01 to 2026-03-01)").count == 0
        assert account.count("did(order from 2025-04-01 to 2025-05-01) and not n >= 0").count == 0
        account.merge()


def test_threads_share_what_the_log_holds(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.write_events(
        Order(f"log {i}", f"c{i}", AT - timedelta(days=i % 60), amount=Decimal(1)) for i in range(0, FAR, 7)
    )
    wanted = {text: account.count(text).count for text in ("did(order)", "count(order) = 2", "sum(order.amount) < 50")}
    assert wanted["did(order)"] > FAR // 7
    monkeypatch.setattr(held_events, "_SHARED_NS", 1)
    monkeypatch.setattr(held_events, "_PIECE_NS", 1)
    monkeypatch.setattr(held_events, "threads", lambda: 4)
    for text, count in wanted.items():
        assert account.count(text).count == count


def test_answers_are_the_same_whether_candidates_are_looked_for(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("did(order) and n >= 33000", "sum(order.amount) < 50 and n < 33000", "count(order) = 1 and not n < 5")
    wanted = [account.count(text).count for text in asked]
    assert all(wanted[::2])
    for finding in (1e18, -1e18):  # never worth it, and always
        monkeypatch.setattr(exec_asked, "_FINDING", finding)
        assert [account.count(text).count for text in asked] == wanted


COUNTED = (
    "did(order)",
    "not did(order)",
    "count(order) = 1 and n >= 20000",
    "sum(order.amount) > 2000 and n >= 20000 and not n = 30000",
    "never(order during last 2 months) and n >= 20000",
    "not (sum(order.amount) < 500) and n < 20000",
    "max(order.amount) >= 300",
    "distinct(order.amount) = 1 and n < 20000",
)


def held_by(account: Account, text: str) -> int:
    """How many contacts are listed, which nothing is counted for."""
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, to_millis(AT) + 1, account.info.tz, None)
        return len(materialise(prepare(text, context).plan, context))


def test_what_is_counted_without_being_listed(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.write_events([Order("log", "c1", AT - timedelta(days=1), amount=Decimal(7)), Retraction("order", "o100")])
    for _ in range(2):
        wanted = {text: held_by(account, text) for text in COUNTED}
        assert all(0 < count < FAR + 1 for count in wanted.values())
        for finding in (1e18, -1e18):  # others than the candidates are among what is found, and they are not
            monkeypatch.setattr(exec_asked, "_FINDING", finding)
            assert {text: account.count(text).count for text in COUNTED} == wanted
        account.merge()


def test_only_live_contacts_are_counted(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where some are not there any more: then the others are looked for in what is found."""
    live = Snapshot.universe

    def some_live(self: Snapshot) -> Posting:
        program = Program()
        program.finish(program.constant(True), live(self))
        return Posting([bytes((BitMap.deserialize(program.materialise()) - BitMap(range(0, FAR, 1000))).serialize())])

    monkeypatch.setattr(Snapshot, "universe", some_live)
    monkeypatch.setattr(Snapshot, "live_count", lambda self: self.universe().cardinality)
    assert account.count("did(order)").count == FAR // 100 + 1 - FAR // 1000
    assert account.count("not did(order)").count == FAR - FAR // 100
    for finding in (1e18, -1e18):
        monkeypatch.setattr(exec_asked, "_FINDING", finding)
        assert account.count("did(order) and n >= 20000").count == 201 - 20
        assert account.count("n >= 20000 and not did(order)").count == 20_001 - 201


def test_sums_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        most = Decimal(2**62 - 1).scaleb(-2)
        account.import_orders([Order(str(i), "rich", datetime(2025, i, 1, tzinfo=UTC), amount=most) for i in (1, 2, 3)])
        assert account.count("sum(order.amount during last 5 months) > 0").count == 1
        for asked in ("sum(order.amount) > 0", "sum(order.amount) > count(order)"):
            with pytest.raises(SumTooLarge, match="beyond 2\\^63"):
                account.count(asked)
        assert account.count("count(order) = 3").count == 1


def test_a_scan_stops(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    month_of = held_events.month_of

    def cancelling(time: int) -> int:
        stop.cancel()  # behind what is looked at first, and before the events are read
        return month_of(time)

    monkeypatch.setattr(held_events, "month_of", cancelling)
    for asked in ("did(line)", "count(order) > sum(order.amount)"):
        with pytest.raises(Cancelled):
            account.count(asked, stop=stop)
