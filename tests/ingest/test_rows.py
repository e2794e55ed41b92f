"""Rows into batches: what each type accepts and refuses, last-wins, and the way back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest

from segidx.ingest.rows import batch_from_rows, rows_from_batch
from segidx.ingest.values import tag_names
from segidx.model.errors import InvalidValue
from segidx.model.schema import MAX_MINOR_UNITS, Schema, parse_field

SCHEMA = Schema(
    tuple(
        parse_field(name, kind)
        for name, kind in {
            "income": "number(2)",
            "size": "number",
            "seen": "timestamp",
            "born": "date",
            "consent": "bool",
            "country": "category",
            "email": "text",
            "tags": "tags",
        }.items()
    )
)


def one(field, value):
    """The stored value of one field of one row, "cleared", or the reason and message of its refusal."""
    batch = batch_from_rows([("a", {field: value})], SCHEMA)
    if batch.rejects:
        return batch.rejects[0].reason, batch.rejects[0].message
    change = batch.changes[field]
    if len(change.cleared):
        return "cleared"
    return change.values.tolist()[0] if isinstance(change.values, np.ndarray) else change.values[0].as_py()


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("income", 12, 1200),
        ("income", -3, -300),
        ("income", Decimal("12.5"), 1250),
        ("income", Decimal("1E+3"), 100_000),
        ("income", Decimal("1.230000"), 123),
        ("income", Decimal("-0.00"), 0),
        ("income", Decimal("0E-50"), 0),
        ("income", "12.50", 1250),
        ("income", "-.5", -50),
        ("income", "+7", 700),
        ("income", 0.1, 10),
        ("income", 1e22, None),
        ("income", np.float32(0.1), 10),
        ("income", np.int64(4), 400),
        ("size", MAX_MINOR_UNITS, MAX_MINOR_UNITS),
        ("size", -MAX_MINOR_UNITS, -MAX_MINOR_UNITS),
        ("seen", datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=UTC), 1000),
        ("seen", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        ("seen", "1970-01-01T00:00:01Z", 1000),
        ("seen", "1970-01-01 02:00:01.5+02:00", 1500),
        ("seen", "1970-01-01T00:01+0000", 60_000),
        ("seen", "1969-12-31T23:59:59.9999Z", -1),
        ("seen", datetime(1, 1, 1, tzinfo=UTC), -62_135_596_800_000),
        ("born", date(1970, 1, 2), 1),
        ("born", "1969-12-31", -1),
        ("born", date(1, 1, 1), -719_162),
        ("born", "9999-12-31", 2_932_896),
        ("consent", True, 1),
        ("consent", "FALSE", 0),
        ("consent", 1, 1),
        ("country", "PL", "PL"),
        ("country", "", ""),
        ("email", "e\u0301", "\u00e9"),
        ("email", "a" * 2048, "a" * 2048),
        ("tags", ["b", "a", "b"], ["b", "a"]),
        ("tags", {"b", "a"}, ["a", "b"]),
        ("tags", ["e\u0301", "\u00e9"], ["\u00e9"]),
        ("tags", [], "cleared"),
        ("tags", None, "cleared"),
        ("country", None, "cleared"),
    ],
)
def test_accepted(field, value, stored):
    if stored is None:
        assert one(field, value)[0] == "INVALID_VALUE"
    else:
        assert one(field, value) == stored


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("income", 0.123, "0.123 has more than 2 decimals"),
        ("income", 0.1 + 0.2, "0.30000000000000004 has more than 2 decimals"),
        ("income", float("nan"), "nan is not a finite number"),
        ("income", float("-inf"), "-inf is not a finite number"),
        ("income", Decimal("NaN"), "not a finite number"),
        ("income", Decimal("1E-400"), "more than 2 decimals"),
        ("income", Decimal("1E+1000000"), "beyond the largest"),
        ("income", 10**30, "beyond the largest"),
        ("size", MAX_MINOR_UNITS + 1, "beyond the largest"),
        ("income", "12,50", "'12,50' is not a number"),
        ("income", "1e3", "is not a number"),
        ("income", " 1", "is not a number"),
        ("income", "\u0661", "is not a number"),
        ("income", True, "takes a number, not bool True"),
        ("income", [1], "takes a number, not list"),
        ("seen", datetime(2026, 1, 1), "has no time zone"),
        ("seen", "2026-01-01T00:00:00", "has no time zone"),
        ("seen", "2026-01-01", "has no time zone"),
        ("seen", "2026-02-30T00:00:00Z", "is not an instant"),
        ("seen", "2026-01-01T24:00:00Z", "is not an instant"),
        ("seen", "2026-01-01T00:00:00+24:00", "is not an instant"),
        ("seen", "0001-01-01T00:00:00+01:00", "outside the years 1 to 9999"),
        ("seen", datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "outside the years"),
        ("seen", 12, "takes an instant, not int 12"),
        ("born", datetime(2026, 1, 1, tzinfo=UTC), "takes a date"),
        ("born", "2026-1-1", "is not a date"),
        ("born", "20260101", "is not a date"),
        ("born", "0000-01-01", "is not a date"),
        ("consent", 2, "2 is neither true nor false"),
        ("consent", "yes please", "neither true nor false"),
        ("country", 5, "takes a string, not int 5"),
        ("country", "a" * 2049, "2049 bytes"),
        ("country", "\ud800", "not valid UTF-8"),
        ("tags", "vip", "takes several strings, not str 'vip'"),
        ("tags", ["a", ""], "an empty tag"),
        ("tags", ["a", None], "a tag is a string, not NoneType"),
        ("tags", ["a" * 2049], "2049 bytes"),
        ("tags", 5, "takes several strings"),
    ],
)
def test_refused(field, value, says):
    reason, message = one(field, value)
    assert reason == "INVALID_VALUE"
    assert message.startswith(f"row 0: field '{field}': ")
    assert says in message


def test_unknown_field_names_the_nearest():
    batch = batch_from_rows([("a", {"contry": "PL"}), ("b", {"country": "PL"})], SCHEMA, first_index=7)
    assert [(r.index, r.contact_id, r.field, r.reason) for r in batch.rejects] == [(7, "a", "contry", "UNKNOWN_FIELD")]
    assert "did you mean 'country'" in batch.rejects[0].message
    assert batch.ids.to_pylist() == ["b"]


@pytest.mark.parametrize("bad", ["", b"", "a" * 256, "\u00e9" * 128, b"\xff", "\ud800", 5, None])
def test_bad_ids(bad):
    batch = batch_from_rows([(bad, {"country": "PL"})], SCHEMA)
    assert len(batch.ids) == 0
    assert [r.reason for r in batch.rejects] == ["INVALID_CONTACT_ID"]
    batch.rejects[0].contact_id.encode()  # a report is always valid UTF-8


def test_ids_are_kept_byte_for_byte():
    ids = ["e\u0301", "\u00e9".encode(), "a" * 255, " x ", "0"]
    batch = batch_from_rows([(i, {}) for i in ids], SCHEMA)
    assert batch.ids.to_pylist() == ["e\u0301", "\u00e9", "a" * 255, " x ", "0"]
    assert batch.duplicates == 0


def test_the_last_valid_row_of_an_id_counts_whole():
    batch = batch_from_rows(
        [
            ("a", {"country": "PL", "size": 1}),
            ("b", {"country": "DE"}),
            ("a", {"country": "CZ"}),
            ("b", {"size": 1.5}),
        ],
        SCHEMA,
    )
    assert batch.ids.to_pylist() == ["b", "a"]
    assert batch.duplicates == 1
    assert [r.index for r in batch.rejects] == [3]
    assert dict(rows_from_batch(batch, SCHEMA)) == {"a": {"country": "CZ"}, "b": {"country": "DE"}}


def test_rows_from_batch_gives_the_rows_back():
    row = {
        "income": Decimal("-12.50"),
        "size": Decimal(MAX_MINOR_UNITS),
        "seen": datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
        "born": date(1980, 2, 29),
        "consent": False,
        "country": "PL",
        "email": None,
        "tags": ("a", "b"),
    }
    batch = batch_from_rows([("a", row), ("b", {"tags": None})], SCHEMA)
    assert list(rows_from_batch(batch, SCHEMA)) == [("a", row), ("b", {"tags": None})]


def test_empty():
    batch = batch_from_rows([], SCHEMA)
    assert len(batch.ids) == 0
    assert batch.changes == {}


def test_tag_names():
    assert tag_names(["b", "a", "b", "e\u0301"]) == ("b", "a", "\u00e9")
    assert tag_names([]) == ()
    for bad in ("vip", b"vip", [""], ["a" * 2049], ["\ud800"], [3]):
        with pytest.raises(InvalidValue):
            tag_names(bad)
