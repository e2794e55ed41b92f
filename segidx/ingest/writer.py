"""The writer: the only code that changes contact data. One batch is one transaction and one generation.

It applies a batch straight to the base: string tables, columns, postings and counts, in that order, and returns when
LMDB has synced. An error leaves nothing of the batch behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from segidx.ingest.batch import ContactBatch
from segidx.ingest.fields import FieldEditor
from segidx.ingest.tags import TagEditor
from segidx.model.errors import ContactNotFound, InvalidArgument, StorageFull, TypeMismatch
from segidx.model.results import Reject, WriteResult
from segidx.model.schema import Field, FieldType, Schema
from segidx.store.catalog import write_generation, write_schema
from segidx.store.environment import AccountStore, WriteTransaction
from segidx.store.layout import DB_META, DB_STRINGS, IDS_TABLE, LIVE_CODE, MAX_ORDINALS
from segidx.store.strings import StringTable


class Writer:
    """Applies batches to one account. Safe to call from several threads: one transaction runs at a time."""

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    def declare(self, fields: Iterable[Field]) -> Schema:
        """Add fields to the schema. Raises SchemaConflict for a change of type or scale. Not a generation."""
        with self._store.write() as write:
            catalog = write.catalog.with_fields(fields)
            if catalog is not write.catalog:
                write_schema(write.txn, write.dbs[DB_META], catalog)
            return catalog.schema

    def apply(self, batch: ContactBatch) -> WriteResult:
        """Create or update the batch's contacts. On return it is on the disk.

        Raises StorageFull (nothing was written) and UnknownField for a field that was never declared.
        """
        if not len(batch.ids):
            return WriteResult(self._generation(), 0, 0, batch.duplicates, batch.rejects)
        with self._store.write() as write:
            ids = _ids(write)
            codes, first_new = ids.insert(batch.ids)
            if len(ids) > MAX_ORDINALS - 1:
                raise StorageFull(f"account {self._store.info.name!r} has given out all {MAX_ORDINALS} ordinals")
            ordinals = codes.astype(np.uint32)
            editor = FieldEditor(write, len(ids))
            created = ordinals[codes >= first_new]
            editor.mark_system(LIVE_CODE, created, np.zeros(0, np.uint32))
            tag_editor = TagEditor(editor)
            for name, change in batch.changes.items():
                field = write.catalog.schema[name]
                if field.type is FieldType.TAGS:
                    tag_editor.assign(field, change, ordinals, first_new)
                else:
                    editor.assign(field, change, ordinals)
            generation = _advance(write)
        return WriteResult(generation, len(ordinals), len(created), batch.duplicates, batch.rejects)

    def tag(
        self,
        contact_ids: Sequence[str],
        field_name: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: Sequence[str] | None = None,
    ) -> WriteResult:
        """Add and remove tags of contacts, or replace all their tags of the field. Unknown contacts are rejects.

        `add`, `remove` and `replace` hold NFC strings. A contact named twice counts once.
        """
        if replace is not None and (add or remove):
            raise InvalidArgument("replace goes without add and remove")
        both = sorted(set(add) & set(remove))
        if both:
            raise InvalidArgument(f"tag {both[0]!r} is to be both added and removed")
        with self._store.write() as write:
            field = write.catalog.schema[field_name]
            if field.type is not FieldType.TAGS:
                raise TypeMismatch(f"field {field_name!r} is a {field.type.value} field; only tags fields hold tags")
            codes = _ids(write).find(pa.array(contact_ids, pa.string()))
            rejects = tuple(
                Reject(i, contact_ids[i], "", ContactNotFound.reason, f"there is no contact {contact_ids[i]!r}")
                for i in np.flatnonzero(codes < 0).tolist()
            )
            known = codes[codes >= 0]
            ordinals = np.unique(known).astype(np.uint32)
            if len(ordinals):
                TagEditor(FieldEditor(write, len(_ids(write)))).change(field, ordinals, add, remove, replace)
                generation = _advance(write)
            else:
                generation = write.catalog.generation
        return WriteResult(generation, len(ordinals), 0, len(known) - len(ordinals), rejects)

    def _generation(self) -> int:
        with self._store.snapshot() as snapshot:
            return snapshot.generation


def _ids(write: WriteTransaction) -> StringTable:
    return StringTable(write.txn, write.dbs[DB_STRINGS], IDS_TABLE, write.catalog.hash_key)


def _advance(write: WriteTransaction) -> int:
    generation = write.catalog.generation + 1
    write_generation(write.txn, write.dbs[DB_META], generation)
    return generation
