"""An instant of the year 1 whose local date lies before it: an anniversary is asked of that local date."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.syntax import parse
from segidx.testing.checks import check_expression
from segidx.testing.oracle import Oracle

FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["America/New_York", "UTC"])
def test_as_the_oracle(tmp_path: Path, zone: str) -> None:
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.create_account(AccountInfo("test", zone))
        fields = (Field("seen", FieldType.TIMESTAMP),)
        account.update_schema(fields)
        rows = [
            ("first", {"seen": FIRST}),
            ("last", {"seen": LAST}),
            ("new", {"seen": datetime(2020, 5, 5, tzinfo=UTC)}),
        ]
        oracle = Oracle(Schema(fields), zone)
        account.upsert(rows)
        oracle.upsert(rows)
        for at in (datetime(2018, 12, 31, 20, tzinfo=UTC), datetime(2019, 1, 1, 20, tzinfo=UTC)):
            for window in ("today", "yesterday", "366 to 1 day ago", "next 3 days"):
                check_expression(account, oracle, parse(f"anniversary of seen in {window}"), at)
