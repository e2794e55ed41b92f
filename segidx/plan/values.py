"""Values of a comparison bound to a schema: what `segidx.exec.verify` computes for each candidate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from segidx.model.events import EventProperty, EventType
from segidx.model.expression import AggregateFunction
from segidx.model.values import ArithmeticOperator
from segidx.model.windows import Window


class ValueKind(Enum):
    """What a bound value is, and so what it may be compared with."""

    NUMBER = "a number"
    DATE = "a date"
    INSTANT = "a timestamp"
    STRING = "a string"
    BOOL = "a bool"


@dataclass(frozen=True, slots=True)
class BoundValue:
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class BoundConstant(BoundValue):
    """A Fraction, days since 1970, milliseconds since 1970, a string, or a bool, by kind."""

    value: Fraction | int | str | bool


@dataclass(frozen=True, slots=True)
class BoundField(BoundValue):
    """A field's stored value; a number is the stored integer over 10**scale."""

    name: str
    field_id: int
    scale: int = 0


@dataclass(frozen=True, slots=True)
class LocalDate(BoundValue):
    """The local calendar date of an instant, in days since 1970."""

    instant: BoundValue


@dataclass(frozen=True, slots=True)
class BoundAge(BoundValue):
    """Whole years from a date to today."""

    date: BoundValue


@dataclass(frozen=True, slots=True)
class BoundDaysSince(BoundValue):
    """Days from a date to today."""

    date: BoundValue


@dataclass(frozen=True, slots=True)
class BoundArithmetic(BoundValue):
    operator: ArithmeticOperator
    left: BoundValue
    right: BoundValue


@dataclass(frozen=True, slots=True)
class BoundNegative(BoundValue):
    operand: BoundValue


# One step of a filter in postfix order, as `segidx.kernels.events.EventFilter` takes it.
FilterOp = tuple[str | int | bytes | bool, ...]


@dataclass(frozen=True, slots=True)
class BoundEvents:
    """Events of a type with start <= time < end (milliseconds since 1970) that pass a filter; no step lets all pass.

    Where the window reaches behind the type's horizon, `opening` is the number of the balance that holds what the
    dropped events came to: of the one aggregate that is made of these events.

    `window` is what the ends come from, if these are all that the instant of evaluation decides (see
    `segidx.plan.instants`)."""

    type: EventType
    start: int
    end: int
    where: tuple[FilterOp, ...]
    opening: int | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class BoundAggregate(BoundValue):
    """What each contact's events come to: their COUNT or DISTINCT_DAYS, the SUM, MIN or MAX of the column `measure`
    over 10**scale, or how many DISTINCT values that has. The MIN or MAX of the column of times is an instant.
    `also` are events of more types, which COUNT, DISTINCT_DAYS, MIN and MAX of times take in. Where orders take the
    measure's values from visits, `taken` is its name."""

    function: AggregateFunction
    events: BoundEvents
    measure: int = -1
    scale: int = 0
    also: tuple[BoundEvents, ...] = ()
    taken: str = ""

    @property
    def selections(self) -> tuple[BoundEvents, ...]:
        return (self.events, *self.also)

    @property
    def opened(self) -> bool:
        """Whether a part of it comes from an opening balance."""
        return any(each.opening is not None for each in self.selections)


@dataclass(frozen=True, slots=True)
class BoundFavourite(BoundValue):
    """The string of the dictionary of the column `measure` that the most of each contact's events have or, where `by`
    is a column and not -1, the one with the greatest sum of that, above 0. Where orders take it from visits, `taken` is
    its name; else all of the events have one."""

    events: BoundEvents
    property: EventProperty
    measure: int
    by: int = -1
    taken: str = ""


@dataclass(frozen=True, slots=True)
class BoundGaps(BoundValue):
    """What the times between each contact's events come to: their MEAN_GAP or GAP_DEVIATION in days of 24 hours, or the
    EXPECTED instant of the next. Missing with fewer than two events; these are of one type, or of several."""

    function: AggregateFunction
    events: tuple[BoundEvents, ...]

    @property
    def irrational(self) -> bool:
        return self.function is AggregateFunction.GAP_DEVIATION


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step of a sequence: an event of one of the selections. `within` is in milliseconds. The window of all steps is
    one."""

    events: tuple[BoundEvents, ...]
    within: int | None
    absent: bool


def reads_nothing(value: BoundValue) -> bool:
    """Whether the value is the same for every contact."""
    match value:
        case BoundAggregate() | BoundFavourite() | BoundGaps():
            return False
        case LocalDate():
            return reads_nothing(value.instant)
        case BoundAge() | BoundDaysSince():
            return reads_nothing(value.date)
        case BoundArithmetic():
            return reads_nothing(value.left) and reads_nothing(value.right)
        case BoundNegative():
            return reads_nothing(value.operand)
    return not fields_in(value)


def gaps_in(value: BoundValue) -> set[BoundGaps]:
    """The values of gaps that a value is made of: where one is missing, it is."""
    match value:
        case BoundGaps():
            return {value}
        case LocalDate():
            return gaps_in(value.instant)
        case BoundArithmetic():
            return gaps_in(value.left) | gaps_in(value.right)
        case BoundNegative():
            return gaps_in(value.operand)
    return set()


def fields_in(value: BoundValue) -> set[BoundField]:
    """The fields that a value reads."""
    match value:
        case BoundField():
            return {value}
        case LocalDate():
            return fields_in(value.instant)
        case BoundAge() | BoundDaysSince():
            return fields_in(value.date)
        case BoundArithmetic():
            return fields_in(value.left) | fields_in(value.right)
        case BoundNegative():
            return fields_in(value.operand)
    return set()
