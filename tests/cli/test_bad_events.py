"""Files with bad events on the command line: each bad row is told with its row and field, the valid rest is counted."""

from __future__ import annotations

import csv

LONG = "".join(f"long,anna,2026-07-01,P,{n % 7 + 1},,PLN,\n" for n in range(10_000))
ORDERS = (
    "order_id,contact_id,time,product,quantity,amount,currency,paid\n"
    "1,anna,2026-07-01,P,1,9.99,PLN,true\n"
    "2,anna,1969-12-31,P,1,9.99,PLN,true\n"
    "3,anna,2026-07-01,P,1,9.999,PLN,true\n"
    "4,anna,2026-07-01,P,1,9.99,EUR,true\n"
    "5,anna,2026-07-01,P,many,9.99,PLN,true\n"
    "6,anna,2026-07-01,P,1,9.99,PLN,perhaps\n"
    ",anna,2026-07-01,P,1,9.99,PLN,true\n"
    f"{LONG}"
    "7,zoe,2026-07-01,P,2,19.98,PLN,\n"
)


def rejects(path):
    with path.with_name(f"{path.name}.rejects.csv").open(newline="") as file:
        return [(int(row["row"]), row["field"], row["message"]) for row in csv.DictReader(file)]


def test_orders(segidx, tmp_path):
    data, path = tmp_path / "data", tmp_path / "orders.csv"
    path.write_text(ORDERS)
    created = ("--zone", "Europe/Warsaw", "--currency", "PLN", "--data", data)
    assert segidx("account", "create", "shop", *created).code == 0
    target = ("--account", "shop", "--data", data)
    found = segidx("import", "events", "order", path, *target)
    assert found.code == 0
    assert "2 orders with 2 lines written (2 new contacts)" in found.out
    told = rejects(path)
    few = [each for each in told if each[0] < 7]
    assert [(row, field) for row, field, _ in few] == [
        (1, "time"),
        (2, "amount"),
        (3, "currency"),
        (4, "quantity"),
        (5, "paid"),
        (6, "order_id"),
    ]
    for (row, _, message), said in zip(
        few,
        (
            "order '2': field 'time': '1969-12-31' is before 1970",
            "'9.999' has more than 2 decimals",
            "'EUR' is not the account's currency, PLN",
            "'many'",
            "'perhaps'",
            "there is no order id",
        ),
        strict=True,
    ):
        assert message.startswith(f"row {row}: ")
        assert said in message
    # All rows of the order are refused with it, and none of another.
    long = [each for each in told if each[0] >= 7]
    assert {field for _, field, _ in long} == {"lines"}
    assert all("at most 5,000 lines, not 10,000" in message for *_, message in long)
    assert segidx("count", "sum(order.amount) = 9.99", *target).out == "1\n"
    assert segidx("count", "count(line) = 1", *target).out == "2\n"
    assert segidx("verify", "--data", data).code == 0


def test_other_events(segidx, tmp_path):
    data, path = tmp_path / "data", tmp_path / "downloads.csv"
    assert segidx("account", "create", "shop", "--data", data).code == 0
    declared = ("-p", "file=category", "-p", "price=money", "-p", "read=bool", "-p", "published=timestamp")
    target = ("--account", "shop", "--data", data)
    assert segidx("events", "declare", "download", *declared, *target).code == 0
    path.write_text(
        "event_id,contact_id,time,file,price,read,published,colour\n"
        "1,anna,2026-07-01T12:00:00Z,a.pdf,9.99,true,2026-01-01,red\n"
        "2,anna,1969-12-31T12:00:00Z,a.pdf,9.99,true,2026-01-01,red\n"
        "3,anna,2026-07-01T12:00:00Z,a.pdf,9.999,true,2026-01-01,red\n"
        "4,anna,2026-07-01T12:00:00Z,a.pdf,cheap,true,2026-01-01,red\n"
        "5,anna,2026-07-01T12:00:00Z,a.pdf,1,perhaps,2026-01-01,red\n"
        "6,anna,2026-07-01T12:00:00Z,a.pdf,1,true,soon,red\n"
        "7,zoe,2026-07-01T12:00:00.0019Z,b.pdf,1,false,,red\n"
    )
    found = segidx("import", "events", "download", path, *target, "--json")
    assert found.code == 0
    (file,) = found.json["files"]
    # A column that the type has no property for is told, and left out.
    assert (file["rejected"], file["ignored_columns"]) == (5, ["colour"])
    told = rejects(path)
    assert [(row, field) for row, field, _ in told] == [
        (1, "time"),
        (2, "price"),
        (3, "price"),
        (4, "read"),
        (5, "published"),
    ]
    assert all(message.startswith(f"row {row}: ") for row, _, message in told)
    assert segidx("count", "did(download where read)", *target).out == "1\n"
    assert segidx("count", "last(download).time = 2026-07-01T12:00:00.001Z", *target).out == "1\n"
    # Asked for by name it is refused, and so are lines without their orders.
    found = segidx("import", "events", "download", path, *target, "--map", "color=colour")
    assert (found.code, "color" in found.err) == (2, True)
    found = segidx("import", "events", "line", path, *target)
    assert found.code == 2
    assert "order" in found.err
