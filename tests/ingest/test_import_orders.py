"""Orders from files: columns, whole orders across batches, rejects, and the same answers as rows give."""

from __future__ import annotations

import csv
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv_writer
import pyarrow.parquet as pq
import pytest

from segidx.database import Database
from segidx.ingest.event_batch import codes_of, with_found_contacts
from segidx.ingest.event_rows import orders_from_rows
from segidx.ingest.import_orders import import_orders, parse_columns
from segidx.ingest.orders_arrow import SeenOrders, orders_from_arrow
from segidx.model.errors import InvalidArgument, InvalidSource, TooManyRejects
from segidx.model.events import MAX_LINES, ORDER, Order, OrderLine
from segidx.model.results import WriteResult
from segidx.model.schema import MAX_MINOR_UNITS, AccountInfo
from segidx.model.writes import ChangeKind

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp() * 1000)
HEADER = "order_id,contact_id,time,source,paid,order_amount,product,producer,category,quantity,unit_price,amount\n"


class Fake:
    """An account that keeps the orders it is given, as tuples."""

    def __init__(self, zone="UTC", currency="USD"):
        self.info = AccountInfo("shop", zone, currency)
        self.orders = {}
        self.horizons = {}
        self.batches = []

    def now(self):
        return NOW

    def find_contacts(self, contact_ids):
        return np.full(len(contact_ids), -1)

    def apply_events(self, batch):
        self.batches.append(len(batch.ids))
        self.orders |= kept(batch)
        return WriteResult(len(self.batches), 0, 0, 0, events_accepted=len(batch.ids), event_rejects=batch.rejects)


def kept(batch):
    """Orders by id: (contact, time, properties, lines)."""
    lines = list(zip(*map(cells, batch.lines), strict=True))
    ends = np.cumsum(batch.line_counts).tolist()
    found = zip(
        batch.ids.to_pylist(),
        batch.contacts.to_pylist(),
        batch.times.tolist(),
        zip(*map(cells, batch.properties), strict=True),
        [lines[end - n : end] for n, end in zip(batch.line_counts.tolist(), ends, strict=True)],
        strict=True,
    )
    return {id_: rest for id_, *rest in found}


def cells(column):
    values = column.values.to_pylist() if isinstance(column.values, pa.Array) else column.values.tolist()
    return [v if p else None for v, p in zip(values, column.present.tolist(), strict=True)]


@pytest.fixture
def write(tmp_path):
    def make(text, name="orders.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


def test_a_csv_file(write):
    path = write(
        HEADER + "A-1,anna,2026-06-30 10:00:00,shop,true,,tea,Acme,drinks,2,1.50,\n"
        "A-1,anna,2026-06-30 10:00:00,shop,true,,cup,,,,4,\n"
        "A-2,bert,2026-06-30T10:00:00Z,,,-9.99,,,,,,\n"
    )
    account = Fake(zone="Europe/Warsaw")
    told = []
    report = import_orders(account, path, progress=lambda *said: told.append(said))
    at = int(datetime(2026, 6, 30, 8, tzinfo=UTC).timestamp() * 1000)
    assert account.orders == {
        "A-1": [
            "anna",
            at,
            ("shop", 1, 700, 1),
            [("tea", "Acme", "drinks", 2000, 150, 300, 1), ("cup", None, None, 1000, 400, 400, 1)],
        ],
        "A-2": ["bert", at + 7_200_000, (None, None, -999, 0), []],
    }
    assert (report.rows, report.orders, report.lines, report.rejected) == (3, 2, 2, 0)
    assert report.reject_path is None
    assert told == [("importing", 3, None)]


def test_what_is_said_of_an_order_may_stand_in_some_of_its_rows(write):
    path = write("order_id,contact_id,time,source,product\na,anna,2026-01-01T00:00:00Z,,x\na,,,web,y\na,,,,\n")
    account = Fake()
    import_orders(account, path)
    contact, _, properties, lines = account.orders["a"]
    assert (contact, properties[0]) == ("anna", "web")
    assert [line[0] for line in lines] == ["x", "y"]


def test_a_file_without_columns_of_lines(write):
    account = Fake()
    report = import_orders(account, write("order_id,contact_id,time,note\n1,7,2026-01-01T00:00:00Z,hello\n"))
    assert account.orders["1"][2:] == [(None, None, None, 1), []]
    assert report.ignored_columns == ("note",)


def test_columns_are_mapped(write):
    path = write("Order number;Who;When;total;amount\n1;anna;2026-01-01;5;x\n")
    columns = parse_columns(
        ["order_id=Order number", "contact_id=Who", "time=When", "order_amount=total", "amount=total"]
    )
    account = Fake()
    report = import_orders(account, path, columns=columns)
    assert account.orders["1"][2][2] == account.orders["1"][3][0][5] == 500
    assert report.ignored_columns == ("amount",)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("order_id", "write NAME=COLUMN"),
        ("order_id=", "write NAME=COLUMN"),
        ("order=x", "there is no 'order'; did you mean"),
    ],
)
def test_bad_maps(option, says):
    with pytest.raises(InvalidArgument, match=says):
        parse_columns([option])
    with pytest.raises(InvalidArgument, match="mapped already, to 'a'"):
        parse_columns(["time=a", "time=b"])


def test_files_that_cannot_be_orders(write, tmp_path):
    with pytest.raises(InvalidSource, match=r"no column 'contact_id'; say which one .*'order_id', 'time'"):
        import_orders(Fake(), write("order_id,time\n1,2\n"))
    with pytest.raises(InvalidSource, match="no column 'When'"):
        import_orders(Fake(), write("order_id,contact_id,time\n1,2,3\n"), columns={"time": "When"})
    path = tmp_path / "o.parquet"
    table = {"order_id": ["1"], "contact_id": ["a"], "time": [NOON], "quantity": [date(2026, 1, 1)]}
    pq.write_table(pa.table(table), path)
    with pytest.raises(InvalidSource, match=r"column 'quantity' is of type date32.*cannot fill quantity \(number\(3\)"):
        import_orders(Fake(), path)
    pq.write_table(pa.table({**table, "order_id": [1.5]}), path)
    with pytest.raises(InvalidSource, match=r"type double; order ids are strings or whole numbers"):
        import_orders(Fake(), path)


def test_bad_rows_refuse_their_orders(write):
    path = write(
        "order_id,contact_id,time,order_amount,product,quantity,amount,currency\n"
        "good,anna,2026-01-01T00:00:00Z,,tea,1,1.00,USD\n"
        "line,anna,2026-01-01T00:00:00Z,,tea,1,1.00,\n"
        "line,anna,2026-01-01T00:00:00Z,,tea,x,1.00,\n"
        ",anna,2026-01-01T00:00:00Z,,tea,1,1.00,\n"
        "who,,2026-01-01T00:00:00Z,,tea,1,1.00,\n"
        "when,anna,,,tea,1,1.00,\n"
        "old,anna,1969-12-31T00:00:00Z,,tea,1,1.00,\n"
        "new,anna,2026-07-02T12:00:00.001Z,,tea,1,1.00,\n"
        "fine,anna,2026-01-01T00:00:00Z,1.005,tea,1,1.00,\n"
        "euro,anna,2026-01-01T00:00:00Z,,tea,1,1.00,EUR\n"
        "two,anna,2026-01-01T00:00:00Z,,tea,1,1.00,\n"
        "two,bert,2026-01-01T00:00:00Z,,tea,1,1.00,\n"
        "good,anna,2026-01-01T00:00:00Z,,tea,1,1.00,\n"
        "last,anna,2026-07-02T12:00:00Z,,tea,1,1.00,USD\n"
    )
    account = Fake()
    report = import_orders(account, path)
    assert sorted(account.orders) == ["good", "last"]
    assert (report.rows, report.orders, report.rejected) == (14, 2, 10)
    with report.reject_path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:1] + row[2:4] for row in rows[1:]] == [
        ["2", "quantity", "INVALID_VALUE"],
        ["3", "order_id", "INVALID_VALUE"],
        ["4", "contact_id", "INVALID_CONTACT_ID"],
        ["5", "time", "INVALID_VALUE"],
        ["6", "time", "INVALID_VALUE"],
        ["7", "time", "INVALID_VALUE"],
        ["8", "order_amount", "INVALID_VALUE"],
        ["9", "currency", "INVALID_VALUE"],
        ["11", "contact_id", "INVALID_VALUE"],
        ["12", "order_id", "INVALID_VALUE"],
    ]
    messages = [row[4] for row in rows[1:]]
    assert messages[0].startswith("row 2: order 'line': field 'quantity': 'x' is not a number; write it in digits")
    assert "sort the file by order id" in messages[-1]
    assert any("'EUR' is not the account's currency, USD" in m for m in messages)
    assert any("not what row 10 of the same order says" in m for m in messages)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 5, 100])
def test_orders_are_whole_whatever_the_batches(write, batch_rows):
    rows = [(f"o{o}", line) for o in range(20) for line in range(o % 7)]
    path = write(
        "order_id,contact_id,time,product\n"
        + "".join(f"{o},anna,2026-01-01T00:00:00Z,p{line}\n" for o, line in rows)
        + "o3,anna,2026-01-01T00:00:00Z,late\n"
    )
    account = Fake()
    report = import_orders(account, path, batch_rows=batch_rows)
    assert {o: [line[0] for line in kept[3]] for o, kept in account.orders.items()} == {
        f"o{o}": [f"p{line}" for line in range(o % 7)] for o in range(20) if o % 7
    }
    assert [r.index for r in report.rejects] == [len(rows)]
    assert "came before in this import" in report.rejects[0].message
    assert len(account.batches) > 1 or batch_rows == 100


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("ids", "written", "refused"),
    [
        # Within an order, which would lack lines without it; and between two, which are whole.
        (["x", "a", "", "a", "b", "b"], {"x": 1, "b": 2}, [2]),
        (["x", "a", "", "b", "b"], {"x": 1, "a": 1, "b": 2}, [2]),
        (["x", "a", "a", "", "", "a", "", "a", "", "b", "", ""], {"x": 1, "b": 1}, [3, 4, 6, 8, 10, 11]),
        (["x", "", "", "a", ""], {"x": 1, "a": 1}, [1, 2, 4]),
        (["x", "a", "", "b", "a", "", "a"], {"x": 1, "a": 1, "b": 1}, [2, 4, 5]),
    ],
)
def test_rows_without_an_order_id(write, ids, written, refused, batch_rows):
    lines = [f"{id},anna,2026-01-01T00:00:00Z,p{row}\n" for row, id in enumerate(ids)]
    account = Fake()
    path = write("order_id,contact_id,time,product\n" + "".join(lines))
    report = import_orders(account, path, batch_rows=batch_rows)
    assert {order: len(kept[3]) for order, kept in account.orders.items()} == written
    assert [reject.index for reject in report.rejects] == refused


def test_files_of_one_import(write):
    text = "order_id,contact_id,time\n{},anna,2026-01-01T00:00:00Z\nx{},anna,2026-01-01T00:00:00Z\n"
    account, seen = Fake(), SeenOrders()
    import_orders(account, write(text.format("a", 1), "1.csv"), seen=seen)
    report = import_orders(account, write(text.format("a", 2), "2.csv"), seen=seen)
    assert sorted(account.orders) == ["a", "x1", "x2"]
    assert [r.index for r in report.rejects] == [0]


def test_too_many_lines(write):
    row = "big,anna,2026-01-01T00:00:00Z,x\n"
    path = write("order_id,contact_id,time,product\n" + row * (MAX_LINES + 1) + row.replace("big", "ok") * MAX_LINES)
    account = Fake()
    report = import_orders(account, path)
    assert list(account.orders) == ["ok"]
    assert "at most 5,000 lines, not 5,001" in report.rejects[0].message


def test_an_order_without_end_is_not_held(write):
    row = "big,anna,2026-01-01T00:00:00Z,x\n"
    path = write("order_id,contact_id,time,product\n" + row.replace("big", "ok") + row * 30_000)
    account = Fake()
    report = import_orders(account, path, batch_rows=4_000)
    assert list(account.orders) == ["ok"]
    assert report.rows == 30_001


def test_a_first_batch_without_a_good_order_writes_nothing(write):
    path = write("order_id,contact_id,time\na,anna,x\nb,anna,y\n")
    account = Fake()
    with pytest.raises(TooManyRejects, match=r"nothing of it was imported; the first: row 0: order 'a': field 'time'"):
        import_orders(account, path)
    assert account.orders == {}
    assert path.with_name("orders.csv.rejects.csv").exists()


def test_seen_orders():
    rng, seen, known = random.Random(3), SeenOrders(), set()
    for _ in range(60):
        ids = [f"o{n}" for n in rng.sample(range(5000), rng.randrange(1, 300))]
        assert seen.add(pa.array(ids)).tolist() == [i in known for i in ids]
        known.update(ids)


def test_large_amounts_of_files_are_exact():
    largest = MAX_MINOR_UNITS
    table = {
        "order_id": ["a", "b", "c", "c", "d", "d", "d"],
        "contact_id": ["x"] * 7,
        "time": [NOON] * 7,
        "unit_price": pa.array([Decimal(largest).scaleb(-2), *[None] * 6], pa.decimal128(24, 2)),
        "amount": pa.array(
            [None, *(Decimal(sign * largest).scaleb(-2) for sign in (1, 1, 1, 1, 1, -1))], pa.decimal128(24, 2)
        ),
    }
    batch = orders_from_arrow(record_batch(table), same(table), AccountInfo("shop"), NOW, SeenOrders())
    assert {i: row[2][2] for i, row in kept(batch).items()} == {"a": largest, "b": largest, "d": largest}
    (reject,) = batch.rejects
    assert (reject.index, reject.field) == (2, "order_amount")


def record_batch(table):
    return pa.table(table).combine_chunks().to_batches()[0]


def same(table):
    return {name: name for name in table}


def test_files_and_rows_agree():
    """Random orders, bad ones among them, as rows and as a table: the same batch, the same orders refused."""
    rng = random.Random(11)
    account = AccountInfo("shop", money_scale=3)
    for _ in range(150):
        orders = [random_order(rng, f"o{n}") for n in range(rng.randrange(1, 12))]
        by_rows = orders_from_rows(orders, account, NOW)
        table = as_table(orders)
        by_file = orders_from_arrow(record_batch(table), same(table), account, NOW, SeenOrders())
        assert kept(by_file) == kept(by_rows)
        refused = {table["order_id"][r.index].as_py() for r in by_file.rejects}
        assert refused == {orders[r.index].order_id for r in by_rows.rejects}


def random_order(rng, order_id):
    def money(most=10**6):
        return None if rng.random() < 0.3 else Decimal(rng.randrange(-most, most)).scaleb(-rng.randrange(4))

    most = rng.choice([10**6, 10**6, 10**16, 10**18, 10**22])
    lines = [
        OrderLine(
            product=rng.choice(["tea", "cup", "e\u0301", "x" * 2049 if rng.random() < 0.05 else "y"]),
            producer=rng.choice([None, "Acme"]),
            category=rng.choice([None, ""]),
            quantity=rng.choice([None, 0, 1, -2, Decimal("0.5"), Decimal("1.2345"), money()]),
            unit_price=money(most),
            amount=rng.choice([None, money(most)]),
        )
        for _ in range(rng.randrange(4))
    ]
    return Order(
        order_id,
        rng.choice(["anna", "bert", "" if rng.random() < 0.1 else "cora"]),
        NOON + rng.choice([timedelta(0), timedelta(hours=25), timedelta(milliseconds=-5)]),
        source=rng.choice([None, "web"]),
        paid=rng.choice([None, True, False]),
        amount=rng.choice([None, money()]),
        lines=lines,
    )


def as_table(orders):
    rows = []
    for order in orders:
        for line in order.lines or [None]:
            row = [order.order_id, order.contact_id, order.time, order.source, order.paid, order.amount]
            if line is None:
                row += [None] * 6
            else:
                row += [line.product, line.producer, line.category, line.quantity, line.unit_price, line.amount]
            rows.append(row)
    columns = list(zip(*rows, strict=True))
    names = HEADER.strip().split(",")
    table = dict(zip(names, map(list, columns), strict=True))
    for name in ("order_amount", "quantity", "unit_price", "amount"):
        table[name] = [None if v is None else f"{Decimal(v):f}" for v in table[name]]
    types = {"time": pa.timestamp("ms", "UTC"), "paid": pa.bool_()}
    return {name: pa.array(values, types.get(name, pa.string())) for name, values in table.items()}


# --- into an account ---------------------------------------------------------------------------------------


@pytest.fixture
def account(tmp_path):
    with Database.open(tmp_path / "data", create=True, clock=lambda: NOW) as database:
        yield database.account()


def stored(account, order_id):
    """(contact, time) of an order as the store has it."""
    from segidx.store.columns import read_cells
    from segidx.store.layout import DB_COLUMNS, ORDER_IDS_TABLE, PLACE_CONTACT, PLACE_TIME, event_place

    with account._store.snapshot() as snapshot:
        number = snapshot.table(ORDER_IDS_TABLE).find_one(order_id)
        if number is None:
            return None
        found = []
        for field in (event_place(ORDER, PLACE_CONTACT), event_place(ORDER, PLACE_TIME)):
            values, present = read_cells(snapshot.txn, snapshot.dbs[DB_COLUMNS], field, np.array([number]))
            assert present.all()
            found.append(int(values[0]))
        return snapshot.ids.get_one(found[0]), found[1]


def test_orders_are_written_and_replaced(account):
    account.upsert([("anna", {})])
    before = account.generation()
    result = account.import_orders(
        [
            Order("a", "anna", NOON, lines=[OrderLine(product="tea", unit_price=1)]),
            Order("b", "bert", NOON, amount=5),
            Order("", "dora", NOON),
        ]
    )
    # The contact that was not known came first, in a generation of its own.
    assert (result.generation, result.accepted, result.created, len(result.rejects)) == (before + 2, 2, 1, 1)
    assert account.count("everyone").count == 2
    assert stored(account, "a") == ("anna", NOW)
    later = NOON + timedelta(hours=1)
    result = account.import_orders([Order("a", "bert", later)])
    assert (result.generation, result.created) == (before + 3, 0)
    assert stored(account, "a") == ("bert", NOW + 3_600_000)
    created, first, second = account.changes(before)
    assert kinds(created) == {"bert": {ChangeKind.CREATED}}
    assert kinds(first) == {"anna": {ChangeKind.EVENTS}, "bert": {ChangeKind.EVENTS}}
    assert kinds(second) == {"anna": {ChangeKind.EVENTS}, "bert": {ChangeKind.EVENTS}}
    assert list(account.verify()) == []


def kinds(changes):
    return {change.contact_id: set(change.kinds) for change in changes.contacts}


def test_contacts_that_are_only_in_the_log_are_found(account):
    account.upsert([("anna", {})])
    assert account.import_orders([Order("a", "anna", NOON)]).created == 0
    account.upsert([("bert", {})])
    assert account.import_orders([Order("a", "bert", NOON)]).created == 0
    assert stored(account, "a") == ("bert", NOW)
    assert account.count("everyone").count == 2


def test_no_good_order_changes_nothing(account):
    before = account.generation()
    result = account.import_orders([Order("", "anna", NOON)])
    assert (result.generation, result.accepted, len(result.rejects)) == (before, 0, 1)
    assert account.count("everyone").count == 0


def test_an_error_leaves_nothing_of_the_orders_and_the_thread_goes_on(account, monkeypatch):
    from segidx.ingest import apply_events

    account.import_orders([Order("a", "anna", NOON)])
    before = account.generation()
    real = apply_events.write_events

    def fail(*arguments):
        real(*arguments)
        raise RuntimeError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(apply_events, "write_events", fail)
        with pytest.raises(RuntimeError, match="cut"):
            account.import_orders([Order("a", "anna", NOON + timedelta(hours=1)), Order("b", "anna", NOON)])
    assert account.generation() == before
    assert stored(account, "a") == ("anna", NOW)
    assert stored(account, "b") is None
    account.upsert([("bert", {})])
    account.import_orders([Order("b", "anna", NOON)])
    assert stored(account, "b") == ("anna", NOW)
    assert list(account.verify()) == []


def test_a_file_into_an_account(account, write):
    path = write(
        HEADER + "".join(f"o{n},c{n % 50},2026-0{1 + n % 6}-01T00:00:00Z,,,,p{n % 7},,,1,2.50,\n" for n in range(2000))
    )
    report = import_orders(account, path, batch_rows=300)
    assert (report.orders, report.lines, report.contacts_created) == (2000, 2000, 50)
    assert list(account.verify()) == []
    again = import_orders(account, path, batch_rows=700)
    assert (again.orders, again.contacts_created) == (2000, 0)
    assert list(account.verify()) == []


# --- names that the file has coded, and pieces ----------------------------------------------------------------


def random_table(pick, orders):
    """Rows of whole orders with names that are composed or not, too long, missing, and all of these in one column."""
    names = ["caf\u00e9", "cafe\u0301", "tea", "", "x" * 2049, None, "\u0141", *(f"n{n}" for n in range(30))]
    rows = []
    for number in range(orders):
        source = pick.choice(names)
        for _ in range(pick.choice((1, 1, 2, 5))):
            said = source if pick.random() < 0.95 else pick.choice(names)
            rows.append(
                {
                    "order_id": f"o{number}" if pick.random() < 0.99 else "o1",
                    "contact_id": f"c{number % 7}",
                    "time": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
                    "source": said,
                    "product": pick.choice(names),
                    "producer": pick.choice(names),
                    "category": None,
                    "amount": Decimal(pick.randint(-500, 500)) / 100,
                }
            )
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("seed", range(6))
def test_coded_names_mean_what_plain_ones_do(seed):
    pick = random.Random(seed)
    table = random_table(pick, 60)
    coded = table
    for name in ("source", "product", "producer", "category"):
        words = [
            *pick.sample(["never", "said", "\u00e9"], 2),
            *{v for v in table[name].to_pylist() if v is not None},
            None,
        ]
        places = [words.index(v) if v is not None or pick.random() < 0.5 else None for v in table[name].to_pylist()]
        column = pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), pa.array(words, pa.string()))
        coded = coded.set_column(coded.column_names.index(name), name, column)
    columns = {name: name for name in table.column_names}
    batches = [
        orders_from_arrow(t.combine_chunks().to_batches()[0], columns, AccountInfo("shop"), NOW, SeenOrders())
        for t in (table, coded)
    ]
    assert batches[0].rejects == batches[1].rejects
    assert batches[0].rejects
    assert kept(batches[0]) == kept(batches[1])
    assert kept(batches[0])
    for plain, other in zip(batches[0].lines[:3], batches[1].lines[:3], strict=True):
        assert isinstance(other.values, pa.DictionaryArray)
        assert strings_by_code(plain) == strings_by_code(other)


def strings_by_code(column):
    """The column as the table that takes its strings gives it back; what no row has is not put there."""
    known = {}
    codes = codes_of(column, lambda strings: np.array([known.setdefault(s, len(known)) for s in strings.to_pylist()]))
    assert set(codes[column.present].tolist()) == set(range(len(known)))
    listed = list(known)
    return [listed[c] if p else None for c, p in zip(codes.tolist(), column.present.tolist(), strict=True)]


@pytest.mark.parametrize("piece", [1, 7, 50])
@pytest.mark.parametrize("batch", [60, 1000])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_pieces_of_a_batch_make_no_difference(tmp_path, monkeypatch, piece, batch, kind):
    table = random_table(random.Random(piece), 150)
    path = tmp_path / f"orders.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=41)
    else:
        csv_writer.write_csv(table, path)
    whole, pieces = Fake(), Fake()
    want = import_orders(whole, path, batch_rows=10_000, reject_path=tmp_path / "a")
    monkeypatch.setattr("segidx.ingest.import_orders._PIECE_ROWS", piece)
    got = import_orders(pieces, path, batch_rows=batch, reject_path=tmp_path / "b")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert (got.rows, got.orders, got.lines, got.rejected) == (want.rows, want.orders, want.lines, want.rejected)
    assert pieces.orders == whole.orders
    assert len(pieces.batches) <= len(whole.batches) + table.num_rows // (batch - piece)


# --- contacts that are looked up before ---------------------------------------------------------------------------


def batch_of(account, orders):
    return orders_from_rows(orders, account.info, NOW)


def none(ids):
    return np.full(len(ids), -1)


def test_contacts_created_since_they_were_looked_up(account):
    account.upsert([("anna", {})])
    orders = [Order("a", "anna", NOON), Order("b", "bert", NOON), Order("c", "dora", NOON), Order("d", "anna", NOON)]
    batch = with_found_contacts(batch_of(account, orders), account.find_contacts)
    assert (batch.found.ordinals >= 0).tolist() == [True, False, False]
    account.upsert([("carl", {}), ("dora", {}), ("bert", {})])  # in the log still
    assert account.apply_events(batch).created == 0
    assert [stored(account, o)[0] for o in "abcd"] == ["anna", "bert", "dora", "anna"]
    assert account.count("everyone").count == 4
    late = with_found_contacts(batch_of(account, [Order("e", "emil", NOON), Order("f", "anna", NOON)]), none)
    assert account.apply_events(late).created == 1
    assert [stored(account, o)[0] for o in "ef"] == ["emil", "anna"]
    assert list(account.verify()) == []


def test_what_was_found_is_of_the_whole_batch(account):
    """Where some orders take no effect their contacts are not created, found before or not."""
    account.write_events([Order("a", "anna", NOON, revision=5), Order("b", "bert", NOON, revision=1)])
    orders = [Order("a", "stranger", NOON, revision=4), Order("b", "carl", NOON, revision=2), Order("c", "anna", NOON)]
    result = account.apply_events(with_found_contacts(batch_of(account, orders), account.find_contacts))
    assert (result.events_accepted, result.events_duplicates, result.created) == (2, 1, 1)
    assert [stored(account, o)[0] for o in "abc"] == ["anna", "carl", "anna"]
    assert account.count("everyone").count == 3
    assert list(account.verify()) == []


def test_many_contacts_are_found_some_at_a_time(account, monkeypatch):
    from segidx.database import importing

    account.upsert([(f"c{n}", {}) for n in range(10)])
    wanted = pa.array([f"c{n}" for n in (7, 99, 0, 3, 98, 9, 1)])
    whole = account.find_contacts(wanted)
    monkeypatch.setattr(importing, "_FOUND_AT_ONCE", 3)
    assert account.find_contacts(wanted).tolist() == whole.tolist()
    assert (whole >= 0).tolist() == [True, False, True, True, False, True, True]
    assert len(set(whole.tolist())) == 6
    assert account.find_contacts(wanted.slice(0, 0)).tolist() == []
