"""The catalogue of products on real data, with DuckDB as the second oracle: "bought product P in the last month and no
accessory of it yet", and conditions on lines that reach their products' properties.

The data is the Complete Journey set (see test_duckdb); without it these tests are skipped. Baskets become orders, as in
test_events_duckdb, but lines have no producer and category of their own, save every seventh: those are the catalogue's.
Which products are accessories of which is told by the data: those bought in the same baskets most often. Every answer
is asked of what was imported, of what was written live, and of both merged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.exec.evaluate import materialise
from segidx.exec.query import prepare
from segidx.ingest.import_orders import import_orders
from segidx.model.events import Order, OrderLine
from segidx.model.products import ProductWrite
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

ROOT = Path(__file__).parents[2]
DATA = (ROOT / os.environ.get("SEGIDX_SHARED_DATA", "../shared/data")).resolve() / "completejourney"
pytestmark = pytest.mark.skipif(
    not all((DATA / f"{name}.parquet").exists() for name in ("transactions_compact", "products")),
    reason=f"the Complete Journey data is not in {DATA}; set SEGIDX_SHARED_DATA",
)

AT = datetime(2017, 12, 15, 9, 30, tzinfo=UTC)  # in the middle of the data: what comes after is invisible

LINES = """
create table lines as
select 'basket-' || basket_id as order_id, 'household-' || household_id as contact_id, ts as time,
    'product-' || t.product_id as product,
    case when t.product_id % 7 = 0 then 'maker-' || (manufacturer_id + 1) end as producer,
    case when t.product_id % 7 = 0 then product_category end as category,
    cast(quantity as integer) as quantity, cast(cast(sales_cents as decimal(18, 2)) / 100 as decimal(18, 2)) as amount
from read_parquet('{data}/transactions_compact.parquet') t
    left join read_parquet('{data}/products.parquet') p on t.product_id = p.product_id
where household_id % 6 = 1 order by basket_id
"""
# Half of the products that are sold, and some that are not.
PRODUCTS = """
create table products as
select 'product-' || product_id as product_id, 'maker-' || manufacturer_id as producer, product_category as category,
    brand,
    cast(try_cast(regexp_extract(package_size, '([0-9]+[.]?[0-9]*) *OZ', 1) as double) as decimal(15, 2)) as ounces
from read_parquet('{data}/products.parquet') where product_id % 2 = 0
"""
# The three products that are bought in the same baskets with one most often are its accessories.
PAIRS = """
create table pairs as
select a.product as product, b.product as accessory
from lines a join lines b on a.order_id = b.order_id and a.product <> b.product
where a.product in (select product from lines group by 1 order by count(*) desc, 1 limit 40)
group by 1, 2
qualify row_number() over (partition by a.product order by count(distinct a.order_id) desc, b.product) <= 3
"""
# A line as conditions see it: what it lacks its product has.
SEEN = """
create view seen as
select l.contact_id, l.time, l.product, l.quantity, l.amount, coalesce(l.producer, p.producer) as producer,
    coalesce(l.category, p.category) as category, p.brand, p.ounces, p.producer as catalogue_producer
from lines l left join products p on l.product = p.product_id
"""


class Shop(NamedTuple):
    account: Account
    sql: Any

    def check(self, expression: str, where: str) -> int:
        """How many hold; `where` is a condition on the contact `c.contact_id`. Both must say the same ones."""
        found = self.sql.execute(f"select contact_id from contacts c where {where}").fetchall()
        wanted = {row[0] for row in found}
        with self.account._store.snapshot() as snapshot:
            context = BindContext(snapshot, to_millis(AT), self.account.info.tz)
            for optimised in (True, False):
                plan = prepare(expression, context, optimised=optimised).plan
                ids = set(snapshot.ids.get(np.array(materialise(plan, context), np.uint32)).to_pylist())
                assert ids == wanted, f"{expression}\nwhere {where}\noptimised: {optimised}"
        return len(wanted)


def write_live(account: Account, sql: Any, share: str) -> None:
    """The baskets of a share, written as a shop does."""
    rows = sql.execute(
        f"select order_id, contact_id, time, product, producer, category, quantity, amount from lines where {share}"
        " order by order_id"
    ).fetchall()
    orders: dict[str, Order] = {}
    for order_id, contact_id, time, product, producer, category, quantity, amount in rows:
        line = OrderLine(product, producer, category, Decimal(quantity), None, amount)
        known = orders.get(order_id)
        if known is None:
            known = orders[order_id] = Order(order_id, contact_id, time.replace(tzinfo=UTC), lines=[])
        known.lines.append(line)  # type: ignore[attr-defined]
    waiting = list(orders.values())
    for start in range(0, len(waiting), 2000):
        assert account.write_events(waiting[start : start + 2000]).event_rejects == ()


@pytest.fixture(scope="module", params=["imported", "live", "merged"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("catalogue")
    sql = duckdb.connect()
    for made in (LINES, PRODUCTS, PAIRS, SEEN):
        sql.execute(made.format(data=DATA))
    sql.execute("create table contacts as select distinct contact_id from lines")
    imported = "true" if request.param == "imported" else "hash(order_id) % 3 > 0"
    sql.execute(f"copy (select * from lines where {imported}) to '{place}/lines.parquet' (format parquet)")
    sql.execute(f"copy products to '{place}/products.parquet' (format parquet)")
    with Database.open(place / "data", create=True, clock=lambda: to_millis(datetime(2018, 6, 1, tzinfo=UTC))) as db:
        account = db.account()
        account.update_product_schema([Field("ounces", FieldType.NUMBER, 2)])
        import_orders(account, place / "lines.parquet")
        report = account.import_products(place / "products.parquet")
        assert report.accepted == sql.execute("select count(*) from products").fetchone()[0]
        accessories: dict[str, list[str]] = {}
        for product, accessory in sql.execute("select product, accessory from pairs").fetchall():
            accessories.setdefault(accessory, []).append(product)
        account.write_products([ProductWrite(id, {"accessory_of": of}) for id, of in accessories.items()])
        if request.param != "imported":
            write_live(account, sql, f"not ({imported})")
        if request.param == "merged":
            account.merge()
        assert account.stats().contacts == sql.execute("select count(*) from contacts").fetchone()[0]
        assert (account.stats().log_records > 3) == (request.param == "live")
        yield Shop(account, sql)
        assert list(account.verify()) == []
    sql.close()


def lines(what: str, condition: str = "true", since: str = "interval '100 years'") -> str:
    at = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
    return (
        f"(select {what} from seen l where l.contact_id = c.contact_id and ({condition})"
        f" and l.time >= {at} - {since} and l.time < {at})"
    )


def test_bought_a_product_last_month_and_no_accessory_of_it_yet(shop: Shop) -> None:
    popular = [product for (product,) in shop.sql.execute("select distinct product from pairs order by 1").fetchall()]
    some = asked = 0
    for product in popular[:25]:
        accessory = f"l.product in (select accessory from pairs where pairs.product = '{product}')"
        bought = f"{lines('count(*)', f'l.product = {product!r}', 'interval 1 month')} > 0"
        found = shop.check(
            f'did(line where product = "{product}" during last 1 month)'
            f' and never(line where product.accessory_of = "{product}")',
            f"{bought} and {lines('count(*)', accessory)} = 0",
        )
        every = shop.check(f'did(line where product = "{product}" during last 1 month)', bought)
        some, asked = some + (0 < found < every), asked + 1
        two = popular[(asked * 7) % len(popular)]
        both = f"l.product in (select accessory from pairs where pairs.product in ('{product}', '{two}'))"
        shop.check(
            f'did(line where product.accessory_of in ("{product}", "{two}") and quantity > 0 during last 1 month)',
            f"{lines('count(*)', f'{both} and quantity > 0', 'interval 1 month')} > 0",
        )
    assert asked > 10
    assert some > 5


def test_a_producers_products_for_more_than_a_sum(shop: Shop) -> None:
    """The producer is the line's own, or the catalogue's."""
    makers = shop.sql.execute("select producer from seen group by 1 order by count(*) desc, 1 limit 8").fetchall()
    some = 0
    for (maker,) in makers:
        if maker is None:
            continue
        equal = f"coalesce(producer = '{maker}', false)"
        some += shop.check(
            f'sum(line.amount where producer = "{maker}" during last 6 months) > 30',
            f"coalesce({lines('sum(amount)', equal, 'interval 6 months')} > 30, false)",
        )
        shop.check(f'count(line where producer != "{maker}") > 100', f"{lines('count(*)', f'not {equal}')} > 100")
        catalogue = f"coalesce(catalogue_producer = '{maker}', false)"
        shop.check(f'count(line where product.producer = "{maker}") >= 2', f"{lines('count(*)', catalogue)} >= 2")
    assert some > 20


def test_other_properties(shop: Shop) -> None:
    checks = (
        ('did(line where brand = "Private" and amount > 5 during last 3 months)', "brand = 'Private' and amount > 5"),
        (
            "did(line where product.ounces > 40 and not brand is set during last 3 months)",
            "ounces > 40 and brand is null",
        ),
        ("did(line where product.ounces between 10 and 12.5 during last 3 months)", "ounces between 10 and 12.5"),
        ('did(line where category starts with ci "frzn" during last 3 months)', "starts_with(category, 'FRZN')"),
        ("did(line where category is not set during last 3 months)", "category is null"),
        (
            'did(line where at least 2 of (brand = "Private", amount > 10, ounces > 20) during last 3 months)',
            "coalesce(brand = 'Private', false)::int + (amount > 10)::int + coalesce(ounces > 20, false)::int >= 2",
        ),
    )
    telling = 0
    for expression, condition in checks:
        found = shop.check(expression, f"{lines('count(*)', condition, 'interval 3 months')} > 0")
        telling += 0 < found < shop.account.count("everyone").count
    assert telling >= 3


def test_what_the_catalogue_says_now_counts(shop: Shop) -> None:
    """Whatever it said when the lines came, and as of any instant."""
    account = shop.account
    (product,) = shop.sql.execute("select product from lines group by 1 order by count(*) desc, 1 limit 1").fetchone()
    before = account.count('did(line where brand = "of this test")').evaluation.generation
    assert shop.check('did(line where brand = "of this test")', "false") == 0
    told = account.write_products([ProductWrite(product, {"brand": "of this test"})])
    assert told.generation == before + 1
    assert (
        shop.check('did(line where brand = "of this test")', f"{lines('count(*)', f'product = {product!r}')} > 0") > 9
    )
    old = shop.sql.execute("select brand from products where product_id = ?", [product]).fetchone()
    account.write_products([ProductWrite(product, {"brand": old[0] if old else None})])
    assert shop.check('did(line where brand = "of this test")', "false") == 0
