"""First and last events, favourites by spend, gaps, shares of a month and sequences, DuckDB being the judge, on the
real baskets of some 250 households and visits of a real site.

Baskets of the Complete Journey set become orders, and their rows lines; visits are the requests of `apache_visits`,
their four days drawn out to a year and given to the same households. Both are in the folder that SEGIDX_SHARED_DATA
names; without them these tests are skipped. The baskets of every third household are at the beginning of their day, so
that some are at one time and their ids decide.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from segidx.testing.ways import Ways, lacks, shared_data, ways_of

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("completejourney", "transactions_compact", "products") or lacks("apache_visits", "visits_anon")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

AT = datetime(2017, 12, 15, 9, 30, tzinfo=UTC)  # before the end of the data: what comes after is invisible
INSTANT = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
ZONE = "Etc/GMT+5"  # the wall clock is five hours behind
SEED = 20_171_217
SAMPLE = "household_id % 10 = 1"
DAY_MS = 86_400_000

LINES = f"""
create table lines as
select 'basket-' || basket_id as order_id, 'household-' || household_id as contact_id,
    case when household_id % 3 = 0 then date_trunc('day', ts) else ts end as time,
    'product-' || t.product_id as product, 'maker-' || manufacturer_id as producer, product_category as category,
    case basket_id % 5 when 0 then 'email' when 1 then 'paid_search' when 2 then 'direct' when 3 then 'paid_social' end
        as source, case when basket_id % 5 < 4 then basket_id % 5 in (1, 3) end as paid,
    cast(quantity as integer) as quantity, cast(cast(sales_cents as decimal(18, 2)) / 100 as decimal(18, 2)) as amount,
    row_number() over (order by basket_id, t.product_id, quantity, sales_cents) as number
from read_parquet('{{journey}}/transactions_compact.parquet') t
    left join read_parquet('{{journey}}/products.parquet') p on t.product_id = p.product_id
where {SAMPLE} and basket_id % 4 = 0 order by number
"""
ORDERS = """
create table all_orders as
select order_id as event_id, any_value(contact_id) as contact_id, min(time) as time, sum(amount) as amount,
    max(quantity) > 0 as counts, any_value(paid) as paid, any_value(source) as source
from lines group by order_id;
create table orders as select * from all_orders where counts
"""
VISITS = f"""
create table visits as
select 'visit-' || number as event_id, 'household-' || household_id as contact_id,
    timestamp '2017-01-02' + 99 * (ts_utc - timestamp '2015-05-17 10:05:00') as time, url
from (select url, ts_utc, 1 + visitor_id * 13 % 2500 as household_id, row_number() over () as number
    from read_parquet('{{log}}/visits_anon.parquet')) where {SAMPLE}
"""
CONTACTS = """
create table contacts as
select distinct contact_id from lines union select contact_id from visits union select 'nobody'
"""
FILE = """
select order_id, contact_id, time, product, producer, category, source, paid, quantity, amount
from lines order by number
"""


class Shop(NamedTuple):
    ways: Ways
    sql: Any
    everyone: int

    def check(self, expression: str, query: str) -> int:
        """How many hold; `query` finds their contact ids."""
        found = self.sql.execute(query).fetchall()
        return self.ways.check(expression, [row[0] for row in found], AT, query)

    def check_some(self, expression: str, query: str) -> None:
        """Some hold, and some do not."""
        assert 3 < self.check(expression, query) < self.everyone - 3, expression

    def rows(self, query: str) -> list[Any]:
        return self.sql.execute(query).fetchall()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("language")
    sql = duckdb.connect(config={"threads": 2})
    for statement in (LINES, ORDERS, VISITS, CONTACTS):
        sql.execute(statement.format(journey=shared_data("completejourney"), log=shared_data("apache_visits")))
    tables = {"order": FILE, "visit": "select * from visits order by time, event_id"}
    with ways_of(place) as database:
        ways = Ways(place, database, zone=ZONE, contacts=[("nobody", {})])
        ways.tell({type: sql.query(query).to_arrow_table() for type, query in tables.items()})
        yield Shop(ways, sql, sql.execute("select count(*) from contacts").fetchone()[0])
    sql.close()


def seen(condition: str = "true", days: int | None = None) -> str:
    """Of what can be seen, in a window of so many days."""
    since = "" if days is None else f" and time >= {INSTANT} - interval '{days} days'"
    return f"({condition}) and time < {INSTANT}{since}"


def during(days: int | None) -> str:
    return "" if days is None else f" during last {days} days"


def complement(query: str) -> str:
    return f"select contact_id from contacts where contact_id not in ({query})"


# --- the first and the last --------------------------------------------------------------------------------

OF_ORDERS = (
    ('source = "email"', "coalesce(source = 'email', false)"),
    ("paid", "coalesce(paid, false)"),
    ("amount > 20", "coalesce(amount > 20, false)"),
    (
        '(amount > 20 and not source in ("email", "direct"))',
        "amount > 20 and coalesce(source not in ('email', 'direct'), true)",
    ),
    ("hour < 12", "hour(time - interval '5 hours') < 12"),
)
OF_LINES = (
    ("amount >= 3", "coalesce(amount >= 3, false)"),
    ('category starts with "F"', "coalesce(starts_with(category, 'F'), false)"),
    ("quantity != 1", "quantity != 1"),
)


def end_has(table: str, end: str, that: str, condition: str = "true", days: int | None = None) -> str:
    order, way = "time, event_id" if table != "lines" else "time, order_id, number", "desc" if end == "last" else "asc"
    order = ", ".join(f"{each} {way}" for each in order.split(", "))
    return (
        f"select contact_id from (select *, row_number() over (partition by contact_id order by {order}) as place"
        f" from {table} where {seen(condition, days)}) where place = 1 and ({that})"
    )


@pytest.mark.parametrize("end", ["first", "last"])
def test_the_first_and_the_last_has(shop: Shop, end: str) -> None:
    ties = "select count(*) from (select 1 from orders group by contact_id, time having count(*) > 1)"
    assert shop.rows(ties)[0][0] > 10
    for days in (None, 200, 30):
        for that, sql in OF_ORDERS:
            shop.check_some(f"{end}(order{during(days)}) has {that}", end_has("orders", end, sql, days=days))
            wide = f"{end}(order where amount > 5{during(days)}) has not {that}"
            shop.check(wide, end_has("orders", end, f"not ({sql})", "amount > 5", days))
        for that, sql in OF_LINES:
            shop.check_some(f"{end}(line{during(days)}) has {that}", end_has("lines", end, sql, days=days))
            some = f'{end}(line where category != "MEAT" and quantity > 0{during(days)}) has {that}'
            shop.check(some, end_has("lines", end, sql, "coalesce(category != 'MEAT', true) and quantity > 0", days))
        query = end_has("visits", end, "regexp_full_match(regexp_replace(url, '[?].*$', ''), '/blog.*')", days=days)
        shop.check(f'not {end}(visit{during(days)}) has url like "/blog**"', complement(query))


# --- favourites --------------------------------------------------------------------------------------------


def favourite(table: str, name: str, by: str | None, condition: str = "true", days: int | None = None) -> str:
    """Contacts and what their favourite is."""
    weight = "count(*)" if by is None else f"coalesce(sum({by}), 0)"
    return (
        f"select contact_id, {name} as best from (select contact_id, {name}, {weight} as weight from {table}"
        f" where {seen(condition, days)} and {name} is not null group by all having weight > 0)"
        f" qualify row_number() over (partition by contact_id order by weight desc, {name}) = 1"
    )


@pytest.mark.parametrize("by", [None, "amount", "quantity"])
def test_favourites(shop: Shop, by: str | None) -> None:
    said = "" if by is None else f" by {by}"
    kinds = 0
    for name in ("category", "producer"):
        for days in (None, 90, 20):
            query = favourite("lines", name, by, days=days)
            common = shop.rows(f"select best from ({query}) group by 1 order by count(*) desc, 1 limit 5")
            values = [value for (value,) in common if '"' not in value and "'" not in value]
            kinds += len(values)
            for value in values[:3]:
                asked = f'favourite(line.{name}{said}{during(days)}) = "{value}"'
                assert shop.check(asked, f"select contact_id from ({query}) where best = '{value}'") > 0
                other = f"select contact_id from ({query}) where best = '{value}'"
                shop.check(asked.replace(" = ", " != "), complement(other))
            listed = ", ".join(f'"{value}"' for value in values)
            some = ", ".join(f"'{value}'" for value in values)
            asked = f"favourite(line.{name}{said}{during(days)})"
            shop.check(f"{asked} in ({listed})", f"select contact_id from ({query}) where best in ({some})")
            shop.check(f"{asked} is set", f"select contact_id from ({query})")
    assert kinds > 15
    filtered = favourite("lines", "producer", by, "quantity > 0 and amount < 4", 200)
    maker = shop.rows(f"select best from ({filtered}) group by 1 order by count(*) desc, 1 limit 1")[0][0]
    asked = f'favourite(line.producer{said} where quantity > 0 and amount < 4{during(200)}) = "{maker}"'
    shop.check_some(asked, f"select contact_id from ({filtered}) where best = '{maker}'")
    if by != "quantity":
        query = favourite("orders", "source", by, days=90)
        shop.check_some(
            f'favourite(order.source{said}{during(90)}) in ("email", "direct")',
            f"select contact_id from ({query}) where best in ('email', 'direct')",
        )


# --- gaps --------------------------------------------------------------------------------------------------


def gaps(table: str, condition: str = "true", days: int | None = None) -> str:
    """Of the contacts with a gap, in milliseconds: how many gaps, their sum, that of their squares, the last time."""
    return (
        "select contact_id, count(gap)::hugeint as n, sum(gap)::hugeint as total, sum(gap * gap)::hugeint as squares,"
        " max(ms)::hugeint as latest from (select contact_id, epoch_ms(time)::hugeint as ms,"
        " (epoch_ms(time) - lag(epoch_ms(time)) over (partition by contact_id order by time))::hugeint as gap"
        f" from {table} where {seen(condition, days)}) group by contact_id having count(gap) > 0"
    )


WHAT = (("order", "orders", "true"), ("order where amount > 30", "orders", "amount > 30"), ("visit", "visits", "true"))


@pytest.mark.parametrize(("events", "table", "condition"), WHAT)
def test_mean_gap_and_deviation(shop: Shop, events: str, table: str, condition: str) -> None:
    telling = 0
    for days in (None, 120):
        query = gaps(table, condition, days)
        # Averages that some contacts have exactly, among others.
        exact = shop.rows(f"select total // n from ({query}) where total % n = 0 and total // n % {DAY_MS // 1000} = 0")
        numbers = ["0.5", "1", "3.5", "7", "14", "20", "45", "0", *(f"{ms / DAY_MS:.3f}" for (ms,) in exact[:3])]
        for number in numbers:
            ms = round(float(number) * DAY_MS)
            for operator in ("<", "<=", ">", "=", "!="):
                missing = f" union {complement(f'select contact_id from ({query})')}" if operator == "!=" else ""
                mean = f"select contact_id from ({query}) where total {operator} {ms} * n{missing}"
                found = shop.check(f"mean_gap({events}{during(days)}) {operator} {number}", mean)
                spread = f"select contact_id from ({query}) where n * squares - total * total {operator}"
                spread += f" {ms}::hugeint * {ms} * n * n{missing}"
                found += shop.check(f"gap_deviation({events}{during(days)}) {operator} {number}", spread)
                telling += 0 < found < 2 * shop.everyone
    assert telling > 40


@pytest.mark.parametrize(("events", "table", "condition"), WHAT)
def test_what_is_expected_and_overdue(shop: Shop, events: str, table: str, condition: str) -> None:
    at = f"epoch_ms({INSTANT})"
    for days in (None, 120):
        query = gaps(table, condition, days)
        late = f"select contact_id from ({query}) where latest + total // n < {at}"
        shop.check_some(f"overdue({events}{during(days)})", late)
        shop.check(f"not overdue({events}{during(days)})", complement(late))
        for moment in ("2017-12-18T00:00:00Z", "2017-12-15T09:30:00Z", "2017-12-01T12:00:00Z", "2018-02-01T00:00:00Z"):
            for operator in ("<", ">="):
                ms = f"epoch_ms(timestamp '{moment[:-1].replace('T', ' ')}')"
                shop.check(
                    f"expected({events}{during(days)}) {operator} {moment}",
                    f"select contact_id from ({query}) where latest + total // n {operator} {ms}",
                )
        # On a day of the wall clock.
        shop.check(
            f"expected({events}{during(days)}) = 2017-12-16",
            f"select contact_id from ({query}) where cast(make_timestamp(((latest + total // n) * 1000)::bigint)"
            " - interval '5 hours' as date) = date '2017-12-16'",
        )


def test_gaps_beside_other_values(shop: Shop) -> None:
    query, recent = gaps("orders"), gaps("orders", days=120)
    shop.check_some(
        "mean_gap(order during last 120 days) > 1.5 * mean_gap(order)",
        f"select a.contact_id from ({recent}) a join ({query}) b using (contact_id)"
        " where 2 * a.total * b.n > 3 * b.total * a.n",
    )
    # Days of local calendars, since the last order.
    last = "cast(make_timestamp((latest * 1000)::bigint) - interval '5 hours' as date)"
    since = f"date_diff('day', {last}, cast({INSTANT} - interval '5 hours' as date))"
    shop.check_some(
        "days_since(last(order)) > 2 * mean_gap(order)",
        f"select contact_id from ({query}) where {since}::hugeint * {DAY_MS} * n > 2 * total",
    )


# --- months ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("months", [(12,), (11,), (7, 8), (1,), (3, 4, 5)])
def test_shares_of_months(shop: Shop, months: tuple[int, ...]) -> None:
    of_month = f"month(time - interval '5 hours') in ({', '.join(map(str, months))})"
    wanted = f"month = {months[0]}" if len(months) == 1 else f"month between {months[0]} and {months[-1]}"
    elsewhere = "select count(*) from orders where month(time) != month(time - interval '5 hours')"
    assert shop.rows(elsewhere)[0][0] > 5
    for table, type in (("orders", "order"), ("lines", "line"), ("visits", "visit")):
        counts = f"select contact_id, count(*) filter ({of_month}) as there, count(*) as n from {table}"
        counts += f" where {seen()} group by contact_id"
        for share in (0.05, 0.1, 0.5):
            shop.check(
                f"count({type} where {wanted}) > {share} * count({type})",
                f"select contact_id from ({counts}) where 100 * there > {round(100 * share)} * n",
            )
        shop.check(f"did({type} where {wanted})", f"select contact_id from ({counts}) where there > 0")
        if type != "line":  # of which `only` looks at those of a positive quantity
            asked = f"only({type} where not {wanted})"
            shop.check(asked, f"select contact_id from ({counts}) where there = 0")
        have = f"select contact_id from ({counts}) where there > 0"
        shop.check(f"never({type} where {wanted})", complement(have))


# --- sequences ---------------------------------------------------------------------------------------------

KINDS = (
    ("order", "orders", "true"),
    ("order where amount > 40", "orders", "amount > 40"),
    ('order where source = "email"', "orders", "source = 'email'"),
    ("visit", "visits", "true"),
    ('visit where url like "/blog**"', "visits", "regexp_full_match(regexp_replace(url, '[?].*$', ''), '/blog.*')"),
    ('line where category = "BEEF"', "lines", "category = 'BEEF'"),
    ("line where amount >= 10", "lines", "amount >= 10"),
)
WITHIN = ((None, ""), ("1 days", "1 day"), ("7 days", "7 days"), ("36 hours", "36 hours"), ("60 days", "60 days"))


def of(kind: tuple[str, str, str], days: int | None) -> str:
    _, table, condition = kind
    return f"(select contact_id, time from {table} where {seen(condition, days)})"


def chain(steps: list[tuple[tuple[str, str, str], str | None]], days: int | None) -> str:
    """A join of the steps, e0, e1, ..."""
    (first, _), *rest = steps
    joined = f"{of(first, days)} e0"
    for number, (kind, within) in enumerate(rest, 1):
        before, this = f"e{number - 1}", f"e{number}"
        joined += f" join {of(kind, days)} {this} on {this}.contact_id = {before}.contact_id"
        joined += f" and {this}.time > {before}.time"
        if within:
            joined += f" and {this}.time <= {before}.time + interval '{within}'"
    return joined


def test_one_and_another_within_days(shop: Shop) -> None:
    telling = 0
    for first, second in ((3, 0), (4, 1), (0, 3), (2, 1), (5, 0), (5, 6), (0, 0)):
        for within, said in WITHIN:
            days = (None, 90)[(first + second) % 2]
            steps = [(KINDS[first], None), (KINDS[second], within)]
            asked = f"{KINDS[first][0]} then {KINDS[second][0]}" + (f" within {said}" if said else "")
            found = shop.check(
                f"sequence({asked}{during(days)})", f"select distinct e0.contact_id from {chain(steps, days)}"
            )
            telling += 0 < found < shop.everyone
    assert telling > 20


def stays_away(
    steps: list[tuple[tuple[str, str, str], str | None]], kind: tuple[str, str, str], within: str, days: int | None
) -> str:
    end = f"e{len(steps) - 1}"
    return (
        f"select distinct e0.contact_id from {chain(steps, days)} where {end}.time + interval '{within}' < {INSTANT}"
        f" and not exists (from {of(kind, None)} x where x.contact_id = {end}.contact_id and x.time > {end}.time"
        f" and x.time <= {end}.time + interval '{within}')"
    )


def test_one_and_not_another_within_days(shop: Shop) -> None:
    telling = 0
    for first, second in ((3, 0), (4, 1), (0, 3), (2, 1), (5, 0), (5, 6), (0, 0)):
        for within, said in WITHIN[1:]:
            for days in (None, 90):
                asked = f"{KINDS[first][0]} then no {KINDS[second][0]} within {said}{during(days)}"
                query = stays_away([(KINDS[first], None)], KINDS[second], within or "", days)
                found = shop.check(f"sequence({asked})", query)
                telling += 0 < found < shop.everyone
    assert telling > 25


def test_random_sequences(shop: Shop) -> None:
    rng = random.Random(SEED)
    telling = 0
    for _ in range(60):
        steps, said = [], []
        for number in range(rng.choice((2, 3, 3, 4))):
            kind, within = rng.choice(KINDS[1:]), rng.choice(WITHIN) if number else WITHIN[0]
            steps.append((kind, within[0]))
            said.append(kind[0] + (f" within {within[1]}" if within[1] else ""))
        days = rng.choice((None, 30, 200))
        query = f"select distinct e0.contact_id from {chain(steps, days)}"
        if rng.random() < 0.4:
            kind, within = rng.choice(KINDS), rng.choice(WITHIN[1:])
            said.append(f"no {kind[0]} within {within[1]}")
            query = stays_away(steps, kind, within[0] or "", days)
        found = shop.check(f"sequence({' then '.join(said)}{during(days)})", query)
        telling += 0 < found < shop.everyone
    assert telling > 20
