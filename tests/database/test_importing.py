"""Files of contacts imported into an account in the same process, with what `segidx import contacts` takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest.import_contacts import import_contacts
from segidx.ingest.mapping import Overrides, parse_options
from segidx.model.errors import InvalidArgument, ReadOnly, SchemaConflict, TooManyRejects
from segidx.model.schema import Field, FieldType, describe

PEOPLE = """id,country,score,tags,birthday
anna,PL,12.50,vip|news,1990-05-17
bert,DE,7,news,1985-11-30
cleo,PL,,,2001-02-28
anna,CZ,1.25,late,1990-05-17
,PL,1,,
"""
OVERRIDES = Overrides(types=parse_options(["tags=tags", "country=category"]))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True) as database:
        yield database.account()


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return path


def test_a_file_of_contacts(account: Account, people: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    report = account.import_contacts(
        str(people), id_column="id", overrides=OVERRIDES, progress=lambda *said: told.append(said)
    )
    assert (report.rows, report.accepted, report.created, report.duplicates, report.rejected) == (5, 3, 3, 1, 1)
    assert report.generation == account.generation()
    assert {field.name: describe(field) for field in account.schema()} == {
        "country": "category",
        "score": "number(2)",
        "tags": "tags",
        "birthday": "date",
    }
    assert account.get("anna").fields == {
        "country": "CZ",
        "score": Decimal("1.25"),
        "tags": frozenset({"late"}),
        "birthday": date(1990, 5, 17),
    }
    assert account.count('tags has "news" and not score > 7').count == 1
    assert told[-1][:2] == ("importing", 5)
    assert report.reject_path == people.with_name("people.csv.rejects.csv")
    assert list(account.verify()) == []
    # Once more it changes nothing.
    assert account.import_contacts(people, id_column="id").created == 0
    assert account.generation() == report.generation


def test_it_does_what_the_import_over_any_account_does(account: Account, people: Path, tmp_path: Path) -> None:
    rejects = tmp_path / "refused.csv"
    report = account.import_contacts(people, id_column="id", overrides=OVERRIDES, reject_path=str(rejects))
    listed = rejects.read_text()
    assert report.reject_path == rejects
    rejects.unlink()
    with Database.open(tmp_path / "other", create=True) as database:
        other = database.account()
        wanted = import_contacts(other, people, id_column="id", overrides=OVERRIDES, reject_path=rejects)
        assert replace(report, seconds=0) == replace(wanted, seconds=0)
        assert rejects.read_text() == listed
        assert [other.get(name) for name in ("anna", "bert", "cleo")] == [
            account.get(name) for name in ("anna", "bert", "cleo")
        ]


def test_tags_are_split_as_one_says(account: Account, tmp_path: Path) -> None:
    path = tmp_path / "tagged.tsv"
    path.write_text("key\ttags\na\tx;y|z\n")
    overrides = Overrides(types=parse_options(["tags=tags"]))
    account.import_contacts(path, id_column="key", overrides=overrides, tag_separator=";")
    assert account.get("a").fields["tags"] == frozenset({"x", "y|z"})
    with pytest.raises(InvalidArgument, match="must not be empty"):
        account.import_contacts(path, id_column="key", tag_separator="")


def test_files_that_cannot_be_imported_change_nothing(account: Account, people: Path, tmp_path: Path) -> None:
    account.update_schema([Field("birthday", FieldType.TAGS)])
    with pytest.raises(SchemaConflict, match="birthday"):
        account.import_contacts(people, id_column="id", overrides=Overrides(types=parse_options(["birthday=date"])))
    bad = tmp_path / "bad.csv"
    bad.write_text("id,score\n,1\n,2\n")
    with pytest.raises(TooManyRejects):
        account.import_contacts(bad, id_column="id")
    assert (account.generation(), len(account.schema())) == (0, 1)


def test_a_reader_imports_nothing(people: Path, tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True):
        pass
    with Database.open(tmp_path / "data", read_only=True) as database:
        for path in (people, "none.csv"):  # it is refused before the file is looked for
            with pytest.raises(ReadOnly):
                database.account().import_contacts(path, id_column="id")
