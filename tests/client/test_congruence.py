"""The real database, asked in process and over gRPC: the same answers, the same errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from segidx.client import RemoteAccount, connect
from segidx.database import Account, Database
from segidx.model.errors import SegidxError
from segidx.model.event_groups import TOUCH
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.expression import (
    And,
    AtLeast,
    Events,
    Expression,
    IsSet,
    Not,
    Or,
    Unfinished,
    events,
    field,
    lines,
    orders,
    tags,
)
from segidx.model.results import Count, Evaluation, Explanation, Preview
from segidx.model.schema import Field, FieldType
from segidx.model.source_settings import SourceSettings
from segidx.model.windows import Ago, Direction, Rolling, Unit
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.service.server import start

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z
FIELDS = (
    Field("country", FieldType.CATEGORY),
    Field("tags", FieldType.TAGS),
    Field("income", FieldType.NUMBER, 2),
    Field("birthday", FieldType.DATE),
    Field("seen", FieldType.TIMESTAMP),
    Field("consent", FieldType.BOOL),
    Field("email", FieldType.TEXT),
)
ROWS: list[tuple[str, dict[str, object]]] = [
    (
        f"c{i}",
        {
            "country": ["PL", "DE", "FR"][i % 3],
            "tags": {t for t, k in (("vip", 2), ("new", 5)) if i % k == 0},
            "income": Decimal(i * 37) / 100,
            "birthday": date(1960 + i % 40, 1 + i % 12, 1 + i % 28),
            "seen": datetime(2025, 1 + i % 12, 1 + i % 28, i % 24, tzinfo=UTC),
            "consent": i % 4 == 0,
            "email": f"user{i}@example.{['com', 'org'][i % 2]}",
        },
    )
    for i in range(60)
]
ROWS += [("bare", {}), ("bad", {"income": "many"}), ("worse", {"incme": 1}), ("c0", {"consent": None})]
# Of c0 to c19, the cheaper the higher the number; c3, c10 and c17 have returns only.
ORDERS = [
    Order(
        f"o{i}",
        f"c{i % 20}",
        datetime(2025, 1 + i % 12, 1 + i % 28, i % 24, tzinfo=UTC),
        source=["email", "direct"][i % 2],
        paid=i % 3 == 0,
        lines=(
            OrderLine(
                product=f"P{i % 4}",
                producer=["69", "7"][i % 2],
                quantity=Decimal(-1 if i % 20 % 7 == 3 else 2),
                unit_price=Decimal(20 - i % 20),
            ),
        ),
    )
    for i in range(50)
]

DOWNLOAD = EventType(
    "download",
    (
        EventProperty("file", FieldType.CATEGORY),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("size", FieldType.NUMBER, 0),
        EventProperty("whole", FieldType.BOOL),
        EventProperty("published", FieldType.TIMESTAMP),
    ),
)
DOWNLOADS = [
    Event(
        "download",
        f"d{i}",
        f"c{i % 25}",
        datetime(2025, 1 + i % 12, 1 + i % 28, i % 24, tzinfo=UTC),
        {
            "file": f"{i % 3}.pdf",
            "price": Decimal(i * 5) / 100 if i % 4 else None,
            "size": i,
            "whole": i % 2 == 0,
            "published": datetime(2024, 1 + i % 12, 1, tzinfo=UTC),
        },
    )
    for i in range(40)
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Account, RemoteAccount]]:
    place = tmp_path_factory.mktemp("congruence")
    with Database.open(place / "data", create=True, clock=lambda: NOW) as database:
        local = database.account("default")
        local.update_schema(FIELDS)
        local.upsert(ROWS)
        assert local.import_orders(ORDERS).accepted == len(ORDERS)
        local.declare_event_types([DOWNLOAD])
        assert local.write_events(DOWNLOADS).events_accepted == len(DOWNLOADS)
        with start(database, port=0, threads=4) as server, connect(server.address, timeout=60) as client:
            yield local, client.account("default")


def untimed(found: Any) -> Any:
    """A result without what may differ between two runs: how long it took."""
    if isinstance(found, Count | Explanation | Preview):
        return replace(found, evaluation=untimed(found.evaluation))
    if isinstance(found, Evaluation):
        return replace(found, elapsed_ms=0.0)
    if isinstance(found, SegidxError):
        return type(found), found.reason, found.message, found.path, found.metadata
    if isinstance(found, list):
        return [untimed(one) for one in found]
    return found


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return untimed(call())
    except SegidxError as error:
        return untimed(error)


def nested(depth: int) -> Expression:
    node: Expression = IsSet("country")
    for i in range(depth - 1):
        node = And((node,)) if i % 3 else Not(node)
    return node


EXPRESSIONS: list[Expression | str] = [
    "everyone",
    'country = "PL" and income >= 3.5',
    'not country = "PL"',
    'contry = "x"',
    "income >",
    "",
    field("country").isin(["PL", "DE"]) & ~tags().has("vip"),
    (field("income") * 2 - 1 > Decimal("10.5")) | field("email").ends_with(".org"),
    field("email").matches("^user1[0-9]@"),
    field("email").matches("("),
    field("income") == "ten",
    field("birthday").age() >= 40,
    field("birthday").anniversary(Rolling(Direction.NEXT, 7, Unit.DAY)),
    field("seen").in_window(Ago(180, 90, Unit.DAY)),
    field("birthday").in_window(Rolling(Direction.LAST, 3, Unit.HOUR)),
    field("seen").before(datetime(2025, 6, 1, tzinfo=UTC)),
    field("income").between(1, 9),
    AtLeast(2, (tags().has("vip"), field("consent") == True, field("income") < 5)),  # noqa: E712
    Or((Unfinished(), tags().has_none("vip"))),
    And(()),
    orders().average("amount") > 20,
    lines().where(field("producer") == "69").min("unit_price") <= 3,
    orders().during(Rolling(Direction.LAST, 6, Unit.MONTH)).max("amount") >= 30,
    orders().first_time() >= datetime(2025, 6, 1, tzinfo=UTC),
    lines().where(field("product") == "P1").last_time() < date(2025, 9, 1),
    orders().first_time().between(date(2025, 2, 1), date(2025, 5, 1)),
    orders().last_time() > field("seen"),
    orders().days_since_last() > 60,
    lines().days_since_first() <= 300,
    orders().only(field("paid") == False),  # noqa: E712
    lines().where(field("producer") == "69").only(field("quantity") > 0),
    lines().only(),
    orders().only(Unfinished()),
    orders().only(field("product") == "P1"),
    orders().last_time() + 1 > 0,
    'only(line where producer = "69" among quantity > 0)',
    "days_since(last(order)) > 60",
    events("download")
    .where((field("file") == "1.pdf") & (field("published") < datetime(2024, 7, 1, tzinfo=UTC)))
    .count()
    > 0,
    events("download").where(field("price") > Decimal("0.5")).sum("size") >= 20,
    events("download").during(Rolling(Direction.LAST, 6, Unit.MONTH)).last_time() > date(2025, 9, 1),
    events("download").only(field("whole") == True),  # noqa: E712
    events("download").where(field("fill") == "1.pdf").did(),
    events("downlod").did(),
    events("visit").never(),
    "days_since(last(download where whole)) > 60",
    "did(download where published >= 2024-06-01T00:00:00Z)",
    "did(downlod)",
    "sum(download.file) > 3",
    events("interaction").did(),
    events("touch").during(Rolling(Direction.LAST, 6, Unit.MONTH)).never(),
    events("interaction").count() > 2,
    events("interaction").first_time() >= datetime(2025, 6, 1, tzinfo=UTC),
    events("interaction").days_since_last() > 60,
    "did(interaction during last 3 months)",
    events("interaction").where(field("kind") == "x").did(),
    events("interaction").only(),
    events("touch").distinct_days() > 1,
    "sum(interaction.amount) > 1",
    nested(64),
    nested(65),
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda e: str(e)[:40])
@pytest.mark.parametrize("unfinished", [False, True])
def test_evaluations_agree(both: tuple[Account, RemoteAccount], expression: Any, unfinished: bool) -> None:
    local, remote = both
    for call in (
        lambda a: a.count(expression, allow_unfinished=unfinished),
        lambda a: a.explain(expression, counts=True, allow_unfinished=unfinished),
        lambda a: a.preview(expression, limit=7, allow_unfinished=unfinished),
        lambda a: a.preview(expression, fields=["income", "tags"], allow_unfinished=unfinished),
    ):
        assert outcome(lambda call=call: call(remote)) == outcome(lambda call=call: call(local))


def test_batches_agree(both: tuple[Account, RemoteAccount]) -> None:
    local, remote = both
    found = untimed(remote.count_many(EXPRESSIONS))
    assert found == untimed(local.count_many(EXPRESSIONS))
    assert [untimed(local.count(e)) for e, f in zip(EXPRESSIONS, found, strict=True) if isinstance(f, Count)] == [
        f for f in found if isinstance(f, Count)
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a.info,
        lambda a: a.schema(),
        lambda a: a.event_types,
        lambda a: a.declare_event_types([DOWNLOAD]),
        lambda a: a.declare_event_types([replace(DOWNLOAD, properties=())]),
        lambda a: a.declare_event_types([EventType("fine"), EventType("Wrong")]),
        lambda a: a.event_groups,
        lambda a: a.source_settings,
        lambda a: a.set_source_settings(SourceSettings(20, ("Shop.example",))),
        lambda a: a.set_source_settings(SourceSettings(-1)),
        lambda a: a.set_source_settings(SourceSettings(30, ("http://x",))),
        lambda a: a.set_source_settings(SourceSettings()),
        lambda a: a.set_event_group("touch", TOUCH.members),
        lambda a: a.declare_bands("spend", "sum(order.amount where paid)", [Decimal("99.95"), 500]),
        lambda a: a.declare_bands("spend", "sum(order.amount)", [100, 500], ["no", "some", "more", "most"]),
        lambda a: a.declare_bands("often", orders().where(field("source") == "email").count().value, [1, 3]),
        lambda a: a.bands,
        lambda a: untimed(a.count('band(spend) = "no" and not crossed(often, 3)')),
        lambda a: a.count('band(spent) = "no"'),
        lambda a: a.count('band(spend) = "none"'),
        lambda a: a.count("crossed(spend, 5)"),
        lambda a: a.declare_bands("Spend", "sum(order.amount)", [100]),
        lambda a: a.declare_bands("spend", "sum(order.amount)", [Decimal("0.001")]),
        lambda a: a.declare_bands("spend", "sum(ordre.amount)", [100]),
        lambda a: a.declare_bands("spend", "sum(order.amuont)", [100]),
        lambda a: a.declare_bands("spend", "sum(order.source)", [100]),
        lambda a: a.declare_bands("spend", "count(order where ...)", [100]),
        lambda a: a.declare_bands("spend", "count(order where sorce is set)", [100]),
        lambda a: a.declare_bands("spend", "count(touch)", [100]),
        lambda a: a.declare_bands("spend", "count(order)", [0]),
        lambda a: a.declare_bands("spend", "count(order)", []),
        lambda a: a.declare_bands("spend", "count(order)", [2, 1]),
        lambda a: a.declare_bands("spend", "count(order)", [1], ["a"]),
        lambda a: a.declare_bands("spend", "average(order.amount)", [1]),
        lambda a: a.declare_bands("spend", "order", [1]),
        lambda a: a.derived,
        lambda a: a.declare_derived("clicks", 'count(message where kind = "clicked")'),
        lambda a: a.declare_derived("spent", orders().sum("amount").value),
        lambda a: a.declare_derived("spent", "sum(order.amount where paid)"),
        lambda a: a.declare_derived("spent", "average(order.amount)"),
        lambda a: a.declare_derived("spent", "sum(order.amuont)"),
        lambda a: a.declare_derived("last_order", "count(order)"),
        lambda a: a.remove_derived("nothing"),
        lambda a: a.remove_derived("last_order"),
        lambda a: a.remove_bands("nothing"),
        lambda a: a.get("c5"),
        lambda a: a.get("bare"),
        lambda a: a.get("nobody"),
        lambda a: a.suggest("country", "p"),
        lambda a: a.suggest("contry", "p"),
        lambda a: a.suggest("income", "1"),
        lambda a: a.update_schema([Field("country", FieldType.DATE)]),
        lambda a: a.preview("everyone", fields=["nothing"]),
        lambda a: a.prune(datetime(2020, 1, 1, tzinfo=UTC), ["visit", "order"], dry_run=True),
        lambda a: a.prune(date(2020, 1, 1), dry_run=True),
        lambda a: a.prune(date(9000, 1, 1)),
        lambda a: a.prune(date(2020, 1, 1), ["line"]),
        lambda a: a.prune(date(2020, 1, 1), ["vist"]),
        lambda a: a.prune(datetime(2020, 1, 1), ["visit"]),
        lambda a: a.prune("2020-01-01", ["visit"]),
        lambda a: a.horizons,
        lambda a: a.stats(),
    ],
)
def test_reads_agree(both: tuple[Account, RemoteAccount], call: Callable[[Any], Any]) -> None:
    local, remote = both
    assert outcome(lambda: call(remote)) == outcome(lambda: call(local))


def negated(levels: int) -> Expression:
    node: Expression = field("file") == "1.pdf"
    for _ in range(levels - 1):
        node = Not(node)
    return node


GROUPS_SET: list[tuple[str, list[Any]]] = [
    ("interaction", ["visit", "order", "download where whole"]),
    ("interaction", [events("download").where((field("file") == "1.pdf") & (field("size") > 3)).events]),
    ("touch", [Events("order"), 'download where file = "2.pdf" or price >= 0.5', "order # twice"]),
    ("touch", [Events("download", negated(63))]),
    ("touch", ["visit"] * 64),
]
GROUPS_REFUSED: list[tuple[str, list[Any]]] = [
    ("", ["visit"]),
    ("download", ["visit"]),
    ("Touch", [Events("visit")]),
    ("touch", []),
    ("touch", ["visit"] * 65),
    ("touch", ["visit during last 3 days"]),
    ("touch", [Events("visit", window=Rolling(Direction.LAST, 3, Unit.DAY))]),
    ("touch", ["visit", "interaction"]),
    ("touch", [Events("touch")]),
    ("touch", ["downlod"]),
    ("touch", [Events("downlod")]),
    ("touch", ['download where fill = "1.pdf"']),
    ("touch", [events("download").where(field("fill") == "1.pdf").events]),
    ("touch", ["download where file > 3"]),
    ("touch", ["download where ..."]),
    ("touch", [Events("download", Unfinished())]),
    ("touch", [Events("visit"), Events("download", And((field("whole") == True, Unfinished())))]),  # noqa: E712
    ("touch", [Events("download", And(()))]),
    ("touch", [Events("download", tags().has("vip"))]),
    ("touch", [Events("download", negated(64))]),
    ("touch", ["visit) or did(order"]),
    ("touch", ["", "visit"]),
    ("touch", ["A visit"]),
]


def test_groups_agree(both: tuple[Account, RemoteAccount]) -> None:
    local, remote = both
    at_first = local.event_groups
    asked = ["did(interaction)", "count(touch) > 1", "never(touch)", "last(interaction).time before 2025-09-01"]
    try:
        for name, members in GROUPS_SET:
            local.set_event_group(name, at_first[name].members)
            here = local.set_event_group(name, members)
            counts = [local.count(text).count for text in asked]
            local.set_event_group(name, at_first[name].members)
            assert remote.set_event_group(name, members) == here
            assert remote.event_groups == local.event_groups
            assert list(remote.event_groups) == list(local.event_groups)
            assert remote.event_types == local.event_types
            assert [remote.count(text).count for text in asked] == counts
        held = local.event_groups
        for name, members in GROUPS_REFUSED:
            wrong = outcome(lambda name=name, members=members: local.set_event_group(name, members))  # type: ignore[misc]
            assert isinstance(wrong, tuple), (name, members)
            assert outcome(lambda name=name, members=members: remote.set_event_group(name, members)) == wrong  # type: ignore[misc]
        assert remote.event_groups == local.event_groups == held
    finally:
        for name, group in at_first.items():
            local.set_event_group(name, group.members)


def test_writes_agree(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        ("c1", {"income": 1.5}),
        ("x", {"income": Decimal("0.001")}),
        ("", {}),
        ("y" * 256, {}),
        (b"\xff", {}),
    ]
    answers = []
    with Database.open(tmp_path / "data", create=True, clock=lambda: NOW) as database:
        for remote in (False, True):
            name = "remote" if remote else "local"
            database.create_account(replace(database.account("default").info, name=name))
            with start(database, port=0, threads=4) as server, connect(server.address, timeout=60) as client:
                account: Any = client.account(name) if remote else database.account(name)
                account.update_schema(FIELDS)
                written = account.upsert(rows)
                tagged = account.tag(["c1", "nobody", "c2"], add=["extra"], remove=["vip"])
                replaced = account.tag(["c4"], replace=["only"])
                held = [account.get(f"c{i}") for i in (0, 1, 2, 4)]
                wrong = outcome(lambda account=account: account.tag(["c1"], field="country", add=["x"]))
            places = [[(r.index, r.field, r.reason) for r in w.rejects] for w in (written, tagged, replaced)]
            counts = [(w.accepted, w.created, w.duplicates) for w in (written, tagged, replaced)]
            answers.append((places, counts, held, wrong))
    assert answers[0] == answers[1]


def test_batches_of_writes_agree(tmp_path: Path) -> None:
    rows = [
        *(ContactWrite(contact_id, fields) for contact_id, fields in ROWS),
        ContactWrite("c1", {"income": 1.5, "tags": ["a"]}, {"tags": ["extra", "vip"]}, {"tags": {"vip", "a"}}),
        ContactWrite("c2", channels={Channel.EMAIL: {ChannelFlag.CONSENT: True, ChannelFlag.HARD_BOUNCED: True}}),
        ContactWrite("c3", channels={Channel.ADS: dict.fromkeys(ChannelFlag, True)}, must_exist=True),
        ContactWrite("nobody", {"income": 1}, must_exist=True),
        ContactWrite("c4", tags_added={"country": ["x"]}),
        ContactWrite("c4", tags_added={"nothing": ["x"]}),
        ContactWrite("c4", {"income": Decimal("0.001")}),
        ContactWrite("", {}),
        ContactWrite("y" * 256, {}),
        ContactWrite(b"\xff", {}),
        ContactWrite(b"bytes", {"seen": datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)}),
    ]
    later = [ContactWrite("c2", {"email": "new@example.com"}), ContactWrite("new", must_exist=True)]
    answers = []
    with Database.open(tmp_path / "data", create=True, clock=lambda: NOW) as database:
        for remote in (False, True):
            name = "remote" if remote else "local"
            database.create_account(replace(database.account("default").info, name=name))
            with start(database, port=0, threads=4) as server, connect(server.address, timeout=60) as client:
                account: Any = client.account(name) if remote else database.account(name)
                account.update_schema(FIELDS)
                results = [
                    account.write(rows, batch_key="first"),
                    account.write(later),
                    account.write(rows, batch_key="first"),
                ]
                reused = account.write(later, batch_key="first")
                held = [account.get(f"c{i}") for i in (0, 1, 2, 3, 4)]
                generation = account.generation()
                changes = [list(account.changes(after)) for after in (0, generation - 1, generation)]
                future = outcome(lambda account=account: list(account.changes(10**6)))
            places = [[(r.index, r.field, r.reason) for r in w.rejects] for w in results]
            counts = [(w.generation, w.accepted, w.created, w.duplicates, w.replayed) for w in results]
            answers.append((places, counts, reused.replayed, held, changes, future))
    assert answers[0] == answers[1]
    assert [counts[-1] for counts in answers[0][1]] == [False, False, True]


def an_event(event_id: Any, **changes: Any) -> Event:
    time = datetime(2025, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    return Event(**{"type": "download", "event_id": event_id, "contact_id": "c1", "time": time, **changes})


def test_writes_of_events_agree(tmp_path: Path) -> None:
    at = datetime(2025, 3, 4, tzinfo=UTC)
    late = datetime.fromtimestamp(NOW / 1000 + 24 * 3600, UTC)
    rows: list[Any] = [
        *DOWNLOADS,
        an_event("e1", properties={"price": 1.5, "published": at, "whole": False, "file": None}),
        an_event(b"bytes", contact_id=b"new", time=late),
        an_event("e1", revision=(1 << 61) - 1, contact_id="later"),
        an_event("e1"),
        an_event("e2", revision=3),
        Retraction("download", "e2", 3),
        an_event("e2", revision=3, contact_id="never"),
        Retraction("visit", "v1"),
        an_event("v1", type="visit", properties={"source": "email", "dwell": "2.5"}),
        Order("o1", "c2", at, "email", True, lines=[OrderLine("P", quantity=2, unit_price=3)], revision=5),  # type: ignore[arg-type]
        Order("o1", "c3", at, lines=[OrderLine("Q")]),
        Order("o2", "c4", at, amount=Decimal("9.99")),
        # What is refused, wherever that is.
        an_event("x1", time=late.replace(second=late.second + 1)),
        an_event("x2", time=datetime(1969, 12, 31, tzinfo=UTC)),
        an_event("x3", time=datetime(2025, 1, 1)),
        an_event("x4", time=None),
        an_event("x5", properties={"price": Decimal("0.001")}),
        an_event("x6", properties={"price": float("nan")}),
        an_event("x7", properties={"fill": "x"}),
        an_event("x8", properties={"fill": None}),
        an_event("x9", properties={"whole": "perhaps"}),
        an_event("x10", properties={"published": date(2025, 1, 1)}),
        an_event("x11", revision=0),
        an_event("x12", revision=1 << 61),
        an_event("x13", contact_id=""),
        an_event("x14", contact_id=None),
        an_event("x15", type="downlod"),
        an_event("x16", type="line"),
        an_event("x17", type="order"),
        an_event(""),
        an_event("y" * 256),
        an_event(b"\xff"),
        Order("z1", "c1", at, lines=[OrderLine(), OrderLine(amount=Decimal("0.001"))]),
        Order("z2", "c1", at, lines=[OrderLine(unit_price=float("inf"))]),  # type: ignore[arg-type]
        Order("z3", "c1", at, lines=[OrderLine()] * 5001),
        Order("", "c1", at),
        Retraction("line", "o1"),
        Retraction("downlod", "e1"),
        Retraction("visit", "", 1),
        Retraction("visit", "v2", -1),
    ]
    later = [Retraction("download", f"d{i}") for i in range(0, 40, 3)] + [an_event("d1", contact_id="moved")]
    asked = [
        "everyone",
        "did(download)",
        "sum(download.price) > 0.5",
        "did(order)",
        "sum(order.amount) > 5",
        "did(visit)",
    ]
    answers = []
    with Database.open(tmp_path / "data", create=True, clock=lambda: NOW) as database:
        for remote in (False, True):
            name = "remote" if remote else "local"
            database.create_account(replace(database.account("default").info, name=name))
            with start(database, port=0, threads=4) as server, connect(server.address, timeout=60) as client:
                account: Any = client.account(name) if remote else database.account(name)
                types = account.declare_event_types([DOWNLOAD, EventType("bare")])
                account.update_schema(FIELDS)
                results = [
                    account.write(
                        [ContactWrite("c1", {"income": 1}), ContactWrite("")], events=rows, batch_key="first"
                    ),
                    account.write_events(later),
                    account.write([ContactWrite("c1")], events=rows, batch_key="first"),
                ]
                counts = [account.count(text).count for text in asked]
                changes = list(account.changes(0))
            numbers = [
                (w.generation, w.accepted, w.created, w.duplicates, w.events_accepted, w.events_duplicates, w.replayed)
                for w in results
            ]
            places = [[(r.index, r.contact_id, r.field, r.reason) for r in w.event_rejects] for w in results]
            own = [[(r.index, r.field) for r in w.rejects] for w in results]
            answers.append((types, numbers, places, own, counts, changes))
    assert answers[0] == answers[1]
    first_refused = next(i for i, row in enumerate(rows) if getattr(row, "event_id", "") == "x1")
    assert [place[0] for place in answers[0][2][0]] == list(range(first_refused, len(rows)))
    # The visit was taken back before it came.
    assert [found > 0 for found in answers[0][4]] == [True] * 5 + [False]


def test_a_large_generation_is_told_whole(tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(30_000)]
    with Database.open(tmp_path / "data", create=True) as database:
        local = database.account()
        local.upsert((i, {}) for i in ids)
        local.upsert([("later", {})])
        parts = local.changes(0)
        assert parts[-1].last
        with start(database, port=0, threads=4) as server, connect(server.address, timeout=60) as client:
            remote = list(client.account("default").changes(0))
    assert [c.contact_id for part in parts if part.generation == 1 for c in part.contacts] == ids
    assert [c.contact_id for part in remote for c in part.contacts] == [*ids, "later"]
    assert [part.generation for part in remote if part.last] == [1, 2]
