"""Groups of events: several types under one name, for conditions on whether a contact did anything, or we did anything
to it. Imports events, expressions and errors of the model only.

Every account has two: `interaction`, what a contact does, and `touch`, what is done to a contact, on all channels. It
may say anew which events each has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from segidx.model.errors import InvalidArgument, InvalidExpression, SegidxError
from segidx.model.expression import AggregateFunction, Did, Events, check, field
from segidx.model.syntax import format_expression, parse
from segidx.model.windows import AllTime

MAX_MEMBERS = 64


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Events of some types under one name: the members, none with a window. An event that two members select counts
    twice; members of one type should select different ones."""

    name: str
    members: tuple[Events, ...]


# An open says little of interest, since machines open messages too: it is not among them.
INTERACTION = EventGroup(
    "interaction", (Events("visit"), Events("order"), Events("cart"), Events("message", field("kind") == "clicked"))
)
TOUCH = EventGroup("touch", (Events("message", field("kind") == "sent"), Events("activity", field("kind") == "call")))
GROUPS = {group.name: group for group in (INTERACTION, TOUCH)}
# What is asked of a group: all that is made of the times of events alone. The other functions are made of a property,
# and a group's types have different ones.
OF_GROUPS = tuple(function for function in AggregateFunction if not function.of_property)


def event_group(name: str, members: Iterable[Events]) -> EventGroup:
    """The group of that name with other members. Raises InvalidArgument for one that cannot be, and what `check` raises
    for a filter that cannot be or is unfinished; whether its types and properties are there, the account says."""
    if name not in GROUPS:
        raise InvalidArgument(f"there is no event group {name!r}; the groups are {' and '.join(GROUPS)}", group=name)
    given = tuple(members)
    if not 1 <= len(given) <= MAX_MEMBERS:
        raise InvalidArgument(f"group {name!r} has 1 to {MAX_MEMBERS} members, not {len(given)}", group=name)
    for each in given:
        if not isinstance(each, Events):
            raise InvalidArgument(
                f"group {name!r}: a member is an Events or its text, not {type(each).__name__}", group=name
            )
        if not isinstance(each.window, AllTime):
            raise InvalidArgument(
                f"group {name!r}: its member {each.type!r} has a window; windows stand where the group is asked for",
                group=name,
            )
        check(Did(each))
        if each.type in GROUPS:
            raise InvalidArgument(f"group {name!r}: {each.type!r} is a group; name its types", group=name)
    return EventGroup(name, given)


def check_asked(group: EventGroup, function: AggregateFunction) -> None:
    """Whether that may be made of a group. Raises InvalidExpression."""
    if function not in OF_GROUPS:
        known = ", ".join(each.value for each in OF_GROUPS)
        raise InvalidExpression(
            f"{group.name!r} is a group of event types, which have different properties: {function.value} is made of a"
            f" property of one type; of groups there are {known}"
        )


def member(text: str) -> Events:
    """The member that is written as in `did(...)`: `message where kind = "clicked"`. Raises InvalidArgument."""
    try:
        node = parse(f"did({text}\n)")
    except SegidxError as error:
        raise InvalidArgument(
            f"{text!r} is no member of an event group, such as 'visit' or 'message where kind = \"clicked\"':"
            f" {error.message}",
            member=text,
        ) from None
    if not isinstance(node, Did):
        raise InvalidArgument(f"{text!r} is no member of an event group, such as 'visit'", member=text)
    return node.events


def member_text(events: Events) -> str:
    """A member as `member` reads it."""
    return format_expression(Did(events)).removeprefix("did(").removesuffix(")")
