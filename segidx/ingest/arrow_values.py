"""Whole Arrow columns turned into stored values: numpy and Arrow kernels for everything regular, and
`values.stored`, one value at a time, for every value a fast path does not recognise. So both accept the same values
and refuse with the same messages. Imports the model and `values` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from segidx.ingest.arrow_times import (
    DATE_PATTERN,
    TIME_PATTERN,
    column_days,
    column_millis,
    parse_dates,
    parse_times,
)
from segidx.ingest.values import BOOLS, refuse, shown, stored
from segidx.model.errors import SchemaConflict, SegidxError
from segidx.model.schema import MAX_MINOR_UNITS, MAX_STRING_BYTES, Field, FieldType, describe
from segidx.model.windows import MAX_INSTANT, MIN_INSTANT

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MIN_DAY, MAX_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
# Decimals of up to 15 significant digits are told apart by doubles, those of up to 6 by single floats (DBL_DIG and
# FLT_DIG of C): within these, the decimal that divides back to the same float is its shortest form.
EXACT_DOUBLE, EXACT_SINGLE = 10**15, 10**6


@dataclass(slots=True)
class Converted:
    """A column of n rows: `values` has n elements (meaningless where `present` is False); `bad` says why a row's
    value was refused. Rows that are neither present nor bad clear the field."""

    values: Ints | pa.Array
    present: Mask
    bad: dict[int, str] = dataclass_field(default_factory=dict)


# --- what a column may be -----------------------------------------------------------------------------------


def is_string(type_: pa.DataType) -> bool:
    return bool(pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_) or is_binary(type_))


def is_binary(type_: pa.DataType) -> bool:
    return bool(pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_binary_view(type_))


def is_list(type_: pa.DataType) -> bool:
    return bool(pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_))


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of the values of a dictionary-encoded or extension column."""
    if pt.is_dictionary(type_):
        return plain_type(type_.value_type)
    return plain_type(type_.storage_type) if isinstance(type_, pa.ExtensionType) else type_


def plain(column: pa.Array) -> pa.Array:
    """The column without dictionary encoding or extension types."""
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    return plain(column.dictionary_decode()) if isinstance(column, pa.DictionaryArray) else column


def is_readable(type_: pa.DataType, field_type: FieldType) -> bool:
    """Whether a column of this Arrow type can give values of a field."""
    type_ = plain_type(type_)
    if pt.is_null(type_) or is_string(type_):
        return True
    match field_type:
        case FieldType.NUMBER:
            return bool(pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_))
        case FieldType.BOOL:
            return bool(pt.is_boolean(type_) or pt.is_integer(type_))
        case FieldType.DATE:
            return bool(pt.is_date(type_) or (pt.is_timestamp(type_) and type_.tz is None))
        case FieldType.TIMESTAMP:
            return bool(pt.is_timestamp(type_) or pt.is_date(type_))
        case FieldType.CATEGORY | FieldType.TEXT:
            return bool(pt.is_integer(type_) or pt.is_boolean(type_) or pt.is_date(type_))
        case FieldType.TAGS:
            item = plain_type(type_.value_type) if is_list(type_) else None
            return item is not None and bool(is_string(item) or pt.is_integer(item) or pt.is_null(item))
    raise AssertionError(field_type)


def convert(column: pa.Array, field: Field, zone: tzinfo, tag_separator: str, *, coded: bool = False) -> Converted:
    """The stored values of a column; of a category they may be dictionary-encoded where the column is and the caller
    takes them `coded`. Raises SchemaConflict if no value of the column's type could be one of the field's."""
    if not is_readable(column.type, field.type):
        raise SchemaConflict(
            f"field {field.name!r} is {describe(field)}, which a column of {column.type} cannot fill;"
            " give the column another name or leave it out",
            field=field.name,
            declared=describe(field),
        )
    if coded and field.type is FieldType.CATEGORY and isinstance(column, pa.DictionaryArray):
        return _coded_texts(column, field)
    column = plain(column)
    if pt.is_null(column.type):
        return _nothing(len(column), field)
    match field.type:
        case FieldType.NUMBER:
            values, known = _numbers(column, field.scale)
        case FieldType.BOOL:
            values, known = _bools(column)
        case FieldType.DATE:
            values, known = _dates(column)
        case FieldType.TIMESTAMP:
            values, known = _timestamps(column, zone)
        case FieldType.CATEGORY | FieldType.TEXT:
            return _texts(column, field)
        case FieldType.TAGS:
            return _tags(column, field, tag_separator)
    return _the_rest(column, field, zone, values, known)


def _nothing(count: int, field: Field) -> Converted:
    values: Ints | pa.Array
    if field.type is FieldType.TAGS:
        values = pa.nulls(count, pa.list_(pa.string()))
    else:
        values = pa.nulls(count, pa.string()) if field.type.is_string else np.zeros(count, np.int64)
    return Converted(values, np.zeros(count, np.bool_))


def _the_rest(column: pa.Array, field: Field, zone: tzinfo, values: Ints, known: Mask) -> Converted:
    """Values the fast path did not recognise, one at a time."""
    valid = mask(column.is_valid())
    present = known & valid
    bad: dict[int, str] = {}
    for row in np.flatnonzero(valid & ~known).tolist():
        try:
            value = stored(field, element(column, row), zone)
        except SegidxError as error:
            bad[row] = error.message
        except (ValueError, OverflowError):  # an instant that Python's datetime cannot hold
            bad[row] = refuse(field, f"{_raw(column, row)} is outside the years 1 to 9999").message
        else:
            values[row] = value
            present[row] = True
    return Converted(values, present, bad)


def element(column: pa.Array, row: int) -> Any:
    """The Python value of one row, as `values.stored` takes it."""
    if pt.is_float32(column.type):
        return np.float32(column[row].as_py())
    if pt.is_float16(column.type):
        return np.float16(column[row].as_py())
    if pt.is_timestamp(column.type) and column.type.unit == "ns":
        # Finer than Python's microseconds, but milliseconds are all that is kept.
        micros = column[row].value // 1000
        return pa.scalar(micros, pa.timestamp("us", column.type.tz)).as_py()
    if is_string(column.type):  # invalid UTF-8 becomes lone surrogates, which every check of a string refuses
        return column[row].as_buffer().to_pybytes().decode(errors="surrogateescape")
    return column[row].as_py()


def _raw(column: pa.Array, row: int) -> str:
    return shown(f"{column.type} {getattr(column[row], 'value', '')}")


def mask(booleans: pa.Array) -> Mask:
    """A Boolean Arrow array as numpy; null counts as False."""
    if booleans.null_count:
        booleans = booleans.fill_null(False)
    found: Mask = booleans.to_numpy(zero_copy_only=False)
    return found


def integers(column: pa.Array, fill: int = 0) -> npt.NDArray[Any]:
    """An integer-backed Arrow column as numpy, in its own width, nulls filled."""
    if column.null_count:
        column = column.fill_null(fill)
    found: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found


# --- numbers and bools --------------------------------------------------------------------------------------


def _numbers(column: pa.Array, scale: int) -> tuple[Ints, Mask]:
    type_ = column.type
    if pt.is_integer(type_):
        return _scaled(integers(column), scale)
    if pt.is_float64(type_) or pt.is_float32(type_):
        return float_units(integers(column), scale)
    if pt.is_floating(type_):
        return _unknown(len(column))
    if pt.is_decimal(type_):
        return decimal_units(column, scale)
    return _digits(column, scale)


def _unknown(count: int) -> tuple[Ints, Mask]:
    return np.zeros(count, np.int64), np.zeros(count, np.bool_)


def _scaled(numbers: npt.NDArray[Any], decimals: int) -> tuple[Ints, Mask]:
    """Integers times 10 to the power `decimals`, where that is in range."""
    limit = MAX_MINOR_UNITS // 10**decimals
    if numbers.dtype == np.uint64:
        known = numbers <= limit
    else:
        numbers = numbers.astype(np.int64, copy=False)
        known = (numbers <= limit) & (numbers >= -limit)
    return np.where(known, numbers, 0).astype(np.int64) * 10**decimals, known


def float_units(floats: npt.NDArray[Any], scale: int) -> tuple[Ints, Mask]:
    """Minor units of floats, and where their shortest decimal form certainly has no more than `scale` decimals."""
    exact = EXACT_SINGLE if floats.dtype == np.float32 else EXACT_DOUBLE
    with np.errstate(all="ignore"):
        units = np.rint(floats.astype(np.float64) * 10.0**scale)
        # Both are integers below 2**53, so the division is the correctly rounded value of the decimal.
        known = (np.abs(units) < exact) & ((units / 10.0**scale).astype(floats.dtype) == floats)
    return np.where(known, units, 0).astype(np.int64), known


def decimal_units(column: pa.Array, scale: int) -> tuple[Ints, Mask]:
    """Minor units of a decimal column, and where a value has no more than `scale` decimals and is in range."""
    own = column.type.scale
    if not -18 <= own <= 38 or column.type.precision > 38:
        return _unknown(len(column))
    wide = column.cast(pa.decimal128(38, own)) if own >= 0 or pt.is_decimal128(column.type) else None
    if wide is None:
        return _unknown(len(column))
    units, known = unscaled(wide)
    if own > scale:
        divisor = 10 ** (own - scale)
        if divisor > MAX_MINOR_UNITS:
            return np.zeros(len(column), np.int64), known & (units == 0)
        quotient = units // divisor
        return quotient, known & (quotient * divisor == units) & (np.abs(quotient) <= MAX_MINOR_UNITS)
    if scale - own > 18:
        return _unknown(len(column))
    scaled, fits = _scaled(units, scale - own)
    return scaled, known & fits


def unscaled(column: pa.Array) -> tuple[Ints, Mask]:
    """The integers behind a decimal128 column, and which of them fit in 64 bits. Nulls give anything."""
    data = column.buffers()[1]
    if data is None:
        return _unknown(len(column))
    words = np.frombuffer(data, "<i8", 2 * len(column), 16 * column.offset).reshape(-1, 2)
    low, high = words[:, 0], words[:, 1]
    return low.copy(), high == (low >> 63)


def _digits(column: pa.Array, scale: int) -> tuple[Ints, Mask]:
    """Strings of at most 18 digits with at most `scale` decimals."""
    text, valid = utf8(column)
    decimals = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    known = mask(pc.match_substring_regex(text, rf"^-?[0-9]{{1,{18 - scale}}}{decimals}$")) & valid
    regular = pc.if_else(pa.array(known), text, pa.scalar("0", text.type))
    units, fits = unscaled(regular.cast(pa.decimal128(38, scale)))
    return units, known & fits


def _bools(column: pa.Array) -> tuple[Ints, Mask]:
    if pt.is_boolean(column.type):
        return mask(column).astype(np.int64), np.ones(len(column), np.bool_)
    if pt.is_integer(column.type):
        numbers = integers(column)
        known = (numbers == 0) | (numbers == 1)
        return np.where(known, numbers, 0).astype(np.int64), known
    text, valid = utf8(column)
    lower = pc.ascii_lower(text)
    words = list(BOOLS)
    place = pc.index_in(lower, pa.array(words, lower.type))
    known = mask(place.is_valid()) & valid
    table = np.array([BOOLS[word] for word in words], np.int64)
    return table[integers(place)], known


# --- time ---------------------------------------------------------------------------------------------------


def _dates(column: pa.Array) -> tuple[Ints, Mask]:
    if is_string(column.type):
        text, valid = utf8(column)
        regular = mask(pc.match_substring_regex(text, DATE_PATTERN)) & valid
        return _spread(regular, *parse_dates(text.filter(pa.array(regular))))
    days, known = column_days(column)
    return days, known & (days >= MIN_DAY) & (days <= MAX_DAY)


def _timestamps(column: pa.Array, zone: tzinfo) -> tuple[Ints, Mask]:
    if is_string(column.type):
        text, valid = utf8(column)
        regular = mask(pc.match_substring_regex(text, TIME_PATTERN)) & valid
        millis, known = _spread(regular, *parse_times(text.filter(pa.array(regular)), zone))
    else:
        millis, known = column_millis(column, zone)
    return millis, known & (millis >= MIN_INSTANT) & (millis <= MAX_INSTANT)


def _spread(where: Mask, values: Ints, known: Mask) -> tuple[Ints, Mask]:
    """Values of some rows put at those rows."""
    all_values, all_known = _unknown(len(where))
    all_values[where], all_known[where] = values, known
    return all_values, all_known


# --- strings ------------------------------------------------------------------------------------------------


def utf8(column: pa.Array) -> tuple[pa.Array, Mask]:
    """A string or binary column as strings, and which rows are valid UTF-8 and not null. Invalid rows give null."""
    target = pa.large_string() if pt.is_large_string(column.type) or pt.is_large_binary(column.type) else pa.string()
    binary = column.cast(pa.large_binary() if target == pa.large_string() else pa.binary())
    try:
        text = binary.cast(target)
    except pa.ArrowInvalid:
        parts = [_decoded(value) for value in binary.to_pylist()]
        text = pa.array(parts, target)
    return text, mask(text.is_valid())


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def as_strings(column: pa.Array) -> tuple[pa.Array, Mask]:
    """The column as strings in NFC: integers in decimal, dates in ISO form, bools as true and false."""
    if not is_string(column.type):
        text = column.cast(pa.string())
        return text, mask(text.is_valid())
    text, valid = utf8(column)
    if not pc.all(pc.string_is_ascii(text)).as_py():
        text = pc.utf8_normalize(text, "NFC")
    return text, valid


def _texts(column: pa.Array, field: Field) -> Converted:
    text, valid = as_strings(column)
    present = valid & (integers(pc.binary_length(text)) <= MAX_STRING_BYTES)
    bad = _why(column, field, np.flatnonzero(mask(column.is_valid()) & ~present).tolist())
    return Converted(text.cast(pa.string()), present, bad)


def _coded_texts(column: pa.DictionaryArray, field: Field) -> Converted:
    """The same from the words of a dictionary: each is looked at once."""
    words = _texts(plain(column.dictionary), field)
    places = integers(column.indices)
    here = mask(column.indices.is_valid())
    if not len(words.present):
        return Converted(pa.nulls(len(column), pa.string()), np.zeros(len(column), np.bool_))
    bad: dict[int, str] = {}
    if words.bad:
        for row in np.flatnonzero(here & np.isin(places, list(words.bad))).tolist():
            bad[row] = words.bad[int(places[row])]
    values = pa.DictionaryArray.from_arrays(column.indices, words.values)
    return Converted(values, words.present[places] & here, bad)


def _why(column: pa.Array, field: Field, rows: list[int]) -> dict[int, str]:
    """The messages for rows that a fast path has found bad."""
    bad: dict[int, str] = {}
    for row in rows:
        try:
            stored(field, element(column, row))
        except SegidxError as error:
            bad[row] = error.message
    return bad


def _tags(column: pa.Array, field: Field, separator: str) -> Converted:
    count = len(column)
    split = is_string(column.type)
    invalid: Mask | None = None
    if split:
        text, valid = utf8(column)
        invalid = mask(column.is_valid()) & ~valid
        column = pc.split_pattern(text, separator)
    elif pt.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    flat, valid = as_strings(_items(column))
    if split:
        flat = pc.utf8_trim_whitespace(flat)
    sizes = integers(pc.binary_length(flat))
    if split:  # "a||b" and "" hold no empty tags
        kept = sizes > 0
        parents, flat, valid, sizes = parents[kept], flat.filter(pa.array(kept)), valid[kept], sizes[kept]
    good = valid & (sizes >= 1) & (sizes <= MAX_STRING_BYTES)
    wrong = np.zeros(count, np.bool_)
    wrong[parents[~good]] = True
    bad = _why_tags(column, field, np.flatnonzero(wrong).tolist(), split)
    if invalid is not None:
        for row in np.flatnonzero(invalid).tolist():
            bad[row] = refuse(field, "a tag is not valid UTF-8").message
    flat = flat.cast(pa.string())
    chosen = np.flatnonzero(good)
    if len(chosen):
        codes = flat.dictionary_encode()
        keys = parents * (len(codes.dictionary) + 1) + integers(codes.indices)
        _distinct, first = np.unique(keys[chosen], return_index=True)
        chosen = chosen[np.sort(first)]
    lengths = np.bincount(parents[chosen], minlength=count) if len(chosen) else np.zeros(count, np.int64)
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    lists = pa.ListArray.from_arrays(pa.array(offsets), flat.take(pa.array(chosen)))
    present = lengths > 0
    if bad:
        present[list(bad)] = False
    return Converted(lists, present, bad)


def _items(lists: pa.Array) -> pa.Array:
    items = plain(pc.list_flatten(lists))
    return items.cast(pa.string()) if pt.is_null(items.type) else items


def _why_tags(column: pa.Array, field: Field, rows: list[int], split: bool) -> dict[int, str]:
    item = plain_type(column.type.value_type)
    if pt.is_integer(item) or item != column.type.value_type:
        column = column.cast(pa.list_(pa.string()))
    bad: dict[int, str] = {}
    for row in rows:
        items = column[row].values
        value = [element(items, i) if items[i].is_valid else None for i in range(len(items))]
        if split:
            value = [tag for part in value if part is not None and (tag := part.strip())]
        try:
            stored(field, value)
        except SegidxError as error:
            bad[row] = error.message
    return bad
