"""segidx itself: loads contacts and orders through the public bulk path, in time order."""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.live.unmerged import write_unmerged
from bench.orders.corpus import (
    AT_MS,
    BANDS,
    CORPUS_VERSION,
    MISSING,
    MONEY_SCALE,
    QUANTITY_SCALE,
    TAG,
    THRESHOLDS,
    Ints,
    OrderCorpus,
    Orders,
    category_names,
    producer_name,
    producer_names,
    product_name,
    product_names,
    source_names,
)
from bench.own import BATCH_ROWS
from bench.systems import stored
from segidx.client import Batch
from segidx.database import Account, Database
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.ingest.event_batch import EventBatch, EventColumn
from segidx.ingest.orders import with_counts_of_lines, with_counts_of_orders
from segidx.model.events import ORDER, Order, OrderLine
from segidx.model.schema import Field, FieldType
from segidx.model.windows import from_millis
from segidx.store import events, layout
from segidx.store.layout import FORMAT_VERSION

_SENT = 2000  # orders a batch of the stream


def open_database(path: Path, *, write: bool = False) -> Database:
    """The database with the clock at the corpus's instant, so that windows lie alike in every run."""
    return Database.open(path, read_only=not write, create=write, clock=lambda: AT_MS - 1)


def store_orders(corpus: OrderCorpus, directory: Path) -> tuple[Path, float | None]:
    """(the data directory, seconds it took to load or None if it was loaded before)."""
    stamp = {
        "contacts": corpus.size,
        "seed": corpus.seed,
        "corpus": CORPUS_VERSION,
        "format": FORMAT_VERSION,
        # Between releases the layout may change under one version; old data must not be measured with new code.
        "bands": list(THRESHOLDS),
        "layout": [zlib.crc32(Path(module.__file__ or "").read_bytes()) for module in (layout, events)],
    }
    return stored(directory, stamp, lambda path: _load(corpus, path))


def _load(corpus: OrderCorpus, path: Path) -> None:
    with open_database(path, write=True) as database:
        account = database.account()
        assert account.info.money_scale == MONEY_SCALE
        account.update_schema([Field("tags", FieldType.TAGS)])
        for first in range(0, corpus.size, BATCH_ROWS):
            account.apply(_contacts(corpus, first, min(first + BATCH_ROWS, corpus.size)))
        account.declare_bands(BANDS, "sum(order.amount)", THRESHOLDS)
        lines, seconds = _load_orders(corpus, account)
        started = time.perf_counter()
        account.keep_derived()
        kept = time.perf_counter() - started
    rates = f"{corpus.orders / seconds:,.0f} orders/s, {lines / seconds:,.0f} lines/s"
    print(f"applied {corpus.orders:,} orders with {lines:,} lines in {seconds:.1f} s: {rates}", flush=True)
    print(f"built the columns of derived numbers, and bands, in {kept:.1f} s", flush=True)


def _load_orders(corpus: OrderCorpus, account: Account) -> tuple[int, float]:
    """(lines, seconds spent in the account; making the batches is not in them)."""
    lines, seconds = 0, 0.0
    for piece in corpus.pieces():
        batch = order_batch(piece)
        started = time.perf_counter()
        account.apply_events(batch)
        seconds += time.perf_counter() - started
        lines += len(piece.product)
    return lines, seconds


def write_late(loaded: Path, late: Orders, to: Path) -> Path:
    """A copy of the loaded data directory with these orders in its log, where no merge has met them."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(loaded, to)
    rows = list(_orders(late))
    write_unmerged(to, (Batch(events=rows[first : first + _SENT]) for first in range(0, len(rows), _SENT)))
    return to


def _orders(late: Orders) -> Iterator[Order]:
    starts = np.concatenate([[0], np.cumsum(late.line_counts)]).tolist()
    products, producers, categories, quantities, prices, amounts = (
        column.tolist()
        for column in (
            late.product,
            late.producer,
            late.category,
            late.quantity,
            late.unit_price,
            late.line_amount,
        )
    )
    sources, names = source_names(), category_names()
    contacts = late.contact_ids()
    for row, order_id in enumerate(late.ids()):
        source, paid = int(late.source[row]), int(late.paid[row])
        yield Order(
            order_id,
            contacts[row],
            from_millis(int(late.time[row])),
            amount=Decimal(int(late.amount[row])).scaleb(-MONEY_SCALE),
            source=None if source == MISSING else sources[source],
            paid=None if paid == MISSING else bool(paid),
            lines=[
                OrderLine(
                    product_name(products[line] + 1),
                    producer_name(producers[line] + 1),
                    None if categories[line] == MISSING else names[categories[line]],
                    Decimal(quantities[line]).scaleb(-QUANTITY_SCALE),
                    Decimal(prices[line]).scaleb(-MONEY_SCALE),
                    Decimal(amounts[line]).scaleb(-MONEY_SCALE),
                )
                for line in range(starts[row], starts[row + 1])
            ],
        )


def _contacts(corpus: OrderCorpus, first: int, last: int) -> ContactBatch:
    """The rows first..last, last excluded, as one batch."""
    lo, hi = np.searchsorted(corpus.tagged, [first, last])
    rows = corpus.tagged[lo:hi] - first
    tags = pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32), pa.array([TAG] * len(rows), pa.string()))
    ids = pa.array(corpus.ids(first, last), pa.string())
    return ContactBatch(ids, {"tags": FieldChange(rows, tags, np.zeros(0, np.int64))})


def order_batch(piece: Orders) -> EventBatch:
    """A piece as the writer takes it."""
    lines = with_counts_of_lines(
        (
            _named(piece.product, product_names()),
            _named(piece.producer, producer_names()),
            _named(piece.category, category_names()),
            _numbers(piece.quantity),
            _numbers(piece.unit_price),
            _numbers(piece.line_amount),
        )
    )
    properties = (
        _named(piece.source, source_names()),
        EventColumn(np.maximum(piece.paid, 0), piece.paid != MISSING),
        _numbers(piece.amount),
    )
    return EventBatch(
        type=ORDER,
        ids=pa.array(piece.ids(), pa.string()),
        contacts=pa.array(piece.contact_ids(), pa.string()),
        times=piece.time,
        properties=with_counts_of_orders(properties, piece.line_counts, lines[-1]),
        revisions=np.zeros(len(piece.time), np.int64),
        retracts=np.zeros(len(piece.time), np.bool_),
        line_counts=piece.line_counts,
        lines=lines,
    )


def _named(codes: Ints, names: list[str]) -> EventColumn:
    present = codes != MISSING
    return EventColumn(pa.array(names, pa.string()).take(pa.array(np.maximum(codes, 0))), present)


def _numbers(values: Ints) -> EventColumn:
    return EventColumn(values, np.ones(len(values), np.bool_))
