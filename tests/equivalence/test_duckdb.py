"""The second oracle: DuckDB on real shoppers. Skips where the data set is not at SEGIDX_SHARED_DATA."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest.import_contacts import import_contacts
from segidx.model.expression import And, AtLeast, Expression, Not, Or
from segidx.model.syntax import parse

duckdb = pytest.importorskip("duckdb")

ROOT = Path(__file__).parents[2]
DATA = (ROOT / os.environ.get("SEGIDX_SHARED_DATA", "../shared/data")).resolve() / "completejourney"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data set in {DATA}; set SEGIDX_SHARED_DATA")

HOUSEHOLDS = """
    CREATE TABLE households AS
    WITH spent AS (
        SELECT household_id, sum(sales_cents) AS cents, count(DISTINCT basket_id) AS baskets,
               min(ts)::DATE AS first_day, max(ts) AS last_seen
        FROM read_parquet('{data}/transactions_compact.parquet') GROUP BY 1),
    sent AS (
        SELECT household_id, list(DISTINCT 'campaign-' || campaign_id) AS campaigns
        FROM read_parquet('{data}/campaigns.parquet') GROUP BY 1)
    SELECT CAST(household_id AS VARCHAR) AS id, (cents / 100)::DECIMAL(18, 2) AS total_sales, baskets, first_day,
           last_seen, coalesce(campaigns, []) AS tags,
           age, income, home_ownership, marital_status, household_comp, kids_count
    FROM spent FULL JOIN read_parquet('{data}/demographics.parquet') USING (household_id)
    LEFT JOIN sent USING (household_id)
"""

# (expression, the same as a WHERE clause)
CONDITIONS = [
    ('income = "50-74K"', "coalesce(income = '50-74K', false)"),
    ('income != "50-74K"', "coalesce(income, '') <> '50-74K'"),
    ('income in ("50-74K", "75-99K", "none such")', "coalesce(income IN ('50-74K', '75-99K'), false)"),
    ("income is set", "income IS NOT NULL"),
    ("income is not set", "income IS NULL"),
    ('income >= "50-74K"', "coalesce(income >= '50-74K', false)"),
    ('age = ci "65+"', "coalesce(lower(age) = '65+', false)"),
    ('household_comp contains "Adult"', "coalesce(contains(household_comp, 'Adult'), false)"),
    ('household_comp contains ci "no kids"', "coalesce(contains(lower(household_comp), 'no kids'), false)"),
    ('household_comp starts with "2"', "coalesce(starts_with(household_comp, '2'), false)"),
    ('household_comp ends with "Kids"', "coalesce(ends_with(household_comp, 'Kids'), false)"),
    ('household_comp matches "^[12] Adults?"', "coalesce(regexp_matches(household_comp, '^[12] Adults?'), false)"),
    ("total_sales > 1000", "coalesce(total_sales > 1000, false)"),
    ("total_sales between 500.50 and 1500", "coalesce(total_sales BETWEEN 500.50 AND 1500, false)"),
    ("baskets <= 20", "coalesce(baskets <= 20, false)"),
    ("baskets = 50", "coalesce(baskets = 50, false)"),
    ("total_sales / baskets > 40", "coalesce(total_sales::DECIMAL(18, 2) > 40 * baskets, false)"),
    ("total_sales - 30 * baskets < 0", "coalesce(total_sales - 30 * baskets < 0, false)"),
    ("first_day before 2017-01-15", "coalesce(first_day < DATE '2017-01-15', false)"),
    ("first_day after 2017-03-01", "coalesce(first_day > DATE '2017-03-01', false)"),
    ("first_day = 2017-01-07", "coalesce(first_day = DATE '2017-01-07', false)"),
    (
        "first_day in 2017-02-01 to 2017-03-01",
        "coalesce(first_day >= DATE '2017-02-01' AND first_day < DATE '2017-03-01', false)",
    ),
    ("last_seen before 2017-11-01", "coalesce(last_seen < TIMESTAMP '2017-11-01', false)"),
    ("last_seen = 2017-12-24", "coalesce(last_seen::DATE = DATE '2017-12-24', false)"),
    ("last_seen >= 2017-12-31T12:00:00Z", "coalesce(last_seen >= TIMESTAMP '2017-12-31 12:00:00', false)"),
    ('tags has "campaign-13"', "list_contains(tags, 'campaign-13')"),
    (
        'tags has any ("campaign-1", "campaign-2", "campaign-3")',
        "list_has_any(tags, ['campaign-1', 'campaign-2', 'campaign-3'])",
    ),
    ('tags has all ("campaign-8", "campaign-13")', "list_has_all(tags, ['campaign-8', 'campaign-13'])"),
    ('tags has none ("campaign-8", "campaign-13")', "NOT list_has_any(tags, ['campaign-8', 'campaign-13'])"),
    ("tags is not set", "len(tags) = 0"),
    ("everyone", "true"),
    ("nobody", "false"),
]


@pytest.fixture(scope="module")
def database():  # type: ignore[no-untyped-def]
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET TimeZone = 'UTC'")
    connection.execute(HOUSEHOLDS.format(data=DATA))
    return connection


@pytest.fixture(scope="module")
def account(database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:  # type: ignore[no-untyped-def]
    place = tmp_path_factory.mktemp("households")
    database.execute(f"COPY households TO '{place}/households.parquet' (FORMAT parquet)")
    with Database.open(place / "data", create=True) as opened:
        report = import_contacts(opened.account(), place / "households.parquet", id_column="id")
        assert not report.rejected
        yield opened.account()


def counted(database, where: str) -> int:  # type: ignore[no-untyped-def]
    return database.execute(f"SELECT count(*) FROM households WHERE {where}").fetchone()[0]


@pytest.mark.parametrize(("expression", "where"), CONDITIONS, ids=[e for e, _ in CONDITIONS])
def test_a_condition_and_its_opposite(database, account: Account, expression: str, where: str) -> None:  # type: ignore[no-untyped-def]
    assert account.count(expression).count == counted(database, where)
    assert account.count(f"not ({expression})").count == counted(database, f"NOT ({where})")


def random_tree(rng: random.Random, depth: int) -> tuple[Expression, str]:
    """The same tree as an expression and as SQL."""
    if depth == 0 or rng.random() < 0.15:
        text, where = rng.choice(CONDITIONS)
        return parse(text), f"({where})"
    kind = rng.choice(["and", "or", "not", "at least"])
    if kind == "not":
        expression, where = random_tree(rng, depth - 1)
        return Not(expression), f"(NOT {where})"
    parts = [random_tree(rng, depth - 1) for _ in range(rng.randint(2, 4))]
    operands, clauses = tuple(e for e, _ in parts), [w for _, w in parts]
    if kind == "at least":
        least = rng.randint(1, len(parts))
        return AtLeast(least, operands), f"({' + '.join(f'{w}::INT' for w in clauses)} >= {least})"
    return (And if kind == "and" else Or)(operands), f"({f' {kind.upper()} '.join(clauses)})"


def test_random_trees(database, account: Account) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(20_170_101)
    for i in range(250):
        expression, where = random_tree(rng, 3)
        assert account.count(expression).count == counted(database, where), where
        if i % 10 == 0:
            listed = account.preview(expression, fields=[], limit=1000).contacts
            wanted = database.execute(f"SELECT id FROM households WHERE {where}").fetchall()
            if len(wanted) <= 1000:
                assert {c.contact_id for c in listed} == {row[0] for row in wanted}
