"""An import that created its contacts and then found the disk full said that nothing was written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.ingest import writer
from segidx.model.errors import StorageFull
from segidx.model.events import Order

ORDER = Order("1", "anna", datetime(2025, 6, 1, tzinfo=UTC))


def test_the_contacts_that_were_created_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageFull("no room; nothing of this batch was written")

    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        with monkeypatch.context() as patched:
            patched.setattr(writer, "apply_events", full)
            with pytest.raises(StorageFull, match=r"batch was written; 1 new contacts of its orders were created"):
                account.import_orders([ORDER])
            with pytest.raises(StorageFull, match=r"batch was written$"):
                account.import_orders([ORDER])
        assert (account.count("everyone").count, account.count("did(order)").count) == (1, 0)
        account.import_orders([ORDER])
        assert account.count("did(order)").count == 1
