"""Hosts that an account says are its own: visits from them have no new source, whichever way they are written."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from segidx.client import connect
from segidx.database import Account, Database
from segidx.model.events import Event
from segidx.model.source_settings import SourceSettings
from segidx.service.server import start

T = datetime(2026, 1, 1, tzinfo=UTC)
# Who, the landing url, the referrer.
VISITS = (
    ("path", "/cart", "https://shop.example/home"),
    ("www", "/cart", "https://www.shop.example/home"),
    ("back", "https://shop.example/thanks", "https://secure.pay.example/3ds"),
    ("beside", "/cart", "https://blog.shop.example/"),
    ("campaign", "/cart?utm_medium=email", "https://shop.example/home"),
)


def write(account: Account, directory: Path) -> None:
    """Each by a row, and by a file with another contact."""
    rows = [Event("visit", who, who, T, {"url": url, "referrer": referrer}) for who, url, referrer in VISITS]
    assert account.write_events(rows).event_rejects == ()
    names, urls, referrers = (pa.array(column) for column in zip(*VISITS, strict=True))
    ids = pa.array([f"file {who}" for who in names.to_pylist()])
    times = pa.array([T] * len(VISITS), pa.timestamp("ms", "UTC"))
    columns = {"event_id": ids, "contact_id": ids, "time": times, "url": urls, "referrer": referrers}
    pq.write_table(pa.table(columns), directory / "visits.parquet")
    account.import_events("visit", directory / "visits.parquet")


def with_source(account: Account, source: str) -> set[str]:
    found = account.preview(f'did(visit where source = "{source}")', limit=100).contacts
    return {contact.contact_id for contact in found}


def test_visits_from_own_hosts(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        write(account, tmp_path)
        first = {"path", "www", "back", "beside"}
        assert with_source(account, "referral") == first | {f"file {who}" for who in first}
        generation = account.generation()
        account.set_source_settings(SourceSettings(own_hosts=("shop.example", ".pay.example")))
        assert account.generation() == generation
        assert with_source(account, "referral") == first | {f"file {who}" for who in first}  # stored already
        write(account, tmp_path)
        assert with_source(account, "referral") == {"beside", "file beside"}
        assert with_source(account, "email") == {"campaign", "file campaign"}
    with Database.open(tmp_path / "data", read_only=True) as database:
        assert database.account().source_settings == SourceSettings(30, ("shop.example", ".pay.example"))


def test_over_grpc(tmp_path: Path) -> None:
    with (
        Database.open(tmp_path / "data", create=True) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        account = client.account("default")
        account.set_source_settings(SourceSettings(own_hosts=("shop.example",)))
        who, url, referrer = VISITS[0]
        account.write_events([Event("visit", who, who, T, {"url": url, "referrer": referrer})])
        assert account.count("did(visit where source is not set)").count == 1
