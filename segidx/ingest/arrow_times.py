"""Dates and instants of whole columns: from Arrow's time types, from ISO strings, and from local to universal time.

Calendar arithmetic is that of H. Hinnant, "chrono-Compatible Low-Level Date Algorithms" (days_from_civil), on numpy
arrays. A result comes with a mask of the rows it is known for; the others are left to `values.stored`, so that the
fast paths need only know the regular forms. Imports the model and `values` only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from segidx.ingest.values import parse_suffix
from segidx.model.windows import MAX_INSTANT, MIN_INSTANT, local_instant

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DAY = 86_400_000
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([^0-9].*)?$"

# More distinct endings (fraction and offset) than this in one batch are left to the slow path.
_MAX_SUFFIXES = 4096


def days_from_civil(year: Ints, month: Ints, day: Ints) -> Ints:
    """Days since 1970 of proleptic Gregorian dates."""
    year = year - (month <= 2)
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    days: Ints = era * 146_097 + day_of_era - 719_468
    return days


def _is_civil(year: Ints, month: Ints, day: Ints) -> Mask:
    lengths = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    known = (year >= 1) & (month >= 1) & (month <= 12)
    longest = lengths[np.where(known, month, 0)] + (leap & (month == 2))
    found: Mask = known & (day >= 1) & (day <= longest)
    return found


def _characters(text: pa.Array, width: int) -> npt.NDArray[np.int64]:
    """The digits (character minus '0') of the first `width` ASCII characters, one row a string."""
    fixed = pc.binary_slice(text.cast(pa.binary()), 0, width).cast(pa.binary(width))
    data = fixed.buffers()[1]
    if not len(fixed) or data is None:
        return np.zeros((0, width), np.int64)
    raw = np.frombuffer(data, np.uint8, width * len(fixed), width * fixed.offset).reshape(-1, width)
    return raw.astype(np.int64) - ord("0")


def _number(digits: npt.NDArray[np.int64], first: int, last: int) -> Ints:
    value = digits[:, first]
    for place in range(first + 1, last):
        value = value * 10 + digits[:, place]
    return value


def parse_dates(text: pa.Array) -> tuple[Ints, Mask]:
    """Days since 1970 of strings that begin as DATE_PATTERN says; known where such a day exists."""
    digits = _characters(text, 10)
    if not len(digits):
        return np.zeros(0, np.int64), np.zeros(0, np.bool_)
    year, month, day = _number(digits, 0, 4), _number(digits, 5, 7), _number(digits, 8, 10)
    return days_from_civil(year, month, day), _is_civil(year, month, day)


def parse_times(text: pa.Array, zone: tzinfo) -> tuple[Ints, Mask]:
    """Milliseconds since 1970 of strings that match TIME_PATTERN; those without an offset are local in `zone`."""
    days, known = parse_dates(text)
    if not len(days):
        return days, known
    digits = _characters(text, 19)
    hour, minute, second = _number(digits, 11, 13), _number(digits, 14, 16), _number(digits, 17, 19)
    known &= (hour <= 23) & (minute <= 59) & (second <= 59)
    millis = days * DAY + hour * 3_600_000 + minute * 60_000 + second * 1000
    suffixes = pc.utf8_slice_codeunits(text, 19).dictionary_encode()
    if len(suffixes.dictionary) > _MAX_SUFFIXES:
        return millis, np.zeros(len(millis), np.bool_)
    parsed = [parse_suffix(s) for s in suffixes.dictionary.to_pylist()]
    which = suffixes.indices.to_numpy(zero_copy_only=False)
    known &= np.array([p is not None for p in parsed], np.bool_)[which]
    is_local = np.array([p is not None and p[1] is None for p in parsed], np.bool_)[which]
    millis += np.array([p[0] if p else 0 for p in parsed], np.int64)[which]
    millis -= np.array([(p[1] or 0) if p else 0 for p in parsed], np.int64)[which]
    is_local &= known
    if is_local.any():
        millis[is_local] = local_to_universal(millis[is_local], zone)
    return millis, known


def local_to_universal(local: Ints, zone: tzinfo) -> Ints:
    """The instants of local times (milliseconds since a local 1970-01-01), as `model.windows.local_instant` gives
    them; local times outside the years 1 to 9999 are returned as they are.

    A zone's offset is looked up once a local day; only on days that begin and end with different offsets is it looked
    up for every distinct time.
    """
    inside = (local >= MIN_INSTANT) & (local <= MAX_INSTANT)
    if zone is UTC or not inside.any():
        return local
    result = local.copy()
    days, place = np.unique(local[inside] // DAY, return_inverse=True)
    first = np.array([_offset(int(d) * DAY, zone) for d in days], np.int64)
    last = np.array([_offset(int(d) * DAY + DAY - 1, zone) for d in days], np.int64)
    offsets = first[place]
    uneven = np.flatnonzero((first != last)[place])
    if len(uneven):
        moments, where = np.unique(local[inside][uneven], return_inverse=True)
        offsets[uneven] = np.array([_offset(int(m), zone) for m in moments], np.int64)[where]
    result[inside] -= offsets
    return result


def _offset(local: int, zone: tzinfo) -> int:
    moment = datetime(1970, 1, 1) + timedelta(milliseconds=local)
    return local - local_instant(moment, zone)


def _whole(column: pa.Array, target: pa.DataType) -> npt.NDArray[Any]:
    numbers = column.view(target)
    found: npt.NDArray[Any] = (numbers.fill_null(0) if numbers.null_count else numbers).to_numpy(zero_copy_only=False)
    return found


def column_days(column: pa.Array) -> tuple[Ints, Mask]:
    """Days since 1970 of a date column, or of a naive timestamp column where it is at midnight."""
    if pt.is_date32(column.type):
        days = _whole(column, pa.int32()).astype(np.int64)
        return days, np.ones(len(days), np.bool_)
    if pt.is_date64(column.type):
        days = _whole(column, pa.int64()) // DAY
        return days, np.ones(len(days), np.bool_)
    ticks = _whole(column, pa.int64())
    a_day = 86_400 * _TICKS[column.type.unit]
    days = ticks // a_day
    return days, days * a_day == ticks


_TICKS = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def column_millis(column: pa.Array, zone: tzinfo) -> tuple[Ints, Mask]:
    """Milliseconds since 1970 of a timestamp column (rounded down; naive ones are local in `zone`) or, at local
    midnight, of a date column."""
    if pt.is_date(column.type):
        days, known = column_days(column)
        known &= (days >= MIN_INSTANT // DAY) & (days <= MAX_INSTANT // DAY)
        return local_to_universal(np.where(known, days, 0) * DAY, zone), known
    ticks = _whole(column, pa.int64())
    rate = _TICKS[column.type.unit]
    if rate == 1:
        known = (ticks >= MIN_INSTANT // 1000) & (ticks <= MAX_INSTANT // 1000)
        millis = np.where(known, ticks, 0) * 1000
    else:
        millis = ticks // (rate // 1000)
        known = (millis >= MIN_INSTANT) & (millis <= MAX_INSTANT)
    return (millis if column.type.tz is not None else local_to_universal(millis, zone)), known
