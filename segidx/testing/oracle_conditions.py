"""The conditions that an expression puts on one contact, or on one event, at an instant, by the oracle.

Each becomes a function of what is known of the contact, or of the event. The readings chosen are in the list of
`oracle`; what may be imported is said there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction

from segidx.model import expression as asked
from segidx.model.bands import Bands
from segidx.model.event_groups import EventGroup
from segidx.model.events import EventTypes
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Between,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Not,
    Only,
    Operator,
    Or,
    Overdue,
    TextMatch,
)
from segidx.model.schema import FieldType, Schema
from segidx.model.values import Age, Arithmetic, Constant, DaysSince, FieldValue, Negative, Value
from segidx.testing import oracle_time
from segidx.testing.oracle_bands import label_of, number_of, times_crossed
from segidx.testing.oracle_comparisons import Evaluated, calculated, compare, day_of, exact
from segidx.testing.oracle_event_values import expected_of, favourite_of, gap_deviation_of, in_order, mean_gap_of
from segidx.testing.oracle_events import (
    Event,
    Subject,
    average_of,
    count_of,
    days_of,
    end_of,
    population_of,
    seen,
    sum_of,
    time_of,
    values_in,
)
from segidx.testing.oracle_products import OracleCatalogue
from segidx.testing.oracle_sequences import ends_of_chains, stays_away
from segidx.testing.oracle_strings import for_one_of_the_tags, has_tags, text_condition
from segidx.testing.pools import from_millis

Condition = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What expressions ask of a contact or an event of an account, at the instant `at` (in ms)."""

    schema: Schema
    event_types: EventTypes
    event_groups: Mapping[str, EventGroup]
    bands: Mapping[str, Bands]
    catalogue: OracleCatalogue
    local: oracle_time.LocalTime
    at: int

    def of(self, node: Expression) -> Condition:
        """The condition that a leaf puts on one contact, or on one event."""
        match node:
            case IsSet(field=field):
                return lambda subject: field in subject.fields
            case HasTags():
                return lambda subject: has_tags(node, subject.fields.get(node.field, frozenset()))
            case TextMatch():
                return text_condition(node)
            case Comparison():
                left, right = self._value(node.left), self._value(node.right)
                return lambda subject: self._compared(left(subject), node.operator, right(subject), node.ci)
            case Between():
                value, low, high = (self._value(v) for v in (node.value, node.low, node.high))
                return lambda subject: (
                    self._compared(value(subject), Operator.GE, low(subject))
                    and self._compared(value(subject), Operator.LE, high(subject))
                )
            case In(options=options, ci=ci):
                value = self._value(node.value)
                constants = [exact(option) for option in options]
                return lambda subject: any(
                    self._compared(value(subject), Operator.EQ, constant, ci) for constant in constants
                )
            case InWindow(field=field, window=window) if self.schema[field].type is FieldType.DATE:
                days = oracle_time.window_of_days(window, self.local.day(self.at))
                return lambda subject: (
                    (born := self._day(field, subject)) is not None and oracle_time.within(born, days)
                )
            case InWindow(field=field, window=window):
                instants = oracle_time.window_of_instants(window, self.at, self.local)
                return lambda subject: (
                    isinstance(when := subject.fields.get(field), datetime)
                    and oracle_time.within(oracle_time.millis(when), instants)
                )
            case Anniversary(field=field, window=window):
                wanted = oracle_time.window_of_days(window, self.local.day(self.at))
                return lambda subject: (
                    (born := self._day(field, subject)) is not None and oracle_time.has_anniversary_within(born, wanted)
                )
            case Did(events=events):
                selected = self._selection(events)
                return lambda subject: any(event.counts for event in selected(subject))
            case Never(events=events):
                selected = self._selection(events)
                return lambda subject: not any(event.counts for event in selected(subject))
            case Only(events=events, that=that):
                selected, passes = self._selection(events), self._filter(that)

                def only(subject: Subject) -> bool:
                    held = population_of(selected(subject), filtered=events.where is not None)
                    return bool(held) and all(passes(self._seen(event)) for event in held)

                return only
            case EventHas(event=event, that=that):
                return self._has(event, that)
            case HasValue(value=asked_for):
                of_events = self._value(asked_for)
                return lambda subject: of_events(subject) is not None
            case asked.TimeInWindow(value=asked_for, window=window):
                time_of_event = self._value(asked_for)
                within = oracle_time.window_of_instants(window, self.at, self.local)
                return lambda subject: (
                    isinstance(when := time_of_event(subject), datetime)
                    and oracle_time.within(oracle_time.millis(when), within)
                )
            case Overdue(events=events):
                selected = self._selection(events)
                return lambda subject: (due := expected_of(selected(subject))) is not None and due < self.at
            case asked.Sequence():
                return self._followed(node)
            case BandIs(name=name, labels=labels):
                of = self.bands[name]
                selected = self._selection(of.value.events)
                return lambda subject: label_of(of, number_of(of, selected(subject))) in labels
            case Crossed(name=name, threshold=threshold):
                of = self.bands[name]
                selected = self._selection(of.value.events)
                when = oracle_time.window_of_instants(node.window, self.at, self.local)
                return lambda subject: any(
                    oracle_time.within(time, when) for time in times_crossed(of, Fraction(threshold), selected(subject))
                )
        raise AssertionError(f"no such node: {node!r}")

    def _has(self, event: Aggregate, that: Expression) -> Condition:
        """That the first or the last of the events passes a filter."""
        selected, passes = self._selection(event.events), self._filter(that)
        group = self.event_groups.get(event.events.type)
        types = [event.events.type] if group is None else [member.type for member in group.members]

        def has(subject: Subject) -> bool:
            events = in_order(selected(subject), types)
            if not events:
                return False
            chosen = events[0 if event.function is AggregateFunction.FIRST else -1]
            return passes(self._seen(chosen))

        return has

    def _followed(self, node: asked.Sequence) -> Condition:
        """That events of the steps followed one another in the window, or that one stayed away."""
        steps = [self._selection(replace(step.events, window=node.window)) for step in node.steps]
        _, end = oracle_time.window_of_instants(node.window, self.at, self.local)
        end_of_time = self.at if end is None else min(end, self.at)
        within, last = [step.within for step in node.steps], node.steps[-1]

        def followed(subject: Subject) -> bool:
            times = [[event.time for event in selected(subject) if event.counts] for selected in steps]
            if not last.absent:
                return bool(ends_of_chains(times, within))
            assert last.within is not None
            return stays_away(ends_of_chains(times[:-1], within[:-1]), times[-1], last.within, end_of_time)

        return followed

    def _selection(self, events: Events) -> Callable[[Subject], list[Event]]:
        """The events of a contact that are selected, those that do not count too."""
        group = self.event_groups.get(events.type)
        passes = self._filter(events.where)
        if group is not None:
            each = [self._selection(Events(m.type, m.where, events.window)) for m in group.members]
            return lambda subject: [
                event for selected in each for event in selected(subject) if passes(self._seen(event))
            ]
        window = oracle_time.window_of_instants(events.window, self.at, self.local)
        return lambda subject: [
            event
            for kept in subject.kept
            for event in kept.events(events.type)
            if event.time < self.at and oracle_time.within(event.time, window) and passes(self._seen(event))
        ]

    def _seen(self, event: Event) -> Subject:
        """An event as filters see it."""
        of = self.event_types[event.type]
        return seen(event, of, self.local, self.catalogue.seen(of, event.properties))

    def _filter(self, node: Expression | None) -> Condition:
        """The condition that a filter puts on one event."""
        match node:
            case None:
                return lambda _: True
            case Not(operand=operand):
                holds = self._filter(operand)
                return lambda event: not holds(event)
            case And(operands=operands):
                every = [self._filter(operand) for operand in operands]
                return lambda event: all(holds(event) for holds in every)
            case Or(operands=operands):
                some = [self._filter(operand) for operand in operands]
                return lambda event: any(holds(event) for holds in some)
            case AtLeast(count=count, operands=operands):
                several = [self._filter(operand) for operand in operands]
                return lambda event: sum(holds(event) for holds in several) >= count
            case Comparison(operator=Operator.NE):
                equal = self._filter(replace(node, operator=Operator.EQ))
                return lambda event: not equal(event)
        return for_one_of_the_tags(node, self.of(node))

    def _day(self, field: str, contact: Subject) -> int | None:
        """The local day of a date or timestamp field."""
        when = contact.fields.get(field)
        if when is None:
            return None
        assert isinstance(when, date)
        return day_of(when, self.local)

    def _value(self, node: Value) -> Callable[[Subject], Evaluated]:
        """What a value is for one contact, or for one event; None where it is missing."""
        match node:
            case Constant(value=constant):
                known = exact(constant)
                return lambda _: known
            case FieldValue(field=field):
                return lambda subject: exact(subject.fields.get(field))
            case Age(field=field):
                return lambda subject: (
                    None
                    if (born := self._day(field, subject)) is None
                    else Fraction(oracle_time.age(born, self.local.day(self.at)))
                )
            case DaysSince(field=field):
                return lambda subject: (
                    None if (then := self._day(field, subject)) is None else Fraction(self.local.day(self.at) - then)
                )
            case Aggregate(function=AggregateFunction.FIRST | AggregateFunction.LAST):
                when = self._time(node)
                return lambda subject: None if (ms := when(subject)) is None else from_millis(ms)
            case Aggregate(function=AggregateFunction.EXPECTED):
                selected = self._selection(node.events)
                return lambda subject: None if (ms := expected_of(selected(subject))) is None else from_millis(ms)
            case Aggregate(function=AggregateFunction.FAVOURITE, property=str(name), by=by):
                selected = self._selection(node.events)
                return lambda subject: favourite_of(selected(subject), name, by)
            case Aggregate():
                return self._number_of(node)
            case DaysSinceEvent(event=event):
                when = self._time(event)
                return lambda subject: (
                    None if (ms := when(subject)) is None else Fraction(self.local.day(self.at) - self.local.day(ms))
                )
            case Negative(operand=operand):
                positive = self._value(operand)
                return lambda subject: -number if isinstance(number := positive(subject), Fraction) else None
            case Arithmetic():
                left, right = self._value(node.left), self._value(node.right)
                return lambda subject: calculated(node.operator, left(subject), right(subject))
        raise AssertionError(f"no such value: {node!r}")

    def _time(self, node: Aggregate) -> Callable[[Subject], int | None]:
        selected = self._selection(node.events)
        return lambda subject: time_of(selected(subject), first=node.function is AggregateFunction.FIRST)

    def _number_of(self, node: Aggregate) -> Callable[[Subject], Evaluated]:
        selected, type, name = self._selection(node.events), node.events.type, node.property or ""
        match node.function:
            case AggregateFunction.COUNT:
                return lambda subject: count_of(selected(subject))
            case AggregateFunction.DISTINCT:
                return lambda subject: Fraction(len(values_in(selected(subject), name)))
            case AggregateFunction.DISTINCT_DAYS:
                return lambda subject: Fraction(len(days_of(selected(subject), self.local)))
            case AggregateFunction.SUM:
                return lambda subject: sum_of(selected(subject), name)
            case AggregateFunction.AVERAGE:
                return lambda subject: average_of(selected(subject), name, type)
            case AggregateFunction.MEAN_GAP:
                return lambda subject: mean_gap_of(selected(subject))
            case AggregateFunction.GAP_DEVIATION:
                return lambda subject: gap_deviation_of(selected(subject))
        return lambda subject: end_of(selected(subject), name, least=node.function is AggregateFunction.MIN)

    def _compared(self, left: Evaluated, operator: Operator, right: Evaluated, ci: bool = False) -> bool:
        return compare(left, operator, right, self.local, ci)
