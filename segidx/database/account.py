"""An account: its rooms together."""

from __future__ import annotations

from segidx.database.following import Following
from segidx.database.importing import Importing
from segidx.database.opened import Clock
from segidx.database.reading import Reading
from segidx.exec.query import Limits
from segidx.model.errors import SegidxError
from segidx.store.environment import AccountStore


class Account(Reading, Following, Importing):
    """One account of an opened database."""

    def __init__(self, store: AccountStore, clock: Clock, limits: Limits) -> None:
        super().__init__(store, clock, limits)
        if store.writable and store.state().generation > store.state().merged:
            try:
                self._writer.merger.begin()
            except SegidxError:
                store.close()
                raise
