"""Event types: which there are, what may be declared, and what a declaration changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segidx.model.errors import (
    InvalidExpression,
    InvalidSchema,
    SchemaConflict,
    UnknownEventType,
    UnknownProperty,
)
from segidx.model.events import (
    BUILT_IN,
    FIRST_DECLARED,
    LINE,
    MAX_DECLARED_TYPES,
    MAX_PROPERTIES,
    ORDER,
    VISIT,
    EventProperty,
    EventType,
    EventTypes,
)
from segidx.model.expression import Did, Events, field
from segidx.model.schema import MAX_SCALE, FieldType
from segidx.model.syntax import RESERVED, format_expression, parse

GAME = EventType(
    "game",
    (
        EventProperty("level", FieldType.CATEGORY),
        EventProperty("won", FieldType.BOOL),
        EventProperty("points", FieldType.NUMBER, 2),
        EventProperty("spent", FieldType.NUMBER, None),
        EventProperty("ends_at", FieldType.TIMESTAMP),
    ),
)


def of(*properties: EventProperty, name: str = "game") -> EventType:
    return EventType(name, properties)


def test_what_every_account_has() -> None:
    types = EventTypes()
    assert [each.name for each in types] == ["order", "line", "visit", "message", "cart", "activity"]
    assert [each.number for each in types] == [1, 2, 3, 4, 5, 6]
    assert types.declared == ()
    assert types["visit"] is types.numbered(3) is VISIT
    assert "visit" in types
    assert types.numbered(FIRST_DECLARED) is None
    for each in BUILT_IN:
        assert len({p.name for p in each.properties}) == len(each.properties) <= MAX_PROPERTIES


def test_an_unknown_type_has_a_hint() -> None:
    types = EventTypes().extended([GAME])
    with pytest.raises(UnknownEventType, match=r"no event type 'gmae'.*did you mean.*'game'.*the types are order") as e:
        types["gmae"]
    assert (e.value.reason, e.value.metadata) == ("UNKNOWN_EVENT_TYPE", {"event": "gmae"})


def test_properties_by_name() -> None:
    assert ORDER.index("amount") == 2
    assert ORDER.property("paid") == EventProperty("paid", FieldType.BOOL)
    with pytest.raises(UnknownProperty, match="amount"):
        LINE.index("amuont")


def test_amounts_have_the_decimals_of_the_money() -> None:
    assert ORDER.property("amount").decimals(2) == 2
    assert LINE.property("quantity").decimals(2) == 3
    assert GAME.property("points").decimals(0) == 2
    assert GAME.property("spent").decimals(0) == 0


def test_declared_types_are_numbered_in_their_order() -> None:
    types = EventTypes().extended([GAME, of(name="quiz")])
    assert types.declared == (replace(GAME, number=FIRST_DECLARED), EventType("quiz", (), FIRST_DECLARED + 1))
    assert types["game"] is types.numbered(FIRST_DECLARED)
    more = types.extended([of(name="poll")])
    assert more["poll"].number == FIRST_DECLARED + 2
    assert more.declared[:2] == types.declared
    assert (more == types, EventTypes(types.declared) == types) == (False, True)
    assert hash(EventTypes(types.declared)) == hash(types)


def test_the_same_again_changes_nothing() -> None:
    types = EventTypes().extended([GAME])
    assert types.extended([GAME]) is types
    assert types.extended([replace(ORDER, number=0), GAME]) is types
    assert EventTypes().extended([GAME, GAME]) == types


@pytest.mark.parametrize("changed", [of(), of(*GAME.properties[::-1]), replace(ORDER, properties=())])
def test_another_meaning_is_a_conflict(changed: EventType) -> None:
    with pytest.raises(SchemaConflict, match="has other properties already") as caught:
        EventTypes().extended([GAME]).extended([changed])
    assert caught.value.metadata == {"event_type": changed.name}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        *(
            (of(name=name), "must be 1 to 64 of a-z, 0-9 and '_', beginning with a letter")
            for name in ("", "Game", "1st", "_a", "a b", "gąme", "a\n", "x" * 65, "where", "among", "during")
        ),
        (of(EventProperty("time", FieldType.BOOL)), "event type game: property 'time' must be"),
        *(
            (of(EventProperty(name, FieldType.NUMBER)), f"event type game: property '{name}' must be")
            for name in ("hour", "weekday", "month")
        ),
        (of(EventProperty("A", FieldType.BOOL)), "event type game: property 'A' must be"),
        (of(*[EventProperty("size", FieldType.BOOL)] * 2), "declares a property twice"),
        (
            of(*(EventProperty(f"p{i}", FieldType.BOOL) for i in range(MAX_PROPERTIES + 1))),
            f"has {MAX_PROPERTIES + 1} properties; {MAX_PROPERTIES} are the most",
        ),
        *(
            (of(EventProperty("size", type)), f"is a {type.value}; properties are category, bool, number, timestamp")
            for type in FieldType
            if type.value not in ("category", "bool", "number", "timestamp")
        ),
        *(
            (of(EventProperty("size", FieldType.NUMBER, scale)), f"scale is the decimals of a number, 0 to {MAX_SCALE}")
            for scale in (-1, MAX_SCALE + 1)
        ),
        (of(EventProperty("size", FieldType.CATEGORY, 2)), "scale is the decimals of a number"),
    ],
)
def test_types_that_cannot_be_declared(bad: EventType, message: str) -> None:
    types = EventTypes()
    with pytest.raises(InvalidSchema) as caught:
        types.extended([GAME, bad] if bad.name != "game" else [bad])
    assert message in caught.value.message
    assert types.declared == ()


def test_the_most_that_may_be_declared() -> None:
    widest = of(*(EventProperty(f"p{i}", FieldType.NUMBER, MAX_SCALE) for i in range(MAX_PROPERTIES)), name="x" * 64)
    types = EventTypes().extended([widest, *(of(name=f"t{i}") for i in range(MAX_DECLARED_TYPES - 1))])
    assert len(types.declared) == MAX_DECLARED_TYPES
    with pytest.raises(InvalidSchema, match=f"at most {MAX_DECLARED_TYPES} event types"):
        types.extended([of(name="one_more")])
    assert types.extended([widest]) is types


@pytest.mark.parametrize("name", ["interaction", "touch", "change", "tagging"])
def test_no_type_is_called_like_a_group_or_the_history(name: str) -> None:
    with pytest.raises(InvalidSchema, match="and not 'interaction', 'touch', 'change' or 'tagging'"):
        EventTypes().extended([of(name=name)])


@pytest.mark.parametrize("word", RESERVED)
def test_no_type_is_called_like_a_reserved_word(word: str) -> None:
    with pytest.raises(InvalidSchema, match="no word of the text syntax"):
        EventTypes().extended([of(name=word)])


@pytest.mark.parametrize("name", ["", "Order", "x" * 65, "a b", 3])
def test_an_expression_names_types_that_there_can_be(name: str) -> None:
    with pytest.raises(InvalidExpression, match="is no name of an event type"):
        Events(name)


def test_a_property_may_be_called_like_a_word_of_the_syntax_and_is_quoted_there() -> None:
    (declared,) = EventTypes().extended([of(EventProperty("first", FieldType.CATEGORY))]).declared
    assert declared.property("first").type is FieldType.CATEGORY
    wanted = Did(Events(declared.name, field("where") == "x"))
    assert format_expression(wanted) == 'did(game where `where` = "x")'
    assert parse(format_expression(wanted)) == wanted
