"""Events in the log: what the layers and places of one record say, and how far a merge of them has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segidx.kernels.deltas import ColumnChanges
from segidx.kernels.events import CONTACT, EVENT, TIME, EventLayer, encode_layer
from segidx.model.errors import CorruptData
from segidx.model.events import HISTORY, ORDER, EventType
from segidx.model.events import LINE as LINES
from segidx.model.schema import FieldType
from segidx.store.catalog import read_events_merged
from segidx.store.event_blocks import FIRST_PROPERTY, block_columns
from segidx.store.event_groups import Cells
from segidx.store.layout import DB_META, IDS_TABLE, PLACE_CONTACT, PLACE_REVISION, event_ids_table, event_table
from segidx.store.log import Record
from segidx.store.verify.context import Context


class Ends(NamedTuple):
    """How many strings each table has, record by record."""

    c: Context
    given: dict[int, int]  # by the log

    def of(self, table: int) -> int:
        return self.given.get(table, self.c.base_size(table))


def contacts_of(record: Record) -> list[npt.NDArray[np.uint32]]:
    """The contacts that gain or lose events."""
    layers = [EventLayer(data) for data in record.events.values()]
    rows = [layer.decode()[CONTACT][0].astype(np.uint32) for layer in layers]
    return [*rows, *(layer.stale_places()[0] for layer in layers)]


def places(c: Context, column: ColumnChanges, ends: Ends) -> Iterator[str]:
    """What is wrong with a record's values of a column by event number, as the rest of a sentence."""
    type, place = c.event_columns[column.field]
    given = ends.of(event_ids_table(type))
    if len(column.ordinals) and int(column.ordinals[-1]) >= given:
        yield f"has a value of {type.name} {int(column.ordinals[-1])}, and only {given} ids were given out"
    values = column.values[column.present]
    if place == PLACE_CONTACT and len(values) and not 0 <= int(values.min()) <= int(values.max()) < ends.of(IDS_TABLE):
        yield f"has values of the {c.column(column.field)} outside of the {ends.of(IDS_TABLE)} ordinals given out"
    if place == PLACE_REVISION and len(values) and int(values.min()) < 1:
        yield f"has values of the {c.column(column.field)} below 1"


def layers(c: Context, record: Record, ends: Ends) -> Iterator[str]:
    """What is wrong with the layers of a record, as the rest of a sentence."""
    opened: dict[int, EventLayer] = {}
    for number, data in record.events.items():
        c.tick()
        type = c.catalog.event_types.numbered(number)
        layer = EventLayer(data)
        if type is None:
            yield f"has events of type {number}, and there is no such type"
        elif layer.columns != block_columns(type):
            yield f"has {type.name} events of {layer.columns} columns instead of {block_columns(type)}"
        else:
            opened[number] = layer
            for problem in _layer(type, layer, ends):
                yield f"has {type.name} events that {problem}"
    if LINES.number in opened:
        yield from _lines(opened)


def _layer(type: EventType, layer: EventLayer, ends: Ends) -> Iterator[str]:
    cells = layer.decode()
    contacts, times, events = layer.stale_places()
    limits = [("are of ordinal", np.concatenate([contacts, cells[CONTACT][0]]), ends.of(IDS_TABLE))]
    if type in HISTORY:  # without ids, and only more
        if len(events):
            yield f"void {len(events)} others"
    else:
        given = ends.of(event_ids_table(ORDER if type == LINES else type))
        limits.append(("have the number", np.concatenate([events, cells[EVENT][0]]), given))
    yield from lacking(type, cells)
    for of, listed, limit in limits:
        if len(listed) and int(listed.max()) >= limit:
            yield f"{of} {int(listed.max())}, and only {limit} were given out"
    for index, each in enumerate(type.properties):
        values, present = cells[FIRST_PROPERTY + index]
        if each.type in (FieldType.CATEGORY, FieldType.BOOL):
            limit = 2 if each.type is FieldType.BOOL else ends.of(event_table(type, index))
            values = values[present != 0]
            if len(values) and not 0 <= int(values.min()) <= int(values.max()) < limit:
                yield f"have values of {each.name!r} outside of its {limit} codes"
    if encode_layer(cells, contacts, times, events) != bytes(layer.data):
        yield "are not in their shortest form"


def lacking(type: EventType, cells: Sequence[Cells]) -> Iterator[str]:
    """Properties that events of history always have, and do not."""
    if type in HISTORY:
        for index, each in enumerate(type.properties):
            if each.name != "value" and not bool(cells[FIRST_PROPERTY + index][1].all()):
                yield f"lack {each.name!r}"


def _lines(opened: Mapping[int, EventLayer]) -> Iterator[str]:
    """Each line comes with its order."""
    lines = _keys(opened[LINES.number])
    orders = _keys(opened[ORDER.number]) if ORDER.number in opened else lines[:, :0]
    places, at = np.unique(np.concatenate([orders, lines], axis=1), axis=1, return_inverse=True)
    with_order = np.zeros(places.shape[1], np.bool_)
    with_order[at.reshape(-1)[: orders.shape[1]]] = True
    alone = np.flatnonzero(~with_order)
    if len(alone):
        yield f"has lines of order {places[2, alone[0]]} without the order"


def _keys(layer: EventLayer) -> npt.NDArray[np.int64]:
    """Contact, time and event of the rows, int64[3, n]."""
    cells = layer.decode()
    return np.stack([cells[at][0] for at in (CONTACT, TIME, EVENT)])


# --- merging ---


def check_merging(c: Context, segments: Mapping[int, int]) -> Iterator[str]:
    """How far a merge has folded events, against the log: `segments` tells the segment of each generation of it."""
    try:
        merged = read_events_merged(c.txn, c.dbs[DB_META])
    except CorruptData as error:
        yield error.message
        return
    if merged is None:
        return
    c.tick()
    what = f"events are merged in part through generation {merged.generation}"
    if not c.state.merged < merged.generation <= c.state.generation:
        yield f"{what}, and the log has those from {c.state.merged + 1} to {c.state.generation}"
    elif any(g > merged.generation >= segment for g, segment in segments.items()):
        yield f"{what}, at which no segment of the log ends"
    if c.catalog.event_types.numbered(merged.type) is None:
        yield f"{what}, up to type {merged.type}, and there is no such type"
