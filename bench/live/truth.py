"""What the account must hold after a run: the corpus with all acknowledged updates applied in numpy, and the questions
by which a server is compared with it. Knows nothing of how segidx stores or counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench.corpus import INCOME_SCALE, MISSING, country_names, tag_name
from bench.live.corpus import START, START_MS, LiveCorpus, city_names
from bench.live.updates import INCOMES, Updates
from segidx.client import RemoteAccount
from segidx.model.results import FieldData

SHOWN_CITIES = 20
_LOW = np.uint64(0xFFFFFFFF)


class Truth:
    """The last value of every field of every contact, and all tags."""

    def __init__(self, corpus: LiveCorpus) -> None:
        self._corpus = corpus
        self.income = corpus.base.income.astype(np.int64)
        self.country = corpus.base.country.astype(np.int64)
        self.active = corpus.active.copy()
        self.seen = corpus.seen.copy()
        self.city = corpus.city.astype(np.int64)
        self._given: list[npt.NDArray[np.uint64]] = []  # tag << 32 | contact
        self._by_tag: list[npt.NDArray[np.uint32]] = []  # made of them when it is asked for

    def apply(self, batches: Iterable[Updates]) -> None:
        """Apply batches in their order."""
        self._by_tag = []
        for updates in batches:
            contacts = updates.contacts
            # Where an index is repeated, numpy leaves the last value: so do rows that apply in order.
            self.income[contacts] = updates.income * 10**INCOME_SCALE
            self.country[contacts] = updates.country
            self.active[contacts] = updates.active
            self.seen[contacts] = updates.seen
            self.city[contacts] = updates.city
            for tags in updates.tags.T:
                self._given.append(tags.astype(np.uint64) << np.uint64(32) | contacts.astype(np.uint64))

    def counts(self) -> dict[str, int]:
        """The exact count of each question: every country, tag and truth value, some ranges and cities."""
        expected = {}
        held = np.bincount(self.country[self.country != MISSING], minlength=len(country_names()))
        for name, count in zip(country_names(), held.tolist(), strict=True):
            expected[f'country = "{name}"'] = count
        expected["active = true"] = int(self.active.sum())
        expected["active = false"] = int((~self.active).sum())
        for share in (0.05, 0.25, 0.5, 0.75, 0.95):
            units = int(INCOMES * share)
            expected[f"income >= {units}"] = int((self.income >= units * 10**INCOME_SCALE).sum())
        expected[f"seen >= {START:%Y-%m-%dT%H:%M:%SZ}"] = int((self.seen >= START_MS).sum())
        cities = np.bincount(self.city)
        for number in range(SHOWN_CITIES):
            expected[f'city = "{city_names()[number]}"'] = int(cities[number])
        for number, (tag, given) in enumerate(zip(self._corpus.base.tags, self._given_by_tag(), strict=True)):
            expected[f'tags has "{tag_name(number)}"'] = len(np.union1d(tag.contacts, given))
        return expected

    def contact(self, row: int) -> dict[str, FieldData]:
        """All that contact `row` holds, as `Contact.fields` has it."""
        fields: dict[str, FieldData] = {
            "active": bool(self.active[row]),
            "seen": START + timedelta(milliseconds=int(self.seen[row]) - START_MS),
            "city": city_names()[self.city[row]],
        }
        if self.income[row] != MISSING:
            fields["income"] = Decimal(int(self.income[row])).scaleb(-INCOME_SCALE)
        if self.country[row] != MISSING:
            fields["country"] = country_names()[self.country[row]]
        tags = set()
        for number, (tag, given) in enumerate(zip(self._corpus.base.tags, self._given_by_tag(), strict=True)):
            if _contains(tag.contacts, row) or _contains(given, row):
                tags.add(tag_name(number))
        if tags:
            fields["tags"] = frozenset(tags)
        return fields

    def _given_by_tag(self) -> list[npt.NDArray[np.uint32]]:
        """The contacts that updates gave each tag, ascending."""
        if not self._by_tag:
            keys = np.unique(np.concatenate([*self._given, np.zeros(0, np.uint64)]))
            self._given = [keys]
            tags = np.arange(len(self._corpus.base.tags) + 1, dtype=np.uint64)
            ends = np.searchsorted(keys, tags << np.uint64(32)).tolist()
            self._by_tag = [(keys[a:b] & _LOW).astype(np.uint32) for a, b in pairwise(ends)]
        return self._by_tag


def _contains(ascending: npt.NDArray[np.uint32], value: int) -> bool:
    at = int(np.searchsorted(ascending, value))
    return at < len(ascending) and int(ascending[at]) == value


def disagreements(truth: Truth, account: RemoteAccount, rows: Iterable[int], generation: int) -> list[str]:
    """One line for every count and every contact of `rows` that the server answers otherwise, asked for `generation` or
    later."""
    wrong = wrong_counts(truth.counts(), account, generation)
    for row in rows:
        contact = account.get(f"c{row:09d}", min_generation=generation)
        fields = truth.contact(row)
        if dict(contact.fields) != fields:
            wrong.append(f"{contact.contact_id}: {dict(contact.fields)}, not {fields}")
    return wrong


def wrong_counts(expected: dict[str, int], account: RemoteAccount, generation: int) -> list[str]:
    """One line for every question that the server answers with another count."""
    wrong = []
    answers = account.count_many(list(expected), min_generation=generation)
    for (question, count), answer in zip(expected.items(), answers, strict=True):
        got = getattr(answer, "count", answer)
        if got != count:
            wrong.append(f"{question}: {got}, not {count}")
    return wrong
