"""The load's batches as calls of segidx's public API, and what an account holds as plain values."""

from __future__ import annotations

from concurrent.futures import Future
from decimal import Decimal
from functools import cache
from typing import Any

from crashkit.load import FIELDS, Batch, Row
from crashkit.orders import Line, Order, as_time
from segidx.database import Account
from segidx.ingest import merger
from segidx.model import events as model_events
from segidx.model.errors import SegidxError
from segidx.model.expression import Expression
from segidx.model.results import WriteResult
from segidx.model.schema import Field, FieldType
from segidx.model.syntax import parse
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store import base, events, log
from segidx.testing.stored_orders import StoredOrder, read_orders


def declare(account: Account) -> None:
    account.update_schema([Field(name, FieldType(type_), scale) for name, (type_, scale) in FIELDS.items()])


def use_small_pieces() -> None:
    """Let this process cut its log and its merges into many small pieces, so that kills and power cuts fall between
    them; with the sizes that segidx ships with, all that a crash test writes is one piece."""
    merger.SEGMENT_BYTES = 32 << 10
    base.SLICE_BYTES = 16 << 10
    base.SLICE_STRINGS = 50
    log.PART_BYTES = 4 << 10
    events.MAX_BLOCK_BYTES = 512


def submit(account: Account, batch: Batch) -> Future[WriteResult]:
    """Hand a batch in. Batches commit in the order of these calls."""
    future: Future[WriteResult] = Future()
    try:
        if batch.kind == "write":
            return account.submit([_write(row) for row in batch.rows], batch_key=batch.key)
        future.set_result(_call(account, batch))
    except SegidxError as error:
        future.set_exception(error)
    return future


def _call(account: Account, batch: Batch) -> WriteResult:
    if batch.kind == "upsert":
        return account.upsert([(row.contact_id, _fields(row)) for row in batch.rows])
    if batch.kind == "orders":
        return account.import_orders(map(_order, batch.orders))
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
    )


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


def contacts(account: Account) -> dict[str, dict[str, Any]]:
    """Contact id to its fields, as the model has them: numbers as text, tags as sorted lists."""
    preview = account.preview("everyone", limit=1000)
    return {contact.contact_id: {k: _plain(v) for k, v in contact.fields.items()} for contact in preview.contacts}


def orders(account: Account) -> dict[str, dict[str, Any]]:
    """Order id to the order, as the model has it, from the rows that are stored.

    Raises AssertionError for rows that contradict each other: an order that is there twice, a line without its order.
    """
    stored = read_orders(account)
    with account._store.snapshot() as snapshot:
        return {id_: _plain_order(order, str(snapshot.ids.get_one(order.contact))) for id_, order in stored.items()}


def _plain_order(order: StoredOrder, contact_id: str) -> dict[str, Any]:
    return {
        "contact": contact_id,
        "time": order.time,
        "source": order.source,
        "paid": order.paid,
        "amount": order.amount,
        "lines": [line.properties() for line in order.lines],
    }


def hand_over_orders(account: Account, contact_id: str, time: int) -> int:
    """Send all orders that are there again, each as one of this contact at this time without lines, and a new one
    beside them; how many."""
    ids = [*orders(account), "probe"]
    account.import_orders([model_events.Order(id_, contact_id, as_time(time)) for id_ in ids])
    return len(ids)


def import_long_ids(account: Account, contact_id: str, number: int) -> None:
    """Import so many orders of a contact whose ids take much room."""
    account.import_orders(model_events.Order(f"{n:0250}", contact_id, as_time(0)) for n in range(number))


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    return sorted(value) if isinstance(value, frozenset) else value


def count(account: Account, text: str) -> int:
    return account.count(_parsed(text)).count


@cache
def _parsed(text: str) -> Expression:
    return parse(text)
