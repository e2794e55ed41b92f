"""What a batch's rows may hold, by the oracle. It must not import the ingest's validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime
from fractions import Fraction

from segidx.model.errors import InvalidContactId, InvalidValue, TypeMismatch
from segidx.model.results import FieldData
from segidx.model.schema import MAX_CONTACT_ID_BYTES, MAX_MINOR_UNITS, MAX_STRING_BYTES, Field, FieldType
from segidx.model.values import scalar as to_scalar


def check_contact_id(contact_id: object) -> None:
    """Raises InvalidContactId unless it is 1 to 255 bytes of UTF-8."""
    try:
        size = len(contact_id.encode()) if isinstance(contact_id, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_CONTACT_ID_BYTES:
        raise InvalidContactId(f"contact id {contact_id!r} is not 1 to {MAX_CONTACT_ID_BYTES} bytes of UTF-8")


_PYTHON_TYPE: dict[FieldType, Callable[[object], bool]] = {
    FieldType.CATEGORY: lambda v: isinstance(v, str),
    FieldType.TEXT: lambda v: isinstance(v, str),
    FieldType.BOOL: lambda v: isinstance(v, bool),
    FieldType.DATE: lambda v: isinstance(v, date) and not isinstance(v, datetime),
    FieldType.TIMESTAMP: lambda v: isinstance(v, datetime),
    FieldType.NUMBER: lambda v: not isinstance(v, bool | str | date),
}


def clean_value(field: Field, value: object) -> FieldData | None:
    """A row's value as it is kept; None where it clears the field. Raises TypeMismatch or InvalidValue."""
    if value is None:
        return None
    if field.type is FieldType.TAGS:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeMismatch(f"field {field.name!r} takes a set of tags, not {value!r}", field=field.name)
        return clean_tags(field.name, value) or None
    clean = to_scalar(value)
    if not _PYTHON_TYPE[field.type](clean):
        raise TypeMismatch(f"field {field.name!r} is {field.type.value}; {value!r} is not", field=field.name)
    if isinstance(clean, str):
        _check_size(field.name, clean)
    elif field.type is FieldType.NUMBER:
        minor = Fraction(clean) * 10**field.scale  # type: ignore[arg-type]
        if minor.denominator != 1:
            raise InvalidValue(f"field {field.name!r}: {value} has more than {field.scale} decimals")
        if abs(minor) > MAX_MINOR_UNITS:
            raise InvalidValue(f"field {field.name!r}: {value} is out of range")
    return clean


def _check_size(field: str, text: str) -> None:
    if len(text.encode()) > MAX_STRING_BYTES:
        raise InvalidValue(f"field {field!r}: a string is longer than {MAX_STRING_BYTES} bytes")


def clean_tags(field: str, tags: Iterable[object]) -> frozenset[str]:
    """Tags as they are kept: NFC, 1 byte or more. Raises TypeMismatch or InvalidValue."""
    clean = set()
    for tag in tags:
        normal = to_scalar(tag)
        if not isinstance(normal, str):
            raise TypeMismatch(f"field {field!r}: tag {tag!r} is not a string", field=field)
        if not normal:
            raise InvalidValue(f"field {field!r}: a tag has no characters")
        _check_size(field, normal)
        clean.add(normal)
    return frozenset(clean)
