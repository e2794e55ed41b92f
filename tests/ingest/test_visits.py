"""Where visits came from when they do not say so: the same from rows, files and the protocol, and for the oracle."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segidx.client import Batch, connect
from segidx.database import Database
from segidx.ingest.event_rows import events_from_rows
from segidx.ingest.events_arrow import events_from_arrow
from segidx.ingest.sources import open_source
from segidx.model.events import VISIT, Event, EventTypes, Retraction
from segidx.model.schema import AccountInfo
from segidx.service.server import start
from segidx.testing.event_files import write_events_file
from segidx.testing.oracle_event_rows import take

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp() * 1000)
TYPES = EventTypes()
ACCOUNT = AccountInfo("shop", "Europe/Warsaw", "PLN")
SHOP = "https://shop.example/sale"
CAMPAIGN = SHOP + "?utm_source=google&utm_medium=cpc&utm_campaign=spring"
SEARCH = "https://www.google.com/search?q=red+shoes"


def visit(event_id="v", contact_id="anna", **properties):
    return Event("visit", event_id, contact_id, NOON, properties)


def kept(batch):
    """What each visit holds, by its id."""
    found = {event_id: {} for event_id in batch.ids.to_pylist()}
    for declared, column in zip(VISIT.properties, batch.properties[:-1], strict=True):
        values = column.values.to_pylist() if isinstance(column.values, pa.Array) else column.values.tolist()
        for properties, value, there in zip(found.values(), values, column.present.tolist(), strict=True):
            if there:
                properties[declared.name] = bool(value) if declared.name == "paid" else value
    return found


def written(*rows):
    (batch,) = events_from_rows(rows, TYPES, ACCOUNT, NOW)
    assert not batch.rejects
    return kept(batch)


def imported(path):
    source = open_source(path)
    names = {name: name for name in source.columns}
    (batch,) = (
        events_from_arrow(rows, names, VISIT, ACCOUNT, NOW) for rows in source.batches(source.columns, 1_000_000)
    )
    assert not batch.rejects
    return kept(batch)


FOUND = {"source": "paid_search", "paid": True, "utm_source": "google", "utm_medium": "cpc", "utm_campaign": "spring"}


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ({"url": CAMPAIGN}, FOUND),
        ({"url": CAMPAIGN, "referrer": SEARCH}, {**FOUND, "search_phrase": "red shoes"}),
        ({"url": SHOP}, {"source": "direct", "paid": False}),
        ({"referrer": SEARCH}, {"source": "organic_search", "paid": False, "search_phrase": "red shoes"}),
        ({"url": SHOP, "referrer": "-"}, {"source": "direct", "paid": False}),
        # Neither is said: nothing is known of where it came from.
        ({}, {}),
        ({"dwell": 1, "utm_source": "google", "utm_medium": "cpc"}, {}),
        ({"url": "", "referrer": ""}, {}),
        # From the site itself, unless a campaign says otherwise.
        ({"url": SHOP, "referrer": "https://www.shop.example/"}, {}),
        ({"url": CAMPAIGN, "referrer": SHOP}, FOUND),
        # What is given stands, an empty string too.
        ({"url": CAMPAIGN, "source": "tv"}, {n: v for n, v in FOUND.items() if n not in ("source", "paid")}),
        ({"url": SHOP, "referrer": SEARCH, "source": ""}, {"search_phrase": "red shoes"}),
        ({"url": CAMPAIGN, "paid": False}, {n: v for n, v in FOUND.items() if n != "paid"}),
        ({"url": CAMPAIGN, "utm_campaign": "summer"}, {n: v for n, v in FOUND.items() if n != "utm_campaign"}),
        ({"referrer": SEARCH, "search_phrase": ""}, {"source": "organic_search", "paid": False}),
        # Parameters that are given beside the url decide as if it had them.
        ({"url": SHOP, "utm_medium": "email"}, {"source": "email", "paid": False}),
        (
            {"url": CAMPAIGN, "utm_source": "facebook"},
            {**{n: v for n, v in FOUND.items() if n != "utm_source"}, "source": "paid_social"},
        ),
        (
            {"url": SHOP, "referrer": SEARCH, "utm_medium": ""},
            {"source": "organic_search", "paid": False, "search_phrase": "red shoes"},
        ),
        ({"url": SHOP, "referrer": SHOP, "utm_source": "newsletter"}, {"source": "email", "paid": False}),
    ],
)
def test_what_is_filled_in(given, filled, tmp_path):
    expected = {**given, **filled}
    if "dwell" in given:
        expected["dwell"] = 1000
    # Alone, and among others: columns are filled for some of the rows.
    assert written(visit(**given)) == {"v": expected}
    others = [visit("a", url=SHOP, source="x"), visit("b"), Retraction("visit", "c")]
    assert written(*others[:2], visit(**given), others[2])["v"] == expected
    assert take(visit(**given), TYPES, 2, NOW).kept.event.properties == {**given, **filled}
    files = [tmp_path / "v.parquet", tmp_path / "v.arrow"]
    if "" not in given.values():  # which text has not
        files.append(tmp_path / "v.csv")
    for path in files:
        write_events_file(path, VISIT, [*others[:2], visit(**given)], 2)
        assert imported(path)["v"] == expected


def test_a_file_of_urls_alone(tmp_path):
    """It has no columns of what is filled in."""
    path = tmp_path / "v.csv"
    path.write_text(f"event_id,contact_id,time,url\nv,anna,2026-07-01T12:00:00Z,{CAMPAIGN}\nw,anna,2026-07-01,\n")
    assert imported(path) == {"v": {"url": CAMPAIGN, **FOUND}, "w": {}}
    table = pa.table({"event_id": ["v"], "contact_id": ["anna"], "time": [NOON], "referrer": [SEARCH]})
    pq.write_table(table, tmp_path / "v.parquet")
    assert imported(tmp_path / "v.parquet")["v"]["source"] == "organic_search"


def test_only_visits_are_filled_in():
    other = EventTypes().extended([replace(VISIT, name="store_visit", number=0)])
    (batch,) = events_from_rows([replace(visit(url=CAMPAIGN), type="store_visit")], other, ACCOUNT, NOW)
    assert kept(batch) == {"v": {"url": CAMPAIGN}}


def test_random_visits_are_the_same_by_all_ways(tmp_path):
    rng = random.Random(7)
    for number in range(25):
        visits = [random_visit(rng, f"v{n}") for n in range(rng.choice((1, 7, 300)))]
        by_rows = written(*visits)
        for row in visits:
            properties = dict(take(row, TYPES, 2, NOW).kept.event.properties)
            if "dwell" in properties:
                properties["dwell"] = int(properties["dwell"] * 1000)
            assert by_rows[row.event_id] == properties, row
        path = tmp_path / f"{number}{('.parquet', '.arrow')[number % 2]}"
        write_events_file(path, VISIT, visits, 2)
        assert imported(path) == by_rows


HOSTS = ("https://shop.example", "https://www.shop.example:443", "", "https://www.google.de", "https://m.facebook.com")
PARAMETERS = (
    *(
        "utm_source=google",
        "utm_source=Fa%C3%A7ebook",
        "utm_medium=cpc",
        "utm_medium=e-mail",
        "utm_term=a+b",
        "gclid=1",
    ),
    *("utm_content=e%CC%81", "q=red+shoes", "fbclid=x", "utm_campaign=", "page=2"),
)


def random_visit(rng, event_id):
    def url():
        query = "&".join(rng.sample(PARAMETERS, rng.randrange(4)))
        return None if rng.random() < 0.2 else rng.choice(("", "-", *(f"{host}/a?{query}" for host in HOSTS)))

    def some(*values):
        return rng.choice(values) if rng.random() < 0.2 else None

    properties = {
        "url": url(),
        "referrer": url(),
        "source": some("email", "", "e\u0301"),
        "paid": some(True, False),
        "utm_source": some("google", "", "facebook", "e\u0301"),
        "utm_medium": some("cpc", "email", "", "x" * 2048),
        "utm_campaign": some("spring", ""),
        "utm_content": some("top"),
        "search_phrase": some("", "hats"),
        "dwell": some(Decimal("1.5"), 3),
    }
    return visit(event_id, **{name: value for name, value in properties.items() if rng.random() < 0.9})


def test_by_every_way_into_an_account(tmp_path):
    given = {
        "paid": {"url": CAMPAIGN},
        "searched": {"referrer": SEARCH, "url": SHOP},
        "walked": {"referrer": SHOP, "url": SHOP},
        "said": {"source": "tv", "url": CAMPAIGN},
        "silent": {"dwell": 3},
    }
    asked = {
        'did(visit where source = "paid_search" and paid)': {"paid"},
        'did(visit where utm_campaign = "spring")': {"paid", "said"},
        'did(visit where source = "organic_search" and not paid and search_phrase = "red shoes")': {"searched"},
        "did(visit where source is not set)": {"walked", "silent"},
        "did(visit where paid is not set)": {"walked", "silent", "said"},
    }
    visits = [visit(name, name, **properties) for name, properties in given.items()]
    files = [tmp_path / "v.csv", tmp_path / "v.parquet"]
    for path in files:
        write_events_file(path, VISIT, visits, 2)
    with Database.open(tmp_path / "data", create=True, clock=lambda: NOW) as database:
        for path in files:
            account = database.create_account(AccountInfo(path.suffix[1:]))
            assert account.import_events("visit", path).events == len(visits)
        database.create_account(AccountInfo("rows")).write_events(visits)
        database.create_account(AccountInfo("remote"))
        database.create_account(AccountInfo("stream"))
        with start(database, port=0) as server, connect(server.address) as client:
            assert client.account("remote").write_events(visits).events_accepted == len(visits)
            (result,) = client.account("stream").write_stream([Batch(events=visits)])
            assert result.events_accepted == len(visits)
        for name in ("csv", "parquet", "rows", "remote", "stream"):
            account = database.account(name)
            for text, contacts in asked.items():
                found = {contact.contact_id for contact in account.preview(text, limit=100).contacts}
                assert found == contacts, (name, text)
