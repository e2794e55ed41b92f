"""The client gives and raises what the same call gives and raises in process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from segidx.client import Client, RemoteAccount, connect
from segidx.model import errors
from segidx.model.errors import SegidxError
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.expression import And, Everyone, Expression, IsSet, Not, Unfinished, field
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.service.server import RunningServer

INSTANT = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)
PAST = datetime(2025, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)  # before the fake database's clock
DOWNLOAD = EventType(
    "download",
    (
        EventProperty("file", FieldType.CATEGORY),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("read", FieldType.TIMESTAMP),
    ),
)


def nested(depth: int) -> Expression:
    node: Expression = IsSet("country")
    for _ in range(depth - 1):
        node = And((node,))
    return node


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or its error in comparable form."""
    try:
        return call()
    except SegidxError as error:
        return describe(error)


def describe(error: Any) -> Any:
    if not isinstance(error, SegidxError):
        return error
    return type(error), error.reason, error.message, error.path, error.metadata


CALLS: dict[str, Callable[[Any], Any]] = {
    "count text": lambda a: a.count('country = "PL"'),
    "count expression": lambda a: a.count((field("country") == "PL") | (field("country") == "DE")),
    "count not": lambda a: a.count(Not(field("country") == "PL")),
    "unknown field": lambda a: a.count('contry = "x"'),
    "unknown field deep": lambda a: a.count(Everyone() & ~(field("contry") == "x")),
    "syntax": lambda a: a.count("country ="),
    "unfinished": lambda a: a.count(And((Unfinished(), Everyone()))),
    "unfinished allowed": lambda a: a.count(And((Unfinished(), Everyone())), allow_unfinished=True),
    "empty": lambda a: a.count(And(())),
    "deepest": lambda a: a.count(nested(64)),
    "too deep": lambda a: a.count(nested(65)),
    "far too deep": lambda a: a.count(nested(500)),
    "many": lambda a: [
        describe(o)
        for o in a.count_many(
            ["everyone", "nobody", 'contry = "x"', nested(65), field("country") == "PL", "?!", nested(64)]
        )
    ],
    "many skipped": lambda a: a.count_many([Unfinished(), And((Unfinished(), Everyone()))], allow_unfinished=True),
    "none": lambda a: a.count_many([]),
    "explain": lambda a: a.explain(field("country") == "PL"),
    "explain counts": lambda a: a.explain(nested(64), counts=True),
    "preview": lambda a: a.preview("everyone"),
    "preview some": lambda a: a.preview("everyone", fields=["country"], limit=2),
    "preview ids": lambda a: a.preview("everyone", fields=[]),
    "suggest": lambda a: a.suggest("country", "P", limit=3),
    "suggest unknown": lambda a: a.suggest("contry", "P"),
    "get": lambda a: a.get("a"),
    "get nobody": lambda a: a.get("nobody"),
    "schema": lambda a: a.schema(),
    "stats": lambda a: a.stats(),
    "info": lambda a: a.info,
    "update": lambda a: a.update_schema([Field("spend", FieldType.NUMBER, 2)]),
    "update conflict": lambda a: a.update_schema([Field("country", FieldType.DATE)]),
    "upsert": lambda a: a.upsert(
        [
            ("a", {"income": Decimal("12.50"), "birthday": date(2000, 2, 29), "seen": INSTANT, "consent": False}),
            ("n", {"tags": {"x", "y"}, "country": None}),
            ("bad", {"incme": 1}),
            ("", {}),
        ]
    ),
    "tag": lambda a: a.tag(["a", "zz", "b"], add=["x", "y"], remove=["y"]),
    "tag replace": lambda a: a.tag(["a"], replace=["only"]),
    "tag clear": lambda a: a.tag(["a"], replace=[]),
    "tag other": lambda a: a.tag(["a"], field="country", add=["x"]),
    "write": lambda a: a.write(
        [
            ContactWrite("a", {"country": "DE", "income": Decimal("12.50")}, {"tags": ["x", "y"]}, {"tags": ["z"]}),
            ContactWrite("b", channels={Channel.EMAIL: {ChannelFlag.CONSENT: True, ChannelFlag.COMPLAINED: False}}),
            ContactWrite("nobody", {"country": "PL"}, must_exist=True),
            ContactWrite("bad", {"incme": 1}),
            ContactWrite("new", {"country": None}),
        ]
    ),
    "write again": lambda a: [a.write([ContactWrite("n")], batch_key="k") for _ in range(2)],
    "write other": lambda a: [a.write([ContactWrite(c)], batch_key="k") for c in "mn"],
    "event types": lambda a: a.event_types,
    "declare": lambda a: a.declare_event_types([DOWNLOAD, EventType("bare")]),
    "declare conflict": lambda a: a.declare_event_types([EventType("visit")]),
    "declare wrong": lambda a: a.declare_event_types([EventType("Visit")]),
    "events": lambda a: (
        a.declare_event_types([DOWNLOAD]),
        a.write_events(
            [
                Event("download", "d1", "new", PAST, {"file": "a.pdf", "price": Decimal("1.50"), "read": PAST}),
                Event("download", "d1", "a", INSTANT, {"file": "early.pdf"}),
                Event("download", "d1", "a", PAST, {"file": "b.pdf"}, revision=2),
                Event("download", "d2", "a", PAST, {"fill": "c.pdf", "price": None}),
                Event("download", "d3", "a", PAST, {"price": Decimal("1.505")}),
                Event("download", "d4", "a", PAST, {"nothing": None}),
                Event("upload", "u1", "a", PAST),
                Order(
                    "o1", "b", PAST, "email", True, lines=[OrderLine("P", quantity=Decimal(2), unit_price=Decimal(3))]
                ),
                Order("o2", "", PAST),
                Order("o3", "b", PAST, lines=[OrderLine(), OrderLine(amount=Decimal("0.001"))]),
                Retraction("order", "o1"),
                Retraction("line", "o1"),
                Retraction("visit", "v1", revision=0),
            ]
        ),
    ),
    "events again": lambda a: [a.write_events([Event("visit", "v", "n", PAST)], batch_key="k") for _ in range(2)],
    "no events": lambda a: a.write_events([]),
    "generation": lambda a: a.generation(),
    "changes": lambda a: list(a.changes(0)),
    "changes of a write": lambda a: (a.write([ContactWrite("a", {}, {"tags": ["x"]})]), list(a.changes(1))),
    "no changes": lambda a: list(a.changes(1)),
    "changes to come": lambda a: list(a.changes(2)),
}


@pytest.mark.parametrize("name", CALLS)
def test_remote_is_as_in_process(name: str, database: Any, account: RemoteAccount) -> None:
    import copy

    local = copy.deepcopy(database.held["default"], {id(database): database})
    call = CALLS[name]
    assert outcome(lambda: call(account)) == outcome(lambda: call(local))
    # What the call left behind is the same, too.
    assert database.account("default").contacts == local.contacts
    assert database.account("default").flags == local.flags
    assert database.account("default").declared == local.declared
    assert database.account("default").types == local.types
    assert database.account("default").events == local.events


def test_values_written_are_values_read(account: RemoteAccount) -> None:
    fields = {
        "income": Decimal("-0.01"),
        "birthday": date(1, 1, 1),
        "seen": INSTANT,
        "consent": False,
        "tags": frozenset({"a", ""}),
        "country": "Zażółć",
    }
    account.upsert([("p", fields)])
    assert account.get("p").fields == fields


def test_rows_that_cannot_be_sent_are_rejects(account: RemoteAccount) -> None:
    result = account.upsert(
        [("x", {"income": float("inf")}), ("y", {"income": 1}), (b"\xff", {}), ("z", {"nothing": 1})]
    )
    assert (result.accepted, result.created) == (1, 1)
    assert [(r.index, r.reason) for r in result.rejects] == [
        (0, "INVALID_VALUE"),
        (2, "INVALID_CONTACT_ID"),
        (3, "UNKNOWN_FIELD"),
    ]


def test_events_that_cannot_be_sent_are_rejects(account: RemoteAccount) -> None:
    events = [
        Event("visit", "v1", "a", datetime(2025, 1, 1)),
        Event("visit", "v2", "a", PAST),
        Event("visit", "v3", "a", PAST, {"dwell": float("inf")}),
        Event("visit", "v4", "a", PAST, {"dwell": Decimal("0.0001")}),
    ]
    result = account.write([ContactWrite("a", {"income": float("inf")}), ContactWrite("b")], events=iter(events))
    assert (result.accepted, [(r.index, r.field) for r in result.rejects]) == (1, [(0, "income")])
    assert (result.events_accepted, [(r.index, r.field) for r in result.event_rejects]) == (
        1,
        [(0, "time"), (2, "dwell"), (3, "dwell")],
    )
    assert all(r.message.startswith(f"row {r.index}: visit 'v{r.index + 1}': ") for r in result.event_rejects)


def test_types_that_cannot_be_sent_are_refused(account: RemoteAccount) -> None:
    with pytest.raises(errors.InvalidSchema, match="cannot be sent"):
        account.declare_event_types([EventType("\ud800")])
    with pytest.raises(errors.InvalidArgument, match="cannot be sent"):
        account.set_event_group("\ud800", ["visit"])


def test_a_stream_of_rows(account: RemoteAccount) -> None:
    rows = [
        (f"s{i}", {"income": float("nan") if i % 10 == 0 else i, **({"no": 1} if i % 10 == 5 else {})})
        for i in range(100)
    ]
    result = account.upsert_stream(iter(rows), batch_rows=7)
    assert (result.accepted, result.created, result.reject_count, result.batches) == (80, 80, 20, 15)
    assert [r.index for r in result.rejects] == [i for i in range(100) if i % 5 == 0]
    assert [r.contact_id for r in result.rejects] == [f"s{r.index}" for r in result.rejects]


def test_an_error_of_the_callers_rows_is_theirs(account: RemoteAccount) -> None:
    def rows() -> Iterator[tuple[str, dict[str, object]]]:
        yield "s", {}
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        account.upsert_stream(rows(), batch_rows=1)


def test_accounts(client: Client) -> None:
    created = client.create_account(AccountInfo("acme", "Asia/Kathmandu", "NPR", 0))
    assert created.info == AccountInfo("acme", "Asia/Kathmandu", "NPR", 0)
    assert [a.name for a in client.accounts()] == ["acme", "default"]
    with pytest.raises(errors.AccountExists):
        client.create_account(AccountInfo("acme"))
    with pytest.raises(errors.UnknownAccount):
        client.account("nobody").count("everyone")
    with pytest.raises(errors.InvalidAccountName):
        client.account("../etc")


def test_a_timeout_is_a_deadline(database: Any, account: RemoteAccount) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        account.count("slow", timeout=0.2)
    assert database.stopped.wait(60)


def test_limits_are_refused_before_the_default_hides_them(account: RemoteAccount) -> None:
    for call in (
        lambda: account.preview("everyone", limit=0),
        lambda: account.suggest("country", "", limit=0),
        lambda: account.upsert_stream([], batch_rows=0),
    ):
        with pytest.raises(errors.InvalidArgument):
            call()


def test_strings_that_are_no_unicode_are_typed_errors(account: RemoteAccount) -> None:
    for call in (
        lambda: account.count("\ud800"),
        lambda: account.suggest("\ud800", ""),
        lambda: account.tag(["a"], add=["\ud800"]),
        lambda: account.get("\ud800"),
    ):
        with pytest.raises((errors.InvalidValue, errors.InvalidContactId)):
            call()


def test_no_server_and_a_failed_server(account: RemoteAccount) -> None:
    with connect("127.0.0.1:1", timeout=60) as lost, pytest.raises(errors.ServerUnavailable):
        lost.account("default").count("everyone")
    with pytest.raises(SegidxError, match="incident") as caught:
        account.count("bug")
    assert caught.value.reason == "INTERNAL"
    with pytest.raises(errors.InvalidArgument, match="too large"):
        account.count("x" * (17 * 1024 * 1024))


def test_a_closed_client_says_so(server: RunningServer) -> None:
    client = connect(server.address)
    account = client.account("default")
    client.close()
    with pytest.raises(SegidxError):
        account.count("everyone")


def test_many_threads_share_a_client(account: RemoteAccount) -> None:
    counts: list[int] = []

    def work() -> None:
        counts.extend(account.count('country = "PL"').count for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [2] * 160
