"""The questions of the count benchmark: families of expressions, each drawn from one seed over the corpus's fields."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from bench.corpus import INCOME_LIMIT, INCOME_SCALE, TAGS, country_names, densities, tag_name
from segidx.model.expression import And, AtLeast, Expression, Or, field, tags

INSTANCES = 20


@dataclass(frozen=True, slots=True)
class Case:
    """One family. `what` is its shape as one would say it."""

    name: str
    what: str
    expressions: tuple[Expression, ...]


class _Draw:
    """Draws operands; within one expression no tag comes twice."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._order = iter(rng.permutation(TAGS).tolist())

    def tag(self) -> Expression:
        return tags().has(tag_name(next(self._order)))

    def any_of(self, number: int) -> Expression:
        return Or(tuple(self.tag() for _ in range(number)))

    def tag_of_density(self, low: float, high: float) -> Expression:
        numbers = [i for i, density in enumerate(densities()) if low <= density <= high]
        return tags().has(tag_name(int(self.rng.choice(numbers))))

    def income_range(self) -> Expression:
        """A range of 1 % to 50 % of the incomes, all widths of one order of magnitude alike."""
        width = int(INCOME_LIMIT * 10 ** self.rng.uniform(-2, np.log10(0.5)))
        low = int(self.rng.integers(0, INCOME_LIMIT - width))
        return field("income").between(_money(low), _money(low + width))

    def countries(self, number: int) -> Expression:
        return field("country").isin(self.rng.choice(country_names(), number, replace=False).tolist())


def _money(minor: int) -> Decimal:
    return Decimal(minor).scaleb(-INCOME_SCALE)


def _filtered(draw: _Draw) -> Expression:
    return And((draw.any_of(3), draw.any_of(3), ~draw.tag()))


def _nested(draw: _Draw) -> Expression:
    inner = Or((And((draw.tag(), draw.tag())), And((draw.tag(), draw.any_of(3)))))
    return And((draw.any_of(10), inner, ~draw.any_of(2)))


FAMILIES: dict[str, tuple[str, Callable[[_Draw], Expression]]] = {
    "and_2": ("a AND b", lambda draw: And((draw.tag(), draw.tag()))),
    "or3_or3_not": ("(3 OR) AND (3 OR) AND NOT a", _filtered),
    "nested": ("(10 OR) AND ((a AND b) OR (c AND (3 OR))) AND NOT (2 OR)", _nested),
    "or_30": ("OR of 30", lambda draw: draw.any_of(30)),
    "at_least_2_of_5": ("at least 2 of 5", lambda draw: AtLeast(2, tuple(draw.tag() for _ in range(5)))),
    "category_in_5": ("country in (5 of 40)", lambda draw: draw.countries(5)),
    "number_range": ("income between x and y", lambda draw: draw.income_range()),
    "number_range_and_tag": (
        "income between x and y AND a tag of about 1 %",
        lambda draw: And((draw.income_range(), draw.tag_of_density(0.005, 0.02))),
    ),
}


def make_cases(seed: int, instances: int = INSTANCES) -> list[Case]:
    """Every family, `instances` expressions each. A family's draws do not depend on the other families."""
    cases = []
    for name, (what, make) in FAMILIES.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        cases.append(Case(name, what, tuple(make(_Draw(rng)) for _ in range(instances))))
    return cases
