"""Expressions of the benchmark as SQL conditions on a table of one column a tag, `country` and `income`.

Covers what `bench.cases` asks, and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from bench.corpus import INCOME_SCALE, Corpus
from segidx.model.expression import And, AtLeast, Between, Expression, HasTags, In, Not, Or
from segidx.model.values import Constant, Value


def condition(expression: Expression) -> str:
    """The WHERE condition. Negation of tags only: their columns have no missing values."""
    match expression:
        case HasTags(tags=(tag,)):
            return tag
        case And(operands=operands):
            return "(" + " AND ".join(map(condition, operands)) + ")"
        case Or(operands=operands):
            return "(" + " OR ".join(map(condition, operands)) + ")"
        case Not(operand=HasTags() | Or() | And() as operand):
            return f"(NOT {condition(operand)})"
        case AtLeast(count=count, operands=operands):
            return "(" + " + ".join(f"CAST({condition(o)} AS TINYINT)" for o in operands) + f" >= {count})"
        case Between(low=low, high=high):
            return f"income BETWEEN {minor_units(low)} AND {minor_units(high)}"
        case In(options=options):
            return "country IN (" + ", ".join(f"'{option}'" for option in options) + ")"
    raise TypeError(f"no SQL for {expression}")


def minor_units(value: Value) -> int:
    """The whole number that the column of incomes holds for a constant."""
    assert isinstance(value, Constant)
    assert isinstance(value.value, Decimal)
    return int(value.value.scaleb(INCOME_SCALE))


def tag_masks(corpus: Corpus, first: int, last: int) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """(name, whether each of the rows first..last carries it) of every tag, one after the other."""
    for tag in corpus.tags:
        mask = np.zeros(last - first, np.bool_)
        lo, hi = np.searchsorted(tag.contacts, [first, last])
        mask[tag.contacts[lo:hi] - first] = True
        yield tag.name, mask
