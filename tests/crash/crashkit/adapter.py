"""The load's batches as calls of segidx's public API, and what an account holds as plain values."""

from __future__ import annotations

from concurrent.futures import Future
from decimal import Decimal
from functools import cache
from typing import Any

from crashkit.load import FIELDS, Batch, Row
from segidx.database import Account
from segidx.ingest import merger
from segidx.model.errors import SegidxError
from segidx.model.expression import Expression
from segidx.model.results import WriteResult
from segidx.model.schema import Field, FieldType
from segidx.model.syntax import parse
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store import base, log


def declare(account: Account) -> None:
    account.update_schema([Field(name, FieldType(type_), scale) for name, (type_, scale) in FIELDS.items()])


def use_small_pieces() -> None:
    """Let this process cut its log and its merges into many small pieces, so that kills and power cuts fall between
    them; with the sizes that segidx ships with, all that a crash test writes is one piece."""
    merger.SEGMENT_BYTES = 32 << 10
    base.SLICE_BYTES = 16 << 10
    base.SLICE_STRINGS = 50
    log.PART_BYTES = 4 << 10


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


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    return sorted(value) if isinstance(value, frozenset) else value


def count(account: Account, text: str) -> int:
    return account.count(_parsed(text)).count


@cache
def _parsed(text: str) -> Expression:
    return parse(text)
