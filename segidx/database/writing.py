"""What is written to an account: contacts and their tags, events, and the catalogue of products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future

from segidx.database.declaring import Declaring
from segidx.ingest.batch import ContactBatch
from segidx.ingest.event_batch import EventBatch
from segidx.ingest.event_rows import events_from_rows
from segidx.ingest.group import Batch
from segidx.ingest.product_batch import ProductBatch, products_from_rows
from segidx.ingest.rows import batch_from_rows
from segidx.ingest.values import tag_names
from segidx.ingest.writes import batches_from_writes
from segidx.model.events import Event, Order, Retraction
from segidx.model.products import ProductWrite
from segidx.model.results import ProductWriteResult, WriteResult
from segidx.model.writes import ContactWrite
from segidx.store.catalog import horizons_of


class Writing(Declaring):
    """The part of Account that writes. A result means that the batch is synced to disk."""

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

    def write_events(self, events: Iterable[Order | Event | Retraction], *, batch_key: str = "") -> WriteResult:
        """Write, replace and retract events and orders: one batch, applied in order and committed together.

        Sending an id again replaces its event, an order with all its lines, unless what is held of the id has a greater
        `revision` or was retracted in the same. A retraction may come before its event. Contacts that are not known are
        created. Bad events are returned as `event_rejects`; the others stand. `batch_key` as in `write`.
        """
        return self.submit_batches(self._event_batches(events), batch_key=batch_key).result()

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

    def apply_events(self, events: EventBatch) -> WriteResult:
        """Write many events that are validated already (see `segidx.ingest.event_batch`) and retract nothing, as an
        import does: straight into the base, behind the contacts that are new."""
        self._check_writable()
        return self._writer.apply_events(events)

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
