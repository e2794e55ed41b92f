"""Groups of events survive the wire, also with filters as deep as they may be; what cannot is refused as a whole."""

from __future__ import annotations

import pytest

from segidx.model.errors import ExpressionTooDeep, InvalidArgument, InvalidExpression, UnfinishedExpression
from segidx.model.event_groups import INTERACTION, MAX_MEMBERS, TOUCH, EventGroup, event_group
from segidx.model.expression import MAX_DEPTH, And, Did, Events, Expression, Not, Unfinished, check, field
from segidx.model.windows import AllTime, Direction, Rolling, Unit
from segidx.v1 import schema_pb2 as pb
from segidx.wire.decode import decode
from segidx.wire.event_groups import read_event_group, write_event_group


def sent(group: EventGroup) -> pb.EventGroup:
    response = pb.SetEventGroupResponse()
    write_event_group(group, response.event_group)
    return decode(pb.SetEventGroupResponse, response.SerializeToString()).event_group


def of_depth(levels: int) -> Expression:
    node: Expression = field("kind") == "clicked"
    for level in range(levels - 1):
        node = And((node,)) if level % 2 else Not(node)
    return node


@pytest.mark.parametrize(
    "group",
    [
        INTERACTION,
        TOUCH,
        EventGroup("interaction", (Events("visit"),) * MAX_MEMBERS),
        # What is refused by the account, which is asked.
        EventGroup("", ()),
        EventGroup("no_such_group", (Events("no_such_type", field("no_property").is_set()), Events("touch"))),
        EventGroup("touch", (Events("visit", window=Rolling(Direction.LAST, 3, Unit.DAY)),)),
        EventGroup("touch", (Events("visit", Unfinished()), Events("visit", And(())))),
    ],
    ids=lambda group: group.name,
)
def test_groups_survive(group: EventGroup) -> None:
    assert read_event_group(sent(group)) == group


def test_a_window_of_all_time_is_left_out() -> None:
    (member,) = sent(EventGroup("touch", (Events("visit", window=AllTime()),))).members
    assert not member.HasField("window")


def test_filters_are_as_deep_as_in_a_condition() -> None:
    deepest = EventGroup("touch", (Events("visit"), Events("message", of_depth(MAX_DEPTH - 1))))
    event_group(deepest.name, deepest.members)
    assert read_event_group(sent(deepest)) == deepest
    deeper = Events("message", of_depth(MAX_DEPTH))
    with pytest.raises(ExpressionTooDeep) as in_process:
        check(Did(deeper))
    with pytest.raises(ExpressionTooDeep) as written:
        sent(EventGroup("touch", (deeper,)))
    assert (written.value.message, written.value.path) == (in_process.value.message, in_process.value.path)
    # The field `negation` of an expression, 3, around and around.
    where = b""
    for _ in range(MAX_DEPTH):
        where = _field(3, where)
    message = pb.EventGroup.FromString(_field(2, _field(4, b"message") + _field(2, where)))
    with pytest.raises(ExpressionTooDeep):
        read_event_group(message)


def _field(number: int, body: bytes) -> bytes:
    length = len(body)
    size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + size + body


def test_what_is_unfinished_is_named() -> None:
    for member in ({}, {"where": {"is_set": {"field": "url"}}}, {"type": "visit", "window": {}}):
        message = pb.EventGroup(name="touch", members=[{"type": "order"}, member])  # type: ignore[list-item]
        with pytest.raises(InvalidArgument, match=r"'touch': members\[1\] has no type, or a window") as caught:
            read_event_group(message)
        assert caught.value.metadata == {"group": "touch"}
    message = pb.EventGroup(name="touch", members=[{"type": "visit", "where": {}}])  # type: ignore[list-item]
    read = read_event_group(message)
    assert read == EventGroup("touch", (Events("visit", Unfinished()),))
    with pytest.raises(UnfinishedExpression):
        event_group(read.name, read.members)


def test_names_of_no_type_are_refused() -> None:
    with pytest.raises(InvalidExpression, match="is no name of an event type"):
        read_event_group(pb.EventGroup(name="touch", members=[{"type": "A visit"}]))  # type: ignore[list-item]


def test_a_filter_of_a_newer_client_is_refused() -> None:
    message = pb.EventGroup.FromString(_field(2, _field(4, b"visit") + _field(2, bytes([0xA2, 0x06, 0]))))
    with pytest.raises(InvalidExpression, match="the client is newer than the server") as caught:
        read_event_group(message)
    assert caught.value.path == "expression.did.events.where"


@pytest.mark.parametrize(
    "wrong",
    [
        EventGroup("\ud800", ()),
        EventGroup(7, ()),  # type: ignore[arg-type]
        EventGroup("touch", ("visit",)),  # type: ignore[arg-type]
        EventGroup("touch", (Events("visit", field("\ud800").is_set()),)),
        EventGroup("touch", (Events("visit", 7),)),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent_is_refused(wrong: EventGroup) -> None:
    with pytest.raises((InvalidArgument, InvalidExpression), match="be sent"):
        sent(wrong)
