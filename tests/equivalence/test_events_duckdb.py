"""The second oracle for events: DuckDB, on the real baskets of some 2,500 households.

The data is the Complete Journey set (see test_duckdb); without it these tests are skipped. Baskets become orders, their
rows lines. Rows of quantity 0 (coupons, weighed goods) make some baskets that do not count. The sources of baskets are
made up from their numbers.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.exec.evaluate import materialise
from segidx.exec.query import prepare
from segidx.ingest.import_orders import import_orders
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
SEED = 20_171_215
RANDOM = 150

LINES = """
create table lines as
select 'basket-' || basket_id as order_id, 'household-' || household_id as contact_id, ts as time,
    'product-' || t.product_id as product, 'maker-' || manufacturer_id as producer, product_category as category,
    case basket_id % 5 when 0 then 'email' when 1 then 'paid_search' when 2 then 'direct' when 3 then 'paid_social' end
        as source, case when basket_id % 5 < 4 then basket_id % 5 in (1, 3) end as paid,
    cast(quantity as integer) as quantity, cast(cast(sales_cents as decimal(18, 2)) / 100 as decimal(18, 2)) as amount
from read_parquet('{data}/transactions_compact.parquet') t
    left join read_parquet('{data}/products.parquet') p on t.product_id = p.product_id
where household_id % 4 = 1 order by basket_id
"""
# An order counts with a line of positive quantity; its amount is that of its lines.
ORDERS = """
create table orders as
select order_id, any_value(contact_id) as contact_id, min(time) as time, sum(amount) as amount,
    max(quantity) > 0 as counts, any_value(paid) as paid, any_value(source) as source
from lines group by order_id
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
                ordinals = materialise(plan, context)
                ids = set(snapshot.ids.get(np.array(ordinals, np.uint32)).to_pylist())
                assert ids == wanted, f"{expression}\nwhere {where}\noptimised: {optimised}"
        return len(wanted)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("baskets")
    sql = duckdb.connect()
    sql.execute(LINES.format(data=DATA))
    sql.execute(ORDERS)
    sql.execute("create table contacts as select distinct contact_id from lines")
    sql.execute(f"copy (select * from lines) to '{place}/lines.parquet' (format parquet)")
    with Database.open(place / "data", create=True) as database:
        account = database.account()
        import_orders(account, place / "lines.parquet")
        assert account.stats().contacts == sql.execute("select count(*) from contacts").fetchone()[0]
        yield Shop(account, sql)
    sql.close()


EVER, NOW = "interval '100 years'", "interval '0 days'"


def orders(
    condition: str = "true", since: str = EVER, until: str = NOW, *, what: str = "count(*)", of: str = "o.counts"
) -> str:
    at = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
    return (
        f"(select {what} from orders o where o.contact_id = c.contact_id and {of} and ({condition})"
        f" and o.time >= {at} - {since} and o.time < {at} - {until})"
    )


def lines(what: str, condition: str = "true", since: str = EVER, until: str = NOW) -> str:
    at = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
    return (
        f"(select {what} from lines l where l.contact_id = c.contact_id and ({condition})"
        f" and l.time >= {at} - {since} and l.time < {at} - {until})"
    )


MAKER = "maker-69"
SIX_MONTHS, MONTH, NINETY = "interval '6 months'", "interval '1 month'", "interval '90 days'"


def test_a_producers_products_for_more_than_a_sum_in_six_months(shop: Shop) -> None:
    found = shop.check(
        f'sum(line.amount where producer = "{MAKER}" during last 6 months) > 300',
        f"{lines('sum(amount)', f'''producer = '{MAKER}' ''', SIX_MONTHS)} > 300",
    )
    assert found > 10


def test_bought_a_product_last_month_and_another_never(shop: Shop) -> None:
    popular = shop.sql.execute(
        "select product from lines where quantity > 0 group by product order by count(*) desc, product limit 2"
    ).fetchall()
    one, other = popular[0][0], popular[1][0]
    found = shop.check(
        f'did(line where product = "{one}" and quantity > 0 during last 1 month)'
        f' and never(line where product = "{other}")',
        f"{lines('count(*)', f'''product = '{one}' and quantity > 0''', MONTH)} > 0"
        f" and {lines('count(*)', f'product = {other!r}')} = 0",
    )
    assert found > 10


def test_fewer_orders_than_half_of_those_before(shop: Shop) -> None:
    before = orders(since="interval '180 days'", until=NINETY)
    found = shop.check(
        "count(order during last 90 days) < 0.5 * count(order during 180 to 90 days ago)",
        f"{orders(since=NINETY)} < 0.5 * {before}",
    )
    assert found > 10


def test_sums_of_orders_and_of_lines_agree(shop: Shop) -> None:
    everyone = shop.account.count("everyone").count
    assert shop.check("sum(order.amount) = sum(line.amount)", f"{lines('sum(amount)')} is not null") > everyone // 2
    assert shop.check("sum(order.amount) != sum(line.amount)", f"{lines('sum(amount)')} is null") < everyone // 2


def test_what_the_contacts_before_the_first_order_hold(shop: Shop) -> None:
    assert shop.check("did(order until 2016-12-01)", "false") == 0
    assert shop.check("count(order) < 3", f"{orders()} < 3") > 0
    assert shop.check("not count(order) >= 3", f"{orders()} < 3") > 0


PAID, SOURCES = "coalesce(paid, false)", "source in ('direct', 'email')"


def test_bought_only_after_paid_sources(shop: Shop) -> None:
    found = shop.check(
        "only(order where paid = true during last 30 days)",
        f"{orders(PAID, since='interval 30 days')} > 0 and {orders(f'not {PAID}', since='interval 30 days')} = 0",
    )
    assert found > 10
    # A population with a filter of its own holds orders that do not count as well.
    shop.check(
        "only(order where paid = true among amount > 20 during last 90 days)",
        f"{orders(f'amount > 20 and {PAID}', NINETY, of='true')} > 0"
        f" and {orders(f'amount > 20 and not {PAID}', NINETY, of='true')} = 0",
    )
    never = 'source in ("direct", "email")'
    shop.check(
        f"only(order where paid = true during last 3 months) and never(order where {never})",
        f"{orders(PAID, since='interval 3 months')} > 0 and {orders(f'not {PAID}', since='interval 3 months')} = 0"
        f" and {orders(SOURCES)} = 0",
    )
    bought, fortnight = "quantity > 0", "interval '14 days'"
    meat = "coalesce(category = 'MEAT', false)"
    some, others = f"count(*) filter ({meat})", f"count(*) filter (not {meat})"
    shop.check(
        'only(line where category = "MEAT" during last 14 days)',
        f"{lines(some, bought, fortnight)} > 0 and {lines(others, bought, fortnight)} = 0",
    )


def test_days_since_the_last_order_and_its_time(shop: Shop) -> None:
    ago = f"date_diff('day', cast({orders(what='max(time)')} as date), date '{AT:%Y-%m-%d}')"
    for operator, days in ((">", 60), ("<=", 7), ("=", 3), ("!=", 3), (">=", 10_000), (">", -1)):
        missing = "true" if operator == "!=" else "false"
        shop.check(f"days_since(last(order)) {operator} {days}", f"coalesce({ago} {operator} {days}, {missing})")
    assert shop.check("last(order).time before 2017-11-01", f"{orders(what='max(time)')} < date '2017-11-01'") > 0
    maker = f"producer = '{MAKER}'"
    shop.check(
        f'first(line where producer = "{MAKER}").time >= 2017-02-01T12:00:00Z',
        f"{lines('min(time)', maker)} >= timestamp '2017-02-01 12:00:00'",
    )
    shop.check(
        "days_since(first(order)) - days_since(last(order)) >= 300",
        f"date_diff('day', cast({orders(what='min(time)')} as date), cast({orders(what='max(time)')} as date)) >= 300",
    )


def test_average_order_value(shop: Shop) -> None:
    total, number = orders(what="sum(amount)", since=NINETY, of="true"), orders(since=NINETY)
    found = shop.check("average(order.amount during last 90 days) > 40", f"{total} > 40 * {number} and {number} > 0")
    assert found > 10


def test_random_conditions(shop: Shop) -> None:
    rng = random.Random(SEED)
    makers = [m for (m,) in shop.sql.execute("select producer from lines group by 1 order by count(*) desc").fetchall()]
    categories = [
        name
        for (name,) in shop.sql.execute("select category from lines group by 1 order by count(*) desc, 1").fetchall()
        if name is not None
    ]
    some = 0
    for _ in range(RANDOM):
        expression, where = _random(rng, makers, categories)
        found = shop.check(expression, where)
        some += 0 < found < shop.account.count("everyone").count
    assert some > RANDOM // 2


def _random(rng: random.Random, makers: list[str], categories: list[str]) -> tuple[str, str]:
    if rng.random() < 0.3:
        a, b = (_random(rng, makers, categories) for _ in range(2))
        joiner = rng.choice(("and", "or"))
        negated = rng.choice(("", "not "))
        return f"({a[0]}) {joiner} {negated}({b[0]})", f"({a[1]}) {joiner} {negated}({b[1]})"
    days = rng.choice((7, 30, 90, 200, 365))
    window, since = rng.choice(
        ((f"during last {days} days", f"interval '{days} days'"), ("during last 3 months", "interval '3 months'"))
    )
    wanted, condition = _filter(rng, makers, categories)
    kind = rng.choice(("did", "never", "count", "sum", "quantity", "orders", "min", "max", "average"))
    if kind == "orders":
        least, number = rng.choice((5, 20, 60, 100)), rng.choice((1, 2, 5, 20))
        return (
            f"count(order where amount >= {least} {window}) >= {number}",
            f"{orders(f'amount >= {least}', since)} >= {number}",
        )
    if kind in ("did", "never"):
        sign = "> 0" if kind == "did" else "= 0"
        return (
            f"{kind}(line where {wanted} {window})",
            f"{lines('count(*)', condition, since)} {sign}",
        )
    operator, number = rng.choice(("<", "<=", ">", ">=", "=", "!=")), rng.choice((0, 1, 2, 5, 20, 100))
    if kind == "count":
        counted = lines("count(*)", condition, since)
        return f"count(line where {wanted} {window}) {operator} {number}", f"{counted} {operator} {number}"
    column = "quantity" if kind == "quantity" else "amount"
    function = "sum" if kind == "quantity" else kind
    # An average of DuckDB's is a double: its sum is compared with a multiple instead.
    made = {"average": f"sum({column}) - {number} * count({column})"}.get(function, f"{function}({column})")
    total = lines(made, condition, since)
    missing = "true" if operator == "!=" else "false"
    if function == "average":
        return (
            f"average(line.{column} where {wanted} {window}) {operator} {number}",
            f"coalesce({total} {operator} 0, {missing})",
        )
    return (
        f"{function}(line.{column} where {wanted} {window}) {operator} {number}",
        f"coalesce({total} {operator} {number}, {missing})",
    )


def _filter(rng: random.Random, makers: list[str], categories: list[str]) -> tuple[str, str]:
    """A filter of lines and the same in SQL, where a comparison with null is false under NOT too."""
    choice = rng.choice(("maker", "makers", "category", "amount", "quantity", "prefix", "both", "either", "not"))
    if choice in ("both", "either"):
        a, b = _filter(rng, makers, categories), _filter(rng, makers, categories)
        joiner = "and" if choice == "both" else "or"
        return f"({a[0]} {joiner} {b[0]})", f"({a[1]} {joiner} {b[1]})"
    if choice == "not":
        a = _filter(rng, makers, categories)
        return f"not ({a[0]})", f"not ({a[1]})"
    if choice == "maker":
        maker = rng.choice(makers[:30])
        return f'producer = "{maker}"', f"coalesce(producer = '{maker}', false)"
    if choice == "makers":
        few = rng.sample(makers[:60], 3)
        return (
            f"producer in ({', '.join(f'{chr(34)}{m}{chr(34)}' for m in few)})",
            f"coalesce(producer in ({', '.join(repr(m) for m in few)}), false)",
        )
    if choice == "category":
        name = rng.choice([c for c in categories[:40] if '"' not in c and "'" not in c])
        return f'category != "{name}"', f"coalesce(category != '{name}', true)"
    if choice == "prefix":
        start = rng.choice(("FRZN", "MEAT", "S", "B", "SOFT"))
        return f'category starts with "{start}"', f"coalesce(starts_with(category, '{start}'), false)"
    if choice == "amount":
        low = rng.choice((0, 1, 2.5, 10))
        return f"amount between {low} and 20", f"amount between {low} and 20"
    return "quantity > 1", "quantity > 1"
