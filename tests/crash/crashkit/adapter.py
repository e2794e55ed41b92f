"""The load's batches as calls of segidx's public API. What an account holds is read in `stored`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from crashkit.events import DECIMALS, DECLARED, TIMES, EventRow, Retraction
from crashkit.load import FIELDS, TRACKED, Batch, Row
from crashkit.orders import Line, Order, as_time
from segidx.database import Account
from segidx.ingest import merger
from segidx.model import events as model_events
from segidx.model.errors import SegidxError
from segidx.model.events import EventProperty, EventType
from segidx.model.expression import Expression
from segidx.model.results import WriteResult
from segidx.model.schema import Field, FieldType
from segidx.model.syntax import parse
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store import base, event_groups, event_merge, log
from segidx.store import merge as store_merge
from segidx.store.catalog import write_events_merged

PADDING = "padding"  # with what the ids of padding begin


def declare(account: Account) -> None:
    account.update_schema(
        [Field(name, FieldType(type_), scale, name in TRACKED) for name, (type_, scale) in FIELDS.items()]
    )
    account.declare_event_types(
        EventType(type, tuple(EventProperty(name, FieldType(of), scale) for name, (of, scale) in properties.items()))
        for type, properties in DECLARED.items()
    )
    account.declare_bands("spend", "sum(order.amount)", (50, 100, 300))  # bitmaps, in step with the orders


def use_small_pieces() -> None:
    """Let this process cut its log and its merges into many small pieces, so that kills and power cuts fall between
    them; with the sizes that segidx ships with, all that a crash test writes is one piece."""
    merger.SEGMENT_BYTES = 32 << 10
    base.SLICE_BYTES = 1 << 10
    base.SLICE_STRINGS = 50
    log.PART_BYTES = 4 << 10
    event_groups.MAX_BLOCK_BYTES = 512


def tell_folds(say: Callable[[str], None]) -> None:
    """Let this process say "folding" and "folded" (see `report`), so that it may be killed while a merge has folded
    some of the events."""

    def telling(word: str) -> Callable[..., None]:
        def write(*arguments: Any) -> None:
            write_events_merged(*arguments)
            say(word)

        return write

    event_merge.write_events_merged = telling("folding")
    store_merge.write_events_merged = telling("folded")


def submit(account: Account, batch: Batch) -> Future[WriteResult]:
    """Hand a batch in. Batches commit in the order of these calls."""
    future: Future[WriteResult] = Future()
    try:
        if batch.kind == "write":
            rows = [_write(row) for row in batch.rows]
            return account.submit(rows, events=[_event(row) for row in batch.events], batch_key=batch.key)
        future.set_result(_call(account, batch))
    except SegidxError as error:
        future.set_exception(error)
    return future


def _call(account: Account, batch: Batch) -> WriteResult:
    if batch.kind == "upsert":
        return account.upsert([(row.contact_id, _fields(row)) for row in batch.rows])
    if batch.kind == "orders":
        result = account.import_orders(map(_order, batch.orders))
        # They are what it has accepted and refused already.
        return replace(result, events_accepted=0, events_duplicates=0, event_rejects=())
    if batch.kind == "padding":
        return account.upsert((f"{PADDING}{batch.number} {n}", {}) for n in range(batch.padding))
    assert batch.kind == "tag"
    (edited,) = {(frozenset(r.tags_added.items()), frozenset(r.tags_removed.items())) for r in batch.rows}
    added, removed = dict(edited[0]), dict(edited[1])
    (name,) = {*added, *removed}
    return account.tag(
        [row.contact_id for row in batch.rows],
        field=name,
        add=sorted(added.get(name, ())),
        remove=sorted(removed.get(name, ())),
    )


def _fields(row: Row) -> dict[str, object]:
    numeric = {name for name, (type_, _) in FIELDS.items() if type_ == "number"}
    return {
        name: Decimal(str(value)) if name in numeric and value is not None and not row.bad else value
        for name, value in row.fields.items()
    }


def _write(row: Row) -> ContactWrite:
    return ContactWrite(
        row.contact_id,
        _fields(row),
        tags_added=row.tags_added,
        tags_removed=row.tags_removed,
        channels={
            Channel(channel): {ChannelFlag(flag): value for flag, value in flags.items()}
            for channel, flags in row.channels.items()
        },
        must_exist=row.must_exist,
    )


def _order(order: Order) -> model_events.Order:
    return model_events.Order(
        order.order_id,
        order.contact_id,
        as_time(order.time),
        order.source,
        order.paid,
        _money(order.amount),
        [_line(line) for line in order.lines],
        order.revision,
    )


def _event(row: EventRow) -> model_events.Order | model_events.Event | model_events.Retraction:
    if isinstance(row, Order):
        return _order(row)
    if isinstance(row, Retraction):
        return model_events.Retraction(row.type, row.event_id, row.revision)
    properties = {name: _property(name, value) for name, value in row.properties.items()}
    return model_events.Event(row.type, row.event_id, row.contact_id, as_time(row.time), properties, row.revision)


def _property(name: str, value: str | bool | int) -> str | bool | int | Decimal | datetime:
    if name in TIMES:
        return as_time(int(value))
    return Decimal(value) / 10 ** DECIMALS[name] if name in DECIMALS else value


def _line(line: Line) -> model_events.OrderLine:
    quantity = None if line.quantity is None else Decimal(line.quantity)
    named = (line.product, line.producer, line.category)
    return model_events.OrderLine(*named, quantity, _money(line.unit_price), _money(line.amount))


def _money(hundredths: int | None) -> Decimal | None:
    return None if hundredths is None else Decimal(hundredths) / 100


def merge(account: Account) -> None:
    account.merge()


def verify(account: Account) -> list[str]:
    """Every broken invariant."""
    return list(account.verify())


def feed_gaps(account: Account) -> list[str]:
    """What is wrong with the feed of changes: it must hold every generation, whole and once, up to the newest."""
    parts = account.changes(0, max_contacts=1_000_000_000)
    whole = [part.generation for part in parts if part.last]
    generation = account.generation()
    if whole != list(range(1, generation + 1)) or {part.generation for part in parts} != set(whole):
        return [f"at generation {generation} the feed of changes holds, whole, {whole}"]
    return []


def hand_over_orders(account: Account, ids: Iterable[str], contact_id: str, time: int, revision: int) -> None:
    """Import orders of these ids, each of this contact, at this time and without lines."""
    account.import_orders([_handed_over(id_, contact_id, time, revision) for id_ in ids])


def hand_over_events(
    account: Account, found: Mapping[str, Iterable[str]], contact_id: str, time: int, revision: int
) -> None:
    """Write live, in one batch: an order as above, or an event, of each id, given by type."""
    account.write_events(
        _handed_over(id_, contact_id, time, revision)
        if type == model_events.ORDER.name
        else model_events.Event(type, id_, contact_id, as_time(time), {}, revision)
        for type, ids in found.items()
        for id_ in ids
    )


def retract(account: Account, type: str, ids: Iterable[str], revision: int) -> None:
    account.write_events(model_events.Retraction(type, id_, revision) for id_ in ids)


def _handed_over(order_id: str, contact_id: str, time: int, revision: int) -> model_events.Order:
    return model_events.Order(order_id, contact_id, as_time(time), revision=revision)


def import_long_ids(account: Account, contact_id: str, number: int) -> None:
    """Import so many orders of a contact whose ids take much room."""
    account.import_orders(model_events.Order(f"{n:0250}", contact_id, as_time(0)) for n in range(number))


def count(account: Account, text: str) -> int:
    return account.count(_parsed(text)).count


@cache
def _parsed(text: str) -> Expression:
    return parse(text)
