"""Where a visit came from, worked out from the landing url and the referrer as the web server or the page saw them.

What decides, in this order; the first that says something is taken, and docs/VISITS.md has the tables:

1. The medium: `utm_medium` where it is a word that is known. "cpc" and its like are paid_search, paid_social or display
   by what `utm_source` is (a search engine, a social network, an ad network), else by the click id, else paid_search;
   "paid" and its like the same, else other. "display", "banner", "cpm" are display; "email", "newsletter" email;
   "social" social; "organic" organic_search, of a social network social; "referral" and "affiliate" referral; "qr",
   "print" offline; "(none)" direct.
2. The campaign's source: `utm_source` where the name is known. A social network is social (paid_social with a click id
   that says so), a newsletter or a mailer email, an ad network display, "qr" or "flyer" offline. A search engine says
   nothing about who paid: it is left to 3, and is organic_search if nothing is there and no medium was given.
3. The click id in the landing url: gclid is paid_search, ttclid paid_social, dclid display. fbclid is on every link out
   of Facebook, paid or not, so it is social. Of several the first that was paid for counts.
4. Any other utm parameter: other.
5. Without utm parameters and click ids, the referrer: none is direct; the landing url's own host or one of the
   account's is no source at all; a search engine is organic_search, a social network social, webmail email, all else
   referral.

The phrase is that of a search engine's referrer whatever the source. Nothing raises: a url that cannot be read is one
without host or parameters. The fragment is not looked at, of repeated parameters the first counts, names of parameters
are taken in any case. Imports the model and its neighbours only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa

from segidx.ingest.known_sites import Kind, Site, kind_of_name, site_of_app, site_of_host
from segidx.ingest.url_parts import decoded, parameters, read_url

# Of a column at most so many rows are looked at together, and at most so many bytes unless one row alone has more.
SLICE_ROWS = 1 << 16
SLICE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class VisitSource:
    """Where a visit came from; `paid` if it was an advert. What the campaign says of itself is as it says it, decoded,
    without spaces around it, in NFC, at most MAX_STRING_BYTES long; None where it says nothing."""

    source: str
    paid: bool
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    utm_term: str | None = None
    utm_content: str | None = None
    search_phrase: str | None = None


Said = tuple[str, bool]  # a source, and whether it was paid for

OTHER: Said = ("other", False)
DIRECT: Said = ("direct", False)
REFERRAL: Said = ("referral", False)

_UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
NO_UTM = (None, None, None, None, None)

_PAID_AS: dict[Kind | None, Said] = {
    Kind.SEARCH: ("paid_search", True),
    Kind.SOCIAL: ("paid_social", True),
    Kind.DISPLAY: ("display", True),
}
_FREE_AS: dict[Kind, Said] = {
    Kind.SEARCH: ("organic_search", False),
    Kind.SOCIAL: ("social", False),
    Kind.EMAIL: ("email", False),
}

# Media whose meaning depends on the campaign's source, as they are without separators. What a click was paid for is
# search unless something says otherwise; "paid" alone does not say that.
_PER_CLICK = frozenset(["cpc", "ppc", "payperclick", "paidclick", "paidclicks"])
_PAID = frozenset(
    word
    for words in [
        "paid paidmedia ad ads advert adverts advertising advertisement sponsored promoted",
        "cpa cpl cpv cpp",
    ]
    for word in words.split()
)
_ORGANIC = frozenset(["organic", "free", "unpaid"])

_MEDIA: dict[str, Said] = {
    word: said
    for said, words in {
        ("paid_search", True): "paidsearch searchpaid sem searchads searchad googleads cpcsearch searchcpc",
        ("paid_social", True): "paidsocial socialpaid socialads socialad cpcsocial socialcpc socialppc ppcsocial",
        ("display", True): """display displayads displayad displayadvertising banner banners bannerad bannerads cpm gdn
            programmatic native nativeads interstitial expandable retargeting remarketing""",
        ("organic_search", False): "organicsearch searchorganic seo search",
        ("social", False): """social socialmedia socialnetwork socialorganic organicsocial socialpost sm smm""",
        ("email", False): """email emails mail mailing emailing newsletter newsletters enewsletter edm eblast emailblast
            emailmarketing emailcampaign emailnewsletter""",
        ("referral", False): """referral referrals referrer referer link links affiliate affiliates partner partners
            partnership""",
        ("offline", False): """offline qr qrcode print flyer flyers leaflet brochure poster billboard ooh dooh outofhome
            catalog catalogue directmail postcard letter tv radio magazine newspaper packaging businesscard nfc
            tradeshow""",
        ("direct", False): "direct none",
    }.items()
    for word in words.split()
}

# Of what a medium may say, a campaign's source may say this too: utm_source=flyer without a medium.
_OFFLINE: Said = ("offline", False)

# Click ids, as the ad networks and mailers name them, in lower case.
_CLICK_IDS: dict[str, Said] = {
    name: said
    for said, names in {
        # Google Ads, Microsoft Advertising, Yandex Direct, Baidu, Naver
        ("paid_search", True): "gclid gclsrc gbraid wbraid gad_source gad_campaignid msclkid yclid bd_vid nclid n_ad",
        # TikTok, LinkedIn, X, Pinterest, Snapchat, Reddit, Quora, VK
        ("paid_social", True): "ttclid li_fat_id twclid epik sccid rdt_cid qclid vkclid rb_clickid",
        # Campaign Manager 360, Taboola, Outbrain, Criteo, RTB House
        ("display", True): "dclid tblci ob_click_id obclid cto_pld rtbhc",
        # Facebook, Instagram
        ("social", False): "fbclid igshid igsh",
        # Mailchimp, HubSpot, Klaviyo, Vero, Drip, Kit, dotdigital, MailerLite
        ("email", False): "mc_eid mc_cid _hsenc _hsmi _kx vero_id __s ck_subscriber_id dm_i ml_subscriber_hash",
    }.items()
    for name in names.split()
}

_BETWEEN_WORDS = re.compile(r"[\W_]+")

Utm = tuple[str | None, str | None, str | None, str | None, str | None]


class _Landing(NamedTuple):
    """What a landing url says: its host, the five utm parameters (None if there is none), the click id."""

    host: str | None
    utm: Utm | None
    click: Said | None


def _landing(url: str | None) -> _Landing:
    address = read_url(url)
    given = parameters(address.query)
    source, medium, campaign, term, content = (decoded(given[n]) if n in given else None for n in _UTM)
    utm = (source, medium, campaign, term, content)
    clicks = [_CLICK_IDS[name] for name in given if name in _CLICK_IDS and given[name]]
    # max takes the first of those that were paid for, or else the first
    click = max(clicks, key=itemgetter(1)) if clicks else None
    return _Landing(address.host, None if utm == NO_UTM else utm, click)


class _Origin(NamedTuple):
    """What a referrer says: its host, what it means if nothing else is said, what was searched for."""

    host: str | None
    said: Said
    phrase: str | None


_NO_ORIGIN = _Origin(None, DIRECT, None)


def _origin(referrer: str | None) -> _Origin:
    address = read_url(referrer)
    if address.host is None:
        return _NO_ORIGIN
    site = site_of_app(address.host) if address.app else site_of_host(address.host)
    if site is None:
        return _Origin(address.host, REFERRAL, None)
    given = parameters(address.query) if site.phrase else {}
    # Google sends clicks out of mails and documents through the address that results go through; "sa=D" marks them.
    if address.path == "/url" and given.get("sa") == "D":
        return _Origin(address.host, REFERRAL, None)
    return _Origin(address.host, _FREE_AS[site.kind], _phrase(site, address.path, given))


def _phrase(site: Site, path: str, given: dict[str, str]) -> str | None:
    for name in site.phrase:
        phrase = decoded(given.get(name, ""))
        # A result's address is sometimes where the phrase was: /url?q=https://shop.example/.
        if phrase is not None and not (path == "/url" and phrase.startswith(("http://", "https://"))):
            return phrase
    return None


@lru_cache(maxsize=4096)
def _campaign(medium: str | None, name: str | None, click: Said | None) -> Said:
    """What utm parameters and a click id say together: steps 1 to 4."""
    kind = kind_of_name(name) if name else None
    word = _squeezed(medium)
    if word in _PER_CLICK or word in _PAID:
        paid = _PAID_AS.get(kind) or _paid_click(click)
        return paid or (_PAID_AS[Kind.SEARCH] if word in _PER_CLICK else ("other", True))
    if word in _ORGANIC:
        return _FREE_AS[Kind.SOCIAL if kind is Kind.SOCIAL else Kind.SEARCH]
    if word in _MEDIA:
        return _MEDIA[word]
    if kind is Kind.SOCIAL:
        return click if click == _PAID_AS[Kind.SOCIAL] else _FREE_AS[Kind.SOCIAL]
    if kind is Kind.EMAIL:
        return _FREE_AS[Kind.EMAIL]
    if kind is Kind.DISPLAY:
        return _PAID_AS[Kind.DISPLAY]
    if _MEDIA.get(_squeezed(name)) == _OFFLINE:
        return _OFFLINE
    if click is not None:
        return click
    return _FREE_AS[Kind.SEARCH] if kind is Kind.SEARCH and not word else OTHER


def _paid_click(click: Said | None) -> Said | None:
    """What a click id says where it is known that the click was paid for."""
    if click == _FREE_AS[Kind.SOCIAL]:
        return _PAID_AS[Kind.SOCIAL]
    return click if click is not None and click[1] else None


def _squeezed(word: str | None) -> str:
    return _BETWEEN_WORDS.sub("", word.lower()) if word else ""


@dataclass(frozen=True, slots=True)
class _OwnHosts:
    """The account's own hosts: these, with and without "www.", and all that end in one of `endings`."""

    hosts: frozenset[str]
    endings: tuple[str, ...]

    def hold(self, host: str) -> bool:
        return host.removeprefix("www.") in self.hosts or host.endswith(self.endings)


@lru_cache(maxsize=64)
def _own(given: frozenset[str]) -> _OwnHosts:
    hosts: set[str] = set()
    endings: list[str] = []
    for each in given:
        ending = each.strip().removeprefix("*").startswith(".")
        host = read_url(each if "://" in each else "//" + each.strip().removeprefix("*").lstrip(".")).host
        if host is not None:
            hosts.add(host.removeprefix("www."))
            if ending:
                endings.append("." + host)
    return _OwnHosts(frozenset(hosts), tuple(endings))


def _told(landing: _Landing, given: Utm) -> _Landing:
    """The landing with the utm parameters that were given beside its url in place of those in it."""
    if given == NO_UTM:
        return landing
    own = landing.utm or NO_UTM
    utm = tuple(said if said is not None else read for said, read in zip(given, own, strict=True))
    return landing._replace(utm=cast(Utm, utm) if any(utm) else None)


def _settle(landing: _Landing, origin: _Origin, own: _OwnHosts) -> VisitSource | None:
    name, medium, campaign, term, content = landing.utm or NO_UTM
    if landing.utm is not None:
        source, paid = _campaign(medium, name, landing.click)
    elif landing.click is not None:
        source, paid = landing.click
    elif origin.host is not None and (_same(origin.host, landing.host) or own.hold(origin.host)):
        return None
    else:
        source, paid = origin.said
    return VisitSource(source, paid, name, medium, campaign, term, content, origin.phrase)


def _same(host: str, other: str | None) -> bool:
    return other is not None and host.removeprefix("www.") == other.removeprefix("www.")


def derive_source(
    url: str | None, referrer: str | None, own_hosts: Collection[str] = (), utm: Utm = NO_UTM
) -> VisitSource | None:
    """Where a visit came from. None if it is internal: the referrer is on the landing url's host or on one of
    `own_hosts`, and neither a utm parameter nor a click id says otherwise; no new source is said then.

    An own host stands for itself and for itself behind "www."; `.shop.example` or `*.shop.example` stand for all hosts
    below too. None and "" are nothing given. `utm` are parameters that are known without the url: each that is not
    None stands in place of the url's own, as a campaign's source decides as if the url had it. Never raises, whatever
    the texts are.
    """
    assert not isinstance(own_hosts, str), "own_hosts is a collection of hosts"
    return _settle(_told(_landing(url), utm), _origin(referrer), _own(frozenset(own_hosts)))


COLUMNS = tuple(field.name for field in fields(VisitSource))


def derive_sources(
    urls: pa.Array | pa.ChunkedArray,
    referrers: pa.Array | pa.ChunkedArray,
    own_hosts: Collection[str] = (),
    utm: Sequence[pa.Array | pa.ChunkedArray] = (),
) -> dict[str, pa.ChunkedArray]:
    """`derive_source` of n visits: a column of n values by each name in COLUMNS, `paid` of bools, the others of
    strings; where a visit is internal all are null.

    `urls` and `referrers` are strings, plain or dictionary-encoded, or nulls, and so are the five of `utm` if there are
    any. Each distinct url, referrer and pair of them among SLICE_ROWS rows is read once; beside the columns it returns
    it holds what belongs to one such slice.
    """
    assert not isinstance(own_hosts, str), "own_hosts is a collection of hosts"
    assert len(urls) == len(referrers), (len(urls), len(referrers))
    assert len(utm) in (0, len(NO_UTM)), len(utm)
    # A column without a value says what no column says.
    utm = utm if any(column.null_count < len(column) for column in utm) else ()
    own = _own(frozenset(own_hosts))
    found: dict[str, list[pa.Array]] = {name: [] for name in COLUMNS}
    for first in range(0, len(urls), SLICE_ROWS):
        for part in _parts([_plain(column.slice(first, SLICE_ROWS)) for column in (urls, referrers, *utm)]):
            for name, values in _columns(part, own).items():
                found[name].append(values)
    return {name: pa.chunked_array(chunks, _type(name)) for name, chunks in found.items()}


def _type(name: str) -> pa.DataType:
    return pa.bool_() if name == "paid" else pa.string()


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    column = column.cast(pa.large_string())
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _parts(columns: list[pa.Array]) -> Iterator[list[pa.Array]]:
    """The rows in pieces of at most SLICE_BYTES, or of one row."""
    count = len(columns[0])
    if count > 1 and sum(column.nbytes for column in columns) > SLICE_BYTES:
        half = count // 2
        yield from _parts([column[:half] for column in columns])
        yield from _parts([column[half:] for column in columns])
    else:
        yield columns


def _columns(columns: list[pa.Array], own: _OwnHosts) -> dict[str, pa.Array]:
    codes, distinct = zip(*map(_distinct, columns), strict=True)
    landings = [_landing(url) for url in distinct[0]]
    origins = [_origin(referrer) for referrer in distinct[1]]
    # Which combinations of values there are: after each column few enough to be numbered together with the next.
    rows = codes[0]
    for more, values in zip(codes[1:], distinct[1:], strict=True):
        _, firsts, rows = np.unique(rows * len(values) + more, return_index=True, return_inverse=True)
    url_of, referrer_of, *given_of = (each[firsts].tolist() for each in codes)
    utm = (
        [[values[code] for code in of] for values, of in zip(distinct[2:], given_of, strict=True)]
        if given_of
        else [[None] * len(firsts)] * len(NO_UTM)
    )
    settled = [
        _settle(_told(landings[url], given), origins[referrer], own)
        for url, referrer, given in zip(url_of, referrer_of, zip(*utm, strict=True), strict=True)
    ]
    take = pa.array(rows)
    return {
        name: pa.array([None if s is None else getattr(s, name) for s in settled], _type(name)).take(take)
        for name in COLUMNS
    }


def _distinct(column: pa.Array) -> tuple[Any, list[str | None]]:
    """(for each row the number of its value, the values); null is a value."""
    encoded = column.dictionary_encode("encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()
