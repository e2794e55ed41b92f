"""Every example of docs/EXPRESSIONS.md does what the page says."""

import re
from pathlib import Path

import pytest

from segidx.model.errors import ExpressionSyntaxError
from segidx.model.syntax import RESERVED, format_expression, parse

DOC = (Path(__file__).parents[2] / "docs" / "EXPRESSIONS.md").read_text(encoding="utf-8")


def blocks(tag: str) -> list[str]:
    return re.findall(rf"^```{tag}\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)


def lines(tag: str) -> list[str]:
    return [line for block in blocks(tag) for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("text", lines("segidx") + blocks("segidx-text"))
def test_example_parses_and_round_trips(text: str) -> None:
    expression = parse(text)
    canonical = format_expression(expression)
    assert parse(canonical) == expression
    assert format_expression(parse(canonical)) == canonical


@pytest.mark.parametrize("line", lines("segidx-error"))
def test_error_is_as_documented(line: str) -> None:
    text, _, wanted = line.partition("  # => ")
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse(text.rstrip())
    assert wanted.strip() in str(caught.value)


def test_there_are_examples_to_test() -> None:
    assert len(lines("segidx")) > 80
    assert len(lines("segidx-error")) > 20
    assert len(blocks("segidx-text")) == 1


def test_reserved_words_are_those_of_the_parser() -> None:
    (listed,) = blocks("reserved")
    assert listed.split() == sorted(RESERVED)


@pytest.mark.parametrize("row", re.findall(r"^\| `(.+)` \| `(.+)` \|$", DOC.partition("| you write")[2], re.MULTILINE))
def test_canonical_text_is_as_documented(row: tuple[str, str]) -> None:
    written, canonical = row
    if "A AND B" in written:  # the letters stand for conditions
        written, canonical = (re.sub(r"\b([ABC])\b", r"\1 = true", text) for text in row)
    assert format_expression(parse(written)) == canonical
