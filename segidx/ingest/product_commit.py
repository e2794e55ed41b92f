"""What a batch of products comes to in a commit of its own: the blocks of the catalogue that change, and the answer."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from segidx.ingest.product_batch import ProductBatch, too_large
from segidx.ingest.rows import make_reject
from segidx.model.results import ProductWriteResult
from segidx.store.catalog import ProductsState, read_products_state, write_products_state
from segidx.store.environment import WriteTransaction
from segidx.store.feed import append_changes
from segidx.store.layout import DB_CHANGES, DB_META, DB_PRODUCTS, DB_RECEIPTS
from segidx.store.product_writes import changed_blocks, write_blocks
from segidx.store.receipts import read_products_receipt, write_products_receipt
from segidx.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class WaitingProducts:
    """A batch of products, and who waits for the answer."""

    batch: ProductBatch
    key: str
    done: Future[ProductWriteResult]

    @property
    def weight(self) -> int:
        return len(self.batch.rows.ids)


class ComparedProducts:
    """A batch over the catalogue as it is before."""

    def __init__(self, waiting: WaitingProducts, snapshot: Snapshot) -> None:
        self._waiting = waiting
        batch, key = waiting.batch, waiting.key
        if key and (first := read_products_receipt(snapshot.txn, snapshot.dbs[DB_RECEIPTS], key)) is not None:
            self._result, self.changed = first, False
            return
        state = read_products_state(snapshot.txn, snapshot.dbs[DB_META]) or ProductsState(0, 0)
        self._blocks = changed_blocks(snapshot.txn, snapshot.dbs[DB_PRODUCTS], batch.rows, snapshot.catalog.products)
        self._count = state.count + self._blocks.created - self._blocks.deleted
        # Whether there is anything to commit, if it is only a receipt.
        self.changed = bool(self._blocks.blocks or key)
        refused = []
        for row in self._blocks.too_large.tolist():
            product_id = batch.rows.ids[row].as_py()
            reject = make_reject(int(batch.indices[row]), product_id, "", error := too_large(product_id))
            refused.append(replace(reject, message=error.message) if reject.index < 0 else reject)
        self._result = ProductWriteResult(
            snapshot.generation + self.changed,
            len(batch.rows.ids) - len(refused),
            self._blocks.created,
            self._blocks.deleted,
            batch.duplicates,
            tuple(sorted((*batch.rejects, *refused), key=lambda reject: reject.index)),
        )

    def finish(self, write: WriteTransaction, generation: int, now: int) -> None:
        """Put the blocks into their places, with the feed's entry, which names nobody, and the receipt."""
        if self._blocks.blocks:
            write_blocks(write.txn, write.dbs[DB_PRODUCTS], self._blocks, generation)
            write_products_state(write.txn, write.dbs[DB_META], ProductsState(generation, self._count))
        nobody = np.zeros(0, np.uint32)
        append_changes(write.txn, write.dbs[DB_CHANGES], generation, now, nobody, np.zeros(0, np.uint8))
        self._result = replace(self._result, generation=generation)
        if self._waiting.key:
            write_products_receipt(write.txn, write.dbs[DB_RECEIPTS], self._waiting.key, self._result, now)

    def answer(self) -> None:
        """Tell who waits, once it is on the disk."""
        self._waiting.done.set_result(self._result)
