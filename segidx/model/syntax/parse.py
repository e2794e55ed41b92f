"""Reads text into an `Expression`: the parser, and the errors it answers with.

Parsing is LALR(1) with lark: linear, without recursion whatever the nesting. Imports only `segidx.model`; lark is
imported and the grammar compiled at the first parse, once for all threads.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from segidx.model.errors import ExpressionSyntaxError, ExpressionTooLarge
from segidx.model.expression import MAX_DEPTH, MAX_NODES, Expression
from segidx.model.syntax.words import RESERVED, is_reserved, readable

if TYPE_CHECKING:
    from lark import Lark, Token, UnexpectedInput

    from segidx.model.syntax.items import Items

MAX_BYTES = 1_000_000


@cache
def _parser() -> tuple[Lark, Items]:
    from lark import Lark

    from segidx.model.syntax.build import callbacks
    from segidx.model.syntax.items import Items

    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    items = Items()
    lark = Lark(
        grammar.replace("@RESERVED@", "|".join(RESERVED)),
        parser="lalr",
        lexer="contextual",
        transformer=callbacks(items),  # lark only looks up methods by the rules' names
        maybe_placeholders=False,
    )
    return lark, items


def parse(
    text: str, *, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES, max_bytes: int = MAX_BYTES
) -> Expression:
    """The expression a text says; docs/EXPRESSIONS.md is the language.

    Depth and nodes are counted as `segidx.model.expression.check` counts them; parentheses count for nothing.
    Unfinished nodes (`...`) and empty lists are read, and left to `check`. `max_bytes` bounds the UTF-8 text.

    Raises ExpressionSyntaxError with line, column (in characters, from 1) and what was expected, also for values
    that the nodes themselves refuse (a window of 0 days); ExpressionTooDeep or ExpressionTooLarge past the limits.
    """
    try:
        size = len(text.encode()) if len(text) <= max_bytes else len(text)
    except UnicodeEncodeError as error:
        before = text[: error.start]
        raise ExpressionSyntaxError(
            "the text is not valid UTF-8",
            line=before.count("\n") + 1,
            column=error.start - before.rfind("\n"),
        ) from error
    if size > max_bytes:
        raise ExpressionTooLarge(f"the text has more than {max_bytes} bytes", limit=max_bytes)

    from lark import UnexpectedInput

    lark, items = _parser()
    limits = items.limits
    limits.max_depth, limits.max_nodes, limits.leaves, limits.type = max_depth, max_nodes, 0, ""
    try:
        item = lark.parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from None
    node = items.condition(item).node  # type: ignore[arg-type]
    assert isinstance(node, Expression)
    return node


# --- errors ------------------------------------------------------------------------------------------------

# Reserved words that stand where a field may, and want more words after them.
_OPENING_WORDS = ("all", "anniversary", "any", "at", "segment", "tagged", "top")

# Words that begin a window behind `in`, and nothing where `in` begins a list.
_WINDOW_WORDS = ("all", "last", "next", "this", "today", "tomorrow", "yesterday")

_WORD_OR_CHARACTER = re.compile(r"\w+|.", re.DOTALL)

_TIME_ASKED = re.compile(r"\.\s*time\b", re.IGNORECASE)

# Why no token begins with these characters.
_CHARACTERS = {
    '"': "the string that begins here does not end on its line",
    "`": "the field name that begins here has no closing backtick",
    "'": "strings stand in double quotes",
    "“": 'strings stand in straight double quotes, "',
    "”": 'strings stand in straight double quotes, "',
    "„": 'strings stand in straight double quotes, "',
    "&": "write 'and'",
    "|": "write 'or'",
    "!": "write 'not'",
    "\\": "a backslash stands only within strings",
}


def _syntax_error(error: UnexpectedInput, text: str) -> ExpressionSyntaxError:
    from lark import UnexpectedToken

    accepts = set(error.interactive_parser.accepts())  # type: ignore[no-untyped-call]
    expected = readable(accepts)
    may_be_field = "NAME" in accepts
    if not isinstance(error, UnexpectedToken):
        assert error.pos_in_stream is not None
        found = _WORD_OR_CHARACTER.match(text, error.pos_in_stream)
        assert found is not None
        if found[0] in _CHARACTERS:
            return ExpressionSyntaxError(_CHARACTERS[found[0]], line=error.line, column=error.column)
        return ExpressionSyntaxError(
            f"found {_described(found[0], may_be_field)}", line=error.line, column=error.column, expected=expected
        )
    token = error.token
    if token.type == "$END":
        if not text.strip():
            return ExpressionSyntaxError(
                "the text is empty; write everyone for all contacts", line=1, column=1, expected=expected
            )
        return ExpressionSyntaxError(
            "the expression ends too early",
            line=token.end_line or token.line or 1,
            column=token.end_column or token.column or 1,
            expected=expected,
        )
    return ExpressionSyntaxError(
        f"found {_described(token, may_be_field)}{_hint(text, token, accepts)}",
        line=token.line or 1,
        column=token.column or 1,
        expected=expected,
    )


def _hint(text: str, token: Token, accepts: set[str]) -> str:
    """The hint for a reserved word that was meant as a field (`top > 3`), for a window of time behind a property in a
    filter of events (`paid in last 3 days`), for a time asked of what has none (`count(order).time`), and for a
    property asked of the first or last event (`last(order).amount > 3`)."""
    place = token.start_pos or 0
    if accepts == {"_TIME"} and token.isidentifier():
        return " (what the event is like is asked with 'has', such as last(...) has paid)"
    if token == "." and _TIME_ASKED.match(text, place):
        return " ('.time' stands only directly behind first(...) or last(...) of events)"
    word = re.search(r"(\w+)\s*$", text[max(0, place - 100) : place])
    if word is None:
        return ""
    if word[1].lower() == "in" and "LPAR" in accepts and token.lower() in _WINDOW_WORDS:
        return " (behind a filter, the window of the events begins with 'during')"
    if word[1].lower() not in _OPENING_WORDS or "LPAR" in accepts:
        return ""
    return f" after '{word[1]}', a reserved word (a field of that name is written `{word[1]}`)"


def _described(found: str, may_be_field: bool) -> str:
    from segidx.model.syntax.tokens import clip

    text = clip(found)
    if found.startswith('"'):
        return f"the string {text}"
    if may_be_field and is_reserved(found):
        return f"'{text}', a reserved word (a field of that name is written `{text}`)"
    return f"'{text}'" if found.isprintable() else repr(text)
