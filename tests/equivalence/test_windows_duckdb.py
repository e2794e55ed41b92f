"""Every kind of window about changes of clocks and ends of months, DuckDB's own time zones being the judge.

The orders are baskets of the Complete Journey set in the folder that SEGIDX_SHARED_DATA names; without it these tests
are skipped. Beside them, one contact each has an order at the very bound of a window, a millisecond before it and one
behind it. Bounds come from DuckDB's `timezone` and its truncation of timestamps alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from segidx.testing.ways import Ways, lacks, shared_data, ways_of

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("completejourney", "transactions_compact")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

# By zone, in UTC. A month before some of them is a local time that there is not, or that there is twice.
INSTANTS = {
    "Europe/Warsaw": (
        *("2017-03-26T00:59:59.999", "2017-03-26T01:00:00", "2017-03-26T22:30:00", "2017-04-26T00:30:00"),
        *("2017-10-29T00:30:00", "2017-10-29T01:30:00", "2017-10-29T23:15:00", "2017-11-29T01:30:00"),
        *("2017-03-31T21:59:59.999", "2017-03-31T22:00:00", "2017-05-31T10:15:00", "2020-02-29T23:00:00"),
    ),
    "America/New_York": (
        *("2017-03-12T06:59:59.999", "2017-03-12T07:00:00", "2017-03-13T03:30:00", "2017-04-12T06:30:00"),
        *("2017-11-05T05:30:00", "2017-11-05T06:30:00", "2017-11-06T04:15:00", "2017-12-05T06:30:00"),
        *("2017-04-01T03:59:59.999", "2017-04-01T04:00:00", "2018-01-01T04:59:59.999", "2020-02-29T12:00:00"),
    ),
}

# Naive timestamps are UTC, those of `wall` local. Of a local time that there is twice the earlier instant is taken, one
# that there is not moves forward: in either case the offset from before the change makes the instant.
MACROS = """
set timezone = 'UTC';
create macro wall(instant, zone) as timezone(zone, timezone('UTC', instant));

create macro offset_at(instant, zone) as wall(instant, zone) - instant;
create macro instant(local_time, zone) as
    case when wall(local_time - offset_at(local_time - interval '1 day', zone), zone) = local_time
            then local_time - offset_at(local_time - interval '1 day', zone)
        when wall(local_time - offset_at(local_time + interval '1 day', zone), zone) = local_time
            then local_time - offset_at(local_time + interval '1 day', zone)
        else local_time - offset_at(local_time - interval '1 day', zone) end;
create macro start_of(unit, instant, zone) as date_trunc(unit, wall(instant, zone))
"""
ORDERS = """
create table orders as
select 'basket-' || basket_id as order_id, 'household-' || any_value(household_id) as contact_id, min(ts) as time,
    cast(max(quantity) as integer) as quantity, cast(sum(cast(sales_cents as decimal(18, 2))) / 100 as decimal(18, 2))
        as amount
from read_parquet('{data}/transactions_compact.parquet') where household_id % 12 = 1
group by basket_id having max(quantity) > 0
"""
EDGES = """
insert into orders
select distinct 'edge-' || epoch_ms(edge), 'edge-' || epoch_ms(edge), edge, 1, 5.00
from (
    select unnest([since - interval '1 millisecond', since, since + interval '1 millisecond',
        until - interval '1 millisecond', until, until + interval '1 millisecond']) as edge from windows
) where edge is not null
"""

NOW = "t"
FIXED = (
    *(("last 90 minutes", "90 minutes"), ("last 1 hour", "1 hour"), ("last 24 hours", "24 hours")),
    *(("last 1 day", "24 hours"), ("last 2 days", "48 hours"), ("last 30 days", "720 hours")),
    *(("last 1 week", "168 hours"), ("last 6 weeks", "1008 hours"), ("last 7200 s", "2 hours")),
)
CALENDAR = ((1, "month"), (2, "month"), (6, "month"), (13, "month"), (1, "year"), (3, "year"))
WHOLE = (
    *((1, "day"), (2, "day"), (30, "day"), (1, "week"), (5, "week")),
    *((1, "month"), (3, "month"), (13, "month"), (1, "year"), (2, "year")),
)
DATES = (
    *(("2017-03-26", "2017-03-27"), ("2017-03-12", "2017-03-13"), ("2017-10-29", "2017-10-30")),
    *(("2017-11-05", "2017-11-06"), ("2017-01-31", "2017-03-31"), ("2016-02-29", "2017-02-28")),
)


def plural(number: int, unit: str) -> str:
    return f"{number} {unit}{'s' * (number > 1)}"


def months_before(number: int, unit: str) -> str:
    return f"instant(wall(t, zone) - interval '{number} {unit}', zone)"


def day(text: str) -> str:
    return f"instant(timestamp '{text}', zone)"


def windows() -> Iterator[tuple[str, str, str]]:
    """Each as it is written, and its bounds in SQL; t is the instant of evaluation, and later is in no window."""
    for text, length in FIXED:
        yield text, f"t - interval '{length}'", NOW
        yield text.replace("last", "older than"), "null", f"t - interval '{length}'"
    for number, unit in CALENDAR:
        yield f"last {plural(number, unit)}", months_before(number, unit), NOW
        yield f"older than {plural(number, unit)}", "null", months_before(number, unit)
    for far, near, unit in ((2, 1, "month"), (6, 0, "month"), (2, 1, "year")):
        yield f"{far} to {near} {unit}s ago", months_before(far, unit), months_before(near, unit) if near else NOW
    for far, near, unit, hours in ((3, 1, "days", 24), (8, 2, "weeks", 168), (48, 0, "hours", 1)):
        yield (
            f"{far} to {near} {unit} ago",
            f"t - {far * hours} * interval '1 hour'",
            f"t - {near * hours} * interval '1 hour'",
        )
    for number, unit in WHOLE:
        start = f"start_of('{unit}', t, zone)"
        yield (
            f"last {number} whole {unit}s",
            f"instant({start} - interval '{number} {unit}', zone)",
            f"instant({start}, zone)",
        )
    for unit in ("day", "week", "month", "year"):
        yield f"this {unit}", f"instant(start_of('{unit}', t, zone), zone)", NOW
    yield "today", "instant(start_of('day', t, zone), zone)", NOW
    yield (
        "yesterday",
        "instant(start_of('day', t, zone) - interval '1 day', zone)",
        "instant(start_of('day', t, zone), zone)",
    )
    yield (
        "last whole month",
        "instant(start_of('month', t, zone) - interval '1 month', zone)",
        "instant(start_of('month', t, zone), zone)",
    )
    for start, end in DATES:
        yield f"{start} to {end}", day(start), day(end)
        yield f"from {start}", day(start), NOW
        yield f"until {end}", "null", day(end)
    yield (
        "2017-03-26T02:30:00.500+02:00 to 2017-10-29T02:30:00+01:00",
        "timestamp '2017-03-26 00:30:00.5'",
        "timestamp '2017-10-29 01:30:00'",
    )
    yield "until 2017-03-12T02:30:00-05:00", "null", "timestamp '2017-03-12 07:30:00'"
    yield "all time", "null", NOW
    for text in ("next 7 days", "tomorrow", "next 2 whole months", "next whole day"):
        yield text, NOW, NOW


WINDOWS = tuple(windows())


class Shop(NamedTuple):
    ways: dict[str, Ways]
    sql: Any


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("windows")
    sql = duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False})
    if not sql.execute("select loaded from duckdb_extensions() where extension_name = 'icu'").fetchone()[0]:
        pytest.skip("this build of duckdb has no time zones")
    sql.execute(MACROS)
    sql.execute(ORDERS.format(data=shared_data("completejourney")))
    sql.execute("create table evaluations as select unnest($1) as zone, unnest($2)::timestamp as t", _evaluations())
    bounds = " union all ".join(
        f"select zone, t, {number} as window_number, {since} as since, least({until}, t) as until from evaluations"
        for number, (_, since, until) in enumerate(WINDOWS)
    )
    sql.execute(f"create table windows as {bounds}")
    sql.execute(EDGES)
    table = sql.query("select * from orders order by time, order_id").to_arrow_table()
    with ways_of(place) as database:
        ways = {}
        for zone in INSTANTS:
            name = zone.replace("/", "-").lower() + "-"
            ways[zone] = Ways(place, database, zone=zone, ways=("bulk", "live", "merged"), name=name)
            ways[zone].tell({"order": table})
        yield Shop(ways, sql)
    sql.close()


def _evaluations() -> list[list[str]]:
    pairs = [(zone, at) for zone, instants in INSTANTS.items() for at in instants]
    return [[zone for zone, _ in pairs], [at.replace("T", " ") for _, at in pairs]]


def test_the_judge_knows_its_zones(shop: Shop) -> None:
    """Local times that there are not, that there are twice, and a month before the end of a longer one."""
    cases = (
        ("instant(timestamp '2017-03-26 02:30', 'Europe/Warsaw')", "2017-03-26 01:30"),
        ("instant(timestamp '2017-10-29 02:30', 'Europe/Warsaw')", "2017-10-29 00:30"),
        ("instant(timestamp '2017-10-29 03:30', 'Europe/Warsaw')", "2017-10-29 02:30"),
        ("instant(timestamp '2017-03-12 02:30', 'America/New_York')", "2017-03-12 07:30"),
        ("instant(timestamp '2017-11-05 01:30', 'America/New_York')", "2017-11-05 05:30"),
        ("instant(timestamp '2017-11-05 02:00', 'America/New_York')", "2017-11-05 07:00"),
        ("timestamp '2017-03-31 12:00' - interval '1 month'", "2017-02-28 12:00"),
        ("timestamp '2020-02-29 12:00' - interval '1 year'", "2019-02-28 12:00"),
    )
    for asked, wanted in cases:
        assert shop.sql.execute(f"select {asked}").fetchone()[0] == datetime.fromisoformat(wanted), asked


@pytest.mark.parametrize(
    ("zone", "instant"), [(zone, instant) for zone, instants in INSTANTS.items() for instant in instants]
)
def test_every_window(shop: Shop, zone: str, instant: str) -> None:
    at = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    counted: dict[int, dict[str, int]] = {number: {} for number in range(len(WINDOWS))}
    for number, contact_id, orders in shop.sql.execute(
        "select window_number, contact_id, count(*) from windows join orders"
        " on (since is null or time >= since) and time < until where zone = $1 and t = $2::timestamp group by all",
        [zone, instant.replace("T", " ")],
    ).fetchall():
        counted[number][contact_id] = orders
    for number, (text, since, until) in enumerate(WINDOWS):
        found = counted[number]
        behind = text if text.startswith(("older", "from", "until")) else f"during {text}"
        where = f"{zone} at {instant}: {since} to {until}"
        shop.ways[zone].check(f"did(order {behind})", found, at, where)
        if number % 6 == 0 and found:
            most = max(found.values())
            least = (most + 1) // 2
            many = [contact_id for contact_id, orders in found.items() if orders >= least]
            shop.ways[zone].check(f"count(order where amount > -1 {behind}) >= {least}", many, at, where)


@pytest.mark.parametrize("zone", INSTANTS)
def test_days_by_the_local_calendar(shop: Shop, zone: str) -> None:
    """Days since the last order are midnights, however long the days; an order's date is the local one."""
    some = 0
    for instant in INSTANTS[zone]:
        at = datetime.fromisoformat(instant).replace(tzinfo=UTC)
        here = f"timestamp '{instant.replace('T', ' ')}'"
        today = f"cast(wall({here}, '{zone}') as date)"
        days = f"date_diff('day', cast(wall(max(time), '{zone}') as date), {today})"
        date = shop.sql.execute(f"select {today}").fetchone()[0]
        for text, having in (
            *((f"days_since(last(order)) = {number}", f"{days} = {number}") for number in (0, 1, 7, 30)),
            ("days_since(last(order)) > 30", f"{days} > 30"),
            (f"last(order).time = {date}", f"cast(wall(max(time), '{zone}') as date) = {today}"),
            (f"first(order).time before {date}", f"cast(wall(min(time), '{zone}') as date) < {today}"),
        ):
            found = shop.sql.execute(
                f"select contact_id from orders where time < {here} group by contact_id having {having}"
            ).fetchall()
            some += shop.ways[zone].check(text, [row[0] for row in found], at, having) > 0
    assert some > 60
