"""What is imported into an account: files of contacts, events and products, and many orders at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.database.maintenance import Maintenance
from segidx.database.writing import Writing
from segidx.ingest.arrow import TAG_SEPARATOR
from segidx.ingest.event_rows import orders_from_rows
from segidx.ingest.import_contacts import ImportReport, import_contacts
from segidx.ingest.import_events import EventImportReport, import_events
from segidx.ingest.import_products import ProductImportReport, import_products
from segidx.ingest.importing import Progress
from segidx.ingest.mapping import Overrides
from segidx.model.events import Order
from segidx.model.results import WriteResult

_FOUND_AT_ONCE = 50_000  # ids looked up in one snapshot, some hundredths of a second


class Importing(Writing, Maintenance):
    """The part of Account that imports, by what it writes and declares."""

    def import_contacts(
        self,
        path: str | os.PathLike[str],
        *,
        id_column: str,
        overrides: Overrides | None = None,
        reject_path: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        tag_separator: str = TAG_SEPARATOR,
    ) -> ImportReport:
        """Import contacts from a CSV, Parquet or Arrow file, declaring the fields that are new: see
        `segidx.ingest.import_contacts`."""
        self._check_writable()
        return import_contacts(
            self,
            Path(path),
            id_column=id_column,
            overrides=overrides,
            reject_path=_path(reject_path),
            progress=progress,
            tag_separator=tag_separator,
        )

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
        where = _path(reject_path)
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
        where = _path(reject_path)
        return import_products(
            self, Path(path), id_column=id_column, overrides=overrides, reject_path=where, progress=progress
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


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)
