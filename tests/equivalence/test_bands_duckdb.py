"""Bands of net spend and crossings of their thresholds, DuckDB being the judge, on a year of a shop's invoices with
their cancellations.

The data is the UCI set Online Retail in the folder that SEGIDX_SHARED_DATA names; without it these tests are skipped.
Invoices become orders, at the time of their earliest line; those that begin with C are cancellations, of negative
amounts, so that spend rises and falls. Lines without a customer are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from segidx.testing.ways import Ways, lacks, shared_data, ways_of

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("online_retail", "online_retail")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

AT = datetime(2011, 11, 1, 12, 0, tzinfo=UTC)  # in the middle of the data: what comes after is invisible
ZONE = "Europe/London"
THRESHOLDS = (100, 500, 1000)
BANDS = {
    "none": "spend is null",
    "<100": "spend < 100",
    "100-500": "spend >= 100 and spend < 500",
    "500-1000": "spend >= 500 and spend < 1000",
    "1000+": "spend >= 1000",
}

LINES = """
create table lines as
select InvoiceNo as order_id, 'customer-' || CustomerID as contact_id,
    min(InvoiceDate) over (partition by InvoiceNo, CustomerID) as time, StockCode as product, Quantity as quantity,
    cast(Quantity * cast(UnitPrice as decimal(18, 3)) as decimal(18, 2)) as amount
from read_parquet('{data}/online_retail.parquet') where CustomerID % 12 = 2 order by order_id
"""
# The running spend, at the end of each time of a customer, and what it was before.
RUNNING = """
create table orders as
select order_id, any_value(contact_id) as contact_id, any_value(time) as time, sum(amount) as amount,
    max(quantity) > 0 as counts
from lines group by order_id;
create table running as
select *, lag(spend) over (partition by contact_id order by time) as spend_before,
    lag(bought) over (partition by contact_id order by time) as bought_before
from (
    select contact_id, time, sum(sum(amount)) over (partition by contact_id order by time) as spend,
        sum(count(*) filter (counts)) over (partition by contact_id order by time) as bought
    from orders group by contact_id, time
);
create table contacts as select distinct contact_id from lines union all select 'nobody'
"""


class Shop(NamedTuple):
    ways: Ways
    sql: Any

    def check(self, expression: str, where: str, at: datetime = AT) -> int:
        """How many hold; `where` is a condition on the contact `c.contact_id`."""
        found = self.sql.execute(f"select contact_id from contacts c where {where}").fetchall()
        return self.ways.check(expression, [row[0] for row in found], at, where)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("bands")
    sql = duckdb.connect(config={"threads": 2})
    for statement in (LINES, RUNNING):
        sql.execute(statement.format(data=shared_data("online_retail")))
    with ways_of(place) as database:
        ways = Ways(place, database, zone=ZONE, contacts=[("nobody", {})])
        ways.tell({"order": sql.query("select * from lines").to_arrow_table()})
        for account in ways.accounts.values():
            account.declare_bands("spend", "sum(order.amount)", THRESHOLDS)
            account.declare_bands("recent", "sum(order.amount during last 90 days)", THRESHOLDS)
            account.declare_bands("bought", "count(order)", [1, 3, 10], ["never", "not once", "once", "some", "many"])
        yield Shop(ways, sql)
    sql.close()


def instant(at: datetime) -> str:
    return f"timestamp '{at:%Y-%m-%d %H:%M:%S}'"


def spent(condition: str, at: datetime = AT, since: int | None = None) -> str:
    window = "" if since is None else f" and time >= {instant(at)} - interval '{since} days'"
    of = f"select sum(amount) as spend from orders o where o.contact_id = c.contact_id and time < {instant(at)}{window}"
    return f"exists (select * from ({of}) where {condition})"


def crossed(threshold: int, start: datetime | None, end: datetime, value: str = "spend") -> str:
    since = "" if start is None else f" and time >= {instant(start)}"
    rises = f"{value} >= {threshold} and coalesce({value}_before < {threshold}, true)"
    return f"c.contact_id in (select contact_id from running where {rises} and time < {instant(end)}{since})"


def test_everybody_is_in_one_band(shop: Shop) -> None:
    for at in (AT, AT - timedelta(days=200)):
        found = [shop.check(f'band(spend) = "{label}"', spent(where, at), at) for label, where in BANDS.items()]
        assert all(found)
        assert sum(found) == shop.check("everyone", "true", at)
    for label, where in BANDS.items():
        shop.check(f'band(recent) = "{label}"', spent(where, since=90))
    bought = f"(select count(*) from orders o where o.contact_id = c.contact_id and counts and time < {instant(AT)})"
    for label, where in (("never", "= 0"), ("not once", "< 0"), ("once", "in (1, 2)"), ("some", "between 3 and 9")):
        shop.check(f'band(bought) = "{label}"', f"{bought} {where}")


def test_several_bands_and_their_complement(shop: Shop) -> None:
    shop.check('band(spend) in ("none", "<100", "1000+")', spent("spend is null or spend < 100 or spend >= 1000"))
    shop.check('band(spend) in ("<100", "100-500", "500-1000")', spent("spend < 1000"))
    shop.check('band(spend) != "100-500"', spent("spend is null or not (spend >= 100 and spend < 500)"))
    shop.check(
        'band(spend) not in ("none", "1000+") and band(recent) = "none"',
        f"{spent('spend < 1000')} and {spent('spend is null', since=90)}",
    )


def test_crossed_in_the_last_days(shop: Shop) -> None:
    found = 0
    for days in (1, 7, 30, 90):
        for threshold in THRESHOLDS:
            start = AT - timedelta(days=days)
            found += shop.check(
                f"crossed(spend, {threshold}) during last {days} day{'s' * (days > 1)}", crossed(threshold, start, AT)
            )
    assert found > 20
    # Each day at noon on which somebody crossed.
    times = shop.sql.execute(
        f"select distinct date_trunc('day', time) from running where spend >= 500 and time < {instant(AT)}"
        " and coalesce(spend_before < 500, true) order by 1 desc limit 8"
    ).fetchall()
    for (day,) in times:
        at = day.replace(tzinfo=UTC) + timedelta(hours=20)
        assert shop.check("crossed(spend, 500) during last 1 day", crossed(500, at - timedelta(days=1), at), at) > 0


def test_crossed_at_any_time(shop: Shop) -> None:
    for threshold in THRESHOLDS:
        ever = shop.check(f"crossed(spend, {threshold})", crossed(threshold, None, AT))
        assert ever > shop.check(
            f"crossed(spend, {threshold}) older than 90 days", crossed(threshold, None, AT - timedelta(days=90))
        )
        assert ever > 0
    for threshold in (1, 3, 10):
        shop.check(f"crossed(bought, {threshold})", crossed(threshold, None, AT, "bought"))
    fallen = 0
    for place, threshold in enumerate(THRESHOLDS):
        below = ", ".join(f'"{label}"' for label in tuple(BANDS)[: place + 2])
        fallen += shop.check(
            f"crossed(spend, {threshold}) and band(spend) in ({below})",
            f"{crossed(threshold, None, AT)} and {spent(f'spend < {threshold}')}",
        )
    assert fallen > 0, "some have brought back what lifted them"
    more_than_once = (
        "(select count(*) from running r where r.contact_id = c.contact_id and spend >= 500"
        f" and coalesce(spend_before < 500, true) and time < {instant(AT)}) > 1"
    )
    half = AT - timedelta(days=150)
    both = f"{crossed(500, None, half)} and {crossed(500, half, AT)}"
    shop.check("crossed(spend, 500) older than 150 days and crossed(spend, 500) during last 150 days", both)
    assert shop.sql.execute(f"select count(*) from contacts c where {more_than_once}").fetchone()[0] > 0
