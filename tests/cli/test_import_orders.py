"""`segidx import events order`."""

from __future__ import annotations

import os

import pytest

from segidx.database import Database
from segidx.service import server

ORDERS = """\
number,contact_id,time,product,quantity,unit_price
1,anna,2026-07-01 12:00:00,tea,2,1.50
1,anna,2026-07-01 12:00:00,cup,1,4
2,zoe,2026-07-02T12:00:00Z,tea,1,1.50
"""


@pytest.fixture
def orders_file(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(ORDERS)
    return path


def test_orders_are_imported(segidx, csv_file, orders_file, tmp_path):
    data = tmp_path / "data"
    assert segidx("import", "contacts", csv_file, "--id", "id", "--data", data).code == 0
    found = segidx("import", "events", "order", orders_file, "--map", "order_id=number", "--data", data)
    assert (found.code, found.err) == (0, "")
    assert "3 rows; 2 orders with 3 lines written (1 new contacts), 0 rows refused" in found.out
    assert segidx("count", "everyone", "--data", data).out == "4\n"
    assert segidx("verify", "--data", data).code == 0


def test_several_files_as_json(segidx, orders_file, tmp_path):
    other = tmp_path / "more.csv"
    other.write_text("number,contact_id,time,note\n3,anna,2026-07-03,x\n1,anna,2026-07-03,x\n")
    found = segidx(
        "import", "events", "order", orders_file, other, "-m", "order_id=number", "-d", tmp_path / "d", "--json"
    )
    first, second = found.json["files"]
    assert (first["orders"], first["lines"], first["contacts_created"], first["rejects"]) == (2, 3, 2, None)
    assert (second["orders"], second["rejected"], second["ignored_columns"]) == (1, 1, ["note"])
    assert second["rejects"] == f"{other}.rejects.csv"
    assert found.code == 0


def test_refused_rows_are_told(segidx, orders_file, tmp_path):
    orders_file.write_text(ORDERS + "3,anna,2026-07-01,tea,1,1.505\n")
    found = segidx("import", "events", "order", orders_file, "-m", "order_id=number", "-d", tmp_path / "d")
    assert "refused row 3: order '3': field 'unit_price': '1.505' has more than 2 decimals" in found.err
    assert "1 rows refused, and all else of their orders; " in found.out
    assert str(orders_file) + ".rejects.csv" in found.err


def test_wrong_usage(segidx, orders_file, tmp_path):
    data = tmp_path / "d"
    one = ("import", "events", "order", orders_file)
    found = segidx(*one, "-d", data)
    assert found.code == 2
    assert "has no column 'order_id'; say which one it is with --map" in found.err
    found = segidx(*one, "-d", data, "-m", "oder_id=number")
    assert found.code == 2
    assert "did you mean 'order_id'?" in found.err
    found = segidx(*one, orders_file, "-d", data, "--rejects", tmp_path / "r.csv")
    assert (found.code, "--rejects goes with one FILE" in found.err) == (2, True)
    assert segidx(*one[:3], tmp_path / "none.csv", "-d", tmp_path / "never").code == 2
    assert not (tmp_path / "never").exists()


def test_a_server_refuses(segidx, orders_file, tmp_path):
    with Database.open(tmp_path / "data", create=True) as database, server.start(database, port=0) as running:
        found = segidx("import", "events", "order", orders_file, "-m", "order_id=number", "--server", running.address)
        assert found.code == 2
        assert "stop it and import in its data directory, with --data DIR" in found.err
        # Nor is the directory open for a second writer.
        found = segidx("import", "events", "order", orders_file, "-m", "order_id=number", "--data", tmp_path / "data")
        assert found.code == 5


def test_a_directory_that_is_served(segidx, orders_file, tmp_path):
    """What others say of such a directory, to send the request to its server, does not help here."""
    data = tmp_path / "d"
    with Database.open(data, create=True):
        found = segidx("import", "events", "order", orders_file, "-m", "order_id=number", "-d", data)
    assert found.code == 5
    assert f"by process {os.getpid()}; stop it: files of events are not imported through a server" in found.err
    assert "--server" not in found.err
