"""Net spend, DuckDB being the judge, on a year of a shop's invoices with their cancellations and their duplicate lines.

The data is the UCI set Online Retail in the folder that SEGIDX_SHARED_DATA names; without it these tests are skipped.
Invoices become orders; those that begin with C are cancellations, of negative quantities. Lines without a customer are
left out. Beside that, each line is an event of a type that the account declares. Lines that are the same in all have
the same id there, so that they count once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
import pytest

from segidx.model.events import Event, EventProperty, EventType, Retraction
from segidx.model.schema import FieldType
from segidx.testing.ways import Ways, import_file, lacks, rows_of, shared_data, ways_of, write_live

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("online_retail", "online_retail")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

AT = datetime(2011, 11, 1, 12, 0, tzinfo=UTC)  # in the middle of the data: what comes after is invisible
INSTANT = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
ZONE = "Europe/London"
SEED = 20_111_101
RANDOM = 60
PURCHASE = EventType(
    "purchase",
    (
        EventProperty("product", FieldType.CATEGORY),
        EventProperty("quantity", FieldType.NUMBER),
        EventProperty("price", FieldType.NUMBER, 3),
        EventProperty("amount", FieldType.NUMBER, None),
        EventProperty("cancelled", FieldType.BOOL),
    ),
)

ROWS = """
create table rows as
select row_number() over () as number, InvoiceNo as order_id, 'customer-' || CustomerID as contact_id,
    InvoiceDate as time, StockCode as product, Quantity as quantity, cast(UnitPrice as decimal(18, 3)) as price,
    cast(Quantity * cast(UnitPrice as decimal(18, 3)) as decimal(18, 2)) as amount, InvoiceNo[1:1] = 'C' as cancelled,
    concat_ws('/', InvoiceNo, StockCode, Quantity, cast(UnitPrice as decimal(18, 3))) as event_id
from read_parquet('{data}/online_retail.parquet') where CustomerID % {every} = 2
"""
# An invoice is at the time of its earliest line.
LINES = """
create table lines as
select order_id, contact_id, min(time) over (partition by order_id) as time, product, quantity,
    case when price = cast(price as decimal(18, 2)) then cast(price as decimal(18, 2)) end as unit_price, amount
from rows order by order_id, number
"""
ORDERS = """
create table orders as
select order_id, any_value(contact_id) as contact_id, any_value(time) as time, sum(amount) as amount,
    max(quantity) > 0 as counts
from lines group by order_id
"""
PURCHASES = """
create table purchases as
select * from rows qualify row_number() over (partition by event_id order by number desc) = 1;
create table contacts as select distinct contact_id from rows union all select 'nobody'
"""
FILE = "select event_id, contact_id, time, product, quantity, price, amount, cancelled from rows order by number"


class Shop(NamedTuple):
    ways: Ways
    sql: Any
    everyone: int

    def check(self, expression: str, where: str) -> int:
        """How many hold; `where` is a condition on the contact `c.contact_id`."""
        found = self.sql.execute(f"select contact_id from contacts c where {where}").fetchall()
        return self.ways.check(expression, [row[0] for row in found], AT, where)

    def rows(self, query: str) -> list[Any]:
        return self.sql.execute(query).fetchall()


def invoices(every: int) -> Any:
    """A connection with those of one customer in `every`."""
    sql = duckdb.connect(config={"threads": 2})
    for statement in (ROWS, LINES, ORDERS, PURCHASES):
        sql.execute(statement.format(data=shared_data("online_retail"), every=every))
    return sql


def everyone(sql: Any) -> int:
    return sql.execute("select count(*) from contacts").fetchone()[0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("returns")
    sql = invoices(12)
    lines, file = (sql.query(query).to_arrow_table() for query in ("select * from lines", FILE))
    with ways_of(place) as database:
        ways = Ways(place, database, zone=ZONE, types=[PURCHASE], contacts=[("nobody", {})])
        ways.tell({"order": lines, "purchase": file})
        yield Shop(ways, sql, everyone(sql))
    sql.close()


def had(table: str, condition: str, having: str = "count(*) > 0", since: str = "") -> str:
    """Whether the contact's rows of the condition, earlier than AT, are as `having` says."""
    window = f" and time >= {INSTANT} - interval '{since}'" if since else ""
    return (
        f"c.contact_id in (select contact_id from {table} where ({condition}) and time < {INSTANT}{window}"
        f" group by contact_id having {having})"
    )


def test_net_spend(shop: Shop) -> None:
    for low, high in ((0, 0), (-1000, -0.01), (0.01, 200), (200, 1000), (1000, 5000), (5000, 300_000)):
        shop.check(
            f"sum(order.amount) between {low} and {high}",
            had("orders", "true", f"sum(amount) between {low} and {high}"),
        )
        shop.check(
            f"sum(purchase.amount) between {low} and {high}",
            had("purchases", "true", f"sum(amount) between {low} and {high}"),
        )
    gross = had("lines", "quantity > 0", "sum(amount) > 1000")
    found = shop.check("sum(line.amount where quantity > 0) > 1000", gross)
    net = had("lines", "true", "sum(amount) > 1000")
    assert found > shop.check("sum(line.amount) > 1000", net) > 10
    assert shop.check("sum(order.amount) = sum(line.amount)", had("lines", "true")) > shop.everyone // 2
    # The duplicate lines are lines of their orders, and one purchase.
    twice = (
        f"(select sum(amount) from lines l where l.contact_id = c.contact_id and time < {INSTANT})"
        f" != (select sum(amount) from purchases p where p.contact_id = c.contact_id and time < {INSTANT})"
    )
    found = shop.check("did(line) and sum(line.amount) != sum(purchase.amount)", f"coalesce({twice}, false)")
    assert found > 10


def test_cancellations(shop: Shop) -> None:
    returned = shop.check("did(line where quantity < 0)", had("lines", "quantity < 0"))
    assert 0 < returned < shop.everyone
    assert returned == shop.check("did(purchase where cancelled)", had("purchases", "cancelled"))
    shop.check("min(order.amount) < -50", had("orders", "true", "min(amount) < -50"))
    counted = had("orders", "counts", "count(*) >= 5")
    many = had("orders", "true", "count(*) >= 5")
    # A cancellation is no order that counts.
    assert shop.check("count(order) >= 5", counted) < len(shop.rows(f"select * from contacts c where {many}"))
    shop.check("count(order where amount < 0) > 0", had("orders", "counts and amount < 0"))
    share = "-sum(amount) filter (quantity < 0) * 10 > sum(amount) filter (quantity > 0)"
    found = shop.check(
        "-10 * sum(line.amount where quantity < 0) > sum(line.amount where quantity > 0)", had("lines", "true", share)
    )
    assert found > 5
    shop.check(
        "average(order.amount) > 300",
        had("orders", "true", "sum(amount) > 300 * count(*) filter (counts) and count(*) filter (counts) > 0"),
    )
    shop.check("only(order where amount > 100)", had("orders", "counts", "bool_and(amount > 100)"))


def test_products(shop: Shop) -> None:
    """What was spent on one product, and who has brought all of it back."""
    some = 0
    most_returned = shop.rows(
        "select product from lines where quantity < 0 group by 1 order by count(*) desc, 1 limit 25"
    )
    for (product,) in most_returned:
        of = f"product = '{product}'"
        for text, table in (("line", "lines"), ("purchase", "purchases")):
            some += shop.check(
                f'sum({text}.amount where product = "{product}") > 30', had(table, of, "sum(amount) > 30")
            )
            back = had(table, of, "sum(quantity) <= 0")
            shop.check(f'sum({text}.quantity where product = "{product}") <= 0', back)
        shop.check(
            f'sum(line.amount where product = "{product}" and quantity < 0 during last 90 days) < 0',
            had("lines", f"{of} and quantity < 0", "sum(amount) < 0", "90 days"),
        )
    assert some > 50


def test_random_conditions(shop: Shop) -> None:
    rng = random.Random(SEED)
    products = [row[0] for row in shop.rows("select product from lines group by 1 order by count(*) desc limit 40")]
    some = sum(0 < shop.check(*_random(rng, products)) < shop.everyone for _ in range(RANDOM))
    assert some > RANDOM // 2


def _random(rng: random.Random, products: list[str]) -> tuple[str, str]:
    if rng.random() < 0.3:
        a, b = (_random(rng, products) for _ in range(2))
        joiner, negated = rng.choice(("and", "or")), rng.choice(("", "not "))
        return f"({a[0]}) {joiner} {negated}({b[0]})", f"({a[1]}) {joiner} {negated}({b[1]})"
    text, table = rng.choice((("line", "lines"), ("purchase", "purchases")))
    window, since = rng.choice((("", ""), ("during last 60 days", "60 days"), ("during last 5 months", "5 months")))
    one = rng.choice(products)
    few = rng.sample(products, 3)
    wanted, condition = rng.choice(
        (
            (f'product = "{one}"', f"product = '{one}'"),
            (f"product in ({', '.join(f'{chr(34)}{p}{chr(34)}' for p in few)})", f"product in {tuple(few)}"),
            (f'not product = "{one}"', f"product != '{one}'"),
            ('product matches "^[0-9]+[A-Z]$"', "regexp_matches(product, '^[0-9]+[A-Z]$')"),
            ("quantity < 0", "quantity < 0"),
            ("quantity >= 12 and amount < 20", "quantity >= 12 and amount < 20"),
            ('amount < 0 or product starts with "22"', "amount < 0 or product[1:2] = '22'"),
        )
    )
    made, operator = rng.choice(("sum", "min", "max", "count")), rng.choice(("<", "<=", ">", ">=", "=", "!="))
    measure = rng.choice(("amount", "quantity"))
    number = rng.choice((-12, -1.65, 0, 6, 15, 60, 200.5, 1000) if made != "count" else (1, 2, 5, 20))
    value = "count(*)" if made == "count" else f"{made}({measure})"
    asked = text if made == "count" else f"{text}.{measure}"
    expression = f"{made}({asked} where {wanted} {window}) {operator} {number}"
    if operator == "!=":
        return expression, f"not {had(table, condition, f'{value} = {number}', since)}"
    if made == "count" and operator in ("<", "<="):
        more = ">=" if operator == "<" else ">"
        return expression, f"not {had(table, condition, f'{value} {more} {number}', since)}"
    return expression, had(table, condition, f"{value} {operator} {number}", since)


def test_sent_again_and_taken_back(tmp_path: Path) -> None:
    """The file with its duplicates, once more, without the cancellations, once more, and with these in a revision."""
    sql = invoices(32)
    file = sql.query(FILE).to_arrow_table()
    path = tmp_path / "purchases.parquet"
    pyarrow.parquet.write_table(file, path)
    distinct = sql.execute("select count(distinct event_id) from rows").fetchone()[0]
    assert distinct < len(file)
    cancelled = sql.execute("select distinct event_id from purchases where cancelled order by 1").fetchall()
    taken = [event_id for (event_id,) in cancelled]
    assert len(taken) > 100
    rows = [row for row in rows_of("purchase", _in_utc(file)) if isinstance(row, Event)]

    with ways_of(tmp_path) as database:
        ways = Ways(tmp_path, database, ways=("bulk", "live"), types=[PURCHASE], contacts=[("nobody", {})])
        bulk, live = ways.accounts["bulk"], ways.accounts["live"]

        def check(condition: str = "true") -> list[int]:
            asked = (
                ("sum(purchase.amount) between 300 and 5000", "sum(amount) between 300 and 5000"),
                ("sum(purchase.amount) < 300", "sum(amount) < 300"),
                ("count(purchase) >= 40", "count(*) >= 40"),
                (
                    "count(purchase during last 200 days) >= 12",
                    f"count(*) filter (time >= {INSTANT} - interval '200 days') >= 12",
                ),
                ("did(purchase where quantity < 0)", "min(quantity) < 0"),
                ("min(purchase.quantity) <= -6", "min(quantity) <= -6"),
                ("sum(purchase.quantity where price < 1.250) > 100", "sum(quantity) filter (price < 1.25) > 100"),
            )
            found = []
            for expression, having in asked:
                where = had("purchases", condition, having)
                wanted = [row[0] for row in sql.execute(f"select contact_id from contacts c where {where}").fetchall()]
                found.append(ways.check(expression, wanted, AT, where))
            return found

        report = import_file(bulk, "purchase", path)
        assert (report.rows, report.unchanged) == (len(file), len(file) - distinct)
        write_live(live, rows, 700)
        first = check()
        assert min(first) > 3

        import_file(bulk, "purchase", path)
        write_live(bulk, rows, 5_000)
        write_live(live, rows, 900)
        assert check() == first
        live.merge()
        assert check() == first
        import_file(live, "purchase", path)
        assert check() == first

        for account in (bulk, live):
            result = account.write_events(Retraction("purchase", event_id) for event_id in taken)
            assert result.events_accepted == len(taken)
        without = check("not cancelled")
        assert without != first
        bulk.merge()
        assert check("not cancelled") == without
        # They stay away, in whichever way they come again.
        import_file(live, "purchase", path)
        assert write_live(live, rows, 5_000) >= len(taken)
        write_live(bulk, rows, 400)
        assert check("not cancelled") == without
        live.merge()
        assert check("not cancelled") == without
        again = [_revised(row) for row in rows if row.properties["cancelled"]]
        for account in (bulk, live):
            write_live(account, again, 250)
        assert check() == first
        bulk.merge()
        assert check() == first
        assert [*bulk.verify(), *live.verify()] == []
    sql.close()


def test_cancelled_orders_taken_back(tmp_path: Path) -> None:
    """An order that is retracted takes its lines along; one that is sent anew brings only its new ones."""
    sql = invoices(32)
    lines = sql.query("select * from lines").to_arrow_table()
    taken = [row[0] for row in sql.execute("select order_id from orders where amount < 0").fetchall()]
    asked = (
        ("sum(order.amount) between 300 and 5000", "orders", "sum(amount) between 300 and 5000"),
        ("sum(line.amount where quantity between -6 and 6) > 200", "lines", SMALL + " > 200"),
        ("count(line) >= 40", "lines", "count(*) >= 40"),
        ("did(line where quantity < 0)", "lines", "min(quantity) < 0"),
        ("average(order.amount) > 250", "orders", "sum(amount) > 250 * count(*) filter (counts)"),
    )
    with ways_of(tmp_path) as database:
        ways = Ways(tmp_path, database, types=[PURCHASE], contacts=[("nobody", {})])
        ways.tell({"order": lines})

        def check(condition: str = "true") -> list[int]:
            found = []
            for expression, table, having in asked:
                where = had(table, condition, having)
                wanted = [row[0] for row in sql.execute(f"select contact_id from contacts c where {where}").fetchall()]
                found.append(ways.check(expression, wanted, AT, where))
            return found

        first = check()
        for way, account in ways.accounts.items():
            result = account.write_events(Retraction("order", order_id) for order_id in taken)
            assert result.events_accepted == len(taken)
            if way.endswith("merged"):
                account.merge()
        quoted = ", ".join(f"'{order_id}'" for order_id in taken)
        without = check(f"order_id not in ({quoted})")
        assert without != first
        for account in ways.accounts.values():
            assert write_live(account, rows_of("order", _in_utc(lines)), 100) == len(taken)
        assert check(f"order_id not in ({quoted})") == without
        ways.accounts["live"].merge()
        assert check(f"order_id not in ({quoted})") == without
        assert [broken for account in ways.accounts.values() for broken in account.verify()] == []
    sql.close()


SMALL = "sum(amount) filter (quantity between -6 and 6)"


def _in_utc(table: pa.Table) -> pa.Table:
    place = table.column_names.index("time")
    return table.set_column(
        place, "time", table.column("time").cast(pa.timestamp("ms")).cast(pa.timestamp("ms", "UTC"))
    )


def _revised(row: Event) -> Event:
    return Event(row.type, row.event_id, row.contact_id, row.time, row.properties, revision=1)
