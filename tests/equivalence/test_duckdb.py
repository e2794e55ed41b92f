"""The second oracle: DuckDB, on the real shopping of some 2,500 households.

The data is the Complete Journey set (`completejourney` below the folder that SEGIDX_SHARED_DATA names, by default
`../shared/data` beside the project); without it these tests are skipped.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.exec.evaluate import materialise
from segidx.exec.query import prepare
from segidx.ingest.import_contacts import import_contacts
from segidx.ingest.mapping import Overrides
from segidx.model.expression import And, AtLeast, Expression, Not, Or
from segidx.model.schema import FieldType
from segidx.model.syntax import format_expression, parse
from segidx.plan.context import BindContext

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

ROOT = Path(__file__).parents[2]
DATA = (ROOT / os.environ.get("SEGIDX_SHARED_DATA", "../shared/data")).resolve() / "completejourney"
NEEDED = ("demographics", "campaigns", "transactions_compact")
pytestmark = pytest.mark.skipif(
    not all((DATA / f"{name}.parquet").exists() for name in NEEDED),
    reason=f"the Complete Journey data is not in {DATA}; set SEGIDX_SHARED_DATA",
)

TREES = 200
SEED = 20_170_101

CONTACTS = """
create table contacts as
with sales as (
    select household_id, sum(sales_cents) as cents, sum(retail_disc_cents + coupon_disc_cents) as saved,
        count(distinct basket_id) as baskets, count(distinct store_id) as stores,
        cast(min(ts) as date) as first_day, cast(max(ts) as date) as last_day,
        date_trunc('millisecond', max(ts)) as last_seen
    from read_parquet('{data}/transactions_compact.parquet') group by household_id
), mailed as (
    select household_id, list_sort(list(distinct 'campaign-' || campaign_id)) as campaigns
    from read_parquet('{data}/campaigns.parquet') group by household_id
), everybody as (
    select household_id from read_parquet('{data}/demographics.parquet')
    union select household_id from sales union select household_id from mailed
)
select 'household-' || household_id as id, age as age_band, income, home_ownership as home,
    marital_status as marital, household_size as size, household_comp as composition, kids_count as kids,
    campaigns,
    cast(cast(cents as decimal(18, 2)) / 100 as decimal(18, 2)) as total_sales,
    cast(cast(saved as decimal(18, 2)) / 100 as decimal(18, 2)) as discounts,
    cast(baskets as integer) as baskets, cast(stores as integer) as stores,
    first_day, last_day, last_seen,
    case when baskets is not null then saved > cents / 5 end as saver,
    case when household_id % 5 > 0 then 'Flat ' || household_id || ', ' || coalesce(household_comp, 'unknown') end
        as address
from everybody left join read_parquet('{data}/demographics.parquet') using (household_id)
    left join sales using (household_id) left join mailed using (household_id)
"""

FIELDS = {
    **dict.fromkeys(("age_band", "income", "home", "marital", "size", "composition", "kids"), "category"),
    "campaigns": "tags",
    **dict.fromkeys(("total_sales", "discounts"), "number(2)"),
    **dict.fromkeys(("baskets", "stores"), "number(0)"),
    **dict.fromkeys(("first_day", "last_day"), "date"),
    "last_seen": "timestamp",
    "saver": "bool",
    "address": "text",
}


class Shop(NamedTuple):
    """The same contacts twice: `account` in segidx, `sql` in DuckDB."""

    account: Account
    sql: Any

    def ids_in_sql(self, where: str) -> set[str]:
        return {row[0] for row in self.sql.execute(f"select id from contacts where {where}").fetchall()}

    def ids_in_segidx(self, expression: Expression | str) -> set[str]:
        with self.account._store.snapshot() as snapshot:
            context = BindContext(snapshot, 1_514_764_800_000, self.account.info.tz)
            ordinals = materialise(prepare(expression, context).plan, context)
            return set(snapshot.ids.get(np.array(ordinals, np.uint32)).to_pylist())

    def check(self, expression: Expression | str, where: str) -> int:
        """How many hold; both must say the same ones."""
        shown = expression if isinstance(expression, str) else format_expression(expression)
        wanted = self.ids_in_sql(where)
        assert self.ids_in_segidx(expression) == wanted, f"{shown}\nwhere {where}"
        assert self.account.count(expression).count == len(wanted), shown
        return len(wanted)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("shop")
    with duckdb.connect() as sql, Database.open(place / "data", create=True) as database:
        sql.execute("set threads = 2")
        sql.execute(CONTACTS.format(data=str(DATA).replace("'", "''")))
        sql.execute(f"copy contacts to '{place}/contacts.parquet' (format parquet)")
        account = database.account()
        report = import_contacts(
            account, place / "contacts.parquet", id_column="id", overrides=Overrides(types=FIELDS), batch_rows=700
        )
        (rows,) = sql.execute("select count(*) from contacts").fetchone()
        assert (report.accepted, report.rejected, report.duplicates) == (rows, 0, 0)
        yield Shop(account, sql)


def held(condition: str) -> str:
    """A condition that a missing value never satisfies, and that is never unknown."""
    return f"coalesce({condition}, false)"


def never(condition: str) -> str:
    return f"not {held(condition)}"


# (segidx, SQL); the last of a group are its negations, where contacts without the value hold.
CASES: list[tuple[str, str]] = [
    ("everyone", "true"),
    ("nobody", "false"),
    ('income = "35-49K"', held("income = '35-49K'")),
    ('income != "35-49K"', never("income = '35-49K'")),
    ('not income != "35-49K"', held("income = '35-49K'")),
    ('home in ("Renter", "Homeowner", "Castle")', held("home in ('Renter', 'Homeowner')")),
    ('home not in ("Renter")', never("home = 'Renter'")),
    ("home is set", "home is not null"),
    ("home is not set and income is set", "home is null and income is not null"),
    ('marital = ci "married"', held("lower(marital) = 'married'")),
    ('age_band < "45"', held("age_band < '45'")),
    ('age_band between "25-34" and "45-54"', held("age_band between '25-34' and '45-54'")),
    ('composition contains "No Kids"', held("contains(composition, 'No Kids')")),
    ('not composition contains ci "KIDS"', never("lower(composition) like '%kids%'")),
    ('income starts with "1"', held("starts_with(income, '1')")),
    ('income ends with "K"', held("ends_with(income, 'K')")),
    ('income matches "^[0-9]{2}-[0-9]{2}K$"', held("regexp_matches(income, '^[0-9]{2}-[0-9]{2}K$')")),
    ('address matches "^Flat 1[0-9]*, (1|2) Adult"', held("regexp_matches(address, '^Flat 1[0-9]*, (1|2) Adult')")),
    ('not address matches ci "UNKNOWN$"', never("regexp_matches(address, 'unknown$', 'i')")),
    (
        'address = "Flat 42, unknown" or address contains "7, "',
        held("address = 'Flat 42, unknown' or address like '%7, %'"),
    ),
    ("size > kids", held("size > kids")),
    ("size <= age_band", held("size <= age_band")),
    ('campaigns has "campaign-18"', held("list_contains(campaigns, 'campaign-18')")),
    ('campaigns has any ("campaign-8", "campaign-99")', held("list_has_any(campaigns, ['campaign-8', 'campaign-99'])")),
    ('campaigns has all ("campaign-8", "campaign-13")', held("list_has_all(campaigns, ['campaign-8', 'campaign-13'])")),
    (
        'campaigns has none ("campaign-8", "campaign-13")',
        never("list_has_any(campaigns, ['campaign-8', 'campaign-13'])"),
    ),
    ("campaigns is not set", "campaigns is null"),
    ("total_sales > 1210.02", held("total_sales > 1210.02")),
    ("total_sales >= 1210.025", held("total_sales >= 1210.025")),
    ("not total_sales <= 1210.02", never("total_sales <= 1210.02")),
    ("total_sales between 500 and 2000.5", held("total_sales between 500 and 2000.5")),
    ("not total_sales between 500 and 2000.5", never("total_sales between 500 and 2000.5")),
    ("baskets in (1, 2, 3, 50, 1000000)", held("baskets in (1, 2, 3, 50)")),
    ("baskets = 7.5", "false"),
    ("saver", held("saver")),
    ("saver = false", held("not saver")),
    ("not saver", never("saver")),
    ("discounts * 5 > total_sales", held("discounts * 5 > total_sales")),
    ("total_sales / baskets >= 30", held("total_sales >= 30 * baskets and baskets > 0")),
    ("total_sales - discounts < 10 * (baskets + stores)", held("total_sales - discounts < 10 * (baskets + stores)")),
    (
        "not (total_sales / (stores - 3) > 400)",
        never(
            "stores <> 3 and case when stores > 3 then total_sales > 400 * (stores - 3)"
            " else total_sales < 400 * (stores - 3) end"
        ),
    ),
    ("first_day >= 2017-03-01", held("first_day >= date '2017-03-01'")),
    ("first_day between 2017-02-01 and 2017-02-28", held("first_day between date '2017-02-01' and date '2017-02-28'")),
    ("first_day = last_day", held("first_day = last_day")),
    ("not first_day before 2017-06-01", never("first_day < date '2017-06-01'")),
    ("last_day from 2017-11-01 to 2017-12-01", held("last_day >= date '2017-11-01' and last_day < date '2017-12-01'")),
    (
        "last_seen from 2017-12-24 to 2017-12-27",
        held("last_seen >= timestamp '2017-12-24' and last_seen < timestamp '2017-12-27'"),
    ),
    ("last_seen = 2017-12-31", held("cast(last_seen as date) = date '2017-12-31'")),
    ("last_seen after 2017-12-30", held("last_seen >= timestamp '2017-12-31'")),
    ("last_seen >= 2017-12-26T16:34:28Z", held("last_seen >= timestamp '2017-12-26 16:34:28'")),
    (
        "last_seen between 2017-12-20T10:00:00+01:00 and 2017-12-31T23:59:59.999Z",
        held("last_seen between timestamp '2017-12-20 09:00:00' and timestamp '2017-12-31 23:59:59.999'"),
    ),
    ("not last_seen before 2017-12-01", never("last_seen < timestamp '2017-12-01'")),
    (
        'at least 2 of (income = "35-49K", home = "Homeowner", baskets > 100, campaigns has "campaign-18")',
        " + ".join(
            f"{held(condition)}::int"
            for condition in (
                "income = '35-49K'",
                "home = 'Homeowner'",
                "baskets > 100",
                "list_contains(campaigns, 'campaign-18')",
            )
        )
        + " >= 2",
    ),
    (
        '(income starts with "1" or not (home is set or baskets < 20)) and not (saver and stores > 3)',
        "(" + held("starts_with(income, '1')") + f" or not (home is not null or {held('baskets < 20')}))"
        f" and not ({held('saver and stores > 3')})",
    ),
]


@pytest.mark.parametrize(("expression", "where"), CASES, ids=[text for text, _ in CASES])
def test_hand_written_conditions(shop: Shop, expression: str, where: str) -> None:
    shop.check(expression, where)


def test_the_conditions_divide_the_contacts(shop: Shop) -> None:
    """Guards the cases themselves: hardly any of them may hold for nobody or for everyone."""
    total = shop.account.count("everyone").count
    assert total > 2400
    trivial = [text for text, where in CASES if len(shop.ids_in_sql(where)) in (0, total)]
    assert set(trivial) <= {"everyone", "nobody", "baskets = 7.5"}


def test_fields_come_back_as_they_are_in_sql(shop: Shop) -> None:
    names = ("income", "campaigns", "total_sales", "baskets", "last_day", "last_seen", "saver", "address")
    rows = shop.sql.execute(f"select id, {', '.join(names)} from contacts order by hash(id) limit 200").fetchall()
    for contact_id, *values in rows:
        fields = shop.account.get(contact_id).fields
        for name, value in zip(names, values, strict=True):
            found = fields.get(name)
            if isinstance(found, datetime):
                found = found.replace(tzinfo=None)
            assert found == (frozenset(value) if isinstance(value, list) else value), (contact_id, name)


def test_suggestions_are_group_by(shop: Shop) -> None:
    wanted = shop.sql.execute("select income, count(*) from contacts where income is not null group by all").fetchall()
    assert {(s.value, s.count) for s in shop.account.suggest("income", "", limit=100)} == set(wanted)
    tags = shop.sql.execute(
        "select t, count(*) from (select unnest(campaigns) as t from contacts) group by t"
    ).fetchall()
    assert {(s.value, s.count) for s in shop.account.suggest("campaigns", "", limit=100)} == set(tags)


# --- random trees ------------------------------------------------------------------------------------------

Pair = tuple[Expression, str]


def written(value: Any) -> tuple[str, str]:
    """A constant as segidx and as SQL write it."""
    if isinstance(value, Decimal | int):
        return str(value), str(value)
    if isinstance(value, datetime):
        text = value.isoformat(timespec="milliseconds")
        return f"{text}Z", f"timestamp '{text}'"
    if isinstance(value, date):
        return value.isoformat(), f"date '{value.isoformat()}'"
    return f'"{value}"', f"'{value}'"


class Trees:
    """Random trees over conditions with random constants, built as an Expression and as SQL at the same time."""

    def __init__(self, shop: Shop, rng: random.Random) -> None:
        self.rng = rng
        self.values: dict[str, list[Any]] = {}
        for name, type_text in FIELDS.items():
            column = "unnest(campaigns)" if type_text == "tags" else name
            found = shop.sql.execute(f"select distinct v from (select {column} as v from contacts) where v is not null")
            self.values[name] = sorted(row[0] for row in found.fetchall())
        self.by_type: dict[FieldType, list[str]] = {}
        for field in shop.account.schema():
            self.by_type.setdefault(field.type, []).append(field.name)
        ranged = (FieldType.NUMBER, FieldType.DATE, FieldType.TIMESTAMP)
        self.leaves: list[Callable[[], tuple[str, str]]] = [
            lambda: self.rng.choice(CASES),
            self.tags,
            self.strings,
            self.strings,
            self.text,
            *(lambda kind=kind: self.ranges(kind) for kind in ranged),
            lambda: self.is_set(self.rng.choice(list(FIELDS))),
        ]

    def two(self, name: str) -> tuple[tuple[str, str], tuple[str, str]]:
        """Two values that occur, or are close to ones that do, the lower first, as segidx and as SQL write them."""
        low, high = sorted(self.near(self.rng.choice(self.values[name])) for _ in range(2))
        return written(low), written(high)

    def near(self, value: Any) -> Any:
        if isinstance(value, Decimal | int):
            return value + self.rng.choice([0, 0, 1, -1])
        if isinstance(value, datetime):
            return value + timedelta(milliseconds=self.rng.choice([0, 0, 1, -1]))
        return value

    def ranges(self, kind: FieldType) -> tuple[str, str]:
        name = self.rng.choice(self.by_type[kind])
        (a, sql_a), (b, sql_b) = self.two(name)
        shape = self.rng.randrange(6)
        if shape == 0:
            return f"{name} between {a} and {b}", held(f"{name} between {sql_a} and {sql_b}")
        if shape == 1:
            return f"{name} in ({a}, {b})", held(f"{name} in ({sql_a}, {sql_b})")
        if shape == 2:
            return f"{name} != {a}", never(f"{name} = {sql_a}")
        operator = self.rng.choice(["<", "<=", ">", ">=", "="])
        return f"{name} {operator} {a}", held(f"{name} {operator} {sql_a}")

    def strings(self) -> tuple[str, str]:
        name = self.rng.choice(self.by_type[FieldType.CATEGORY])
        (a, sql_a), (b, sql_b) = self.two(name)
        operator = self.rng.choice(["=", "<", ">="])
        return self.rng.choice(
            [
                (f"{name} {operator} {a}", held(f"{name} {operator} {sql_a}")),
                (f"{name} in ({a}, {b})", held(f"{name} in ({sql_a}, {sql_b})")),
                (f"{name} not in ({a}, {b})", never(f"{name} in ({sql_a}, {sql_b})")),
            ]
        )

    def text(self) -> tuple[str, str]:
        part = self.rng.choice(["1", "No Kids", "Adults", "K", "-", "zzz", ", 2", "Flat 9"])
        name = self.rng.choice(["address", "composition", "income"])
        return self.rng.choice(
            [
                (f'{name} contains "{part}"', held(f"contains({name}, '{part}')")),
                (f'{name} starts with "{part}"', held(f"starts_with({name}, '{part}')")),
                (f'{name} ends with "{part}"', held(f"ends_with({name}, '{part}')")),
                (f'{name} matches "{part}.*[0-9]"', held(f"regexp_matches({name}, '{part}.*[0-9]')")),
            ]
        )

    def tags(self) -> tuple[str, str]:
        chosen = self.rng.sample(self.values["campaigns"], self.rng.randint(1, 3))
        listed, sql = ", ".join(f'"{t}"' for t in chosen), "[" + ", ".join(f"'{t}'" for t in chosen) + "]"
        return self.rng.choice(
            [
                (f"campaigns has any ({listed})", held(f"list_has_any(campaigns, {sql})")),
                (f"campaigns has all ({listed})", held(f"list_has_all(campaigns, {sql})")),
                (f"campaigns has none ({listed})", never(f"list_has_any(campaigns, {sql})")),
            ]
        )

    def is_set(self, name: str) -> tuple[str, str]:
        return f"{name} is set", f"({name} is not null)"

    def tree(self, depth: int) -> Pair:
        if depth == 0 or self.rng.random() < 0.15:
            text, sql = self.rng.choice(self.leaves)()
            return parse(text), f"({sql})"
        shape = self.rng.randrange(8)
        if shape == 0:
            operand, sql = self.tree(depth - 1)
            return Not(operand), f"(not {sql})"
        parts = [self.tree(depth - 1) for _ in range(self.rng.randint(2, 4))]
        operands = tuple(operand for operand, _ in parts)
        if shape == 1:
            least = self.rng.randint(1, len(parts))
            return AtLeast(least, operands), "(" + " + ".join(f"{sql}::int" for _, sql in parts) + f" >= {least})"
        if shape <= 4:
            return And(operands), "(" + " and ".join(sql for _, sql in parts) + ")"
        return Or(operands), "(" + " or ".join(sql for _, sql in parts) + ")"


def test_random_trees(shop: Shop) -> None:
    trees = Trees(shop, random.Random(SEED))
    total = shop.account.count("everyone").count
    sizes = [shop.check(*trees.tree(1 + i % 4)) for i in range(TREES)]
    assert sum(0 < size < total for size in sizes) > TREES // 2, "most trees should divide the contacts"
