"""One account of a server: what reads it. The methods that write are in `writes.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from segidx.client.arguments import as_generation, as_limit, as_page_size, as_text
from segidx.client.streams import read_changes_stream
from segidx.client.writes import RemoteWrites
from segidx.model.bands import Bands, band_value, bands
from segidx.model.derived import DerivedNumber, check_name, derived_number, derived_value
from segidx.model.errors import SegidxError
from segidx.model.event_groups import EventGroup, member
from segidx.model.events import EventType, EventTypes
from segidx.model.expression import Aggregate, Events, Expression
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
from segidx.model.schema import AccountInfo, Field, Schema
from segidx.model.source_settings import SourceSettings
from segidx.model.windows import from_millis
from segidx.model.writes import Changes
from segidx.v1 import (
    accounts_pb2,
    contacts_pb2,
    counts_pb2,
    counts_pb2_grpc,
    ingest_pb2,
    products_pb2,
    schema_pb2,
    schema_pb2_grpc,
)
from segidx.wire import bands as wire_bands
from segidx.wire import contacts, event_groups, event_types, products, results, source_settings, timeline
from segidx.wire import derived as wire_derived
from segidx.wire import retention as wire_retention
from segidx.wire.decode import decoder
from segidx.wire.errors import restore
from segidx.wire.expressions import write_expression
from segidx.wire.values import write_instant

if TYPE_CHECKING:
    from segidx.client.connection import Client


class RemoteAccount(RemoteWrites):
    """One account of a server: the methods of `segidx.database.Account`, each with a `timeout` in seconds.

    Every method raises ServerUnavailable when no server answers, DeadlineExceeded when the timeout passes, and
    otherwise what it raises in process.

    A read with `min_generation`, which is that of a write's answer, sees that write whichever process of the server
    answers; it raises GenerationNotReached when the generation does not come within 10 seconds, or its timeout.
    """

    def __init__(self, client: Client, resource: str) -> None:
        super().__init__(client, resource)
        channel = client._channel
        self._counts = counts_pb2_grpc.CountServiceStub(channel)
        self._schemas = schema_pb2_grpc.SchemaServiceStub(channel)

        def deep(method: str, response: type[Message]) -> Any:
            """A method whose answer nests deeper than protobuf's usual parser goes: as deep as an expression."""
            serialize, read = methodcaller("SerializeToString"), decoder(response)
            return channel.unary_unary(f"/segidx.v1.{method}", request_serializer=serialize, response_deserializer=read)

        self._explain = deep("CountService/ExplainExpression", counts_pb2.ExplainExpressionResponse)
        self._list_event_types = deep("SchemaService/ListEventTypes", schema_pb2.ListEventTypesResponse)
        self._set_event_group = deep("SchemaService/SetEventGroup", schema_pb2.SetEventGroupResponse)
        self._set_bands = deep("SchemaService/SetBands", schema_pb2.SetBandsResponse)
        self._list_bands = deep("SchemaService/ListBands", schema_pb2.ListBandsResponse)
        self._set_derived = deep("SchemaService/SetDerivedNumber", schema_pb2.SetDerivedNumberResponse)
        self._list_derived = deep("SchemaService/ListDerivedNumbers", schema_pb2.ListDerivedNumbersResponse)

    @property
    def info(self) -> AccountInfo:
        """The account's zone, currency and scale of money."""
        request = accounts_pb2.GetAccountRequest(account=self._account)
        return results.read_account(self._client._call(self._client._accounts.GetAccount, request, None).account)

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

    # --- schema and statistics ----------------------------------------------------------------------------------

    def schema(self, *, timeout: float | None = None) -> Schema:
        request = schema_pb2.GetSchemaRequest(account=self._account)
        return results.read_schema(self._client._call(self._schemas.GetSchema, request, timeout).schema)

    def update_schema(self, fields: Sequence[Field], *, timeout: float | None = None) -> Schema:
        """Adds fields and returns the whole schema. Raises SchemaConflict for another type or scale."""
        request = schema_pb2.UpdateSchemaRequest(account=self._account)
        results.write_fields(fields, request.schema)
        return results.read_schema(self._client._call(self._schemas.UpdateSchema, request, timeout).schema)

    @property
    def product_schema(self) -> Schema:
        """The properties of products: those that every account has, then those declared in this one."""
        request = products_pb2.GetProductSchemaRequest(account=self._account)
        return results.read_schema(self._client._call(self._products.GetProductSchema, request, None).schema)

    def update_product_schema(self, properties: Iterable[Field], *, timeout: float | None = None) -> Schema:
        """Adds properties of products and returns all of them. Raises SchemaConflict for another type or scale, and
        InvalidSchema for a property that cannot be."""
        request = products_pb2.UpdateProductSchemaRequest(account=self._account)
        results.write_fields(tuple(properties), request.schema)
        return results.read_schema(self._client._call(self._products.UpdateProductSchema, request, timeout).schema)

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
    def event_types(self) -> EventTypes:
        """The event types that every account has, and those declared in this one."""
        request = schema_pb2.ListEventTypesRequest(account=self._account)
        return event_types.read_event_types(self._client._call(self._list_event_types, request, None).event_types)

    def declare_event_types(self, types: Iterable[EventType], *, timeout: float | None = None) -> EventTypes:
        """Adds types of events and returns all of them. Raises SchemaConflict for a type that has other properties, and
        InvalidSchema for one that cannot be declared."""
        request = schema_pb2.DeclareEventTypesRequest(account=self._account)
        event_types.write_event_types(types, request.event_types)
        response = self._client._call(self._schemas.DeclareEventTypes, request, timeout)
        return event_types.read_event_types(response.event_types)

    @property
    def event_groups(self) -> Mapping[str, EventGroup]:
        """The groups of events by name: `interaction` and `touch`."""
        request = schema_pb2.ListEventTypesRequest(account=self._account)
        response = self._client._call(self._list_event_types, request, None)
        return {each.name: event_groups.read_event_group(each) for each in response.event_groups}

    def set_event_group(
        self, name: str, members: Iterable[Events | str], *, timeout: float | None = None
    ) -> EventGroup:
        """Say which events a group has, `interaction` or `touch`: each an `Events` without a window, or its text as in
        `did(...)`, such as `message where kind = "clicked"`. Conditions on the group ask for these from now on.

        Raises InvalidArgument for what cannot be a group, and what an evaluation of its members raises.
        """
        request = schema_pb2.SetEventGroupRequest(account=self._account)
        given = tuple(member(each) if isinstance(each, str) else each for each in members)
        event_groups.write_event_group(EventGroup(name, given), request.event_group)
        return event_groups.read_event_group(self._client._call(self._set_event_group, request, timeout).event_group)

    @property
    def bands(self) -> Mapping[str, Bands]:
        """The bands that are declared, by name."""
        request = schema_pb2.ListBandsRequest(account=self._account)
        response = self._client._call(self._list_bands, request, None)
        return {each.name: wire_bands.read_bands(each) for each in response.bands}

    def declare_bands(
        self,
        name: str,
        value: Aggregate | str,
        thresholds: Iterable[Decimal | int],
        labels: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Bands:
        """Declare bands over a count of events or a sum over them, `value`, which is an Aggregate or its text, such as
        `sum(order.amount)`; with a name that is known, in place of those. Conditions (`band(name) = "100-500"`) ask for
        these from now on. `thresholds` ascend, `labels` are of the bands from the lowest, two more than thresholds:
        that of no value first; without them they are `none`, `<100`, `100-500`, `500+`.

        Raises InvalidArgument for what cannot be bands, InvalidValue for a threshold that is no number, and what an
        evaluation of the value raises.
        """
        request = schema_pb2.SetBandsRequest(account=self._account)
        asked = bands(name, band_value(value) if isinstance(value, str) else value, thresholds, labels)
        wire_bands.write_bands(asked, request.bands)
        return wire_bands.read_bands(self._client._call(self._set_bands, request, timeout).bands)

    def remove_bands(self, name: str, *, timeout: float | None = None) -> None:
        """Take bands away: conditions on them are refused from now on. Raises UnknownBands."""
        request = schema_pb2.RemoveBandsRequest(account=self._account, name=as_text(name))
        self._client._call(self._schemas.RemoveBands, request, timeout)

    @property
    def derived(self) -> Mapping[str, DerivedNumber]:
        """The derived numbers by name, those that every account has among them."""
        request = schema_pb2.ListDerivedNumbersRequest(account=self._account)
        response = self._client._call(self._list_derived, request, None)
        return {each.name: wire_derived.read_listed(each) for each in response.derived_numbers}

    def declare_derived(self, name: str, value: Aggregate | str, *, timeout: float | None = None) -> DerivedNumber:
        """Declare a number to be kept beside the events, an Aggregate of all time or its text, such as
        `sum(order.amount where paid)` or `last(visit).time`; with a name that is known, in place of that one. What
        conditions mean is the same with and without: those that ask for it are answered sooner.

        Raises InvalidArgument for what cannot be one, a filter on what is not of the events themselves among it (the
        catalogue of products, the source that an order takes from a visit, the hour, weekday and month), and what an
        evaluation of the value raises.
        """
        request = schema_pb2.SetDerivedNumberRequest(account=self._account)
        asked = derived_number(name, derived_value(value) if isinstance(value, str) else value)
        wire_derived.write_derived(asked, request.derived_number)
        response = self._client._call(self._set_derived, request, timeout)
        return wire_derived.read_derived(response.derived_number)

    def remove_derived(self, name: str, *, timeout: float | None = None) -> None:
        """Take a derived number away: it is no longer kept. Conditions that ask for it are answered from the events.
        Raises UnknownDerived, InvalidArgument for one that every account has."""
        request = schema_pb2.RemoveDerivedNumberRequest(account=self._account, name=check_name(name))
        self._client._call(self._schemas.RemoveDerivedNumber, request, timeout)

    @property
    def source_settings(self) -> SourceSettings:
        """What the account says of where visits and orders come from."""
        request = schema_pb2.GetSourceSettingsRequest(account=self._account)
        response = self._client._call(self._schemas.GetSourceSettings, request, None)
        return source_settings.read_source_settings(response.source_settings)

    def set_source_settings(self, settings: SourceSettings, *, timeout: float | None = None) -> SourceSettings:
        """Say all of it anew. Orders take a visit's source by these minutes from now on, those that are written already
        too; the hosts are for visits that are written from now on. Raises InvalidArgument for what cannot be set."""
        request = schema_pb2.SetSourceSettingsRequest(account=self._account)
        source_settings.write_source_settings(settings, request.source_settings)
        response = self._client._call(self._schemas.SetSourceSettings, request, timeout)
        return source_settings.read_source_settings(response.source_settings)

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
