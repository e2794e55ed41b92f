"""Laws that hold whatever the data: of sets, of windows, and of the strategies themselves."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segidx.model import expression as asked
from segidx.model.expression import (
    NODE_NAMES,
    And,
    AtLeast,
    Between,
    ChannelState,
    Comparison,
    Did,
    EventHas,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Not,
    OnChannel,
    Only,
    Operator,
    Or,
    Overdue,
    TagMode,
    Unfinished,
    operands_of,
    walk,
)
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Constant, FieldValue
from segidx.model.windows import (
    Absolute,
    Ago,
    AllTime,
    Calendar,
    CalendarPosition,
    Direction,
    OlderThan,
    Rolling,
    Unit,
)
from segidx.model.writes import Channel
from segidx.testing.generator import Generator, RandomChooser
from segidx.testing.generator_writes import WRITTEN
from segidx.testing.oracle import Oracle
from segidx.testing.oracle_strings import compile_regex
from segidx.testing.pools import ABSENT_STRINGS, STRINGS
from segidx.testing.strategies import (
    EVERY_TYPE,
    Case,
    TagBatch,
    UpsertBatch,
    batches_for,
    cases,
    channels_for,
    contacts_for,
    evaluated_ats,
    expressions_for,
    pools_for,
    random_contacts,
    random_expression,
    zones,
)

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def filled(case: Case) -> Oracle:
    oracle = Oracle(case.schema, case.zone)
    assert oracle.upsert(case.rows).rejects == ()
    return oracle


@quick
@given(cases(max_leaves=5))
def test_laws_of_sets(case: Case) -> None:
    oracle = filled(case)
    everyone = set(oracle.contacts)

    def members(expression: Expression) -> set[str]:
        return oracle.members(expression, case.evaluated_at)

    x = case.expression
    found = members(x)
    assert found <= everyone
    assert members(And((x, Not(x)))) == set()
    assert members(Or((x, Not(x)))) == everyone
    assert members(Not(Not(x))) == found
    parts = operands_of(x) or (x, x)
    assert members(Not(And(parts))) == members(Or(tuple(Not(part) for part in parts)))
    assert members(Not(Or(parts))) == members(And(tuple(Not(part) for part in parts)))
    assert members(AtLeast(1, parts)) == members(Or(parts))
    assert members(AtLeast(len(parts), parts)) == members(And(parts))
    assert members(AtLeast(len(parts) + 1, parts)) == set()


@quick
@given(cases(max_leaves=4))
def test_laws_of_predicates(case: Case) -> None:
    oracle = filled(case)
    everyone = set(oracle.contacts)

    def members(expression: Expression) -> set[str]:
        return oracle.members(expression, case.evaluated_at)

    for node, _path, _depth in walk(case.expression):
        match node:
            case Comparison(left=left, right=right, ci=ci):
                equal = members(Comparison(left, Operator.EQ, right, ci))
                assert members(Comparison(left, Operator.NE, right, ci)) == everyone - equal
                assert equal == members(Comparison(right, Operator.EQ, left, ci))
                if node.operator not in (Operator.EQ, Operator.NE):
                    less, more = (members(Comparison(left, op, right)) for op in (Operator.LT, Operator.GT))
                    assert not less & equal
                    assert not less & more
                    assert members(Comparison(left, Operator.LE, right)) == less | equal
                    assert members(Comparison(left, Operator.GE, right)) == more | equal
                    assert more == members(Comparison(right, Operator.LT, left))
            case Between(value=value, low=low, high=high):
                assert members(node) == members(Comparison(value, Operator.GE, low)) & members(
                    Comparison(value, Operator.LE, high)
                )
            case In(value=value, options=options, ci=ci):
                one_by_one = [members(Comparison(value, Operator.EQ, Constant(o), ci)) for o in options]
                assert members(node) == set().union(*one_by_one)
            case HasTags(field=field, tags=tags, ci=ci):
                single = [members(HasTags(field, TagMode.ANY, (tag,), ci)) for tag in tags]
                assert members(HasTags(field, TagMode.ANY, tags, ci)) == set().union(*single)
                assert members(HasTags(field, TagMode.ALL, tags, ci)) == set.intersection(*single)
                assert members(HasTags(field, TagMode.NONE, tags, ci)) == everyone - set().union(*single)
            case InWindow(field=field):
                assert members(node) <= members(IsSet(field)) == members(InWindow(field, AllTime()))


@quick
@given(st.data(), st.sampled_from(Channel))
def test_laws_of_channels(data: st.DataObject, channel: Channel) -> None:
    oracle = Oracle(EVERY_TYPE, "UTC")
    oracle.upsert(data.draw(contacts_for(EVERY_TYPE, min_size=4)))
    for contact_id, channels in data.draw(channels_for(tuple(oracle.contacts))).items():
        oracle.set_channels(contact_id, channels)
    members = {s: oracle.members(OnChannel(channel, s), pools_for().instants[0]) for s in ChannelState}
    reasons = (ChannelState.UNSUBSCRIBED, ChannelState.HARD_BOUNCED, ChannelState.COMPLAINED)
    assert members[ChannelState.SUPPRESSED] == set().union(*(members[s] for s in reasons))
    assert members[ChannelState.REACHABLE] == members[ChannelState.CONSENTED] - members[ChannelState.SUPPRESSED]


TIMES = EVERY_TYPE.of_type(FieldType.DATE) + EVERY_TYPE.of_type(FieldType.TIMESTAMP)


@quick
@given(st.data(), zones(), evaluated_ats(), st.sampled_from(TIMES).map(lambda f: f.name))
def test_windows_tile(data: st.DataObject, zone: str, at: Any, field: str) -> None:
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.upsert(data.draw(contacts_for(EVERY_TYPE, pools=pools_for(at, zone), min_size=10)))

    def members(window: Any) -> set[str]:
        return oracle.members(InWindow(field, window), at)

    def tile(*windows: Any) -> set[str]:
        sets = [members(window) for window in windows]
        assert sum(map(len, sets)) == len(set().union(*sets)), "windows overlap"
        return set().union(*sets)

    for unit in (Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR):
        assert tile(Rolling(Direction.LAST, 30, unit), Ago(60, 30, unit)) == members(Rolling(Direction.LAST, 60, unit))
        assert members(Ago(30, 0, unit)) == members(Rolling(Direction.LAST, 30, unit))
        until_now = tile(OlderThan(7, unit), Rolling(Direction.LAST, 7, unit))
        assert tile(OlderThan(2, unit), Ago(2, 1, unit), Rolling(Direction.LAST, 1, unit)) == until_now
        last, this, following = (Calendar(p, unit) for p in CalendarPosition)
        assert tile(Calendar(CalendarPosition.LAST, unit, 3), this, Calendar(CalendarPosition.NEXT, unit, 3)) >= tile(
            last, this, following
        )
        # Shorter windows lie within longer ones.
        assert members(Rolling(Direction.NEXT, 2, unit)) <= members(Rolling(Direction.NEXT, 3, unit))
    assert tile(*(Calendar(p, Unit.DAY) for p in CalendarPosition)) <= members(AllTime())
    middle = (at + timedelta(days=3)).date()
    assert tile(Absolute(None, middle), Absolute(middle, None)) == members(AllTime())
    assert members(Calendar(CalendarPosition.LAST, Unit.YEAR, 2)) == members(Absolute(*_whole_years(oracle, at, 2)))


def _whole_years(oracle: Oracle, at: Any, count: int) -> tuple[Any, Any]:
    year = at.astimezone(oracle.local.zone).date().replace(month=1, day=1)
    return year.replace(year=year.year - count), year


@quick
@given(st.data(), evaluated_ats())
def test_a_timestamp_before_a_date_is_before_its_midnight_where_dates_do_not_repeat(
    data: st.DataObject, at: Any
) -> None:
    zone = data.draw(zones().filter(lambda z: z != "America/St_Johns"))
    pools = pools_for(at, zone)
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.upsert(data.draw(contacts_for(EVERY_TYPE, pools=pools, min_size=10)))
    day = data.draw(st.sampled_from([d for d in pools.dates if 1900 < d.year < 9000]))
    compared = oracle.members(Comparison(FieldValue("seen"), Operator.LT, Constant(day)), at)
    assert compared == oracle.members(InWindow("seen", Absolute(None, day)), at)


@quick
@given(batches_for(EVERY_TYPE))
def test_batches_keep_contacts_whole(batches: Any) -> None:
    oracle = Oracle(EVERY_TYPE, "UTC")
    for batch in batches:
        before = dict(oracle.contacts)
        if isinstance(batch, UpsertBatch):
            result = oracle.upsert(batch.rows)
            assert result.accepted + result.duplicates + len(result.rejects) == len(batch.rows)
            assert len(oracle.contacts) == len(before) + result.created
        else:
            assert isinstance(batch, TagBatch)
            result = oracle.tag(batch.ids, batch.add, batch.remove, batch.replace, batch.field)
            assert result.accepted + result.duplicates + len(result.rejects) == len(batch.ids)
            assert set(oracle.contacts) == set(before)
        # What is stored is clean: storing it again changes nothing and is refused nowhere.
        again = Oracle(EVERY_TYPE, "UTC")
        assert again.upsert(list(oracle.contacts.items())).rejects == ()
        assert again.contacts == oracle.contacts


def test_every_kind_of_node_and_window_is_generated() -> None:
    rng = np.random.default_rng(7)
    nodes: Counter[type] = Counter()
    windows: Counter[type] = Counter()
    for number in range(400):
        schema = (EVERY_TYPE, WRITTEN)[number % 2]  # the second has tracked fields
        for node, _path, _depth in walk(random_expression(rng, schema)):
            nodes[type(node)] += 1
            if isinstance(node, InWindow):
                windows[type(node.window)] += 1
    of_events = {Did, Never, Only, EventHas, HasValue, Overdue}
    of_events |= {asked.Sequence, asked.BandIs, asked.Crossed, asked.TimeInWindow}
    assert set(nodes) == set(NODE_NAMES) - {Unfinished, *of_events}
    assert set(windows) == {Rolling, OlderThan, Ago, Calendar, Absolute, AllTime}
    assert min(nodes.values()) >= 5
    assert min(windows.values()) >= 5


def test_random_expressions_say_something() -> None:
    """Of single conditions over bulk contacts, most hold for some and not for all."""
    rng = np.random.default_rng(11)
    oracle = Oracle(EVERY_TYPE, "Europe/Warsaw")
    at = pools_for().instants[0]
    assert oracle.upsert(random_contacts(rng, EVERY_TYPE, 500)).accepted == 500
    sizes = [oracle.count(random_expression(rng, EVERY_TYPE, max_leaves=1), at) for _ in range(200)]
    assert sum(0 < size < 500 for size in sizes) > 100


def test_seeds_repeat() -> None:
    one, two = (
        (random_contacts(rng, EVERY_TYPE, 50), random_expression(rng, EVERY_TYPE))
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert one == two


@pytest.mark.parametrize("type_", list(FieldType))
def test_a_schema_of_one_type_has_expressions(type_: FieldType) -> None:
    schema = Schema((Field("only", type_),))
    rng = np.random.default_rng(5)
    oracle = Oracle(schema, "UTC")
    oracle.upsert(random_contacts(rng, schema, 20))
    for _ in range(30):
        oracle.members(random_expression(rng, schema), pools_for().instants[0])


@quick
@given(expressions_for(EVERY_TYPE))
def test_generated_expressions_are_well_typed(expression: Expression) -> None:
    assert Oracle(EVERY_TYPE, "UTC").members(expression, pools_for().instants[0]) == set()


def test_the_oracle_reads_patterns_as_re2_does() -> None:
    """Every generated pattern over every pooled string, against the RE2 inside Arrow."""
    generator = Generator(RandomChooser(np.random.default_rng(2)), EVERY_TYPE, pools_for())
    texts = [normalize("NFC", text) for text in (*STRINGS, *ABSENT_STRINGS, "aab", "AbX", "x@", "\u017f", "\u0131a")]
    column = pa.array(texts)
    for _ in range(250):
        pattern = generator.regex()
        for ci in (False, True):
            ours = compile_regex(pattern, ci=ci)
            theirs = pc.match_substring_regex(column, pattern, ignore_case=ci).to_pylist()
            assert [ours.search(text) is not None for text in texts] == theirs, (pattern, ci)
