"""Bands over a number that is made of events, such as those of spend: none, below 100, 100 to 500, 500 and more.
Imports errors, events, expressions, their text and values of the model only.

An account declares them under a name: a count of events or a sum over them, ascending thresholds, and a label for each
band. A threshold is the lower bound of the band above it: a value that is equal to it lies there. The first band is
that of contacts without a value: a sum of nothing, or a count of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from itertools import pairwise

from segidx.model.errors import InvalidArgument, SegidxError
from segidx.model.event_groups import GROUPS
from segidx.model.events import EVENT_TYPE_NAME
from segidx.model.expression import Aggregate, AggregateFunction, Comparison, Operator, check
from segidx.model.syntax import format_value, parse
from segidx.model.values import Constant, scalar
from segidx.model.windows import AllTime

MAX_BANDS = 100
"""Names under which an account declares bands."""
MAX_THRESHOLDS = 64
MAX_LABEL_BYTES = 255
NONE = "none"
OF_BANDS = (AggregateFunction.COUNT, AggregateFunction.SUM)

_EXACT = Context(prec=200)
_LARGEST = 2**62  # units of the value's scale


@dataclass(frozen=True, slots=True)
class Bands:
    """Bands of one name. `labels` are of the bands from the lowest: the first is of no value, the next of what is below
    the first threshold; there are two more than thresholds."""

    name: str
    value: Aggregate
    thresholds: tuple[Decimal, ...]
    labels: tuple[str, ...]

    @property
    def is_windowed(self) -> bool:
        """Whether the value is of events of a window, so that time alone moves contacts to another band."""
        return not isinstance(self.value.events.window, AllTime)


def bands(
    name: str, value: Aggregate, thresholds: Iterable[Decimal | int], labels: Iterable[str] | None = None
) -> Bands:
    """Bands that may be declared; without `labels` they are called `none`, `<100`, `100-500`, `500+`.

    Raises InvalidArgument for what cannot be bands, and what `check` raises for a filter that cannot be or is
    unfinished; whether the value's type, property and decimals are there, the account says.
    """
    if not isinstance(name, str) or not EVENT_TYPE_NAME.fullmatch(name):
        raise InvalidArgument(
            f"{str(name)[:80]!r} is no name of bands: 1 to 64 of a-z, 0-9 and '_', beginning with a letter", bands=name
        )
    _check_value(name, value)
    given = _thresholds(name, value, thresholds)
    return Bands(name, value, given, generated_labels(given) if labels is None else _labels(name, given, labels))


def generated_labels(thresholds: Sequence[Decimal]) -> tuple[str, ...]:
    """What bands are called whose labels nobody has given."""
    texts = [threshold_text(each) for each in thresholds]
    between = (f"{low}-{high}" for low, high in pairwise(texts))
    return (NONE, f"<{texts[0]}", *between, f"{texts[-1]}+")


def threshold_text(threshold: Decimal) -> str:
    """The number in plain digits: `500`, `0.5`."""
    return f"{threshold:f}"


def check_decimals(of: Bands, scale: int) -> None:
    """Whether the thresholds have at most so many decimals, those of the value, and fit. Raises InvalidArgument."""
    for each in of.thresholds:
        units = _EXACT.scaleb(each, scale)
        if units != units.to_integral_value(context=_EXACT):
            raise InvalidArgument(
                f"bands {of.name!r}: threshold {threshold_text(each)} has more decimals than the {scale} of its value",
                bands=of.name,
            )
        if abs(units) >= _LARGEST:
            raise InvalidArgument(
                f"bands {of.name!r}: threshold {threshold_text(each)} is larger than any value", bands=of.name
            )


def band_value(text: str) -> Aggregate:
    """The value that is written as in a comparison: `sum(order.amount during last 12 months)`. Raises
    InvalidArgument."""
    try:
        node = parse(f"({text}\n) = 0")
    except SegidxError as error:
        raise InvalidArgument(
            f"{text!r} is no value of bands, such as 'sum(order.amount)' or 'count(visit)': {error.message}", value=text
        ) from None
    if not isinstance(node, Comparison) or not isinstance(node.left, Aggregate) or node.right != Constant(Decimal(0)):
        raise InvalidArgument(f"{text!r} is no value of bands, such as 'sum(order.amount)'", value=text)
    return node.left


def value_text(value: Aggregate) -> str:
    """A value as `band_value` reads it."""
    return format_value(value)


def to_stored(of: Bands) -> dict[str, object]:
    """The bands as they are stored under their name, in JSON."""
    return {
        "value": value_text(of.value),
        "thresholds": [threshold_text(each) for each in of.thresholds],
        "labels": list(of.labels),
    }


def from_stored(name: str, row: Mapping[str, object]) -> Bands:
    """What `to_stored` was given. Raises as `bands`, and KeyError, TypeError or ArithmeticError for what it never
    made."""
    value, thresholds, labels = row["value"], row["thresholds"], row["labels"]
    if not isinstance(value, str) or not isinstance(thresholds, list) or not isinstance(labels, list):
        raise TypeError(f"bands {name!r} are no value, thresholds and labels")
    return bands(name, band_value(value), [Decimal(each) for each in thresholds], labels)


def _check_value(name: str, value: Aggregate) -> None:
    if not isinstance(value, Aggregate) or value.function not in OF_BANDS:
        raise InvalidArgument(
            f"bands {name!r} are over a count of events or a sum over them, such as sum(order.amount)", bands=name
        )
    check(Comparison(value, Operator.EQ, Constant(Decimal(0))))
    if value.events.type in GROUPS:
        raise InvalidArgument(
            f"bands {name!r} are over events of one type, and {value.events.type!r} is a group of them", bands=name
        )


def _thresholds(name: str, value: Aggregate, thresholds: Iterable[Decimal | int]) -> tuple[Decimal, ...]:
    given = []
    for each in thresholds:
        number = scalar(each)
        if not isinstance(number, Decimal):
            raise InvalidArgument(f"bands {name!r}: {number!r} is no threshold, which is a number", bands=name)
        plain = number.normalize(_EXACT) or Decimal(0)  # no negative zero
        given.append(Decimal(threshold_text(plain)))
    if not 1 <= len(given) <= MAX_THRESHOLDS:
        raise InvalidArgument(f"bands {name!r} have 1 to {MAX_THRESHOLDS} thresholds, not {len(given)}", bands=name)
    for low, high in pairwise(given):
        if not low < high:
            raise InvalidArgument(
                f"bands {name!r}: thresholds ascend, but {threshold_text(high)} comes after {threshold_text(low)}",
                bands=name,
            )
    if value.function is AggregateFunction.COUNT and given[0] < 1:
        raise InvalidArgument(
            f"bands {name!r}: a count of 0 is the band of no value, so that thresholds of counts begin at 1", bands=name
        )
    return tuple(given)


def _labels(name: str, thresholds: Sequence[Decimal], labels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise InvalidArgument(f"bands {name!r}: a list of labels is wanted, not one string", bands=name)
    given = []
    for each in labels:
        label = scalar(each)
        if not isinstance(label, str) or not 1 <= len(label.encode()) <= MAX_LABEL_BYTES:
            raise InvalidArgument(
                f"bands {name!r}: a label is a string of 1 to {MAX_LABEL_BYTES} bytes of UTF-8", bands=name
            )
        given.append(label)
    if len(given) != len(thresholds) + 2:
        raise InvalidArgument(
            f"bands {name!r} of {len(thresholds)} thresholds have {len(thresholds) + 2} labels, from that of no value"
            f" to that of {threshold_text(thresholds[-1])} and more, not {len(given)}",
            bands=name,
        )
    for place, label in enumerate(given):
        if label in given[:place]:
            raise InvalidArgument(f"bands {name!r} have two bands of the label {label!r}", bands=name)
    return tuple(given)
