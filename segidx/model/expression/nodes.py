"""The nodes of an expression, and the errors of those that cannot be. Imports values, windows, channels and errors
of the model only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from segidx.model.errors import InvalidExpression
from segidx.model.events import EVENT_TYPE_NAME
from segidx.model.values import Scalar, Value, same_scalars, scalar
from segidx.model.windows import AllTime, Window
from segidx.model.writes import Channel

MAX_DEPTH = 64
MAX_NODES = 10_000


class Expression:
    """Base of all nodes. `&`, `|` and `~` build conjunctions, disjunctions and negations."""

    __slots__ = ()

    def __and__(self, other: Expression) -> And:
        return And((*(self.operands if isinstance(self, And) else (self,)), other))

    def __or__(self, other: Expression) -> Or:
        return Or((*(self.operands if isinstance(self, Or) else (self,)), other))

    def __invert__(self) -> Not:
        return Not(self)

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value; combine expressions with &, | and ~, not and, or, not")


@dataclass(frozen=True, slots=True)
class Everyone(Expression):
    """All live contacts."""


@dataclass(frozen=True, slots=True)
class Nobody(Expression):
    """No contact."""


@dataclass(frozen=True, slots=True)
class And(Expression):
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not(Expression):
    operand: Expression


@dataclass(frozen=True, slots=True)
class AtLeast(Expression):
    """Contacts that satisfy `count` or more of the operands. `count` is 1 or more; a count above the number of
    operands holds for nobody."""

    count: int
    operands: tuple[Expression, ...]

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or not 1 <= self.count <= MAX_NODES:
            raise InvalidExpression(f"at least {self.count!r} of: the count must be a whole number from 1")


@dataclass(frozen=True, slots=True)
class Unfinished(Expression):
    """A node an editor has not completed; written `...`. Refused unless a request allows unfinished nodes, which
    are then skipped and reported."""


class TagMode(Enum):
    ANY = "any"
    ALL = "all"
    NONE = "none"

    __hash__ = object.__hash__  # quicker than by name: a member is equal to itself alone


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise InvalidExpression("a list of strings is wanted, not one string")
    normal = tuple(scalar(v) for v in values)
    if not all(isinstance(v, str) for v in normal):
        raise InvalidExpression("tags are strings")
    return normal  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class HasTags(Expression):
    """`tags has any ("a", "b")`; `has all`; `has none` (also true where no tag is set). `ci` ignores case."""

    field: str
    mode: TagMode
    tags: tuple[str, ...]
    ci: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", _strings(self.tags))


@dataclass(frozen=True, slots=True)
class IsSet(Expression):
    """The field has a value; of a tags field: at least one tag. `is not set` is Not(IsSet)."""

    field: str


class ChannelState(Enum):
    """What may be asked of a contact on a channel. Each value is also the word of the text syntax."""

    CONSENTED = "consented"
    UNSUBSCRIBED = "unsubscribed"
    HARD_BOUNCED = "hard_bounced"
    COMPLAINED = "complained"
    SUPPRESSED = "suppressed"  # unsubscribed, hard-bounced or complained
    REACHABLE = "reachable"  # consented and not suppressed


def channel_named(name: str) -> Channel:
    """The channel of that name, as `on_channel` and the text syntax take it. Raises InvalidExpression."""
    for channel in Channel:
        if channel.value == name:
            return channel
    short = name if len(name) <= 40 else name[:40] + "…"
    raise InvalidExpression(f"there is no channel {short!r}; the channels are {', '.join(c.value for c in Channel)}")


@dataclass(frozen=True, slots=True)
class OnChannel(Expression):
    """`reachable("email")`: the contact's flags on the channel say so. A contact without flags has not consented
    and is not suppressed."""

    channel: Channel
    state: ChannelState

    def __post_init__(self) -> None:
        if not isinstance(self.channel, Channel) or not isinstance(self.state, ChannelState):
            raise InvalidExpression("OnChannel takes a Channel and a ChannelState; on_channel() takes names")


class Operator(Enum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="

    __hash__ = object.__hash__  # quicker than by name: a member is equal to itself alone


@dataclass(frozen=True, slots=True)
class Comparison(Expression):
    """`left op right`. `ci` ignores case and goes with = and != on strings only."""

    left: Value
    operator: Operator
    right: Value
    ci: bool = False

    def __post_init__(self) -> None:
        if self.ci and self.operator not in (Operator.EQ, Operator.NE):
            raise InvalidExpression(f"'ci' goes with = and !=, not with {self.operator.value}")


@dataclass(frozen=True, slots=True)
class Between(Expression):
    """`low <= value <= high`, both ends included."""

    value: Value
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class In(Expression):
    """`value in (a, b, ...)`: equal to at least one. `not in` is Not(In)."""

    value: Value
    options: tuple[Scalar, ...]
    ci: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.options, str):
            raise InvalidExpression("a list of values is wanted, not one string")
        object.__setattr__(self, "options", tuple(scalar(o) for o in self.options))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, In):
            return NotImplemented
        return (self.value, self.ci) == (other.value, other.ci) and same_scalars(self.options, other.options)


class TextOperator(Enum):
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"
    MATCHES = "matches"
    LIKE = "like"


@dataclass(frozen=True, slots=True)
class TextMatch(Expression):
    """A substring, prefix, suffix, or a regular expression (RE2, searching) on a text or category field.

    LIKE takes the value for a url and compares the whole of its path, `/` where it is empty, with a pattern: `*` stands
    for any characters but `/`, `**` for any.
    """

    field: str
    operator: TextOperator
    pattern: str
    ci: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise InvalidExpression(f"the pattern of {self.operator.value!r} must be a string")
        object.__setattr__(self, "pattern", scalar(self.pattern))
        if self.operator is TextOperator.LIKE and not self.pattern.startswith(("/", "*")):
            raise InvalidExpression("the pattern of 'like' is one of the path of a url: it begins with '/' or '*'")


@dataclass(frozen=True, slots=True)
class InWindow(Expression):
    """The date or timestamp field lies in a window of time."""

    field: str
    window: Window


@dataclass(frozen=True, slots=True)
class Anniversary(Expression):
    """Some anniversary of the field's local date, in any year, lies in the window. 29 February falls on 28
    February in years that have none. The window must have both ends."""

    field: str
    window: Window


_ALL_TIME = AllTime()


# --- tracked fields ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Became(Expression):
    """`lead_stage became "mql" during last 7 days`: the tracked category or yes/no field got this value, which it had
    not before, at some time in the window; whatever it has now. That it was unset before counts too."""

    field: str
    value: str | bool
    window: Window = _ALL_TIME

    def __post_init__(self) -> None:
        if not isinstance(self.value, str | bool):
            raise InvalidExpression("what a field became is a string, or true or false")
        object.__setattr__(self, "value", scalar(self.value))


@dataclass(frozen=True, slots=True)
class Tagged(Expression):
    """`tagged "vip" during last 7 days`: the contact holds the tag of the tracked tags field, and the time when it was
    added lies in the window. Adding a tag that is held keeps its time; removing it and adding it again gives a new one.
    A tag that has been held since before the field was tracked has no time, and is in no window."""

    field: str
    tag: str
    window: Window = _ALL_TIME

    def __post_init__(self) -> None:
        object.__setattr__(self, "tag", _strings((self.tag,))[0])


# --- bands -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BandIs(Expression):
    """`band(spend) in ("100-500", "1000+")`: the contact lies in one of these bands of the account's bands of that
    name (`segidx.model.bands`). `!=` and `not in` are Not(BandIs)."""

    name: str
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise InvalidExpression("a list of labels is wanted, not one string")
        labels = tuple(scalar(label) for label in self.labels)
        if not all(isinstance(label, str) for label in labels):
            raise InvalidExpression("the label of a band is a string")
        object.__setattr__(self, "labels", labels)


@dataclass(frozen=True, slots=True)
class Crossed(Expression):
    """`crossed(spend, 500) during last 1 day`: at the time of some event in the window the number that the bands of
    that name are over, made of all events up to then, rose from below the threshold to the threshold or above. To have
    had no value is to have been below; events of one time count together. With returns it may fall, and cross
    again."""

    name: str
    threshold: Decimal
    window: Window = _ALL_TIME

    def __post_init__(self) -> None:
        threshold = scalar(self.threshold)
        if not isinstance(threshold, Decimal):
            raise InvalidExpression("what is crossed is a number, one of the thresholds")
        object.__setattr__(self, "threshold", threshold)


# --- events ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Events:
    """Some events of a type: those in the window that pass the filter `where`.

    A filter is made of And, Or, Not, AtLeast, Comparison, Between, In, IsSet and TextMatch; a FieldValue in it names a
    property of the event, and its values are properties and constants. All of it holds for one and the same event. A
    leaf on a missing property is false, and Not inverts it.
    """

    type: str
    where: Expression | None = None
    window: Window = _ALL_TIME

    def __post_init__(self) -> None:
        if not isinstance(self.type, str) or not EVENT_TYPE_NAME.fullmatch(self.type):
            raise InvalidExpression(f"{str(self.type)[:40]!r} is no name of an event type, such as 'order'")


@dataclass(frozen=True, slots=True)
class Did(Expression):
    """At least one such event. An order is one only if it counts: see `segidx.model.events.Order`."""

    events: Events


@dataclass(frozen=True, slots=True)
class Never(Expression):
    """Not one such event."""

    events: Events


@dataclass(frozen=True, slots=True)
class Only(Expression):
    """At least one event of the population satisfies the filter `that`, and none does not.

    The population are the `events`; where they have no filter, of orders those that count, and of lines those of a
    positive quantity, so that a return breaks nothing. A filter takes the place of that rule. Without `that` every
    event satisfies.
    """

    events: Events
    that: Expression | None = None


class AggregateFunction(Enum):
    COUNT = "count"
    SUM = "sum"
    AVERAGE = "average"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"
    DISTINCT = "distinct"
    DISTINCT_DAYS = "distinct_days"
    FAVOURITE = "favourite"
    MEAN_GAP = "mean_gap"
    GAP_DEVIATION = "gap_deviation"
    EXPECTED = "expected"

    __hash__ = object.__hash__  # quicker than by name: a member is equal to itself alone

    @property
    def is_count(self) -> bool:
        """Whether it counts, and so is 0 where there is nothing to count."""
        return self in (AggregateFunction.COUNT, AggregateFunction.DISTINCT, AggregateFunction.DISTINCT_DAYS)

    @property
    def is_time(self) -> bool:
        """Whether it is the time of an event."""
        return self in (AggregateFunction.FIRST, AggregateFunction.LAST)

    @property
    def of_gaps(self) -> bool:
        """Whether it is made of the times between the events."""
        return self in (AggregateFunction.MEAN_GAP, AggregateFunction.GAP_DEVIATION, AggregateFunction.EXPECTED)

    @property
    def of_property(self) -> bool:
        """Whether it is made of a property of the events."""
        if self.is_time or self.of_gaps:
            return False
        return self not in (AggregateFunction.COUNT, AggregateFunction.DISTINCT_DAYS)


@dataclass(frozen=True, slots=True)
class Aggregate(Value):
    """What a contact's events come to: a number, with FIRST, LAST and EXPECTED an instant, with FAVOURITE a string.

    COUNT counts what Did looks for, and is 0 where there is none. DISTINCT is how many different values of a property,
    of any type, these have, and DISTINCT_DAYS on how many different local calendar days they were; both are 0 where
    there is none. FIRST and LAST are the time of the earliest and of the latest of these. The others are made of a
    number property of every such event that has it, orders that do not count included: SUM adds, MIN and MAX pick,
    AVERAGE is the sum over how many they are, and of orders over how many count (the average order value). All but the
    counts are missing where there is nothing to make them of.

    FAVOURITE is the value of a category property that most of what Did looks for has; with `by`, a number property of
    the same events, the value whose events come to the greatest sum of it, if that is above 0. Of equal ones it is the
    first, byte for byte. MEAN_GAP and GAP_DEVIATION are the mean and the population standard deviation, in days of 24
    hours, of the times between one event and the next; EXPECTED is the time of the latest and the mean gap, rounded
    down to milliseconds. These want two events.
    """

    function: AggregateFunction
    events: Events
    property: str | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        if self.by is not None and self.function is not AggregateFunction.FAVOURITE:
            raise InvalidExpression(f"{self.function.value} takes no 'by'; favourite does")
        if (self.property is not None) != self.function.of_property:
            wanted = "wants a property" if self.function.of_property else "takes no property"
            raise InvalidExpression(f"{self.function.value} {wanted}")


@dataclass(frozen=True, slots=True)
class DaysSinceEvent(Value):
    """`days_since(last(order))`: local calendar days from the time of the first or the last event (`event` is an
    Aggregate FIRST or LAST) to today; missing where there is no such event."""

    event: Aggregate

    def __post_init__(self) -> None:
        if not isinstance(self.event, Aggregate) or not self.event.function.is_time:
            raise InvalidExpression("days_since() of events wants first(...) or last(...)")
