"""What type of field a column makes, told from all of its values. Imports the model and its neighbours only.

The whole file is looked at, not a sample: a type chosen from the first rows would refuse later ones that do not fit
it, and the decimals of a number can never be changed afterwards. Columns whose type is declared are not looked at.

  integers                 number
  floats, decimals         number(N), N the most decimals of any value, 9 at most
  booleans, dates          bool, date
  timestamps               timestamp; date if all are naive and at midnight
  lists                    tags
  strings                  category if there are few distinct ones (20 at most; or 1,000 at most, each used 20 times
                           on average), else text
  text (CSV)               bool (true, false), number (no leading zeros, which make a code), date, timestamp, or a
                           string
  a starter-schema name    its type, where all values fit
  no value at all          no field
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from segidx.ingest.arrow_times import DATE_PATTERN, TIME_PATTERN, column_days, parse_dates, parse_times
from segidx.ingest.arrow_values import (
    decimal_units,
    float_units,
    integers,
    is_list,
    is_readable,
    is_string,
    mask,
    plain,
    plain_type,
    utf8,
)
from segidx.ingest.sources import Source
from segidx.ingest.starter import starter_type
from segidx.model.errors import InvalidSource
from segidx.model.schema import MAX_SCALE, Field, FieldType

FEW = 20  # distinct strings that always make a category
MAX_CATEGORY_VALUES = 1000
USES = 20  # how often each string of a category occurs, on average

_NUMBER = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?$"
_SLOW = 1000  # floats whose decimals are counted one at a time


class ColumnProfile:
    """What is known of one column after the batches seen so far."""

    def __init__(self, name: str, type_: pa.DataType, *, is_text: bool, hint: FieldType | None = None) -> None:
        self.name = name
        self.type = plain_type(type_)
        self.hint = hint
        self.count = 0  # values seen
        self.decimals = 0
        self.distinct: pa.Array | None = pa.array([], pa.string())  # None once there are too many
        # What a string column may still turn out to be.
        self.is_text = is_text
        parsed = is_text or hint in (FieldType.NUMBER, FieldType.DATE, FieldType.TIMESTAMP, FieldType.BOOL)
        self.candidates = list(_TEXT_TESTS) if parsed and is_string(self.type) else []
        self.at_midnight = True

    @property
    def is_settled(self) -> bool:
        """Whether no further value can change the answer."""
        return self.count > 0 and is_string(self.type) and not self.candidates and self.distinct is None

    def see(self, column: pa.Array) -> None:
        """Take the values of one more batch into account. Raises InvalidSource for a number with too many decimals."""
        self.count += len(column) - column.null_count
        if self.is_settled or column.null_count == len(column):
            return
        values = plain(column).drop_null()
        if is_string(self.type):
            text, valid = utf8(values)
            text = text.filter(pa.array(valid)).unique().cast(pa.string())
            self._see_text(text)
        elif pt.is_floating(self.type):
            self.decimals = max(self.decimals, float_decimals(self.name, integers(values), self.decimals))
        elif pt.is_decimal(self.type):
            self._see_decimals(values)
        elif pt.is_timestamp(self.type) and self.type.tz is None and self.at_midnight:
            self.at_midnight = bool(column_days(values)[1].all())
        elif pt.is_integer(self.type) and self.hint is FieldType.BOOL:
            self._see_distinct(values.unique().cast(pa.string()))

    def _see_distinct(self, text: pa.Array) -> None:
        if self.distinct is not None:
            self.distinct = pa.concat_arrays([self.distinct, text]).unique()
            if len(self.distinct) > MAX_CATEGORY_VALUES:
                self.distinct = None

    def _see_text(self, text: pa.Array) -> None:
        self.candidates = [kind for kind in self.candidates if _TEXT_TESTS[kind](text)]
        if FieldType.NUMBER in self.candidates:
            while not _all_match(
                text, rf"^-?[0-9]+(\.[0-9]{{1,{self.decimals}}})?$" if self.decimals else r"^-?[0-9]+$"
            ):
                self.decimals += 1
                if self.decimals > MAX_SCALE:
                    long = text.filter(pc.match_substring_regex(text, rf"\.[0-9]{{{self.decimals}}}"))
                    raise too_many_decimals(self.name, long[0].as_py())
        self._see_distinct(text)

    def _see_decimals(self, values: pa.Array) -> None:
        for scale in range(self.decimals, min(max(self.type.scale, 0), MAX_SCALE) + 1):
            known = decimal_units(values, scale)[1]
            if known.any():
                self.decimals = scale
            values = values.filter(pa.array(~known))
            if not len(values):
                return
        for value in values.unique().to_pylist():  # too many decimals, or beyond the range at any scale
            exponent = value.normalize().as_tuple().exponent
            if -exponent > MAX_SCALE:
                raise too_many_decimals(self.name, str(value))

    def field_type(self) -> FieldType | None:
        """The type the column makes; None where it has no values. Raises InvalidSource where no type fits."""
        if self.count == 0:
            return None
        if self.hint is not None and self._fits(self.hint):
            return self.hint
        kind = self.type
        if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
            return FieldType.NUMBER
        if pt.is_boolean(kind):
            return FieldType.BOOL
        if pt.is_date(kind):
            return FieldType.DATE
        if pt.is_timestamp(kind):
            return FieldType.DATE if kind.tz is None and self.at_midnight else FieldType.TIMESTAMP
        if is_list(kind) and is_readable(kind, FieldType.TAGS):
            return FieldType.TAGS
        if is_string(kind):
            if self.is_text and self.candidates:
                return self.candidates[0]
            return self._string_type()
        raise InvalidSource(
            f"column {self.name!r} is of type {kind}, which no field holds; leave it out with --field {self.name}=skip",
            column=self.name,
        )

    def _string_type(self) -> FieldType:
        distinct = MAX_CATEGORY_VALUES + 1 if self.distinct is None else len(self.distinct)
        is_category = distinct <= FEW or (distinct <= MAX_CATEGORY_VALUES and distinct * USES <= self.count)
        return FieldType.CATEGORY if is_category else FieldType.TEXT

    def _fits(self, hint: FieldType) -> bool:
        if not is_readable(self.type, hint):
            return False
        if hint is FieldType.BOOL and not pt.is_boolean(self.type):
            words = {"0", "1", "true", "false"}
            return self.distinct is not None and {v.lower() for v in self.distinct.to_pylist()} <= words
        if hint.is_string or not is_string(self.type):
            return hint is not FieldType.DATE or not pt.is_timestamp(self.type) or self.at_midnight
        return hint in self.candidates


def float_decimals(name: str, floats: npt.NDArray[np.floating], least: int = 0) -> int:
    """The most decimals of the shortest forms of floats, at least `least`. NaN and infinities are passed over (their
    rows will be refused). Raises InvalidSource beyond 9."""
    left = floats[np.isfinite(floats)]
    for scale in range(least, MAX_SCALE + 1):
        left = left[~float_units(left, scale)[1]]
        if not len(left):
            return scale
        if len(left) <= _SLOW or scale == MAX_SCALE:
            break
    most = least
    for value in np.unique(left):
        exponent = Decimal(str(value)).normalize().as_tuple().exponent
        assert isinstance(exponent, int)
        most = max(most, scale, -exponent)
        if most > MAX_SCALE:
            raise too_many_decimals(name, str(value))
    return most


def too_many_decimals(name: str, value: str) -> InvalidSource:
    """The error for a column of numbers that no scale holds."""
    return InvalidSource(
        f"column {name!r} has numbers with more than {MAX_SCALE} decimals, such as {value}; round them in the file, or"
        f" say which to take: --field '{name}=number(2)' refuses the rows with more, --field {name}=skip leaves the"
        " column out",
        column=name,
        value=value,
    )


# --- tests of text ------------------------------------------------------------------------------------------


def _all_match(text: pa.Array, pattern: str) -> bool:
    return bool(mask(pc.match_substring_regex(text, pattern)).all())


def _is_bool(text: pa.Array) -> bool:
    return len(text) <= 8 and {v.lower() for v in text.to_pylist()} <= {"true", "false"}


def _is_date(text: pa.Array) -> bool:
    return _all_match(text, DATE_PATTERN) and bool(parse_dates(text)[1].all())


def _is_timestamp(text: pa.Array) -> bool:
    return _all_match(text, TIME_PATTERN) and bool(parse_times(text, UTC)[1].all())


_TEXT_TESTS: dict[FieldType, Callable[[pa.Array], bool]] = {
    FieldType.BOOL: _is_bool,
    FieldType.NUMBER: lambda text: _all_match(text, _NUMBER),
    FieldType.DATE: _is_date,
    FieldType.TIMESTAMP: _is_timestamp,
}


def infer_fields(
    source: Source, columns: Iterable[str], progress: Callable[[int], None] | None = None
) -> dict[str, Field | None]:
    """The field each column makes, named as the column; None for a column without values.

    `progress` is told the number of rows looked at so far.
    """
    profiles = [
        ColumnProfile(name, source.column(name), is_text=source.is_text, hint=starter_type(name)) for name in columns
    ]
    found: dict[str, FieldType | None] = {}
    if profiles:
        seen = 0
        for batch in source.batches([p.name for p in profiles]):
            for profile in profiles:
                profile.see(batch.column(profile.name))
            seen += batch.num_rows
            if progress is not None:
                progress(seen)
            if all(profile.is_settled for profile in profiles):
                break
        found = {p.name: p.field_type() for p in profiles}
    decimals = {p.name: p.decimals for p in profiles}
    return {
        name: None if kind is None else Field(name, kind, decimals[name] if kind is FieldType.NUMBER else 0)
        for name, kind in found.items()
    }
