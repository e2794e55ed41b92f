"""The text syntax of expressions: `parse` reads it, `format_expression` writes it; docs/EXPRESSIONS.md explains it.

Imports only `segidx.model`, and lark when first asked to parse.
"""

from segidx.model.syntax.format import (
    format_constant,
    format_expression,
    format_field,
    format_value,
    format_window,
)
from segidx.model.syntax.parse import parse
from segidx.model.syntax.words import RESERVED

__all__ = [
    "RESERVED",
    "format_constant",
    "format_expression",
    "format_field",
    "format_value",
    "format_window",
    "parse",
]
