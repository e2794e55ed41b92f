"""Lines of CSV files that have too many or too few cells: rows that are refused by themselves, in every import."""

from __future__ import annotations

import csv
import gzip
import random

import pyarrow as pa
import pyarrow.csv
import pytest

from segidx.database import Database
from segidx.ingest import import_orders as orders_module
from segidx.ingest import ragged as ragged_module
from segidx.ingest import sources
from segidx.ingest.import_contacts import import_contacts
from segidx.ingest.import_events import import_events
from segidx.ingest.import_orders import import_orders
from segidx.ingest.ragged import RAGGED, ragged_rows
from segidx.ingest.sources import open_source
from segidx.model.errors import InvalidSource, TooManyRejects
from segidx.model.events import EventProperty, EventType
from segidx.model.schema import FieldType, describe

FEW = "the line has 1 cell and the header 2 columns, which are parted by ','; write an empty cell for what is not set"
MANY = "the line has 3 cells and the header 2 columns, which are parted by ','; put a cell that holds the delimiter in"


@pytest.fixture
def write(tmp_path):
    def make(text, name="a.csv"):
        path = tmp_path / name
        content = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return make


@pytest.fixture
def account(tmp_path):
    with Database.open(tmp_path / "data", create=True) as database:
        yield database.account()


def listed(path):
    with path.with_name(path.name + ".rejects.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def read(path, rows=1000):
    """The good rows of a file, and the numbers of the ragged ones with what is said of them."""
    source = open_source(path)
    found = [
        row for batch in source.batches(source.columns, rows, ragged=True) for row in batch.to_pylist()
    ]  # fmt: skip
    good = [{name: cell for name, cell in row.items() if name != RAGGED} for row in found if row[RAGGED] is None]
    plain = [row for batch in source.batches(source.columns, rows) for row in batch.to_pylist()]
    assert plain == good  # as those see it who look at values alone
    for row in found:
        assert row[RAGGED] is None or not any(cell for name, cell in row.items() if name != RAGGED)
    return good, {i: row[RAGGED] for i, row in enumerate(found) if row[RAGGED] is not None}


# --- reading -----------------------------------------------------------------------------------------------


def test_too_many_and_too_few_cells(write):
    good, ragged = read(write('id,v\n1,2\n3,4,5\n\n"6\n,",7\n8\n,\n'))
    assert good == [{"id": b"1", "v": b"2"}, {"id": b"6\n,", "v": b"7"}, {"id": None, "v": None}]
    assert ragged == {1: MANY + " quotes", 3: FEW}


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n\r\n"])
@pytest.mark.parametrize("last", ["3", "3,4,5", '"3\n4'])
def test_the_last_line(write, last, ending):
    good, ragged = read(write("id,v\n1,2\n" + last + ending))
    assert good == [{"id": b"1", "v": b"2"}]
    assert list(ragged) == [1]


def test_empty_lines_are_no_rows(write):
    good, ragged = read(write("id,v\n\n1,2\r\n\r\n\n3\n\n\n4,5\n\n"))
    assert [row["id"] for row in good] == [b"1", b"4"]
    assert list(ragged) == [1]
    good, ragged = read(write("id,v\n\n1,2\r\n\r\n\n\n\n4,5\n\n"))
    assert ([row["id"] for row in good], ragged) == ([b"1", b"4"], {})


def test_of_one_column_and_of_other_delimiters(write):
    good, ragged = read(write("id\n1\n2,3\n4\n"))
    assert ([row["id"] for row in good], list(ragged)) == ([b"1", b"4"], [1])
    assert "the line has 2 cells and the header 1 column, which" in ragged[1]
    _, ragged = read(write("id\tv\n1\t2\n3,4\n", "a.tsv"))
    assert "parted by '\\t'" in ragged[1]


def test_bytes_that_are_not_utf8_and_marks_of_it(write):
    good, ragged = read(write(b"\xef\xbb\xbfid,v\n\xff,\xfe\n\xff\n\xef\xbb\xbfa,b\n\xfe,\xff,\xff\n"))
    assert good == [{"id": b"\xff", "v": b"\xfe"}, {"id": b"\xef\xbb\xbfa", "v": b"b"}]
    assert list(ragged) == [1, 3]
    good, _ = read(write(b"id,v\n\n\xef\xbb\xbfa,b\n\xff\n"))
    assert good == [{"id": b"\xef\xbb\xbfa", "v": b"b"}]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("first", [3, 41_000, 89_999])
def test_numbers_over_several_blocks(write, name, first):
    """Three blocks of 8 MB, the first ragged row in each of them."""
    bad = {first, 50_000, 50_001, 89_998, 89_999} - set(range(first))
    lines = [f"c{i},{'x' * 260}" if i not in bad else f"c{i}" for i in range(90_000)]
    good, ragged = read(write("id,v\n" + "\n".join(lines), name), 7_000)
    assert [row["id"] for row in good] == [f"c{i}".encode() for i in range(90_000) if i not in bad]
    assert set(ragged) == bad


def test_rows_are_those_of_pyarrow(write, monkeypatch):
    """Against what pyarrow itself counts, when it is asked to tell of ragged rows one by one."""
    rng = random.Random(7)
    parts = [b"a", b"bb", b",", b",", b"\n", b"\n", b"\r\n", b"\r", b'"', b'""', "ł".encode()]
    compared = 0
    for _ in range(600):
        text = b"id,v\n" + b"".join(rng.choices(parts, k=rng.randrange(60)))
        told = {}

        def tell(row, told=told):
            told[row.number - 2] = row.actual_columns
            return "skip"

        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            pyarrow.csv.ReadOptions(use_threads=False),
            pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=tell),
            sources._csv_columns(["id", "v"]),
        )
        if not told:
            continue
        monkeypatch.setattr(sources, "_CSV_BLOCK", rng.choice([70, 100, 1 << 20]))
        monkeypatch.setattr(ragged_module, "_PIECE_ROWS", rng.choice([1, 2, 5, 1000]))
        good, ragged = read(write(text), rng.choice([1, 3, 1000]))
        assert good == table.to_pylist(), text
        assert {row: int(said.split()[3]) for row, said in ragged.items()} == told, text
        compared += 1
    assert compared > 300


def test_every_line_is_ragged(write, monkeypatch):
    monkeypatch.setattr(sources, "_CSV_BLOCK", 64)
    good, ragged = read(write("id,v\n" + "a;b\n" * 500), 60)
    assert good == []
    assert ragged == dict.fromkeys(range(500), FEW)


def test_a_row_that_is_longer_than_a_block(write, monkeypatch):
    monkeypatch.setattr(sources, "_CSV_BLOCK", 1000)
    with pytest.raises(InvalidSource, match=r"a row is longer than 1,000 bytes; a quote may have no end"):
        read(write('id,v\n1\n2,"' + "x,y\n" * 1000))


def test_memory_holds_a_block(write, monkeypatch):
    """A block is looked through when the rows of the one before are made, not earlier."""
    monkeypatch.setattr(sources, "_CSV_BLOCK", 1 << 10)
    made = []
    block = ragged_module._block
    monkeypatch.setattr(ragged_module, "_block", lambda *given: made.append(1) or block(*given))
    source = open_source(write("id,v\n" + "a\n" * 100_000))
    batches = source.batches(["id"], 1000, ragged=True)
    assert next(batches).num_rows == 1000
    assert len(made) == 1
    assert [next(batches).num_rows for _ in range(9)] == [1000] * 9
    assert len(made) in range(15, 21)


def test_a_file_is_not_closed_while_pyarrow_may_read_ahead(write, monkeypatch):
    """Its thread would go on with the number of the closed file, which the next one that is opened mostly has."""
    opened = []
    text_of = sources._text_of
    monkeypatch.setattr(sources, "_text_of", lambda path: opened.append(text_of(path)) or opened[-1])
    source = open_source(write("id,v\n1,2\n3\n"))
    assert [stream.closed for stream in opened] == [True]  # its header is read
    assert sum(batch.num_rows for batch in source.batches(["id"], ragged=True)) == 2
    assert [stream.closed for stream in opened] == [True, False, True]
    reading = source.batches(["id"], 1)
    next(reading)
    reading.close()
    assert [stream.closed for stream in opened[3:]] == [False, True]


def test_other_files_have_no_ragged_rows(write):
    batch = pa.RecordBatch.from_pydict({"id": ["a", None]})
    assert ragged_rows(batch) == {}
    (plain,) = open_source(write("id,v\n1,2\n")).batches(["id"], ragged=True)
    assert plain.column_names == ["id", RAGGED]
    assert ragged_rows(plain) == {}


# --- contacts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_rows", [None, 2, 3, 1000])
@pytest.mark.parametrize("name", ["c.csv", "c.csv.gz"])
def test_contacts(make_account, write, batch_rows, name):
    path = write("id,income\na,10\nb,1,2\nc,20\n\nd\ne,x3\nf,3.5\n", name)
    account = make_account()
    report = import_contacts(account, path, id_column="id", batch_rows=batch_rows)
    assert [describe(field) for field in account.schema()] == ["category"]  # x3 is no number
    assert sorted(account.contacts) == ["a", "c", "e", "f"]
    assert (report.rows, report.accepted, report.rejected) == (6, 4, 2)
    assert [(r.index, r.contact_id, r.field, r.reason) for r in report.rejects] == [
        (1, "", "", "RAGGED_ROW"),
        (3, "", "", "RAGGED_ROW"),
    ]
    assert report.rejects[0].message == f"row 1: {MANY} quotes"
    assert report.rejects[1].message == f"row 3: {FEW}"
    assert [row[0] for row in listed(path)] == ["1", "3"]


def test_contacts_whose_types_are_inferred_and_rows_that_are_bad_behind_ragged_ones(make_account, write):
    path = write("id,income\na,10\nb\n,30\nc,20\n" + "d\n" * 30 + f"{'e' * 256},1\n")
    account = make_account()
    report = import_contacts(account, path, id_column="id")
    assert [describe(field) for field in account.schema()] == ["number(0)"]
    assert (report.rows, report.accepted, report.rejected, len(report.rejects)) == (35, 2, 33, 20)
    assert [(int(row), reason) for row, _, _, reason, _ in listed(path)] == [
        (1, "RAGGED_ROW"),
        (2, "INVALID_CONTACT_ID"),
        *((row, "RAGGED_ROW") for row in range(4, 34)),
        (34, "INVALID_CONTACT_ID"),
    ]
    assert listed(path)[-1][4].startswith("row 34: ")


def test_contacts_of_another_delimiter_than_the_header(make_account, write):
    path = write("id,income\na;1\nb;2\n")
    account = make_account()
    with pytest.raises(TooManyRejects, match=r"all of the first 2 rows .* the first: row 0: the line has 1 cell and"):
        import_contacts(account, path, id_column="id")
    assert account.contacts == {}
    assert len(account.schema()) == 0
    assert len(listed(path)) == 2


# --- products and events -----------------------------------------------------------------------------------


def test_products(account, write):
    path = write("product_id,weight\np,1\nq\nr,2,3\ns,4\n")
    report = account.import_products(path)
    assert [p.product_id for p in account.products()] == ["p", "s"]
    assert [(r.index, r.contact_id, r.field, r.reason) for r in report.rejects] == [
        (1, "", "", "RAGGED_ROW"),
        (2, "", "", "RAGGED_ROW"),
    ]
    assert (report.rows, report.rejected) == (4, 2)
    assert [describe(account.product_schema["weight"])] == ["number(0)"]


@pytest.mark.parametrize("batch_rows", [1, 2, 1000])
@pytest.mark.parametrize("kind", ["cart", "visit", "sale"])
def test_events(account, write, kind, batch_rows):
    account.declare_event_types([EventType("sale", (EventProperty("place", FieldType.CATEGORY),))])
    time = "2026-01-01T00:00:00Z"
    path = write(f"event_id,contact_id,time\n1,a,{time}\n2,b\n3,c,{time}\n4,d,{time},x\n5,e,never\n6,f,{time}\n")
    report = import_events(account, kind, path, batch_rows=batch_rows)
    assert (report.rows, report.events, report.rejected) == (6, 3, 3)
    assert [(r.index, r.contact_id, r.field, r.reason) for r in report.rejects] == [
        (1, "", "", "RAGGED_ROW"),
        (3, "", "", "RAGGED_ROW"),
        (4, "e", "time", "INVALID_VALUE"),
    ]
    assert report.rejects[0].message.startswith("row 1: the line has 2 cells and the header 3 columns")
    assert report.rejects[2].message.startswith("row 4: sale '5'" if kind == "sale" else f"row 4: {kind} '5'")


# --- orders ------------------------------------------------------------------------------------------------


def orders_file(write, ids):
    """A file of one line for each id; None is a ragged one."""
    lines = [f"{id_},anna,2026-01-01T00:00:00Z,p{i}" if id_ else f"?,p{i}" for i, id_ in enumerate(ids)]
    return write("\n".join(["order_id,contact_id,time,product", *lines]))


def imported(account, path, batch_rows):
    """The orders that were written with their lines, and what was refused: number of the row, and whether it is
    ragged itself."""
    report = import_orders(account, path, batch_rows=batch_rows)
    found = {event.event_id: len(event.lines) for event in account.contact_events("anna").events}
    assert {reject.reason for reject in report.rejects} <= {"RAGGED_ROW"}
    assert report.rejected == len(report.rejects)
    assert [reject.index for reject in report.rejects] == sorted(reject.index for reject in report.rejects)
    return found, {reject.index: not reject.field for reject in report.rejects}, report


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 4, 5, 1000])
@pytest.mark.parametrize(
    ("ids", "written", "refused"),
    [
        # Between two rows of one order: the order is refused at both.
        (["a", "b", None, "b", "c"], {"a": 1, "c": 1}, {1: False, 2: True, 3: False}),
        # Between two orders: it may be of either.
        (["a", "a", "b", "b", None, "c", "c", "d"], {"a": 2, "d": 1}, {3: False, 4: True, 5: False}),
        # Several in a row, and one order between two of them.
        (["a", "b", None, None, None, "c", None, "d", "e"], {"a": 1, "e": 1},
         {1: False, 2: True, 3: True, 4: True, 5: False, 6: True, 7: False}),
        # At the ends of the file.
        ([None, "a", "a", "b", "c", None], {"b": 1}, {0: True, 1: False, 4: False, 5: True}),
        # An order that was refused so and comes again is not written without its first lines.
        (["a", "b", None, "c", "d", "e"], {"a": 1, "d": 1, "e": 1}, {1: False, 2: True, 3: False}),
    ],
)  # fmt: skip
def test_orders_beside_a_ragged_line_are_refused(account, write, ids, written, refused, batch_rows, monkeypatch):
    # The first batch must have something good; what it is of the file is told apart by rows that begin it.
    good = [f"first{i}" for i in range(3)]
    monkeypatch.setattr(orders_module, "_PIECE_ROWS", max(1, batch_rows // 2))
    gap = [*good, "gap"]
    found, rejects, _ = imported(account, orders_file(write, [*gap, *ids]), batch_rows)
    expected = {index + len(gap): itself for index, itself in refused.items()}
    if ids[0] is None:
        expected[len(gap) - 1] = False
        gap = good
    assert found == written | dict.fromkeys(gap, 1)
    assert rejects == expected


def test_what_is_said_of_orders_beside_a_ragged_line(account, write):
    path = orders_file(write, ["x", "a", None, "b", "x2"])
    _, _, report = imported(account, path, 1000)
    assert [(r.contact_id, r.field) for r in report.rejects] == [("anna", "order_id"), ("", ""), ("anna", "order_id")]
    why = "row 2 beside it cannot be read, and may be of the same order; correct that row and import the file again"
    assert report.rejects[0].message == f"row 1: order 'a': {why}"
    assert report.rejects[1].message.startswith("row 2: the line has 2 cells and the header 4 columns")
    assert report.rejects[2].message == f"row 3: order 'b': {why}"
    assert (report.rows, report.orders, report.rejected) == (5, 2, 3)
    # Corrected, the file is imported whole.
    found, rejects, _ = imported(account, orders_file(write, ["x", "a", "a", "b", "x2"]), 1000)
    assert (found, rejects) == ({"x": 1, "a": 2, "b": 1, "x2": 1}, {})


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 1000])
def test_an_order_beside_a_ragged_line_that_comes_again_is_refused(account, write, batch_rows):
    path = orders_file(write, ["x", "a", None, "b", "y", "a", "z"])
    report = import_orders(account, path, batch_rows=batch_rows)
    assert {event.event_id for event in account.contact_events("anna").events} == {"x", "y", "z"}
    assert [(r.index, r.reason) for r in report.rejects] == [
        (1, "RAGGED_ROW"),
        (2, "RAGGED_ROW"),
        (3, "RAGGED_ROW"),
        (5, "INVALID_VALUE"),
    ]
    assert "came before in this import" in report.rejects[-1].message


def test_a_file_of_ragged_orders_writes_nothing(account, write):
    path = orders_file(write, ["a", None, "b"])
    with pytest.raises(TooManyRejects, match=r"nothing of it was imported; the first: row 0: order 'a': row 1 beside"):
        import_orders(account, path)
    path = orders_file(write, [None] * 5)
    with pytest.raises(TooManyRejects, match="the first: row 0: the line has 2 cells"):
        import_orders(account, path)
    assert [row[0] for row in listed(path)] == list("01234")
