"""The embedded API: open a data directory, count segments, write contacts, in process.

    with Database.open("data", create=True) as database:
        account = database.account("default")
        account.update_schema([Field("country", FieldType.CATEGORY)])
        account.upsert([("anna", {"country": "PL"})])
        account.count('country = "PL"').count

The gRPC service stands on this, and `segidx.client` offers the same calls on a server. One writing process a
directory; any number of reading ones.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.exec.evaluate import materialise, stop_errors
from segidx.exec.explain import explain_plan
from segidx.exec.feed import read_feed
from segidx.exec.fetch import decode, fetch_contacts
from segidx.exec.kept_plans import KeptPlans
from segidx.exec.products import get_product, list_products
from segidx.exec.query import Limits
from segidx.exec.run import Run
from segidx.exec.suggest import suggest
from segidx.exec.timeline import Timeline, read_timeline
from segidx.ingest.batch import ContactBatch
from segidx.ingest.derived import bind_kept
from segidx.ingest.event_batch import EventBatch
from segidx.ingest.event_rows import events_from_rows, orders_from_rows
from segidx.ingest.group import Batch
from segidx.ingest.import_events import EventImportReport, import_events
from segidx.ingest.import_products import ProductImportReport, import_products
from segidx.ingest.importing import Progress
from segidx.ingest.mapping import Overrides
from segidx.ingest.product_batch import ProductBatch, products_from_rows
from segidx.ingest.prune import count_before
from segidx.ingest.rows import batch_from_rows
from segidx.ingest.values import tag_names
from segidx.ingest.writer import Writer
from segidx.ingest.writes import batches_from_writes
from segidx.kernels.bitmaps import Stop
from segidx.model.bands import Bands, band_value, bands, check_decimals
from segidx.model.derived import DerivedNumber, check_name, derived_number, derived_value
from segidx.model.errors import (
    Closed,
    ContactNotFound,
    GenerationNotReached,
    InvalidArgument,
    Kind,
    ReadOnly,
    SegidxError,
)
from segidx.model.event_groups import EventGroup, event_group, member
from segidx.model.events import Event, EventType, EventTypes, Order, Retraction
from segidx.model.expression import Aggregate, Events, Expression
from segidx.model.products import Product, ProductWrite
from segidx.model.results import (
    Contact,
    ContactEvents,
    Count,
    Explanation,
    FieldStats,
    Horizon,
    Preview,
    ProductWriteResult,
    PrunedType,
    Stats,
    Suggestion,
    WriteResult,
)
from segidx.model.retention import horizon_at, instant_text, prunable, prunable_types
from segidx.model.schema import DEFAULT_ACCOUNT, AccountInfo, Field, FieldType, Schema
from segidx.model.source_settings import SourceSettings, source_settings
from segidx.model.syntax import format_expression
from segidx.model.windows import from_millis
from segidx.model.writes import Changes, ContactWrite
from segidx.plan.context import BindContext
from segidx.plan.derived import check_kept
from segidx.plan.events import bind_aggregate, bind_events
from segidx.plan.values import BoundAggregate
from segidx.store.catalog import horizons_of
from segidx.store.directory import DataDirectory
from segidx.store.environment import AccountStore, create_account, open_account
from segidx.store.snapshot import Snapshot
from segidx.store.verify import Verification

MAX_PREVIEW = 1000
MAX_SUGGESTIONS = 1000
MAX_PRODUCTS = 1000  # of one page
_FOUND_AT_ONCE = 50_000  # ids looked up in one snapshot, some hundredths of a second

Clock = Callable[[], int]  # milliseconds since 1970


def system_clock() -> int:
    return time.time_ns() // 1_000_000


class Database:
    """An opened data directory. Safe to use from several threads. Open it once a process and share it."""

    def __init__(self, directory: DataDirectory, clock: Clock, limits: Limits, quota_bytes: int | None) -> None:
        self._directory = directory
        self._clock = clock
        self._limits = limits
        self._quota_bytes = quota_bytes
        self._accounts: dict[str, Account] = {}
        self._lock = threading.Lock()
        self._open = True

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        create: bool = False,
        clock: Clock = system_clock,
        limits: Limits | None = None,
        quota_bytes: int | None = None,
    ) -> Database:
        """Open DIR. With `create`, make it if it is missing or empty; the account `default` is made with it.

        `quota_bytes` bounds the file of each account. Raises DataDirectoryNotFound, NotADataDirectory, NewerFormat,
        AlreadyOpenForWriting.
        """
        directory = DataDirectory.open(path, writable=not read_only, create=create)
        try:
            if not read_only and not directory.has_account(DEFAULT_ACCOUNT):
                create_account(directory, AccountInfo(DEFAULT_ACCOUNT))
        except SegidxError:
            directory.close()
            raise
        return cls(directory, clock, limits or Limits(), quota_bytes)

    def account(self, name: str = DEFAULT_ACCOUNT) -> Account:
        """The account of that name. Raises UnknownAccount, CorruptData, NewerFormat."""
        with self._lock:
            self._check_open()
            found = self._accounts.get(name)
            if found is None:
                store = open_account(self._directory, name, quota_bytes=self._quota_bytes)
                found = self._accounts[name] = Account(store, self._clock, self._limits)
            return found

    def create_account(self, info: AccountInfo) -> Account:
        """Make an account. Raises AccountExists, ReadOnly."""
        with self._lock:
            self._check_open()
            create_account(self._directory, info)
        return self.account(info.name)

    def accounts(self) -> list[AccountInfo]:
        """All accounts, by name."""
        return [self.account(name).info for name in self._directory.account_names()]

    @property
    def failed(self) -> bool:
        """Whether the disk failed in a commit, so that an account answers nothing until the database is opened anew."""
        with self._lock:
            return any(account._store.failed for account in self._accounts.values())

    def catch_up(self) -> None:
        """Read what the logs of opened accounts have grown by, so that the next evaluation need not. For processes that
        only read, every now and then."""
        with self._lock:
            accounts = list(self._accounts.values())
        for account in accounts:
            account._store.catch_up()

    def close(self) -> None:
        """Close every account and give the writer's lock up."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            accounts = list(self._accounts.values())
        # Outside the lock: what is queued is committed first.
        for account in accounts:
            account.close()
        self._directory.close()

    def _check_open(self) -> None:
        if not self._open:
            raise Closed(f"{self._directory.path} is closed")

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Account:
    """One account of an opened database."""

    def __init__(self, store: AccountStore, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._plans = KeptPlans(limits)
        self._writer = Writer(store, clock)
        if store.writable and store.state().generation > store.state().merged:
            try:
                self._writer.merger.begin()
            except SegidxError:
                store.close()
                raise

    def close(self) -> None:
        """Commit what is queued and close the account's files. `Database.close` does this for all."""
        self._writer.close()
        self._plans.clear()
        self._store.close()

    @property
    def info(self) -> AccountInfo:
        return self._store.info

    # --- evaluation ---

    def count(self, expression: Expression | str, *, allow_unfinished: bool = False, stop: Stop | None = None) -> Count:
        """How many contacts the expression holds, exactly."""
        with self._evaluation(stop) as run:
            return run.count(expression, allow_unfinished)

    def count_many(
        self, expressions: Sequence[Expression | str], *, allow_unfinished: bool = False, stop: Stop | None = None
    ) -> list[Count | SegidxError]:
        """Counts of several expressions on one snapshot; the error in place of a count that has one.

        Raises DeadlineExceeded and Cancelled for the whole call.
        """
        answers: list[Count | SegidxError] = []
        with self._evaluation(stop) as run:
            for expression in expressions:
                try:
                    run.restart_timer()
                    answers.append(run.count(expression, allow_unfinished))
                except SegidxError as error:
                    if error.kind in (Kind.DEADLINE, Kind.CANCELLED):
                        raise
                    answers.append(error)
        return answers

    def explain(
        self,
        expression: Expression | str,
        *,
        counts: bool = False,
        allow_unfinished: bool = False,
        stop: Stop | None = None,
    ) -> Explanation:
        """The plan of an expression; with `counts`, how many each condition keeps, and how many the whole would hold
        without it."""
        with self._evaluation(stop) as run:
            prepared = run.prepare(expression, allow_unfinished)
            tree = explain_plan(prepared.plan, run.context, counts=counts)
            text = format_expression(prepared.expression)
            return Explanation(text, tree, prepared.rules, tree.count, run.done(prepared.skipped))

    def preview(
        self,
        expression: Expression | str,
        *,
        fields: Sequence[str] | None = None,
        limit: int = 20,
        allow_unfinished: bool = False,
        stop: Stop | None = None,
    ) -> Preview:
        """The first contacts of an expression, in order of their creation, with the chosen fields (all by default)."""
        if not 1 <= limit <= MAX_PREVIEW:
            raise InvalidArgument(f"limit must be 1 to {MAX_PREVIEW}, not {limit}", limit=limit)
        with self._evaluation(stop) as run:
            prepared = run.prepare(expression, allow_unfinished)
            chosen = self._fields(run.context.snapshot, fields)
            ordinals = materialise(prepared.plan, run.context)[:limit]
            contacts = fetch_contacts(run.context.snapshot, np.array(ordinals, np.uint32), chosen)
            return Preview(tuple(contacts), run.done(prepared.skipped))

    def suggest(self, field: str, typed: str, *, limit: int = 10, stop: Stop | None = None) -> list[Suggestion]:
        """Values of a field that contain the typed text, with how many contacts hold each; best first."""
        if not 1 <= limit <= MAX_SUGGESTIONS:
            raise InvalidArgument(f"limit must be 1 to {MAX_SUGGESTIONS}, not {limit}", limit=limit)
        with self._evaluation(stop) as run:
            return suggest(run.context.schema[field], typed, limit, run.context)

    # --- contacts ---

    def get(self, contact_id: str) -> Contact:
        """One contact with all its fields. Raises ContactNotFound."""
        with self._store.snapshot() as snapshot:
            ordinal = snapshot.ids.find_one(contact_id)
            if ordinal is None:
                raise ContactNotFound(contact_id)
            return fetch_contacts(snapshot, np.array([ordinal], np.uint32), snapshot.catalog.schema.fields)[0]

    def contact_events(
        self,
        contact_id: str,
        *,
        types: Iterable[str] = (),
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        oldest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        stop: Stop | None = None,
    ) -> ContactEvents:
        """A page of what happened to a contact, newest first unless `oldest_first`: events of the named types, of all
        by default, with start_time <= time < end_time, orders with their lines, and the history of tracked fields
        (`change`, `tagging`).

        At most `page_size` events, 100 for 0, and never more than 1,000; fewer where they are large. To go on, ask for
        the same with `next_page_token`: pages neither repeat nor leave out what is there all the time. Raises
        ContactNotFound, UnknownEventType, InvalidValue for times that cannot be compared with, and InvalidArgument,
        also for a token of another question.
        """
        wanted = Timeline.of(contact_id, types, start_time, end_time, oldest_first)
        with self._evaluation(stop) as run:
            events, token = read_timeline(wanted, page_size, page_token, run.context)
            return ContactEvents(tuple(events), token, run.done())

    def upsert(self, rows: Iterable[tuple[str | bytes, Mapping[str, object]]]) -> WriteResult:
        """Create or update contacts, one batch: its valid rows commit together and are on the disk on return.

        Fields given are set, None clears, others stay; a tags value replaces the field's tags. Bad rows are returned
        as rejects. Of rows with one id the last wins.
        """
        return self.apply(batch_from_rows(rows, self.schema()))

    def apply(self, batch: ContactBatch) -> WriteResult:
        """Apply a batch that is validated already (see `segidx.ingest`)."""
        self._check_writable()
        return self._writer.apply(batch)

    def write(
        self,
        rows: Iterable[ContactWrite] = (),
        *,
        events: Iterable[Order | Event | Retraction] = (),
        batch_key: str = "",
    ) -> WriteResult:
        """Write fields, tags and flags of contacts, and events behind them: one batch, applied in order and committed
        together.

        Bad rows and events are returned as rejects; the others stand. A batch sent again with its `batch_key` (up to
        128 bytes, remembered for 48 hours) gets the first answer again and changes nothing.
        """
        return self.submit(rows, events=events, batch_key=batch_key).result()

    def submit(
        self,
        rows: Iterable[ContactWrite] = (),
        *,
        events: Iterable[Order | Event | Retraction] = (),
        batch_key: str = "",
    ) -> Future[WriteResult]:
        """`write` without waiting for the disk: rows are checked now, and committed in the order of submission. Waits
        while too much is queued. The future's result is the acknowledgement."""
        batches: list[Batch] = [*batches_from_writes(rows, self.schema()), *self._event_batches(events)]
        return self.submit_batches(batches, batch_key=batch_key)

    def submit_batches(self, batches: Sequence[Batch], *, batch_key: str = "") -> Future[WriteResult]:
        """`submit` of rows and events that are validated already (see `segidx.ingest`), to be applied one batch behind
        another."""
        self._check_writable()
        return self._writer.submit(batches, batch_key)

    def tag(
        self,
        contact_ids: Sequence[str],
        *,
        field: str = "tags",
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: Sequence[str] | None = None,
    ) -> WriteResult:
        """Add, remove, or replace tags of contacts; contacts that are not there are rejects."""
        self._check_writable()
        return self._writer.tag(
            contact_ids,
            self.schema()[field],
            add=tag_names(add),
            remove=tag_names(remove),
            replace_with=None if replace is None else tag_names(replace),
        )

    # --- events ---

    @property
    def event_types(self) -> EventTypes:
        """The event types that every account has, and those declared in this one."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.event_types

    def declare_event_types(self, types: Iterable[EventType]) -> EventTypes:
        """Declare event types; all of the account. Declaring one again as it is changes nothing. Raises SchemaConflict
        for one that has other properties, InvalidSchema for one that cannot be."""
        self._check_writable()
        return self._writer.declare_event_types(types)

    @property
    def event_groups(self) -> Mapping[str, EventGroup]:
        """The groups of events by name: `interaction` and `touch`."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.event_groups

    def set_event_group(self, name: str, members: Iterable[Events | str]) -> EventGroup:
        """Say which events a group has, `interaction` or `touch`: each an `Events` without a window, or its text as in
        `did(...)`, such as `message where kind = "clicked"`. Conditions on the group ask for these from now on.

        Raises InvalidArgument for what cannot be a group, and what an evaluation of its members raises.
        """
        self._check_writable()
        group = event_group(name, [member(each) if isinstance(each, str) else each for each in members])
        with self._store.snapshot() as snapshot:
            context = BindContext(snapshot, self._clock(), self.info.tz, behind_horizons=True)
            for number, each in enumerate(group.members):
                bind_events(each, context, f"event_group.members[{number}]")
        self._writer.set_event_group(group)
        return group

    @property
    def bands(self) -> Mapping[str, Bands]:
        """The bands that are declared, by name."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.bands

    def declare_bands(
        self,
        name: str,
        value: Aggregate | str,
        thresholds: Iterable[Decimal | int],
        labels: Iterable[str] | None = None,
    ) -> Bands:
        """Declare bands over a count of events or a sum over them, `value`, which is an Aggregate or its text, such as
        `sum(order.amount)`; with a name that is known, in place of those. Conditions (`band(name) = "100-500"`) ask for
        these from now on. `thresholds` ascend, `labels` are of the bands from the lowest, two more than thresholds:
        that of no value first; without them they are `none`, `<100`, `100-500`, `500+`.

        Raises InvalidArgument for what cannot be bands, InvalidValue for a threshold that is no number, and what an
        evaluation of the value raises.
        """
        self._check_writable()
        declared = bands(name, band_value(value) if isinstance(value, str) else value, thresholds, labels)
        with self._store.snapshot() as snapshot:
            context = BindContext(snapshot, self._clock(), self.info.tz, behind_horizons=True)
            bound = bind_aggregate(declared.value, context, "bands.value")
        assert isinstance(bound, BoundAggregate)
        check_decimals(declared, bound.scale)
        self._writer.declare_bands(declared)
        return declared

    def remove_bands(self, name: str) -> None:
        """Take bands away: conditions on them are refused from now on. Raises UnknownBands."""
        self._check_writable()
        self._writer.remove_bands(name)

    @property
    def derived(self) -> Mapping[str, DerivedNumber]:
        """The derived numbers by name, those that every account has among them."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.derived

    def declare_derived(self, name: str, value: Aggregate | str) -> DerivedNumber:
        """Declare a number to be kept beside the events, an Aggregate of all time or its text, such as
        `sum(order.amount where paid)` or `last(visit).time`; with a name that is known, in place of that one. What
        conditions mean is the same with and without: those that ask for it are answered sooner.

        Raises InvalidArgument for what cannot be one, a filter on what is not of the events themselves among it (the
        catalogue of products, the source that an order takes from a visit, the hour, weekday and month), and what an
        evaluation of the value raises.
        """
        self._check_writable()
        declared = derived_number(name, derived_value(value) if isinstance(value, str) else value)
        with self._store.snapshot() as snapshot:
            context = BindContext(snapshot, self._clock(), self.info.tz, behind_horizons=True)
            check_kept(declared, context)
            bind_aggregate(declared.value, context, "derived.value")
        self._writer.declare_derived(declared)
        return declared

    def remove_derived(self, name: str) -> None:
        """Take a derived number away: it is no longer kept. Conditions that ask for it are answered from the events.
        Raises UnknownDerived, InvalidArgument for one that every account has."""
        self._check_writable()
        self._writer.remove_derived(check_name(name))

    def keep_derived(self) -> None:
        """Build now what the columns of derived numbers lack behind events that were written in bulk. Without it that
        is done some seconds later, or when the data are opened for writing again; until then conditions are answered
        from the events. Raises StorageFull, CorruptData."""
        self._check_writable()
        self._writer.merger.build()

    @property
    def source_settings(self) -> SourceSettings:
        """What the account says of where visits and orders come from."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.source_settings

    def set_source_settings(self, settings: SourceSettings) -> SourceSettings:
        """Say all of it anew. Orders take a visit's source by these minutes from now on, those that are written already
        too; the hosts are for visits that are written from now on. Raises InvalidArgument for what cannot be set."""
        self._check_writable()
        found = source_settings(settings.order_minutes, settings.own_hosts)
        self._writer.set_source_settings(found)
        return found

    # --- retention ---

    @property
    def horizons(self) -> Mapping[str, Horizon]:
        """Behind which instant events are dropped, by event type; orders take their lines with them."""
        with self._store.snapshot() as snapshot:
            return horizons_of(snapshot.catalog)

    def prune(
        self, before: datetime | date, types: Iterable[str] = (), *, dry_run: bool = False, stop: Stop | None = None
    ) -> list[PrunedType]:
        """Drop the events before an instant (a date begins with its local midnight), of the named types or of all but
        the history of tracked fields; how many each has lost. With `dry_run` nothing is dropped: how many would be.

        From then on no question may reach behind: PrunedHistory. Numbers over all time that every account has or that
        bands are over are exact as before (docs/RETENTION.md). A type whose horizon is later already is left as it is;
        a prune that was interrupted is finished. Raises UnknownEventType, and InvalidArgument for lines and for an
        instant that is not from 1970 to now.
        """
        if not dry_run:
            self._check_writable()
        horizon = horizon_at(before, self.info.tz)
        if not 0 < horizon <= self._clock():
            when = instant_text(horizon)
            raise InvalidArgument(
                f"events are pruned before an instant from 1970 to now, not before {when}", argument="before"
            )
        with self._store.snapshot() as snapshot:
            known, horizons = snapshot.catalog.event_types, snapshot.catalog.horizons
            names = dict.fromkeys(types)
            chosen = [prunable(name, known) for name in names] if names else prunable_types(known)
            wanted = {each: max(horizon, horizons.get(each.name, 0)) for each in chosen}
            if dry_run:
                with stop_errors():
                    counted = {each: count_before(snapshot, each, time, stop) for each, time in wanted.items()}
                return [PrunedType(each.name, from_millis(wanted[each]), *counted[each]) for each in chosen]
        dropped = self._writer.prune(wanted, _checked(stop))
        return [
            PrunedType(each.name, from_millis(wanted[each]), done.events, done.lines, done.ended)
            for each, done in dropped.items()
        ]

    # --- events, written ---

    def write_events(self, events: Iterable[Order | Event | Retraction], *, batch_key: str = "") -> WriteResult:
        """Write, replace and retract events and orders: one batch, applied in order and committed together.

        Sending an id again replaces its event, an order with all its lines, unless what is held of the id has a greater
        `revision` or was retracted in the same. A retraction may come before its event. Contacts that are not known are
        created. Bad events are returned as `event_rejects`; the others stand. `batch_key` as in `write`.
        """
        return self.submit_batches(self._event_batches(events), batch_key=batch_key).result()

    def import_events(
        self,
        type: str,
        path: str | os.PathLike[str],
        *,
        columns: Mapping[str, str] | None = None,
        reject_path: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> EventImportReport:
        """Import the events of one type, any but orders, from a CSV, Parquet or Arrow file: see
        `segidx.ingest.import_events`."""
        self._check_writable()
        where = None if reject_path is None else Path(reject_path)
        report = import_events(self, type, Path(path), columns=columns, reject_path=where, progress=progress)
        self.keep_derived()
        return report

    def import_orders(self, orders: Iterable[Order]) -> WriteResult:
        """Write orders with their lines; an id that is known replaces its order and all its lines. The valid ones
        commit together, in a generation of their own, and are on the disk on return; contacts that are not known are
        created before (`created` of the result). Bad orders are returned as rejects. Of orders with one id the last
        wins. (`accepted`, `duplicates` and `rejects` of the result are the orders' here.)

        Meant for many at a time: each call folds into the base what was written before. For some at a time there is
        `write_events`.
        """
        self._check_writable()
        result = self.apply_events(orders_from_rows(orders, self.info, self._clock(), horizons=self.horizons))
        return replace(
            result,
            accepted=result.events_accepted,
            duplicates=result.events_duplicates,
            rejects=result.event_rejects,
        )

    def find_contacts(self, contact_ids: pa.Array) -> npt.NDArray[np.int64]:
        """The ordinal of each contact id of a pyarrow string array, -1 where there is no such contact. A contact keeps
        its ordinal, so what was found may be used beside later commits."""
        found = [np.zeros(0, np.int64)]
        for first in range(0, len(contact_ids), _FOUND_AT_ONCE):
            # A snapshot each: one that is held longer keeps commits from using pages again.
            with self._store.snapshot() as snapshot:
                found.append(snapshot.ids.find(contact_ids.slice(first, _FOUND_AT_ONCE)))
        return np.concatenate(found)

    def apply_events(self, events: EventBatch) -> WriteResult:
        """Write many events that are validated already (see `segidx.ingest.event_batch`) and retract nothing, as an
        import does: straight into the base, behind the contacts that are new."""
        self._check_writable()
        return self._writer.apply_events(events)

    def _event_batches(self, events: Iterable[Order | Event | Retraction]) -> tuple[EventBatch, ...]:
        if events == ():
            return ()
        with self._store.snapshot() as snapshot:
            catalog = snapshot.catalog
        return events_from_rows(
            events,
            catalog.event_types,
            self.info,
            self._clock(),
            own_hosts=catalog.source_settings.own_hosts,
            horizons=horizons_of(catalog),
        )

    # --- the product catalogue ---

    @property
    def product_schema(self) -> Schema:
        """The properties of products: those that every account has, then those declared in this one."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.products

    def update_product_schema(self, properties: Iterable[Field]) -> Schema:
        """Declare more properties of products: category, tags, number or bool; a text is kept as a category. Raises
        SchemaConflict for a change of type or scale, InvalidSchema for a property that cannot be."""
        self._check_writable()
        return self._writer.declare_product_properties(properties)

    def write_products(self, rows: Iterable[ProductWrite], *, batch_key: str = "") -> ProductWriteResult:
        """Change the catalogue of products: one batch, applied in order and committed whole, in a generation of its own
        if it changes anything.

        Bad rows are returned as rejects; the others stand. `batch_key` as in `write`; keys of products are their own.
        """
        return self.apply_products(products_from_rows(rows, self.product_schema), batch_key=batch_key)

    def apply_products(self, batch: ProductBatch, *, batch_key: str = "") -> ProductWriteResult:
        """`write_products` of a batch that is validated already (see `segidx.ingest.product_batch`)."""
        self._check_writable()
        return self._writer.write_products(batch, batch_key)

    def import_products(
        self,
        path: str | os.PathLike[str],
        *,
        id_column: str = "product_id",
        overrides: Overrides | None = None,
        reject_path: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> ProductImportReport:
        """Import products from a CSV, Parquet or Arrow file: see `segidx.ingest.import_products`."""
        self._check_writable()
        where = None if reject_path is None else Path(reject_path)
        return import_products(
            self, Path(path), id_column=id_column, overrides=overrides, reject_path=where, progress=progress
        )

    def product(self, product_id: str) -> Product:
        """One product with its properties. Raises ProductNotFound."""
        with self._store.snapshot() as snapshot:
            return get_product(snapshot, product_id)

    def products(self, after: str | None = None, *, limit: int = 100) -> list[Product]:
        """At most `limit` products, 1 to 1,000, in byte order of their ids: the first, or those behind the id `after`,
        which need not be there."""
        if not 1 <= limit <= MAX_PRODUCTS:
            raise InvalidArgument(f"limit must be 1 to {MAX_PRODUCTS}, not {limit}", limit=limit)
        with self._store.snapshot() as snapshot:
            return list_products(snapshot, after, limit)

    # --- the clock, and merging ---

    def now(self) -> int:
        """The clock of the database, milliseconds since 1970."""
        return self._clock()

    def merge(self) -> None:
        """Fold all committed changes into the base now, instead of when the merger would. Changes no answer."""
        self._check_writable()
        self._writer.merger.merge_all()

    # --- generations and changes ---

    def generation(self) -> int:
        """The newest committed generation."""
        return self._store.state().generation

    def wait_for_generation(self, generation: int, *, stop: Stop | None = None, timeout: float = 10.0) -> None:
        """Return when the generation is committed. Raises GenerationNotReached after `timeout` seconds, Stopped's
        errors (Cancelled, DeadlineExceeded) earlier."""
        end = time.monotonic() + timeout
        pause = 0.001
        while (current := self.generation()) < generation:
            with stop_errors():
                if stop is not None:
                    stop.check()
            left = end - time.monotonic()
            if left <= 0:
                raise GenerationNotReached(
                    f"generation {generation} was not committed in time; the newest is {current}:"
                    " ask again, or for one that a write has returned",
                    generation=generation,
                    current=current,
                )
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)

    def changes(self, after: int, *, max_contacts: int = 10_000) -> list[Changes]:
        """What was committed behind the generation `after`, oldest first: whole generations, one where there is any,
        and more until they hold `max_contacts`.

        Raises GenerationExpired when changes behind `after` are no longer kept, and InvalidArgument when `after` is in
        the future.
        """
        with self._store.snapshot() as snapshot:
            return read_feed(snapshot, after, max_contacts)

    # --- schema and statistics ---

    def schema(self) -> Schema:
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.schema

    def update_schema(self, fields: Sequence[Field]) -> Schema:
        """Declare more fields. Raises SchemaConflict for a change of type or scale.

        Of a field that is `tracked`, every change is kept with its time from then on, for `became` and `tagged`: of one
        that was declared without before too. No field ceases to be tracked; declared again without it stays so."""
        self._check_writable()
        return self._writer.declare(fields)

    def stats(self) -> Stats:
        """Sizes and counts of the account."""
        sizes, used, free = self._store.sizes()
        with self._store.snapshot() as snapshot:
            view = snapshot.view
            oldest = view.segments[0].first_time if view.segments else None
            return Stats(
                account=self.info.name,
                generation=snapshot.generation,
                contacts=snapshot.live_count(),
                fields=tuple(_field_stats(snapshot, f) for f in snapshot.catalog.schema),
                format_version=snapshot.catalog.format_version,
                postings=snapshot.stored_postings(),
                map_bytes=self._store.map_bytes,
                used_bytes=used,
                file_bytes=self._store.file_bytes,
                free_pages=free,
                sizes=sizes,
                log_bytes=view.log_bytes,
                log_records=snapshot.generation - snapshot.state.merged,
                overlay_bytes=view.bytes,
                merged_generation=snapshot.state.merged,
                merge_lag_seconds=0.0 if oldest is None else max(0, self._clock() - oldest) / 1000,
                horizons=tuple(horizons_of(snapshot.catalog).values()),
            )

    def verify(self, *, stop: Stop | None = None) -> Verification:
        """Check every invariant of all that is stored: an iterator of broken ones, one sentence each, as they are
        found; of a sound account there are none. Reads everything once, in one read transaction.

        Raises DeadlineExceeded and Cancelled while iterating. Close it when it is not iterated to its end.
        """

        return Verification(self._store, _checked(stop), bind_kept)

    # --- helpers ---

    def _check_writable(self) -> None:
        if not self._store.writable:
            raise ReadOnly(f"account {self.info.name!r} is open for reading only; open it without read_only")

    def _fields(self, snapshot: Snapshot, names: Sequence[str] | None) -> Sequence[Field]:
        schema = snapshot.catalog.schema
        return schema.fields if names is None else [schema[name] for name in names]

    def _evaluation(self, stop: Stop | None) -> Run:
        return Run(self._store, self._clock, self._limits, self._plans, stop)


def _checked(stop: Stop | None) -> Callable[[], None]:
    """What raises the errors of a stop."""

    def check() -> None:
        if stop is not None:
            with stop_errors():
                stop.check()

    return check


def _field_stats(snapshot: Snapshot, field: Field) -> FieldStats:
    coded = field.type.is_string or field.type is FieldType.TAGS
    low = high = None
    if not coded and field.type is not FieldType.BOOL:
        minimum, maximum = snapshot.column_bounds(snapshot.field_id(field))
        if minimum is not None and maximum is not None:
            low, high = decode(field, minimum), decode(field, maximum)
    return FieldStats(
        name=field.name,
        type=field.type.value,
        set_count=snapshot.set_count(field),
        distinct=snapshot.distinct(field) if coded else None,
        minimum=low,
        maximum=high,
    )
