"""The oracle: what every expression answers, in plain Python sets, lists, dicts, Fractions and datetimes.

It is slow and obvious on purpose and shares nothing with the engine but the values of `segidx/model`: no plan, no
bitmap, no kernel, and its own calendar (`oracle_time`). It must not import `segidx/plan`, `exec`, `kernels` or `store`.

Readings chosen where PRODUCT.md is silent (a test that meets another reading has found a question, not yet a bug):

 1. Contact ids are taken byte for byte, not normalised. Strings and tags are NFC; their length is that after NFC.
 2. Bad rows are rejected first; of the valid rows of one id the last stands and the earlier ones are duplicates. So a
    bad last row does not take an earlier good one with it, and a bad earlier row is a reject, not a duplicate.
 3. An undeclared field rejects the row (UNKNOWN_FIELD), a value of another type too (TYPE_MISMATCH), a value outside
    the domain too (INVALID_VALUE). A row without fields makes the contact. An empty set of tags clears the field.
 4. A number has too many decimals if its value has: 1.500 is a legal number(2). A bool is not a number.
 5. Tag operations reject unknown contacts (CONTACT_NOT_FOUND) and bad tags; the rest stands. They remove, then add;
    `replace` goes alone. A bad tag in the request refuses the request, since it concerns every row.
 6. Types are checked in the whole tree before anything is evaluated, so `nobody and <ill-typed>` is an error.
 7. Constants may be compared with constants (`1 < 2` holds for everyone), a date with an instant only as a timestamp
    field with a date constant, on either side. A timestamp and a date field are different kinds.
 8. A timestamp's local date is that of the wall clock, also where the clock was set back over midnight and dates
    repeat; a window written in dates begins at the (earlier) midnight instant. Local dates may leave years 1 to 9999.
 9. A gap moves a local time forward by the gap's length (02:30 becomes 03:30).
10. A window's end beyond years 1 to 9999 is as far away as it says: the calendar goes on, nothing is clamped.
11. Age is rounded down for the future too: born tomorrow is -1.
12. An anniversary is that of any year, before birth too. Its window is one of days: hours and instants are a type
    error on timestamp fields too; a missing end is InvalidExpression.
13. `ci` folds case wholly (casefold, then NFC) in =, in, contains, prefix, suffix and tags. On `matches` it is the
    regular expression's own i flag, since patterns cannot be folded.
14. `$` is the very end of the text and `.` no newline, as in RE2. The oracle reads only what `strategies` writes.
15. Equality of bools only; ordering and `between` refuse them. `between` is `>= low and <= high`, missing if any is.
16. A flag of a channel that was never given is False. An upsert that leaves an address other than the present one
    clears the channel's hard bounce; one that takes the address away, or gives the same again, does not.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from segidx.model.errors import (
    ContactNotFound,
    InvalidArgument,
    InvalidPattern,
    SegidxError,
    TypeMismatch,
)
from segidx.model.expression import (
    And,
    Anniversary,
    AtLeast,
    Between,
    Comparison,
    Everyone,
    Expression,
    HasTags,
    In,
    InWindow,
    IsSet,
    Nobody,
    Not,
    OnChannel,
    Operator,
    Or,
    TagMode,
    TextMatch,
    TextOperator,
    check,
)
from segidx.model.results import FieldData, Reject
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Age, Arithmetic, ArithmeticOperator, Constant, DaysSince, FieldValue, Negative, Value
from segidx.model.values import scalar as to_scalar
from segidx.model.writes import ADDRESS_FIELDS, Channel, ChannelFlag
from segidx.testing import oracle_time
from segidx.testing.oracle_channels import Flags, is_on_channel, set_flags
from segidx.testing.oracle_rows import check_contact_id, clean_tags, clean_value
from segidx.testing.oracle_types import check_types

Row = tuple[str, Mapping[str, object]]
# What a value is while it is compared: numbers are exact fractions; None is missing.
Evaluated = Fraction | str | bool | date | datetime | None

_HOLDS = {
    Operator.EQ: operator.eq,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}


@dataclass(frozen=True, slots=True)
class OracleResult:
    """What a batch did: rows that stand, contacts made, rows that a later one replaced, rows refused."""

    accepted: int
    created: int
    duplicates: int
    rejects: tuple[Reject, ...] = ()


class Oracle:
    """One account's contacts in a dict, and the answer to every expression about them.

    `contacts` maps each contact id to its set fields (tags as a non-empty frozenset, instants in UTC); `flags` those
    that ever had one to the flags that are True.
    """

    def __init__(self, schema: Schema, zone: str) -> None:
        self.schema = schema
        self.local = oracle_time.LocalTime(zone)
        self.contacts: dict[str, dict[str, FieldData]] = {}
        self.flags: dict[str, Flags] = {}

    # --- writing -------------------------------------------------------------------------------------------

    def declare(self, fields: Iterable[Field]) -> None:
        """Add fields. Raises SchemaConflict where one is declared otherwise."""
        self.schema = self.schema.extended(fields)

    def upsert(self, rows: Sequence[Row]) -> OracleResult:
        """Apply rows (contact id, fields): a value replaces, None clears, an absent field stays as it is."""
        rejects: list[Reject] = []
        last: dict[str, dict[str, FieldData | None]] = {}
        duplicates = 0
        for index, (contact_id, fields) in enumerate(rows):
            try:
                name = ""
                check_contact_id(contact_id)
                clean: dict[str, FieldData | None] = {}
                for name, value in fields.items():
                    clean[name] = clean_value(self.schema[name], value)
            except SegidxError as error:
                rejects.append(Reject(index, contact_id, name, error.reason, error.message))
                continue
            duplicates += contact_id in last
            last[contact_id] = clean
        created = 0
        for contact_id, clean in last.items():
            created += contact_id not in self.contacts
            contact = self.contacts.setdefault(contact_id, {})
            for channel, address in ADDRESS_FIELDS.items():
                if clean.get(address) not in (None, contact.get(address)):
                    self.flags.get(contact_id, set()).discard((channel, ChannelFlag.HARD_BOUNCED))
            for name, value in clean.items():
                if value is None:
                    contact.pop(name, None)
                else:
                    contact[name] = value
        return OracleResult(len(last), created, duplicates, tuple(rejects))

    def tag(
        self,
        ids: Sequence[str],
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        replace: Iterable[str] | None = None,
        field: str = "tags",
    ) -> OracleResult:
        """Add and remove tags of contacts, or replace all of them. Raises UnknownField, TypeMismatch, InvalidValue."""
        declared = self.schema[field]
        if declared.type is not FieldType.TAGS:
            raise TypeMismatch(f"field {field!r} is {declared.type.value}, not tags", field=field)
        added, removed = clean_tags(field, add), clean_tags(field, remove)
        if replace is not None and (added or removed):
            raise InvalidArgument("replace all tags, or add and remove some, not both")
        rejects = []
        for index, contact_id in enumerate(ids):
            contact = self.contacts.get(contact_id)
            if contact is None:
                error = ContactNotFound(contact_id)
                rejects.append(Reject(index, contact_id, "", error.reason, error.message))
                continue
            held = contact.get(field, frozenset())
            assert isinstance(held, frozenset)
            now = (held - removed) | added if replace is None else clean_tags(field, replace)
            if now:
                contact[field] = now
            else:
                contact.pop(field, None)
        found = {contact_id for contact_id in ids if contact_id in self.contacts}
        return OracleResult(len(found), 0, len(ids) - len(rejects) - len(found), tuple(rejects))

    def set_channels(self, contact_id: str, channels: Mapping[Channel, Mapping[ChannelFlag, bool]]) -> None:
        """Set (True) and clear (False) flags of a contact, as `ContactWrite.channels` does after its fields; flags
        that are not named stay. Raises ContactNotFound."""
        if contact_id not in self.contacts:
            raise ContactNotFound(contact_id)
        set_flags(self.flags.setdefault(contact_id, set()), channels)

    # --- asking --------------------------------------------------------------------------------------------

    def count(self, expression: Expression, evaluated_at: datetime) -> int:
        """How many contacts the expression holds for at an instant."""
        return len(self.members(expression, evaluated_at))

    def members(self, expression: Expression, evaluated_at: datetime) -> set[str]:
        """The ids of the contacts that the expression holds for at an instant (aware, whole milliseconds).

        Raises InvalidExpression and its kinds for what no schema makes valid, UnknownField and TypeMismatch for what
        this schema does not.
        """
        check(expression)
        check_types(expression, self.schema)
        instant = to_scalar(evaluated_at)
        assert isinstance(instant, datetime)
        return self._members(expression, oracle_time.millis(instant))

    def _members(self, node: Expression, at: int) -> set[str]:
        everyone = set(self.contacts)
        match node:
            case Everyone():
                return everyone
            case Nobody():
                return set()
            case Not(operand=operand):
                return everyone - self._members(operand, at)
            case And(operands=operands):
                return everyone.intersection(*(self._members(operand, at) for operand in operands))
            case Or(operands=operands):
                return set().union(*(self._members(operand, at) for operand in operands))
            case AtLeast(count=count, operands=operands):
                audiences = [self._members(operand, at) for operand in operands]
                return {c for c in everyone if sum(c in audience for audience in audiences) >= count}
            case OnChannel(channel=channel, state=state):
                return {c for c in everyone if is_on_channel(self.flags.get(c, set()), channel, state)}
        holds = self._predicate(node, at)
        return {contact_id for contact_id, contact in self.contacts.items() if holds(contact)}

    def _predicate(self, node: Expression, at: int) -> Callable[[dict[str, FieldData]], bool]:
        """The condition that a leaf puts on one contact."""
        match node:
            case IsSet(field=field):
                return lambda contact: field in contact
            case HasTags():
                return lambda contact: _has_tags(node, contact.get(node.field, frozenset()))
            case TextMatch():
                return _text_condition(node)
            case Comparison():
                return lambda contact: self._compare(
                    self._value(node.left, contact, at), node.operator, self._value(node.right, contact, at), node.ci
                )
            case Between(value=value, low=low, high=high):
                return lambda contact: (
                    self._compare(self._value(value, contact, at), Operator.GE, self._value(low, contact, at))
                    and self._compare(self._value(value, contact, at), Operator.LE, self._value(high, contact, at))
                )
            case In(value=value, options=options, ci=ci):
                constants = [self._value(Constant(option), {}, at) for option in options]
                return lambda contact: any(
                    self._compare(self._value(value, contact, at), Operator.EQ, constant, ci) for constant in constants
                )
            case InWindow(field=field, window=window) if self.schema[field].type is FieldType.DATE:
                days = oracle_time.window_of_days(window, self.local.day(at))
                return lambda contact: (
                    (born := self._day(field, contact)) is not None and oracle_time.within(born, days)
                )
            case InWindow(field=field, window=window):
                instants = oracle_time.window_of_instants(window, at, self.local)
                return lambda contact: (
                    isinstance(when := contact.get(field), datetime)
                    and oracle_time.within(oracle_time.millis(when), instants)
                )
            case Anniversary(field=field, window=window):
                wanted = oracle_time.window_of_days(window, self.local.day(at))
                return lambda contact: (
                    (born := self._day(field, contact)) is not None and oracle_time.has_anniversary_within(born, wanted)
                )
        raise AssertionError(f"no such node: {node!r}")

    def _day(self, field: str, contact: Mapping[str, FieldData]) -> int | None:
        """The local day of a date or timestamp field."""
        when = contact.get(field)
        if when is None:
            return None
        assert isinstance(when, date)
        return self._day_of(when)

    def _day_of(self, when: date) -> int:
        return self.local.day(oracle_time.millis(when)) if isinstance(when, datetime) else when.toordinal()

    def _value(self, node: Value, contact: Mapping[str, FieldData], at: int) -> Evaluated:
        """A value of one contact; None where it is missing."""
        match node:
            case Constant(value=constant):
                return _exact(constant)
            case FieldValue(field=field):
                return _exact(contact.get(field))
            case Age(field=field):
                born = self._day(field, contact)
                return None if born is None else Fraction(oracle_time.age(born, self.local.day(at)))
            case DaysSince(field=field):
                then = self._day(field, contact)
                return None if then is None else Fraction(self.local.day(at) - then)
            case Negative(operand=operand):
                number = self._value(operand, contact, at)
                return -number if isinstance(number, Fraction) else None
            case Arithmetic(operator=operator, left=left, right=right):
                return _arithmetic(operator, self._value(left, contact, at), self._value(right, contact, at))
        raise AssertionError(f"no such value: {node!r}")

    def _compare(self, left: Evaluated, operator: Operator, right: Evaluated, ci: bool = False) -> bool:
        if operator is Operator.NE:
            return not self._compare(left, Operator.EQ, right, ci)
        if left is None or right is None:
            return False
        a, b = self._comparable(left, right, ci)
        return bool(_HOLDS[operator](a, b))

    def _comparable(self, left: Evaluated, right: Evaluated, ci: bool) -> tuple[Any, Any]:
        """Both sides as things Python orders as we do: bytes of strings, local days where one side is a date."""
        if isinstance(left, str) and isinstance(right, str):
            return (fold(left), fold(right)) if ci else (left.encode(), right.encode())
        if isinstance(left, date) and isinstance(right, date):
            if isinstance(left, datetime) and isinstance(right, datetime):
                return left, right
            return self._day_of(left), self._day_of(right)
        return left, right


# --- strings -----------------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """Text as `ci` compares it: NFC, case folded, and NFC again, since folding may decompose."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _has_tags(node: HasTags, held: FieldData) -> bool:
    assert isinstance(held, frozenset)
    have = {fold(tag) for tag in held} if node.ci else held
    want = [fold(tag) for tag in node.tags] if node.ci else node.tags
    if node.mode is TagMode.ALL:
        return all(tag in have for tag in want)
    some = any(tag in have for tag in want)
    return some if node.mode is TagMode.ANY else not some


def _text_condition(node: TextMatch) -> Callable[[dict[str, FieldData]], bool]:
    if node.operator is TextOperator.MATCHES:
        regex = compile_regex(node.pattern, ci=node.ci)
        return lambda contact: isinstance(text := contact.get(node.field), str) and regex.search(text) is not None
    pattern = fold(node.pattern) if node.ci else node.pattern

    def holds(contact: dict[str, FieldData]) -> bool:
        text = contact.get(node.field)
        if not isinstance(text, str):
            return False
        text = fold(text) if node.ci else text
        if node.operator is TextOperator.STARTS_WITH:
            return text.startswith(pattern)
        return text.endswith(pattern) if node.operator is TextOperator.ENDS_WITH else pattern in text

    return holds


def compile_regex(pattern: str, *, ci: bool = False) -> re.Pattern[str]:
    r"""The Python regular expression that means what RE2 means by the safe subset: literals, `.`, classes, groups,
    alternatives, greedy repetition, `^`, `$` and the ASCII classes `\d` and `\w`. Raises InvalidPattern."""
    translated = re.sub(
        r"\\(.)|(\[(?:\\.|[^\]\\])*\])|(\$)",
        lambda m: {"d": "[0-9]", "w": "[0-9A-Za-z_]"}.get(m[1], m[0]) if m[1] else m[2] or r"\Z",
        pattern,
    )
    try:
        return re.compile(translated, re.IGNORECASE if ci else 0)
    except re.error as error:
        raise InvalidPattern(f"pattern {pattern!r}: {error}") from error


# --- numbers -----------------------------------------------------------------------------------------------


def _exact(value: FieldData | None) -> Evaluated:
    assert not isinstance(value, frozenset)
    return value if value is None or isinstance(value, bool | str | date) else Fraction(value)


def _arithmetic(operator: ArithmeticOperator, left: Evaluated, right: Evaluated) -> Fraction | None:
    if not isinstance(left, Fraction) or not isinstance(right, Fraction):
        return None
    match operator:
        case ArithmeticOperator.ADD:
            return left + right
        case ArithmeticOperator.SUBTRACT:
            return left - right
        case ArithmeticOperator.MULTIPLY:
            return left * right
    return left / right if right else None
