"""Messages, visits and orders of the same contacts, DuckDB being the judge: who is interested in a service, whose
address bounces, who has not been heard of for long.

Orders are baskets of the Complete Journey set, messages go to the households that its campaigns went to, and what
became of each message is made up from its numbers; visits are the requests of `apache_visits`, their four days drawn
out to a year. Both are in the folder that SEGIDX_SHARED_DATA names; without them these tests are skipped.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from segidx.testing.ways import Ways, lacks, shared_data, ways_of

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("completejourney", "campaigns", "campaign_descriptions", "transactions_compact") or lacks(
    "apache_visits", "visits_anon"
)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

AT = datetime(2017, 12, 15, 9, 30, tzinfo=UTC)  # in the middle of the data: what comes after is invisible
INSTANT = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
SEED = 20_171_216
RANDOM = 70
SAMPLE = "household_id % 6 = 1"

# Each campaign writes four times, a week apart, and to each household a different hour.
SENT = f"""
create table sent as
select *, (household_id * 7919 + campaign_id * 104729 + n * 15485863) % 9973 as luck,
    start_date + n * interval '7 days' + (household_id * 37 % 1440) * interval '1 minute' as time
from read_parquet('{{data}}/campaigns.parquet') c join read_parquet('{{data}}/campaign_descriptions.parquet') d
    using (campaign_id), range(4) t(n) where {SAMPLE}
"""
# Some addresses are gone for good, some mailboxes often full; who opens may click, who clicks may have had enough.
MESSAGES = """
create table messages as
with became as (
    select *, kind, wait from sent, lateral (values
        ('sent', true, 0), ('soft_bounce', household_id % 11 = 3 and luck % 10 < 6, 60),
        ('hard_bounce', household_id % 17 = 5 and n = 3, 61),
        ('delivered', household_id % 11 != 3 and household_id % 17 != 5, 62),
        ('opened', household_id % 11 != 3 and household_id % 17 != 5 and luck % 10 < 4, 3600 + luck),
        ('clicked', household_id % 11 != 3 and household_id % 17 != 5 and luck % 20 < 3, 7200 + luck),
        ('unsubscribed', household_id % 11 != 3 and household_id % 17 != 5 and luck % 211 = 1, 90000)
    ) k(kind, happens, wait) where happens
)
select format('message-{{}}-{{}}-{{}}-{{}}', campaign_id, household_id, n, kind) as event_id,
    'household-' || household_id as contact_id, time + wait * interval '1 second' as time, kind,
    case when household_id % 7 = 0 then 'sms' else 'email' end as channel, 'campaign-' || campaign_id as campaign,
    case n when 0 then 'launch' when 3 then 'last_call' else 'reminder' end as message_type,
    case when kind = 'clicked' then url end as link,
    case when campaign_type = 'Type A' then 'offers' when campaign_type = 'Type B' then 'news' end as topic
from became left join links on number = 1 + luck % 40
order by time, event_id
"""
LINKS = """
create table links as
select 'https://www.semicomplete.com' || url as url, row_number() over (order by count(*) desc, url) as number
from read_parquet('{data}/visits_anon.parquet') where regexp_matches(url, '/$|[.]html$') group by url
order by count(*) desc, url limit 40
"""
VISITS = f"""
create table visits as
select 'visit-' || row_number() over () as event_id, 'household-' || household_id as contact_id,
    timestamp '2017-01-02' + 99 * (ts_utc - timestamp '2015-05-17 10:05:00') as time,
    'https://www.semicomplete.com' || url as url, referer as referrer,
    case when visitor_id % 9 = 4 and number % 3 = 0 then path[3:] || ' Howto' else search_phrase end as search_phrase
from (select *, 1 + visitor_id * 13 % 2500 as household_id, row_number() over () as number,
        replace(regexp_extract(url, '/[^/?]+/?', 0), '/', '  ') as path
    from read_parquet('{{data}}/visits_anon.parquet')) where {SAMPLE} or household_id % 6 = 2
"""
# One line a basket; those of nothing but coupons do not count.
ORDERS = f"""
create table lines as
select 'basket-' || basket_id as order_id, 'household-' || any_value(household_id) as contact_id, min(ts) as time,
    cast(max(quantity) as integer) as quantity,
    cast(cast(sum(sales_cents) as decimal(18, 2)) / 100 as decimal(18, 2)) as amount
from read_parquet('{{data}}/transactions_compact.parquet')
where {SAMPLE} and basket_id % 3 = 0 and household_id % 8 != 5 group by basket_id;
create table orders as select * from lines where quantity > 0
"""
# Every fifth household is called now and then, and tasks are noted about it.
ACTIVITIES = f"""
create table activities as
select format('activity-{{{{}}}}-{{{{}}}}', household_id, n) as event_id, 'household-' || household_id as contact_id,
    timestamp '2017-01-05' + (household_id * 7 % 60 + n * 45) * interval '1 day' + n * interval '1 hour' as time,
    case when (household_id + n) % 3 = 0 then 'task' else 'call' end as kind
from (select distinct household_id from read_parquet('{{data}}/transactions_compact.parquet')
        where {SAMPLE} and household_id % 5 = 2), range(1 + household_id % 8) t(n)
"""
CONTACTS = """
create table contacts as
select distinct contact_id from messages union select contact_id from visits union select contact_id from lines
union select contact_id from activities union select 'nobody'
"""


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


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("messages")
    sql = duckdb.connect(config={"threads": 2})
    journey, log = shared_data("completejourney"), shared_data("apache_visits")
    for statement, data in (
        *((SENT, journey), (LINKS, log), (MESSAGES, journey), (VISITS, log), (ORDERS, journey)),
        *((ACTIVITIES, journey), (CONTACTS, journey)),
    ):
        sql.execute(statement.format(data=data))
    tables = {
        type: sql.query(f"select * from {table}").to_arrow_table()
        for type, table in (
            ("order", "lines"),
            ("visit", "visits"),
            ("message", "messages"),
            ("activity", "activities"),
        )
    }
    with ways_of(place) as database:
        ways = Ways(place, database, contacts=[("nobody", {})])
        ways.tell(tables)
        yield Shop(ways, sql, sql.execute("select count(*) from contacts").fetchone()[0])
    sql.close()


def had(table: str, condition: str = "true", having: str = "count(*) > 0", since: str = "", until: str = "") -> str:
    """Whether the contact's events of the condition, earlier than AT, are as `having` says."""
    window = (f" and time >= {INSTANT} - interval '{since}'" if since else "") + (
        f" and time < {INSTANT} - interval '{until}'" if until else ""
    )
    return (
        f"c.contact_id in (select contact_id from {table} where ({condition}) and time < {INSTANT}{window}"
        f" group by contact_id having {having})"
    )


SERVICES = ("xdotool", "logstash", "puppet", "ssh", "keynav")


@pytest.mark.parametrize("service", SERVICES)
def test_interest_in_a_service(shop: Shop, service: str) -> None:
    """Searched for it, or clicked a link to it in a message, or visited its pages."""
    searched = f"coalesce(contains(lower(search_phrase), '{service}'), false)"
    clicked = f"kind = 'clicked' and contains(link, '{service}')"
    path = "regexp_replace({}, '^https://[^/]*|[?#].*$', '', 'g')"
    visited = f"regexp_full_match({path.format('url')}, '/.*{service}.*')"
    parts = (
        (f'did(visit where search_phrase contains ci "{service.upper()}")', had("visits", searched)),
        (f'did(message where kind = "clicked" and link contains "{service}")', had("messages", clicked)),
        (f'did(visit where url like "/**{service}**")', had("visits", visited)),
    )
    counts = [shop.check(*part) for part in parts]
    either = shop.check(" or ".join(e for e, _ in parts), " or ".join(w for _, w in parts))
    two = shop.check(
        f"at least 2 of ({', '.join(e for e, _ in parts)})", " + ".join(f"({w})::int" for _, w in parts) + " >= 2"
    )
    assert max(counts) <= either <= sum(counts)
    assert two < either
    assert counts[2] > 0
    recent = shop.check(
        f'did(visit where url like "/**{service}**" or search_phrase contains ci "{service}" during last 30 days)'
        f' or did(message where link like "/**{service}**" during last 30 days)',
        f"{had('visits', f'{visited} or {searched}', since='30 days')} or "
        + had(
            "messages", f"coalesce(regexp_full_match({path.format('link')}, '/.*{service}.*'), false)", since="30 days"
        ),
    )
    assert recent < either


def test_bounces(shop: Shop) -> None:
    hard, four = had("messages", "kind = 'hard_bounce'"), had("messages", "kind = 'soft_bounce'", "count(*) >= 4")
    of_hard = shop.check('did(message where kind = "hard_bounce")', hard)
    of_soft = shop.check('count(message where kind = "soft_bounce") >= 4', four)
    assert of_hard > 5
    assert of_soft > 5
    sound = shop.check(
        'never(message where kind = "hard_bounce") and count(message where kind = "soft_bounce") < 4',
        f"not {hard} and not {four}",
    )
    assert sound < shop.everyone - max(of_hard, of_soft)
    bounced = "kind in ('soft_bounce', 'hard_bounce') and channel = 'email'"
    for number, operator in itertools.product((1, 2, 3, 5, 8), ("=", ">=", ">")):
        shop.check(
            f'count(message where kind in ("soft_bounce", "hard_bounce") and channel = "email") {operator} {number}',
            had("messages", bounced, f"count(*) {operator} {number}"),
        )
    shop.check(
        'only(message where kind = "soft_bounce" among kind != "sent")',
        had("messages", "kind != 'sent'", "bool_and(kind = 'soft_bounce')"),
    )


def test_clicks_of_given_links(shop: Shop) -> None:
    """Each of the links; of the one that most have clicked: in one campaign, beside others, and long ago only."""
    clicks = shop.rows("select link from messages where link is not null group by 1 order by count(*) desc, 1")
    links = [link for (link,) in clicks]
    found = [
        shop.check(
            f'did(message where kind = "clicked" and link = "{link}")',
            had("messages", f"kind = 'clicked' and link = '{link}'"),
        )
        for link in links
    ]
    assert sum(found) > 200
    assert shop.check('did(message where link = "https://www.semicomplete.com/none")', "false") == 0
    first = links[0]
    clicked, another = f"link = '{first}'", f"kind = 'clicked' and link != '{first}'"
    shop.check(
        f'did(message where link = "{first}" and campaign = "campaign-13" and message_type != "launch")',
        had("messages", f"{clicked} and campaign = 'campaign-13' and message_type != 'launch'"),
    )
    shop.check(
        f'did(message where kind = "clicked" and not link = "{first}") and never(message where link = "{first}")',
        f"{had('messages', another)} and not {had('messages', clicked)}",
    )
    shop.check(
        f'did(message where link = "{first}" older than 3 months)'
        f' and never(message where link = "{first}" during last 90 days)',
        f"{had('messages', clicked, until='3 months')} and not {had('messages', clicked, since='90 days')}",
    )


DID = 'message where kind in ("opened", "clicked", "unsubscribed")'
ACTED = {"visits": "true", "orders": "true", "messages": "kind in ('opened', 'clicked', 'unsubscribed')"}


def days_since_last(table: str, condition: str, compared: str) -> str:
    return had(table, condition, f"date_diff('day', cast(max(time) as date), cast({INSTANT} as date)) {compared}")


@pytest.mark.parametrize("days", [7, 30, 60, 90, 200])
def test_no_interaction_for_long(shop: Shop, days: int) -> None:
    """Of the contact's own doing: visits, orders, what became of messages."""
    quiet = shop.check(
        f"never(visit during last {days} days) and never(order during last {days} days)"
        f" and never({DID} during last {days} days)",
        " and ".join(f"not {had(*each, since=f'{days} days')}" for each in ACTED.items()),
    )
    assert 0 < quiet < shop.everyone
    # The same of who has ever done anything, asked by the last of each.
    recent = [f"days_since(last({type})) <= {days}" for type in ("visit", "order", DID)]
    of_once = shop.check(
        f"not ({' or '.join(recent)}) and (did(visit) or did(order) or did({DID}))",
        " and ".join(f"not {days_since_last(*each, f'<= {days}')}" for each in ACTED.items())
        + f" and ({' or '.join(had(*each) for each in ACTED.items())})",
    )
    assert of_once < quiet


@pytest.mark.parametrize("days", [3, 14, 60, 180])
def test_no_touch_for_long(shop: Shop, days: int) -> None:
    """Nothing was sent to the contact that arrived, and nothing came of it."""
    delivered = "kind = 'delivered'"
    found = shop.check(
        f'never(message where kind = "delivered" during last {days} days) and never(visit during last {days} days)',
        f"not {had('messages', delivered, since=f'{days} days')} and not {had('visits', since=f'{days} days')}",
    )
    assert 0 < found < shop.everyone
    shop.check(
        f"days_since(last(message)) > {days} and days_since(last(visit)) > {days}",
        f"{days_since_last('messages', 'true', f'> {days}')} and {days_since_last('visits', 'true', f'> {days}')}",
    )


@pytest.mark.parametrize("day", ["2017-03-01", "2017-06-30", "2017-11-01", "2017-12-15"])
def test_the_last_interaction_before_a_date(shop: Shop, day: str) -> None:
    types = ("visit", "order", DID)
    before = f"max(time) < timestamp '{day}'"
    found = shop.check(
        " and ".join(f"(last({type}).time before {day} or never({type}))" for type in types)
        + f" and ({' or '.join(f'did({type})' for type in types)})",
        " and ".join(f"({had(*each, before)} or not {had(*each)})" for each in ACTED.items())
        + f" and ({' or '.join(had(*each) for each in ACTED.items())})",
    )
    assert 0 < found < shop.everyone
    since = had("orders", having=f"max(time) >= timestamp '{day}'")
    shop.check(
        f"last(visit).time before {day} and last(order).time >= {day}", f"{had('visits', having=before)} and {since}"
    )
    first = "(select min(time) from {} e where e.contact_id = c.contact_id and time < " + INSTANT + ")"
    shop.check("first(message).time < first(order).time", f"{first.format('messages')} < {first.format('orders')}")


class Group(NamedTuple):
    """A group of events: its members where the account has others than by default, and all of it in SQL."""

    name: str
    union: str
    members: tuple[str, ...] = ()


def _union(**of_tables: str) -> str:
    """The events of these tables that pass these conditions, as often as they are selected."""
    return f"({' union all '.join(f'select contact_id, time from {t} where {c}' for t, c in of_tables.items())})"


SENT_SMS = "kind = 'sent' and channel = 'sms'"
GROUPS_OF_EVENTS = {
    "interaction": Group("interaction", _union(visits="true", orders="true", messages="kind = 'clicked'")),
    "touch": Group("touch", _union(messages="kind = 'sent'", activities="kind = 'call'")),
    # Baskets of coupons too; opened messages too.
    "own_interaction": Group(
        "interaction",
        _union(visits="search_phrase is not null", lines="true", messages="kind in ('opened', 'clicked')"),
        ("visit where search_phrase is set", "line", 'message where kind in ("opened", "clicked")'),
    ),
    # By SMS, those of the campaigns that have a topic twice.
    "own_touch": Group(
        "touch",
        f"({_union(messages=SENT_SMS)[1:-1]} union all {_union(messages=f'{SENT_SMS} and topic is not null')[1:-1]})",
        (
            'message where kind = "sent" and channel = "sms"',
            'message where kind = "sent" and channel = "sms" and topic is set',
        ),
    ),
}


@pytest.fixture(params=GROUPS_OF_EVENTS)
def group(request: pytest.FixtureRequest, shop: Shop) -> Iterator[Group]:
    asked = GROUPS_OF_EVENTS[request.param]
    accounts = shop.ways.accounts.values()
    before = [account.event_groups[asked.name].members for account in accounts]
    if asked.members:
        for account in accounts:
            account.set_event_group(asked.name, asked.members)
    yield asked
    for account, members in zip(accounts, before, strict=True):
        account.set_event_group(asked.name, members)


def test_nothing_of_a_group_for_long(shop: Shop, group: Group) -> None:
    found = {
        days: shop.check(
            f"never({group.name} during last {days} days)", f"not {had(group.union, since=f'{days} days')}"
        )
        for days in (7, 60, 200)
    }
    assert 0 < found[200] < found[60] < found[7] <= shop.everyone
    quiet = shop.check(
        f"not days_since(last({group.name})) <= 60 and did({group.name})",
        f"not {days_since_last(group.union, 'true', '<= 60')} and {had(group.union)}",
    )
    assert 0 < quiet < shop.everyone
    shop.check(
        f"days_since(first({group.name})) between 100 and 250",
        had(
            group.union,
            having=f"date_diff('day', cast(min(time) as date), cast({INSTANT} as date)) between 100 and 250",
        ),
    )
    shop.check(
        f"did({group.name} during 200 to 20 days ago) and never({group.name} older than 7 months)",
        f"{had(group.union, since='200 days', until='20 days')} and not {had(group.union, until='7 months')}",
    )


@pytest.mark.parametrize("day", ["2017-03-01", "2017-06-30", "2017-11-01", "2017-12-15"])
def test_the_last_of_a_group_before_a_date(shop: Shop, group: Group, day: str) -> None:
    before, since = (f"max(time) {operator} timestamp '{day}'" for operator in ("<", ">="))
    found = shop.check(f"last({group.name}).time before {day}", had(group.union, having=before))
    never = shop.check(f"never({group.name})", f"not {had(group.union)}")
    either = shop.check(
        f"last({group.name}).time before {day} or never({group.name})", f"not {had(group.union, having=since)}"
    )
    assert found + never == either
    first = f"min(time) >= timestamp '{day}'"
    shop.check(f"first({group.name}).time >= {day}", had(group.union, having=first))


@pytest.mark.parametrize("number", [1, 2, 3, 5, 10, 40])
def test_how_many_of_a_group(shop: Shop, group: Group, number: int) -> None:
    for operator in ("=", ">=", ">"):
        shop.check(f"count({group.name}) {operator} {number}", had(group.union, having=f"count(*) {operator} {number}"))
    shop.check(
        f"count({group.name} during last 4 months) < {number}",
        f"not {had(group.union, having=f'count(*) >= {number}', since='4 months')}",
    )
    shop.check(
        f"count({group.name}) = count(message)",
        f"(select count(*) from {group.union} e where e.contact_id = c.contact_id and time < {INSTANT})"
        f" = (select count(*) from messages e where e.contact_id = c.contact_id and time < {INSTANT})",
    )


def test_interactions_and_touches(shop: Shop) -> None:
    interaction, touch = (GROUPS_OF_EVENTS[name].union for name in ("interaction", "touch"))
    assert (
        shop.check(
            "never(interaction during last 60 days) and did(touch during last 60 days)",
            f"not {had(interaction, since='60 days')} and {had(touch, since='60 days')}",
        )
        > 0
    )
    last = "(select max(time) from {} e where e.contact_id = c.contact_id and time < " + INSTANT + ")"
    assert (
        shop.check("last(interaction).time < last(touch).time", f"{last.format(interaction)} < {last.format(touch)}")
        > 0
    )


def test_random_conditions(shop: Shop) -> None:
    rng = random.Random(SEED)
    campaigns = [row[0] for row in shop.rows("select campaign from messages group by 1 order by count(*) desc, 1")]
    some = sum(0 < shop.check(*_random(rng, campaigns)) < shop.everyone for _ in range(RANDOM))
    assert some > RANDOM * 2 // 3


def _random(rng: random.Random, campaigns: list[str]) -> tuple[str, str]:
    if rng.random() < 0.35:
        a, b = (_random(rng, campaigns) for _ in range(2))
        joiner, negated = rng.choice(("and", "or")), rng.choice(("", "not "))
        return f"({a[0]}) {joiner} {negated}({b[0]})", f"({a[1]}) {joiner} {negated}({b[1]})"
    wanted, condition = _filter(rng, campaigns)
    window, since, until = rng.choice(
        (
            *(("", "", ""), ("during last 30 days", "30 days", ""), ("during last 4 months", "4 months", "")),
            *(("during 200 to 20 days ago", "200 days", "20 days"), ("older than 6 weeks", "", "42 days")),
        )
    )
    kind = rng.choice(("did", "never", "count", "last", "only"))
    if kind in ("did", "never"):
        negated = "not " if kind == "never" else ""
        return f"{kind}(message where {wanted} {window})", negated + had(
            "messages", condition, "count(*) > 0", since, until
        )
    if kind == "only":
        return (
            f'only(message where {wanted} among kind != "sent" {window})',
            had("messages", "kind != 'sent'", f"bool_and({condition})", since, until),
        )
    number = rng.choice((1, 2, 4, 10))
    if kind == "count":
        return f"count(message where {wanted} {window}) >= {number}", had(
            "messages", condition, f"count(*) >= {number}", since, until
        )
    day = f"2017-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    return f"last(message where {wanted} {window}).time > {day}", had(
        "messages", condition, f"cast(max(time) as date) > date '{day}'", since, until
    )


def _filter(rng: random.Random, campaigns: list[str]) -> tuple[str, str]:
    """A filter of messages and the same in SQL, where a comparison with null is false under NOT too."""
    choice = rng.choice(("kind", "kind", "kinds", "campaign", "channel", "link", "topic", "both", "either", "not"))
    if choice in ("both", "either"):
        a, b = (_filter(rng, campaigns) for _ in range(2))
        joiner = "and" if choice == "both" else "or"
        return f"({a[0]} {joiner} {b[0]})", f"({a[1]} {joiner} {b[1]})"
    if choice == "not":
        a = _filter(rng, campaigns)
        return f"not ({a[0]})", f"not ({a[1]})"
    if choice == "kind":
        kind = rng.choice(("delivered", "opened", "clicked", "soft_bounce", "unsubscribed"))
        return f'kind = "{kind}"', f"kind = '{kind}'"
    if choice == "kinds":
        return 'kind not in ("sent", "delivered")', "kind not in ('sent', 'delivered')"
    if choice == "campaign":
        one, other = rng.sample(campaigns, 2)
        return f'campaign in ("{one}", "{other}")', f"campaign in ('{one}', '{other}')"
    if choice == "channel":
        return 'channel = ci "SMS"', "channel = 'sms'"
    if choice == "link":
        return rng.choice(
            (("link is set", "link is not null"), ('link ends with "/"', "coalesce(link[-1:] = '/', false)"))
        )
    return rng.choice((("topic is not set", "topic is null"), ('topic != "news"', "coalesce(topic != 'news', true)")))
