"""A database in dictionaries with the interface of `segidx.database`, for tests of what stands above it.

It knows just enough of expressions: `everyone`, `nobody`, the tree, `=` on a string field, and texts `field = "value"`.
The texts `slow` and `bug` wait for their Stop, and fail as nothing should. Batches are committed by one thread, while
`commits` is set; the batch keys `full` and `bug` make their commits fail.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from segidx.ingest.batch import ContactBatch
from segidx.ingest.event_batch import EventBatch
from segidx.ingest.event_rows import events_from_rows
from segidx.ingest.rows import rows_from_batch
from segidx.kernels.bitmaps import Stop, Stopped
from segidx.model.bands import Bands, bands
from segidx.model.derived import BUILT_IN, DerivedNumber, check_name, derived_number
from segidx.model.errors import (
    AccountExists,
    Cancelled,
    ContactNotFound,
    DeadlineExceeded,
    ExpressionSyntaxError,
    GenerationExpired,
    GenerationNotReached,
    InvalidArgument,
    InvalidContactId,
    InvalidValue,
    SegidxError,
    StorageFull,
    UnknownAccount,
    UnknownBands,
    UnknownDerived,
    UnknownField,
)
from segidx.model.event_groups import GROUPS, EventGroup, event_group
from segidx.model.events import Event, EventType, EventTypes, Order, Retraction
from segidx.model.expression import (
    Aggregate,
    And,
    AtLeast,
    Comparison,
    Events,
    Everyone,
    Expression,
    Nobody,
    Not,
    Operator,
    Or,
    check,
    node_path,
    operands_of,
    skip_unfinished,
    walk,
)
from segidx.model.results import (
    Contact,
    Count,
    Estimate,
    Evaluation,
    ExplainNode,
    Explanation,
    FieldStats,
    Horizon,
    Preview,
    PrunedType,
    Reject,
    Stats,
    Suggestion,
    WriteResult,
)
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.source_settings import SourceSettings, source_settings
from segidx.model.values import Constant, FieldValue
from segidx.model.writes import ChangeKind, Changes, Channel, ChannelFlag, ContactChange, ContactWrite
from segidx.store.layout import CHANNEL_CODES
from segidx.wire.contacts import renumber

_EQUAL = Operator.EQ
_low, _high = Decimal("-1.50"), Decimal("99.00")
EVALUATED_AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


class FakeAccount:
    def __init__(self, info: AccountInfo, database: FakeDatabase) -> None:
        self.info = info
        self.database = database
        self.contacts: dict[str, dict[str, object]] = {}
        self.flags: dict[str, set[tuple[Channel, ChannelFlag]]] = {}
        self.types = EventTypes()
        self.event_groups = dict(GROUPS)
        self.bands: dict[str, Bands] = {}
        self.derived: dict[str, DerivedNumber] = dict(BUILT_IN)
        self.source_settings = SourceSettings()
        self.horizons: dict[str, Horizon] = {}
        # By type and id: the revision and the contact, None of a retracted one.
        self.events: dict[tuple[str, str], tuple[int, str | None]] = {}
        self.log: list[Changes] = []
        self.oldest = 0
        self.part = 10_000
        self.keys: dict[str, WriteResult] = {}
        self.declared = Schema(
            (
                Field("country", FieldType.CATEGORY),
                Field("tags", FieldType.TAGS),
                Field("income", FieldType.NUMBER, 2),
                Field("birthday", FieldType.DATE),
                Field("seen", FieldType.TIMESTAMP),
                Field("consent", FieldType.BOOL),
            )
        )

    # --- evaluation

    def _parse(self, text: str) -> Expression:
        if text in ("everyone", "nobody"):
            return Everyone() if text == "everyone" else Nobody()
        match = re.fullmatch(r'(\w+) = "(\w*)"', text)
        if match is None:
            raise ExpressionSyntaxError("this cannot be read", line=1, column=3, expected=("'and'", "'or'"))
        return Comparison(FieldValue(match[1]), _EQUAL, Constant(match[2]))

    def _wait(self, stop: Stop) -> None:
        self.database.slow.set()
        while not stop.stopped:
            if self.database.hurry.wait(0.005):
                return
        self.database.stopped.set()
        raise DeadlineExceeded("the evaluation was stopped")

    def _holds(self, node: Expression, fields: Mapping[str, object]) -> bool:
        match node:
            case Everyone():
                return True
            case Nobody():
                return False
            case And():
                return all(self._holds(o, fields) for o in node.operands)
            case Or():
                return any(self._holds(o, fields) for o in node.operands)
            case Not():
                return not self._holds(node.operand, fields)
            case AtLeast():
                return sum(self._holds(o, fields) for o in node.operands) >= node.count
            case Comparison(left=FieldValue(field=name), right=Constant(value=value)):
                return fields.get(name) == value
        return False

    def _evaluate(
        self, expression: Expression | str, allow_unfinished: bool, stop: Stop | None
    ) -> tuple[Expression, list[str], tuple[str, ...]]:
        self.database.queries.append(expression)
        if expression == "bug":
            raise RuntimeError("the secret of contact 7")
        if expression == "slow":
            assert stop is not None
            self._wait(stop)
            expression = "everyone"
        node = self._parse(expression) if isinstance(expression, str) else expression
        skipped: tuple[str, ...] = ()
        if allow_unfinished:
            node, skipped = skip_unfinished(node)
        check(node)
        for part, path, _depth in walk(node):
            if isinstance(part, Comparison):
                for side in (part.left, part.right):
                    if isinstance(side, FieldValue) and side.field not in self.declared:
                        raise UnknownField(side.field, [f.name for f in self.declared], path=node_path(path, part))
        return node, sorted(c for c, fields in self.contacts.items() if self._holds(node, fields)), skipped

    def _evaluation(self, skipped: tuple[str, ...] = ()) -> Evaluation:
        return Evaluation(self.generation(), EVALUATED_AT, 0.25, skipped)

    def count(self, expression, *, allow_unfinished=False, stop=None) -> Count:
        _node, found, skipped = self._evaluate(expression, allow_unfinished, stop)
        return Count(len(found), self._evaluation(skipped))

    def count_many(self, expressions, *, allow_unfinished=False, stop=None) -> list[Count | SegidxError]:
        outcomes: list[Count | SegidxError] = []
        for expression in expressions:
            try:
                outcomes.append(self.count(expression, allow_unfinished=allow_unfinished, stop=stop))
            except SegidxError as error:
                outcomes.append(error)
        return outcomes

    def explain(self, expression, *, counts=False, allow_unfinished=False, stop=None) -> Explanation:
        node, found, skipped = self._evaluate(expression, allow_unfinished, stop)

        def plan(part: Expression) -> ExplainNode:
            return ExplainNode(
                type(part).__name__,
                "detail",
                Estimate(0, 1, 2),
                "expression",
                "",
                3 if counts else None,
                4 if counts else None,
                tuple(plan(child) for child in operands_of(part)),
            )

        return Explanation("text", plan(node), ("flatten",), len(found) if counts else None, self._evaluation(skipped))

    def preview(self, expression, *, fields=None, limit=20, allow_unfinished=False, stop=None) -> Preview:
        _node, found, skipped = self._evaluate(expression, allow_unfinished, stop)
        return Preview(
            tuple(
                Contact(c, {k: v for k, v in self.contacts[c].items() if fields is None or k in fields})
                for c in found[:limit]
            ),
            self._evaluation(skipped),
        )

    def suggest(self, field: str, typed: str, *, limit: int = 10, stop=None) -> list[Suggestion]:
        self.declared[field]
        return [Suggestion(f"{typed}{i}", 100 - i) for i in range(limit)]

    # --- contacts

    def upsert(self, rows: Iterable[tuple[str, Mapping[str, object]]]) -> WriteResult:
        return self._commit([ContactWrite(contact_id, fields) for contact_id, fields in rows], "")

    def write(self, rows: Iterable[ContactWrite], *, batch_key: str = "") -> WriteResult:
        return self.submit(rows, batch_key=batch_key).result()

    def submit(self, rows: Iterable[ContactWrite], *, batch_key: str = "") -> Future[WriteResult]:
        held = list(rows)
        self.database.submitted.append(len(held))
        return self.database.committer.submit(self._commit, held, batch_key)

    def write_events(self, events: Iterable[Order | Event | Retraction], *, batch_key: str = "") -> WriteResult:
        batches = events_from_rows(events, self.types, self.info, self.now())
        return self.submit_batches(batches, batch_key=batch_key).result()

    def submit_batches(
        self, batches: Sequence[ContactBatch | EventBatch], *, batch_key: str = ""
    ) -> Future[WriteResult]:
        """The batches as rows again, under their indices; what they have refused already stands beside them."""
        of_contacts = [batch for batch in batches if isinstance(batch, ContactBatch)]
        of_events = [batch for batch in batches if isinstance(batch, EventBatch)]
        rows = [row for batch in of_contacts for row in self._rows_of(batch)]
        self.database.submitted.append(len(rows))
        refused = tuple(reject for batch in of_contacts for reject in batch.rejects)
        indices = [int(i) for batch in of_contacts for i in (batch.indices if batch.indices is not None else ())]

        def commit() -> WriteResult:
            result = self._commit(rows, batch_key)
            if result.replayed:
                return result
            own = (renumber(r, indices[r.index]) for r in result.rejects)
            result = replace(result, rejects=tuple(sorted((*own, *refused), key=lambda r: r.index)))
            result = self._apply_events(of_events, result)
            if batch_key:
                self.keys[batch_key] = result
            return result

        return self.database.committer.submit(commit)

    def _apply_events(self, batches: Sequence[EventBatch], result: WriteResult) -> WriteResult:
        before, accepted, duplicates = len(self.contacts), 0, 0
        for batch in batches:
            duplicates += batch.duplicates
            columns = (batch.ids, batch.contacts, batch.revisions, batch.retracts)
            for event_id, contact, revision, retracts in zip(*(c.tolist() for c in columns), strict=True):
                held = self.events.get((batch.type.name, event_id))
                if held is not None and (revision < held[0] or (revision == held[0] and held[1] is None)):
                    duplicates += 1
                    continue
                accepted += 1
                self.events[batch.type.name, event_id] = revision, None if retracts else contact
                if not retracts:
                    self.contacts.setdefault(contact, {})
        rejects = sorted((reject for batch in batches for reject in batch.rejects), key=lambda r: r.index)
        return replace(
            result,
            created=result.created + len(self.contacts) - before,
            events_accepted=accepted,
            events_duplicates=duplicates,
            event_rejects=tuple(rejects),
        )

    def _rows_of(self, batch: ContactBatch) -> list[ContactWrite]:
        rows = []
        must_exist = batch.must_exist if batch.must_exist is not None else [False] * len(batch.ids)
        for row, (contact_id, fields) in enumerate(rows_from_batch(batch, self.declared)):
            added: dict[str, list[str]] = {}
            removed: dict[str, list[str]] = {}
            for name, edit in batch.edits.items():
                for at, tag, given in zip(edit.rows, edit.tags.to_pylist(), edit.added, strict=True):
                    if at == row:
                        (added if given else removed).setdefault(name, []).append(tag)
            channels: dict[Channel, dict[ChannelFlag, bool]] = {}
            if batch.flags is not None:
                for at, code, value in zip(batch.flags.rows, batch.flags.codes, batch.flags.values, strict=True):
                    if at == row:
                        channel, flag = divmod(int(code) - CHANNEL_CODES, 16)
                        channels.setdefault(list(Channel)[channel], {})[list(ChannelFlag)[flag]] = bool(value)
            rows.append(ContactWrite(contact_id, fields, added, removed, channels, bool(must_exist[row])))
        return rows

    def _commit(self, rows: list[ContactWrite], batch_key: str) -> WriteResult:
        self.database.commits.wait()
        if batch_key == "full":
            raise StorageFull("the disk is full; free some space", free=0)
        if batch_key == "bug":
            raise RuntimeError("the secret of contact 7")
        if batch_key in self.keys:
            return replace(self.keys[batch_key], replayed=True)
        before, accepted = set(self.contacts), 0
        changed: dict[str, set[ChangeKind]] = {}
        rejects: list[Reject] = []
        for index, row in enumerate(rows):
            field, error = self._refusal(row)
            if error is not None:
                rejects.append(Reject(index, str(row.contact_id), field, error.reason, f"row {index}: {error.message}"))
                continue
            accepted += 1
            self._apply(row, changed.setdefault(str(row.contact_id), set()))
        contacts = tuple(ContactChange(c, frozenset(kinds)) for c, kinds in changed.items())
        with self.database.committed:
            generation = self.generation() + 1
            for first in range(0, max(len(contacts), 1), self.part):
                last = first + self.part >= len(contacts)
                self.log.append(Changes(generation, EVALUATED_AT, contacts[first : first + self.part], last))
            self.database.committed.notify_all()
        result = WriteResult(generation, accepted, len(set(changed) - before), 0, tuple(rejects))
        if batch_key:
            self.keys[batch_key] = result
        return result

    def _refusal(self, row: ContactWrite) -> tuple[str, SegidxError | None]:
        for name in (*row.fields, *row.tags_added, *row.tags_removed):
            if name not in self.declared:
                return name, UnknownField(name, [f.name for f in self.declared])
        if not row.contact_id:
            return "", InvalidContactId("the id is empty")
        if row.must_exist and row.contact_id not in self.contacts:
            return "", ContactNotFound(str(row.contact_id))
        return "", None

    def _apply(self, row: ContactWrite, kinds: set[ChangeKind]) -> None:
        contact_id = str(row.contact_id)
        if contact_id not in self.contacts:
            kinds.add(ChangeKind.CREATED)
        held = self.contacts.setdefault(contact_id, {})
        for name, value in row.fields.items():
            kinds.add(ChangeKind.FIELDS)
            if value is None:
                held.pop(name, None)
            else:
                held[name] = value
        for name in (*row.tags_removed, *row.tags_added):
            kinds.add(ChangeKind.TAGS)
            old = held.get(name, frozenset())
            assert isinstance(old, frozenset)
            held[name] = old - set(row.tags_removed.get(name, ())) | set(row.tags_added.get(name, ()))
        for channel, flags in row.channels.items():
            kinds.add(ChangeKind.CHANNELS)
            for flag, value in flags.items():
                here = self.flags.setdefault(contact_id, set())
                (here.add if value else here.discard)((channel, flag))

    def generation(self) -> int:
        return self.log[-1].generation if self.log else 0

    def wait_for_generation(self, generation: int, *, stop: Stop | None, timeout: float) -> None:
        end = time.monotonic() + timeout
        with self.database.committed:
            while self.generation() < generation:
                try:
                    if stop is not None:
                        stop.check()
                except Stopped as stopped:
                    raise (DeadlineExceeded if stopped.reason == "deadline" else Cancelled)(str(stopped)) from None
                if not self.database.committed.wait(min(0.02, end - time.monotonic())) and time.monotonic() >= end:
                    raise GenerationNotReached(
                        f"generation {generation} is not reached", generation=generation, current=self.generation()
                    )

    def changes(self, after: int, *, max_contacts: int = 10_000) -> list[Changes]:
        if after < self.oldest:
            raise GenerationExpired(f"generation {after} is gone; read everything again", oldest=self.oldest)
        if after > self.generation():
            raise InvalidArgument(f"generation {after} is not committed yet", argument="after")
        found: list[Changes] = []
        for changes in self.log:
            if changes.generation > after:
                found.append(changes)
                if changes.last and sum(len(c.contacts) for c in found) >= max_contacts:
                    break
        return found

    def tag(
        self,
        contact_ids: Sequence[str],
        *,
        field: str = "tags",
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: Sequence[str] | None = None,
    ) -> WriteResult:
        if self.declared[field].type is not FieldType.TAGS:
            raise InvalidValue(f"{field} has no tags")
        if replace is not None:
            rows = [ContactWrite(c, {field: frozenset(replace)}, must_exist=True) for c in contact_ids]
        else:
            rows = [
                ContactWrite(c, {}, {field: set(add) - set(remove)}, {field: remove}, must_exist=True)
                for c in contact_ids
            ]
        return self._commit(rows, "")

    def get(self, contact_id: str) -> Contact:
        if contact_id not in self.contacts:
            raise ContactNotFound(contact_id)
        return Contact(contact_id, dict(self.contacts[contact_id]))

    # --- schema

    def schema(self) -> Schema:
        return self.declared

    def update_schema(self, fields: Sequence[Field]) -> Schema:
        self.declared = self.declared.extended(fields)
        return self.declared

    @property
    def event_types(self) -> EventTypes:
        return self.types

    def declare_event_types(self, types: Iterable[EventType]) -> EventTypes:
        self.types = self.types.extended(types)
        return self.types

    def set_event_group(self, name: str, members: Iterable[Events]) -> EventGroup:
        group = event_group(name, members)
        for each in group.members:
            self.types[each.type]
        self.event_groups[name] = group
        return group

    def declare_bands(
        self, name: str, value: Aggregate, thresholds: Iterable[Decimal], labels: Iterable[str] | None = None
    ) -> Bands:
        of = bands(name, value, thresholds, labels)
        self.types[of.value.events.type]
        self.bands[name] = of
        return of

    def remove_bands(self, name: str) -> None:
        if self.bands.pop(name, None) is None:
            raise UnknownBands(name, self.bands)

    def declare_derived(self, name: str, value: Aggregate) -> DerivedNumber:
        self.derived[name] = of = derived_number(name, value)
        return of

    def remove_derived(self, name: str) -> None:
        if self.derived.pop(check_name(name), None) is None:
            raise UnknownDerived(name, [])

    def set_source_settings(self, settings: SourceSettings) -> SourceSettings:
        self.source_settings = source_settings(settings.order_minutes, settings.own_hosts)
        return self.source_settings

    def prune(
        self, before: datetime, types: Iterable[str] = (), *, dry_run: bool = False, stop: Stop | None = None
    ) -> list[PrunedType]:
        """Of each type it drops 7 events with 3 lines, and one number is too large."""
        if before > EVALUATED_AT:
            raise InvalidArgument("the future is not pruned", argument="before")
        chosen = [self.types[name].name for name in types] or ["order", "visit"]
        if not dry_run:
            self.horizons |= {name: Horizon(name, before, (f"count({name})",)) for name in chosen}
        return [PrunedType(name, before, 7, 3, ("sum(order.amount)",)) for name in chosen]

    def now(self) -> int:
        return int(EVALUATED_AT.timestamp() * 1000)

    def stats(self) -> Stats:
        return Stats(
            self.info.name,
            self.generation(),
            len(self.contacts),
            (
                FieldStats("country", "category", 2, 1),
                FieldStats("income", "number(2)", 1, None, _low, _high),
                FieldStats("birthday", "date", 0, None),
            ),
            1,
            7,
            2**40,
            4096,
            8192,
            3,
            {"postings": 100, "columns": 200},
            1234,
            5,
            678,
            0,
            1.5,
        )


class FakeDatabase:
    """`FakeDatabase()` holds the account `default` with four contacts."""

    def __init__(self) -> None:
        self.slow = threading.Event()
        self.hurry = threading.Event()
        self.stopped = threading.Event()
        self.queries: list[Expression | str] = []
        # Rows of each batch that was submitted.
        self.submitted: list[int] = []
        self.commits = threading.Event()
        self.commits.set()
        self.committed = threading.Condition()
        self.committer = ThreadPoolExecutor(1, thread_name_prefix="fake-committer")
        self.held: dict[str, FakeAccount] = {}
        self.create_account(AccountInfo("default", "Europe/Warsaw", "PLN", 2)).upsert(
            [
                ("a", {"country": "PL"}),
                ("b", {"country": "PL"}),
                ("c", {"country": "DE"}),
                ("d", {}),
            ]
        )

    def account(self, name: str) -> FakeAccount:
        if name not in self.held:
            raise UnknownAccount(name, self.held)
        return self.held[name]

    def create_account(self, info: AccountInfo) -> FakeAccount:
        if info.name in self.held:
            raise AccountExists(info.name)
        self.held[info.name] = FakeAccount(info, self)
        return self.held[info.name]

    def accounts(self) -> list[AccountInfo]:
        return [account.info for account in self.held.values()]

    def close(self) -> None:
        self.commits.set()
        self.hurry.set()
        self.committer.shutdown()
