"""Fields, schemas and accounts: what a contact may carry, and how an account reads time and money."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from zoneinfo import ZoneInfo

from segidx.model.errors import (
    InvalidAccountName,
    InvalidArgument,
    InvalidSchema,
    SchemaConflict,
    UnknownField,
)

MAX_FIELDS = 4096
MAX_SCALE = 9
MAX_NAME_BYTES = 64
MAX_CONTACT_ID_BYTES = 255
MAX_STRING_BYTES = 2048  # of a category, a tag or a text
# |number| in minor units stays below this, so that sums of two and codes offset by one fit in 64 bits.
MAX_MINOR_UNITS = 2**62 - 1

DEFAULT_ACCOUNT = "default"
_ACCOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class FieldType(Enum):
    """The types of contact fields. The value is the name used in text, TOML and on the command line."""

    TAGS = "tags"  # a set of strings
    CATEGORY = "category"  # one string of few distinct ones
    NUMBER = "number"  # a decimal with a fixed scale
    TIMESTAMP = "timestamp"  # an instant, UTC, milliseconds
    DATE = "date"  # a local calendar date
    BOOL = "bool"
    TEXT = "text"  # one string of many distinct ones

    @property
    def is_string(self) -> bool:
        """One string a contact (category and text): compared with strings, matched with patterns."""
        return self in (FieldType.CATEGORY, FieldType.TEXT)

    @property
    def is_time(self) -> bool:
        return self in (FieldType.TIMESTAMP, FieldType.DATE)

    @property
    def may_be_tracked(self) -> bool:
        """Whether changes of such a field can be kept: its values are few, so that history repeats them."""
        return self in (FieldType.CATEGORY, FieldType.BOOL, FieldType.TAGS)


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field. `scale` is the number of decimals of a NUMBER (0 to 9) and 0 for other types. Of a `tracked`
    field (CATEGORY, BOOL or TAGS) every change is kept with its time."""

    name: str
    type: FieldType
    scale: int = 0
    tracked: bool = False

    def __post_init__(self) -> None:
        if not self.name or len(self.name.encode(errors="replace")) > MAX_NAME_BYTES:
            raise InvalidSchema(
                f"field name {self.name!r} must have 1 to {MAX_NAME_BYTES} bytes of UTF-8", field=self.name
            )
        if self.name != self.name.strip() or any(unicodedata.category(c)[0] == "C" or c == "`" for c in self.name):
            raise InvalidSchema(
                f"field name {self.name!r} must not begin or end with a space, nor contain control characters"
                " or a backtick",
                field=self.name,
            )
        if not 0 <= self.scale <= MAX_SCALE or (self.scale and self.type is not FieldType.NUMBER):
            raise InvalidSchema(
                f"field {self.name!r}: scale is the decimals of a number, 0 to {MAX_SCALE}, not {self.scale}",
                field=self.name,
            )
        if self.tracked and not self.type.may_be_tracked:
            raise InvalidSchema(
                f"field {self.name!r} is a {self.type.value} field, which cannot be tracked; category, bool and tags"
                " fields can",
                field=self.name,
            )


@dataclass(frozen=True)
class Schema:
    """The declared fields of an account, by name, in order of declaration. Fields are added and begin to be tracked;
    they are never retyped, and never cease to be tracked."""

    fields: tuple[Field, ...] = ()
    _by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        by_name = {f.name: f for f in self.fields}
        if len(by_name) != len(self.fields):
            raise InvalidSchema("a field is declared twice")
        if len(self.fields) > MAX_FIELDS:
            raise InvalidSchema(f"{len(self.fields)} fields are more than {MAX_FIELDS}")
        object.__setattr__(self, "_by_name", by_name)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def get(self, name: str) -> Field | None:
        return self._by_name.get(name)

    def __getitem__(self, name: str) -> Field:
        """The field of that name; raises UnknownField with the nearest names."""
        found = self._by_name.get(name)
        if found is None:
            raise UnknownField(name, self._by_name)
        return found

    def of_type(self, type_: FieldType) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.type is type_)

    def extended(self, fields: Iterable[Field]) -> Schema:
        """This schema with more fields. Declaring a field again as it is changes nothing; with another type or scale it
        is a SchemaConflict, since data of the old type is stored. Declared again as tracked it is tracked from then on;
        without, it stays as it is, since what was kept of its history would end without a word."""
        added: list[Field] = []
        tracked: set[str] = set()
        for new in fields:
            old = self._by_name.get(new.name)
            if old is None:
                added.append(new)
            elif (old.type, old.scale) == (new.type, new.scale):
                if new.tracked and not old.tracked:
                    tracked.add(new.name)
            else:
                raise SchemaConflict(
                    f"field {new.name!r} is {describe(old)}; it cannot become {describe(new)}:"
                    " declare a new field and import into it",
                    field=new.name,
                    declared=describe(old),
                    requested=describe(new),
                )
        if not added and not tracked:
            return self
        return Schema((*(replace(f, tracked=True) if f.name in tracked else f for f in self.fields), *added))


def describe(f: Field) -> str:
    """A field's type: `number(2)`, `category`."""
    return f"number({f.scale})" if f.type is FieldType.NUMBER else f.type.value


def declaration(f: Field) -> str:
    """All that is declared of a field but its name, as written on the command line: `category tracked`."""
    return f"{describe(f)} tracked" if f.tracked else describe(f)


_TYPE_TEXT = re.compile(r"([a-z]+)(?:\(([0-9]{1,3})\))?( +tracked)?")


def parse_field(name: str, type_text: str) -> Field:
    """A field from its name and type text (`number(2)`, `date`, `category tracked`). Raises InvalidSchema."""
    match = _TYPE_TEXT.fullmatch(type_text.strip().lower())
    known = {t.value: t for t in FieldType}
    if match is None or match[1] not in known:
        raise InvalidSchema(
            f"field {name!r}: {type_text!r} is not a type; the types are {', '.join(known)}, and number(DECIMALS);"
            " behind category, bool and tags may stand 'tracked'",
            field=name,
        )
    return Field(name, known[match[1]], int(match[2] or 0), match[3] is not None)


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account: its name, IANA time zone, ISO 4217 currency, and the decimals of its money."""

    name: str
    zone: str = "UTC"
    currency: str = "USD"
    money_scale: int = 2

    def __post_init__(self) -> None:
        check_account_name(self.name)
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError) as error:
            raise InvalidArgument(
                f"{self.zone!r} is not an IANA time zone such as 'Europe/Warsaw'", zone=self.zone
            ) from error
        if not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise InvalidArgument(
                f"{self.currency!r} is not a currency of three capital letters such as 'EUR'",
                currency=self.currency,
            )
        if not 0 <= self.money_scale <= MAX_SCALE:
            raise InvalidArgument(f"money scale {self.money_scale} is not within 0 to {MAX_SCALE}")

    @property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


def check_account_name(name: str) -> str:
    """The name, if it may name an account (and so a directory); raises InvalidAccountName."""
    if not _ACCOUNT_NAME.fullmatch(name):
        raise InvalidAccountName(
            f"account name {name!r} must be 1 to 63 of a-z, 0-9, '-' and '_', beginning with a letter or digit",
            account=name,
        )
    return name
