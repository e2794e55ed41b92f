"""`segidx events`, and `segidx import events` of types other than `order`."""

from __future__ import annotations

import pytest

from segidx.database import Database
from segidx.model.events import BUILT_IN
from segidx.service import server

VISITS = """\
event_id,contact_id,time,source,dwell,page
1,anna,2026-07-01 12:00:00,email,2.5,/a
2,zoe,2026-07-02T12:00:00Z,direct,,/b
1,anna,2026-07-01 13:00:00,social,1,/c
"""
DOWNLOAD = (
    "-p",
    "file=category",
    "-p",
    "price=money",
    "-p",
    "size=number(0)",
    "-p",
    "published=timestamp",
    "-p",
    "read=bool",
)


@pytest.fixture
def visits(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text(VISITS)
    return path


def test_types_are_declared_and_listed(segidx, target):
    found = segidx("events", "list", *target)
    assert (found.code, found.err) == (0, "")
    assert [line.split()[0] for line in found.out.splitlines()] == [*(each.name for each in BUILT_IN), "group", "group"]
    assert "order     source category, paid bool, amount money\n" in found.out
    found = segidx("events", "declare", "download", *DOWNLOAD, *target)
    assert (found.code, found.err) == (0, "")
    properties = "file category, price money, size number(0), published timestamp, read bool"
    assert found.out == f"declared download ({properties})\n"
    assert segidx("events", "declare", "download", *DOWNLOAD, *target).code == 0
    assert segidx("events", "declare", "bare", *target).out == "declared bare\n"
    assert segidx("events", "list", *target).out.endswith(
        f"download  {properties}\nbare      (no properties)\n"
        'group interaction: visit, order, cart, message where kind = "clicked"\n'
        'group touch: message where kind = "sent", activity where kind = "call"\n'
    )
    listed = segidx("events", "list", "--json", *target).json["event_types"]
    assert [(each["name"], each["built_in"]) for each in listed[-3:]] == [
        ("activity", True),
        ("download", False),
        ("bare", False),
    ]
    assert listed[-2]["properties"] == dict(word.split(" ") for word in properties.split(", "))
    assert segidx("count", 'did(download where price > 1 and file = "a")', *target).out == "0\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("x", "-p", "price"), 2, "--property 'price': write NAME=TYPE"),
        (("x", "-p", "price=text"), 2, "'text' is not a type; the types are category, bool, timestamp, number"),
        (("x", "-p", "price=number(2"), 2, "is not a type"),
        (("x", "-p", "price=number(10)"), 2, "scale is the decimals of a number, 0 to 9"),
        (("x", "-p", "seen=bool", "-p", "seen=bool"), 2, "declares a property twice"),
        (("Visit",), 2, "must be 1 to 64 of a-z"),
        (("during",), 2, "no word of the text syntax"),
        (("visit",), 4, "has other properties already"),
    ],
)
def test_types_that_cannot_be_declared(segidx, target, arguments, code, says):
    found = segidx("events", "declare", *arguments, *target)
    assert found.code == code
    assert says in found.err


def test_groups_are_set_and_listed(segidx, target):
    members = ("visit", "order # every one", 'message   where kind="opened"')
    found = segidx("events", "group", "interaction", *members, *target)
    assert (found.code, found.err) == (0, "")
    assert found.out == 'group interaction: visit, order, message where kind = "opened"\n'
    listed = segidx("events", "list", *target).out
    assert listed.endswith(found.out + 'group touch: message where kind = "sent", activity where kind = "call"\n')
    assert segidx("events", "list", "--json", *target).json["event_groups"] == [
        {"name": "interaction", "members": ["visit", "order", 'message where kind = "opened"']},
        {"name": "touch", "members": ['message where kind = "sent"', 'activity where kind = "call"']},
    ]
    assert segidx("count", "never(interaction)", *target).out == "3\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("visit", "visit"), "there is no event group 'visit'; the groups are interaction and touch"),
        (("touch",), "Missing argument 'MEMBER...'"),
        ((), "Missing argument 'NAME'"),
        (("touch", *["visit"] * 65), "has 1 to 64 members, not 65"),
        (("touch", "visit during last 3 days"), "windows stand where the group is asked for"),
        (("touch", "visit", "interaction"), "'interaction' is a group; name its types"),
        (("touch", "visits"), "did you mean 'visit'"),
        (("touch", "visit where urls is set"), "did you mean 'url'"),
        (("touch", "visit where ..."), "unfinished"),
        (("touch", "visit where"), "is no member of an event group"),
        (("touch", "visit, order"), "is no member of an event group"),
        (("touch", ""), "'' is no member of an event group"),
    ],
)
def test_groups_that_cannot_be_set(segidx, target, arguments, says):
    found = segidx("events", "group", *arguments, *target)
    assert (found.code, says in found.err.replace("\n", " ")) == (2, True), found
    assert "group touch: message where kind" in segidx("events", "list", *target).out


def test_events_are_imported(segidx, csv_file, visits, tmp_path):
    data = tmp_path / "data"
    assert segidx("import", "contacts", csv_file, "--id", "id", "--data", data).code == 0
    found = segidx("import", "events", "visit", visits, "--map", "url=page", "--data", data)
    assert (found.code, found.err) == (0, "")
    assert "3 rows; 2 events written (1 new contacts), 1 unchanged, 0 rows refused" in found.out
    assert segidx("count", "everyone", "--data", data).out == "4\n"
    assert segidx("count", 'did(visit where source = "social" and url = "/c")', "--data", data).out == "1\n"
    assert segidx("count", 'did(visit where source = "email")', "--data", data).out == "0\n"
    assert segidx("verify", "--data", data).code == 0


def test_files_of_a_declared_type_as_json(segidx, tmp_path):
    data = tmp_path / "data"
    assert segidx("account", "create", "default", "--data", data).code in (0, 4)
    assert segidx("events", "declare", "download", *DOWNLOAD, "--data", data).code == 0
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("event_id,contact_id,time,file,price,note\n1,anna,2026-07-01T00:00:00Z,a,1.50,x\n")
    two.write_text("event_id,contact_id,time,price\n2,bert,2026-07-01T00:00:00Z,1.505\n3,cora,2026-07-01T00:00:00Z,2\n")
    first, second = segidx("import", "events", "download", one, two, "--data", data, "--json").json["files"]
    assert (first["events"], first["contacts_created"], first["rejects"], first["ignored_columns"]) == (
        1,
        1,
        None,
        ["note"],
    )
    assert (second["events"], second["rejected"], second["rejects"]) == (1, 1, f"{two}.rejects.csv")
    assert segidx("count", "sum(download.price) >= 1.5", "--data", data).out == "2\n"


def test_wrong_usage(segidx, visits, tmp_path):
    never = tmp_path / "never"
    for arguments, code, says in (
        (("vist", visits), 3, "no data directory"),
        (("line", visits), 2, "a line is written with its order"),
        (("visit", visits, "-m", "soruce=page"), 2, "did you mean 'source'?"),
        (("visit", visits, "-m", "url"), 2, "write NAME=COLUMN"),
        (("visit", tmp_path / "none.csv"), 2, "none.csv"),
        (("visit", visits, visits, "--rejects", tmp_path / "r.csv"), 2, "--rejects goes with one FILE"),
        (("visit",), 2, "Missing argument"),
    ):
        found = segidx("import", "events", *arguments, "-d", never)
        assert (found.code, says in found.err) == (code, True), (arguments, found)
    assert not never.exists()
    assert segidx("account", "create", "shop", "--data", never).code == 0
    found = segidx("import", "events", "vist", visits, "-d", never, "-a", "shop")
    assert (found.code, "did you mean 'visit'" in found.err) == (2, True)


def test_a_server_refuses(segidx, visits, tmp_path):
    with Database.open(tmp_path / "data", create=True) as database, server.start(database, port=0) as running:
        found = segidx("import", "events", "visit", visits, "--server", running.address)
        assert found.code == 2
        assert "events are not imported through a server; stop it" in found.err


def test_sources_are_set_and_shown(segidx, target):
    assert segidx("events", "sources", *target).out == "order minutes: 30\nown hosts: (none)\n"
    hosts = ("--own-host", "Shop.example", "--own-host", ".pay.example")
    found = segidx("events", "sources", "--order-minutes", "0", *hosts, *target)
    assert (found.code, found.out) == (0, "order minutes: 0\nown hosts: shop.example, .pay.example\n")
    told = segidx("events", "sources", "--order-minutes", "60", "--json", *target).json
    assert told == {"order_minutes": 60, "own_hosts": ["shop.example", ".pay.example"]}
    found = segidx("events", "sources", "--no-own-hosts", *target)
    assert found.out == segidx("events", "sources", *target).out == "order minutes: 60\nown hosts: (none)\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--order-minutes", "-1"), "order_minutes is 0 (no order takes a visit's source) to 10080, not -1"),
        (("--own-host", "https://x.example"), "is not a host such as 'shop.example'"),
        (("--own-host", "x.example", "--no-own-hosts"), "not both"),
    ],
)
def test_sources_that_cannot_be_set(segidx, target, arguments, says):
    found = segidx("events", "sources", *arguments, *target)
    assert (found.code, found.out) == (2, "")
    assert says in found.err
    assert segidx("events", "sources", *target).out == "order minutes: 30\nown hosts: (none)\n"
