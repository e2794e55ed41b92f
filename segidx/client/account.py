"""One account of a server: what reads it. The methods that write are in `writes.py`, those that declare in
`declaring.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from segidx.client.arguments import as_generation, as_limit, as_page_size, as_text
from segidx.client.declaring import RemoteDeclarations
from segidx.client.streams import read_changes_stream
from segidx.client.writes import RemoteWrites
from segidx.model.errors import SegidxError
from segidx.model.expression import Expression
from segidx.model.products import Product
from segidx.model.results import (
    Contact,
    ContactEvents,
    Count,
    Evaluation,
    Explanation,
    Horizon,
    Preview,
    PrunedType,
    Stats,
    Suggestion,
)
from segidx.model.retention import horizon_at
from segidx.model.windows import from_millis
from segidx.model.writes import Changes
from segidx.v1 import contacts_pb2, counts_pb2, ingest_pb2, products_pb2, schema_pb2
from segidx.wire import contacts, products, results, timeline
from segidx.wire import retention as wire_retention
from segidx.wire.errors import restore
from segidx.wire.expressions import write_expression
from segidx.wire.values import write_instant


class RemoteAccount(RemoteWrites, RemoteDeclarations):
    """One account of a server: the methods of `segidx.database.Account`, each with a `timeout` in seconds.

    Every method raises ServerUnavailable when no server answers, DeadlineExceeded when the timeout passes, and
    otherwise what it raises in process.

    A read with `min_generation`, which is that of a write's answer, sees that write whichever process of the server
    answers; it raises GenerationNotReached when the generation does not come within 10 seconds, or its timeout.
    """

    # --- evaluation ---------------------------------------------------------------------------------------------

    def count(
        self,
        expression: Expression | str,
        *,
        allow_unfinished: bool = False,
        min_generation: int = 0,
        timeout: float | None = None,
    ) -> Count:
        """How many contacts satisfy the expression, now."""
        request = counts_pb2.CountContactsRequest(
            account=self._account, allow_unfinished=allow_unfinished, min_generation=as_generation(min_generation)
        )
        _write_query(expression, request)
        response = self._client._call(self._counts.CountContacts, request, timeout)
        return Count(response.count, results.read_evaluation(response))

    def count_many(
        self,
        expressions: Sequence[Expression | str],
        *,
        allow_unfinished: bool = False,
        min_generation: int = 0,
        timeout: float | None = None,
    ) -> list[Count | SegidxError]:
        """The count of each expression, all on one snapshot, or the error that one alone would raise."""
        request = counts_pb2.BatchCountContactsRequest(
            account=self._account, allow_unfinished=allow_unfinished, min_generation=as_generation(min_generation)
        )
        unsent: dict[int, SegidxError] = {}
        for i, expression in enumerate(expressions):
            # Filled in place: protobuf copies by parsing, which a deep expression would not survive.
            query = request.queries.add()
            try:
                _write_query(expression, query)
            except SegidxError as error:
                del request.queries[-1]
                unsent[i] = error
        response = self._client._call(self._counts.BatchCountContacts, request, timeout)
        evaluated_at = results.read_evaluated_at(response)
        answers = iter(response.outcomes)
        outcomes: list[Count | SegidxError] = []
        for i in range(len(expressions)):
            if i in unsent:
                outcomes.append(unsent[i])
                continue
            answer = next(answers)
            if answer.HasField("error"):
                failed = answer.error
                outcomes.append(restore(failed.reason, failed.message, failed.path, dict(failed.metadata)))
                continue
            result = answer.result
            evaluation = Evaluation(response.generation, evaluated_at, result.elapsed_ms, tuple(result.skipped_nodes))
            outcomes.append(Count(result.count, evaluation))
        return outcomes

    def explain(
        self,
        expression: Expression | str,
        *,
        counts: bool = False,
        allow_unfinished: bool = False,
        min_generation: int = 0,
        timeout: float | None = None,
    ) -> Explanation:
        """The plan of the expression; with `counts` also what each node keeps."""
        request = counts_pb2.ExplainExpressionRequest(
            account=self._account,
            allow_unfinished=allow_unfinished,
            counts=counts,
            min_generation=as_generation(min_generation),
        )
        _write_query(expression, request)
        return results.read_explanation(self._client._call(self._explain, request, timeout))

    def preview(
        self,
        expression: Expression | str,
        *,
        fields: Sequence[str] | None = None,
        limit: int = 20,
        allow_unfinished: bool = False,
        min_generation: int = 0,
        timeout: float | None = None,
    ) -> Preview:
        """The first contacts of the expression, with the named fields, or all for None."""
        request = contacts_pb2.PreviewContactsRequest(
            account=self._account,
            allow_unfinished=allow_unfinished,
            fields=fields or (),
            ids_only=fields is not None and not fields,
            limit=as_limit(limit),
            min_generation=as_generation(min_generation),
        )
        _write_query(expression, request)
        return results.read_preview(self._client._call(self._contacts.PreviewContacts, request, timeout))

    def suggest(
        self, field: str, typed: str, *, limit: int = 10, min_generation: int = 0, timeout: float | None = None
    ) -> list[Suggestion]:
        """Values of the field that fit what was typed, most frequent first."""
        request = schema_pb2.SuggestValuesRequest(
            account=self._account,
            field=as_text(field),
            typed=as_text(typed),
            limit=as_limit(limit),
            min_generation=as_generation(min_generation),
        )
        return results.read_suggestions(self._client._call(self._schemas.SuggestValues, request, timeout))

    def get(self, contact_id: str, *, min_generation: int = 0, timeout: float | None = None) -> Contact:
        """One contact with its fields. Raises ContactNotFound."""
        request = contacts_pb2.GetContactRequest(
            account=self._account,
            contact_id=contacts.contact_id_text(contact_id),
            min_generation=as_generation(min_generation),
        )
        return contacts.read_contact(self._client._call(self._contacts.GetContact, request, timeout).contact)

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
        min_generation: int = 0,
        timeout: float | None = None,
    ) -> ContactEvents:
        """A page of what happened to a contact, newest first unless `oldest_first`: events of the named types, of all
        by default, with start_time <= time < end_time, orders with their lines, and the history of tracked fields.

        To go on, ask for the same with `next_page_token`. Raises ContactNotFound, UnknownEventType, InvalidValue, and
        InvalidArgument, also for a token of another question.
        """
        request = contacts_pb2.ListContactEventsRequest(
            account=self._account,
            contact_id=contacts.contact_id_text(contact_id),
            page_size=as_page_size(page_size),
            page_token=as_text(page_token),
            event_types=map(as_text, types),
            oldest_first=oldest_first,
            min_generation=as_generation(min_generation),
        )
        timeline.write_times(start_time, end_time, request)
        return timeline.read_contact_events(self._client._call(self._contacts.ListContactEvents, request, timeout))

    # --- changes ------------------------------------------------------------------------------------------------

    def generation(self, *, timeout: float | None = None) -> int:
        """The generation that a read sees now."""
        # What every evaluation tells; this one evaluates nothing.
        return self.count("nobody", timeout=timeout).evaluation.generation

    def changes(
        self, after: int, *, follow: bool = False, include_contacts: bool = True, timeout: float | None = None
    ) -> Iterator[Changes]:
        """What each generation later than `after` changed, oldest first, up to the newest; with `follow` also those
        still to come, for ever. To resume, give the generation of the last item that had `last` set.

        Without `include_contacts` there is one item a generation, without its contacts. A stream that follows has no
        deadline unless `timeout` is given. Raises GenerationExpired when `after` is older than what is retained, and
        InvalidArgument when it is newer than the newest.
        """
        request = ingest_pb2.StreamChangesRequest(
            account=self._account,
            after_generation=as_generation(after),
            follow=follow,
            include_contacts=include_contacts,
        )
        if timeout is None and not follow:
            timeout = self._client.timeout
        return read_changes_stream(self._ingest.StreamChanges, request, timeout, self._client.address)

    # --- products, pruning and statistics -----------------------------------------------------------------------

    def product(self, product_id: str, *, min_generation: int = 0, timeout: float | None = None) -> Product:
        """One product with its properties. Raises ProductNotFound."""
        request = products_pb2.GetProductRequest(
            account=self._account,
            product_id=products.product_id_text(product_id),
            min_generation=as_generation(min_generation),
        )
        return products.read_product(self._client._call(self._products.GetProduct, request, timeout).product)

    def products(
        self,
        after: str | None = None,
        *,
        limit: int = 100,
        min_generation: int = 0,
        timeout: float | None = None,
    ) -> list[Product]:
        """At most `limit` products, 1 to 1,000, in byte order of their ids: the first, or those behind the id `after`,
        which need not be there."""
        request = products_pb2.ListProductsRequest(
            account=self._account,
            page_size=as_limit(limit),
            min_generation=as_generation(min_generation),
            after_product_id="" if after is None else products.product_id_text(after),
        )
        response = self._client._call(self._products.ListProducts, request, timeout)
        return [products.read_product(each) for each in response.products]

    @property
    def horizons(self) -> Mapping[str, Horizon]:
        """Behind which instant events are dropped, by event type; orders take their lines with them."""
        return {each.type: each for each in self.stats().horizons}

    def prune(
        self,
        before: datetime | date,
        types: Iterable[str] = (),
        *,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> list[PrunedType]:
        """Drop the events before an instant (a date begins with its local midnight), of the named types or of all but
        the history of tracked fields; how many each has lost. With `dry_run` nothing is dropped: how many would be.

        A call whose time is over, or whose answer is lost, has begun: the next one finishes it. Raises
        UnknownEventType, and InvalidArgument for lines and for an instant that is not from 1970 to the server's now.
        """
        zone = UTC if isinstance(before, datetime) else self.info.tz
        request = schema_pb2.PruneEventsRequest(
            account=self._account, event_types=[as_text(each) for each in types], dry_run=dry_run
        )
        write_instant(from_millis(horizon_at(before, zone)), request.before_time)
        response = self._client._call(self._schemas.PruneEvents, request, timeout)
        return [wire_retention.read_pruned(each) for each in response.pruned]

    def stats(self, *, min_generation: int = 0, timeout: float | None = None) -> Stats:
        request = schema_pb2.GetStatsRequest(account=self._account, min_generation=as_generation(min_generation))
        return results.read_stats(self._client._call(self._schemas.GetStats, request, timeout).stats)


def _write_query(expression: Expression | str, request: Any) -> None:
    if isinstance(expression, str):
        request.text = as_text(expression)
    else:
        write_expression(expression, request.expression)
