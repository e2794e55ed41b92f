"""What the batches of one commit come to: each is compared with what the ones before it leave, many at once where
nothing depends on it, and gets its answer. Nothing is written here but what belongs to the commit whatever it changes:
the feed's entry, receipts, and how new the events are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from segidx.ingest.batch import ContactBatch
from segidx.ingest.changes import BatchChanges, changes_of
from segidx.ingest.event_batch import EventBatch
from segidx.ingest.event_changes import EventChanges, changes_of_events
from segidx.ingest.history import add_history
from segidx.ingest.joined import Company
from segidx.ingest.pending import Pending
from segidx.kernels.deltas import EMPTY, Delta
from segidx.model.errors import SegidxError
from segidx.model.events import EventType
from segidx.model.results import Reject, WriteResult
from segidx.store.catalog import read_newest_event, write_newest_change, write_newest_event
from segidx.store.environment import WriteTransaction
from segidx.store.feed import append_changes
from segidx.store.layout import DB_CHANGES, DB_META, DB_RECEIPTS
from segidx.store.overlay import merged_delta
from segidx.store.receipts import read_receipt, write_receipt

Batch = ContactBatch | EventBatch


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a caller submitted: batches to be applied one behind another, and who waits for the answer."""

    batches: tuple[Batch, ...]
    key: str
    done: Future[WriteResult]

    @property
    def of_events(self) -> bool:
        """Whether it has batches, all of them of events."""
        return bool(self.batches) and all(isinstance(batch, EventBatch) for batch in self.batches)

    @property
    def weight(self) -> int:
        """Contacts, events and lines."""
        return sum(len(b.ids) if isinstance(b, ContactBatch) else b.weight for b in self.batches)


class _Answer:
    """What is answered to who sent some batches, added up."""

    def __init__(self) -> None:
        self._contacts: list[pa.Array] = []
        self._created = self._duplicates = self._events = self._event_duplicates = 0
        self._rejects: list[Reject] = []
        self._event_rejects: list[Reject] = []

    def add_contacts(self, batch: ContactBatch, changes: BatchChanges) -> None:
        self._contacts.append(changes.ids)
        self._created += int(changes.created.sum())
        self._duplicates += batch.duplicates
        self._rejects += changes.rejects

    def add_created(self, contacts: int) -> None:
        self._created += contacts

    def add_events(self, batch: EventBatch, accepted: int, rejects: Sequence[Reject]) -> None:
        """`rejects` are those that the batch had no refusal for when it was made."""
        self._events += accepted
        self._event_duplicates += batch.duplicates + len(batch.ids) - accepted - len(rejects)
        self._event_rejects += [*batch.rejects, *rejects]

    def result(self) -> WriteResult:
        """In no generation yet."""
        accepted = contacts = sum(map(len, self._contacts))
        if len(self._contacts) > 1:  # a contact of several batches is accepted once
            contacts = len({contact_id for ids in self._contacts for contact_id in ids.to_pylist()})
        return WriteResult(
            0,
            contacts,
            self._created,
            self._duplicates + accepted - contacts,
            tuple(self._rejects),
            events_accepted=self._events,
            events_duplicates=self._event_duplicates,
            event_rejects=tuple(sorted(self._event_rejects, key=lambda reject: reject.index)),
        )


class Group:
    """The batches of one commit, over the account as it is before. `pending` holds what they add."""

    def __init__(self, group: Sequence[Waiting], pending: Pending) -> None:
        """Compare them, in order. Those that fail are answered here and leave nothing."""
        self.pending = pending
        self._changes: list[BatchChanges | EventChanges] = []
        self._changed = False
        self._answers: list[tuple[Waiting, WriteResult]] = []
        self._compare(group)

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit, if it is only a receipt."""
        return self._changed

    def delta(self) -> Delta:
        """What all of them set."""
        return merged_delta(self.pending.deltas or (EMPTY,))

    def finish(self, write: WriteTransaction, generation: int, now: int) -> None:
        """The feed's entry and the receipts of a commit, and how new its events are."""
        ordinals = np.concatenate([np.zeros(0, np.uint32), *(c.ordinals for c in self._changes)])
        kinds = np.concatenate([np.zeros(0, np.uint8), *(c.kinds for c in self._changes)])
        unique, inverse = np.unique(ordinals, return_inverse=True)
        joined = np.zeros(len(unique), np.uint8)
        np.bitwise_or.at(joined, inverse, kinds)
        append_changes(write.txn, write.dbs[DB_CHANGES], generation, now, unique, joined)
        times = [c.newest for c in self._changes if isinstance(c, EventChanges) and c.newest is not None]
        if self.pending.newest_change is not None:
            times.append(self.pending.newest_change)
            write_newest_change(write.txn, write.dbs[DB_META], self.pending.newest_change)
        before = read_newest_event(write.txn, write.dbs[DB_META])
        if times and (before is None or max(times) > before):
            write_newest_event(write.txn, write.dbs[DB_META], max(times))
        for waiting, result in self._answers:
            if waiting.key and not result.replayed:
                write_receipt(write.txn, write.dbs[DB_RECEIPTS], waiting.key, result, now)

    def answer(self) -> None:
        """Tell everybody, once it is on the disk."""
        for waiting, result in self._answers:
            waiting.done.set_result(result)

    # --- comparing ---

    def _compare(self, group: Sequence[Waiting]) -> None:
        company, together, events = Company(), list[Waiting](), list[Waiting]()
        for waiting in group:
            single = None if waiting.key or len(waiting.batches) != 1 else waiting.batches[0]
            if not waiting.key and waiting.of_events:
                self._compare_together(together, company)
                company, together = Company(), []
                events.append(waiting)
                continue
            self._compare_events(events)
            events = []
            if isinstance(single, ContactBatch) and company.takes(single):
                together.append(waiting)
                continue
            # It must see what those before it leave.
            self._compare_together(together, company)
            company, together = Company(), []
            if isinstance(single, ContactBatch) and company.takes(single):
                together.append(waiting)
            else:
                self._compare_alone(waiting)
        self._compare_together(together, company)
        self._compare_events(events)

    def _compare_together(self, together: list[Waiting], company: Company) -> None:
        if len(together) < 2:
            for waiting in together:
                self._compare_alone(waiting)
            return
        marks = self.pending.marks()
        try:
            changes = changes_of(company.joined(), self.pending)
        except SegidxError:  # of one of them: the others stand
            self.pending.forget(marks)
            for waiting in together:
                self._compare_alone(waiting)
            return
        self.pending.add(changes.delta)
        add_history([changes.history], self.pending)
        self._note([changes])
        for waiting, batch, start, end in zip(
            together, company.batches, company.starts(), company.starts()[1:], strict=False
        ):
            created = int(changes.created[start:end].sum())
            self._answer(waiting, WriteResult(0, end - start, created, batch.duplicates, batch.rejects))

    def _compare_events(self, together: list[Waiting]) -> None:
        """Batches of events, of one type after another."""
        if len(together) < 2:
            for waiting in together:
                self._compare_alone(waiting)
            return
        marks = self.pending.marks()
        by_type: dict[EventType, list[tuple[int, EventBatch]]] = {}
        for place, waiting in enumerate(together):
            for batch in waiting.batches:
                assert isinstance(batch, EventBatch)
                by_type.setdefault(batch.type, []).append((place, batch))
        answers = [_Answer() for _ in together]
        known = len(self.pending.ids)
        hosts = np.full(0, len(together))  # of each contact that is new, who gave it its first event
        found = []
        try:
            for given in by_type.values():
                changes = changes_of_events([batch for _, batch in given], self.pending)
                self.pending.add(changes.delta, changes.layers)
                found.append(changes)
                of_batches = zip(changes.accepted.tolist(), changes.rejects, given, strict=True)
                for accepted, rejects, (place, batch) in of_batches:
                    answers[place].add_events(batch, accepted, rejects)
                hosts = np.append(hosts, np.full(len(self.pending.ids) - known - len(hosts), len(together)))
                new = changes.contacts >= known
                places = np.array([place for place, _ in given])[changes.hosts[new]]
                np.minimum.at(hosts, changes.contacts[new] - known, places)
        except SegidxError:  # of one of them: the others stand
            self.pending.forget(marks)
            for waiting in together:
                self._compare_alone(waiting)
            return
        self._note(found)
        created = np.bincount(hosts, minlength=len(together)).tolist()
        for waiting, answer, new_contacts in zip(together, answers, created, strict=True):
            answer.add_created(new_contacts)
            self._answer(waiting, answer.result())

    def _compare_alone(self, waiting: Waiting) -> None:
        pending = self.pending
        marks = pending.marks()
        try:
            first = self._receipt(waiting.key)
            if first is not None:
                self._answers.append((waiting, first))
                return
            answer = _Answer()
            found: list[BatchChanges | EventChanges] = []
            for batch in waiting.batches:
                if isinstance(batch, ContactBatch):
                    changes = changes_of(batch, pending)
                    pending.add(changes.delta)
                    answer.add_contacts(batch, changes)
                    found.append(changes)
                else:
                    known = len(pending.ids)
                    of_events = changes_of_events([batch], pending)
                    pending.add(of_events.delta, of_events.layers)
                    answer.add_events(batch, int(of_events.accepted[0]), of_events.rejects[0])
                    answer.add_created(len(pending.ids) - known)
                    found.append(of_events)
            add_history([each.history for each in found if isinstance(each, BatchChanges)], pending)
        except SegidxError as error:
            pending.forget(marks)
            waiting.done.set_exception(error)
            return
        self._note(found, anyway=bool(waiting.key))
        self._answer(waiting, answer.result())

    def _note(self, changes: Sequence[BatchChanges | EventChanges], *, anyway: bool = False) -> None:
        """Take what batches change, if it is anything. (A retraction of what is not there changes no contact.)"""
        if anyway or any(len(c.ordinals) or any(c.delta.shape) for c in changes):
            self._changes += changes
            self._changed = True

    def _answer(self, waiting: Waiting, result: WriteResult) -> None:
        """Note the answer of a batch, in the generation that shows it."""
        generation = self.pending.snapshot.generation
        self._answers.append((waiting, replace(result, generation=generation + 1 if self._changed else generation)))

    def _receipt(self, key: str) -> WriteResult | None:
        if not key:
            return None
        for waiting, result in self._answers:
            if waiting.key == key:
                return replace(result, replayed=True)
        snapshot = self.pending.snapshot
        return read_receipt(snapshot.txn, snapshot.dbs[DB_RECEIPTS], key)
