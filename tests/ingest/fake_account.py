"""An account that keeps contacts in a dict: what an import needs, and no more."""

from __future__ import annotations

from segidx.ingest.rows import batch_from_rows, rows_from_batch
from segidx.model.results import WriteResult
from segidx.model.schema import AccountInfo, Schema


class RemoteFake:
    """Reached by rows, as over the network."""

    def __init__(self, fields=(), zone="UTC"):
        self.info = AccountInfo("default", zone)
        self.fields = Schema(tuple(fields))
        self.contacts = {}
        self.generation = 0
        self.batches = []

    def schema(self):
        return self.fields

    def update_schema(self, fields):
        self.fields = self.fields.extended(fields)
        return self.fields

    def upsert(self, rows):
        return self._apply(batch_from_rows(rows, self.fields))

    def _apply(self, batch):
        self.generation += 1
        self.batches.append(len(batch.ids))
        created = 0
        for contact_id, fields in rows_from_batch(batch, self.fields):
            created += contact_id not in self.contacts
            contact = self.contacts.setdefault(contact_id, {})
            for name, value in fields.items():
                if value is None:
                    contact.pop(name, None)
                else:
                    contact[name] = value
        return WriteResult(self.generation, len(batch.ids), created, batch.duplicates, batch.rejects)


class EmbeddedFake(RemoteFake):
    """In the same process: takes batches as they are."""

    def apply(self, batch):
        return self._apply(batch)
