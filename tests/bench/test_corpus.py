"""The benchmark's corpus and questions: what their documentation promises."""

from __future__ import annotations

import numpy as np

from bench.cases import FAMILIES, make_cases
from bench.corpus import DENSEST, SPARSEST, TAGS, densities, make_corpus
from bench.own import contact_batch
from segidx.model.expression import HasTags, walk

SIZE = 200_000


def test_densities_fall_geometrically_between_the_ends() -> None:
    found = densities()
    assert len(found) == TAGS
    assert found[0] == DENSEST
    np.testing.assert_allclose(found[-1], SPARSEST)
    np.testing.assert_allclose(np.diff(np.log(found)), np.log(SPARSEST / DENSEST) / (TAGS - 1))


def test_tags_have_their_density_and_only_clustered_ones_have_runs() -> None:
    for tag in make_corpus(SIZE, 1).tags:
        contacts = tag.contacts
        assert contacts.dtype == np.uint32
        assert np.all(np.diff(contacts.astype(np.int64)) > 0)
        assert not len(contacts) or contacts[-1] < SIZE
        if 0.01 < tag.density < 0.1:
            assert 0.3 * tag.density < len(contacts) / SIZE < 3 * tag.density
            together = np.mean(np.diff(contacts.astype(np.int64)) == 1)
            assert together > 0.9 if tag.clustered else together < 0.3


def test_the_seed_decides_everything() -> None:
    first, again, other = make_corpus(5000, 1), make_corpus(5000, 1), make_corpus(5000, 2)
    assert all(np.array_equal(a.contacts, b.contacts) for a, b in zip(first.tags, again.tags, strict=True))
    assert np.array_equal(first.income, again.income)
    assert not np.array_equal(first.income, other.income)
    assert make_cases(1) == make_cases(1)
    assert make_cases(1) != make_cases(2)


def test_every_family_is_drawn_and_no_expression_asks_for_a_tag_twice() -> None:
    cases = make_cases(3, instances=4)
    assert [case.name for case in cases] == list(FAMILIES)
    for case in cases:
        assert len(set(map(repr, case.expressions))) == 4
        for expression in case.expressions:
            asked = [node.tags[0] for node, _, _ in walk(expression) if isinstance(node, HasTags)]
            assert len(asked) == len(set(asked))


def test_a_batch_holds_what_the_corpus_says() -> None:
    corpus = make_corpus(3000, 4)
    batch = contact_batch(corpus, 1000, 3000)
    assert batch.ids.to_pylist() == corpus.ids(1000, 3000)
    lists = batch.changes["tags"].values.to_pylist()
    for tag in corpus.tags:
        held = [1000 + row for row, names in enumerate(lists) if tag.name in names]
        assert held == [row for row in tag.contacts.tolist() if row >= 1000]
    country, income = batch.changes["country"], batch.changes["income"]
    assert country.values.to_pylist() == [corpus.countries[corpus.country[1000 + r]] for r in country.rows.tolist()]
    assert income.values.tolist() == corpus.income[1000 + income.rows].tolist()
    assert set(range(2000)) - set(income.rows.tolist()) == set(np.flatnonzero(corpus.income[1000:] < 0).tolist())
