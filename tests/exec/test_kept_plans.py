"""Plans that are kept: used again while what they were bound to is the same, and never behind that.

Each test asks, changes one thing that the plan was made of, and asks again; the answer is compared with the count that
is wanted and with one that nothing is kept for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from segidx.database import Account, Database
from segidx.exec import kept_plans
from segidx.exec.evaluate import count
from segidx.exec.query import prepare
from segidx.exec.recent import Recent, size_of
from segidx.model.errors import ExpressionTooDeep, PrunedHistory, UnknownField
from segidx.model.events import Event, Order, OrderLine, Retraction
from segidx.model.expression import And, Expression, Not, field, orders, tags
from segidx.model.products import ProductWrite
from segidx.model.schema import Field, FieldType
from segidx.model.source_settings import SourceSettings
from segidx.model.windows import from_millis, to_millis
from segidx.plan.context import BindContext
from segidx.testing.reader import Reader

AT = datetime(2025, 3, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FIELDS = (
    Field("tags", FieldType.TAGS),
    Field("country", FieldType.CATEGORY),
    Field("score", FieldType.NUMBER),
    Field("birthday", FieldType.DATE),
    Field("signup", FieldType.TIMESTAMP),
)


class Clock:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> int:
        return to_millis(self.now)


class Asked:
    """An account, whose counts are compared with those of plans that are bound anew."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.account: Account = database.account()
        self.clock = clock
        self.bound = 0

    def count(self, text: str | Expression) -> int:
        """It is asked for three times: plans are kept when they are asked for again."""
        self.account.count(text)
        before = self.account.count(text)
        found = self.account.count(text)
        assert found.count == before.count, text
        with self.account._store.snapshot() as snapshot:
            context = BindContext(snapshot, to_millis(found.evaluation.evaluated_at), self.account.info.tz)
            assert found.count == count(prepare(text, context).plan, context), text
        return found.count


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    with Database.open(tmp_path / "data", create=True, clock=clock) as database:
        found = Asked(database, clock)
        found.account.update_schema(FIELDS)
        plan_of = kept_plans.plan_of

        def bind(*arguments: Any, **options: Any) -> Any:
            found.bound += 1
            return plan_of(*arguments, **options)

        monkeypatch.setattr(kept_plans, "plan_of", bind)
        yield found


def order(number: int, contact: str, when: datetime, amount: int = 10, product: str = "Q") -> Order:
    return Order(f"o{number}", contact, when, amount=Decimal(amount), lines=[OrderLine(product, quantity=Decimal(1))])


# --- what is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'tags has "a" and score >= 3',
        "did(order during last 7 days)",
        'count(order during last 1 month) >= 1 and did(line where product = "Q" during this year)',
        "count(order during last 90 days) < 2 * count(order during 180 to 90 days ago)",
        "sum(order.amount) > 5",
        'first(order during last 30 days) has source = "email"',
        "sequence(visit then order within 7 days during last 30 days)",
        "mean_gap(order during last 60 days) > 1",
    ],
)
def test_the_same_is_bound_no_more_while_time_goes_by(asked: Asked, text: str) -> None:
    asked.account.upsert([("a", {"tags": ["a"], "score": 3})])
    asked.account.write_events([order(1, "a", AT - 3 * DAY)])
    for _ in range(5):
        asked.clock.now += timedelta(milliseconds=7)
        asked.count(text)
    assert asked.bound == 2, "the first time, and when it was asked again"


def test_expressions_and_texts_are_told_apart_by_what_they_say(asked: Asked) -> None:
    asked.account.upsert([("a", {"score": 1, "country": "PL"}), ("b", {"score": 2})])
    for _ in range(2):
        assert asked.count(field("score") == 1) == 1
        assert asked.count(field("score") == Decimal("1.0")) == 1
        assert asked.count("score = 1") == 1
        assert asked.count("score = 2") == 1
        assert asked.count(field("country").isin(["PL"])) == 1
        assert asked.count(field("country").isin(["pl"], ci=True)) == 1
        assert asked.count(field("country").isin(["pl"])) == 0
    with pytest.raises(Exception, match="bool"):
        asked.count(field("score") == True)  # noqa: E712


def test_unfinished_nodes_are_skipped_only_where_that_is_allowed(asked: Asked) -> None:
    asked.account.upsert([("a", {"score": 1})])
    for _ in range(2):
        found = asked.account.count("score = 1 and ...", allow_unfinished=True)
        assert (found.count, found.evaluation.skipped) == (1, ("expression.conjunction.operands[1]",))
        with pytest.raises(Exception, match="unfinished"):
            asked.account.count("score = 1 and ...")


def test_what_is_no_key_is_bound_each_time(asked: Asked) -> None:
    asked.account.upsert([("a", {"tags": ["a"]})])
    listed = And([tags().has("a"), tags().has("a")])  # type: ignore[arg-type]
    assert [asked.account.count(listed).count for _ in range(2)] == [1, 1]
    deep: Expression = tags().has("a")
    for _ in range(3000):
        deep = Not(deep)
    with pytest.raises(ExpressionTooDeep):
        asked.account.count(deep)


# --- what a plan was bound to ------------------------------------------------------------------------------


def test_new_strings_and_changed_counts(asked: Asked) -> None:
    text = 'tags has any ("a", "b") and not country = "PL"'
    assert asked.count(text) == 0
    asked.account.upsert([("a", {"tags": ["a"]})])
    assert asked.count(text) == 1
    asked.account.upsert([("b", {"tags": ["b"]}), ("c", {"tags": ["b"], "country": "PL"})])
    assert asked.count(text) == 2
    asked.account.merge()
    assert asked.count(text) == 2
    asked.account.upsert([("a", {"country": "PL"}), ("b", {"tags": None})])
    assert asked.count(text) == 0
    asked.account.merge()
    assert asked.count(text) == 0


def test_a_field_that_is_declared(asked: Asked) -> None:
    with pytest.raises(UnknownField):
        asked.count("visits >= 1")
    asked.account.update_schema([Field("visits", FieldType.NUMBER)])
    assert asked.count("visits >= 1") == 0
    asked.account.upsert([("a", {"visits": 1})])
    assert asked.count("visits >= 1") == 1


def test_new_events_and_replaced_ones(asked: Asked) -> None:
    text = 'did(line where product = "Q" during last 1 month)'
    assert asked.count(text) == 0
    asked.account.write_events([order(1, "a", AT - DAY)])
    assert asked.count(text) == 1
    asked.account.write_events([order(2, "b", AT - DAY, product="other"), order(3, "c", AT - DAY)])
    assert asked.count(text) == 2
    asked.account.merge()
    assert asked.count(text) == 2
    asked.account.write_events([order(3, "c", AT - DAY, product="other"), Retraction("order", "o1")])
    assert asked.count(text) == 0
    asked.account.merge()
    assert asked.count(text) == 0


def test_columns_of_derived_numbers_that_come_and_go(asked: Asked) -> None:
    text = "max(order.amount) >= 20"
    asked.account.write_events([order(1, "a", AT - DAY, 10), order(2, "b", AT - DAY, 20)])
    assert asked.count(text) == 1
    asked.account.declare_derived("greatest", "max(order.amount)")
    assert asked.count(text) == 1
    asked.account.merge()
    asked.account.keep_derived()
    assert asked.count(text) == 1
    asked.account.write_events([order(3, "a", AT - DAY, 30)])
    assert asked.count(text) == 2
    asked.account.remove_derived("greatest")
    assert asked.count(text) == 2
    asked.account.merge()
    assert asked.count(text) == 2


def test_bands_groups_and_products(asked: Asked) -> None:
    asked.account.write_events([order(1, "a", AT - DAY, 150)])
    asked.account.declare_bands("spend", "sum(order.amount)", [100], ["none", "low", "high"])
    assert asked.count('band(spend) = "high"') == 1
    asked.account.declare_bands("spend", "sum(order.amount)", [200], ["none", "low", "high"])
    assert asked.count('band(spend) = "high"') == 0
    text = 'did(line where product.category = "shoes")'
    assert asked.count(text) == 0
    asked.account.write_products([ProductWrite("Q", {"category": "shoes"})])
    assert asked.count(text) == 1
    asked.account.write_products([ProductWrite("Q", {"category": "hats"})])
    assert asked.count(text) == 0
    assert asked.count("did(interaction)") == 1
    asked.account.set_event_group("interaction", ["visit"])
    assert asked.count("did(interaction)") == 0


def test_sources_that_orders_take(asked: Asked) -> None:
    text = 'did(order where source = "email")'
    asked.account.write_events(
        [
            Event("visit", "v1", "a", AT - DAY - timedelta(minutes=20), {"source": "email"}),
            order(1, "a", AT - DAY),
        ]
    )
    assert asked.count(text) == 1
    asked.account.set_source_settings(SourceSettings(10))
    assert asked.count(text) == 0


# --- the instant -------------------------------------------------------------------------------------------


def test_a_window_whose_edge_passes_an_event(asked: Asked) -> None:
    asked.account.write_events([order(1, "a", AT - 7 * DAY), order(2, "a", AT - DAY)])
    text, gone = "count(order during last 7 days) >= 2", "never(order during last 7 days)"
    assert (asked.count(text), asked.count(gone)) == (0, 0)  # the instant is 1 ms behind the clock
    asked.clock.now -= timedelta(milliseconds=1)
    assert (asked.count(text), asked.count(gone)) == (1, 0)
    asked.clock.now += 6 * DAY
    assert (asked.count(text), asked.count(gone)) == (0, 0)
    asked.clock.now += timedelta(milliseconds=1)
    assert (asked.count(text), asked.count(gone)) == (0, 1)


def test_days_months_and_ends_that_pass(asked: Asked) -> None:
    asked.account.upsert(
        [("a", {"birthday": "2000-04-01", "signup": "2025-03-31T00:00:00Z"}), ("b", {"birthday": "2000-03-31"})]
    )
    asked.account.write_events([order(1, "a", AT - DAY)])
    texts = {
        "age(birthday) >= 25": (1, 2),
        "anniversary of birthday in this month": (1, 1),
        "signup in this month": (1, 0),
        "signup in last 24 hours": (1, 0),
        "days_since(signup) = 0": (1, 0),
        "did(order during this month)": (1, 0),
        "did(order during 2025-03-01 to 2025-04-01)": (1, 1),
        "days_since(last(order)) <= 1": (1, 0),
        "last(order).time in last 3 days": (1, 1),
        "did(order where hour = 12 during last 10 days)": (1, 1),
        "overdue(order)": (0, 0),
    }
    assert {text: asked.count(text) for text in texts} == {text: wanted for text, (wanted, _) in texts.items()}
    asked.clock.now += DAY
    assert {text: asked.count(text) for text in texts} == {text: wanted for text, (_, wanted) in texts.items()}


def test_an_event_that_becomes_overdue(asked: Asked) -> None:
    """Its plan holds the instant itself."""
    asked.account.write_events([order(1, "a", AT - 2 * DAY), order(2, "a", AT - DAY / 2)])
    assert asked.count("overdue(order)") == 0
    asked.clock.now += DAY
    assert asked.count("overdue(order)") == 1
    asked.clock.now -= timedelta(milliseconds=1)
    assert asked.count("overdue(order)") == 0


def test_two_windows_that_are_the_same_for_a_while(asked: Asked) -> None:
    """The last month is the last 31 days all April long, and not on 1 May: a condition and its opposite then."""
    asked.clock.now = datetime(2025, 4, 20, 12, 30, tzinfo=UTC)
    asked.account.write_events([order(1, "a", datetime(2025, 4, 1, tzinfo=UTC))])
    both = "did(order during last 31 days) and not did(order during last 1 month)"
    either = "did(order during last 31 days) or never(order during last 1 month)"
    one = "at least 2 of (did(order during last 31 days), did(order during last 1 month))"
    assert (asked.count(both), asked.count(either), asked.count(one)) == (0, 1, 1)
    asked.clock.now = datetime(2025, 5, 1, 12, 30, tzinfo=UTC)
    assert (asked.count(both), asked.count(either), asked.count(one)) == (1, 1, 0)


def test_a_window_that_a_horizon_catches_up_with(asked: Asked) -> None:
    asked.account.write_events([order(1, "a", AT - 20 * DAY), order(2, "b", AT - DAY)])
    text = "did(order during last 30 days)"
    assert asked.count(text) == 2
    asked.account.prune(AT - 10 * DAY)
    with pytest.raises(PrunedHistory):
        asked.count(text)
    assert asked.count("did(order during last 5 days)") == 1
    asked.clock.now += 2 * DAY
    assert asked.count("did(order during last 5 days)") == 1
    asked.clock.now += 20 * DAY
    assert asked.count(text) == 1
    asked.clock.now -= 20 * DAY  # kept, it would reach behind; the error is of binding, and names the node
    with pytest.raises(PrunedHistory) as error:
        asked.account.count(text)
    assert error.value.path == "expression.did"


# --- others ------------------------------------------------------------------------------------------------


def test_writes_of_another_process_are_seen(tmp_path: Path, asked: Asked) -> None:
    """One that reads keeps plans of its own."""
    wanted = tags().has("a") & orders().did()

    def check(contacts: int) -> None:
        for _ in range(2):
            assert reader.count(wanted) == (asked.account.generation(), contacts)

    with Reader(tmp_path / "data", "default") as reader:
        check(0)
        asked.account.upsert([("a", {"tags": ["a"]}), ("b", {"tags": ["a"]})])
        check(0)
        asked.account.write_events([order(1, "a", AT - DAY)])
        check(1)
        asked.account.merge()
        check(1)
        asked.account.write_events([order(2, "b", AT - DAY)])
        check(2)
        asked.account.upsert([("a", {"tags": None})])
        check(1)


def test_threads_ask_while_one_writes(asked: Asked) -> None:
    """Each count is that of the generation that it names."""
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            found = asked.account.count('tags has "a" and score >= 0')
            if found.count != max(0, found.evaluation.generation - first):
                wrong.append(f"{found.count} in generation {found.evaluation.generation}")

    first = asked.account.generation()
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(40):
        asked.account.upsert([(f"c{number}", {"tags": ["a"], "score": number})])
        if number % 10 == 9:
            asked.account.merge()
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_plans_of_a_state_go_with_it(asked: Asked) -> None:
    """With the first plan of a later state: what they borrow is not held on to."""
    asked.account.upsert([("a", {"score": 1})])
    for number in range(20):
        asked.count(f"score = {number}")
    assert len(asked.account._plans._kept) == 20
    asked.account.upsert([("b", {"score": 1})])
    assert asked.count("score = 1") == 2
    assert len(asked.account._plans._kept) == 1


def test_what_is_asked_once_keeps_no_plan(asked: Asked) -> None:
    for number in range(20):
        asked.account.count(f"score = {number}")
    assert len(asked.account._plans._kept) == 0


# --- Recent ------------------------------------------------------------------------------------------------


def test_what_is_not_used_goes() -> None:
    recent = Recent[int, str](1000)
    for number in range(100):
        recent.put(number, f"v{number}", 100)
        assert recent.get(0) == "v0", "it was asked for all the time"
        assert recent.get(number) == f"v{number}"
        assert len(recent) <= 10
    assert recent.get(1) is None
    recent.put(200, "too large", 501)
    assert recent.get(200) is None
    recent.clear()
    assert recent.get(0) is None
    assert len(recent) == 0


def test_one_that_is_put_again_is_counted_once() -> None:
    recent = Recent[int, str](1000)
    recent.put(1, "a", 400)
    for number in range(50):
        recent.put(2, f"{number}", 100)
    assert (recent.get(1), recent.get(2)) == ("a", "49")


def test_sizes_follow_what_is_held() -> None:
    small, large = tags().has("a"), tags().has("a" * 100_000)
    assert 100 < size_of(small) < 5_000
    assert 100_000 < size_of(large) < 105_000
    assert size_of(And((large, large))) > 200_000
    assert size_of(from_millis(0)) < 200
