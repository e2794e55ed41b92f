"""Sales activities of leads, DuckDB being the judge: who has not been called for long, what is due and not done.

The leads are the households that the campaigns of the Complete Journey set went to, in the folder that
SEGIDX_SHARED_DATA names; without it these tests are skipped. Their stages and the activities, some for each campaign of
a household, are made up from numbers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from segidx.model.schema import Field, FieldType
from segidx.testing.ways import Ways, lacks, shared_data, ways_of

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("completejourney", "campaigns", "campaign_descriptions")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

AT = datetime(2017, 9, 30, 22, 30, tzinfo=UTC)  # 1 October in the accounts' zone
INSTANT = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
ZONE = "Europe/Warsaw"
AHEAD = (
    "interval '2 hours'"  # of the zone from the end of March to the end of October, where all that is compared falls
)
SEED = 20_170_930
RANDOM = 90
STAGES = ("subscriber", "lead", "mql", "sql", "customer")

CONTACTS = """
create table contacts as
select 'household-' || household_id as contact_id, case when household_id % 13 > 0 then
    ['subscriber', 'lead', 'mql', 'sql', 'customer'][1 + household_id * 31 % 5] end as lead_stage
from (select distinct household_id from read_parquet('{data}/campaigns.parquet'))
"""
# Due at an hour of one of the days that follow a campaign's beginning; done around that, or not yet.
ACTIVITIES = """
create table activities as
with planned as (
    select *, (household_id * 7919 + campaign_id * 104729 + n * 15485863) % 9973 as luck,
        start_date + interval '1 day' * n + interval '1 hour' * (household_id % 24) as made
    from read_parquet('{data}/campaigns.parquet') c join read_parquet('{data}/campaign_descriptions.parquet') d
        using (campaign_id), range(5) t(n)
    where household_id % 3 != 1 or n < 2
)
select format('activity-{{}}-{{}}-{{}}', campaign_id, household_id, n) as event_id,
    'household-' || household_id as contact_id, made as time,
    case when luck % 10 < 4 then 'call' when luck % 10 < 7 then 'note' when luck % 10 < 9 then 'task' end as kind,
    ['first talk', 'Offer', 'offer renewed', 'complaint'][1 + luck % 7] as subject, 'rep-' || luck % 9 as rep,
    case when luck % 10 not in (4, 5) then made + interval '1 hour' * (luck % 700) end as due,
    case when luck % 3 > 0 then made + interval '1 hour' * (luck % 500) + interval '1 millisecond' * luck end as done
from planned where luck % 4 > 0
"""


class Leads(NamedTuple):
    ways: Ways
    sql: Any
    everyone: int

    def check(self, expression: str, where: str) -> int:
        """How many hold; `where` is a condition on the contact `c`."""
        found = self.sql.execute(f"select contact_id from contacts c where {where}").fetchall()
        return self.ways.check(expression, [row[0] for row in found], AT, where)


@pytest.fixture(scope="module")
def leads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leads]:
    place = tmp_path_factory.mktemp("activities")
    sql = duckdb.connect(config={"threads": 2})
    for statement in (CONTACTS, ACTIVITIES):
        sql.execute(statement.format(data=shared_data("completejourney")))
    contacts = [(contact_id, {"lead_stage": stage}) for contact_id, stage in sql.execute("from contacts").fetchall()]
    table = sql.query("select * from activities order by time, event_id").to_arrow_table()
    with ways_of(place) as database:
        fields = [Field("lead_stage", FieldType.CATEGORY)]
        ways = Ways(place, database, zone=ZONE, fields=fields, contacts=contacts)
        ways.tell({"activity": table})
        yield Leads(ways, sql, len(contacts))
    sql.close()


def had(condition: str, having: str = "count(*) > 0", since: str = "", until: str = "") -> str:
    """Whether the contact's activities of the condition, earlier than AT, are as `having` says."""
    window = (f" and time >= {INSTANT} - interval '{since}'" if since else "") + (
        f" and time < {INSTANT} - interval '{until}'" if until else ""
    )
    return (
        f"c.contact_id in (select contact_id from activities where ({condition}) and time < {INSTANT}{window}"
        f" group by contact_id having {having})"
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("days", [7, 30, 90])
def test_no_sales_call_for_long(leads: Leads, stage: str, days: int) -> None:
    of_stage = f"coalesce(lead_stage = '{stage}', false)"
    call = had("kind = 'call'", since=f"{days} days")
    found = leads.check(
        f'lead_stage = "{stage}" and never(activity where kind = "call" during last {days} days)',
        f"{of_stage} and not {call}",
    )
    assert found > 10
    made = leads.check(
        f'lead_stage = "{stage}" and never(activity where kind = "call" and done is set during last {days} days)',
        f"{of_stage} and not {had('''kind = 'call' and done is not null''', since=f'{days} days')}",
    )
    assert made >= found
    leads.check(
        f'lead_stage != "{stage}" and did(activity where kind = "call" during last {days} days)',
        f"not {of_stage} and {call}",
    )
    leads.check(
        f'lead_stage = "{stage}" and days_since(last(activity where kind = "call")) > {days}',
        of_stage
        + " and "
        + had(
            "kind = 'call'",
            f"date_diff('day', cast(max(time + {AHEAD}) as date), cast({INSTANT} + {AHEAD} as date)) > {days}",
        ),
    )


def test_due_and_not_done(leads: Leads) -> None:
    overdue = leads.check(
        f'did(activity where kind = "task" and due < {AT:%Y-%m-%dT%H:%M:%SZ} and done is not set)',
        had(f"kind = 'task' and due < {INSTANT} and done is null"),
    )
    assert 0 < overdue < leads.everyone
    leads.check(
        'lead_stage in ("mql", "sql") and count(activity where due is set and done is not set) >= 2',
        f"lead_stage in ('mql', 'sql') and {had('due is not null and done is null', 'count(*) >= 2')}",
    )
    leads.check("only(activity where done is set)", had("true", "bool_and(done is not null)"))
    leads.check(
        "only(activity where done is set among due is set)", had("due is not null", "bool_and(done is not null)")
    )
    leads.check(
        'did(activity where due is not set and kind = "note") and lead_stage is not set',
        f"{had('''due is null and kind = 'note' ''')} and lead_stage is null",
    )


# A day of the accounts' zone begins two hours before that of UTC; all of these are days of summer time.
DAYS = ("2017-04-05", "2017-05-31", "2017-06-01", "2017-07-24", "2017-08-08", "2017-09-30", "2017-10-01", "2017-10-10")
DAY = f"cast({{}} + {AHEAD} as date)"


@pytest.mark.parametrize("name", ["due", "done"])
def test_before_and_after_a_day(leads: Leads, name: str) -> None:
    """By the local date of the timestamp, and as points in time."""
    some = 0
    for day in DAYS:
        local, date = DAY.format(name), f"date '{day}'"
        for text, condition in (
            (f"{name} before {day}", f"{name} < timestamp '{day}' - {AHEAD}"),
            (f"{name} <= {day}", f"{local} <= {date}"),
            (f"{name} after {day}", f"{local} > {date}"),
            (f"{name} >= {day}", f"{local} >= {date}"),
            (f"{name} = {day}", f"{local} = {date}"),
            (f"{name} between 2017-04-05 and {day}", f"{local} between date '2017-04-05' and {date}"),
            (f"{name} in ({day}, 2017-09-04)", f"{local} in ({date}, date '2017-09-04')"),
            (f"{name} < {day}T12:00:00+02:00", f"{name} < timestamp '{day} 10:00:00'"),
            (f"{name} >= {day}T00:00:00Z", f"{name} >= timestamp '{day}'"),
        ):
            condition = f"coalesce({condition}, false)"
            some += 0 < leads.check(f"did(activity where {text})", had(condition)) < leads.everyone
            leads.check(
                f'count(activity where not {text} and kind = "call") >= 2',
                had(f"not {condition} and kind = 'call'", "count(*) >= 2"),
            )
    assert some > 40


def test_random_conditions(leads: Leads) -> None:
    rng = random.Random(SEED)
    some = sum(0 < leads.check(*_random(rng)) < leads.everyone for _ in range(RANDOM))
    assert some > RANDOM * 3 // 4


def _random(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.4:
        a, b = _random(rng), _random(rng)
        joiner, negated = rng.choice(("and", "or")), rng.choice(("", "not "))
        return f"({a[0]}) {joiner} {negated}({b[0]})", f"({a[1]}) {joiner} {negated}({b[1]})"
    if rng.random() < 0.2:
        stage = rng.choice(STAGES)
        return f'lead_stage = "{stage}"', f"coalesce(lead_stage = '{stage}', false)"
    wanted, condition = _filter(rng)
    window, since, until = rng.choice(
        (
            *(("", "", ""), ("during last 45 days", "45 days", ""), ("during last 12 weeks", "84 days", "")),
            *(("during 150 to 30 days ago", "150 days", "30 days"), ("older than 20 days", "", "20 days")),
        )
    )
    kind = rng.choice(("did", "never", "count", "only", "last", "first"))
    if kind in ("did", "never"):
        negated = "not " if kind == "never" else ""
        return (
            f"{kind}(activity where {wanted} {window})",
            f"{negated}{had(condition, since=since, until=until)}",
        )
    if kind == "only":
        return f"only(activity where {wanted} {window})", had("true", f"bool_and({condition})", since, until)
    if kind == "count":
        number = rng.choice((1, 2, 3, 6))
        return f"count(activity where {wanted} {window}) >= {number}", had(
            condition, f"count(*) >= {number}", since, until
        )
    function, day = "max" if kind == "last" else "min", rng.choice(DAYS)
    return f"{kind}(activity where {wanted} {window}).time before {day}", had(
        condition, f"{function}(time) < timestamp '{day}' - {AHEAD}", since, until
    )


def _filter(rng: random.Random) -> tuple[str, str]:
    """A filter of activities and the same in SQL, where a comparison with null is false under NOT too."""
    choice = rng.choice(
        ("kind", "kind", "set", "set", "time", "time", "subject", "rep", "both", "either", "not", "most")
    )
    if choice in ("both", "either"):
        a, b = _filter(rng), _filter(rng)
        joiner = "and" if choice == "both" else "or"
        return f"({a[0]} {joiner} {b[0]})", f"({a[1]} {joiner} {b[1]})"
    if choice == "most":
        few = [_filter(rng) for _ in range(3)]
        return (
            f"at least 2 of ({', '.join(text for text, _ in few)})",
            f"({' + '.join(f'({condition})::int' for _, condition in few)} >= 2)",
        )
    if choice == "not":
        a = _filter(rng)
        return f"not ({a[0]})", f"not ({a[1]})"
    if choice == "kind":
        kind = rng.choice(("call", "note", "task"))
        return f'kind = "{kind}"', f"coalesce(kind = '{kind}', false)"
    if choice == "set":
        name = rng.choice(("due", "done", "kind", "subject"))
        word, null = rng.choice((("set", "not null"), ("not set", "null")))
        return f"{name} is {word}", f"{name} is {null}"
    if choice == "subject":
        return 'subject contains ci "OFFER"', "coalesce(contains(lower(subject), 'offer'), false)"
    if choice == "rep":
        return 'rep in ("rep-1", "rep-2", "rep-7")', "rep in ('rep-1', 'rep-2', 'rep-7')"
    name, day = rng.choice(("due", "done")), rng.choice(DAYS)
    operator = rng.choice(("<", "<=", ">", ">=", "=", "!="))
    missing = "true" if operator == "!=" else "false"
    return f"{name} {operator} {day}", f"coalesce({DAY.format(name)} {operator} date '{day}', {missing})"
