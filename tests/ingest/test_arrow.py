"""Arrow batches: the same as rows for the same data, and what only files have (naive times, integers as ids)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segidx.ingest.arrow import batch_from_arrow
from segidx.ingest.arrow_times import local_to_universal
from segidx.ingest.batch import ContactBatch
from segidx.ingest.rows import batch_from_rows
from segidx.model.errors import InvalidSource, SchemaConflict
from segidx.model.schema import MAX_MINOR_UNITS, Schema, parse_field
from segidx.model.windows import local_instant

KINDS = {
    "n0": "number",
    "n2": "number(2)",
    "n9": "number(9)",
    "t": "timestamp",
    "d": "date",
    "b": "bool",
    "c": "category",
    "x": "text",
    "g": "tags",
}
SCHEMA = Schema(tuple(parse_field(name, kind) for name, kind in KINDS.items()))


def plain(batch: ContactBatch):
    """A batch as plain values, to compare."""
    return (
        batch.ids.to_pylist(),
        {
            name: (change.rows.tolist(), change.values.tolist(), change.cleared.tolist())
            for name, change in batch.changes.items()
            if len(change.rows) or len(change.cleared)  # a file has its columns even where no row is valid
        },
        batch.duplicates,
        batch.rejects,
    )


def convert(column: pa.Array, name: str, **options) -> ContactBatch:
    ids = pa.array([f"c{i}" for i in range(len(column))])
    return batch_from_arrow(pa.record_batch({"id": ids, "v": column}), SCHEMA, "id", {"v": name}, **options)


def stored(column: pa.Array, name: str, **options):
    """The stored values by row; None where cleared, the message where refused."""
    batch = convert(column, name, **options)
    change = batch.changes[name]
    found = {
        int(batch.ids[row].as_py()[1:]): value
        for row, value in zip(change.rows.tolist(), change.values.tolist(), strict=True)
    }
    found |= {r.index: r.message for r in batch.rejects}
    return [found.get(i) for i in range(len(column))]


def same_as_rows(column: pa.Array, values: list, name: str) -> None:
    """`values` are the column's values as Python rows would give them (None for null)."""
    rows = [(f"c{i}", {name: value}) for i, value in enumerate(values)]
    expected = plain(batch_from_rows(rows, SCHEMA))
    assert plain(convert(column, name)) == expected
    # A slice of a longer column, as a file's batches may be: buffers have an offset.
    padded = pa.concat_arrays([column.slice(0, 1), column, column.slice(0, 1)]).slice(1, len(column))
    assert plain(convert(padded, name)) == expected


TEXTS = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["e\u0301", "\u00e9", "a" * 2048, "a" * 2049, "\u00e9" * 1024, "e\u0301" * 1024, "e\u0301" * 1025, ""]
    ),
)
NUMBER_TEXTS = st.one_of(
    st.from_regex(r"\A[+-]?[0-9]{0,20}(\.[0-9]{0,11})?\Z"),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.sampled_from(
        ["-0", "00012", ".5", "5.", "1e3", "", " 1", "9" * 18, "9" * 19, str(MAX_MINOR_UNITS), "4611686018427387904"]
    ),
)
FLOATS = st.one_of(
    st.floats(),
    st.integers(-(10**17), 10**17).map(lambda n: n / 100),
    st.integers(-(10**15), 10**15).map(lambda n: n / 10**9),
    st.sampled_from([0.1 + 0.2, 1e15, 1e16, 1e17, 4.6e16, -0.0, 2.0**62, 123456789012.345]),
)
INSTANTS = st.datetimes(timezones=st.just(UTC))
TIME_TEXTS = st.one_of(
    INSTANTS.map(lambda t: t.isoformat()),
    INSTANTS.map(lambda t: t.strftime("%Y-%m-%d %H:%M:%SZ")),
    st.from_regex(
        r"\A[0-9]{4}-[0-1][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9])?"
        r"([.,][0-9]{1,10})?(Z|[+-][0-2][0-9]:?[0-6][0-9])?\Z"
    ),
    st.sampled_from(
        ["", "2024-01-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-00:01", "2024-01-01T00:00:00z"]
    ),
)
DATE_TEXTS = st.one_of(
    st.dates().map(str),
    st.from_regex(r"\A[0-9]{4}-[0-1][0-9]-[0-3][0-9]\Z"),
    st.sampled_from(["", "2024-1-1", "2024-02-29", "2023-02-29", "1900-02-29", "0000-01-01", "2024-01-01\n"]),
)


def nullable(values, size=12):
    return st.lists(st.none() | values, min_size=1, max_size=size)


@settings(deadline=None, max_examples=150)
@given(
    nullable(TEXTS),
    st.sampled_from(["c", "x"]),
    st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
)
def test_texts_as_rows(values, name, type_):
    same_as_rows(pa.array(values, type_), values, name)


@settings(deadline=None, max_examples=150)
@given(nullable(NUMBER_TEXTS), st.sampled_from(["n0", "n2", "n9"]))
def test_number_texts_as_rows(values, name):
    same_as_rows(pa.array(values, pa.string()), values, name)


@settings(deadline=None, max_examples=300)
@given(nullable(FLOATS), st.sampled_from(["n0", "n2", "n9"]))
def test_floats_as_rows(values, name):
    same_as_rows(pa.array(values, pa.float64()), values, name)


@settings(deadline=None, max_examples=150)
@given(
    nullable(st.floats(width=32) | st.integers(-(10**7), 10**7).map(lambda n: float(np.float32(n / 100)))),
    st.sampled_from(["n0", "n2", "n9"]),
)
def test_single_floats_as_rows(values, name):
    same_as_rows(pa.array(values, pa.float32()), [None if v is None else np.float32(v) for v in values], name)


@settings(deadline=None, max_examples=150)
@given(
    nullable(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**9), 10**9)), st.sampled_from(["n0", "n2", "n9", "b"])
)
def test_integers_as_rows(values, name):
    same_as_rows(pa.array(values, pa.int64()), values, name)
    unsigned = [None if v is None else v % 2**64 for v in values]
    same_as_rows(pa.array(unsigned, pa.uint64()), unsigned, name)


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from(["n0", "n2", "n9"]), st.integers(0, 20))
def test_decimals_as_rows(data, name, scale):
    integers = data.draw(
        nullable(st.integers(-(10**37), 10**37) | st.integers(-(10**6), 10**6).map(lambda n: n * 10**scale))
    )
    values = [
        None if n is None else Decimal(n).scaleb(0) * Decimal(1).scaleb(-scale) if abs(n) < 10**20 else None
        for n in integers
    ]
    same_as_rows(
        pa.array(values, pa.decimal128(38, scale)), pa.array(values, pa.decimal128(38, scale)).to_pylist(), name
    )


@settings(deadline=None, max_examples=200)
@given(
    nullable(TIME_TEXTS.filter(lambda t: len(t) > 10).filter(lambda t: t[-1:].lower() == "z" or t[-6:-5] in ("+", "-")))
)
def test_time_texts_as_rows(values):
    same_as_rows(pa.array(values, pa.string()), values, "t")


@settings(deadline=None, max_examples=150)
@given(nullable(TIME_TEXTS), st.sampled_from(["UTC", "Europe/Warsaw", "Pacific/Apia"]))
def test_time_texts_one_by_one_and_together(values, zone):
    """The same answer for a text whether the fast path sees it or only the slow one (a suffix it leaves alone)."""
    from segidx.ingest.values import stored as slow
    from segidx.model.errors import InvalidValue

    def expected(row, value):
        if value is None:
            return None
        try:
            return slow(SCHEMA["t"], value, ZoneInfo(zone))
        except InvalidValue as error:
            return f"row {row}: {error.message}"

    assert stored(pa.array(values, pa.string()), "t", zone=ZoneInfo(zone)) == [
        expected(i, value) for i, value in enumerate(values)
    ]


@settings(deadline=None, max_examples=150)
@given(nullable(DATE_TEXTS))
def test_date_texts_as_rows(values):
    same_as_rows(pa.array(values, pa.string()), values, "d")


@settings(deadline=None, max_examples=100)
@given(nullable(INSTANTS), st.sampled_from(["ms", "us"]))
def test_instants_as_rows(values, unit):
    column = pa.array(values, pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, "UTC"), safe=False)
    same_as_rows(column, column.to_pylist(), "t")


@settings(deadline=None, max_examples=60)
@given(nullable(st.dates()))
def test_dates_as_rows(values):
    same_as_rows(pa.array(values, pa.date32()), values, "d")
    same_as_rows(pa.array(values, pa.date64()), values, "d")


@settings(deadline=None, max_examples=150)
@given(
    nullable(st.lists(st.none() | TEXTS | st.sampled_from(["a", "b", "c"]), max_size=5)),
    st.sampled_from([pa.list_, pa.large_list]),
)
def test_tags_as_rows(values, list_type):
    same_as_rows(pa.array(values, list_type(pa.string())), values, "g")


@settings(deadline=None, max_examples=60)
@given(nullable(st.booleans() | st.sampled_from(["true", "False", "1", "0", "yes", "", "TRUE "])))
def test_bools_as_rows(values):
    texts = [str(v) if isinstance(v, bool) else v for v in values]
    same_as_rows(pa.array(texts, pa.string()), texts, "b")


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "", None, "x" * 256]),
            st.none() | st.integers(-3, 3).map(lambda n: n / 8),
            TEXTS,
        ),
        max_size=12,
    )
)
def test_ids_duplicates_and_several_fields_as_rows(rows):
    batch = pa.record_batch(
        {
            "id": pa.array([r[0] for r in rows], pa.string()),
            "amount": pa.array([r[1] for r in rows], pa.float64()),
            "text": pa.array([r[2] for r in rows], pa.string()),
        }
    )
    expected = batch_from_rows([(r[0], {"n2": r[1], "x": r[2]}) for r in rows], SCHEMA, first_index=5)
    found = batch_from_arrow(batch, SCHEMA, "id", {"amount": "n2", "text": "x"}, first_index=5)
    assert plain(found) == plain(expected)


def test_invalid_utf8_is_refused_row_by_row():
    raw = pa.array([b"ok", b"\xff", None, b"\xc3\xa9"], pa.binary())
    smuggled = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    for column in (raw, smuggled):
        found = stored(column, "x")
        assert found[0] == "ok"
        assert "not valid UTF-8" in found[1]
        assert found[2:] == [None, "\u00e9"]
        assert "not a number" in stored(column, "n0")[1]
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), smuggled)
    found = stored(lists, "g")
    assert "not valid UTF-8" in found[0]
    assert "NoneType" in found[1]
    batch = batch_from_arrow(pa.record_batch({"id": smuggled}), SCHEMA, "id", {})
    assert batch.ids.to_pylist() == ["ok", "\u00e9"]
    assert [r.reason for r in batch.rejects] == ["INVALID_CONTACT_ID"] * 2
    assert "UTF-8" in batch.rejects[0].message
    assert "no contact id" in batch.rejects[1].message


def test_tags_in_a_string_are_split_and_trimmed():
    column = pa.array(["a|b", " a | a ||", "", None, "|", "x" * 2049 + "|a"])
    assert stored(column, "g")[:5] == [["a", "b"], ["a"], None, None, None]
    assert "2049 bytes" in stored(column, "g")[5]
    assert stored(pa.array(["a,b|c"]), "g", tag_separator=",") == [["a", "b|c"]]


def test_naive_times_are_local_in_the_accounts_zone():
    naive = [datetime(2026, 3, 29, 2, 30), datetime(2026, 10, 25, 2, 30), datetime(2026, 7, 1), None]
    warsaw = ZoneInfo("Europe/Warsaw")
    expected = [
        int(datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp() * 1000),  # a gap moves forward: 03:30 local
        int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp() * 1000),  # of a fold the earlier
        int(datetime(2026, 6, 30, 22, tzinfo=UTC).timestamp() * 1000),
        None,
    ]
    for unit in ("s", "ms", "us", "ns"):
        assert stored(pa.array(naive, pa.timestamp(unit)), "t", zone=warsaw) == expected
    texts = [None if t is None else t.isoformat(sep=" ") for t in naive]
    assert stored(pa.array(texts), "t", zone=warsaw) == expected
    assert stored(pa.array([date(2026, 7, 1)]), "t", zone=warsaw) == [expected[2]]
    assert stored(pa.array(["2026-07-01"]), "t", zone=warsaw) == [expected[2]]


@pytest.mark.parametrize(
    "zone", ["Europe/Warsaw", "Pacific/Apia", "Asia/Kathmandu", "America/Sao_Paulo", "Africa/Casablanca"]
)
def test_local_to_universal_is_local_instant(zone):
    rng = np.random.default_rng(5)
    tz = ZoneInfo(zone)
    local = rng.integers(-2_000_000_000_000, 2_500_000_000_000, 3000)
    near = [
        int(datetime(y, 1, 1, tzinfo=UTC).timestamp() * 1000) + m * 1_800_000
        for y in (2011, 2018)
        for m in range(0, 17_520, 3)
    ]
    local = np.concatenate([local, np.array(near)])
    epoch = datetime(1970, 1, 1)
    expected = [local_instant(epoch + timedelta(milliseconds=int(m)), tz) for m in local]
    assert local_to_universal(local, tz).tolist() == expected


def test_nanoseconds_are_rounded_down():
    column = pa.array([1_999_999, -1], pa.timestamp("ns", "UTC"))
    assert stored(column, "t") == [1, -1]


def test_instants_out_of_range_are_refused():
    for column in (pa.array([2**62, 0], pa.timestamp("s")), pa.array([2**62, 0], pa.timestamp("us", "UTC"))):
        found = stored(column, "t")
        assert "outside the years 1 to 9999" in found[0]
        assert found[1] == 0
    assert "outside the years" in stored(pa.array([2**31 - 1], pa.date32()), "d")[0]


def test_a_date_from_a_naive_timestamp_must_be_at_midnight():
    found = stored(pa.array([datetime(2026, 1, 2), datetime(2026, 1, 2, 3)]), "d")
    assert found[0] == 20_455
    assert "time of day" in found[1]


def test_integers_bools_and_dates_fill_strings():
    assert stored(pa.array([3, None, -1]), "c") == ["3", None, "-1"]
    assert stored(pa.array([True, None]), "c") == ["true", None]
    assert stored(pa.array([date(2026, 1, 2)]), "x") == ["2026-01-02"]
    assert stored(pa.array([[1, 2], []]), "g") == [["1", "2"], None]
    assert stored(pa.array([[1], [2]]).cast(pa.list_(pa.int64(), 1)), "g") == [["1"], ["2"]]


def test_integer_ids_are_written_in_decimal():
    batch = batch_from_arrow(pa.record_batch({"id": pa.array([7, None, 7, -1])}), SCHEMA, "id", {})
    assert batch.ids.to_pylist() == ["7", "-1"]
    assert batch.duplicates == 1
    assert [(r.index, r.message) for r in batch.rejects] == [(1, "row 1: there is no contact id")]


def test_columns_that_cannot_fill_a_field():
    with pytest.raises(SchemaConflict, match="field 'n2' is number\\(2\\), which a column of bool"):
        convert(pa.array([True]), "n2")
    with pytest.raises(SchemaConflict, match="field 'd'"):
        convert(pa.array([0], pa.timestamp("s", "UTC")), "d")
    with pytest.raises(InvalidSource, match="id column 'id' is of type double"):
        batch_from_arrow(pa.record_batch({"id": pa.array([1.0])}), SCHEMA, "id", {})


def test_null_columns_clear():
    batch = convert(pa.nulls(3), "g")
    assert plain(batch)[1]["g"] == ([], [], [0, 1, 2])


def test_an_empty_batch():
    empty = pa.record_batch({"id": pa.array([], pa.string()), "v": pa.array([], pa.string())})
    for name in KINDS:
        batch = batch_from_arrow(empty, SCHEMA, "id", {"v": name})
        assert len(batch.ids) == 0
        assert batch.rejects == ()


def test_arrow_decimal_types():
    for type_ in (pa.decimal128(5, 2), pa.decimal256(50, 2), pa.decimal128(10, -2)):
        values = [Decimal("100.00"), None]
        assert stored(
            pa.array(values, type_) if type_.scale > 0 else pa.array([Decimal("1E+2"), None], type_), "n2"
        ) == [10_000, None]
