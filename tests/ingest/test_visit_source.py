"""Where visits came from: the order of precedence, and what browsers, ad networks and logs really write."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segidx.ingest import visit_source
from segidx.ingest.known_sites import Kind, kind_of_name, site_of_app, site_of_host
from segidx.ingest.url_parts import decoded, read_url
from segidx.ingest.visit_source import COLUMNS, VisitSource, derive_source, derive_sources
from segidx.model.schema import MAX_STRING_BYTES

SHOP = "https://shop.example/"
GOOGLE = "https://www.google.com/search?q=red+shoes&hl=en"
SOURCES = {
    "paid_search", "paid_social", "display", "organic_search", "social", "email", "referral", "direct", "offline",
    "other",
}  # fmt: skip


def said(query: str = "", referrer: str | None = None) -> tuple[str, bool]:
    found = derive_source(SHOP + query, referrer, ())
    assert found is not None
    assert found.source in SOURCES
    return found.source, found.paid


# --- the campaign: medium, then source ---


@pytest.mark.parametrize("medium", ["cpc", "CPC", "ppc", "Pay-Per-Click", "%20cpc%20"])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("google", "paid_search"),
        ("bing.com", "paid_search"),
        ("facebook", "paid_social"),
        ("Facebook+Ads", "paid_social"),
        ("m.facebook.com", "paid_social"),
        ("ig_stories", "paid_social"),
        ("taboola", "display"),
        ("partner-shop", "paid_search"),
    ],
)
def test_a_paid_click_is_of_the_kind_of_its_source(medium, source, expected):
    assert said(f"?utm_source={source}&utm_medium={medium}") == (expected, True)


@pytest.mark.parametrize(
    ("medium", "expected"),
    [
        ("paidsearch", ("paid_search", True)),
        ("paid_search", ("paid_search", True)),
        ("sem", ("paid_search", True)),
        ("paid-social", ("paid_social", True)),
        ("PaidSocial", ("paid_social", True)),
        ("paid", ("other", True)),
        ("cpa", ("other", True)),
        ("display", ("display", True)),
        ("banner", ("display", True)),
        ("cpm", ("display", True)),
        ("retargeting", ("display", True)),
        ("email", ("email", False)),
        ("e-mail", ("email", False)),
        ("E_Mail", ("email", False)),
        ("newsletter", ("email", False)),
        ("social", ("social", False)),
        ("social-media", ("social", False)),
        ("organic", ("organic_search", False)),
        ("referral", ("referral", False)),
        ("affiliate", ("referral", False)),
        ("qr", ("offline", False)),
        ("QR-Code", ("offline", False)),
        ("print", ("offline", False)),
        ("direct+mail", ("offline", False)),
        ("(none)", ("direct", False)),
        ("sms", ("other", False)),
        ("feed", ("other", False)),
        ("%D1%80%D0%B5%D0%BA%D0%BB%D0%B0%D0%BC%D0%B0", ("other", False)),
        ("--", ("other", False)),
    ],
)
def test_the_medium_says_the_source_whoever_sent_the_visit(medium, expected):
    assert said(f"?utm_source=acme&utm_medium={medium}") == expected
    assert said(f"?utm_medium={medium}", GOOGLE) == expected
    assert said(f"?utm_medium={medium}", SHOP + "cart") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?utm_source=google&utm_medium=paid", ("paid_search", True)),
        ("?utm_source=tiktok&utm_medium=paid", ("paid_social", True)),
        ("?utm_source=criteo&utm_medium=paid", ("display", True)),
        ("?utm_source=facebook&utm_medium=organic", ("social", False)),
        ("?utm_source=acme&utm_medium=cpc&fbclid=1", ("paid_social", True)),
        ("?utm_source=acme&utm_medium=cpc&dclid=1", ("display", True)),
        ("?utm_source=acme&utm_medium=cpc&mc_eid=1", ("paid_search", True)),
        ("?utm_source=google&utm_medium=cpc&fbclid=1", ("paid_search", True)),
    ],
)
def test_a_medium_that_leaves_the_kind_open_takes_it_from_the_source_then_from_the_click(query, expected):
    assert said(query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?utm_source=facebook", ("social", False)),
        ("?utm_source=instagram&utm_medium=story", ("social", False)),
        ("?utm_source=x", ("social", False)),
        ("?utm_source=x-mas", ("other", False)),
        ("?utm_source=newsletter-2024-05", ("email", False)),
        ("?utm_source=mailchimp&utm_medium=autumn", ("email", False)),
        ("?utm_source=taboola", ("display", True)),
        ("?utm_source=flyer", ("offline", False)),
        ("?utm_source=google", ("organic_search", False)),
        ("?utm_source=google&utm_medium=shopping", ("other", False)),
        ("?utm_source=google&gclid=1", ("paid_search", True)),
        ("?utm_source=twitter&twclid=1", ("paid_social", True)),
        ("?utm_source=newsletter&fbclid=1", ("email", False)),
        ("?utm_source=acme", ("other", False)),
        ("?utm_campaign=autumn", ("other", False)),
        ("?utm_campaign=autumn&gclid=1", ("paid_search", True)),
        ("?utm_content=a&fbclid=1", ("social", False)),
    ],
)
def test_without_a_known_medium_the_source_then_the_click_speak(query, expected):
    assert said(query) == expected
    assert said(query, GOOGLE) == expected


# --- click ids ---


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("gclid gbraid wbraid gad_source msclkid yclid", ("paid_search", True)),
        ("ttclid li_fat_id twclid epik ScCid rdt_cid qclid", ("paid_social", True)),
        ("dclid tblci obclid", ("display", True)),
        ("fbclid igshid", ("social", False)),
        ("mc_eid mc_cid _hsenc _kx", ("email", False)),
    ],
)
def test_a_click_id_comes_before_the_referrer(names, expected):
    for name in names.split():
        assert said(f"?{name}=AbC-1_2") == expected
        assert said(f"?a=1&{name.upper()}=1&b=2", "https://news.example/") == expected
        assert said(f"?{name}=1", SHOP) == expected
        assert said(f"?{name}=&{name}=1") == ("direct", False)
        assert said(f"?{name}") == ("direct", False)


def test_of_several_click_ids_the_first_that_was_paid_for_counts():
    assert said("?fbclid=1&gclid=2&ttclid=3") == ("paid_search", True)
    assert said("?ttclid=3&fbclid=1&gclid=2") == ("paid_social", True)
    assert said("?mc_eid=3&fbclid=1") == ("email", False)


# --- the referrer ---


@pytest.mark.parametrize(
    ("referrer", "expected", "phrase"),
    [
        (GOOGLE, "organic_search", "red shoes"),
        ("https://www.google.co.uk/", "organic_search", None),
        ("HTTPS://WWW.GOOGLE.COM.BR:443/search?q=caf%C3%A9", "organic_search", "café"),
        ("https://www.google.com/url?sa=t&rct=j&q=&url=https%3A%2F%2Fshop.example%2F", "organic_search", None),
        ("https://www.google.com/url?q=https://shop.example/&sa=U", "organic_search", None),
        ("https://www.google.com/url?q=https://shop.example/&sa=D", "referral", None),
        ("https://images.google.de/imgres?q=x", "organic_search", "x"),
        ("https://docs.google.com/document/d/1", "referral", None),
        ("https://google.shop.test/?q=x", "referral", None),
        ("https://notgoogle.com/?q=x", "referral", None),
        ("https://www.bing.com/search?q=a%2Bb", "organic_search", "a+b"),
        ("https://duckduckgo.com/", "organic_search", None),
        ("https://search.brave.com/search?q=x", "organic_search", "x"),
        ("https://de.search.yahoo.com/search?p=%22rote+schuhe%22", "organic_search", '"rote schuhe"'),
        ("https://yandex.ru/search/?lr=2&text=%D1%82%D1%83%D1%84%D0%BB%D0%B8", "organic_search", "туфли"),
        ("https://www.baidu.com/s?wd=x&word=y", "organic_search", "x"),
        ("https://www.baidu.com/s?word=y", "organic_search", "y"),
        ("android-app://com.google.android.googlequicksearchbox/", "organic_search", None),
        ("android-app://com.google.android.googlequicksearchbox/https/www.google.com", "organic_search", None),
        ("https://l.facebook.com/l.php?u=x", "social", None),
        ("http://m.facebook.com./", "social", None),
        ("https://t.co/abc", "social", None),
        ("https://old.reddit.com/r/shoes", "social", None),
        ("https://www.pinterest.co.uk/pin/1", "social", None),
        ("android-app://com.linkedin.android/", "social", None),
        ("https://mail.google.com/mail/u/0/", "email", None),
        ("https://us-mg5.mail.yahoo.com/neo/launch", "email", None),
        ("https://outlook.live.com/", "email", None),
        ("https://webmail.firm.test/?_task=mail", "email", None),
        ("android-app://com.google.android.gm/", "email", None),
        ("android-app://org.fdroid.reader", "referral", None),
        ("https://blog.example/post", "referral", None),
        ("http://192.0.2.1:8080/x", "referral", None),
        ("http://[2001:db8::1]:80/x", "referral", None),
        ("http://localhost/", "referral", None),
        ("www.google.com/search?q=x", "organic_search", "x"),
        ("//t.co/abc", "social", None),
        ("http:\\\\t.co\\abc", "social", None),
        ("https://user:secret@t.co/abc", "social", None),
    ],
)
def test_a_referrer_is_a_search_engine_a_social_network_webmail_or_another_site(referrer, expected, phrase):
    assert derive_source(SHOP, referrer) == VisitSource(expected, False, search_phrase=phrase)


@pytest.mark.parametrize(
    "referrer",
    [None, "", " ", "-", "about:blank", "data:text/html,x", "file:///home/x", "/cart", "https://", "https:///x", "://",
     "https://:80/", "chrome-extension://abcdef/page", "android-app://", "not a url"],
)  # fmt: skip
def test_no_referrer_that_can_be_read_is_direct(referrer):
    assert derive_source(SHOP, referrer) == VisitSource("direct", False)
    assert derive_source(None, referrer) == VisitSource("direct", False)


def test_the_phrase_is_known_of_paid_visits_too():
    found = derive_source(SHOP + "?gclid=1", GOOGLE)
    assert found == VisitSource("paid_search", True, search_phrase="red shoes")


# --- internal ---


@pytest.mark.parametrize(
    ("url", "referrer", "own", "internal"),
    [
        (SHOP, "https://shop.example/cart", (), True),
        (SHOP, "http://SHOP.example:8080/cart", (), True),
        (SHOP, "https://www.shop.example/", (), True),
        ("https://www.shop.example/", "https://shop.example/", (), True),
        (SHOP, "https://blog.shop.example/", (), False),
        (SHOP, "https://blog.shop.example/", ("blog.shop.example",), True),
        (SHOP, "https://blog.shop.example/", (".shop.example",), True),
        (SHOP, "https://shop.example.test/", (".shop.example",), False),
        (SHOP, "https://myshop.example/", (".shop.example",), False),
        (SHOP, "https://a.b.shop.example/", ["*.Shop.Example"], True),
        (SHOP, "https://pay.example/back", {"https://pay.example:443/x"}, True),
        ("/cart?a=1", "https://shop.example/", ("shop.example",), True),
        ("/cart?a=1", "https://shop.example/", (), False),
        (None, "https://shop.example/", ("shop.example",), True),
        ("https://bücher.example/", "https://xn--bcher-kva.example/", (), True),
        ("/", "https://xn--bcher-kva.example/", ("BÜCHER.example",), True),
        ("https://straße.example/", "https://xn--strae-oqa.example/", (), True),
        (SHOP + "?utm_term=", "https://shop.example/", (), True),
        (SHOP + "?utm_term=x", "https://shop.example/", (), False),
        (SHOP + "?gclid=1", "https://shop.example/", (), False),
        (SHOP + "#utm_source=x&gclid=1", "https://shop.example/", (), True),
        (SHOP, "android-app://com.shop.app/", ("com.shop.app",), True),
        ("https://www.google.com/", "https://www.google.com/search?q=x", (), True),
    ],
)
def test_from_the_site_itself_no_source_is_said_unless_a_campaign_says_so(url, referrer, own, internal):
    assert (derive_source(url, referrer, own) is None) == internal


# --- what is kept of a campaign ---


def test_what_a_campaign_says_of_itself_is_kept_as_it_says_it():
    query = "?utm_source=News+Letter&utm_medium=E-Mail&utm_campaign=50%25%20off&utm_term=%2B&utm_content=%C3%A4%2F%26"
    assert derive_source(SHOP + query, None) == VisitSource(
        "email", False, "News Letter", "E-Mail", "50% off", "+", "ä/&"
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?utm_term=a&utm_term=b", "a"),
        ("?utm_term=&utm_term=b", None),
        ("?utm_term", None),
        ("?utm_term=+%20%09", None),
        ("?utm_term=a=b", "a=b"),
        ("?x=1&amp;utm_term=a", "a"),
        ("?UTM_Term=a", "a"),
        ("?utm%5Fterm=a", "a"),
        ("?utm_term=a#b", "a"),
        ("#?utm_term=a", None),
        ("?x=?utm_term=a", None),
        ("?utm_term=%", "%"),
        ("?utm_term=%zz%4", "%zz%4"),
        ("?utm_term=%E4", "\N{REPLACEMENT CHARACTER}"),
        ("?utm_term=a%CC%88", "ä"),
        ("?&&=&utm_term=a&", "a"),
    ],
)
def test_parameters_are_read_leniently(query, expected):
    found = derive_source(SHOP + query, None)
    assert found is not None
    assert found.utm_term == expected


def test_a_value_that_is_too_long_for_a_property_is_cut_at_a_character():
    assert decoded("a" * 5000) == "a" * MAX_STRING_BYTES
    assert decoded("a" + "%C3%A4" * 5000) == "a" + "ä" * ((MAX_STRING_BYTES - 1) // 2)


def test_a_host_is_one_however_it_is_spelt():
    for url in (
        "https://Ex.Example",
        "http://ex.example.:80/a",
        "//u:p@ex.example?x",
        "%65x.example/",
        "https://EX\uff0eexample",
    ):
        assert read_url(url).host == "ex.example", url
    assert read_url("https://xn--zz.example/").host is not None
    assert read_url("https://xn--a\u0141.example/").host is not None
    assert read_url("https://" + "a." * 200 + "example/").host is None
    assert read_url("https://" + "u" * 5000 + "@a.example/").host is None


@pytest.mark.parametrize(
    "text", ["http://[", "http://[::1", "http://a:b:c/", "http://\ud800.example/?utm_term=\ud800", "\x00", "?" * 99,
             "http://xn--/", "http://xn--99999999999.example/", "%" * 99, "http://℀/", "a.b:99999999999/x?gclid=1"]
)  # fmt: skip
def test_what_cannot_be_read_does_not_raise(text):
    for url, referrer in itertools.product([text, SHOP, None], repeat=2):
        derive_source(url, referrer, [text])


PIECES = st.sampled_from(
    ["http://", "https:", "//", "android-app://", "www.", "google.com", "xn--", "shop.example", ":", "@", "[", "]", "?",
     "&", "=", "#", "%", "+", "/", "\\", ".", "utm_source", "utm_medium=cpc", "gclid", "q=", "%C3", "ü", "\x00"]
)  # fmt: skip
TEXTS = st.none() | st.text() | st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.lists(TEXTS.filter(lambda text: text is not None), max_size=2))
def test_whatever_is_given_a_source_comes_of_it(url, referrer, own):
    found = derive_source(url, referrer, own)
    if found is None:
        assert read_url(referrer).host is not None
        return
    assert found.source in SOURCES
    assert found.paid or found.source not in ("paid_search", "paid_social", "display")
    for text in (getattr(found, name) for name in COLUMNS[2:]):
        assert text is None or 0 < len(text.encode()) <= MAX_STRING_BYTES


# --- columns ---


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=30), st.sampled_from([(), ("shop.example", ".google.com")]))
def test_columns_say_what_single_visits_say(visits, own):
    urls, referrers = (pa.array([visit[i] for visit in visits], pa.string()) for i in (0, 1))
    assert rows_of(derive_sources(urls, referrers, own)) == [derive_source(*visit, own) for visit in visits]


SAID = st.lists(
    st.none() | st.sampled_from(["", "google", "Facebook", "cpc", "e-mail", "qr", "é"]), min_size=5, max_size=5
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, SAID), max_size=30))
def test_columns_with_given_parameters_say_what_single_visits_say(visits):
    urls, referrers = (pa.array([visit[i] for visit in visits], pa.string()) for i in (0, 1))
    utm = [pa.array([visit[2][i] for visit in visits], pa.string()) for i in range(5)]
    expected = [derive_source(url, referrer, utm=tuple(said)) for url, referrer, said in visits]
    assert rows_of(derive_sources(urls, referrers, utm=utm)) == expected


def test_given_parameters_stand_in_place_of_the_urls():
    url = SHOP + "?utm_source=google&utm_medium=cpc"
    assert derive_source(url, None, utm=("facebook", None, "x", None, None)) == VisitSource(
        "paid_social", True, "facebook", "cpc", "x"
    )
    # One that is empty says nothing, and hides the url's.
    assert derive_source(url, None, utm=(None, "", None, None, None)) == VisitSource(
        "organic_search", False, "google", ""
    )
    for nothing in ((None,) * 5, ("",) * 5):
        assert derive_source(SHOP, SHOP, utm=nothing) is None
        assert derive_source(SHOP, GOOGLE, utm=nothing) == derive_source(SHOP, GOOGLE)


def rows_of(columns):
    assert tuple(columns) == COLUMNS
    rows = zip(*(columns[name].to_pylist() for name in COLUMNS), strict=True)
    return [None if row[0] is None else VisitSource(*row) for row in rows]


VISITS = [(SHOP + f"?utm_source=s{i % 7}", None if i % 3 else GOOGLE) for i in range(100)] + [
    (SHOP, SHOP),
    (None, None),
]


@pytest.mark.parametrize("of", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@pytest.mark.parametrize("chunked", [False, True])
def test_columns_may_be_of_any_type_of_strings(of, chunked):
    urls, referrers = (pa.array([visit[i] for visit in VISITS], pa.string()).cast(of) for i in (0, 1))
    if chunked:
        urls, referrers = pa.chunked_array([urls[:13], urls[13:]]), pa.chunked_array([referrers[:50], referrers[50:]])
    assert rows_of(derive_sources(urls, referrers)) == [derive_source(*visit) for visit in VISITS]


def test_columns_may_be_empty_or_null():
    assert [len(column) for column in derive_sources(pa.array([], pa.string()), pa.nulls(0)).values()] == [0] * 8
    found = derive_sources(pa.array([SHOP + "?gclid=1", None]), pa.nulls(2))
    assert rows_of(found) == [VisitSource("paid_search", True), VisitSource("direct", False)]
    assert found["paid"].type == pa.bool_()


def test_columns_are_read_in_slices_and_each_pair_once(monkeypatch):
    calls = Counter()
    settle = visit_source._settle

    def counted(landing, origin, own):
        calls[landing, origin] += 1
        return settle(landing, origin, own)

    monkeypatch.setattr(visit_source, "_settle", counted)
    urls, referrers = (pa.array([visit[i] for visit in VISITS]) for i in (0, 1))
    expected = [derive_source(*visit) for visit in VISITS]
    calls.clear()
    assert rows_of(derive_sources(urls, referrers)) == expected
    assert set(calls.values()) == {1}
    for rows, size in [(10, 1 << 20), (1 << 16, 500), (1 << 16, 1)]:
        monkeypatch.setattr(visit_source, "SLICE_ROWS", rows)
        monkeypatch.setattr(visit_source, "SLICE_BYTES", size)
        assert rows_of(derive_sources(urls, referrers)) == expected


# --- the list ---


def test_the_list_knows_a_site_by_host_package_and_name():
    assert site_of_host("www.google.fr").kind is Kind.SEARCH
    assert site_of_host("play.google.com") is None
    assert site_of_host("com") is None
    assert site_of_host("") is None
    assert site_of_host("tieba.baidu.com").kind is Kind.SOCIAL
    assert site_of_app("com.whatsapp").kind is Kind.SOCIAL
    assert site_of_app("com.example") is None
    assert kind_of_name("Google-Ads") is Kind.SEARCH
    assert kind_of_name("www.linkedin.com") is Kind.SOCIAL
    assert kind_of_name("ok-google") is None
    assert kind_of_name(" ") is None


# --- real visits ---

ROOT = Path(__file__).parents[2]
DATA = (ROOT / os.environ.get("SEGIDX_SHARED_DATA", "../shared/data")).resolve() / "apache_visits"


@pytest.mark.skipif(
    not (DATA / "visits_anon.parquet").exists(), reason=f"the log of visits is not in {DATA}; set SEGIDX_SHARED_DATA"
)
def test_a_real_log_is_read_as_whoever_prepared_it_read_it():
    visits = pq.read_table(DATA / "visits_anon.parquet")
    columns = derive_sources(visits["url"], visits["referer"], ["semicomplete.com"])
    rows = rows_of(columns)
    assert rows == [
        derive_source(url, referrer, ["semicomplete.com"])
        for url, referrer in zip(visits["url"].to_pylist(), visits["referer"].to_pylist(), strict=True)
    ]
    for name in ("utm_source", "utm_medium", "utm_campaign"):
        assert columns[name].to_pylist() == visits[name].to_pylist()
    counts = Counter(None if row is None else row.source for row in rows)
    assert counts == {
        None: 5039, "direct": 3922, "organic_search": 591, "referral": 291, "other": 153, "social": 3,
    }  # fmt: skip
    # A phrase that they read and we do not is an address that Google's redirect led to, or a page of Yandex's results.
    theirs = visits["search_phrase"].to_pylist()
    differ = [(row, phrase) for row, phrase in zip(rows, theirs, strict=True) if (row and row.search_phrase) != phrase]
    assert len([phrase for phrase in theirs if phrase is not None]) == 80
    assert len(differ) == 12
    assert {phrase for _, phrase in differ if not phrase.startswith("http")} == {"9"}
