"""When households came into a campaign and what they did there, as tracked tags and stages, DuckDB being the judge.

The campaigns and coupons are those of the Complete Journey set, in the folder that SEGIDX_SHARED_DATA names; without it
these tests are skipped. At eight o'clock of the day on which a campaign begins its households get its tag and the stage
`targeted`; at noon of a day on which they redeem a coupon the tag `redeemer` and the stage `redeemed`; at eight in the
evening of its last day a campaign's tag is taken from them, and their stage is `idle`. On the first of each month, half
an hour after noon, nobody is a redeemer any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from unittest import mock

import pytest

from segidx.database import Account, Database
from segidx.ingest import merger, writer
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.model.syntax import parse
from segidx.model.windows import to_millis
from segidx.model.writes import ContactWrite
from segidx.testing.places import quick_directory
from segidx.testing.ways import found_in, lacks, shared_data

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("completejourney", "campaigns", "campaign_descriptions", "coupon_redemptions")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

FIELDS = (
    Field("lead_stage", FieldType.CATEGORY, tracked=True),
    Field("tags", FieldType.TAGS, tracked=True),
)
# What is to be done, hour by hour: the households' stages and tags, also where that changes nothing.
MOVES = """
create table moves as
with campaigns as (
    from read_parquet('{data}/campaigns.parquet') h join read_parquet('{data}/campaign_descriptions.parquet') d
        using (campaign_id)
), redemptions as (
    select distinct household_id, redemption_date from read_parquet('{data}/coupon_redemptions.parquet')
)
select 'household-' || household_id as contact_id, start_date + interval '8 hours' as made,
    'targeted' as stage, 'campaign-' || campaign_id as tag, true as given
from campaigns
union all
select 'household-' || household_id, redemption_date + interval '12 hours', 'redeemed', 'redeemer', true
from redemptions
union all
select 'household-' || household_id, end_date + interval '20 hours', 'idle', 'campaign-' || campaign_id, false
from campaigns
union all
select distinct 'household-' || household_id, month, null, 'redeemer', false
from redemptions, (select make_timestamp(2017, n, 1, 12, 30, 0) as month from range(1, 13) t(n))
"""
# Of moves of one hour one stage stands. What changes something is what differs from what was before.
CHANGES = """
create table changes as
with stages as (select contact_id, made, max(stage) as stage from moves where stage is not null group by all),
following as (select *, lag(stage) over (partition by contact_id order by made) as before from stages)
select contact_id, made, stage from following where stage is distinct from before
"""
TAGGINGS = """
create table taggings as
with given as (select contact_id, tag, made, bool_or(given) as given from moves group by all),
following as (select *, lag(given, 1, false) over (partition by contact_id, tag order by made) as before from given)
select contact_id, tag, made, given from following where given != before
"""
WAYS = ("live", "now and then", "bulk")  # merged never, now and then, and at once


class Households(NamedTuple):
    accounts: Mapping[str, Account]
    sql: Any
    everyone: int

    def check(self, expression: str, where: str, at: datetime) -> int:
        """How many hold; `where` is a condition on the contact `c`."""
        rows = self.sql.execute(f"select contact_id from (select distinct contact_id from moves) c where {where}")
        wanted = {contact_id for (contact_id,) in rows.fetchall()}
        asked = parse(expression)
        for way, account in self.accounts.items():
            for optimised in (True, False):
                found = found_in(account, asked, at, optimised=optimised)
                differ = sorted(str(each) for each in found ^ wanted)[:5]
                assert found == wanted, f"{way}: {len(found)} for {len(wanted)}, {differ}\n{expression}\n{where}"
        return len(wanted)


@pytest.fixture(scope="module")
def households() -> Iterator[Households]:
    sql = duckdb.connect(config={"threads": 2})
    for statement in (MOVES, CHANGES, TAGGINGS):
        sql.execute(statement.format(data=shared_data("completejourney")))
    now = [0]
    with (
        quick_directory() as place,
        mock.patch.object(merger, "MERGE_SECONDS", 100_000.0),
        Database.open(place / "data", create=True, clock=lambda: now[0]) as database,
    ):
        accounts = {way: database.create_account(AccountInfo(way.replace(" ", "-"))) for way in WAYS}
        for account in accounts.values():
            account.update_schema(FIELDS)
        hours = groupby(sql.execute(_ROWS).fetchall(), key=itemgetter(0))
        for number, (hour, rows_of_it) in enumerate(hours):
            now[0] = to_millis(hour.replace(tzinfo=UTC))
            rows = [_row(*found) for _, *found in rows_of_it]
            for way, account in accounts.items():
                with mock.patch.object(writer, "BULK_CONTACTS", 1 if way == "bulk" else 1 << 30):
                    assert account.write(rows).rejects == ()
                if way == "now and then" and number % 50 == 49:
                    account.merge()
        for way, account in accounts.items():
            assert (account.stats().log_records > 0) == (way != "bulk")
            assert list(account.verify()) == []
        everyone = sql.execute("select count(distinct contact_id) from moves").fetchone()[0]
        yield Households(accounts, sql, everyone)


_ROWS = """
select made, contact_id, max(stage), list(distinct tag) filter (given), list(distinct tag) filter (not given)
from moves group by all order by made, contact_id
"""


def _row(contact_id: str, stage: str | None, given: list[str] | None, taken: list[str] | None) -> ContactWrite:
    tags = {"tags": given} if given else {}
    return ContactWrite(contact_id, {"lead_stage": stage} if stage else {}, tags, {"tags": taken} if taken else {})


def became(stage: str, after: str, before: str) -> str:
    return (
        "exists (from changes h where h.contact_id = c.contact_id"
        f" and stage = '{stage}' and made >= {after} and made < {before})"
    )


def tagged(tag: str, after: str, before: str, at: str) -> str:
    return (
        f"(select arg_max(given, made) and max(made) >= {after} and max(made) < {before} from taggings h"
        f" where h.contact_id = c.contact_id and tag = '{tag}' and made < {at})"
    )


# The end of what is known, and instants in the midst of it: one at which something happens, that is not seen yet.
INSTANTS = (
    datetime(2018, 3, 1, tzinfo=UTC),
    datetime(2017, 6, 15, 9, 30, tzinfo=UTC),
    datetime(2017, 7, 1, 12, 30, tzinfo=UTC),
    datetime(2017, 11, 3, tzinfo=UTC),
)


@pytest.mark.parametrize("at", INSTANTS, ids=lambda at: f"{at:%Y-%m-%d}")
def test_stages_and_tags(households: Households, at: datetime) -> None:
    t = f"timestamp '{at:%Y-%m-%d %H:%M:%S}'"
    ever = "timestamp '1970-01-01'"
    told_apart = 0
    for days in (1, 7, 30, 90, 200):
        since = f"{t} - interval '{days} days'"
        for stage in ("targeted", "redeemed", "idle"):
            for text, after, before in (
                (f"during last {days} days", since, t),
                (f"older than {days} days", ever, since),
                (f"during {2 * days} to {days} days ago", f"{t} - interval '{2 * days} days'", since),
            ):
                found = households.check(f'lead_stage became "{stage}" {text}', became(stage, after, before), at)
                told_apart += 0 < found < households.everyone
        for tag in ("redeemer", "campaign-8", "campaign-13", "campaign-18", "campaign-27"):
            for text, after, before in (
                (f"during last {days} days", since, t),
                (f"older than {days} days", ever, since),
            ):
                found = households.check(f'tagged "{tag}" {text}', tagged(tag, after, before, t), at)
                told_apart += 0 < found < households.everyone
    assert told_apart > 25


@pytest.mark.parametrize("at", INSTANTS, ids=lambda at: f"{at:%Y-%m-%d}")
def test_with_what_is_around_them(households: Households, at: datetime) -> None:
    t = f"timestamp '{at:%Y-%m-%d %H:%M:%S}'"
    since = f"{t} - interval '30 days'"
    ever = "timestamp '1970-01-01'"
    expression = 'lead_stage became "redeemed" during last 30 days and not tagged "redeemer"'
    where = f"{became('redeemed', since, t)} and not coalesce({tagged('redeemer', ever, t, t)}, false)"
    households.check(expression, where, at)
    expression = 'at least 2 of (tagged "campaign-8", tagged "campaign-13", tagged "campaign-18", tagged "redeemer")'
    tags = ("campaign-8", "campaign-13", "campaign-18", "redeemer")
    counted = " + ".join(f"coalesce({tagged(tag, ever, t, t)}, false)::int" for tag in tags)
    households.check(expression, f"{counted} >= 2", at)


def test_what_is_held_now_was_given_at_some_time(households: Households) -> None:
    """All are tracked from the beginning, so that each tag that is held has a time."""
    at = INSTANTS[0]
    for tag in ("redeemer", *(f"campaign-{n}" for n in range(1, 31))):
        for account in households.accounts.values():
            held = found_in(account, parse(f'tags has "{tag}"'), at, optimised=True)
            assert found_in(account, parse(f'tagged "{tag}"'), at, optimised=True) == held
    assert households.check(
        'tagged "redeemer"',
        tagged("redeemer", "timestamp '1970-01-01'", "timestamp '2018-03-01'", "timestamp '2018-03-01'"),
        at,
    )
