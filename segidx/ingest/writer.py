"""The writer of one account: the only code that changes its contact data.

Batches wait in a bounded queue; one thread takes all that wait, finds out what each changes, and commits them together:
one log record, one transaction, one sync, one generation. Only then are they acknowledged. Large batches of an import,
of contacts or events, go straight into the base instead, one transaction each. An error leaves nothing of the batches
concerned behind.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast

import numpy as np
import pyarrow as pa

from segidx.ingest.apply_events import apply_events, effective
from segidx.ingest.batch import ContactBatch, FieldChange, TagEdits
from segidx.ingest.derived import bind_kept
from segidx.ingest.event_batch import EventBatch
from segidx.ingest.group import Batch, Group, Waiting
from segidx.ingest.history import fold_history
from segidx.ingest.merger import Merger
from segidx.ingest.pending import Clock, CodeMemory, Pending
from segidx.ingest.product_batch import ProductBatch
from segidx.ingest.product_commit import ComparedProducts, WaitingProducts
from segidx.ingest.prune import Dropped, drop_leftovers, drop_slice, record_horizons
from segidx.ingest.rows import TAG_LIST
from segidx.ingest.values import id_for_report
from segidx.kernels.deltas import EMPTY
from segidx.model.bands import MAX_BANDS, Bands
from segidx.model.derived import MAX_DERIVED, DerivedNumber
from segidx.model.errors import (
    Closed,
    ContactNotFound,
    InvalidArgument,
    SegidxError,
    StorageFull,
    TypeMismatch,
    UnknownBands,
    UnknownDerived,
    UnknownEventType,
)
from segidx.model.event_groups import EventGroup
from segidx.model.events import ORDER, EventType, EventTypes
from segidx.model.products import extended
from segidx.model.results import ProductWriteResult, Reject, WriteResult
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.source_settings import SourceSettings
from segidx.model.writes import MAX_BATCH_KEY_BYTES, ChangeKind
from segidx.store.base import OneTransaction, fold
from segidx.store.catalog import (
    write_bands,
    write_derived,
    write_event_group,
    write_event_types,
    write_product_properties,
    write_schema,
    write_source_settings,
)
from segidx.store.environment import AccountStore
from segidx.store.feed import KIND_BITS, append_changes
from segidx.store.layout import DB_CHANGES, DB_LOG, DB_META
from segidx.store.log import Record, append_record

log = logging.getLogger(__name__)

_Done = TypeVar("_Done")

# Batches from so many contacts on go straight to the base: their own log record would be as large as what it spares.
BULK_CONTACTS = 20_000
# Behind a commit of so many events the columns of derived numbers are built anew, instead of following it.
BULK_EVENTS = 20_000
# Contacts, events and lines that may wait in the queue; then `submit` waits.
QUEUE_CONTACTS = 40_000
# Those of one commit, so that none takes long.
GROUP_CONTACTS = 10_000


@dataclass(frozen=True, slots=True)
class _WaitingEvents:
    """Events that go straight into the base."""

    events: EventBatch
    done: Future[WriteResult]

    @property
    def weight(self) -> int:
        return self.events.weight


@dataclass(frozen=True, slots=True)
class _WaitingWork:
    """Something that is done between commits."""

    work: Callable[[], object]
    done: Future[object]
    weight: int = 1


_Job = Waiting | _WaitingEvents | WaitingProducts | _WaitingWork


class Writer:
    """Applies batches to one account. Safe to call from several threads. Its thread begins with the first batch."""

    def __init__(self, store: AccountStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.merger = Merger(store, clock)
        self._memory = CodeMemory()
        self._queue: deque[_Job] = deque()
        self._queued = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    # --- for callers ---

    def declare(self, fields: Iterable[Field]) -> Schema:
        """Add fields to the schema, and begin to track some. Raises SchemaConflict for a change of type or scale. Not a
        generation."""
        with self._store.write() as write:
            old = write.catalog()
            catalog = old.with_fields(fields)
            if catalog.schema is not old.schema:
                write_schema(write.txn, write.dbs[DB_META], catalog)
                write.save_state(replace(write.state, schema=write.state.schema + 1))
            return catalog.schema

    def declare_event_types(self, types: Iterable[EventType]) -> EventTypes:
        """Add event types. Raises SchemaConflict for one that has other properties, InvalidSchema. Not a generation."""
        with self._store.write() as write:
            old = write.catalog().event_types
            new = old.extended(types)
            if new != old:
                write_event_types(write.txn, write.dbs[DB_META], new)
                write.save_state(replace(write.state, schema=write.state.schema + 1))
            return new

    def declare_product_properties(self, properties: Iterable[Field]) -> Schema:
        """Add properties of products. Raises SchemaConflict for a change of type or scale, InvalidSchema. Not a
        generation."""
        with self._store.write() as write:
            old = write.catalog().products
            new = extended(old, properties)
            if new is not old:
                write_product_properties(write.txn, write.dbs[DB_META], new)
                write.save_state(replace(write.state, schema=write.state.schema + 1))
            return new

    def set_event_group(self, group: EventGroup) -> None:
        """Say anew which events a group has. Not a generation."""
        with self._store.write() as write:
            if write.catalog().event_groups[group.name] != group:
                write_event_group(write.txn, write.dbs[DB_META], group)
                write.save_state(replace(write.state, schema=write.state.schema + 1))
        self.merger.keep_derived()

    def declare_bands(self, of: Bands) -> None:
        """Declare bands, in place of any of their name. Raises InvalidArgument for more names than an account has. Not
        a generation."""
        with self._store.write() as write:
            held = write.catalog().bands
            if of.name not in held and len(held) >= MAX_BANDS:
                raise InvalidArgument(f"an account declares bands under at most {MAX_BANDS} names", bands=of.name)
            if held.get(of.name) != of:
                write_bands(write.txn, write.dbs[DB_META], {**held, of.name: of})
                write.save_state(replace(write.state, schema=write.state.schema + 1))
        self.merger.keep_derived()

    def remove_bands(self, name: str) -> None:
        """Take bands away. Raises UnknownBands. Not a generation."""
        with self._store.write() as write:
            held = write.catalog().bands
            if name not in held:
                raise UnknownBands(name, held)
            write_bands(write.txn, write.dbs[DB_META], {each: held[each] for each in held if each != name})
            write.save_state(replace(write.state, schema=write.state.schema + 1))
        self.merger.keep_derived()

    def declare_derived(self, number: DerivedNumber) -> None:
        """Declare a derived number, in place of any of its name. Raises InvalidArgument for more than an account has.
        Not a generation."""
        with self._store.write() as write:
            held = write.catalog().declared
            if number.name not in held and len(held) >= MAX_DERIVED:
                raise InvalidArgument(f"an account declares at most {MAX_DERIVED} derived numbers", derived=number.name)
            if held.get(number.name) != number:
                write_derived(write.txn, write.dbs[DB_META], {**held, number.name: number})
                write.save_state(replace(write.state, schema=write.state.schema + 1))
        self.merger.keep_derived()

    def remove_derived(self, name: str) -> None:
        """Take a derived number away. Raises UnknownDerived. Not a generation."""
        with self._store.write() as write:
            held = write.catalog().declared
            if name not in held:
                raise UnknownDerived(name, held)
            write_derived(write.txn, write.dbs[DB_META], {each: held[each] for each in held if each != name})
            write.save_state(replace(write.state, schema=write.state.schema + 1))
        self.merger.keep_derived()

    def set_source_settings(self, settings: SourceSettings) -> None:
        """Say anew where visits and orders come from. Not a generation."""
        with self._store.write() as write:
            if write.catalog().source_settings != settings:
                write_source_settings(write.txn, write.dbs[DB_META], settings)
                write.save_state(replace(write.state, schema=write.state.schema + 1))

    def submit(self, batches: Sequence[Batch], batch_key: str = "") -> Future[WriteResult]:
        """Queue batches, of contacts and of events, to be applied one behind another and committed together, behind all
        that was submitted before; waits while the queue is full.

        The future's result means that they are on the disk. It raises StorageFull (nothing of them was written),
        UnknownField and UnknownEventType for what was never declared, and Closed.
        """
        _check_key(batch_key)
        # Of a caller without contacts there is an empty batch of them, which must not part events from events.
        some = (batch for batch in batches if len(batch.ids) or batch.rejects)
        return self._enqueue(Waiting(tuple(some), batch_key, Future()))

    def write_products(self, batch: ProductBatch, batch_key: str = "") -> ProductWriteResult:
        """Change the catalogue of products, behind all that was submitted before, in a commit of its own. On return it
        is on the disk. Raises StorageFull (nothing was written) and Closed."""
        _check_key(batch_key)
        waiting = WaitingProducts(batch, batch_key, Future())
        self._wait_in_queue(waiting)
        return waiting.done.result()

    def _enqueue(self, waiting: Waiting | _WaitingEvents) -> Future[WriteResult]:
        self._wait_in_queue(waiting)
        return waiting.done

    def _wait_in_queue(self, waiting: _Job) -> None:
        with self._changed:
            while not self._closing and self._queued and self._queued + waiting.weight > QUEUE_CONTACTS:
                self._changed.wait()
            if self._closing:
                raise Closed(f"account {self._store.info.name!r} is closed")
            self._queue.append(waiting)
            self._queued += waiting.weight
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="segidx-writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def apply(self, batch: ContactBatch) -> WriteResult:
        """Create or update the batch's contacts. On return it is on the disk. Raises what `submit`'s future does."""
        return self.submit([batch]).result()

    def apply_events(self, events: EventBatch) -> WriteResult:
        """Write or replace many events, behind all that was submitted before, straight in the base; unknown contacts
        are created first, in a generation of their own. On return all is on the disk. For batches that retract nothing.

        Raises StorageFull (no event was written), UnknownEventType and Closed.
        """
        return self._enqueue(_WaitingEvents(events, Future())).result()

    def tag(
        self,
        contact_ids: Sequence[str],
        field: Field,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace_with: Sequence[str] | None = None,
    ) -> WriteResult:
        """Add and remove tags of contacts, or replace all their tags of the field. Unknown contacts are rejects.

        `add`, `remove` and `replace_with` hold NFC strings. A contact named twice counts once.
        """
        if field.type is not FieldType.TAGS:
            raise TypeMismatch(f"field {field.name!r} is a {field.type.value} field; only tags fields hold tags")
        if replace_with is not None and (add or remove):
            raise InvalidArgument("replace goes without add and remove")
        both = sorted(set(add) & set(remove))
        if both:
            raise InvalidArgument(f"tag {both[0]!r} is to be both added and removed")
        ids = [contact_id for contact_id in dict.fromkeys(contact_ids) if _may_be_held(contact_id)]
        rows = np.arange(len(ids))
        changes: dict[str, FieldChange] = {}
        edits: dict[str, TagEdits] = {}
        if replace_with:
            tags = pa.array([sorted(set(replace_with))] * len(ids), TAG_LIST)
            changes[field.name] = FieldChange(rows, tags, rows[:0])
        elif replace_with is not None:
            changes[field.name] = FieldChange(rows[:0], pa.array([], TAG_LIST), rows)
        else:
            given = [*sorted(set(add)), *sorted(set(remove))]
            edits[field.name] = TagEdits(
                np.tile(rows, len(given)),
                pa.array(np.repeat(np.array(given, object), len(ids)).tolist(), pa.string()),
                np.repeat(np.arange(len(given)) < len(set(add)), len(ids)),
            )
        batch = ContactBatch(
            pa.array(ids, pa.string()),
            changes,
            edits=edits,
            must_exist=np.ones(len(ids), np.bool_),
            indices=rows,
        )
        result = self.apply(batch)
        known = set(ids) - {reject.contact_id for reject in result.rejects}
        rejects = tuple(
            Reject(index, id_for_report(contact_id), "", ContactNotFound.reason, f"there is no contact {contact_id!r}")
            for index, contact_id in enumerate(contact_ids)
            if contact_id not in known
        )
        repeated = len(contact_ids) - len(rejects) - result.accepted
        return replace(result, duplicates=repeated, rejects=rejects)

    def prune(
        self, horizons: Mapping[EventType, int], check: Callable[[], None] = lambda: None
    ) -> dict[EventType, Dropped]:
        """Move the types' horizons to these instants (ms since 1970), where they are not further on, and drop what is
        behind them, in transactions of about 4 MB between commits; what a prune before has left too. `check` is called
        between them and may raise to stop it: the next one goes on. Raises StorageFull, CorruptData and Closed."""
        self._in_turn(partial(record_horizons, self._store, {type.name: time for type, time in horizons.items()}))
        # From here on no event behind a horizon is committed, so that the log has none when it is merged.
        self.merger.merge_all()
        found = {}
        for type in horizons:
            first: int | None = 0
            events = lines = 0
            ended: tuple[str, ...] = ()
            while first is not None:
                check()
                self._store.courtesy.make_way()
                done = self._beside_no_merge(partial(drop_slice, self._store, type, first))
                first, events, lines, ended = done.first, events + done.events, lines + done.lines, ended + done.ended
            found[type] = Dropped(None, events, lines, ended)
        while not self._beside_no_merge(partial(drop_leftovers, self._store)):
            check()
        return found

    def _beside_no_merge(self, work: Callable[[], _Done]) -> _Done:
        """The work done in turn, while no merge runs. The writer's thread never waits for a merge to end."""
        while True:
            done = self._in_turn(partial(self.merger.unless_merging, work))
            if done is not None:
                return done
            self.merger.wait_for_merge()

    def _in_turn(self, work: Callable[[], _Done]) -> _Done:
        """The work done in the writer's thread, behind all that was submitted before."""
        waiting = _WaitingWork(work, Future())
        self._wait_in_queue(waiting)
        return cast(_Done, waiting.done.result())

    def close(self) -> None:
        """Commit what is queued, then end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.merger.close()

    # --- the thread ---

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                group = self._take()
                self._changed.notify_all()
            try:
                if isinstance(group[0], _WaitingEvents):
                    self._commit_events_in_bulk(group[0])
                elif isinstance(group[0], WaitingProducts):
                    self._commit_products(group[0])
                elif isinstance(group[0], _WaitingWork):
                    group[0].done.set_result(group[0].work())
                else:
                    self._commit([waiting for waiting in group if isinstance(waiting, Waiting)])
            except BaseException as error:
                if not isinstance(error, SegidxError):
                    log.exception("a commit failed")
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)

    def _take(self) -> list[_Job]:
        """The batches of the next commit: at least one; those that go straight into the base, those of products, and
        other work always alone."""
        group = [self._queue.popleft()]
        weight = group[0].weight
        while (
            self._queue
            and isinstance(group[-1], Waiting)
            and isinstance(self._queue[0], Waiting)
            and weight + self._queue[0].weight <= GROUP_CONTACTS
        ):
            group.append(self._queue.popleft())
            weight += group[-1].weight
        self._queued -= weight
        return group

    def _commit(self, group: list[Waiting]) -> None:
        first = group[0]
        if first.weight >= BULK_CONTACTS and all(isinstance(batch, ContactBatch) for batch in first.batches):
            self._commit_in_bulk(first)
            return
        self.merger.wait_for_room()
        with self.merger.choosing():
            compared = self._commit_to_log(group)
        compared.answer()

    def _commit_to_log(self, group: list[Waiting]) -> Group:
        with self._store.snapshot() as snapshot:
            segment = self.merger.segment_of_next(snapshot.view)
            compared = Group(group, Pending(snapshot, self._memory, self._clock))
        if compared.changed:
            now = self._clock()
            pending = compared.pending
            record = Record(
                snapshot.generation + 1,
                segment,
                now,
                pending.new_strings(),
                compared.delta(),
                pending.new_layers(),
            )
            with self._store.write() as write:
                size = append_record(write.txn, write.dbs[DB_LOG], record)
                compared.finish(write, record.generation, now)
                write.save_state(replace(write.state, generation=record.generation))
                state = write.state
            self._store.overlay.publish(record, size, state)
            self.merger.note(size)
        return compared

    def _commit_products(self, waiting: WaitingProducts) -> None:
        """A record that changes no contact gives the catalogue's change its generation."""
        self.merger.wait_for_room()
        with self.merger.choosing():
            with self._store.snapshot() as snapshot:
                segment = self.merger.segment_of_next(snapshot.view)
                compared = ComparedProducts(waiting, snapshot)
            if compared.changed:
                now = self._clock()
                record = Record(snapshot.generation + 1, segment, now, {}, EMPTY)
                with self._store.write() as write:
                    size = append_record(write.txn, write.dbs[DB_LOG], record)
                    compared.finish(write, record.generation, now)
                    write.save_state(replace(write.state, generation=record.generation))
                    state = write.state
                self._store.overlay.publish(record, size, state)
                self.merger.note(size)
        compared.answer()

    def _commit_in_bulk(self, waiting: Waiting) -> None:
        """One large batch of contacts straight into the base, after all that the log holds."""
        self.merger.merge_all()
        with self._store.snapshot() as snapshot:
            compared = Group([waiting], Pending(snapshot, self._memory, self._clock))
        if compared.changed:
            pending = compared.pending
            with self._store.write() as write:
                generation = write.state.generation + 1
                fold(OneTransaction(write), pending.new_strings(), compared.delta(), pending.catalog)
                fold_history(write, pending.layers)
                compared.finish(write, generation, self._clock())
                write.save_state(
                    replace(write.state, generation=generation, merged=generation, base=write.state.base + 1)
                )
        compared.answer()

    def _commit_events_in_bulk(self, waiting: _WaitingEvents) -> None:
        """Events straight into the base, after all that the log holds and after the contacts that are new."""
        given = waiting.events
        created = 0
        # So many events touch most ranges: columns would be written again by every batch of an import.
        follow = len(given.ids) < BULK_EVENTS
        try:
            self.merger.merge_all(build=follow)
            with self._store.snapshot() as snapshot:
                if given.type.name not in snapshot.catalog.event_types:
                    raise UnknownEventType(given.type.name, [each.name for each in snapshot.catalog.event_types])
                effect = effective(given, snapshot)
                generation = snapshot.generation
            unknown, events = effect.unknown, effect.batch
            if len(unknown):
                creation = Waiting((ContactBatch(unknown),), "", Future())
                self._commit_in_bulk(creation)
                created = creation.done.result().created
                with self._store.snapshot() as snapshot:
                    effect = effect.with_contacts(snapshot.ids.find(unknown))
                    generation = snapshot.generation
            if len(events.ids):
                with self._store.write() as write:
                    generation = write.state.generation + 1
                    ordinals = apply_events(write, effect, *([bind_kept] if follow else []))
                    kinds = np.full(len(ordinals), KIND_BITS[ChangeKind.EVENTS], np.uint8)
                    append_changes(write.txn, write.dbs[DB_CHANGES], generation, self._clock(), ordinals, kinds)
                    write.save_state(replace(write.state, generation=generation, merged=generation))
                if not follow:
                    self.merger.keep_derived_later()
        except StorageFull as error:
            if not created:
                raise
            # What the store says of "this batch" is of the events.
            whose = "orders" if given.type == ORDER else "events"
            raise type(error)(f"{error.message}; {created} new contacts of its {whose} were created") from error
        waiting.done.set_result(
            WriteResult(
                generation,
                0,
                created,
                0,
                events_accepted=len(events.ids),
                events_duplicates=events.duplicates,
                event_rejects=events.rejects,
            )
        )


def _check_key(batch_key: str) -> None:
    """Raises InvalidArgument for one that no batch has."""
    try:
        key_bytes = len(batch_key.encode())
    except UnicodeEncodeError as error:  # refused here: in a commit it would fail the batches beside it too
        raise InvalidArgument("a batch key is UTF-8; it has a lone surrogate", argument="batch_key") from error
    if key_bytes > MAX_BATCH_KEY_BYTES:
        raise InvalidArgument(f"a batch key has at most {MAX_BATCH_KEY_BYTES} bytes", argument="batch_key")


def _may_be_held(contact_id: object) -> bool:
    """Whether it is a string that has a form in UTF-8; no contact has another id."""
    try:
        return isinstance(contact_id, str) and len(contact_id.encode()) > 0
    except UnicodeEncodeError:
        return False
