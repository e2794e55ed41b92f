"""Contacts, their rows and the answers to writes, of the protocol to and from Python. Imports only v1 and the model.

A row that cannot even be converted (a number that is none, a 31 February, a float) is a reject like any other: it is
left out, and `merge_rejects` puts it among those that the database returns.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from itertools import islice

from segidx.model.errors import InvalidContactId, InvalidValue, SegidxError
from segidx.model.results import Contact, FieldData, Reject, WriteResult
from segidx.v1 import contacts_pb2 as pb
from segidx.wire.values import read_date, read_decimal, read_instant, write_date, write_instant

Row = tuple[str, Mapping[str, object]]

MAX_STREAM_REJECTS = 1000
_NULL = 0  # google.protobuf.NULL_VALUE


# --- one value ---------------------------------------------------------------------------------------------


def read_field_value(message: pb.FieldValue) -> FieldData | None:
    """The value, or None to clear the field. Raises InvalidValue, also where no kind is set."""
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return message.string_value
    if kind == "decimal_value":
        return read_decimal(message.decimal_value)
    if kind == "bool_value":
        return message.bool_value
    if kind == "date_value":
        return read_date(message.date_value)
    if kind == "timestamp_value":
        return read_instant(message.timestamp_value, round_down=True)
    if kind == "tags_value":
        return frozenset(message.tags_value.tags)
    if kind == "null_value":
        return None
    raise InvalidValue("the value says no kind; set one, and null_value to clear the field")


def write_field_value(value: object, message: pb.FieldValue) -> None:
    """Fills `message` with a value of a contact's field; what the field makes of it is the database's to say.

    Raises InvalidValue for what cannot be sent: NaN, naive datetimes, strings that are not UTF-8, other types. A float
    goes as its shortest decimal form, as in process.
    """
    if value is None:
        message.null_value = _NULL  # type: ignore[assignment]
    elif isinstance(value, str):
        message.string_value = _utf8(value)
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, Decimal | numbers.Real):
        message.decimal_value = digits(value)
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidValue(f"instant {value.isoformat()} has no time zone; give it one")
        write_instant(value, message.timestamp_value)
    elif isinstance(value, date):
        write_date(value, message.date_value)
    elif isinstance(value, Set | list | tuple):
        message.tags_value.SetInParent()
        tags = [_tag(tag) for tag in value]
        message.tags_value.tags.extend(sorted(tags) if isinstance(value, Set) else tags)
    else:
        raise InvalidValue(f"a value of type {type(value).__name__} is not one that a field can hold")


def digits(value: Decimal | numbers.Real) -> str:
    """A number in decimal digits. Raises InvalidValue for NaN and infinity."""
    if isinstance(value, numbers.Integral):
        return str(int(value))
    # The shortest digits that read back as the same float, also where numpy's float64 prints itself otherwise.
    text = float.__repr__(value) if isinstance(value, float) else str(value)
    if not Decimal(text).is_finite():
        raise InvalidValue(f"{text} is not a finite number")
    return text


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue("a string is not valid UTF-8") from error
    return text


def _tag(tag: object) -> str:
    if not isinstance(tag, str):
        raise InvalidValue(f"tag {tag!r} is not a string")
    return _utf8(tag)


# --- rows --------------------------------------------------------------------------------------------------


# How the message of a reject begins, so that a person who sees only the message finds the row.
_ROW = "row {}: "


def renumber(reject: Reject, index: int) -> Reject:
    """The reject at another index, in its message too."""
    old = _ROW.format(reject.index)
    message = reject.message
    if message.startswith(old):
        message = _ROW.format(index) + message.removeprefix(old)
    return replace(reject, index=index, message=message)


class RowErrors:
    """Rows left out of a batch before the database saw it; knows the caller's index of every row that stayed."""

    __slots__ = ("kept", "rejects", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.kept: list[int] = []
        self.rejects: list[Reject] = []

    def refuse(self, contact_id: str, field: str, error: SegidxError) -> None:
        message = f"{_ROW.format(self.seen)}{error.message}"
        self.rejects.append(Reject(self.seen, contact_id, field, error.reason, message))
        self.seen += 1

    def keep(self) -> None:
        self.kept.append(self.seen)
        self.seen += 1

    def merged(self, returned: tuple[Reject, ...]) -> tuple[Reject, ...]:
        """All rejects in the order of the caller's rows; `returned` are those of the rows that stayed."""
        if not self.rejects:
            return returned
        kept = self.kept
        # The answer to a known batch key may be that of other rows than these.
        moved = [renumber(r, kept[r.index]) if r.index < len(kept) else r for r in returned]
        return tuple(sorted([*self.rejects, *moved], key=lambda reject: reject.index))

    def merge_rejects(self, result: WriteResult) -> WriteResult:
        """The result with all rejects in the order of the caller's rows."""
        return replace(result, rejects=self.merged(result.rejects)) if self.rejects else result


def read_rows(messages: Iterable[pb.ContactRow]) -> tuple[list[Row], RowErrors]:
    """The rows of a batch as the database takes them, and those that could not be read."""
    rows: list[Row] = []
    errors = RowErrors()
    for message in messages:
        values: dict[str, object] = {}
        name = ""
        try:
            for name, value in message.fields.items():
                values[name] = read_field_value(value)
        except SegidxError as error:
            errors.refuse(message.contact_id[:255], name[:255], error)
            continue
        errors.keep()
        rows.append((message.contact_id, values))
    return rows, errors


def write_rows(rows: Iterable[tuple[str | bytes, Mapping[str, object]]]) -> tuple[list[pb.ContactRow], RowErrors]:
    """The messages of rows, and the rows that cannot be sent."""
    messages: list[pb.ContactRow] = []
    errors = RowErrors()
    for contact_id, values in rows:
        message = pb.ContactRow()
        name, shown = "", for_report(contact_id)
        try:
            message.contact_id = contact_id_text(contact_id)
            for name, value in values.items():
                write_field_value(value, message.fields[name])
        except SegidxError as error:
            errors.refuse(shown, name, error)
        except UnicodeEncodeError:
            errors.refuse(shown, for_report(name), InvalidValue(f"field name {name!r} is not valid UTF-8"))
        else:
            errors.keep()
            messages.append(message)
    return messages, errors


class Batches:
    """Rows of any number as messages, batch by batch, lazily; remembers what could not be sent.

    Meant to be iterated by grpc, which swallows what an iterator raises: `failure` keeps it.
    """

    def __init__(self, rows: Iterable[tuple[str | bytes, Mapping[str, object]]], batch_rows: int) -> None:
        self._rows = iter(rows)
        self._batch_rows = batch_rows
        self._rejects: list[Reject] = []
        # The caller's indices of the rows left out, ascending.
        self._left_out: list[int] = []
        self.refused = 0
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[list[pb.ContactRow]]:
        first = 0
        while True:
            try:
                batch = list(islice(self._rows, self._batch_rows))
                messages, errors = write_rows(batch)
            except Exception as error:
                self.failure = error
                raise
            if not batch:
                return
            self.refused += len(errors.rejects)
            for reject in errors.rejects:
                self._left_out.append(first + reject.index)
                if len(self._rejects) < MAX_STREAM_REJECTS:
                    self._rejects.append(renumber(reject, first + reject.index))
            first += len(batch)
            if messages:
                yield messages

    def merge(self, returned: Sequence[Reject]) -> tuple[Reject, ...]:
        """The first rejects of the whole stream by the caller's indices; `returned` has those of the rows sent."""
        merged = [*self._rejects, *(renumber(reject, self._caller_index(reject.index)) for reject in returned)]
        return tuple(sorted(merged, key=lambda reject: reject.index)[:MAX_STREAM_REJECTS])

    def _caller_index(self, sent: int) -> int:
        """The caller's index of the row that was sent as number `sent`: as many more as were left out before it."""
        index = sent
        for left_out in self._left_out:
            if left_out > index:
                break
            index += 1
        return index


def for_report(text: object) -> str:
    """An id or a name as a reject shows it, whatever it is: always valid UTF-8."""
    if text is None:
        return ""
    shown = text.decode(errors="backslashreplace") if isinstance(text, bytes) else str(text)
    return shown.encode(errors="backslashreplace").decode()[:255]


def contact_id_text(contact_id: str | bytes) -> str:
    """A contact id that can be sent; raises InvalidContactId for one that is not UTF-8."""
    try:
        if isinstance(contact_id, bytes):
            return contact_id.decode()
        contact_id.encode()
    except UnicodeError as error:
        raise InvalidContactId(f"contact id {contact_id!r} is not valid UTF-8") from error
    except AttributeError as error:
        raise InvalidContactId(f"contact id {contact_id!r} is not a string") from error
    return contact_id


# --- answers -----------------------------------------------------------------------------------------------


def read_contact(message: pb.Contact) -> Contact:
    fields = {name: read_field_value(value) for name, value in message.fields.items()}
    return Contact(message.contact_id, {name: value for name, value in fields.items() if value is not None})


def write_contact(contact: Contact, message: pb.Contact) -> None:
    message.contact_id = contact.contact_id
    for name, value in contact.fields.items():
        write_field_value(value, message.fields[name])


def read_rejects(messages: Iterable[pb.Reject]) -> tuple[Reject, ...]:
    return tuple(Reject(m.index, m.contact_id, m.field, m.reason, m.message) for m in messages)


def write_rejects(rejects: Sequence[Reject]) -> list[pb.Reject]:
    return [
        pb.Reject(
            index=r.index,
            contact_id=clean(r.contact_id),
            field=clean(r.field),
            reason=r.reason,
            message=clean(r.message),
        )
        for r in rejects
    ]


def clean(text: str) -> str:
    """An id of bytes that were no UTF-8 may come back with surrogates, which cannot be sent."""
    return text.encode("utf-8", "replace").decode()


def read_write_result(message: pb.UpsertContactsResponse | pb.TagContactsResponse) -> WriteResult:
    return WriteResult(
        message.generation, message.accepted, message.created, message.duplicates, read_rejects(message.rejects)
    )
