"""Random lives of an account, told to the oracle too: all kinds of writes, merges, reopening, a second process reading.

`shrink` makes thresholds tiny, so that log, segments, slices, postings of texts and bulk batches all come up within a
few dozen contacts. It may import anything below the service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unicodedata import normalize

import numpy as np

from segidx.database import Database
from segidx.ingest import merger, writer
from segidx.ingest.rows import batch_from_rows
from segidx.ingest.writes import batches_from_writes
from segidx.model.errors import SegidxError
from segidx.model.expression import Anniversary, Expression, walk
from segidx.model.results import WriteResult
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.model.writes import ContactWrite
from segidx.store import base, feed, log
from segidx.testing import oracle_writes
from segidx.testing.checks import (
    check_channels,
    check_contacts,
    check_expression,
    check_statistics,
    check_suggestions,
)
from segidx.testing.generator import RandomChooser, random_expression
from segidx.testing.generator_writes import REFUSED, WRITTEN, WriteGenerator
from segidx.testing.oracle import Oracle
from segidx.testing.oracle_writes import Kinds, Step, Written
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.reader import Reader

AT = datetime(2024, 2, 29, 11, 30, tzinfo=UTC)
BULK = 30


def shrink(set_attribute: Callable[[object, str, object], None]) -> None:
    """Make thresholds tiny, with a monkeypatch's `setattr`."""
    for module, name, value in (
        (writer, "BULK_CONTACTS", BULK),
        (writer, "GROUP_CONTACTS", BULK - 1),
        (writer, "QUEUE_CONTACTS", 3 * BULK),
        (merger, "SEGMENT_BYTES", 3000),
        (merger, "MERGE_BYTES", 12_000),
        (merger, "MERGE_SECONDS", 0.3),
        (base, "TEXT_POSTING_MIN", 4),
        (base, "SLICE_BYTES", 6000),
        (base, "SLICE_STRINGS", 5),
        (log, "PART_BYTES", 1500),
        (feed, "_PART_CONTACTS", 7),
    ):
        set_attribute(module, name, value)


def leave_unmerged(set_attribute: Callable[[object, str, object], None]) -> None:
    """No merge begins by itself, and the overlay has all that is written in one segment."""
    for name, value in (("SEGMENT_BYTES", 1 << 22), ("MERGE_BYTES", 1 << 22), ("MERGE_SECONDS", 1000.0)):
        set_attribute(merger, name, value)


class Life:
    """An account and the oracle, told the same."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.directory = directory
        self.zone = ZONES[seed % len(ZONES)]
        self.pools = pools_for(AT, self.zone)
        self.oracle = Oracle(WRITTEN, self.zone, clock=lambda: self.now)
        self.ids = [*(f"c{i}" for i in range(60)), *self.pools.contact_ids[-6:]]
        self.now = 1_700_000_000_000
        self.database = Database.open(directory, create=True, clock=self.clock)
        self.account = self.database.create_account(AccountInfo("test", self.zone))
        self.account.update_schema(WRITTEN.fields)
        self.generation = 0
        self.steps: dict[int, list[Step]] = {}  # by generation, those not looked at in the feed yet
        self.fed = 0  # the generation up to which the feed was looked at
        self.receipts: dict[str, WriteResult] = {}
        self.reader: Reader | None = None

    def clock(self) -> int:
        self.now += 1
        return self.now

    def close(self) -> None:
        self.database.close()

    def rows(self, most: int) -> list[ContactWrite]:
        return WriteGenerator(RandomChooser(self.rng), self.oracle.schema, self.pools, self.ids).rows(most)

    # --- writes ---

    def write(self) -> None:
        rows = self.rows(10)
        self.compare(self.account.write(rows), oracle_writes.write(self.oracle, rows), len(rows))

    def write_in_waves(self) -> None:
        """Several batches without waiting; they are committed in order, some of them together."""
        waves = [self.rows(8) for _ in range(int(self.rng.integers(2, 9)))]
        futures = [self.account.submit(rows) for rows in waves]
        for rows, future in zip(waves, futures, strict=True):
            self.compare(future.result(20), oracle_writes.write(self.oracle, rows), len(rows), alone=False)

    def write_apart(self) -> None:
        """Batches of different contacts, so that nothing keeps them from being compared together; of every kind."""
        ids = [self.ids[int(i)] for i in self.rng.permutation(len(self.ids))]
        futures = []
        for start in range(0, int(self.rng.integers(8, 40)), 4):
            generator = WriteGenerator(
                RandomChooser(self.rng), self.oracle.schema, self.pools, [*ids[start : start + 4], f"apart {self.now}"]
            )
            rows = [replace(row, must_exist=False) for row in generator.rows(5) if row not in REFUSED]
            if self.rng.integers(3):
                wanted = oracle_writes.write(self.oracle, rows)
                batches = list(batches_from_writes(rows, self.oracle.schema))
            else:
                pairs = [(row.contact_id, row.fields) for row in rows if isinstance(row.contact_id, str)]
                wanted, batches = oracle_writes.upsert(self.oracle, pairs), [batch_from_rows(pairs, self.oracle.schema)]
                rows = rows[: len(pairs)]
            futures.append((self.account._writer.submit(batches), wanted, len(rows)))
            self.clock()
        for future, wanted, rows_given in futures:
            self.compare(future.result(20), wanted, rows_given, alone=False)

    def write_with_a_key(self) -> None:
        rows, key = self.rows(5), f"key {len(self.receipts)} \N{SNOWMAN}"
        result = self.account.write(rows, batch_key=key)
        assert not result.replayed
        assert result.generation == self.generation + 1, "a receipt is a commit"
        self.receipts[key] = result
        self.compare(result, oracle_writes.write(self.oracle, rows), len(rows), alone=False)

    def replay(self) -> None:
        """A known key: the first answer again, whatever comes with it; also while other batches wait."""
        for key, result in list(self.receipts.items())[-3:]:
            again = self.account.submit(self.rows(3), batch_key=key).result(20)
            assert again.replayed
            assert (again.generation, again.accepted, again.created, again.rejects) == (
                result.generation,
                result.accepted,
                result.created,
                result.rejects,
            )
        assert self.account.generation() == self.generation

    def upsert(self) -> None:
        rows = [(r.contact_id, r.fields) for r in self.rows(10) if isinstance(r.contact_id, str)]
        wanted = oracle_writes.upsert(self.oracle, rows)
        result = self.account.upsert(rows)
        assert (result.accepted, result.duplicates) == (wanted.result.accepted, wanted.result.duplicates)
        self.compare(result, wanted, len(rows))

    def tag(self) -> None:
        row = WriteGenerator(RandomChooser(self.rng), self.oracle.schema, self.pools, self.ids)
        ids = [self.ids[int(i)] for i in self.rng.integers(0, len(self.ids), int(self.rng.integers(1, 12)))]
        added, removed = row.tag_edits()
        field = ("tags", "interests")[int(self.rng.integers(2))]
        add = added.get(field, ())
        given = {normalize("NFC", tag) for tag in add}  # here a tag in both is refused
        remove = tuple(tag for tag in removed.get(field, ()) if normalize("NFC", tag) not in given)
        instead = row.tags() if self.rng.integers(3) == 0 else None
        if instead is None:
            wanted = oracle_writes.tag(self.oracle, ids, add=add, remove=remove, field=field)
            result = self.account.tag(ids, add=add, remove=remove, field=field)
        else:
            wanted = oracle_writes.tag(self.oracle, ids, replace_with=instead, field=field)
            result = self.account.tag(ids, replace=instead, field=field)
        self.compare(result, wanted, len(ids))

    def bulk(self) -> None:
        """Enough contacts for a batch that goes straight into the base."""
        rows = [row for row in self.rows(20) if row.contact_id != ""]
        rows += [ContactWrite(contact_id, {"country": "PL"}) for contact_id in self.ids[:BULK]]
        self.compare(self.account.write(rows), oracle_writes.write(self.oracle, rows), len(rows))

    def bulk_among_others(self) -> None:
        first, last = self.rows(5), self.rows(5)
        rows = [ContactWrite(contact_id, {"city": "b"}, {"tags": ["bulk"]}) for contact_id in self.ids[10 : 10 + BULK]]
        futures = [self.account.submit(batch) for batch in (first, rows, last)]
        for batch, future in zip((first, rows, last), futures, strict=True):
            self.compare(future.result(20), oracle_writes.write(self.oracle, batch), len(batch), alone=False)

    def declare(self) -> None:
        kind = list(FieldType)[int(self.rng.integers(len(FieldType)))]
        tracked = kind.may_be_tracked and bool(self.rng.integers(2))
        field = Field(f"extra {len(self.oracle.schema.fields)}", kind, 2 if kind is FieldType.NUMBER else 0, tracked)
        self.account.update_schema([field])
        self.oracle.declare([field])
        assert self.account.generation() == self.generation, "a schema is no contact data"

    def track(self) -> None:
        """A field that had no history begins to have one; declared again without, it goes on."""
        options = [f for f in self.oracle.schema if f.type.may_be_tracked]
        field = options[int(self.rng.integers(len(options)))]
        for tracked in (True, False):
            self.account.update_schema([replace(field, tracked=tracked)])
            self.oracle.declare([replace(field, tracked=tracked)])
        assert self.account.schema() == self.oracle.schema

    def merge(self) -> None:
        self.account.merge()
        assert self.account.generation() == self.generation
        assert self.account.stats().merged_generation == self.generation

    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.directory, clock=self.clock)
        self.account = self.database.account("test")
        assert self.account.generation() == self.generation

    # --- comparisons ---

    def compare(self, result: WriteResult, wanted: Written, rows: int, *, alone: bool = True) -> None:
        """One answer; `alone` in its commit."""
        assert result.created == wanted.result.created
        assert [r.index for r in result.rejects] == [r.index for r in wanted.result.rejects]
        strangers = [r.index for r in result.rejects if r.reason == "CONTACT_NOT_FOUND"]
        assert strangers == [r.index for r in wanted.result.rejects if r.reason == "CONTACT_NOT_FOUND"]
        assert result.accepted + result.duplicates + len(result.rejects) == rows
        steps = [step for step in wanted.steps if step.before != step.after]
        changes = oracle_writes.changes_of(self.oracle, steps)
        if alone:
            assert result.generation in (self.generation, self.generation + 1)
            if any(least for least, _ in changes.values()):
                assert result.generation == self.generation + 1
            if not changes:
                assert result.generation == self.generation
        assert result.generation >= self.generation
        self.generation = result.generation
        self.steps.setdefault(result.generation, []).extend(steps)

    def look_at_the_feed(self) -> None:
        assert self.account.generation() == self.generation
        found = self.feed(int(self.rng.choice([1, 5, 1000])))
        assert list(found) == list(range(self.fed + 1, self.generation + 1))
        for generation, listed in found.items():
            steps = self.steps.pop(generation, [])
            wanted = oracle_writes.changes_of(self.oracle, steps)
            assert listed.keys() <= wanted.keys(), generation
            for contact_id, (least, most) in wanted.items():
                kinds = listed.get(contact_id, frozenset())
                assert least <= kinds <= most, (generation, [s for s in steps if s.contact_id == contact_id])
        assert not any(self.steps.values())
        self.fed = self.generation

    def feed(self, page: int) -> dict[int, dict[str, Kinds]]:
        """All that the feed says behind what was looked at, read page by page."""
        found: dict[int, dict[str, Kinds]] = {}
        after, whole = self.fed, True
        while parts := self.account.changes(after, max_contacts=page):
            for part in parts:
                assert part.time.utcoffset() == timedelta(0)
                listed = {change.contact_id: change.kinds for change in part.contacts}
                assert len(listed) == len(part.contacts)
                assert all(listed.values()), "each listed contact changed in some way"
                assert whole == (part.generation not in found)
                assert listed.keys().isdisjoint(found.setdefault(part.generation, {}))
                found[part.generation] |= listed
                whole = part.last
            if not whole:  # ask again for the generation as a whole
                page *= 2
                found.pop(parts[-1].generation)
                whole = True
                after = parts[-1].generation - 1
            else:
                after = parts[-1].generation
        return found

    def expressions(self, n: int) -> list[Expression]:
        """Without anniversaries, which a field of all years answers slowly, whatever was written."""
        found: list[Expression] = []
        while len(found) < n:
            expression = random_expression(self.rng, self.oracle.schema, self.pools, max_leaves=6)
            if not any(isinstance(node, Anniversary) for node, _, _ in walk(expression)):
                found.append(expression)
        return found

    def check_some(self) -> None:
        for expression in self.expressions(4):
            check_expression(self.account, self.oracle, expression, AT)
            if self.reader is not None:
                self.check_in_another_process(expression)
        for contact_id in [self.ids[int(i)] for i in self.rng.integers(0, len(self.ids), 4)]:
            if contact_id in self.oracle.contacts:
                assert dict(self.account.get(contact_id).fields) == self.oracle.contacts[contact_id]

    def check_in_another_process(self, expression: Expression) -> None:
        assert self.reader is not None
        try:
            wanted = self.oracle.members(expression, AT)
        except SegidxError:
            return
        assert self.reader.members(expression, AT) == (self.generation, wanted)

    def check_all(self) -> None:
        self.look_at_the_feed()
        check_contacts(self.account, self.oracle)
        check_channels(self.account, self.oracle, AT)
        check_statistics(self.account, self.oracle)
        for field in self.oracle.schema:
            if field.type.is_string or field.type is FieldType.TAGS:
                for typed in ("", "a", "x"):
                    check_suggestions(self.account, self.oracle, field.name, typed)
        for expression in self.expressions(6):
            check_expression(self.account, self.oracle, expression, AT)
        problems = list(self.account.verify())
        assert not problems, problems


def live(life: Life, steps: int, weighted: Sequence[tuple[str, int]]) -> None:
    options = [name for name, weight in weighted for _ in range(weight)]
    for step in range(steps):
        getattr(life, options[int(life.rng.integers(len(options)))])()
        if step % 3 == 2:
            life.check_some()
        if step % 15 == 14:
            life.check_all()
    life.check_all()


EVERYTHING: tuple[tuple[str, int], ...] = (
    ("write", 6),
    ("write_in_waves", 3),
    ("write_apart", 3),
    ("write_with_a_key", 1),
    ("replay", 1),
    ("upsert", 3),
    ("tag", 4),
    ("bulk", 1),
    ("bulk_among_others", 1),
    ("declare", 1),
    ("track", 1),
    ("merge", 2),
    ("reopen", 1),
)
