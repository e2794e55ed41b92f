"""How conditions on channels are bound: postings of the system field with exact estimates."""

from __future__ import annotations

from datetime import UTC
from types import SimpleNamespace
from typing import cast

import pytest

from segidx.model.expression import Not, on_channel
from segidx.model.results import Estimate
from segidx.model.schema import Schema
from segidx.model.writes import Channel, ChannelFlag
from segidx.plan.bind import bind
from segidx.plan.context import BindContext
from segidx.plan.nodes import AllOf, Complement, Nothing, Plan, PostingScan
from segidx.plan.optimise import optimise
from segidx.store.layout import SYSTEM_FIELD, channel_code
from segidx.store.snapshot import Snapshot

TOTAL = 1000
PATH = "expression.on_channel"


class CountsOnly:
    """The statistics of a snapshot."""

    catalog = SimpleNamespace(schema=Schema(()))

    def __init__(self, counts: dict[int, int]) -> None:
        self.counts = counts

    def value_count(self, field_id: int, code: int) -> int:
        assert field_id == SYSTEM_FIELD
        return self.counts.get(code, 0)

    def live_count(self) -> int:
        return TOTAL


def context(**counts: int) -> BindContext:
    """A context in which so many contacts hold each flag of the e-mail channel."""
    codes = {
        channel_code(Channel.EMAIL, None if name == "suppressed" else ChannelFlag(name)): count
        for name, count in counts.items()
    }
    return BindContext(cast(Snapshot, CountsOnly(codes)), 0, UTC)


def posting(flag: ChannelFlag | None) -> PostingScan:
    return PostingScan(Estimate(0, 0, 0), "", SYSTEM_FIELD, channel_code(Channel.EMAIL, flag), "")


EMAIL = on_channel("email")


@pytest.mark.parametrize(
    ("expression", "flag", "label"),
    [
        (EMAIL.consented(), ChannelFlag.CONSENT, "email consented"),
        (EMAIL.unsubscribed(), ChannelFlag.UNSUBSCRIBED, "email unsubscribed"),
        (EMAIL.hard_bounced(), ChannelFlag.HARD_BOUNCED, "email hard_bounced"),
        (EMAIL.complained(), ChannelFlag.COMPLAINED, "email complained"),
        (EMAIL.suppressed(), None, "email suppressed"),
    ],
)
def test_a_flag_is_one_posting(expression, flag, label) -> None:  # type: ignore[no-untyped-def]
    plan = bind(expression, context(**{"suppressed" if flag is None else flag.value: 30}))
    assert plan == posting(flag)
    assert isinstance(plan, PostingScan)
    assert (plan.label, plan.path, plan.estimate) == (label, PATH, Estimate(30, 30, 30))
    nobody = bind(expression, context())
    assert isinstance(nobody, Nothing)
    assert nobody.path == PATH
    assert nobody.reason == f"no contact is {label.removeprefix('email ')} on email"


def test_reachable_is_consented_and_not_suppressed() -> None:
    plan = bind(Not(EMAIL.reachable()), context(consent=800, suppressed=300)).children[0]
    assert isinstance(plan, AllOf)
    consented, unsuppressed = plan.operands
    assert consented == posting(ChannelFlag.CONSENT)
    assert isinstance(unsuppressed, Complement)
    assert unsuppressed.operands == (posting(None),)
    assert plan.estimate == Estimate(500, 560, 700)
    assert {node.path for node in (plan, consented, unsuppressed)} == {"expression.negation.on_channel"}


@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ({}, Nothing),
        ({"suppressed": 5}, Nothing),
        ({"consent": 5}, PostingScan),
        ({"consent": 5, "suppressed": 5}, AllOf),
    ],
)
def test_reachable_where_a_flag_decides(counts: dict[str, int], kind: type[Plan]) -> None:
    plan, _ = optimise(bind(EMAIL.reachable(), context(**counts)))
    assert isinstance(plan, kind)
