"""What an account answers: segments counted, explained and previewed; contacts, their events, and products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np

from segidx.database.opened import Opened
from segidx.exec.evaluate import materialise
from segidx.exec.explain import explain_plan
from segidx.exec.fetch import fetch_contacts
from segidx.exec.products import get_product, list_products
from segidx.exec.run import Run
from segidx.exec.suggest import suggest
from segidx.exec.timeline import Timeline, read_timeline
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import ContactNotFound, InvalidArgument, Kind, SegidxError
from segidx.model.expression import Expression
from segidx.model.products import Product
from segidx.model.results import Contact, ContactEvents, Count, Explanation, Preview, Suggestion
from segidx.model.schema import Field
from segidx.model.syntax import format_expression
from segidx.store.snapshot import Snapshot

MAX_PREVIEW = 1000
MAX_SUGGESTIONS = 1000
MAX_PRODUCTS = 1000  # of one page


class Reading(Opened):
    """The part of Account that reads."""

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

    def _fields(self, snapshot: Snapshot, names: Sequence[str] | None) -> Sequence[Field]:
        schema = snapshot.catalog.schema
        return schema.fields if names is None else [schema[name] for name in names]

    def _evaluation(self, stop: Stop | None) -> Run:
        return Run(self._store, self._clock, self._limits, self._plans, stop)
