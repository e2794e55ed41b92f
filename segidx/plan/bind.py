"""Binding: an Expression becomes a Plan over one snapshot. Types are checked here, and only here.

Every error carries the path of the offending node. Nothing is rewritten: the plan says what the expression says, and
the rules of `segidx.plan.rules` may all be left out.
"""

from __future__ import annotations

from segidx.model.errors import SegidxError, TypeMismatch
from segidx.model.expression import (
    Aggregate,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Became,
    Between,
    ChannelState,
    Comparison,
    Crossed,
    Did,
    EventHas,
    Everyone,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Nobody,
    Not,
    OnChannel,
    Only,
    Operator,
    Or,
    Overdue,
    Sequence,
    Tagged,
    TagMode,
    TextMatch,
    TimeInWindow,
    child_path,
    node_path,
)
from segidx.model.results import Estimate
from segidx.model.schema import Field, FieldType
from segidx.model.values import Constant, FieldValue
from segidx.model.writes import Channel, ChannelFlag
from segidx.plan.bands import bind_band, bind_crossed
from segidx.plan.comparisons import bind_comparison, bind_value
from segidx.plan.context import BindContext
from segidx.plan.event_has import bind_event_has
from segidx.plan.event_series import bind_overdue, bind_sequence, has_gaps
from segidx.plan.event_times import time_in_window
from segidx.plan.events import bind_did, bind_has_value, bind_only
from segidx.plan.favourites import favourite_is, favourite_is_set
from segidx.plan.history import bind_became, bind_tagged
from segidx.plan.nodes import (
    Plan,
    PostingScan,
    RangeScan,
    all_of,
    any_of,
    at_least_of,
    complement,
    everything,
    nothing,
)
from segidx.plan.strings import dictionary_of, equal_codes, plan_codes, text_codes
from segidx.plan.values import BoundFavourite, BoundGaps
from segidx.plan.windows import bind_anniversary, bind_window, plan_range
from segidx.store.layout import SYSTEM_FIELD, channel_code

# The flag that a state asks for; None is "suppressed", which the writer keeps.
_FLAGS: dict[ChannelState, ChannelFlag | None] = {
    ChannelState.CONSENTED: ChannelFlag.CONSENT,
    ChannelState.UNSUBSCRIBED: ChannelFlag.UNSUBSCRIBED,
    ChannelState.HARD_BOUNCED: ChannelFlag.HARD_BOUNCED,
    ChannelState.COMPLAINED: ChannelFlag.COMPLAINED,
    ChannelState.SUPPRESSED: None,
}


def bind(expression: Expression, context: BindContext, path: str = "expression") -> Plan:
    """The plan of an expression that `segidx.model.expression.check` has passed.

    Raises UnknownField, TypeMismatch, InvalidPattern, InvalidExpression, each with the node's path; Stopped.
    """
    total = context.total
    match expression:
        case And() | Or() | AtLeast():
            operands = [bind(o, context, child_path(path, expression, i)) for i, o in enumerate(expression.operands)]
            where = node_path(path, expression)
            if isinstance(expression, And):
                return all_of(operands, total, where)
            if isinstance(expression, Or):
                return any_of(operands, total, where)
            return at_least_of(expression.count, operands, total, where)
        case Not():
            operand = bind(expression.operand, context, child_path(path, expression, 0))
            return complement(operand, total, node_path(path, expression))
        case Everyone():
            return everything("everyone", total, node_path(path, expression))
        case Nobody():
            return nothing("nobody", node_path(path, expression))
    where = node_path(path, expression)
    try:
        return _predicate(expression, context, where)
    except SegidxError as error:
        raise error.at(where) from None


def _predicate(predicate: Expression, context: BindContext, path: str) -> Plan:
    schema = context.schema
    match predicate:
        case HasTags():
            return _has_tags(predicate, context, path)
        case IsSet():
            field = schema[predicate.field]
            count = context.snapshot.set_count(field)
            label = f"{field.name} is set"
            return PostingScan(Estimate(count, count, count), path, SYSTEM_FIELD, context.field_id(field), label)
        case Comparison():
            return bind_comparison(predicate.left, predicate.operator, predicate.right, context, path, ci=predicate.ci)
        case Between():
            value = predicate.value
            low = bind_comparison(value, Operator.GE, predicate.low, context, path, sides=("value", "low"))
            high = bind_comparison(value, Operator.LE, predicate.high, context, path, sides=("value", "high"))
            if isinstance(low, RangeScan) and isinstance(high, RangeScan) and low.field_id == high.field_id:
                # Of ages and days since, the lower bound is the later date.
                start = max((e for e in (low.low, high.low) if e is not None), default=None)
                end = min((e for e in (low.high, high.high) if e is not None), default=None)
                return plan_range(context, schema[low.label], start, end, path)
            return all_of([low, high], context.total, path)
        case In():
            return _in(predicate, context, path)
        case TextMatch():
            field = _string_field(schema[predicate.field], predicate.operator.value)
            codes = text_codes(
                context, dictionary_of(context, field), predicate.operator, predicate.pattern, ci=predicate.ci
            )
            return plan_codes(
                context, field, codes, path, sought=f"that {predicate.operator.value} {predicate.pattern!r}"
            )
        case InWindow():
            return bind_window(schema[predicate.field], predicate.window, context, path)
        case Anniversary():
            return bind_anniversary(schema[predicate.field], predicate.window, context, path)
        case OnChannel():
            return _on_channel(predicate.channel, predicate.state, context, path)
        case Did():
            return bind_did(predicate.events, context, path)
        case Never():
            return complement(bind_did(predicate.events, context, path), context.total, path)
        case Only():
            return bind_only(predicate, context, path)
        case EventHas():
            return bind_event_has(predicate, context, path)
        case HasValue():
            bound = bind_value(predicate.value, context, f"{path}.value")
            if isinstance(bound, BoundFavourite):
                return favourite_is_set(bound, context, path)
            if isinstance(bound, BoundGaps):
                return has_gaps(bound, context, path)
            return bind_has_value(bound, context, path)
        case TimeInWindow():
            bound = bind_value(predicate.value, context, f"{path}.value")
            return time_in_window(bound, predicate.window, context, path)
        case Overdue():
            return bind_overdue(predicate, context, path)
        case Sequence():
            return bind_sequence(predicate, context, path)
        case Became():
            return bind_became(predicate, context, path)
        case Tagged():
            return bind_tagged(predicate, context, path)
        case BandIs():
            return bind_band(predicate, context, path)
        case Crossed():
            return bind_crossed(predicate, context, path)
    raise AssertionError(f"{type(predicate).__name__} was not refused by check()")


def _on_channel(channel: Channel, state: ChannelState, context: BindContext, path: str) -> Plan:
    """Flags of channels are postings of the system field. Reachable: consented and not suppressed."""
    if state is ChannelState.REACHABLE:
        consented = _on_channel(channel, ChannelState.CONSENTED, context, path)
        suppressed = _on_channel(channel, ChannelState.SUPPRESSED, context, path)
        return all_of([consented, complement(suppressed, context.total, path)], context.total, path)
    code = channel_code(channel, _FLAGS[state])
    count = context.snapshot.value_count(SYSTEM_FIELD, code)
    label = f"{channel.value} {state.value}"
    if not count:
        return nothing(f"no contact is {state.value} on {channel.value}", path)
    return PostingScan(Estimate(count, count, count), path, SYSTEM_FIELD, code, label)


def _has_tags(predicate: HasTags, context: BindContext, path: str) -> Plan:
    field = context.schema[predicate.field]
    if field.type is not FieldType.TAGS:
        raise TypeMismatch(
            f"'has' asks for tags, but {field.name!r} is a {field.type.value} field; compare it with = or in",
            field=field.name,
            type=field.type.value,
        )

    def one(*tags: str) -> Plan:
        codes = equal_codes(context, dictionary_of(context, field), tags, ci=predicate.ci)
        sought = " or ".join(f'"{tag}"' for tag in tags[:3]) + (" ..." if len(tags) > 3 else "")
        text = tags[0] if len(codes) == len(tags) == 1 and not predicate.ci else None
        return plan_codes(context, field, codes, path, sought=sought, text=text)

    if predicate.mode is TagMode.ALL:
        return all_of([one(tag) for tag in predicate.tags], context.total, path)
    some = one(*predicate.tags)
    return some if predicate.mode is TagMode.ANY else complement(some, context.total, path)


def _in(predicate: In, context: BindContext, path: str) -> Plan:
    """`x in (a, b)` is `x = a or x = b`; of a string field and of a favourite, one set of codes."""
    if isinstance(predicate.value, FieldValue):
        field = context.schema[predicate.value.field]
        if field.type.is_string and all(isinstance(o, str) for o in predicate.options):
            wanted = [o for o in predicate.options if isinstance(o, str)]
            codes = equal_codes(context, dictionary_of(context, field), wanted, ci=predicate.ci)
            return plan_codes(context, field, codes, path, sought=f"in the {len(wanted)} values given")
    if isinstance(predicate.value, Aggregate) and all(isinstance(o, str) for o in predicate.options):
        bound = bind_value(predicate.value, context, f"{path}.value")
        if isinstance(bound, BoundFavourite):
            wanted = [o for o in predicate.options if isinstance(o, str)]
            return favourite_is(bound, wanted, context, path, ci=predicate.ci)
    equals = [
        bind_comparison(
            predicate.value, Operator.EQ, Constant(option), context, path, ci=predicate.ci, sides=("value", "options")
        )
        for option in predicate.options
    ]
    return any_of(equals, context.total, path)


def _string_field(field: Field, operator: str) -> Field:
    if not field.type.is_string:
        advice = "; 'has' asks for tags" if field.type is FieldType.TAGS else ""
        raise TypeMismatch(
            f"{operator!r} works on text and category fields, but {field.name!r} is a {field.type.value} field{advice}",
            field=field.name,
            type=field.type.value,
        )
    return field
