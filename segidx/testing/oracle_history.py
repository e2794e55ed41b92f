"""What the oracle remembers of tracked fields, and what `became` and `tagged` say of it. It must not import anything
but the model and the oracle's calendar. The readings chosen are in the list of `oracle`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from segidx.model.expression import Became, Tagged
from segidx.model.results import FieldData
from segidx.model.schema import FieldType, Schema
from segidx.testing import oracle_time


@dataclass(frozen=True, slots=True)
class Change:
    """A field got another value, None where it was cleared; or a tag was given (`held`) or taken."""

    time: int
    field: str
    value: FieldData | None
    held: bool = True


def changes_between(
    schema: Schema, before: Mapping[str, FieldData], after: Mapping[str, FieldData], time: int
) -> Iterator[Change]:
    """What differs of tracked fields between two states of a contact."""
    for field in schema:
        if not field.tracked:
            continue
        old, new = before.get(field.name), after.get(field.name)
        if field.type is FieldType.TAGS:
            for tag in _tags(old) ^ _tags(new):
                yield Change(time, field.name, tag, tag in _tags(new))
        elif old != new:
            yield Change(time, field.name, new)


def _tags(value: FieldData | None) -> frozenset[str]:
    assert value is None or isinstance(value, frozenset)
    return value or frozenset()


def has_become(node: Became, changes: Sequence[Change], at: int, local: oracle_time.LocalTime) -> bool:
    """Whether the field got the value in the window, by an instant."""
    window = oracle_time.window_of_instants(node.window, at, local)
    return any(
        change.field == node.field
        and change.value == node.value
        and change.time < at
        and oracle_time.within(change.time, window)
        for change in changes
    )


def is_tagged(node: Tagged, changes: Sequence[Change], at: int, local: oracle_time.LocalTime) -> bool:
    """Whether the last that became of the tag, by an instant, is that it was given, and in the window."""
    window = oracle_time.window_of_instants(node.window, at, local)
    mine = [c for c in changes if (c.field, c.value) == (node.field, node.tag) and c.time < at]
    return bool(mine) and mine[-1].held and oracle_time.within(mine[-1].time, window)
