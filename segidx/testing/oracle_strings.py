"""Strings, by the oracle: their case, tags, and the text conditions. It must not import anything but the model and the
oracle's other parts. The readings chosen are in the list of `oracle`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from segidx.model.errors import InvalidPattern
from segidx.model.expression import Expression, HasTags, IsSet, TagMode, TextMatch, TextOperator, values_of
from segidx.model.results import FieldData
from segidx.model.values import FieldValue
from segidx.testing.oracle_events import Subject
from segidx.testing.oracle_urls import is_like, path_of


def fold(text: str) -> str:
    """Text as `ci` compares it: NFC, case folded, and NFC again, since folding may decompose."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def has_tags(node: HasTags, held: FieldData) -> bool:
    """Whether the tags that a contact has are as wanted."""
    assert isinstance(held, frozenset)
    have = {fold(tag) for tag in held} if node.ci else held
    want = [fold(tag) for tag in node.tags] if node.ci else node.tags
    if node.mode is TagMode.ALL:
        return all(tag in have for tag in want)
    some = any(tag in have for tag in want)
    return some if node.mode is TagMode.ANY else not some


def for_one_of_the_tags(node: Expression, holds: Callable[[Subject], bool]) -> Callable[[Subject], bool]:
    """The condition of a leaf on a property that may have several values: it holds where it does for one of them."""
    names = {v.field for v in values_of(node) if isinstance(v, FieldValue)}
    if isinstance(node, IsSet | TextMatch):
        names = {node.field}

    def of_each(subject: Subject) -> bool:
        for name in names:
            tags = subject.fields.get(name)
            if isinstance(tags, frozenset):
                return any(holds(Subject({**subject.fields, name: tag}, subject.kept)) for tag in tags)
        return holds(subject)

    return of_each


def text_condition(node: TextMatch) -> Callable[[Subject], bool]:
    """The condition that a text match puts on a contact, or on an event."""
    if node.operator is TextOperator.MATCHES:
        regex = compile_regex(node.pattern, ci=node.ci)
        return lambda subject: (
            isinstance(text := subject.fields.get(node.field), str) and regex.search(text) is not None
        )
    pattern = fold(node.pattern) if node.ci else node.pattern
    if node.operator is TextOperator.LIKE:
        return lambda subject: (
            isinstance(text := subject.fields.get(node.field), str)
            and is_like(path_of(fold(text) if node.ci else text), pattern)
        )

    def holds(subject: Subject) -> bool:
        text = subject.fields.get(node.field)
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
