"""The writer of one account: the only code that changes its contact data.

Batches wait in a bounded queue; one thread takes all that wait, finds out what each changes, and commits them together:
one log record, one transaction, one sync, one generation. Only then are they acknowledged. Large batches of an import,
and orders, go straight into the base instead, one transaction each. An error leaves nothing of the batches concerned
behind.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from segidx.ingest.apply_orders import apply_orders
from segidx.ingest.batch import ContactBatch, FieldChange, TagEdits
from segidx.ingest.changes import BatchChanges, changes_of
from segidx.ingest.joined import Company
from segidx.ingest.merger import Merger
from segidx.ingest.orders import OrderBatch
from segidx.ingest.pending import CodeMemory, Pending
from segidx.ingest.rows import TAG_LIST
from segidx.ingest.values import id_for_report
from segidx.kernels.deltas import Delta
from segidx.model.errors import Closed, ContactNotFound, InvalidArgument, SegidxError, StorageFull, TypeMismatch
from segidx.model.results import Reject, WriteResult
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.writes import MAX_BATCH_KEY_BYTES, ChangeKind
from segidx.store.base import OneTransaction, fold
from segidx.store.catalog import write_schema
from segidx.store.environment import AccountStore, WriteTransaction
from segidx.store.feed import KIND_BITS, append_changes
from segidx.store.layout import DB_CHANGES, DB_LOG, DB_META, DB_RECEIPTS
from segidx.store.log import Record, append_record
from segidx.store.overlay import merged_delta
from segidx.store.receipts import read_receipt, write_receipt

log = logging.getLogger(__name__)

# Batches from so many contacts on go straight to the base: their own log record would be as large as what it spares.
BULK_CONTACTS = 20_000
# Contacts that may wait in the queue; then `submit` waits.
QUEUE_CONTACTS = 40_000
# Contacts of one commit, so that none takes long.
GROUP_CONTACTS = 10_000

Clock = Callable[[], int]  # milliseconds since 1970


@dataclass(frozen=True, slots=True)
class _Waiting:
    batches: tuple[ContactBatch, ...]
    key: str
    done: Future[WriteResult]

    @property
    def contacts(self) -> int:
        return sum(len(b.ids) for b in self.batches)


@dataclass(frozen=True, slots=True)
class _WaitingOrders:
    orders: OrderBatch
    done: Future[WriteResult]

    @property
    def contacts(self) -> int:
        """What they weigh in the queue."""
        return len(self.orders.ids)


_Job = _Waiting | _WaitingOrders


@dataclass(slots=True)
class _Group:
    """What the batches of one commit come to."""

    pending: Pending
    changes: list[BatchChanges]
    answers: list[tuple[_Waiting, WriteResult]]

    def answer(self, waiting: _Waiting, result: WriteResult) -> None:
        """Note the answer of a batch, in the generation that shows it."""
        generation = self.pending.snapshot.generation
        self.answers.append((waiting, replace(result, generation=generation + 1 if self.changes else generation)))


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
        """Add fields to the schema. Raises SchemaConflict for a change of type or scale. Not a generation."""
        with self._store.write() as write:
            old = write.catalog()
            catalog = old.with_fields(fields)
            if catalog.schema is not old.schema:
                write_schema(write.txn, write.dbs[DB_META], catalog)
                write.save_state(replace(write.state, schema=write.state.schema + 1))
            return catalog.schema

    def submit(self, batches: Sequence[ContactBatch], batch_key: str = "") -> Future[WriteResult]:
        """Queue batches to be committed together, behind all that was submitted before; waits while the queue is full.

        The future's result means that they are on the disk. It raises StorageFull (nothing of them was written),
        UnknownField for a field that was never declared, and Closed.
        """
        try:
            key_bytes = len(batch_key.encode())
        except UnicodeEncodeError as error:  # refused here: in a commit it would fail the batches beside it too
            raise InvalidArgument("a batch key is UTF-8; it has a lone surrogate", argument="batch_key") from error
        if key_bytes > MAX_BATCH_KEY_BYTES:
            raise InvalidArgument(f"a batch key has at most {MAX_BATCH_KEY_BYTES} bytes", argument="batch_key")
        return self._enqueue(_Waiting(tuple(batches), batch_key, Future()))

    def _enqueue(self, waiting: _Job) -> Future[WriteResult]:
        with self._changed:
            while not self._closing and self._queued and self._queued + waiting.contacts > QUEUE_CONTACTS:
                self._changed.wait()
            if self._closing:
                raise Closed(f"account {self._store.info.name!r} is closed")
            self._queue.append(waiting)
            self._queued += waiting.contacts
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="segidx-writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return waiting.done

    def apply(self, batch: ContactBatch) -> WriteResult:
        """Create or update the batch's contacts. On return it is on the disk. Raises what `submit`'s future does."""
        return self.submit([batch]).result()

    def apply_orders(self, orders: OrderBatch) -> WriteResult:
        """Write or replace orders, behind all that was submitted before; unknown contacts are created first, in a
        generation of their own. On return all is on the disk.

        Raises StorageFull (no order was written) and Closed.
        """
        return self._enqueue(_WaitingOrders(orders, Future())).result()

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
                if isinstance(group[0], _WaitingOrders):
                    self._commit_orders(group[0])
                else:
                    self._commit([waiting for waiting in group if isinstance(waiting, _Waiting)])
            except BaseException as error:
                if not isinstance(error, SegidxError):
                    log.exception("a commit failed")
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)

    def _take(self) -> list[_Job]:
        """The batches of the next commit: at least one, a bulk batch and one of orders always alone."""
        group = [self._queue.popleft()]
        contacts = group[0].contacts
        while (
            self._queue
            and not isinstance(group[-1], _WaitingOrders)
            and not isinstance(self._queue[0], _WaitingOrders)
            and contacts + self._queue[0].contacts <= GROUP_CONTACTS
        ):
            group.append(self._queue.popleft())
            contacts += group[-1].contacts
        self._queued -= contacts
        return group

    def _commit(self, group: list[_Waiting]) -> None:
        if group[0].contacts >= BULK_CONTACTS:
            self._commit_in_bulk(group[0])
            return
        self.merger.wait_for_room()
        with self._store.snapshot() as snapshot:
            segment = self.merger.segment_of_next(snapshot.view)
            compared = self._compare(group, Pending(snapshot, self._memory))
        if compared.changes:
            now = self._clock()
            record = Record(
                snapshot.generation + 1,
                segment,
                now,
                compared.pending.new_strings(),
                merged_delta(compared.pending.deltas or (_EMPTY,)),
            )
            with self._store.write() as write:
                size = append_record(write.txn, write.dbs[DB_LOG], record)
                self._finish(write, compared, record.generation, now)
                write.save_state(replace(write.state, generation=record.generation))
                state = write.state
            self._store.overlay.publish(record, size, state)
            self.merger.note(size)
        for waiting, result in compared.answers:
            waiting.done.set_result(result)

    def _commit_in_bulk(self, waiting: _Waiting) -> None:
        """One large batch straight into the base, after all that the log holds."""
        self.merger.merge_all()
        with self._store.snapshot() as snapshot:
            compared = self._compare([waiting], Pending(snapshot, self._memory))
        if compared.changes:
            pending = compared.pending
            with self._store.write() as write:
                generation = write.state.generation + 1
                sink = OneTransaction(write)
                fold(sink, pending.new_strings(), merged_delta(pending.deltas or (_EMPTY,)), pending.catalog)
                self._finish(write, compared, generation, self._clock())
                write.save_state(
                    replace(write.state, generation=generation, merged=generation, base=write.state.base + 1)
                )
        for each, result in compared.answers:
            each.done.set_result(result)

    def _commit_orders(self, waiting: _WaitingOrders) -> None:
        """Orders straight into the base, after all that the log holds and after the contacts that are new."""
        orders = waiting.orders
        created = self._create_contacts(orders)
        generation = self._store.state().generation
        if len(orders.ids):
            try:
                self.merger.merge_all()
                with self._store.write() as write:
                    generation = write.state.generation + 1
                    ordinals = apply_orders(write, orders)
                    kinds = np.full(len(ordinals), KIND_BITS[ChangeKind.EVENTS], np.uint8)
                    append_changes(write.txn, write.dbs[DB_CHANGES], generation, self._clock(), ordinals, kinds)
                    write.save_state(replace(write.state, generation=generation, merged=generation))
            except StorageFull as error:
                if not created:
                    raise
                # What the store says of "this batch" is of the orders.
                raise type(error)(f"{error.message}; {created} new contacts of its orders were created") from error
        waiting.done.set_result(WriteResult(generation, len(orders.ids), created, orders.duplicates, orders.rejects))

    def _create_contacts(self, orders: OrderBatch) -> int:
        """Create the contacts of orders that are not there yet; how many."""
        others = [] if orders.other_contacts is None else [orders.other_contacts]
        ids = pa.concat_arrays([orders.contacts, *others]).unique()
        with self._store.snapshot() as snapshot:
            unknown = ids.filter(pa.array(snapshot.ids.find(ids) < 0))
        if not len(unknown):
            return 0
        creation = _Waiting((ContactBatch(unknown),), "", Future())
        self._commit_in_bulk(creation)
        return creation.done.result().created

    def _compare(self, group: list[_Waiting], pending: Pending) -> _Group:
        """What the batches of the group change. Batches that fail are answered here and leave nothing."""
        compared = _Group(pending, [], [])
        company, together = Company(), list[_Waiting]()
        for waiting in group:
            if not waiting.key and len(waiting.batches) == 1 and company.takes(waiting.batches[0]):
                together.append(waiting)
                continue
            # It must see what those before it leave.
            self._compare_together(together, company, compared)
            company, together = Company(), []
            if waiting.key or len(waiting.batches) != 1:
                self._compare_alone(waiting, compared)
            elif company.takes(waiting.batches[0]):
                together.append(waiting)
        self._compare_together(together, company, compared)
        return compared

    def _compare_together(self, together: list[_Waiting], company: Company, compared: _Group) -> None:
        if len(together) < 2:
            for waiting in together:
                self._compare_alone(waiting, compared)
            return
        marks = compared.pending.marks()
        try:
            changes = changes_of(company.joined(), compared.pending)
        except SegidxError:  # of one of them: the others stand
            compared.pending.forget(marks)
            for waiting in together:
                self._compare_alone(waiting, compared)
            return
        compared.pending.add(changes.delta)
        if len(changes.ordinals):
            compared.changes.append(changes)
        for waiting, start, end in zip(together, company.starts(), company.starts()[1:], strict=False):
            (batch,) = waiting.batches
            created = int(changes.created[start:end].sum())
            compared.answer(waiting, WriteResult(0, end - start, created, batch.duplicates, batch.rejects))

    def _compare_alone(self, waiting: _Waiting, compared: _Group) -> None:
        pending = compared.pending
        before, marks = pending.deltas, pending.marks()
        try:
            known = self._receipt(waiting.key, compared)
            if known is not None:
                compared.answers.append((waiting, known))
                return
            changes = []
            for batch in waiting.batches:
                changes.append(changes_of(batch, pending))
                pending.add(changes[-1].delta)
        except SegidxError as error:
            pending.deltas = before
            pending.forget(marks)
            waiting.done.set_exception(error)
            return
        if waiting.key or any(len(c.ordinals) for c in changes):
            compared.changes += changes
        accepted = sum(len(c.ids) for c in changes)
        # A contact of several batches is accepted once.
        contacts = accepted if len(changes) == 1 else len({i for c in changes for i in c.ids.to_pylist()})
        compared.answer(
            waiting,
            WriteResult(
                0,
                contacts,
                sum(int(c.created.sum()) for c in changes),
                sum(b.duplicates for b in waiting.batches) + accepted - contacts,
                tuple(r for c in changes for r in c.rejects),
            ),
        )

    def _receipt(self, key: str, compared: _Group) -> WriteResult | None:
        if not key:
            return None
        for waiting, result in compared.answers:
            if waiting.key == key:
                return replace(result, replayed=True)
        snapshot = compared.pending.snapshot
        return read_receipt(snapshot.txn, snapshot.dbs[DB_RECEIPTS], key)

    def _finish(self, write: WriteTransaction, compared: _Group, generation: int, now: int) -> None:
        """The feed's entry and the receipts of a commit."""
        ordinals = np.concatenate([c.ordinals for c in compared.changes])
        kinds = np.concatenate([c.kinds for c in compared.changes])
        unique, inverse = np.unique(ordinals, return_inverse=True)
        joined = np.zeros(len(unique), np.uint8)
        np.bitwise_or.at(joined, inverse, kinds)
        append_changes(write.txn, write.dbs[DB_CHANGES], generation, now, unique, joined)
        for waiting, result in compared.answers:
            if waiting.key and not result.replayed:
                write_receipt(write.txn, write.dbs[DB_RECEIPTS], waiting.key, result, now)


def _may_be_held(contact_id: object) -> bool:
    """Whether it is a string that has a form in UTF-8; no contact has another id."""
    try:
        return isinstance(contact_id, str) and len(contact_id.encode()) > 0
    except UnicodeEncodeError:
        return False


_EMPTY = Delta(bytes.fromhex("01000000") + bytes(28))
