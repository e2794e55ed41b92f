"""One value at a time: what a caller gives for a contact id or a field, checked and turned into its stored form.

These functions are the definition of what is accepted; `arrow_values` does the same for whole columns and falls back
on them for every value its fast paths do not recognise. Imports the model only.

What each type accepts:
  number     int, Decimal, a string of digits (`-12.50`), or a float whose shortest decimal form fits the scale.
  timestamp  an aware datetime or an ISO 8601 string with an offset or `Z`; finer than a millisecond is rounded down.
             Naive ones are refused unless a zone is given, in which they are then local (a gap moves forward, a fold
             takes the earlier); with a zone a plain date stands for its local midnight.
  date       a date or `YYYY-MM-DD`, years 1 to 9999; with a zone also a naive datetime at midnight.
  bool       bool, 0, 1, or the strings true, false, 1, 0 in any case.
  category, text   a string of at most 2,048 bytes of UTF-8 after NFC.
  tags       several strings of 1 to 2,048 bytes after NFC; a plain string is refused, since it is meant as one tag
             as often as it is meant as several.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal

import numpy as np

from segidx.model.errors import InvalidContactId, InvalidValue, SegidxError
from segidx.model.events import MAX_EVENT_ID_BYTES
from segidx.model.schema import (
    MAX_CONTACT_ID_BYTES,
    MAX_MINOR_UNITS,
    MAX_STRING_BYTES,
    Field,
    FieldType,
    describe,
)
from segidx.model.windows import MAX_INSTANT, MIN_INSTANT, from_millis, local_instant, midnight, to_days, to_millis

Stored = int | str | tuple[str, ...]

_SHOWN = 60  # characters of a value in a message
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")
SUFFIX = re.compile(r"(?:[.,]([0-9]{1,9}))?(Z|z|[+-][0-9]{2}:?[0-9]{2})?")
BOOLS = {"true": 1, "1": 1, "false": 0, "0": 0}


def shown(value: object) -> str:
    """A value as a message shows it: strings quoted, long ones cut."""
    if isinstance(value, str | bytes):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    text = value.isoformat() if isinstance(value, date) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def refuse(field: Field, why: str) -> InvalidValue:
    """The error for a value of a field."""
    return InvalidValue(f"field {field.name!r}: {why}", field=field.name)


def check_id(value: object) -> str:
    """The contact id, byte for byte as given. Raises InvalidContactId."""
    return _checked_id(value, "contact", MAX_CONTACT_ID_BYTES, InvalidContactId)


def check_event_id(value: object, of: str = "event") -> str:
    """The id of an event (or `of` an order), byte for byte as given. Raises InvalidValue."""
    return _checked_id(value, of, MAX_EVENT_ID_BYTES, InvalidValue)


def _checked_id(value: object, of: str, most: int, error: type[SegidxError]) -> str:
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError as cause:
            raise error(f"{of} id {shown(value)} is not valid UTF-8") from cause
        size = len(value)
    elif isinstance(value, str):
        text = value
        try:
            size = len(value.encode())
        except UnicodeEncodeError as cause:
            raise error(f"{of} id {shown(value)} is not valid UTF-8") from cause
    elif value is None:
        raise error(f"there is no {of} id")
    else:
        article = "a" if of == "contact" else "an"
        raise error(f"{article} {of} id is a string, not {type(value).__name__} {shown(value)}")
    if not 1 <= size <= most:
        raise error(f"{of} id {shown(text)} has {size} bytes; 1 to {most} are allowed")
    return text


def id_for_report(value: object) -> str:
    """A contact id as a reject names it, whatever it is: always valid UTF-8, cut at 255 characters."""
    if value is None:
        return ""
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text.encode(errors="backslashreplace").decode()[:MAX_CONTACT_ID_BYTES]


def stored(field: Field, value: object, zone: tzinfo | None = None) -> Stored:
    """The stored form of a value that is not None: minor units, milliseconds or days since 1970, 0 or 1, a string in
    NFC, or a tuple of distinct tags (in the order given, sorted if a set was given).

    `zone` is given for files, whose naive times are local; without it naive times are refused. Raises InvalidValue.
    """
    match field.type:
        case FieldType.NUMBER:
            return number(field, value)
        case FieldType.TIMESTAMP:
            return timestamp(field, value, zone)
        case FieldType.DATE:
            return day(field, value, zone)
        case FieldType.BOOL:
            return boolean(field, value)
        case FieldType.CATEGORY | FieldType.TEXT:
            if not isinstance(value, str):
                raise _wrong_type(field, value, "a string")
            return string(field, value, least=0)
        case FieldType.TAGS:
            return tags(field, value)
    raise AssertionError(field)


def _wrong_type(field: Field, value: object, wanted: str) -> InvalidValue:
    return refuse(field, f"{describe(field)} takes {wanted}, not {type(value).__name__} {shown(value)}")


# --- numbers -----------------------------------------------------------------------------------------------


def number(field: Field, value: object) -> int:
    """Minor units of a number, exactly."""
    if isinstance(value, bool | np.bool_):
        raise _wrong_type(field, value, "a number")
    if isinstance(value, int | np.integer):
        units = int(value) * 10**field.scale
        return _in_range(field, units, value)
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            raise refuse(field, f"{value} is not a finite number")
        # The shortest decimal that reads back as the same float is the one its writer meant.
        return _units(field, Decimal(str(value) if isinstance(value, np.floating) else repr(value)), value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise refuse(field, f"{value} is not a finite number")
        return _units(field, value, value)
    if isinstance(value, str):
        if len(value) > 100 or not _NUMBER.fullmatch(value):
            raise refuse(field, f"{shown(value)} is not a number; write it in digits such as -12.50")
        return _units(field, Decimal(value), value)
    raise _wrong_type(field, value, "a number")


def _in_range(field: Field, units: int, value: object) -> int:
    if abs(units) > MAX_MINOR_UNITS:
        raise refuse(field, f"{shown(value)} is beyond the largest number of {describe(field)}")
    return units


def _units(field: Field, exact: Decimal, value: object) -> int:
    if exact.is_zero():
        return 0
    if exact.adjusted() > 20:
        return _in_range(field, MAX_MINOR_UNITS + 1, value)
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    significant = len(digits)
    while digits[significant - 1] == 0:
        significant -= 1
    shift = exponent + len(digits) - significant + field.scale
    if shift < 0:
        raise refuse(
            field,
            f"{shown(value)} has more than {field.scale} decimal{'' if field.scale == 1 else 's'},"
            f" which {describe(field)} does not hold",
        )
    units = int("".join(map(str, digits[:significant]))) * 10**shift
    return _in_range(field, -units if sign else units, value)


# --- time --------------------------------------------------------------------------------------------------


def timestamp(field: Field, value: object, zone: tzinfo | None) -> int:
    """Milliseconds since 1970."""
    if isinstance(value, str):
        return _parse_timestamp(field, value, zone)
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            try:
                millis = to_millis(value)
            except OverflowError as error:
                raise _out_of_time(field, value) from error
        elif zone is not None:
            millis = local_instant(value, zone)
        else:
            raise _naive(field, value)
        return _instant_in_range(field, millis, value)
    if isinstance(value, date) and zone is not None:
        return _instant_in_range(field, midnight(value, zone), value)
    raise _wrong_type(field, value, "an instant")


def _naive(field: Field, value: object) -> InvalidValue:
    return refuse(field, f"instant {shown(value)} has no time zone; write it with an offset or 'Z'")


def _out_of_time(field: Field, value: object) -> InvalidValue:
    return refuse(field, f"{shown(value)} is outside the years 1 to 9999")


def _instant_in_range(field: Field, millis: int, value: object) -> int:
    if not MIN_INSTANT <= millis <= MAX_INSTANT:
        raise _out_of_time(field, value)
    return millis


def parse_suffix(text: str) -> tuple[int, int | None] | None:
    """What follows the seconds of an ISO instant: (milliseconds of the fraction, offset from UTC in milliseconds or
    None where there is no offset); None if it is not well formed."""
    match = SUFFIX.fullmatch(text)
    if match is None:
        return None
    fraction, offset = match.groups()
    millis = int(f"{fraction:0<3}"[:3]) if fraction else 0
    if offset is None:
        return millis, None
    if offset in "Zz":
        return millis, 0
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if hours > 23 or minutes > 59:
        return None
    return millis, (hours * 60 + minutes) * (-60_000 if offset[0] == "-" else 60_000)


def _parse_timestamp(field: Field, text: str, zone: tzinfo | None) -> int:
    malformed = refuse(field, f"{shown(text)} is not an instant; write it as 2026-01-31T18:30:00Z")
    if _DATE.fullmatch(text):
        if zone is None:
            raise _naive(field, text)
        return _instant_in_range(field, midnight(_parse_date(field, text), zone), text)
    if len(text) < 16 or text[10] not in "T t":
        raise malformed
    end = 19 if text[16:17] == ":" else 16
    clock, suffix = _TIME.fullmatch(text[11:end]), parse_suffix(text[end:])
    if clock is None or suffix is None or not _DATE.fullmatch(text[:10]) or (end == 16 and text[16:17] in (".", ",")):
        raise malformed
    try:
        local = datetime.fromisoformat(text[:10])
        local = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0))
    except ValueError as error:
        raise malformed from error
    millis, offset = suffix
    if offset is not None:
        since_epoch = (local - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
        return _instant_in_range(field, since_epoch + millis - offset, text)
    if zone is None:
        raise _naive(field, text)
    return _instant_in_range(field, local_instant(local, zone) + millis, text)


def day(field: Field, value: object, zone: tzinfo | None) -> int:
    """Days since 1970."""
    if isinstance(value, str):
        return to_days(_parse_date(field, value))
    if isinstance(value, datetime):
        if zone is not None and value.tzinfo is None:
            if value.time() != datetime.min.time():
                raise refuse(field, f"{shown(value)} has a time of day; a date does not hold it")
            return to_days(value.date())
        raise _wrong_type(field, value, "a date")
    if isinstance(value, date):
        return to_days(value)
    raise _wrong_type(field, value, "a date")


def _parse_date(field: Field, text: str) -> date:
    match = _DATE.fullmatch(text)
    try:
        if match is not None:
            return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        pass
    raise refuse(field, f"{shown(text)} is not a date; write it as 2026-01-31")


# --- bools and strings -------------------------------------------------------------------------------------


def boolean(field: Field, value: object) -> int:
    """0 or 1."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, int | np.integer) and value in (0, 1):
        return int(value)
    if isinstance(value, str) and value.lower() in BOOLS:
        return BOOLS[value.lower()]
    raise refuse(field, f"{shown(value)} is neither true nor false")


def string(field: Field, value: str, *, least: int) -> str:
    """The string in NFC, if it has `least` to 2,048 bytes of UTF-8."""
    try:
        normal = unicodedata.normalize("NFC", value)
        size = len(normal.encode())
    except UnicodeEncodeError as error:
        raise refuse(field, f"{shown(value)} is not valid UTF-8") from error
    if not least <= size <= MAX_STRING_BYTES:
        what = "an empty tag" if size < least else f"a string of {size} bytes ({shown(value)})"
        raise refuse(field, f"{what}; {least} to {MAX_STRING_BYTES} bytes are allowed")
    return normal


def tags(field: Field, value: object) -> tuple[str, ...]:
    """The distinct tags in NFC."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _wrong_type(field, value, "several strings")
    found: dict[str, None] = {}
    for tag in value:
        if not isinstance(tag, str):
            raise refuse(field, f"a tag is a string, not {type(tag).__name__} {shown(tag)}")
        found[string(field, tag, least=1)] = None
    return tuple(sorted(found) if isinstance(value, Set) else found)


def tag_names(names: Iterable[str]) -> tuple[str, ...]:
    """The distinct tags of a request to add, remove or replace some, in NFC. Raises InvalidValue."""
    if isinstance(names, str | bytes):
        raise InvalidValue(f"several tags are wanted, not the one string {shown(names)}")
    if not isinstance(names, Iterable):
        raise InvalidValue(f"several tags are wanted, not {type(names).__name__} {shown(names)}")
    found: dict[str, None] = {}
    for name in names:
        if not isinstance(name, str):
            raise InvalidValue(f"a tag is a string, not {type(name).__name__} {shown(name)}")
        try:
            tag = unicodedata.normalize("NFC", name)
            size = len(tag.encode())
        except UnicodeEncodeError as error:
            raise InvalidValue(f"tag {shown(name)} is not valid UTF-8") from error
        if not 1 <= size <= MAX_STRING_BYTES:
            raise InvalidValue(f"tag {shown(name)} has {size} bytes; 1 to {MAX_STRING_BYTES} are allowed")
        found[tag] = None
    return tuple(found)


# --- and back ----------------------------------------------------------------------------------------------


def restored(field: Field, value: object) -> object:
    """The plain value of a stored one (as `FieldChange.values` holds it): Decimal, datetime, date, bool, str or a
    tuple of strings; the inverse of `stored`."""
    match field.type:
        case FieldType.NUMBER:
            return Decimal(int(value)).scaleb(-field.scale)  # type: ignore[call-overload]
        case FieldType.TIMESTAMP:
            return from_millis(int(value))  # type: ignore[call-overload]
        case FieldType.DATE:
            return date.fromordinal(int(value) + 719_163)  # type: ignore[call-overload]
        case FieldType.BOOL:
            return bool(value)
        case FieldType.TAGS:
            return tuple(value)  # type: ignore[arg-type]
    return value
