"""Every command, on a data directory and on a server: the same words out."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from segidx.cli.main import pointed_at
from segidx.database import Database


def test_import_makes_the_directory_and_says_what_it_did(segidx, csv_file, tmp_path):
    found = segidx("import", "contacts", csv_file, "--id", "id", "--data", tmp_path / "new" / "data", "--json")
    assert found.code == 0
    assert found.err == ""
    report = found.json
    assert report["rows"] == report["accepted"] == report["created"] == 3
    assert report["rejects"] is None
    assert report["fields"] == {
        "email": "text",
        "country": "category",
        "income": "number(2)",
        "born": "date",
        "vip": "bool",
        "tags": "category",
        "seen": "timestamp",
    }


def test_import_options_and_refused_rows(segidx, csv_file, tmp_path):
    csv_file.write_text(csv_file.read_text() + "dora,,,12.345,,,x y,\n")
    data, toml, rejects = tmp_path / "data", tmp_path / "f.toml", tmp_path / "bad.csv"
    toml.write_text('[fields]\nborn = "skip"\n[rename]\ncountry = "nation"\n')
    found = segidx(
        "import", "contacts", csv_file, "--id", "id", "-d", data, "-f", "tags=tags", "-f", "income=number(2)",
        "--schema", toml, "--rejects", rejects, "--tag-separator", "|",
    )  # fmt: skip
    assert found.code == 0
    assert "4 rows; 3 contacts written (3 new), 0 duplicates, 1 refused" in found.out
    assert "refused row 3: field 'income': '12.345' has more than 2 decimals" in found.err
    assert str(rejects) in found.err
    assert rejects.read_text().startswith("row,contact_id,field,reason,message\n3,dora,income,INVALID_VALUE,")
    assert segidx("count", 'tags has all ("gold", "new") and nation = "PL"', "-d", data).out == "1\n"
    assert "born" not in segidx("schema", "show", "-d", data).out


def test_lines_of_too_many_or_too_few_cells_are_refused_rows(segidx, tmp_path, target):
    path = tmp_path / "more.csv"
    path.write_text("id,country\ndora,PL\nemil\nfred,DE,x\ngina,CZ\n")
    found = segidx("import", "contacts", path, "--id", "id", *target)
    assert found.code == 0
    assert "4 rows; 2 contacts written (2 new), 0 duplicates, 2 refused" in found.out
    assert "refused row 1: the line has 1 cell and the header 2 columns, which are parted by ','; write an" in found.err
    assert "refused row 2: the line has 3 cells" in found.err
    lines = (tmp_path / "more.csv.rejects.csv").read_text().splitlines()
    assert [line.split(",")[:4] for line in lines[1:]] == [["1", "", "", "RAGGED_ROW"], ["2", "", "", "RAGGED_ROW"]]
    assert segidx("count", "everyone", *target).out == "5\n"


def test_import_through_a_server_is_the_same(segidx, csv_file, tmp_path, target):
    before = segidx("preview", "everyone", *target, "--json").json["contacts"]
    found = segidx("import", "contacts", csv_file, "--id", "id", *target, "--json")
    assert found.json["accepted"] == 3
    assert found.json["created"] == 0
    assert segidx("preview", "everyone", *target, "--json").json["contacts"] == before
    assert before[0]["fields"] == {
        "born": "1980-02-29",
        "country": "PL",
        "email": "anna@example.com",
        "income": "1200.50",
        "seen": "2026-07-01T12:00:00.000Z",
        "tags": "gold|new",
        "vip": True,
    }


def test_count(segidx, target):
    assert segidx("count", 'country = "PL" and not income > 1000', *target).out == "1\n"
    found = segidx("count", "everyone", *target, "--json")
    assert list(found.json) == ["count", "evaluated_at", "generation", "elapsed_ms"]
    assert found.json["count"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.json["evaluated_at"])
    assert isinstance(found.json["generation"], int)
    assert found.json["elapsed_ms"] >= 0
    assert found.out.count("\n") == 1


def test_unfinished_conditions(segidx, target):
    refused = segidx("count", 'country = "PL" and ...', *target)
    assert refused.code == 2
    assert "unfinished" in refused.err
    found = segidx("count", 'country = "PL" and ...', *target, "--allow-unfinished", "--json")
    assert found.json["count"] == 2
    assert "skipped the unfinished condition at expression.conjunction.operands[1]" in found.err


def test_explain(segidx, target):
    found = segidx("explain", 'country = "PL" and income > 1000', *target, "--counts", "--json").json
    assert found["expression"] == 'country = "PL" and income > 1000'
    assert found["count"] == 1
    children = {child["path"]: child for child in found["plan"]["children"]}
    assert sorted(child["count"] for child in children.values()) == [1, 2]
    text = segidx("explain", 'country = "PL" and income > 1000', *target)
    assert text.code == 0
    assert 'country = "PL"' in text.out
    assert "count" not in segidx("explain", "everyone", *target, "--json").json


def test_preview_get_suggest_and_stats(segidx, target):
    table = segidx("preview", 'country = "PL"', "-n", "1", "-f", "income", "-f", "email", *target).out
    assert "anna" in table
    assert "1200.50" in table
    assert "cora" not in table
    assert segidx("get", "bert", *target, "--json").json["fields"]["vip"] is False
    assert re.search(r"income +900\.00", segidx("get", "bert", *target).out)
    assert segidx("suggest", "country", "p", *target).out.split() == ["2", "PL"]
    stats = segidx("stats", *target, "--json").json
    assert stats["contacts"] == 3
    by_name = {f["name"]: f for f in stats["fields"]}
    assert by_name["income"]["minimum"] == "900.00"
    assert by_name["born"]["maximum"] == "1990-12-31"
    assert "3 contacts" in segidx("stats", *target).out


def test_tracked_fields(segidx, target):
    found = segidx("schema", "set", "stage=category tracked", "country=category tracked", *target)
    assert (found.code, found.out) == (0, "declared stage (category tracked), country (category tracked)\n")
    assert segidx("schema", "set", "country=category", *target).code == 0
    shown = segidx("schema", "show", *target)
    assert "country  category tracked\n" in shown.out
    assert "vip      bool\n" in shown.out
    assert segidx("schema", "show", *target, "--json").json["fields"]["stage"] == "category tracked"
    assert segidx("count", 'country became "PL"', *target).out == "0\n"
    assert segidx("schema", "set", "labels=tags", *target).code == 0
    assert segidx("tag", "cora", "--field", "labels", "--add", "gold", *target).code == 0
    asked = 'labels tagged "gold" during last 7 days'
    refused = segidx("count", asked, *target)
    assert refused.code == 2
    assert "segidx schema set 'labels=tags tracked'" in refused.err
    assert segidx("schema", "set", "labels=tags tracked", *target).code == 0
    assert segidx("tag", "cora", "anna", "--field", "labels", "--add", "gold", *target).code == 0
    assert segidx("count", asked, *target).out == "1\n"
    refused = segidx("schema", "set", "income=number(2) tracked", *target)
    assert refused.code == 2
    assert "cannot be tracked" in refused.err


def test_schema_and_tags(segidx, target):
    assert segidx("schema", "set", "labels=tags", "score=number(1)", *target).code == 0
    shown = segidx("schema", "show", *target, "--json").json["fields"]
    assert shown["labels"] == "tags"
    assert shown["score"] == "number(1)"
    conflict = segidx("schema", "set", "income=number(3)", *target)
    assert conflict.code == 4
    assert "field 'income' is number(2); it cannot become number(3)" in conflict.err
    assert segidx("tag", "anna", "bert", "--field", "labels", "--add", "a", "--add", "b", *target).code == 0
    assert segidx("tag", "bert", "-f", "labels", "--replace", "c", *target).code == 0
    assert segidx("count", 'labels has "a"', *target).out == "1\n"
    missing = segidx("tag", "anna", "nobody", "-f", "labels", "--clear", *target)
    assert missing.code == 3
    assert "'nobody'" in missing.err
    assert segidx("count", "labels is set", *target).out == "1\n"


def test_accounts(segidx, target):
    assert segidx("account", "create", "shop", "--zone", "Europe/Warsaw", "--currency", "PLN", *target).code == 0
    accounts = segidx("account", "list", *target, "--json").json["accounts"]
    assert {"name": "shop", "zone": "Europe/Warsaw", "currency": "PLN", "money_scale": 2} in accounts
    assert segidx("account", "create", "shop", *target).code == 4
    assert segidx("count", "everyone", "--account", "shop", *target).out == "0\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["count", 'contry = "PL"'], 2, "there is no field 'contry'; did you mean 'country'"),
        (["count", "everyone", "--account", "other"], 3, "there is no account 'other'"),
        (["get", "nobody"], 3, "there is no contact 'nobody'"),
        (["tag", "anna"], 2, "give --add and --remove, or --replace, or --clear"),
        (["schema", "set", "x"], 2, "write NAME=TYPE"),
        (["schema", "set", "x=float"], 2, "'float' is not a type"),
        (["account", "create", "A B"], 2, "account name 'A B'"),
        (["account", "create", "x", "--zone", "Mars"], 2, "'Mars' is not an IANA time zone"),
    ],
)
def test_errors_are_one_line(segidx, target, arguments, code, says):
    found = segidx(*arguments, *target)
    assert found.code == code
    first = found.err.splitlines()[0]
    assert first.startswith("segidx: error: ")
    assert says in first
    assert found.out == ""


def test_a_syntax_error_shows_its_place(segidx, target):
    found = segidx("count", 'country = "PL" and\n  income >> 3', *target)
    assert found.code == 2
    lines = found.err.splitlines()
    assert lines[0].startswith("segidx: error: line 2, column ")
    assert lines[1] == "    income >> 3"
    assert lines[2].strip() == "^"
    assert lines[2].index("^") == lines[1].index(">") + 1


def test_pointing():
    assert pointed_at("a\n\tb c", 2, 4) == "  \tb c\n  \t  ^"
    assert pointed_at("ab", 1, 3) == "  ab\n    ^"
    assert pointed_at("ab", 2, 1) == "  \n  ^"


def test_where_the_contacts_are(segidx, tmp_path, monkeypatch):
    assert "--data DIR or --server" in segidx("count", "everyone").err
    assert segidx("count", "everyone", "-d", "x", "-s", "y:1").code == 2
    missing = segidx("count", "everyone", "-d", tmp_path / "no")
    assert missing.code == 3
    assert not (tmp_path / "no").exists()
    away = segidx("count", "everyone", "-s", "127.0.0.1:1", "--timeout", "5")
    assert away.code == 5
    assert "no server answers at 127.0.0.1:1" in away.err
    Database.open(tmp_path / "d", create=True).close()
    monkeypatch.setenv("SEGIDX_DATA", str(tmp_path / "d"))
    assert segidx("count", "everyone").out == "0\n"
    monkeypatch.setenv("SEGIDX_SERVER", "127.0.0.1:1")
    assert "both set" in segidx("count", "everyone").err
    assert segidx("count", "everyone", "-d", tmp_path / "d").out == "0\n"


def test_a_wrong_import_makes_no_directory(segidx, csv_file, tmp_path):
    data = tmp_path / "data"
    assert segidx("import", "contacts", tmp_path / "no.csv", "--id", "id", "-d", data).code == 2
    wrong = segidx("import", "contacts", csv_file, "--id", "ID", "-d", data)
    assert wrong.code == 2
    assert "its columns are 'id', 'email'" in wrong.err
    assert not data.exists()


def test_reading_while_another_process_writes(tmp_path):
    """Other processes, since one opens a directory once only."""
    data = str(tmp_path / "d")

    def segidx(*arguments):
        command = [sys.executable, "-m", "segidx.cli", *arguments, "-d", data]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with Database.open(data, create=True) as writer:
        writer.account().upsert([("a", {})])
        assert segidx("count", "everyone").stdout == "1\n"
        busy = segidx("schema", "set", "x=text")
    assert busy.returncode == 5
    assert busy.stderr.startswith("segidx: error: ")
    assert "Traceback" not in busy.stderr


def test_help_and_usage(segidx):
    found = segidx("--help")
    assert found.code == 0
    assert "Exit codes:" in found.out
    assert "demo" not in found.out
    assert segidx("import", "contacts", "--help").code == 0
    wrong = segidx("count")
    assert wrong.code == 2
    assert "Missing argument 'EXPRESSION'" in wrong.err
    assert segidx("conut", "x").code == 2


def test_help_does_not_load_the_engine():
    code = (
        "import sys; from segidx.cli.main import run; run(['--help']); print({'grpc','numpy','lmdb'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
