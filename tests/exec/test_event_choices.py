"""What the first and the last event are like, and favourites, against rows looked at one by one: blocks, layers above
them, and both after a merge; ties of time, of ids, of lines and of strings."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.exec import event_has, favourites
from segidx.exec import events as exec_events
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, SumTooLarge
from segidx.model.events import Event, Order, OrderLine, Retraction
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
FAR = 40_000  # in the third range of contacts
# In the order of their bytes, and not in that of any alphabet; most are longer than what is compared at once.
IDS = ("", "B", "a", "a b", "aa", "zz", "é", "ż", "日本", "😀")
PRODUCTS = ("", "Z", "a", "aa", "long " * 20, "long " * 20 + "er", "é", "😀")


@dataclass(frozen=True)
class Row:
    """A line, or an order, as it is asked about."""

    time: datetime
    id: bytes
    place: int
    product: str | None
    amount: int | None
    counts: bool

    @property
    def order(self) -> tuple[datetime, bytes, int]:
        return self.time, self.id, self.place


def a_life(seed: int) -> tuple[list[Order], list[list[Order | Event | Retraction]]]:
    """Orders to import, and batches to write: few times, so that many are at one, and few products."""
    rng = random.Random(seed)
    contacts = ["c0", "c1", "c2", "c16383", "c16384", f"c{FAR}"]

    def one(number: int) -> Order:
        lines = [
            OrderLine(
                rng.choice((None, *PRODUCTS)),
                quantity=Decimal(rng.choice((-1, 1, 2))),
                amount=Decimal(rng.choice((-2, 0, 1, 1, 2, 3))) if rng.random() < 0.8 else None,
            )
            for _ in range(rng.choice((0, 1, 2, 4)))
        ]
        time = datetime(2025, rng.choice((1, 2, 5)), 3, rng.choice((1, 2)), tzinfo=UTC)
        source = rng.choice((None, "email", "direct", "a"))
        paid = rng.choice((None, True, False))
        name = rng.choice(IDS) + str(number) if number else "0"
        return Order(name, rng.choice(contacts), time, source, paid, None, lines)

    imported = [one(i) for i in range(60)]
    batches: list[list[Order | Event | Retraction]] = []
    for first in (100, 200):
        batch: list[Order | Event | Retraction] = [one(first + i) for i in range(15)]
        for old in rng.sample(imported, 8):
            new = one(0)
            moved = Order(old.order_id, new.contact_id, new.time, new.source, new.paid, None, new.lines)
            batch.append(moved if rng.random() < 0.6 else Retraction("order", old.order_id))
        batches.append(batch)
    return imported, batches


def rows_of(written: list[Order | Event | Retraction]) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """The orders and the lines of each contact in the end, in their order."""
    held: dict[str, Order] = {}
    gone = set()
    for each in written:
        if isinstance(each, Retraction):
            held.pop(each.event_id, None)
            gone.add(each.event_id)
        elif isinstance(each, Order) and each.order_id not in gone:
            held[each.order_id] = each
    orders, lines = defaultdict(list), defaultdict(list)
    for order in held.values():
        counts = any((line.quantity or 0) > 0 for line in order.lines)
        amounts = [line.amount for line in order.lines if line.amount is not None]
        amount = int(sum(amounts)) if amounts else None
        if not order.lines:
            counts = True
        orders[order.contact_id].append(Row(order.time, order.order_id.encode(), 0, order.source, amount, counts))
        for place, line in enumerate(order.lines):
            cents = None if line.amount is None else int(line.amount)
            lines[order.contact_id].append(
                Row(order.time, order.order_id.encode(), place, line.product, cents, (line.quantity or 0) > 0)
            )
    return tuple({who: sorted(rows, key=lambda r: r.order) for who, rows in d.items()} for d in (orders, lines))  # type: ignore[return-value]


def favourite(rows: list[Row], by: bool) -> str | None:
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.product is not None:
            sums[row.product] += (row.amount or 0) if by else 1
    best = min(((-total, name.encode()) for name, total in sums.items() if total > 0), default=None)
    return None if best is None else best[1].decode()


@pytest.fixture(params=["all in the log", "half in the log", "merged", "imported"])
def seeded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], tuple[Account, list]]]:  # type: ignore[type-arg]
    opened: list[Database] = []

    def make(seed: int) -> tuple[Account, list[Order | Event | Retraction]]:
        database = Database.open(tmp_path / str(seed), create=True, clock=lambda: to_millis(AT))
        opened.append(database)
        account = database.account()
        account.update_schema([Field("n", FieldType.NUMBER)])
        account.upsert((f"c{i}", {"n": i}) for i in (*range(3), *range(16383, 16386)))
        account.upsert((f"c{i}", {"n": i}) for i in range(FAR + 1))
        imported, batches = a_life(seed)
        if request.param == "all in the log":
            account.write_events(imported)
        else:
            account.import_orders(imported)
        for batch in batches if request.param != "imported" else ():
            account.write_events(batch)
            if request.param == "merged":
                account.merge()
        written = [*imported, *(each for batch in batches for each in batch if request.param != "imported")]
        return account, written

    yield make
    for database in opened:
        database.close()


def members(account: Account, asked: str) -> set[str]:
    found = {each.contact_id for each in account.preview(asked, limit=100).contacts}
    assert account.count(asked).count == len(found)
    return found


Passes = Callable[[Row], bool]
ALL: Passes = lambda row: True  # noqa: E731
HAS: list[tuple[str, Passes, Passes]] = [
    ('(order) has source = "email"', ALL, lambda r: r.product == "email"),
    ("(order) has source is set", ALL, lambda r: r.product is not None),
    (
        '(order where source != "a") has not source = "email"',
        lambda r: r.product != "a",
        lambda r: r.product != "email",
    ),
    ("(line) has amount > 1", ALL, lambda r: (r.amount or 0) > 1),
    ("(line) has not amount > 1", ALL, lambda r: (r.amount or 0) <= 1),
    ('(line where amount > 0) has product = "é"', lambda r: (r.amount or 0) > 0, lambda r: r.product == "é"),
    (
        '(line during 2025-02-01 to 2025-05-03T01:30:00Z) has (product in ("a", "Z") or amount is not set)',
        lambda r: datetime(2025, 2, 1, tzinfo=UTC) <= r.time < datetime(2025, 5, 3, 1, 30, tzinfo=UTC),
        lambda r: r.product in ("a", "Z") or r.amount is None,
    ),
    ('(line) has product = "no such"', ALL, lambda r: False),
]


@pytest.mark.parametrize("seed", range(3))
def test_the_first_and_the_last_of_each_contact(
    seeded: Callable[[int], tuple[Account, list]],  # type: ignore[type-arg]
    seed: int,
) -> None:
    account, written = seeded(seed)
    orders, lines = rows_of(written)
    found, several = 0, 0
    for said, selects, passes in HAS:
        said = said.replace("during 2025-02-01 to 2025-05-03T", "during 2025-02-01T00:00:00Z to 2025-05-03T")
        rows = {c: [r for r in o if r.counts] for c, o in orders.items()} if "(order" in said else lines
        for word, place in (("first", 0), ("last", -1)):
            chosen = {who: [r for r in each if selects(r)] for who, each in rows.items()}
            wanted = {who for who, each in chosen.items() if each and passes(each[place])}
            assert members(account, word + said) == wanted, word + said
            assert members(account, f"{word}{said} and n < 16384") == wanted - {"c16384", f"c{FAR}"}
            found += len(wanted)
            several += sum(len({r.id for r in e if r.time == e[place].time}) > 1 for e in chosen.values() if e)
    assert found > 20
    assert several > 10  # where ids decide


FAVOURITES: list[tuple[str, Passes, bool]] = [
    ("line.product", ALL, False),
    ("line.product by amount", ALL, True),
    ("line.product where amount > 0", lambda r: (r.amount or 0) > 0, False),
    ("line.product by amount where quantity > 0", lambda r: r.counts, True),
    ("order.source", lambda r: r.counts, False),
    ("line.product by amount until 2025-02-01", lambda r: r.time < datetime(2025, 2, 1, tzinfo=UTC), True),
    ("line.product where hour > 30", lambda r: False, True),
]


@pytest.mark.parametrize("seed", range(3))
def test_favourites_of_each_contact(
    seeded: Callable[[int], tuple[Account, list]],  # type: ignore[type-arg]
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account, written = seeded(seed)
    orders, lines = rows_of(written)
    for step in (1 << 20, 3):
        monkeypatch.setattr(favourites, "_STEP", step * 5000 if step == 3 else step)
        for said, passes, by in FAVOURITES:
            rows = orders if said.startswith("order") else lines
            liked = {who: favourite([r for r in each if passes(r)], by) for who, each in rows.items()}
            values = sorted({v for v in liked.values() if v is not None} | {"no such", "a"})
            for value in values:
                wanted = {who for who, v in liked.items() if v == value}
                assert members(account, f'favourite({said}) = "{value}"') == wanted, (said, value)
                assert account.count(f'favourite({said}) != "{value}"').count == FAR + 1 - len(wanted)
            for options in (values[:2], values[1:3], ["a", "no such"]):
                listed = ", ".join(f'"{v}"' for v in options)
                wanted = {who for who, v in liked.items() if v in options}
                assert members(account, f"favourite({said}) in ({listed})") == wanted
                assert members(account, f"favourite({said}) in ({listed}) and n in (1, 2, {FAR})") == wanted & {
                    "c1",
                    "c2",
                    f"c{FAR}",
                }
            assert members(account, f"favourite({said}) is set") == {w for w, v in liked.items() if v is not None}


def test_sums_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        most = Decimal(2**62 - 1).scaleb(-2)
        times = [datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
        account.write_events([Order(str(t), "rich", t, "email", amount=most) for t in times])
        assert account.count('favourite(order.source by amount during last 5 months) = "email"').count == 1
        for asked in ('= "email"', '!= "email"', "is set"):
            with pytest.raises(SumTooLarge, match="beyond 2\\^63"):
                account.count(f"favourite(order.source by amount) {asked}")
        assert account.count('favourite(order.source) = "email"').count == 1


def test_they_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.write_events(a_life(0)[0])
        asked = ['favourite(line.product) in ("a", "aa", "é")', "last(line) has amount > 0"]
        for each in asked:
            stop = Stop()
            stop.cancel()
            with pytest.raises(Cancelled):
                account.count(each, stop=stop)
        for module, name, each in ((favourites, "selected", asked[0]), (event_has, "selected", asked[1])):
            stop = Stop()

            def cancelling(*arguments: object, stop: Stop = stop) -> object:
                rows = exec_events.selected(*arguments)  # type: ignore[arg-type]
                stop.cancel()
                return rows

            monkeypatch.setattr(module, name, cancelling)
            with pytest.raises(Cancelled):
                account.count(each, stop=stop)
        monkeypatch.undo()
        assert all(account.count(each).count > 0 for each in asked)
