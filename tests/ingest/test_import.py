"""Whole imports into an account that takes batches and into one that takes rows."""

from __future__ import annotations

import csv
import stat
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segidx.ingest.import_contacts import import_contacts
from segidx.ingest.mapping import Overrides, parse_options, read_toml
from segidx.model.errors import InvalidArgument, InvalidSchema, InvalidSource, SchemaConflict, TooManyRejects
from segidx.model.schema import describe, parse_field


@pytest.fixture
def parquet(tmp_path):
    path = tmp_path / "contacts.parquet"
    pq.write_table(
        pa.table(
            {
                "id": pa.array([1, 2, 3, 2, None]),
                "income": pa.array([10.5, 20.25, None, 7.0, 1.0]),
                "country": pa.array(["PL", "DE", None, "CZ", "PL"]),
                "labels": pa.array([["a", "b"], [], None, ["c"], ["d"]]),
                "born": pa.array([date(1980, 1, 1)] * 5),
                "seen": pa.array([datetime(2026, 7, 1, 12, 0, 1)] * 5),
                "nothing": pa.nulls(5, pa.string()),
            }
        ),
        path,
    )
    return path


def types(account):
    return {f.name: describe(f) for f in account.schema()}


def test_a_parquet_file(parquet, make_account):
    account = make_account(zone="Europe/Warsaw")
    told = []
    report = import_contacts(account, parquet, id_column="id", progress=lambda *said: told.append(said))
    assert types(account) == {
        "income": "number(2)",
        "country": "category",
        "labels": "tags",
        "born": "date",
        "seen": "timestamp",
    }
    assert account.contacts == {
        "1": {
            "income": Decimal("10.50"),
            "country": "PL",
            "labels": ("a", "b"),
            "born": date(1980, 1, 1),
            "seen": datetime(2026, 7, 1, 10, 0, 1, tzinfo=UTC),
        },
        "2": {
            "income": Decimal("7.00"),
            "country": "CZ",
            "labels": ("c",),
            "born": date(1980, 1, 1),
            "seen": datetime(2026, 7, 1, 10, 0, 1, tzinfo=UTC),
        },
        "3": {"born": date(1980, 1, 1), "seen": datetime(2026, 7, 1, 10, 0, 1, tzinfo=UTC)},
    }
    assert (report.rows, report.accepted, report.created, report.duplicates, report.rejected) == (5, 3, 3, 1, 1)
    assert report.empty_columns == ("nothing",)
    assert report.generation == account.generation
    assert told == [("looking", 5, 5), ("importing", 5, 5)]


@pytest.mark.parametrize("batch_rows", [1, 2, 3])
def test_importing_again_changes_nothing(parquet, make_account, batch_rows):
    account = make_account()
    import_contacts(account, parquet, id_column="id")
    before, schema = dict(account.contacts), account.schema()
    report = import_contacts(account, parquet, id_column="id", batch_rows=batch_rows)
    assert account.contacts == before
    assert account.schema() == schema
    assert report.created == 0
    assert report.rows == report.accepted + report.duplicates + report.rejected == 5


def test_a_null_clears_and_columns_that_are_not_there_stay(parquet, make_account, tmp_path):
    account = make_account()
    import_contacts(account, parquet, id_column="id")
    update = tmp_path / "update.csv"
    update.write_text("id,country,labels\n1,,x|y\n3,FR,\n")
    import_contacts(account, update, id_column="id")
    assert account.contacts["1"]["income"] == Decimal("10.50")
    assert "country" not in account.contacts["1"]
    assert account.contacts["1"]["labels"] == ("x", "y")
    assert account.contacts["3"]["country"] == "FR"


def test_rejects_are_written_next_to_the_file(make_account, tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(
        'id,income,born\na,1.50,2000-01-01\nb,1.505,2000-01-01\n,1,2000-01-01\nc,x,2000-02-30\nd,,\n"q""",2,?\n'
    )
    account = make_account([parse_field("income", "number(2)"), parse_field("born", "date")])
    report = import_contacts(account, path, id_column="id", batch_rows=2)
    assert sorted(account.contacts) == ["a", "d"]
    assert report.rejected == 4
    assert report.reject_path == tmp_path / "c.csv.rejects.csv"
    assert stat.S_IMODE(report.reject_path.stat().st_mode) == 0o600
    with report.reject_path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["row", "contact_id", "field", "reason", "message"]
    assert [row[:4] for row in rows[1:]] == [
        ["1", "b", "income", "INVALID_VALUE"],
        ["2", "", "", "INVALID_CONTACT_ID"],
        ["3", "c", "income", "INVALID_VALUE"],
        ["5", 'q"', "born", "INVALID_VALUE"],
    ]
    assert rows[1][4] == "row 1: field 'income': '1.505' has more than 2 decimals, which number(2) does not hold"
    assert [r.index for r in report.rejects] == [1, 2, 3, 5]
    # Once the file is mended, the list of rejects goes.
    path.write_text("id,income,born\na,1,2000-01-01\n")
    report = import_contacts(account, path, id_column="id")
    assert report.reject_path is None
    assert [p.name for p in tmp_path.iterdir()] == ["c.csv"]


def test_a_foreign_file_is_not_overwritten_by_rejects(make_account, tmp_path):
    path, precious = tmp_path / "c.csv", tmp_path / "precious.txt"
    path.write_text("id\na\n")
    precious.write_text("mine")
    with pytest.raises(InvalidArgument, match="not a list of refused rows"):
        import_contacts(make_account(), path, id_column="id", reject_path=precious)
    assert precious.read_text() == "mine"


def test_a_first_batch_without_a_good_row_writes_nothing(make_account, tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("id,income\na,x\nb,y\nc,3\n")
    account = make_account()
    overrides = Overrides(types=parse_options(["income=number"]))
    with pytest.raises(TooManyRejects, match=r"all of the first 2 rows .* row 0: field 'income': 'x' is not a number"):
        import_contacts(account, path, id_column="id", overrides=overrides, batch_rows=2)
    assert account.contacts == {}
    assert len(account.schema()) == 0
    assert (tmp_path / "c.csv.rejects.csv").exists()


def test_overrides(parquet, make_account):
    account = make_account()
    overrides = Overrides(
        types=parse_options(["income=number(4)", "born=skip", "nation=text"]), rename={"country": "nation"}
    )
    import_contacts(account, parquet, id_column="id", overrides=overrides)
    assert types(account) == {
        "income": "number(4)",
        "nation": "text",
        "labels": "tags",
        "seen": "timestamp",
    }


def test_toml(make_account, tmp_path):
    path, toml = tmp_path / "c.csv", tmp_path / "fields.toml"
    path.write_text("key,E-mail,zip,x\n1,a@x,00123,1\n")
    toml.write_text(
        '[fields]\nemail = "text"\nscore = "number(1)"\nzip = "category"\nx = "skip"\n[rename]\n"E-mail" = "email"\n'
    )
    account = make_account()
    import_contacts(account, path, id_column="key", overrides=read_toml(toml))
    assert types(account) == {"email": "text", "zip": "category", "score": "number(1)"}
    assert account.contacts == {"1": {"email": "a@x", "zip": "00123"}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[fields", "is not TOML"),
        ("[field]\na = 'text'", r"no table \[field\]"),
        ("[fields]\na = 3", "must hold lines such as"),
        ("[fields]\na = 'decimal'", "'decimal' is not a type"),
    ],
)
def test_bad_toml(tmp_path, content, says):
    path = tmp_path / "f.toml"
    path.write_text(content)
    with pytest.raises((InvalidArgument, InvalidSchema), match=says):
        read_toml(path)


def test_what_the_caller_got_wrong(parquet, make_account, tmp_path):
    account = make_account([parse_field("income", "number")])

    def attempt(id_column="id", **options):
        import_contacts(account, parquet, id_column=id_column, overrides=Overrides(**options))

    with pytest.raises(InvalidSource, match=r"no column 'Id' .*did you mean 'id'.*'income', 'country'"):
        attempt("Id")
    with pytest.raises(InvalidSource, match="id column 'income' is of type double"):
        attempt("income")
    with pytest.raises(InvalidArgument, match=r"--field 'contry': .* did you mean 'country'"):
        attempt(types={"contry": "text"})
    with pytest.raises(InvalidArgument, match=r"two columns .* would fill field 'income'"):
        attempt(rename={"country": "income"})
    with pytest.raises(SchemaConflict, match=r"field 'income' is number\(0\); it cannot become number\(2\)"):
        attempt(types={"income": "number(2)"})
    with pytest.raises(SchemaConflict, match="field 'born' is bool, which a column of date32"):
        attempt(types={"born": "bool"})
    with pytest.raises(InvalidArgument, match="write NAME=TYPE"):
        parse_options(["income"])
    bad = tmp_path / "b.csv"
    bad.write_text("id,a`b\n1,2\n")
    with pytest.raises(InvalidSchema, match=r"column 'a`b' cannot name a field .* rename it"):
        import_contacts(account, bad, id_column="id")
    assert account.contacts == {}


def test_an_empty_file_declares_what_is_declared(make_account, tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("id,income\n")
    account = make_account()
    report = import_contacts(
        account, path, id_column="id", overrides=Overrides(types=parse_options(["income=number(2)"]))
    )
    assert report.rows == 0
    assert types(account) == {"income": "number(2)"}


def test_many_rows_in_many_batches(make_account, tmp_path):
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"id": [f"c{i}" for i in range(9000)], "n": list(range(9000))}), path)
    account = make_account()
    report = import_contacts(account, path, id_column="id", batch_rows=4000)
    assert report.accepted == report.created == len(account.contacts) == 9000
    assert account.contacts["c8999"] == {"n": Decimal(8999)}
    assert max(account.batches) <= 4000
