"""Files of events, as imports read them: Parquet, Arrow and CSV of the events of one type. It must import nothing but
`segidx/model`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from segidx.model.events import Event, EventProperty, EventType
from segidx.model.schema import FieldType

_INSTANT = pa.timestamp("ms", "UTC")


def write_events_file(path: Path, type: EventType, events: Sequence[Event], money_scale: int) -> None:
    """Write the events in the format that the path's ending names. Text has no strings that are empty."""
    columns = {
        "event_id": pa.array([event.event_id for event in events], pa.string()),
        "contact_id": pa.array([event.contact_id for event in events], pa.string()),
        "time": pa.array([event.time for event in events], _INSTANT),
    }
    for each in type.properties:
        columns[each.name] = _column(each, [event.properties.get(each.name) for event in events], money_scale)
    table = pa.table(columns)
    match path.suffix:
        case ".parquet":
            pa.parquet.write_table(table, path)
        case ".arrow":
            with pa.ipc.new_file(path, table.schema) as file:
                file.write_table(table)
        case ".csv":
            _write_text(path, type, events)


def _column(declared: EventProperty, values: Sequence[object], money_scale: int) -> pa.Array:
    match declared.type:
        case FieldType.BOOL:
            return pa.array(values, pa.bool_())
        case FieldType.TIMESTAMP:
            return pa.array(values, _INSTANT)
        case FieldType.NUMBER:
            numbers = [None if value is None else Decimal(value) for value in values]  # type: ignore[arg-type]
            return pa.array(numbers, pa.decimal128(34, declared.decimals(money_scale)))
    return pa.array(values, pa.string())


def _write_text(path: Path, type: EventType, events: Sequence[Event]) -> None:
    def text(value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)

    names = [each.name for each in type.properties]
    rows = [["event_id", "contact_id", "time", *names]]
    rows += [[e.event_id, e.contact_id, text(e.time), *(text(e.properties.get(n)) for n in names)] for e in events]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
