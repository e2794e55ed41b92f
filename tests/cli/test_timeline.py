"""`segidx events show`, on a data directory and on a server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from segidx.cli import timeline
from segidx.database import Database
from segidx.model.events import Event
from segidx.service import server

EVENTS = """\
event_id,contact_id,time,source,dwell
1,anna,2026-07-01 12:00:00,email,2.5
2,zoe,2026-07-02T12:00:00Z,direct,
3,anna,2026-07-03T00:00:00Z,,1
"""
LINES = """\
order_id,contact_id,time,paid,product,quantity,unit_price
o1,anna,2026-07-02T08:30:00Z,true,tea,2,1.50
o1,anna,2026-07-02T08:30:00Z,true,mug,1,
"""


@pytest.fixture
def told(segidx, tmp_path, csv_file):
    """A data directory with contacts, visits and an order."""
    data, visits, lines = tmp_path / "data", tmp_path / "visits.csv", tmp_path / "orders.csv"
    visits.write_text(EVENTS)
    lines.write_text(LINES)
    assert segidx("import", "contacts", csv_file, "--id", "id", "--data", data).code == 0
    assert segidx("import", "events", "visit", visits, "--data", data).code == 0
    assert segidx("import", "events", "order", lines, "--data", data).code == 0
    return data


@pytest.fixture(params=["data", "server"])
def place(request, told):
    if request.param == "data":
        yield ["--data", told]
        return
    with Database.open(told) as database, server.start(database, port=0) as running:
        yield ["--server", running.address]


def test_a_timeline_is_shown(segidx, place):
    found = segidx("events", "show", "anna", *place)
    assert (found.code, found.err) == (0, "")
    assert found.out == (
        "2026-07-03T00:00:00.000Z  visit  3  dwell=1.000\n"
        "2026-07-02T08:30:00.000Z  order  o1  amount=3.00  paid=true\n"
        "    product=tea  quantity=2.000  unit_price=1.50  amount=3.00\n"
        "    product=mug  quantity=1.000\n"
        "2026-07-01T12:00:00.000Z  visit  1  dwell=2.500  source=email\n"
    )
    assert segidx("events", "show", "cora", *place).out == ""


def test_a_part_of_a_timeline(segidx, place, monkeypatch):
    def ids(*options):
        found = segidx("events", "show", "anna", *options, "--json", *place)
        assert found.code == 0, found.err
        return [each["event_id"] for each in found.json["events"]]

    assert ids("--oldest-first") == ["1", "o1", "3"]
    assert ids("--type", "order") == ["o1"]
    assert ids("-t", "order", "-t", "visit", "--limit", 2) == ["3", "o1"]
    assert ids("--since", "2026-07-02", "--until", "2026-07-03T00:00:00Z") == ["o1"]
    assert ids("--since", "2026-07-03T02:00:00+02:00") == ["3"]
    monkeypatch.setattr(timeline, "_PAGE", 1)
    assert ids() == ["3", "o1", "1"]
    assert ids("--limit", 2) == ["3", "o1"]
    cut = segidx("events", "show", "anna", "--limit", 1, *place)
    assert cut.out.count("\n") == 1
    assert cut.err == "segidx: there are more; these are 1 (--limit)\n"


def test_a_timeline_as_json(segidx, place):
    found = segidx("events", "show", "anna", "--json", "--type", "order", *place).json
    assert found["events"] == [
        {
            "type": "order",
            "event_id": "o1",
            "time": "2026-07-02T08:30:00.000Z",
            "properties": {"paid": True, "amount": "3.00"},
            "lines": [
                {"product": "tea", "quantity": "2.000", "unit_price": "1.50", "amount": "3.00"},
                {"product": "mug", "quantity": "1.000"},
            ],
        }
    ]
    assert found["generation"] > 0
    assert found["evaluated_at"].endswith("Z")


def test_history_and_revisions_are_shown(segidx, told):
    segidx("schema", "set", "country=category tracked", "--data", told)
    with Database.open(told) as database:
        account = database.account()
        account.upsert([("cora", {"country": "DE"})])
        account.write_events([Event("visit", "r", "cora", datetime(2026, 7, 4, tzinfo=UTC), {}, 12)])
    shown = segidx("events", "show", "cora", "--data", told).out.splitlines()
    assert {line[26:] for line in shown} == {"change  field=country  value=DE", "visit   r  (revision 12)"}
    history = segidx("events", "show", "cora", "--type", "change", "--json", "--data", told).json["events"]
    assert [set(each) for each in history] == [{"type", "time", "properties"}]


def test_what_is_refused(segidx, place):
    found = segidx("events", "show", "nobody", *place)
    assert (found.code, found.err) == (3, "segidx: error: there is no contact 'nobody'\n")
    found = segidx("events", "show", "anna", "--type", "visits", *place)
    assert found.code == 2
    assert "did you mean 'visit'?" in found.err
    found = segidx("events", "show", "anna", "--since", "yesterday", *place)
    assert found.code == 2
    assert "'yesterday' is not an instant such as 2026-01-31T18:30:00Z" in found.err
