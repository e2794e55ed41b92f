"""A contact's timeline: what its items say, pages, tokens, bounds, and what of the store is opened for it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from segidx.database import Account, Database
from segidx.exec import timeline
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import (
    Cancelled,
    ContactNotFound,
    InvalidArgument,
    InvalidValue,
    SegidxError,
    UnknownEventType,
)
from segidx.model.events import Event, EventProperty, EventType, EventTypes, Order, OrderLine, Retraction
from segidx.model.results import ContactEvent, ContactEvents
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.model.windows import to_millis
from segidx.store.snapshot import Snapshot
from segidx.testing.places import quick_directory

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DOWNLOAD = EventType(
    "download",
    (
        EventProperty("file", FieldType.CATEGORY),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("pages", FieldType.NUMBER, 0),
        EventProperty("whole", FieldType.BOOL),
        EventProperty("published", FieldType.TIMESTAMP),
    ),
)
BARE = EventType("bare")


class Clock:
    def __init__(self) -> None:
        self.now = to_millis(NOW)

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(clock: Clock) -> Iterator[Account]:
    with quick_directory() as place, Database.open(place / "d", create=True, clock=clock) as database:
        opened = database.create_account(AccountInfo("shop", money_scale=3))
        opened.declare_event_types([DOWNLOAD, BARE])
        opened.update_schema(
            [Field("stage", FieldType.CATEGORY, tracked=True), Field("tags", FieldType.TAGS, tracked=True)]
        )
        yield opened


def at(**ago: int) -> datetime:
    return NOW - timedelta(**ago)


def bare(number: int, time: datetime, contact_id: str = "anna") -> Event:
    return Event("bare", f"b{number}", contact_id, time)


def ids(page: ContactEvents) -> list[str]:
    return [event.event_id for event in page.events]


def whole(account: Account, size: int, **question: Any) -> list[ContactEvent]:
    found: list[ContactEvent] = []
    token = ""
    while True:
        page = account.contact_events("anna", page_size=size, page_token=token, **question)
        found += page.events
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("merged", [False, True])
def test_what_items_say(account: Account, clock: Clock, merged: bool) -> None:
    clock.now = to_millis(at(days=3))
    account.upsert([("anna", {"stage": "lead"})])
    clock.now += 1000
    account.tag(["anna"], add=["vip"])
    clock.now += 1000
    account.upsert([("anna", {"stage": None})])
    clock.now += 1000
    account.tag(["anna"], remove=["vip"])
    clock.now = to_millis(NOW)
    lines = (
        OrderLine("tea", "69", None, Decimal(2), Decimal("1.5")),
        OrderLine(amount=Decimal("-0.125")),
    )
    published = datetime(1969, 7, 20, 20, 17, 40, 1000, tzinfo=UTC)
    properties = {"file": "a.pdf", "price": Decimal("9.99"), "pages": 12, "whole": False, "published": published}
    account.write_events(
        [
            Order("o1", "anna", at(days=1), source="email", paid=True, lines=lines, revision=7),
            Event("download", "d1", "anna", at(days=2), properties),
            Event("download", "d2", "anna", at(days=5), {"file": ""}),
            bare(1, at(hours=1)),
            bare(2, at(hours=2), "zoe"),
            bare(3, at(hours=3)),
            Retraction("bare", "b3"),
        ]
    )
    if merged:
        account.merge()
    found = account.contact_events("anna")
    tracked = at(days=3)
    second = timedelta(seconds=1)
    line = OrderLine("tea", "69", None, Decimal(2), Decimal("1.5"), Decimal(3))
    other = OrderLine(None, None, None, Decimal(1), None, Decimal("-0.125"))
    order = {"source": "email", "paid": True, "amount": Decimal("2.875")}
    assert list(found.events) == [
        ContactEvent("bare", "b1", at(hours=1), {}),
        ContactEvent("order", "o1", at(days=1), order, 7, (line, other)),
        ContactEvent("download", "d1", at(days=2), properties),
        ContactEvent("tagging", "", tracked + 3 * second, {"field": "tags", "tag": "vip", "added": False}),
        ContactEvent("change", "", tracked + 2 * second, {"field": "stage"}),
        ContactEvent("tagging", "", tracked + second, {"field": "tags", "tag": "vip", "added": True}),
        ContactEvent("change", "", tracked, {"field": "stage", "value": "lead"}),
        ContactEvent("download", "d2", at(days=5), {"file": ""}),
    ]
    assert str(found.events[2].properties["price"]) == "9.990"
    assert found.next_page_token == ""
    assert found.evaluation.generation == account.generation()
    assert found.evaluation.evaluated_at > NOW
    assert ids(account.contact_events("zoe")) == ["b2"]
    assert account.contact_events("anna", types=["change"]).events == (found.events[4], found.events[6])


def test_a_contact_without_events(account: Account) -> None:
    account.upsert([("anna", {})])
    assert account.contact_events("anna").events == ()
    account.write_events([bare(1, NOW, "zoe")])
    assert account.contact_events("anna").events == ()


def test_pages_of_one_instant(account: Account) -> None:
    """Of several types, in every size and both directions."""
    account.write_events([bare(i, NOW) for i in range(6)])
    account.merge()
    account.write_events([Event("visit", f"v{i}", "anna", NOW) for i in range(5)])
    account.write_events([Order(f"o{i}", "anna", NOW, lines=[OrderLine("p")] * i) for i in range(4)])
    wanted = whole(account, 1000)
    assert len({(event.type, event.event_id) for event in wanted}) == 15
    for size in range(1, 17):
        assert whole(account, size) == wanted
        assert whole(account, size, oldest_first=True) == wanted[::-1]


def test_pages_over_years(account: Account) -> None:
    """Events of single days, at the ends of months, in layers and in blocks."""
    ends = [datetime(year, month, 1, tzinfo=UTC) for year in (1970, 1999, 2024, 2025, 2026) for month in (1, 2, 3)]
    times = [*ends, *(end - timedelta(milliseconds=1) for end in ends[1:])]
    account.write_events([bare(i, time) for i, time in enumerate(times)])
    account.merge()
    account.write_events([Event("visit", f"v{i}", "anna", time) for i, time in enumerate(times[::3])])
    wanted = whole(account, 1000)
    assert [event.time for event in wanted] == sorted([*times, *times[::3]], reverse=True)
    for size in (1, 2, 3, 7, 38, 39, 40):
        assert whole(account, size) == wanted
        assert whole(account, size, oldest_first=True) == wanted[::-1]
    start, end = ends[3], ends[10]
    inside = [event for event in wanted if start <= event.time < end]
    assert 0 < len(inside) < len(wanted)
    for size in (1, 4, 100):
        assert whole(account, size, start_time=start, end_time=end) == inside


def test_what_is_written_between_pages_moves_no_other(account: Account, clock: Clock) -> None:
    account.write_events([bare(i, at(days=i)) for i in range(10)])
    first = account.contact_events("anna", page_size=4)
    account.write_events([bare(20, at(days=1)), bare(21, at(minutes=1)), Retraction("bare", "b5")])
    account.merge()
    clock.now += 86_400_000
    account.write_events([bare(22, at(days=6, minutes=1))])
    rest = account.contact_events("anna", page_size=100, page_token=first.next_page_token)
    assert ids(first) == ["b0", "b1", "b2", "b3"]
    assert ids(rest) == ["b4", "b6", "b22", "b7", "b8", "b9"]
    account.write_events([Retraction("bare", "b3")])  # the one that the token names
    assert account.contact_events("anna", page_token=first.next_page_token).events == rest.events
    older = account.contact_events("anna", page_size=3, oldest_first=True)
    account.write_events([bare(23, at(days=20)), bare(24, at(days=7, minutes=-1))])
    newer = account.contact_events("anna", page_size=2, oldest_first=True, page_token=older.next_page_token)
    assert (ids(older), ids(newer)) == (["b9", "b8", "b7"], ["b24", "b22"])


def test_events_ahead_of_the_clock_are_seen_as_soon_as_they_are_accepted(account: Account) -> None:
    account.write_events([bare(1, NOW + timedelta(hours=23)), bare(2, NOW)])
    found = account.contact_events("anna")
    assert ids(found) == ["b1", "b2"]
    assert all(event.time < found.evaluation.evaluated_at for event in found.events)


def test_a_token_is_bound_to_its_question(account: Account) -> None:
    account.write_events([bare(i, at(days=i)) for i in range(6)])
    account.write_events([bare(6, NOW, "zoe")])
    question: dict[str, Any] = {
        "types": ["bare", "visit"],
        "start_time": at(days=30),
        "end_time": NOW + timedelta(days=1),
        "oldest_first": False,
    }
    token = account.contact_events("anna", page_size=2, **question).next_page_token
    same = {**question, "types": ["visit", "bare", "visit"], "start_time": at(days=30).astimezone()}
    assert ids(account.contact_events("anna", page_size=3, page_token=token, **same)) == ["b2", "b3", "b4"]
    for other in (
        {"types": ["bare"]},
        {"types": []},
        {"start_time": at(days=29)},
        {"start_time": None},
        {"end_time": NOW},
        {"oldest_first": True},
    ):
        with pytest.raises(InvalidArgument, match="page token"):
            account.contact_events("anna", page_token=token, **{**question, **other})
    with pytest.raises(InvalidArgument, match="page token"):
        account.contact_events("zoe", page_token=token, **question)


def test_a_token_of_another_account(account: Account, tmp_path: Path) -> None:
    account.write_events([bare(i, at(days=i)) for i in range(3)])
    token = account.contact_events("anna", page_size=1).next_page_token
    with Database.open(tmp_path / "d", create=True, clock=account.now) as database:
        other = database.create_account(AccountInfo("shop"))
        other.declare_event_types([DOWNLOAD, BARE])
        other.write_events([bare(i, at(days=i)) for i in range(3)])
        with pytest.raises(InvalidArgument, match="page token"):
            other.contact_events("anna", page_token=token)


def test_damaged_tokens(account: Account) -> None:
    account.write_events([bare(i, at(days=i)) for i in range(3)])
    token = account.contact_events("anna", page_size=1).next_page_token
    data = base64.urlsafe_b64decode(token)
    damaged = [
        base64.urlsafe_b64encode(data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1 :]).decode()
        for byte in range(len(data))
        for bit in range(8)
    ]
    damaged += [token[:cut] for cut in range(1, len(token))]
    damaged += [token + "AAAA", "garbage!", "é", "\ud800", "Z2FyYmFnZQ", " " + token, token * 2]
    for bad in damaged:
        with pytest.raises(InvalidArgument, match="page token") as caught:
            account.contact_events("anna", page_token=bad)
        assert caught.value.metadata == {"argument": "page_token"}
    assert ids(account.contact_events("anna", page_token=token)) == ["b1", "b2"]


def test_what_is_refused(account: Account) -> None:
    account.write_events([bare(1, NOW)])
    cases: list[tuple[type[SegidxError], str, dict[str, Any]]] = [
        (UnknownEventType, "did you mean 'bare'", {"types": ["bear"]}),
        (UnknownEventType, "change, tagging", {"types": ["interaction"]}),
        (InvalidArgument, "ask for 'order'", {"types": ["order", "line"]}),
        (InvalidArgument, "below 0", {"page_size": -1}),
        (InvalidArgument, "later than start_time", {"start_time": NOW, "end_time": NOW}),
        (InvalidValue, "no time zone", {"start_time": datetime(2026, 1, 1)}),
        (InvalidValue, "finer than a millisecond", {"end_time": NOW.replace(microsecond=1)}),
        (InvalidValue, "date is not an instant", {"end_time": date(2026, 1, 1)}),
    ]
    for error, words, arguments in cases:
        with pytest.raises(error, match=words):
            account.contact_events("anna", **arguments)
    with pytest.raises(ContactNotFound):
        account.contact_events("nobody")
    stop = Stop(0)
    stop.cancel()
    with pytest.raises(Cancelled):
        account.contact_events("anna", stop=stop)


def test_sizes_of_pages(account: Account) -> None:
    account.write_events([bare(i, NOW) for i in range(1100)])
    assert len(account.contact_events("anna").events) == timeline.DEFAULT_PAGE == 100
    assert len(account.contact_events("anna", page_size=5000).events) == timeline.MAX_PAGE == 1000
    assert len(whole(account, 0)) == 1100


def test_large_events_make_shorter_pages(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.write_events(
        [Order(f"o{i}", "anna", at(days=i), lines=[OrderLine("p" * 100)] * (i * 7 % 11)) for i in range(30)]
    )
    wanted = whole(account, 1000)
    assert len(wanted) == 30
    for name, limits in (("PAGE_ROWS", (1, 2, 10, 25)), ("PAGE_BYTES", (1, 300, 1000, 4000))):
        lengths = []
        for limit in limits:
            with monkeypatch.context() as patched:
                patched.setattr(timeline, name, limit)
                lengths.append(len(account.contact_events("anna", page_size=1000).events))
                assert whole(account, 1000) == wanted
                assert whole(account, 3, oldest_first=True) == wanted[::-1]
        if name == "PAGE_ROWS":  # of 1, 8, 4, 11 and 7 rows are the first orders
            assert lengths == [1, 1, 2, 4]
        assert lengths == sorted(lengths)
        assert lengths[0] == 1
        assert 1 < lengths[-1] < 30


def test_lines_of_many_orders_of_one_instant(account: Account) -> None:
    account.write_events(
        [Order(f"o{i}", "anna", NOW, lines=[OrderLine(f"{i}.{j}") for j in range(40)]) for i in range(30)]
    )
    account.merge()
    for event in whole(account, 7):
        assert [line.product for line in event.lines] == [f"{event.event_id[1:]}.{j}" for j in range(40)]


def test_no_more_months_are_opened_than_a_page_needs(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.write_events([bare(i, at(days=30 * i)) for i in range(60)])
    account.merge()
    asked: list[tuple[int, int]] = []
    between = Snapshot.event_months

    def watched(self: Snapshot, type: EventType, first: int, last: int, *more: Any) -> Any:
        asked.append((first, last))
        return between(self, type, first, last, *more)

    monkeypatch.setattr(Snapshot, "event_months", watched)
    july = 56 * 12 + 6
    first = account.contact_events("anna", page_size=2)
    assert ids(first) == ["b0", "b1"]
    assert min(low for low, _ in asked) == july - 2
    asked.clear()
    second = account.contact_events("anna", page_size=1, page_token=first.next_page_token)
    assert ids(second) == ["b2"]
    assert july - 5 <= min(low for low, _ in asked) <= max(high for _, high in asked) <= july - 1
    asked.clear()
    old = account.contact_events("anna", page_size=1, oldest_first=True, start_time=at(days=30 * 40))
    assert ids(old) == ["b40"]
    assert max(high for _, high in asked) <= july - 36


def test_windows_cover_all_time_once() -> None:
    start, end = to_millis(datetime(2020, 1, 15, tzinfo=UTC)), to_millis(datetime(2026, 3, 1, tzinfo=UTC))
    for oldest_first in (False, True):
        found = list(timeline._windows(start, end, oldest_first))
        inorder = found if oldest_first else found[::-1]
        assert inorder[0][0] == start
        assert inorder[-1][1] == end
        assert all(left[1] == right[0] for left, right in pairwise(inorder))
        assert 5 < len(found) < 9
    assert list(timeline._windows(end, end, False)) == list(timeline._windows(end, start, True)) == []


def test_every_type_that_an_account_has_is_in_its_timelines(account: Account) -> None:
    shown = {each.name for each in EventTypes(account.event_types.declared)} - {"line", "order"}
    account.write_events([Event(name, "x", "anna", NOW) for name in sorted(shown)])
    account.write_events([Order("x", "anna", NOW)])
    assert {event.type for event in whole(account, 4)} == shown | {"order"}
