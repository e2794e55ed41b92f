"""Every error a caller can meet, typed; `service/status.py` turns each into a gRPC status.

An error has a `reason` (an UPPER_SNAKE constant that programs match on), a message for people that names the
field, row or node and says what to do, an optional `path` of the offending expression node
(`expression.conjunction.operands[2].comparison`), and `metadata` (flat strings).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum


class Kind(Enum):
    """What a caller can do about an error; one gRPC status code each."""

    INVALID = "invalid"  # the request is wrong: change it
    NOT_FOUND = "not_found"  # a named thing is not there
    EXISTS = "exists"  # a thing to be created is there already
    CONFLICT = "conflict"  # the state forbids it: change the state first
    BUSY = "busy"  # somebody else holds it: try later
    DEADLINE = "deadline"  # time ran out
    CANCELLED = "cancelled"  # the caller went away
    RESOURCE = "resource"  # full disk, full map, quota
    CORRUPT = "corrupt"  # stored bytes are damaged
    OUT_OF_RANGE = "out_of_range"  # the place asked for is gone, or not there yet


class SegidxError(Exception):
    """Base of all errors that a caller can meet."""

    kind: Kind = Kind.INVALID
    reason: str = "ERROR"

    def __init__(self, message: str, *, path: str = "", **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def at(self, path: str) -> SegidxError:
        """This error with the path of the node it concerns, unless it has one already."""
        if not self.path:
            self.path = path
        return self

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """The known names closest in spelling to `name`, best first."""
    by_fold = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), list(by_fold), n=limit, cutoff=0.5)
    return [by_fold[candidate] for candidate in close]


def _meant(names: list[str]) -> str:
    return f"did you mean {' or '.join(repr(name) for name in names)}?"


def _aside(names: list[str]) -> str:
    """What may have been meant, where the message goes on."""
    return f" ({_meant(names)})" if names else ""


# --- expressions -------------------------------------------------------------------------------------------


class InvalidExpression(SegidxError):
    """An expression that no schema could make valid."""

    reason = "INVALID_EXPRESSION"


class ExpressionSyntaxError(InvalidExpression):
    """Text that is not an expression. `line` and `column` count from 1; `expected` are readable names."""

    reason = "EXPRESSION_SYNTAX"

    def __init__(self, message: str, *, line: int, column: int, expected: tuple[str, ...] = ()) -> None:
        wanted = f"; expected {', '.join(expected)}" if expected else ""
        super().__init__(
            f"line {line}, column {column}: {message}{wanted}",
            line=line,
            column=column,
            expected=", ".join(expected),
        )
        self.line = line
        self.column = column
        self.expected = expected


class EmptyOperands(InvalidExpression):
    reason = "EMPTY_OPERANDS"


class ExpressionTooDeep(InvalidExpression):
    reason = "EXPRESSION_TOO_DEEP"


class ExpressionTooLarge(InvalidExpression):
    reason = "EXPRESSION_TOO_LARGE"


class UnfinishedExpression(InvalidExpression):
    """A node an editor has not completed, in a request that did not allow unfinished nodes."""

    reason = "UNFINISHED_EXPRESSION"


class UnknownField(SegidxError):
    reason = "UNKNOWN_FIELD"
    kind = Kind.INVALID

    def __init__(self, field: str, known: Iterable[str] = (), *, path: str = "") -> None:
        names = nearest(field, known)
        hint = f"; {_meant(names)}" if names else ""
        super().__init__(f"there is no field {field!r}{hint}", path=path, field=field, nearest=",".join(names))
        self.field = field
        self.nearest = names


class UnknownProperty(SegidxError):
    kind = Kind.INVALID
    reason = "UNKNOWN_PROPERTY"

    def __init__(self, event: str, name: str, known: Iterable[str] = ()) -> None:
        names = list(known)
        super().__init__(
            f"{event} events have no property {name!r}{_aside(nearest(name, names))}; they have {', '.join(names)}",
            event=event,
            property=name,
        )


class UnknownProductProperty(SegidxError):
    kind = Kind.INVALID
    reason = "UNKNOWN_PRODUCT_PROPERTY"

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        names = list(known)
        super().__init__(
            f"products have no property {name!r}{_aside(nearest(name, names))}; they have {', '.join(names)}",
            property=name,
        )


class ProductNotFound(SegidxError):
    kind = Kind.NOT_FOUND
    reason = "PRODUCT_NOT_FOUND"

    def __init__(self, product_id: str) -> None:
        super().__init__(f"there is no product {product_id!r} in the catalogue", product_id=product_id)


class UnknownEventType(SegidxError):
    kind = Kind.INVALID
    reason = "UNKNOWN_EVENT_TYPE"

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        names = list(known)
        super().__init__(
            f"there is no event type {name!r}{_aside(nearest(name, names))}; the types are {', '.join(names)}",
            event=name,
        )


class TypeMismatch(SegidxError):
    """An operator or a value that does not fit the field's type."""

    reason = "TYPE_MISMATCH"


class FieldNotTracked(SegidxError):
    """A question about the history of a field of which none is kept."""

    reason = "FIELD_NOT_TRACKED"


class UnknownBands(SegidxError):
    """A question about bands that the account has not declared."""

    reason = "UNKNOWN_BANDS"

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        names = list(known)
        there = f"; there are {', '.join(names)}" if names else "; none are declared (segidx bands set)"
        super().__init__(f"there are no bands {name!r}{_aside(nearest(name, names))}{there}", bands=name)


class UnknownBand(SegidxError):
    """A label that no band has."""

    reason = "UNKNOWN_BAND"

    def __init__(self, bands: str, label: str, known: Iterable[str] = ()) -> None:
        shown = ", ".join(f'"{each}"' for each in known)
        super().__init__(f"there is no band {label!r} of {bands!r}; its bands are {shown}", bands=bands, label=label)


class UnknownThreshold(SegidxError):
    """A number that is no threshold of the bands."""

    reason = "UNKNOWN_THRESHOLD"

    def __init__(self, bands: str, threshold: str, known: Iterable[str] = ()) -> None:
        super().__init__(
            f"{threshold} is no threshold of the bands {bands!r}; they are {', '.join(known)}",
            bands=bands,
            threshold=threshold,
        )


class UnknownDerived(SegidxError):
    """A derived number that the account has not declared."""

    reason = "UNKNOWN_DERIVED"

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        names = list(known)
        there = f"; there are {', '.join(names)}" if names else "; none are declared (segidx derived set)"
        super().__init__(f"there is no derived number {name!r}{_aside(nearest(name, names))}{there}", derived=name)


class PrunedHistory(SegidxError):
    """A question about events that are dropped by age, or a write of one."""

    kind = Kind.OUT_OF_RANGE
    reason = "PRUNED_HISTORY"


class SumTooLarge(SegidxError):
    """A sum of events that 64 bits do not hold."""

    kind = Kind.OUT_OF_RANGE
    reason = "SUM_TOO_LARGE"


class InvalidPattern(InvalidExpression):
    """A regular expression outside RE2's syntax."""

    reason = "INVALID_PATTERN"


# --- contacts, batches and schema --------------------------------------------------------------------------


class InvalidContactId(SegidxError):
    """An id that is empty, over 255 bytes, or not UTF-8."""

    reason = "INVALID_CONTACT_ID"


class InvalidValue(SegidxError):
    """A value outside its field's domain: NaN, infinity, too many decimals, out of range, too long, not UTF-8."""

    reason = "INVALID_VALUE"


class ContactNotFound(SegidxError):
    kind = Kind.NOT_FOUND
    reason = "CONTACT_NOT_FOUND"

    def __init__(self, contact_id: str) -> None:
        super().__init__(f"there is no contact {contact_id!r}", contact_id=contact_id)


class InvalidSchema(SegidxError):
    """A field that cannot be declared: bad name, bad scale, too many fields."""

    reason = "INVALID_SCHEMA"


class SchemaConflict(SegidxError):
    """A schema change that would change the type or the scale of a field."""

    kind = Kind.CONFLICT
    reason = "SCHEMA_CONFLICT"


class TooManyRejects(SegidxError):
    """An import that refuses to go on because too many of its rows are bad."""

    reason = "TOO_MANY_REJECTS"


class InvalidSource(SegidxError):
    """A file to import that cannot be read: broken Parquet, no such column, unknown format."""

    reason = "INVALID_SOURCE"


class RaggedRow(SegidxError):
    """A line of a CSV file that has too many or too few cells, or a row that cannot be told from such a line."""

    reason = "RAGGED_ROW"


class InvalidArgument(SegidxError):
    """An argument out of its documented range."""

    reason = "INVALID_ARGUMENT"


# --- accounts and data directories -------------------------------------------------------------------------


class InvalidAccountName(SegidxError):
    reason = "INVALID_ACCOUNT_NAME"


class UnknownAccount(SegidxError):
    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_ACCOUNT"

    def __init__(self, account: str, known: Iterable[str] = ()) -> None:
        super().__init__(
            f"there is no account {account!r}; create it with `segidx account create {account}`",
            account=account,
        )


class AccountExists(SegidxError):
    kind = Kind.EXISTS
    reason = "ACCOUNT_EXISTS"

    def __init__(self, account: str) -> None:
        super().__init__(f"account {account!r} exists already", account=account)


class DataDirectoryNotFound(SegidxError):
    kind = Kind.NOT_FOUND
    reason = "DATA_DIRECTORY_NOT_FOUND"


class NotADataDirectory(SegidxError):
    """A directory that is not empty and was not made by segidx."""

    kind = Kind.CONFLICT
    reason = "NOT_A_DATA_DIRECTORY"


class NewerFormat(SegidxError):
    kind = Kind.CONFLICT
    reason = "NEWER_FORMAT"


class AlreadyOpenForWriting(SegidxError):
    kind = Kind.BUSY
    reason = "ALREADY_OPEN_FOR_WRITING"


class AlreadyOpen(SegidxError):
    """This process has it open; LMDB must not open a file twice in one process."""

    kind = Kind.CONFLICT
    reason = "ALREADY_OPEN"


class ReadOnly(SegidxError):
    kind = Kind.CONFLICT
    reason = "READ_ONLY"


class Closed(SegidxError):
    kind = Kind.CONFLICT
    reason = "CLOSED"


class StorageFull(SegidxError):
    """The disk or the map is full; nothing of the batch was written."""

    kind = Kind.RESOURCE
    reason = "STORAGE_FULL"


class DiskFailed(StorageFull):
    """The disk failed in the middle of a commit: LMDB refuses everything until the database is opened again."""

    reason = "DISK_FAILED"


class CorruptData(SegidxError):
    kind = Kind.CORRUPT
    reason = "CORRUPT_DATA"


class GenerationExpired(SegidxError):
    """Changes are asked for from a generation that is older than the retained ones: read everything again."""

    kind = Kind.OUT_OF_RANGE
    reason = "GENERATION_EXPIRED"


class GenerationNotReached(SegidxError):
    """A read asked for a generation that was not committed within its time."""

    kind = Kind.CONFLICT
    reason = "GENERATION_NOT_REACHED"


class WriterUnavailable(SegidxError):
    """The writing process is gone or starting again; nothing is known of a write in flight: send it again with its
    batch key."""

    kind = Kind.BUSY
    reason = "WRITER_UNAVAILABLE"


# --- evaluation --------------------------------------------------------------------------------------------


class DeadlineExceeded(SegidxError):
    kind = Kind.DEADLINE
    reason = "DEADLINE_EXCEEDED"


class Cancelled(SegidxError):
    kind = Kind.CANCELLED
    reason = "CANCELLED"


class ServerUnavailable(SegidxError):
    """No server answered (client side)."""

    kind = Kind.BUSY
    reason = "SERVER_UNAVAILABLE"
