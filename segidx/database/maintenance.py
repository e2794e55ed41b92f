"""What keeps an account well: merging, derived numbers built, old events dropped, sizes told, everything verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime

from segidx.database.opened import Opened, checked
from segidx.exec.evaluate import stop_errors
from segidx.exec.fetch import decode
from segidx.ingest.derived import bind_kept
from segidx.ingest.prune import count_before
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import InvalidArgument
from segidx.model.results import FieldStats, Horizon, PrunedType, Stats
from segidx.model.retention import horizon_at, instant_text, prunable, prunable_types
from segidx.model.schema import Field, FieldType
from segidx.model.windows import from_millis
from segidx.store.catalog import horizons_of
from segidx.store.snapshot import Snapshot
from segidx.store.verify import Verification


class Maintenance(Opened):
    """The part of Account that looks after it."""

    def merge(self) -> None:
        """Fold all committed changes into the base now, instead of when the merger would. Changes no answer."""
        self._check_writable()
        self._writer.merger.merge_all()

    def keep_derived(self) -> None:
        """Build now what the columns of derived numbers lack behind events that were written in bulk. Without it that
        is done some seconds later, or when the data are opened for writing again; until then conditions are answered
        from the events. Raises StorageFull, CorruptData."""
        self._check_writable()
        self._writer.merger.build()

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
        dropped = self._writer.prune(wanted, checked(stop))
        return [
            PrunedType(each.name, from_millis(wanted[each]), done.events, done.lines, done.ended)
            for each, done in dropped.items()
        ]

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

        return Verification(self._store, checked(stop), bind_kept)


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
