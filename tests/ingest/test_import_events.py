"""Files of events of one type: columns that are found or named, rows that are refused, and the same batches as of
rows."""

from __future__ import annotations

import csv
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segidx.database import Database
from segidx.ingest.event_rows import events_from_rows
from segidx.ingest.events_arrow import column_fields, events_from_arrow
from segidx.ingest.import_events import import_events, importable, parse_event_columns
from segidx.model.errors import InvalidArgument, InvalidSource, InvalidValue, TooManyRejects, UnknownEventType
from segidx.model.events import VISIT, Event, EventProperty, EventType, EventTypes
from segidx.model.results import WriteResult
from segidx.model.schema import AccountInfo, FieldType
from segidx.model.source_settings import SourceSettings

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp() * 1000)
SALE = EventType(
    "sale",
    (
        EventProperty("place", FieldType.CATEGORY),
        EventProperty("paid", FieldType.BOOL),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("share", FieldType.NUMBER, 4),
        EventProperty("due", FieldType.TIMESTAMP),
    ),
)
# With properties of names that columns have.
ODD = EventType("odd", (EventProperty("event_id", FieldType.CATEGORY), EventProperty("revision", FieldType.NUMBER)))
TYPES = EventTypes().extended([SALE, ODD])
ACCOUNT = AccountInfo("shop", "Europe/Warsaw", "PLN")


class Fake:
    """An account that keeps the batches."""

    def __init__(self):
        self.info = ACCOUNT
        self.event_types = TYPES
        self.source_settings = SourceSettings()
        self.horizons = {}
        self.batches = []

    def now(self):
        return NOW

    def apply_events(self, batch):
        self.batches.append(batch)
        return WriteResult(
            len(self.batches), 0, 1, 0, events_accepted=len(batch.ids), events_duplicates=batch.duplicates
        )

    def kept(self):
        return {event_id: row for batch in self.batches for event_id, row in kept(batch).items()}


def kept(batch):
    """{event id: (contact, time, properties, revision)}."""
    columns = [cells(column) for column in batch.properties]
    rows = zip(
        batch.contacts.to_pylist(),
        batch.times.tolist(),
        map(list, zip(*columns, strict=True)),
        batch.revisions.tolist(),
        strict=True,
    )
    return dict(zip(batch.ids.to_pylist(), rows, strict=True))


def cells(column):
    values = column.values.tolist() if not hasattr(column.values, "to_pylist") else column.values.to_pylist()
    return [v if p else None for v, p in zip(values, column.present.tolist(), strict=True)]


@pytest.fixture
def write(tmp_path):
    def write(text, name="sales.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file(write):
    account, told = Fake(), []
    path = write(
        "event_id,contact_id,time,place,paid,price,share,due,currency,note\n"
        "1,anna,2026-07-01T12:00:00Z,Ło\u0301dź,true,12.5,0.1234,2026-08-01,PLN,hello\n"
        "2,bert,2026-07-01 12:00,,,,,,,\n"
    )
    report = import_events(account, "sale", path, progress=lambda *said: told.append(said))
    assert account.kept() == {
        "1": ("anna", NOW, ["Łódź", 1, 1250, 1234, 1785535200000, 1], 0),
        "2": ("bert", NOW - 2 * 3_600_000, [None, None, None, None, None, 1], 0),  # of the account's zone
    }
    assert (report.type, report.rows, report.events, report.unchanged, report.rejected) == ("sale", 2, 2, 0, 0)
    assert (report.contacts_created, report.generation, report.ignored_columns) == (1, 1, ("note",))
    assert report.columns["currency"] == "currency"
    assert (report.rejects, report.reject_path) == ((), None)
    assert told == [("importing", 2, None)]


def test_columns_of_other_names(write):
    account = Fake()
    path = write("Number,Who,When,Where\n1,7,2026-01-01T00:00:00Z,shop\n")
    columns = parse_event_columns(["event_id=Number", "contact_id=Who", "time=When", "place=Where"], SALE)
    report = import_events(account, "sale", path, columns=columns)
    assert report.columns == {"event_id": "Number", "contact_id": "Who", "time": "When", "place": "Where"}
    assert account.kept()["1"][2][0] == "shop"


def test_properties_that_are_called_as_columns_are(write):
    account = Fake()
    path = write(
        "event_id,contact_id,time,revision,property.event_id,property.revision\na,x,2026-01-01T00:00:00Z,3,b,9\n"
    )
    import_events(account, "odd", path)
    assert account.kept() == {"a": ("x", 1767225600000, ["b", 9, 1], 3)}
    assert "currency" not in column_fields(ODD, ACCOUNT)
    assert "currency" not in column_fields(VISIT, ACCOUNT)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_other_formats(tmp_path, kind):
    table = pa.table(
        {
            "event_id": pa.array([1, 2], pa.int64()),
            "contact_id": pa.array(["a", "b"]).dictionary_encode(),
            "time": pa.array([NOON, NOON], pa.timestamp("us", "UTC")),
            "revision": pa.array([None, 5], pa.int32()),
            "price": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
            "paid": pa.array([True, None]),
        }
    )
    path = tmp_path / f"sales.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    account = Fake()
    import_events(account, "sale", path)
    assert account.kept() == {
        "1": ("a", NOW, [None, 1, 110, None, None, 1], 0),
        "2": ("b", NOW, [None, None, None, None, None, 1], 5),
    }


def test_what_is_refused(write):
    good = "good,anna,2026-01-01T00:00:00Z,,,,,\n"
    rows = {
        ",anna,2026-01-01T00:00:00Z,,,,,": ("event_id", "row 1: there is no event id"),
        f"{'x' * 256},anna,2026-01-01T00:00:00Z,,,,,": ("event_id", "has 256 bytes"),
        "1,,2026-01-01T00:00:00Z,,,,,": ("contact_id", "row 1: sale '1': there is no contact id"),
        "1,anna,,,,,,": ("time", "a sale event has a time"),
        "1,anna,noon,,,,,": ("time", "is not an instant"),
        "1,anna,1969-12-31T00:00:00Z,,,,,": ("time", "is before 1970"),
        "1,anna,2026-07-02T12:00:01Z,,,,,": ("time", "24 hours ahead of the clock"),
        "1,anna,2026-01-01T00:00:00Z,0,,,,": ("revision", "0 is no revision"),
        "1,anna,2026-01-01T00:00:00Z,x,,,,": ("revision", "'x' is not a number"),
        f"1,anna,2026-01-01T00:00:00Z,{1 << 61},,,,": ("revision", "is no revision"),
        "1,anna,2026-01-01T00:00:00Z,,perhaps,,,": ("paid", "neither true nor false"),
        "1,anna,2026-01-01T00:00:00Z,,,1.234,,": ("price", "more than 2 decimals"),
        f"1,anna,2026-01-01T00:00:00Z,,,,{'x' * 2049},": ("place", "a string of 2049 bytes"),
        "1,anna,2026-01-01T00:00:00Z,,,,,EUR": ("currency", "'EUR' is not the account's currency, PLN"),
    }
    for row, (field, message) in rows.items():
        account = Fake()
        path = write(f"event_id,contact_id,time,revision,paid,price,place,currency\n{good}{row}\n")
        report = import_events(account, "sale", path)
        (reject,) = report.rejects
        assert (reject.index, reject.field) == (1, field)
        assert message in reject.message
        assert (report.rows, report.events, report.rejected) == (2, 1, 1)
        assert list(account.kept()) == ["good"]
        with report.reject_path.open(newline="") as file:
            assert [line["field"] for line in csv.DictReader(file)] == [field]


def test_files_that_cannot_be(write):
    path = write("event_id,contact_id\n1,2\n")
    with pytest.raises(InvalidSource, match="no column 'time'; say which one it is with --map"):
        import_events(Fake(), "sale", path)
    with pytest.raises(InvalidArgument, match="there is no 'plaec'; did you mean 'place'"):
        import_events(Fake(), "sale", path, columns={"plaec": "x"})
    with pytest.raises(InvalidArgument, match="batch_rows"):
        import_events(Fake(), "sale", path, batch_rows=0)
    with pytest.raises(UnknownEventType, match="did you mean 'sale'"):
        import_events(Fake(), "sael", path)
    with pytest.raises(InvalidArgument, match="one row a line; import it with import_orders"):
        importable("order", TYPES)
    with pytest.raises(InvalidValue, match="a line is written with its order"):
        importable("line", TYPES)
    with pytest.raises(TooManyRejects, match="all of the first 2 rows"):
        import_events(Fake(), "sale", write("event_id,contact_id,time\n,a,b\n,a,b\n"))


def test_a_column_whose_type_cannot_fill_a_property(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"event_id": ["a"], "contact_id": ["b"], "time": [NOON], "price": [True]}), path)
    with pytest.raises(InvalidSource, match="cannot fill price"):
        import_events(Fake(), "sale", path)


@pytest.mark.parametrize("option", ["event_id", "=x", "place=", "plaec=x"])
def test_options(option):
    with pytest.raises(InvalidArgument, match="--map"):
        parse_event_columns([option], SALE)
    with pytest.raises(InvalidArgument, match="mapped already"):
        parse_event_columns(["place=x", "place=y"], SALE)


def test_of_several_rows_with_one_id_one_stands(write):
    account = Fake()
    rows = ["a,1,,", "b,2,5,", "a,3,,", "b,4,4,", "c,5,1,", "c,6,,", "a,7,,"]
    text = "event_id,contact_id,revision,place,time\n" + "".join(f"{row},2026-01-01T00:00:00Z\n" for row in rows)
    report = import_events(account, "sale", write(text))
    assert {event_id: row[0] for event_id, row in account.kept().items()} == {"a": "7", "b": "2", "c": "5"}
    assert (report.rows, report.events, report.unchanged) == (7, 3, 4)
    (batch,) = account.batches
    assert sorted(batch.superseded.contacts.to_pylist()) == ["1", "3"]


def test_files_and_rows_agree():
    """Random events, bad ones among them, as rows and as a table: the same batch, the same rows refused."""
    rng = random.Random(5)
    for _ in range(200):
        events = [random_event(rng, f"e{rng.randrange(12)}") for _ in range(rng.randrange(1, 12))]
        (by_rows,) = events_from_rows(events, TYPES, ACCOUNT, NOW, first_index=3)
        table = as_table(events)
        names = {name: name for name in table.schema.names}
        by_file = events_from_arrow(table, names, TYPES["sale"], ACCOUNT, NOW, first_index=3)
        assert kept(by_file) == kept(by_rows)
        assert list(kept(by_file)) == list(kept(by_rows))
        assert by_file.duplicates == by_rows.duplicates
        # Messages show instants as they are given, which is not alike.
        told = [[(r.index, r.contact_id, r.field, r.reason) for r in batch.rejects] for batch in (by_file, by_rows)]
        assert told[0] == told[1]
        ours, theirs = by_file.superseded, by_rows.superseded
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.contacts.equals(theirs.contacts)
            assert ours.rows.tolist() == theirs.rows.tolist()
            assert ours.revisions.tolist() == theirs.revisions.tolist()


def random_event(rng, event_id):
    properties = {
        "place": rng.choice([None, "", "tea", "e\u0301", "x" * 2049 if rng.random() < 0.05 else "y"]),
        "paid": rng.choice([None, True, False]),
        "price": rng.choice([None, "1.5", "-2", "1.234" if rng.random() < 0.1 else "0.01", "9" * 15]),
        "share": rng.choice([None, "0.1234", "7"]),
        "due": rng.choice([None, NOON, NOON + timedelta(days=9000)]),
    }
    return Event(
        "sale",
        event_id if rng.random() < 0.95 else "",
        rng.choice(["anna", "bert", "" if rng.random() < 0.1 else "cora"]),
        NOON + rng.choice([timedelta(0), timedelta(hours=25), timedelta(milliseconds=-5)]),
        properties,
        rng.choice([None, None, 1, 2, 0 if rng.random() < 0.1 else 3]),
    )


def as_table(events):
    table = {
        "event_id": pa.array([e.event_id for e in events]),
        "contact_id": pa.array([e.contact_id for e in events]),
        "time": pa.array([e.time for e in events], pa.timestamp("ms", "UTC")),
        "revision": pa.array([e.revision for e in events], pa.int64()),
    }
    for each in SALE.properties:
        kind = {FieldType.BOOL: pa.bool_(), FieldType.TIMESTAMP: pa.timestamp("ms", "UTC")}.get(each.type, pa.string())
        table[each.name] = pa.array([e.properties[each.name] for e in events], kind)
    return pa.RecordBatch.from_pydict(table)


def test_into_an_account_in_several_batches_and_again(tmp_path, write):
    text = "event_id,contact_id,time,source,dwell\n" + "".join(
        f"v{n},c{n % 50},2026-0{1 + n % 6}-01T00:00:00Z,{'email' if n % 3 else 'ads'},{n % 7}.5\n" for n in range(2000)
    )
    path = write(text)
    with Database.open(tmp_path / "d", create=True, clock=lambda: NOW) as database:
        account = database.account()
        account.upsert([("c0", {})])
        for again in (False, True):
            report = import_events(account, "visit", path, batch_rows=300)
            assert (report.rows, report.events, report.contacts_created) == (2000, 2000, 0 if again else 49)
            assert report.generation == account.generation()
            assert account.count("everyone").count == 50
            assert account.count("count(visit) = 40").count == 50
            assert account.count('did(visit where source = "ads" and dwell >= 6.5)').count == sum(
                any(n % 50 == c and n % 3 == 0 and n % 7 == 6 for n in range(2000)) for c in range(50)
            )
            assert list(account.verify()) == []
