"""Importing a file of products: as contacts are imported (`segidx.ingest.import_contacts`), into the catalogue.

A file states a product's whole value for each of its columns, so importing it again changes nothing, and an import
that was cut short is finished by running it again. Works on any account with the calls of `CatalogueLike`, in process
or over the network. Imports the model and its neighbours only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from segidx.ingest.arrow import TAG_SEPARATOR, batch_from_arrow, check_id_type, read_ids
from segidx.ingest.arrow_values import is_string, plain
from segidx.ingest.batch import ContactBatch
from segidx.ingest.importing import Import, Progress, in_parts, numbered
from segidx.ingest.mapping import ColumnMapping, Overrides, choose_fields
from segidx.ingest.product_batch import check_product_id, products_from_columns, writes_from_columns
from segidx.ingest.sources import BATCH_ROWS, Source
from segidx.model.errors import InvalidArgument
from segidx.model.products import ProductWrite, extended
from segidx.model.results import ProductWriteResult, Reject
from segidx.model.schema import AccountInfo, Field, Schema

ID_COLUMN = "product_id"


class CatalogueLike(Protocol):
    """What an import needs of an account. One in the same process also has `apply_products`, which is used where it is
    there."""

    @property
    def info(self) -> AccountInfo: ...

    @property
    def product_schema(self) -> Schema: ...

    def update_product_schema(self, properties: Iterable[Field], /) -> Schema: ...

    def write_products(self, rows: Iterable[ProductWrite], /) -> ProductWriteResult: ...


@dataclass(frozen=True, slots=True)
class ProductImportReport:
    """What an import did. `rows` of the file = `accepted` + `duplicates` + `rejected`; a product that two batches carry
    is accepted twice. `rejects` are the first 20; all are in the file `reject_path` (None without any)."""

    rows: int
    accepted: int
    created: int
    duplicates: int
    rejected: int
    generation: int
    properties: tuple[Field, ...]
    empty_columns: tuple[str, ...]
    rejects: tuple[Reject, ...]
    reject_path: Path | None
    seconds: float


def import_products(
    account: CatalogueLike,
    path: str | Path,
    *,
    id_column: str = ID_COLUMN,
    overrides: Overrides | None = None,
    reject_path: Path | None = None,
    progress: Progress | None = None,
    batch_rows: int = BATCH_ROWS,
    tag_separator: str = TAG_SEPARATOR,
) -> ProductImportReport:
    """Import the products of a Parquet, CSV or Arrow file, one batch committed after another.

    `id_column` holds the ids of products (strings, or whole numbers, which are written in decimal). Properties are
    declared as `overrides`, the account's own and inference say, in this order of precedence; texts become categories.
    A null takes the property away. Bad rows are refused and listed in `reject_path` (next to the source by default);
    the others stand. `progress` as in `import_contacts`.

    Raises InvalidSource for a file that cannot be read, SchemaConflict for a property that has another type already,
    InvalidSchema for a column that cannot be a property, and TooManyRejects, before anything is written, if the first
    batch has no good row.
    """
    if not tag_separator:
        raise InvalidArgument("the tag separator must not be empty")
    if batch_rows < 1:
        raise InvalidArgument(f"batch_rows must be 1 or more, not {batch_rows}")
    run = Import(path, reject_path, progress, id_column=ID_COLUMN)
    source = run.source
    check_id_type(source.column(id_column), id_column, "product")
    old = account.product_schema
    mapping = choose_fields(source, old, id_column, overrides or Overrides(), run.looking)
    properties = extended(old, mapping.fields)
    new = properties.fields[len(old) :]
    accepted = duplicates = 0
    with run:
        batches = _batches(source, properties, id_column, mapping, account.info, batch_rows, tag_separator)
        for batch in run.batches(batches):
            if not run.rows and new:
                account.update_product_schema(new)
            duplicates += batch.duplicates
            for result in _write(account, batch, properties):
                run.wrote(result)
                accepted += result.accepted
                run.refuse_late(batch, result.rejects)
        if not run.rows and new:
            account.update_product_schema(new)
    return ProductImportReport(
        rows=run.rows,
        accepted=accepted,
        created=run.created,
        duplicates=duplicates,
        rejected=run.rejected,
        generation=run.generation,
        properties=tuple(properties[field.name] for field in mapping.fields),
        empty_columns=mapping.empty,
        rejects=tuple(run.shown),
        reject_path=run.reject_path,
        seconds=run.seconds,
    )


def _batches(
    source: Source,
    properties: Schema,
    id_column: str,
    mapping: ColumnMapping,
    info: AccountInfo,
    batch_rows: int,
    tag_separator: str,
) -> Iterator[tuple[int, ContactBatch]]:
    """Each batch with the number of rows of the file it was made of."""
    wanted = list(dict.fromkeys([id_column, *mapping.columns]))

    def convert(rows: pa.RecordBatch, first: int) -> ContactBatch:
        return batch_from_arrow(
            _normal(rows, id_column),
            properties,
            id_column,
            mapping.columns,
            first_index=first,
            zone=info.tz,
            tag_separator=tag_separator,
            check=check_product_id,
        )

    return numbered(source.batches(wanted, batch_rows, ragged=True), convert)


def _normal(batch: pa.RecordBatch, id_column: str) -> pa.RecordBatch:
    """The batch with its ids in NFC, as lines hold them; what is wrong with others is told of them as they are."""
    at = batch.schema.get_field_index(id_column)
    text, valid = read_ids(batch.column(at), id_column, "product")
    column = plain(batch.column(at))
    if not is_string(column.type) or pc.all(pc.string_is_ascii(text.filter(pa.array(valid)))).as_py() is not False:
        return batch
    given = column.cast(pa.binary()).to_pylist()
    normal = [
        unicodedata.normalize("NFC", value.decode()).encode() if good else value
        for value, good in zip(given, valid.tolist(), strict=True)
    ]
    return batch.set_column(at, id_column, pa.array(normal, pa.binary()))


def _write(account: CatalogueLike, batch: ContactBatch, properties: Schema) -> Iterator[ProductWriteResult]:
    apply = getattr(account, "apply_products", None)
    if apply is not None:
        yield apply(products_from_columns(batch, properties))
        return
    for part in in_parts(writes_from_columns(batch, properties)):
        yield account.write_products(part)
