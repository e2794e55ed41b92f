"""What an account holds as plain values, as the model has them. Events are read from the rows of blocks and of the
log's layers, put together here and not by the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from crashkit.adapter import PADDING
from segidx.database import Account
from segidx.exec.fetch import fetch_contacts
from segidx.kernels.events import CONTACT, EVENT, LINE, TIME
from segidx.model.events import LINE as LINES
from segidx.model.events import ORDER, EventType
from segidx.model.schema import FieldType
from segidx.store.event_blocks import FIRST_PROPERTY, LAST_MONTH
from segidx.store.layout import RANGE_BITS, event_ids_table
from segidx.store.snapshot import Snapshot

_Place = tuple[int, int, int]  # contact, time, number of the event
_Row = tuple[int, list[Any], int]  # line (of an order: how many lines), properties, whether it counts


def contacts(account: Account) -> tuple[dict[str, dict[str, Any]], int]:
    """(contact id to its fields, numbers as text and tags as sorted lists; how many more are padding)."""
    with account._store.snapshot() as snapshot:
        ids = snapshot.ids.get(np.arange(snapshot.size)).to_pylist()
        ordinals = np.array([n for n, id_ in enumerate(ids) if not id_.startswith(PADDING)], np.uint32)
        found = fetch_contacts(snapshot, ordinals, snapshot.catalog.schema.fields)
    return {c.contact_id: {k: _plain(v) for k, v in c.fields.items()} for c in found}, len(ids) - len(found)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    return sorted(value) if isinstance(value, frozenset) else value


def half_merged(account: Account) -> bool:
    """Whether a merge was cut short that had folded some of the events."""
    with account._store.snapshot() as snapshot:
        return snapshot.events_merged is not None


def events(account: Account) -> tuple[dict[str, dict[str, Any]], dict[str, list[Any]]]:
    """(type to event id to the event, as the model has it; "type id" to [revision, whether it is taken back], of what
    has a revision or is taken back).

    Raises AssertionError for rows that contradict each other: an event that is there twice, a line without its order,
    one that is elsewhere than is noted of its id.
    """
    found: dict[str, dict[str, Any]] = {}
    revised: dict[str, list[Any]] = {}
    with account._store.snapshot() as snapshot:
        lines = _lines(snapshot)
        for type in snapshot.catalog.event_types:
            if type == LINES:
                continue
            rows = dict(_rows(snapshot, type))
            numbers = {number: place for place in rows for number in place[2:]}
            assert len(numbers) == len(rows), f"a {type.name} is there twice"
            table = snapshot.table(event_ids_table(type))
            ids = table.get(np.arange(len(table))).to_pylist()
            places = snapshot.event_places(type, np.arange(len(ids)))
            for number, (id_, contact, time, there, revision, taken_back) in enumerate(
                zip(ids, *(column.tolist() for column in places), strict=True)
            ):
                assert there == (number in numbers), f"{type.name} {id_} is noted as there: {there}"
                assert not (there and taken_back), f"{type.name} {id_} is there and taken back"
                if revision or taken_back:
                    revised[f"{type.name} {id_}"] = [revision, taken_back]
                if there:
                    place = numbers.pop(number)
                    assert place[:2] == (contact, time), f"{type.name} {id_} is at {place[:2]}, not {(contact, time)}"
                    event = _event(type, rows[place], lines.pop(place, []))
                    whose = {"contact": snapshot.ids.get_one(contact), "time": time}
                    found.setdefault(type.name, {})[id_] = {**whose, **event}
            assert not numbers, f"a {type.name} has no id"
        assert not lines, "lines are there without their order"
    return found, revised


def _event(type: EventType, row: _Row, lines: list[list[Any]]) -> dict[str, Any]:
    number, values, counts = row
    if type != ORDER:
        assert counts, f"a {type.name} does not count"
        assert not number, f"a {type.name} has lines"
        return {"properties": {p.name: v for p, v in zip(type.properties, values, strict=True) if v is not None}}
    assert number == len(lines), f"an order has {len(lines)} lines, and says {number}"
    return {**{p.name: v for p, v in zip(type.properties, values, strict=True)}, "lines": lines}


def _lines(snapshot: Snapshot) -> dict[_Place, list[list[Any]]]:
    found: dict[_Place, dict[int, list[Any]]] = {}
    for place, (line, properties, _) in _rows(snapshot, LINES):
        mine = found.setdefault(place, {})
        assert line not in mine, "a line is there twice"
        mine[line] = properties
    for mine in found.values():
        assert sorted(mine) == list(range(len(mine))), f"an order has the lines {sorted(mine)}"
    return {place: [mine[line] for line in sorted(mine)] for place, mine in found.items()}


def _rows(snapshot: Snapshot, type: EventType) -> Iterator[tuple[_Place, _Row]]:
    """Every row that no newer layer voids."""
    layers = snapshot.event_layers(type)
    for number in snapshot.event_ranges(type):
        first, end = number << RANGE_BITS, number + 1 << RANGE_BITS
        rows: list[tuple[_Place, _Row]] = []
        for block in snapshot.event_blocks(type, number, 0, LAST_MONTH):
            rows += _decoded(snapshot, type, block.decode(), first)
        for layer in layers[snapshot.first_event_layer(type, number) :]:
            some = slice(*layer.stale_of(first, end))
            void = set(zip(*(part[some].tolist() for part in layer.stale_places()), strict=True))
            rows = [row for row in rows if row[0] not in void]
            rows += _decoded(snapshot, type, layer.decode(*layer.rows_of(first, end)), 0)
        yield from rows


def _decoded(snapshot: Snapshot, type: EventType, cells: Any, first: int) -> Iterator[tuple[_Place, _Row]]:
    columns = []
    for index, each in enumerate(type.properties):
        values, present = (part.tolist() for part in cells[FIRST_PROPERTY + index])
        if each.type is FieldType.CATEGORY:
            table = snapshot.event_dictionary(type, index)
            values = [table.get_one(v) if p else None for v, p in zip(values, present, strict=True)]
        elif each.type is FieldType.BOOL:
            values = [bool(v) for v in values]
        columns.append([v if p else None for v, p in zip(values, present, strict=True)])
    contacts, times, numbers, lines, counts = (cells[at][0].tolist() for at in (CONTACT, TIME, EVENT, LINE, -1))
    for row, place in enumerate(zip((first + c for c in contacts), times, numbers, strict=True)):
        yield place, (lines[row], [column[row] for column in columns], counts[row])
