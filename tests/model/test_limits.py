"""What is refused of an expression is refused whether or not it is first looked at without paths."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from segidx.model.errors import SegidxError
from segidx.model.expression import (
    And,
    AtLeast,
    BandIs,
    Did,
    Events,
    Expression,
    HasTags,
    In,
    Not,
    Only,
    Or,
    TagMode,
    limits,
    tags,
)
from segidx.model.expression.nodes import Unfinished
from segidx.model.syntax import parse
from segidx.model.values import FieldValue
from segidx.testing.effort import times
from segidx.testing.event_language import FEATURES, asking_for
from segidx.testing.event_questions import random_event_expression
from segidx.testing.generator_writes import WRITTEN
from segidx.testing.pools import pools_for

AT = datetime(2025, 3, 31, 12, tzinfo=UTC)


def refusal(node: Expression, depth: int, nodes: int, *, finished: bool) -> SegidxError | None:
    try:
        limits._refuse(node, depth, nodes, finished=finished)
    except SegidxError as error:
        return error
    return None


def spoilt(node: Expression, rng: random.Random) -> Expression:
    """The expression beside something that may be refused, or below more nodes."""
    others: list[Expression] = [
        Unfinished(),
        And(()),
        Or((Unfinished(),)),
        HasTags("tags", TagMode.ANY, ()),
        In(FieldValue("score"), ()),
        BandIs("spend", ()),
        Did(Events("order", tags().has("a"))),
        Did(Events("order", Did(Events("order")))),
        Only(Events("order"), And((In(FieldValue("paid"), (True,)), Or(())))),
        In(FieldValue("country"), tuple(f"c{i}" for i in range(rng.randint(1, 40)))),
        HasTags("tags", TagMode.ANY, tuple("abc")),
    ]
    return rng.choice(
        [node, Not(node), And((node, rng.choice(others))), AtLeast(1, (rng.choice(others), Not(Not(node))))]
    )


@pytest.mark.parametrize("seed", range(4))
def test_what_passes_has_nothing_to_refuse(seed: int) -> None:
    rng = random.Random(seed)
    pools = pools_for(AT, "UTC")
    ways = [lambda: random_event_expression(rng, WRITTEN, pools, max_leaves=5)]
    ways += [lambda f=f: asking_for(f)(rng, WRITTEN, pools) for f in FEATURES]  # type: ignore[misc]
    passed = 0
    for _ in range(times(300)):
        node = spoilt(rng.choice(ways)(), rng)
        for depth, nodes in ((64, 10_000), (rng.randint(1, 6), 10_000), (64, rng.randint(1, 30))):
            for finished in (True, False):
                if limits._passes(node, depth, nodes, finished=finished):
                    passed += 1
                    assert refusal(node, depth, nodes, finished=finished) is None, node
    assert passed > 100


def test_ordinary_questions_pass_at_once() -> None:
    for text in (
        'tags has "a" and country in ("PL", "DE") and not score >= 3',
        'did(order where source = "email" and not paid during last 7 days) or never(visit)',
        'sum(line.amount where producer = "P" during last 6 months) > 300',
        "only(order where paid)",
    ):
        assert limits._passes(parse(text), 64, 10_000, finished=True), text
