"""Paths of urls and the patterns of `like`: cases worked out by hand, for the oracle and for the engine alike."""

from __future__ import annotations

import pyarrow as pa
import pytest

from segidx.model.expression import TextOperator
from segidx.plan.strings import matcher
from segidx.testing.oracle_urls import is_like, path_of

CASES = [
    # pattern, urls of it, others
    ("/sale/**", "/sale/ /sale/x /sale/x/y https://shop.example/sale/x?page=2#top", "/sale /sales/x /a/sale/x"),
    ("/sale/*", "/sale/ /sale/x //shop.example/sale/x", "/sale/x/y /sale"),
    ("/*/sale", "/en/sale https://a.example/en/sale https://a.example//sale", "/en/us/sale /sale http://b//sale/x"),
    ("/**/sale", "/en/sale /en/us/sale http://a//sale", "/sale https://shop.example/sale"),
    ("**.html", "/index.html /a/b.html? x.html", "/index.htm /index.html/x /index-html"),
    (
        "/",
        "/ https://shop.example https://shop.example?q=1 https://shop.example#x ?q=/sale",
        "/x https://shop.example/x",
    ),
    ("/a.b", "/a.b HTTP://x/a.b", "/a-b /A.b"),
    ("/a+(b)", "/a+(b) /a+(b)?c", "/aab /a+b"),
    ("/**", "/ /x /x/y https://x mailto:/x", "x mailto:x"),
    ("*", "x mailto:x x?y=/", "/ https://x /x x/y"),
    ("/x**y", "/xy /x/y /x//y", "/x /y"),
    ("/caf\u00e9/*", "/caf\u00e9/x", "/cafe/x"),
]


@pytest.mark.parametrize(("pattern", "of_it", "others"), CASES)
def test_pattern_of_a_path(pattern: str, of_it: str, others: str) -> None:
    matches = matcher(TextOperator.LIKE, pattern, ci=False)
    for urls, wanted in ((of_it, True), (others, False)):
        for url in urls.split():
            assert is_like(path_of(url), pattern) == wanted, url
        assert set(matches(pa.array(urls.split())).to_pylist()) == {wanted}


def test_any_case_is_folded_on_both_sides() -> None:
    matches = matcher(TextOperator.LIKE, "/SALE/Stra\u00dfe/*", ci=True)
    assert matches(pa.array(["https://X.example/Sale/STRASSE/1", "/sale/stra\u00dfe/", "/sale/x/"])).to_pylist() == [
        True,
        True,
        False,
    ]


def test_missing_and_empty_urls() -> None:
    matches = matcher(TextOperator.LIKE, "/", ci=False)
    assert matches(pa.array(["", None])).to_pylist() == [True, None]
