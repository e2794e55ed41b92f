"""Whether an opened account answers as the oracle does, in every way of asking. Assertions: for tests only.

It may import anything below the service.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import numpy as np

from segidx.database import Account
from segidx.exec.evaluate import count, holds_any, materialise
from segidx.exec.kept_plans import KeptPlans
from segidx.exec.query import Limits, prepare
from segidx.model.errors import SegidxError
from segidx.model.expression import ChannelState, Everyone, Expression, OnChannel
from segidx.model.results import FieldData
from segidx.model.schema import FieldType
from segidx.model.syntax import format_expression, parse
from segidx.model.windows import to_millis
from segidx.model.writes import Channel
from segidx.plan.context import BindContext
from segidx.plan.instants import TimeAsked
from segidx.store.snapshot import Snapshot
from segidx.testing.oracle import Oracle
from segidx.testing.oracle_strings import fold

# From where a kept plan is brought back: the next instant, another day, another month and year.
_AHEAD = (1, 86_400_000, 400 * 86_400_000)


def count_in(snapshot: Snapshot, account: Account, text: str) -> int:
    """How many hold, in a snapshot of the caller's."""
    context = BindContext(snapshot, 0, account.info.tz)
    return count(prepare(text, context).plan, context)


def answers(account: Account, expression: Expression, at: datetime) -> dict[str, set[str]]:
    """Every way of answering in process: ids, with and without rules, and after a round trip as text. Counts, whether
    there is any, and estimates are checked against them."""
    found: dict[str, set[str]] = {}
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, to_millis(at), account.info.tz)
        for name, asked, optimised in (
            ("optimised", expression, True),
            ("unoptimised", expression, False),
            ("text", format_expression(expression), True),
        ):
            plan = prepare(asked, context, Limits(), optimised=optimised).plan
            bitmap = materialise(plan, context)
            total = count(plan, context)
            assert total == len(bitmap), f"{name}: count and materialise differ"
            assert holds_any(plan, context) == bool(bitmap), f"{name}: any differs"
            assert plan.estimate.lo <= total <= plan.estimate.hi, f"{name}: the estimate excludes the truth"
            found[name] = set(snapshot.ids.get(np.array(bitmap, np.uint32)).to_pylist())
        if context.at > (snapshot.newest_event or -1):
            _check_kept(expression, context)
    return found


def _check_kept(expression: Expression, context: BindContext) -> None:
    """A plan that was bound at another instant and kept is the one that is bound now."""
    wanted = prepare(expression, context).plan
    for ahead in _AHEAD:
        plans = KeptPlans(Limits())
        with suppress(SegidxError):  # of a window that is nowhere then
            for _ in range(2):  # a plan is kept when it is asked for again
                plans.prepared(expression, replace(context, at=context.at + ahead, time=TimeAsked()))
        found = plans.prepared(expression, context).plan
        assert found == wanted, f"kept for {ahead} ms it is another plan: {format_expression(expression)}"
    assert plans.count(expression, context) == (count(wanted, context), ())


def check_expression(account: Account, oracle: Oracle, expression: Expression, at: datetime) -> None:
    """The same contacts, or the same refusal, at an instant."""
    assert parse(format_expression(expression)) == expression
    try:
        expected = oracle.members(expression, at)
    except SegidxError as error:
        _check_refused(account, expression, at, error.reason)
        return
    for name, found in answers(account, expression, at).items():
        assert found == expected, f"{name} differs from the oracle on {format_expression(expression)}"


def _check_refused(account: Account, expression: Expression, at: datetime, reason: str) -> None:
    found = ""
    try:
        answers(account, expression, at)
    except SegidxError as error:
        found = error.reason
    assert found == reason, f"{format_expression(expression)} should be refused"


def check_contacts(account: Account, oracle: Oracle) -> None:
    """Every contact with all its fields, one by one and in order of their making, and every flag."""
    assert account.count("everyone").count == len(oracle.contacts)
    for contact_id, fields in oracle.contacts.items():
        assert dict(account.get(contact_id).fields) == fields, contact_id
    shown = account.preview("everyone", limit=1000).contacts
    assert len(shown) == min(1000, len(oracle.contacts))
    assert {c.contact_id: dict(c.fields) for c in shown}.items() <= oracle.contacts.items()


def check_channels(account: Account, oracle: Oracle, at: datetime) -> None:
    """Every state of every channel."""
    for node in every_channel_state():
        check_expression(account, oracle, node, at)


def every_channel_state() -> list[Expression]:
    return [Everyone(), *(OnChannel(channel, state) for channel in Channel for state in ChannelState)]


def check_statistics(account: Account, oracle: Oracle) -> None:
    """Counts, distinct values, and bounds of every field."""
    stats = account.stats()
    assert stats.contacts == len(oracle.contacts)
    for field, found in zip(oracle.schema, stats.fields, strict=True):
        values = [fields[field.name] for fields in oracle.contacts.values() if field.name in fields]
        assert (found.name, found.type, found.set_count) == (field.name, field.type.value, len(values))
        if field.type is FieldType.TAGS:
            assert found.distinct == len({tag for tags in values for tag in tags})  # type: ignore[union-attr]
        elif field.type.is_string:
            assert found.distinct == len(set(values))
        elif field.type is not FieldType.BOOL:
            assert (found.minimum, found.maximum) == (_least(values), _most(values)), field.name


def _least(values: list[FieldData]) -> FieldData | None:
    return min(values, default=None)


def _most(values: list[FieldData]) -> FieldData | None:
    return max(values, default=None)


def check_suggestions(account: Account, oracle: Oracle, field: str, typed: str) -> None:
    """Every value in use that contains the typed text, with its count; those that begin with it first."""
    held: dict[str, int] = {}
    for fields in oracle.contacts.values():
        value = fields.get(field)
        for one in value if isinstance(value, frozenset) else () if value is None else (value,):
            assert isinstance(one, str)
            held[one] = held.get(one, 0) + 1
    sought = fold(typed)
    wanted = {value: n for value, n in held.items() if sought in fold(value)}
    found = account.suggest(field, typed, limit=1000)
    assert {s.value: s.count for s in found} == wanted
    assert len(found) == len(wanted)
    places = [(not fold(s.value).startswith(sought), -s.count) for s in found]
    assert places == sorted(places)
