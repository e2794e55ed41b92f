"""Visits asked for by url and by dwell, DuckDB being the judge, on four days of requests to a real site.

The data is the access log of `apache_visits` in the folder that SEGIDX_SHARED_DATA names; without it these tests are
skipped. All its requests fall into one minute of their hours, the seconds of which are drawn out here. The dwell of a
request is the time to the same visitor's next one, if that comes within half an hour. A third of the urls is given with
a scheme and host, a third with a port too: neither is of the path.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import eq, ge, gt, le, lt, ne
from typing import Any, NamedTuple

import pytest

from segidx.testing.ways import Ways, lacks, shared_data, ways_of

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

MISSING = lacks("apache_visits", "visits_anon")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

AT = datetime(2015, 5, 20, 18, 45, 30, tzinfo=UTC)  # before the end: what comes after is invisible
SEED = 20_150_520
PATTERNS, RANDOM = 60, 60

VISITS = """
create table visits as
with numbered as (
    select *, row_number() over () as number from read_parquet('{data}/visits_anon.parquet')
), requests as (
    select *, date_trunc('hour', ts_utc) + 45 * (ts_utc - date_trunc('minute', ts_utc))
        + to_milliseconds(number * 37 % 1000) as time from numbered
), followed as (
    select *, lead(time) over (partition by visitor_id order by time, number) - time as stay from requests
)
select 'visit-' || number as event_id, 'visitor-' || visitor_id as contact_id, time,
    case when visitor_id % 3 = 1 then 'http://semicomplete.com'
        when visitor_id % 3 = 2 then 'https://www.semicomplete.com:443' else '' end
        || case when visitor_id % 3 > 0 and (url = '/' or url[2:2] = '?') then url[2:] else url end as url,
    referer as referrer, utm_source, utm_medium, utm_campaign, search_phrase,
    case when search_phrase is not null then 'organic_search' when utm_medium is not null then 'referral'
        when referer is null then 'direct'
        when visitor_id % 3 = 0 or not regexp_matches(referer, '^https?://(www[.])?semicomplete[.]com(:|/|$)')
            then 'referral' end as source,
    case when stay <= interval '30 minutes' then cast(cast(epoch_ms(stay) as decimal(12, 0)) / 1000 as decimal(12, 3))
        end as dwell
from followed order by time, number
"""
PATH = """
alter table visits add column path varchar;
update visits set path = regexp_replace(regexp_replace(url, '^[a-z]+://[^/?#]*', ''), '[?#].*$', '');
update visits set path = '/' where path = ''
"""


class Site(NamedTuple):
    ways: Ways
    sql: Any

    def check(self, expression: str, where: str) -> int:
        """How many hold; `where` is a condition on the contact `c.contact_id`."""
        found = self.sql.execute(f"select contact_id from contacts c where {where}").fetchall()
        return self.ways.check(expression, [row[0] for row in found], AT, where)

    def rows(self, query: str) -> list[Any]:
        return self.sql.execute(query).fetchall()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("visits")
    sql = duckdb.connect(config={"threads": 2})
    sql.execute(VISITS.format(data=shared_data("apache_visits")))
    table = sql.query("select * from visits").to_arrow_table()
    sql.execute(PATH)
    sql.execute("create table contacts as select distinct contact_id from visits union all select 'nobody'")
    with ways_of(place) as database:
        ways = Ways(place, database, contacts=[("nobody", {})])
        ways.tell({"visit": table})
        yield Site(ways, sql)
    sql.close()


def visits(condition: str = "true", having: str = "count(*) > 0", since: str = "", until: str = "") -> str:
    """Whether the contact's visits of the condition, earlier than AT, are as `having` says."""
    at = f"timestamp '{AT:%Y-%m-%d %H:%M:%S}'"
    window = (f" and time >= {at} - interval '{since}'" if since else "") + (
        f" and time < {at} - interval '{until}'" if until else ""
    )
    return (
        f"c.contact_id in (select contact_id from visits where ({condition}) and time < {at}{window}"
        f" group by contact_id having {having})"
    )


def like(pattern: str, ci: bool = False) -> str:
    """`url like` in SQL: a regular expression that the path, the whole of it, is of."""
    parts = [{"**": ".*", "*": "[^/]*"}.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*)", pattern)]
    return f"coalesce(regexp_full_match(path, '{''.join(parts)}', '{'si' if ci else 's'}'), false)"


def test_the_paths_are_those_of_the_log(site: Site) -> None:
    """What the judge takes for the path of the urls that this file made longer."""
    of_log = f"select regexp_replace(url, '[?].*$', '') from read_parquet('{shared_data('apache_visits')}/*.parquet')"
    paths, wanted = site.rows("select path from visits"), site.rows(of_log)
    assert sorted(paths) == sorted(wanted)


@pytest.mark.parametrize("pattern", ["/projects/**", "/blog/*/*.html", "/presentations/**", "/", "**.png", "**"])
def test_three_visits_of_a_minute_each(site: Site, pattern: str) -> None:
    found = site.check(
        f'count(visit where url like "{pattern}" and dwell >= 60 s) >= 3',
        visits(f"{like(pattern)} and dwell >= 60", "count(*) >= 3"),
    )
    once = site.check(
        f'did(visit where url like "{pattern}" and dwell >= 1 minute)', visits(f"{like(pattern)} and dwell >= 60")
    )
    assert once >= found
    assert once > 0


@pytest.mark.parametrize("pattern", ["/projects/**", "/blog/*/*.html", "/presentations/**", "/", "**.png", "**"])
def test_more_than_a_minute_in_all(site: Site, pattern: str) -> None:
    found = site.check(f'sum(visit.dwell where url like "{pattern}") > 60', visits(like(pattern), "sum(dwell) > 60"))
    less = site.check(f'sum(visit.dwell where url like "{pattern}") <= 60', visits(like(pattern), "sum(dwell) <= 60"))
    known = site.check(
        f'did(visit where url like "{pattern}" and dwell is set)', visits(like(pattern), "count(dwell) > 0")
    )
    assert found + less == known
    assert found > 0


def test_one_visit_or_many(site: Site) -> None:
    """Three things that sound alike: one long visit, a long one and one there, all of them together."""
    there = like("/projects/*/**")
    one = site.check('did(visit where url like "/projects/*/**" and dwell > 120 s)', visits(f"{there} and dwell > 120"))
    apart = site.check(
        'did(visit where url like "/projects/*/**") and did(visit where dwell > 120 s)',
        f"{visits(there)} and {visits('dwell > 120')}",
    )
    together = site.check('sum(visit.dwell where url like "/projects/*/**") > 120', visits(there, "sum(dwell) > 120"))
    assert 0 < one < apart
    assert together >= one


def test_patterns(site: Site) -> None:
    """Made of the paths that there are: parts of them replaced by * and **, or altered."""
    rng = random.Random(SEED)
    paths = [row[0] for row in site.rows("select path from visits group by path order by count(*) desc, path")]
    some = 0
    for pattern in [*FIXED, *(_pattern(rng, paths) for _ in range(PATTERNS))]:
        ci = rng.random() < 0.2
        word = "ci " if ci else ""
        text = pattern.replace("\\", "\\\\").replace('"', '\\"')
        some += site.check(f'did(visit where url like {word}"{text}")', visits(like(pattern, ci))) > 0
    assert some > PATTERNS // 2


FIXED = (
    *("**", "/**", "*", "/*", "/*/", "/*/*", "/*/**", "/**/*", "**/", "***", "/***", "****", "/", "//", "/**/"),
    *("/blog", "/blog/", "/blog*", "/blog**", "/blog/**", "/blog/*", "/*.*", "**.*", "**.html", "/**.html", "*.html"),
    *("/?flav=rss20", "/blog/tags/puppet?flav=rss20", "/blog/tags/pup+et", "/.*", "/[a-z]*", "/images/(web)/**"),
    *("**logstash**", "**/logstash-*/**", "/presentations/*/images/*.png", "/files/**/*.jar", "**-**-**.png"),
    *("/PROJECTS/**", "**semicomplete**", "**:443**", "**%**", "**é**", "/a*a*a*a*a*a*a*b", "**a**a**a**"),
)


def _pattern(rng: random.Random, paths: list[str]) -> str:
    path = rng.choice(paths[: rng.choice((20, 100, len(paths)))])
    segments = path.split("/")[1:]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.randrange(len(segments))
        text = segments[place]
        cut = rng.randrange(len(text) + 1)
        segments[place] = rng.choice(("*", "**", text[:cut] + "*", "*" + text[cut:], text[:cut] + "**", text[1:], text))
        if rng.random() < 0.2:
            segments = [*segments[:place], rng.choice(("*", "**"))]
            break
    start = rng.choice(("/", "/", "/", "**/", "**", "*"))
    return start + "/".join(segments)


WINDOWS = (
    ("", ""),
    ("during last 1 day", "1 day"),
    ("during last 36 hours", "36 hours"),
    ("during last 90 min", "90 minutes"),
)
KINDS = ("did", "never", "count", "count", "sum", "sum", "min", "max", "average", "only", "last", "first")
OPERATORS = {"<": (lt, ">="), "<=": (le, ">"), ">": (gt, "<="), ">=": (ge, "<"), "=": (eq, "!="), "!=": (ne, "=")}


def test_random_conditions(site: Site) -> None:
    rng = random.Random(SEED + 1)
    some = sum(0 < site.check(*_random(rng)) < 1754 for _ in range(RANDOM))
    assert some > RANDOM // 3


def _random(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.3:
        a, b = _random(rng), _random(rng)
        joiner, negated = rng.choice(("and", "or")), rng.choice(("", "not "))
        return f"({a[0]}) {joiner} {negated}({b[0]})", f"({a[1]}) {joiner} {negated}({b[1]})"
    wanted, condition = _filter(rng)
    window, since = rng.choice(WINDOWS)
    kind = rng.choice(KINDS)
    if kind in ("did", "never"):
        return f"{kind}(visit where {wanted} {window})", ("not " * (kind == "never")) + visits(condition, since=since)
    if kind == "only":
        return (
            f"only(visit where {wanted} {window})",
            visits("true", f"bool_and({condition})", since),
        )
    if kind in ("last", "first"):
        moment = AT - timedelta(seconds=rng.randrange(3 * 86_400))
        function = "max" if kind == "last" else "min"
        return (
            f"{kind}(visit where {wanted} {window}).time before {moment:%Y-%m-%dT%H:%M:%SZ}",
            visits(condition, f"{function}(time) < timestamp '{moment:%Y-%m-%d %H:%M:%S}'", since),
        )
    operator = rng.choice(tuple(OPERATORS))
    if kind == "count":
        number = rng.choice((0, 1, 2, 3, 6, 10))
        holds, inverse = OPERATORS[operator]
        # None at all is a number of visits too, and no group of rows.
        where = (
            f"not {visits(condition, f'count(*) {inverse} {number}', since)}"
            if holds(0, number)
            else visits(condition, f"count(*) {operator} {number}", since)
        )
        return f"count(visit where {wanted} {window}) {operator} {number}", where
    number = rng.choice((0, 1, 5, 30, 60, 300, 0.5))
    # An average is a double there: the sum is compared with a multiple instead.
    value = f"{kind}(dwell)" if kind != "average" else f"sum(dwell) - {number} * count(dwell)"
    than = number if kind != "average" else 0
    expression = f"{kind}(visit.dwell where {wanted} {window}) {operator} {number}"
    if operator == "!=":
        return expression, f"not {visits(condition, f'{value} = {than}', since)}"
    return expression, visits(condition, f"{value} {operator} {than}", since)


def _filter(rng: random.Random) -> tuple[str, str]:
    """A filter of visits and the same in SQL, where a comparison with null is false under NOT too."""
    choice = rng.choice(("like", "like", "dwell", "dwell", "set", "source", "referrer", "both", "either", "not"))
    if choice in ("both", "either"):
        a, b = _filter(rng), _filter(rng)
        joiner = "and" if choice == "both" else "or"
        return f"({a[0]} {joiner} {b[0]})", f"({a[1]} {joiner} {b[1]})"
    if choice == "not":
        a = _filter(rng)
        return f"not ({a[0]})", f"not ({a[1]})"
    if choice == "like":
        pattern = rng.choice(("/", "/*", "/blog/**", "**.png", "/presentations/*/", "/projects/**", "**logstash**"))
        return f'url like "{pattern}"', like(pattern)
    if choice == "dwell":
        text, seconds = rng.choice((("1 s", 1), ("60 s", 60), ("0.5 minutes", 30), ("5 min", 300), ("0.25 h", 900)))
        operator = rng.choice((">=", ">", "<", "<="))
        return f"dwell {operator} {text}", f"coalesce(dwell {operator} {seconds}, false)"
    if choice == "set":
        name = rng.choice(("dwell", "referrer", "search_phrase"))
        word, null = rng.choice((("set", "not null"), ("not set", "null")))
        return f"{name} is {word}", f"{name} is {null}"
    if choice == "source":
        source = rng.choice(("direct", "referral", "organic_search"))
        return f'source != "{source}"', f"coalesce(source != '{source}', true)"
    return 'referrer contains ci "GOOGLE"', "coalesce(contains(lower(referrer), 'google'), false)"
