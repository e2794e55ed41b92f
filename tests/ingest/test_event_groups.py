"""Groups of event types: what may be one, what is asked of it, and that an account keeps what it was told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.errors import (
    CorruptData,
    InvalidArgument,
    InvalidExpression,
    ReadOnly,
    UnfinishedExpression,
    UnknownEventType,
    UnknownProperty,
)
from segidx.model.event_groups import GROUPS, INTERACTION, TOUCH, EventGroup, member, member_text
from segidx.model.events import Event, Order, OrderLine
from segidx.model.expression import Events, events, field
from segidx.store.layout import DB_META, META_EVENT_GROUPS

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def days_ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


def opened(place: Path, *, read_only: bool = False) -> Database:
    def clock() -> int:
        return int(NOW.timestamp() * 1000)

    return Database.open(place / "data", create=not read_only, read_only=read_only, clock=clock)


def fill(account: Account) -> None:
    account.write_events(
        [
            Event("visit", "v1", "ann", days_ago(3)),
            Event("visit", "v2", "ann", days_ago(100)),
            Event("message", "m1", "ann", days_ago(90), {"kind": "sent"}),
            Event("message", "m2", "bob", days_ago(50), {"kind": "opened"}),
            Event("message", "m3", "bob", days_ago(40), {"kind": "clicked"}),
            Event("activity", "a1", "bob", days_ago(2), {"kind": "note"}),
            Event("activity", "a2", "cid", days_ago(1), {"kind": "call"}),
            Order("o1", "cid", days_ago(70), lines=[OrderLine("P")]),
            Order("o2", "dan", days_ago(5), lines=[OrderLine("P", quantity=-1)]),  # does not count
        ]
    )


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with opened(tmp_path) as database:
        account = database.account()
        fill(account)
        yield account


ASKED = [
    # question, contacts of ann bob cid dan
    ("did(interaction)", "ann bob cid"),
    ("never(interaction)", "dan"),
    ("never(interaction during last 60 days)", "cid dan"),
    ("did(touch)", "ann cid"),
    ("never(touch during last 60 days)", "ann bob dan"),
    ("count(interaction) >= 2", "ann"),
    ("count(interaction) = 1", "bob cid"),
    ("count(interaction) < 1", "dan"),
    ("count(interaction) + count(touch) = 2", "cid"),
    ("last(interaction).time before 2026-11-01", "bob cid"),
    ("first(interaction).time before 2026-09-01", "ann"),
    ("first(interaction).time < last(interaction).time", "ann"),
    ("days_since(last(interaction)) >= 40", "bob cid"),
    ("days_since(last(touch)) < 40", "cid"),
    ("did(interaction during last 10 days) and never(order)", "ann"),
]


def held(account: Account, text: str) -> set[str]:
    return {contact.contact_id for contact in account.preview(text, limit=100).contacts}


@pytest.mark.parametrize(("text", "wanted"), ASKED)
@pytest.mark.parametrize("merged", [False, True])
def test_events_of_all_members_are_looked_at(account: Account, text: str, wanted: str, merged: bool) -> None:
    if merged:
        account.merge()
    assert held(account, text) == set(wanted.split())
    assert account.count(text).count == len(wanted.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sum(touch.amount) > 1", "sum is made of a property of one type; of groups there are count, first, last"),
        ("distinct(touch.kind) > 1", "distinct is made of a property of one type"),
        ('favourite(touch.kind) = "a"', "favourite is made of a property of one type"),
    ],
)
def test_what_goes_with_one_type_only(account: Account, text: str, message: str) -> None:
    with pytest.raises(InvalidExpression, match=message):
        account.count(text)


def test_an_account_says_which_events_a_group_has(tmp_path: Path) -> None:
    opens = events("message").where(field("kind") == "opened").events
    with opened(tmp_path) as database:
        account = database.account()
        fill(account)
        generation = account.stats().generation
        said = account.set_event_group("interaction", ["cart", opens])
        assert said.members == (Events("cart"), opens)
        assert held(account, "did(interaction)") == {"bob"}
        assert held(account, "did(touch)") == {"ann", "cid"}
        assert account.event_groups == {"interaction": said, "touch": TOUCH}
        assert account.set_event_group("touch", ["order", "order"]).members == (Events("order"),) * 2
        assert held(account, "count(touch) = 2") == {"cid"}, "an event that two members select counts twice"
        assert account.stats().generation == generation
        assert list(account.verify()) == []
    with opened(tmp_path, read_only=True) as database:
        account = database.account()
        assert account.event_groups["interaction"] == said
        assert account.count("did(interaction)").count == 1
        with pytest.raises(ReadOnly):
            account.set_event_group("touch", ["visit"])


@pytest.mark.parametrize(
    ("name", "members", "error", "message"),
    [
        ("visit", ["visit"], InvalidArgument, "no event group 'visit'; the groups are interaction and touch"),
        ("touch", [], InvalidArgument, "1 to 64 members, not 0"),
        ("touch", ["visit"] * 65, InvalidArgument, "1 to 64 members, not 65"),
        ("touch", ["visit during last 3 days"], InvalidArgument, "windows stand where the group is asked for"),
        ("touch", ["visit", "interaction"], InvalidArgument, "'interaction' is a group; name its types"),
        ("touch", ["visits"], UnknownEventType, "did you mean 'visit'"),
        ("touch", ["visit where urls is set"], UnknownProperty, "did you mean 'url'"),
        ("touch", ["visit where ..."], UnfinishedExpression, "unfinished"),
        ("touch", ["visit) or did(order"], InvalidArgument, "is no member of an event group"),
        ("touch", ["sum(order.amount)"], InvalidArgument, "is no member of an event group"),
        ("touch", [""], InvalidArgument, "is no member of an event group"),
        ("touch", [events("visit")], InvalidArgument, "a member is an Events or its text, not EventsBuilder"),
        ("touch", ["visit", "visit where urls is set"], UnknownProperty, r"event_group.members\[1\].where.is_set"),
    ],
)
def test_groups_that_cannot_be(
    account: Account, name: str, members: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        account.set_event_group(name, members)
    assert account.event_groups == GROUPS


@pytest.mark.parametrize(
    "text",
    [
        "visit",
        'message where kind = "clicked"',
        'visit where url like "/a)/**" or dwell >= 60',
        "order where paid = true",
    ],
)
def test_members_are_written_as_in_did(text: str) -> None:
    assert member_text(member(text)) == text


def test_a_comment_ends_no_parenthesis() -> None:
    assert member("visit # all of them") == Events("visit")


@pytest.mark.parametrize(
    "stored",
    [
        b'{"touch": ["visit during last 3 days"]}',
        b'{"touch": ["visit where ..."]}',
        b'{"other": ["visit"]}',
        b"[]",
        b"{",
    ],
)
def test_damaged_groups_are_named(tmp_path: Path, stored: bytes) -> None:
    with opened(tmp_path) as database, database.account()._store.write() as write:
        write.txn.put(META_EVENT_GROUPS, stored, db=write.dbs[DB_META])
    with opened(tmp_path, read_only=True) as database, pytest.raises(CorruptData, match="cannot be read"):
        database.account().count("did(touch)")


def test_the_default_groups() -> None:
    assert GROUPS == {"interaction": INTERACTION, "touch": TOUCH}
    assert isinstance(INTERACTION, EventGroup)
    assert [member_text(each) for each in INTERACTION.members] == [
        "visit",
        "order",
        "cart",
        'message where kind = "clicked"',
    ]
    assert [member_text(each) for each in TOUCH.members] == [
        'message where kind = "sent"',
        'activity where kind = "call"',
    ]
