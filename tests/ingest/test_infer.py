"""Inference: one test a rule, from typed files and from CSV text, whole files and not their beginnings."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from segidx.ingest.infer import ColumnProfile, float_decimals
from segidx.ingest.starter import starter_type
from segidx.model.errors import InvalidSource
from segidx.model.schema import Field, FieldType, describe


def infer(*batches, name="v", text=False):
    """The type text of a column given in batches; None if it makes no field."""
    profile = ColumnProfile(name, batches[0].type, is_text=text, hint=starter_type(name))
    for batch in batches:
        profile.see(batch)
    kind = profile.field_type()
    return None if kind is None else describe(Field("v", kind, profile.decimals if kind is FieldType.NUMBER else 0))


def csv(*values, name="v"):
    half = len(values) // 2
    encoded = [None if v is None else v.encode() for v in values]
    return infer(pa.array(encoded[:half], pa.binary()), pa.array(encoded[half:], pa.binary()), name=name, text=True)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1, None, 3]), "number(0)"),
        (pa.array([1, 2], pa.uint8()), "number(0)"),
        (pa.array([1.0, 2.5, 3.25]), "number(2)"),
        (pa.array([1.0, float("nan"), float("inf")]), "number(0)"),
        (pa.array([0.1], pa.float32()), "number(1)"),
        (pa.array([1e15, 0.5]), "number(1)"),
        (pa.array([1e-9]), "number(9)"),
        (pa.array([123456789012345.67]), "number(2)"),
        (pa.array([Decimal("1.50"), Decimal("2.00")], pa.decimal128(10, 2)), "number(1)"),
        (pa.array([Decimal("1.5"), None], pa.decimal128(38, 18)), "number(1)"),
        (pa.array([Decimal("100")], pa.decimal128(10, 0)), "number(0)"),
        (pa.array([True, None]), "bool"),
        (pa.array([date(2026, 1, 1)]), "date"),
        (pa.array([datetime(2026, 1, 1)], pa.timestamp("ns")), "date"),
        (pa.array([datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 1)], pa.timestamp("us")), "timestamp"),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")), "timestamp"),
        (pa.array([["a"], None]), "tags"),
        (pa.array([[1]]), "tags"),
        (pa.array(["a", "b", None]), "category"),
        (pa.array(["1", "2"]), "category"),  # a typed file says it is a string
        (pa.array([f"v{i}" for i in range(21)]), "text"),
        (pa.array([f"v{i}" for i in range(1000)] * 20), "category"),
        (pa.array([f"v{i}" for i in range(1001)] * 20), "text"),
        (pa.array([f"v{i}" for i in range(1000)] * 19), "text"),
        (pa.array(["a", "b"]).dictionary_encode(), "category"),
        (pa.array([None, None], pa.string()), None),
        (pa.nulls(3), None),
    ],
)
def test_typed_columns(column, kind):
    assert infer(column) == kind


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", None], "number(0)"),
        (["1", "2.50", "-0.125"], "number(3)"),
        (["0.5", "10"], "number(1)"),
        (["007", "8"], "category"),  # a code, not a number
        (["+48", "49"], "category"),
        (["1e5", "1"], "category"),
        (["1" * 19, "2"], "category"),
        (["true", "False"], "bool"),
        (["true", "1"], "category"),
        (["2026-01-31", "0001-01-01"], "date"),
        (["2026-01-31", "2026-02-30"], "category"),
        (["2026-01-31T10:00:00Z", "2026-01-31 10:00:00.5"], "timestamp"),
        (["2026-01-31", "2026-01-31T10:00:00Z"], "category"),
        (["1"] * 30 + ["x"], "category"),  # the last row decides
        (["NA", "PL"], "category"),
        ([None, None], None),
    ],
)
def test_text_columns(values, kind):
    assert csv(*values) == kind


def test_the_whole_file_is_looked_at():
    assert infer(pa.array([1.5]), pa.array([2.0]), pa.array([0.125])) == "number(3)"
    late = [pa.array([datetime(2026, 1, 1)]), pa.array([datetime(2026, 1, 1, 1)])]
    assert infer(*late) == "timestamp"


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("Email", ["a@x", "b@x"], "text"),
        ("phone number", ["48123", "48124"], "text"),
        ("Country", ["PL"], "category"),
        ("consent", ["1", "0"], "bool"),
        ("consent", ["1", "2"], "number(0)"),
        ("birth_date", ["1980-01-01"], "date"),
        ("birthday", ["1980-01-01", "unknown"], "category"),
        ("age", ["20", "30-40"], "category"),
    ],
)
def test_starter_names_in_text(name, values, kind):
    assert csv(*values, name=name) == kind


def test_starter_names_in_typed_files():
    assert infer(pa.array(["1980-01-01"]), name="birth-date") == "date"
    assert infer(pa.array(["1980-01-01", "?"]), name="birth-date") == "category"
    assert infer(pa.array([48123]), name="phone") == "text"
    assert infer(pa.array([0, 1, None]), name="consent") == "bool"
    assert infer(pa.array([0, 2]), name="consent") == "number(0)"
    assert infer(pa.array([20.5]), name="age") == "number(1)"
    assert infer(pa.array([f"v{i}" for i in range(5000)]), name="city") == "category"


def test_too_many_decimals_name_a_value_and_a_way_out():
    with pytest.raises(InvalidSource, match=r"such as 0\.30000000000000004; .*--field 'v=number\(2\)'"):
        infer(pa.array([0.5, 0.1 + 0.2]))
    with pytest.raises(InvalidSource, match=r"such as 0\.1234567891;"):
        csv("0.5", "0.1234567891")
    with pytest.raises(InvalidSource, match="more than 9 decimals"):
        infer(pa.array([Decimal("0.0000000001")], pa.decimal128(20, 10)))
    with pytest.raises(InvalidSource, match="more than 9 decimals"):
        float_decimals("v", np.random.default_rng(1).random(3000))


def test_columns_no_field_holds():
    with pytest.raises(InvalidSource, match=r"struct.*--field v=skip"):
        infer(pa.array([{"a": 1}]))


@pytest.mark.parametrize("scale", range(10))
def test_float_decimals_is_what_repr_shows(scale):
    rng = np.random.default_rng(scale)
    floats = rng.integers(-(10**12), 10**12, 2000) / 10**scale
    expected = max(max(0, -Decimal(repr(float(f))).normalize().as_tuple().exponent) for f in floats)
    assert float_decimals("v", floats) == expected
