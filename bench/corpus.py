"""The contacts of the count benchmark: 140 tags, a category and a number, from one seed.

Tag densities fall geometrically from 50 % to 0.002 %. Every other tag is clustered: it lies in contiguous stretches of
contacts, as after an import that was sorted. Imports nothing of segidx, so that peers and segidx meet the same arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SCALES = {"smoke": 100_000, "small": 1_000_000, "full": 10_000_000}
SEED = 20_240_917
CORPUS_VERSION = 1  # raise it whenever another corpus comes out of the same seed; stored copies are then rebuilt

TAGS = 140
DENSEST, SPARSEST = 0.5, 0.00002
STRETCH = 2000  # mean contacts in one stretch of a clustered tag, where the tag has that many
COUNTRIES = 40
INCOME_SCALE = 2
INCOME_LIMIT = 1 << 20  # in minor units; exclusive
MISSING = -1

Ordinals = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag. `contacts` are the ascending row numbers of those who carry it, u32."""

    name: str
    density: float
    clustered: bool
    contacts: Ordinals


@dataclass(frozen=True, slots=True)
class Corpus:
    """`size` contacts. `country` indexes `countries` (i8[size]) and `income` is in minor units (i32[size]); MISSING
    stands where a contact has none."""

    size: int
    seed: int
    tags: tuple[Tag, ...]
    countries: tuple[str, ...]
    country: npt.NDArray[np.int8]
    income: npt.NDArray[np.int32]

    def ids(self, first: int, last: int) -> list[str]:
        """The contact ids of the rows first..last, last excluded."""
        return [f"c{row:09d}" for row in range(first, last)]


def densities() -> list[float]:
    """The share of the contacts that carries each tag, by its number."""
    return [DENSEST * (SPARSEST / DENSEST) ** (i / (TAGS - 1)) for i in range(TAGS)]


def tag_name(number: int) -> str:
    return f"tag_{number:03d}"


def country_names() -> tuple[str, ...]:
    return tuple(f"{chr(65 + i % 26)}{chr(65 + i // 26)}" for i in range(COUNTRIES))


def make_corpus(size: int, seed: int = SEED) -> Corpus:
    """The corpus of that many contacts. Each column has a random stream of its own."""
    tags = []
    for number, density in enumerate(densities()):
        rng = np.random.default_rng([seed, number])
        clustered = number % 2 == 1
        contacts = _stretches(rng, size, density) if clustered else _scattered(rng, size, density)
        tags.append(Tag(tag_name(number), density, clustered, contacts))
    rng = np.random.default_rng([seed, TAGS])
    shares = 1 / np.arange(1, COUNTRIES + 1)
    country = rng.choice(COUNTRIES, size, p=shares / shares.sum()).astype(np.int8)
    country[rng.random(size) < 0.05] = MISSING
    income = rng.integers(0, INCOME_LIMIT, size, np.int32)
    income[rng.random(size) < 0.1] = MISSING
    return Corpus(size, seed, tuple(tags), country_names(), country, income)


def _scattered(rng: np.random.Generator, size: int, density: float) -> Ordinals:
    return np.flatnonzero(rng.random(size, np.float32) < density).astype(np.uint32)


def _stretches(rng: np.random.Generator, size: int, density: float) -> Ordinals:
    """Alternating gaps and stretches of exponential lengths, in the proportion of the density."""
    stretch = max(1.0, min(STRETCH, density * size / 8))
    gap = stretch * (1 - density) / density
    pairs = int(size / (stretch + gap) * 1.5) + 64
    gaps = rng.exponential(gap, pairs) + 1
    lengths = np.ceil(rng.exponential(stretch, pairs))
    ends = np.cumsum(gaps + lengths).astype(np.int64)
    starts = ends - lengths.astype(np.int64)
    change = np.zeros(size + 1, np.int8)
    # Stretches never meet: each gap is longer than 1.
    change[starts[starts < size]] += 1
    change[ends[ends < size]] -= 1
    return np.flatnonzero(np.cumsum(change[:size], dtype=np.int8)).astype(np.uint32)
