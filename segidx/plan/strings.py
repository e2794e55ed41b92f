"""Predicates on strings become sets of dictionary codes, and those postings or a column scan, whichever reads less.

A dictionary is scanned with Arrow's kernels (regular expressions are RE2: linear time), in steps, so that deadlines
hold on dictionaries of millions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.model.errors import InvalidPattern
from segidx.model.expression import Operator, TextOperator
from segidx.model.results import Estimate
from segidx.model.schema import Field, FieldType
from segidx.plan.context import BindContext
from segidx.plan.nodes import Plan, PostingScan, TableScan, any_of, nothing
from segidx.store.snapshot import Snapshot

_STEP = 1 << 16
# Bytes that reading one posting costs beyond its contents: header, directory, cache misses.
_POSTING_OVERHEAD = 256
# Up to so many values are looked up one by one, more in bulk.
_FEW = 32

Codes = npt.NDArray[np.int64]
Matcher = Callable[[pa.Array], pa.Array]


class Strings(Protocol):
    """Distinct strings by code."""

    def __len__(self) -> int: ...

    def slice(self, first: int, last: int) -> pa.StringArray:
        """Those of the codes [first, last)."""
        ...

    def find(self, strings: pa.Array, /) -> Codes:
        """The code of each string, -1 where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Dictionary:
    """The strings that a condition asks about, by code; `find_one` gives the code of one, or None."""

    strings: Strings
    find_one: Callable[[str], int | None]


class _Table:
    """A string table of the snapshot, which is opened if more is asked of it than the code of a string."""

    def __init__(self, snapshot: Snapshot, table: int) -> None:
        self._snapshot = snapshot
        self._table = table

    def __len__(self) -> int:
        return len(self._snapshot.table(self._table))

    def slice(self, first: int, last: int) -> pa.StringArray:
        return self._snapshot.table(self._table).slice(first, last)

    def find(self, strings: pa.Array) -> Codes:
        return self._snapshot.table(self._table).find(strings)

    def find_one(self, text: str) -> int | None:
        return self._snapshot.code_in(self._table, text)


def table_dictionary(context: BindContext, table: int) -> Dictionary:
    """The strings of a table of the store."""
    strings = _Table(context.snapshot, table)
    return Dictionary(strings, strings.find_one)


def dictionary_of(context: BindContext, field: Field) -> Dictionary:
    """The values of a category, text or tags field."""
    return table_dictionary(context, context.field_id(field))


def fold(text: str) -> str:
    """The form in which strings are compared when case is ignored."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _fold_all(strings: pa.Array) -> pa.Array:
    return pa.array([fold(s) for s in strings.to_pylist()], pa.string())


def equal_codes(context: BindContext, dictionary: Dictionary, wanted: Sequence[str], *, ci: bool) -> Codes:
    """Codes of the values equal to one of `wanted`, ascending."""
    if ci:
        folded = pa.array([fold(w) for w in wanted], pa.string())
        return matching_codes(context, dictionary, lambda strings: pc.is_in(_fold_all(strings), folded))
    if len(wanted) <= _FEW:
        few = {dictionary.find_one(text) for text in wanted} - {None}
        return np.array(sorted(few), np.int64)  # type: ignore[type-var]
    codes = dictionary.strings.find(pa.array(list(wanted), pa.string()))
    return np.unique(codes[codes >= 0])


def compared_codes(context: BindContext, dictionary: Dictionary, operator: Operator, bound: str) -> Codes:
    """Codes of values before or after `bound`, byte for byte."""
    compare = {
        Operator.LT: pc.less,
        Operator.LE: pc.less_equal,
        Operator.GT: pc.greater,
        Operator.GE: pc.greater_equal,
    }[operator]
    limit = pa.scalar(bound.encode(), pa.binary())
    return matching_codes(context, dictionary, lambda strings: compare(strings.cast(pa.binary()), limit))


def text_codes(
    context: BindContext, dictionary: Dictionary, operator: TextOperator, pattern: str, *, ci: bool
) -> Codes:
    """Codes of values that contain, start with, end with or match the pattern."""
    return matching_codes(context, dictionary, matcher(operator, pattern, ci=ci))


def matcher(operator: TextOperator, pattern: str, *, ci: bool) -> Matcher:
    """A function from strings to bools. Raises InvalidPattern for a regular expression that RE2 refuses."""
    if operator is TextOperator.MATCHES:
        try:
            pc.match_substring_regex(pa.array([""]), pattern=pattern, ignore_case=ci)
        except (pa.ArrowInvalid, UnicodeEncodeError) as error:
            # Arrow wraps RE2's words: "Invalid regular expression: missing ): (".
            raise InvalidPattern(
                f"{pattern!r} is not a regular expression that RE2 takes: {_re2_words(str(error))}", pattern=pattern
            ) from error
        return lambda strings: pc.match_substring_regex(strings, pattern=pattern, ignore_case=ci)
    if operator is TextOperator.LIKE:
        regex = _path_pattern(fold(pattern) if ci else pattern)
        return lambda strings: pc.match_substring_regex(_paths(_fold_all(strings) if ci else strings), pattern=regex)
    compare = {
        TextOperator.CONTAINS: pc.match_substring,
        TextOperator.STARTS_WITH: pc.starts_with,
        TextOperator.ENDS_WITH: pc.ends_with,
    }[operator]
    if ci:
        folded = fold(pattern)
        return lambda strings: compare(_fold_all(strings), pattern=folded)
    return lambda strings: compare(strings, pattern=pattern)


# As in RFC 3986, appendix B: scheme and authority before the path, query and fragment behind it.
_SPECIAL = frozenset(r"\.+?()[]{}|^$")
_BEFORE_PATH = r"\A(?:[A-Za-z][A-Za-z0-9+.\-]*:)?(?://[^/?#]*)?"
_BEHIND_PATH = r"(?s)[?#].*\z"


def _paths(urls: pa.Array) -> pa.Array:
    """The path of each url, `/` where it is empty."""
    paths = pc.replace_substring_regex(urls, pattern=_BEFORE_PATH, replacement="", max_replacements=1)
    paths = pc.replace_substring_regex(paths, pattern=_BEHIND_PATH, replacement="")
    return pc.if_else(pc.equal(paths, ""), "/", paths)


def _path_pattern(like: str) -> str:
    """The regular expression of the paths that a pattern of `like` matches."""
    pieces = re.split(r"(\*\*|\*)", like)
    wild = {"**": ".*", "*": "[^/]*"}
    return rf"(?s)\A{''.join(wild.get(piece) or _literal(piece) for piece in pieces)}\z"


def _literal(text: str) -> str:
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in text)


def _re2_words(message: str) -> str:
    return re.sub(r"^Invalid regular expression:\s*", "", message)


def matching_codes(context: BindContext, dictionary: Dictionary, matches: Matcher) -> Codes:
    """Codes whose string matches, ascending. Looks at the deadline between steps."""
    found = []
    for first in range(0, len(dictionary.strings), _STEP):
        context.check_stop()
        strings = dictionary.strings.slice(first, min(first + _STEP, len(dictionary.strings)))
        mask = matches(strings).to_numpy(zero_copy_only=False)
        found.append(np.flatnonzero(mask).astype(np.int64) + first)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def plan_codes(
    context: BindContext, field: Field, codes: Codes, path: str, *, sought: str, text: str | None = None
) -> Plan:
    """The contacts that hold one of the ascending codes: an OR of postings, or a scan of the column.

    `sought` says for what reason nobody was found; `text` is the string of a sole code, where it is known.
    """
    if len(codes) == 1:
        return _plan_code(context, field, int(codes[0]), path, text)
    if len(codes):
        held, kept = _statistics(context, field, codes)
        codes, held, kept = codes[held > 0], held[held > 0], kept[held > 0]
    if not len(codes):
        return nothing(f"no contact has {field.name} {sought}", path)
    field_id = context.field_id(field)
    containers = -(-context.snapshot.size >> 16)
    posting_bytes = int(np.minimum(2 * held, 8192 * containers).sum()) + _POSTING_OVERHEAD * len(codes)
    if field.type is FieldType.TAGS or (kept.all() and posting_bytes <= _column_bytes(context, field)):
        strings = context.snapshot.dictionary(field).get(codes.astype(np.uint32)).to_pylist()
        scans = [
            PostingScan(_exact(count), path, field_id, code, f'{field.name} "{value}"')
            for code, count, value in zip(codes.tolist(), held.tolist(), strings, strict=True)
        ]
        return scans[0] if len(scans) == 1 else any_of(scans, context.total, path)
    base = int(codes[0])
    bits = np.zeros(int(codes[-1]) - base + 1, np.uint8)
    bits[codes - base] = 1
    return TableScan(
        _exact(int(held.sum())), path, field_id, base, np.packbits(bits, bitorder="little").tobytes(), field.name
    )


def _plan_code(context: BindContext, field: Field, code: int, path: str, text: str | None) -> Plan:
    """The contacts that hold one code."""
    field_id = context.field_id(field)
    count = context.snapshot.value_count(field_id, code)
    label = f'{field.name} "{context.snapshot.dictionary(field).get_one(code) if text is None else text}"'
    if not count:
        return nothing(f"no contact has {label}", path)
    if context.snapshot.has_posting(field, code):
        return PostingScan(_exact(count), path, field_id, code, label)
    return TableScan(_exact(count), path, field_id, code, b"\x01", label)


def _statistics(
    context: BindContext, field: Field, codes: Codes
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(contacts that hold each code, whether it has a posting)."""
    snapshot = context.snapshot
    if len(codes) <= _FEW:
        field_id = context.field_id(field)
        listed = codes.tolist()
        held = np.array([snapshot.value_count(field_id, code) for code in listed], np.int64)
        return held, np.array([snapshot.has_posting(field, code) for code in listed], np.bool_)
    counts, kept = snapshot.value_counts(field)
    return counts[codes].astype(np.int64), kept[codes]


def _column_bytes(context: BindContext, field: Field) -> int:
    """Bytes that a scan of a coded column reads."""
    distinct = len(context.snapshot.dictionary(field))
    width = 1 if distinct < 255 else 2 if distinct < 65_535 else 4
    return context.snapshot.size * width


def _exact(count: int) -> Estimate:
    return Estimate(count, count, count)
