"""Batches of products, from rows and from files."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from segidx.database import Account, Database
from segidx.ingest import import_products as importing
from segidx.model.errors import (
    InvalidArgument,
    InvalidSchema,
    ProductNotFound,
    ReadOnly,
    SchemaConflict,
    TooManyRejects,
)
from segidx.model.products import BUILT_IN_PROPERTIES, MAX_PRODUCT_PROPERTIES, Product, ProductWrite
from segidx.model.schema import Field, FieldType


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.update_product_schema(
            [Field("brand", FieldType.TEXT), Field("weight", FieldType.NUMBER, 2), Field("new", FieldType.BOOL)]
        )
        yield account


def held(account: Account) -> dict[str, dict[str, Any]]:
    return {each.product_id: dict(each.properties) for each in account.products(limit=1000)}


# --- declaring ---------------------------------------------------------------------------------------------


def test_properties_are_declared(account: Account) -> None:
    assert [(p.name, p.type.value) for p in account.product_schema] == [
        ("producer", "category"),
        ("category", "category"),
        ("accessory_of", "tags"),
        ("brand", "category"),  # a text is kept so
        ("weight", "number"),
        ("new", "bool"),
    ]
    before = account.generation()
    assert account.update_product_schema([Field("brand", FieldType.CATEGORY)]) == account.product_schema
    assert account.update_product_schema([*BUILT_IN_PROPERTIES]) == account.product_schema
    assert account.generation() == before
    with pytest.raises(SchemaConflict, match="'weight' is number"):
        account.update_product_schema([Field("more", FieldType.BOOL), Field("weight", FieldType.NUMBER, 3)])
    assert "more" not in account.product_schema


@pytest.mark.parametrize(
    "field",
    [
        Field("Brand", FieldType.CATEGORY),
        Field("a b", FieldType.CATEGORY),
        Field("amount", FieldType.NUMBER, 2),
        Field("product", FieldType.CATEGORY),
        Field("kind", FieldType.CATEGORY),
        Field("hour", FieldType.NUMBER),
        Field("time", FieldType.NUMBER),
        Field("born", FieldType.DATE),
        Field("seen", FieldType.TIMESTAMP),
    ],
    ids=lambda field: field.name,
)
def test_what_cannot_be_a_property(account: Account, field: Field) -> None:
    with pytest.raises(InvalidSchema, match=repr(field.name)):
        account.update_product_schema([field])


def test_there_are_not_too_many_properties(account: Account) -> None:
    room = MAX_PRODUCT_PROPERTIES - len(account.product_schema)
    account.update_product_schema([Field(f"p{n}", FieldType.BOOL) for n in range(room)])
    with pytest.raises(InvalidSchema, match="at most 64"):
        account.update_product_schema([Field("more", FieldType.BOOL)])
    account.write_products([ProductWrite("a", {f"p{n}": bool(n % 2) for n in range(room)})])
    assert account.product("a").properties == {f"p{n}": bool(n % 2) for n in range(room)}
    assert list(account.verify()) == []


# --- rows --------------------------------------------------------------------------------------------------


def test_rows_apply_one_after_another(account: Account) -> None:
    result = account.write_products(
        [
            ProductWrite("a", {"brand": "x", "weight": "1.5", "accessory_of": ["q", "r", "q"]}),
            ProductWrite("b", {"new": True}),
            ProductWrite(b"a", {"brand": None, "new": False}),
            ProductWrite("c"),
            ProductWrite("d", {"brand": "gone"}),
            ProductWrite("d", delete=True),
            ProductWrite("b", {"brand": "y"}, delete=True),
        ]
    )
    assert (result.accepted, result.created, result.deleted, result.duplicates) == (4, 3, 0, 3)
    assert held(account) == {
        "a": {"weight": Decimal("1.50"), "accessory_of": frozenset("qr"), "new": False},
        "b": {"brand": "y"},
        "c": {},
    }
    result = account.write_products([ProductWrite("a", {"accessory_of": []}), ProductWrite("c", delete=True)])
    assert (result.accepted, result.created, result.deleted) == (2, 0, 1)
    assert held(account) == {"a": {"weight": Decimal("1.50"), "new": False}, "b": {"brand": "y"}}
    with pytest.raises(ProductNotFound, match="no product 'c'"):
        account.product("c")


def test_bad_rows_are_returned_and_the_others_stand(account: Account) -> None:
    rows: list[ProductWrite] = [
        ProductWrite("good", {"brand": "x"}),
        ProductWrite("", {"brand": "x"}),
        ProductWrite("é" * 128),
        ProductWrite(b"\xff"),
        ProductWrite("a", {"colour": "red"}),
        ProductWrite("a", {"brand": "x", "weight": "1.234"}),
        ProductWrite("a", {"new": "perhaps"}),
        ProductWrite("a", {"accessory_of": "P"}),
        ProductWrite("a", {"brand": "x" * 2049}),
        ProductWrite("a", {"accessory_of": [f"{n:03}" + "t" * 2000 for n in range(40)]}),
        ProductWrite(7),  # type: ignore[arg-type]
    ]
    result = account.write_products(rows)
    assert [(r.index, r.field, r.reason) for r in result.rejects] == [
        (1, "", "INVALID_VALUE"),
        (2, "", "INVALID_VALUE"),
        (3, "", "INVALID_VALUE"),
        (4, "colour", "UNKNOWN_PRODUCT_PROPERTY"),
        (5, "weight", "INVALID_VALUE"),
        (6, "new", "INVALID_VALUE"),
        (7, "accessory_of", "INVALID_VALUE"),
        (8, "brand", "INVALID_VALUE"),
        (9, "", "INVALID_VALUE"),
        (10, "", "INVALID_VALUE"),
    ]
    assert all(r.message.startswith(f"row {r.index}: ") for r in result.rejects)
    assert (result.accepted, held(account)) == (1, {"good": {"brand": "x"}})


def test_a_product_that_grows_too_large_is_refused(account: Account) -> None:
    """Each row is small enough; what they come to with what is held is not."""
    account.update_product_schema([Field("more", FieldType.TAGS)])
    tags = [f"{n:03}" + "t" * 2000 for n in range(20)]
    account.write_products([ProductWrite("a", {"accessory_of": tags}), ProductWrite("b", {"brand": "x"})])
    rows = [ProductWrite("b", {"brand": "y"}), ProductWrite("a", {"more": tags}), ProductWrite("c")]
    result = account.write_products(rows)
    assert [(r.index, r.contact_id, r.reason) for r in result.rejects] == [(1, "a", "INVALID_VALUE")]
    assert "more than 65536 bytes" in result.rejects[0].message
    assert (result.accepted, result.created) == (2, 1)
    assert held(account) == {"a": {"accessory_of": frozenset(tags)}, "b": {"brand": "y"}, "c": {}}
    result = account.write_products([ProductWrite("a", {"more": tags}, delete=True)])
    assert (result.rejects, held(account)["a"]) == ((), {"more": frozenset(tags)})


def test_ids_are_in_the_form_that_lines_hold(account: Account) -> None:
    account.write_products([ProductWrite("cafe\u0301", {"brand": "x"}), ProductWrite("caf\u00e9", {"new": True})])
    assert held(account) == {"caf\u00e9": {"brand": "x", "new": True}}


def test_what_changes_nothing_is_no_generation(account: Account) -> None:
    rows = [ProductWrite("a", {"brand": "x", "accessory_of": ["q", "r"]}), ProductWrite("b", {"weight": 2})]
    first = account.write_products(rows)
    assert first.generation == account.generation()
    again = account.write_products([*rows, ProductWrite("nobody", delete=True)])
    assert (again.generation, again.accepted, again.created, again.deleted) == (first.generation, 3, 0, 0)
    assert account.write_products([]).generation == first.generation
    assert account.write_products([ProductWrite("a", {"brand": "z"})]).generation == first.generation + 1
    (changes,) = account.changes(first.generation)
    assert (changes.generation, changes.contacts, changes.last) == (first.generation + 1, (), True)


def test_a_batch_key_is_answered_again(account: Account) -> None:
    rows = [ProductWrite("a", {"brand": "x"}), ProductWrite("")]
    first = account.write_products(rows, batch_key="key")
    account.write_products([ProductWrite("a", delete=True)])
    again = account.write_products(rows, batch_key="key")
    assert again.replayed
    assert (again.generation, again.accepted, again.created, again.rejects) == (
        first.generation,
        1,
        1,
        first.rejects,
    )
    assert held(account) == {}
    # Of contacts the key is another one.
    assert not account.write([], batch_key="key").replayed
    assert account.write([], batch_key="key").replayed
    with pytest.raises(InvalidArgument, match="128 bytes"):
        account.write_products(rows, batch_key="k" * 129)
    with pytest.raises(InvalidArgument, match="lone surrogate"):
        account.write_products(rows, batch_key="\ud800")


def test_pages(account: Account) -> None:
    account.write_products([ProductWrite(f"p{n}") for n in range(30)])
    ids = sorted(f"p{n}" for n in range(30))
    assert [p.product_id for p in account.products()] == ids
    assert account.products("p2", limit=3) == [Product(id, {}) for id in ids[ids.index("p2") + 1 :][:3]]
    assert [p.product_id for p in account.products("p2zz", limit=2)] == ["p3", "p4"]
    assert account.products("p9") == []
    for limit in (0, 1001):
        with pytest.raises(InvalidArgument, match="1 to 1000"):
            account.products(limit=limit)


def test_a_reader_writes_nothing(account: Account, tmp_path: Path) -> None:
    with Database.open(tmp_path / "other", create=True):
        pass
    with Database.open(tmp_path / "other", read_only=True) as database:
        reading = database.account()
        for call in (
            lambda: reading.write_products([]),
            lambda: reading.update_product_schema([]),
            lambda: reading.import_products("none.csv"),
        ):
            with pytest.raises(ReadOnly):
                call()


# --- files -------------------------------------------------------------------------------------------------

COLUMNS = {
    "product_id": ["a", "b", "cafe\u0301", "b", "", None, "d"],
    "brand": ["x", "y", None, "z", "w", "w", "v"],
    "weight": ["1.5", "2", "3", None, "4", "5", "1.234"],
    "accessory_of": ["p|q", "", "r", None, "", "", ""],
    "colour": ["red", "red", "blue", "red", "red", "red", "red"],
    "nothing": [None] * 7,
}
WANTED = {
    "a": {"brand": "x", "weight": Decimal("1.50"), "accessory_of": frozenset("pq"), "colour": "red"},
    "b": {"brand": "z", "colour": "red"},
    "caf\u00e9": {"weight": Decimal(3), "accessory_of": frozenset("r"), "colour": "blue"},
}


def file_of(tmp_path: Path, suffix: str, columns: dict[str, list[Any]]) -> Path:
    path = tmp_path / f"products{suffix}"
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    if suffix == ".csv":
        import csv

        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(["" if v is None else v for v in row] for row in zip(*columns.values(), strict=True))
    elif suffix == ".arrow":
        pyarrow.feather.write_feather(table, str(path), compression="uncompressed")
    else:
        pyarrow.parquet.write_table(table, path)
    return path


class Remote:
    """The account as it is over the network: without `apply_products`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.info = account.info
        self.update_product_schema = account.update_product_schema
        self.write_products = account.write_products

    @property
    def product_schema(self) -> Any:
        return self._account.product_schema


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
@pytest.mark.parametrize("remote", [False, True])
def test_files(account: Account, tmp_path: Path, suffix: str, remote: bool) -> None:
    path = file_of(tmp_path, suffix, COLUMNS)
    seen: list[tuple[str, int, int | None]] = []
    target: Any = Remote(account) if remote else account
    report = importing.import_products(target, path, progress=lambda *told: seen.append(told), batch_rows=3)
    assert held(account) == WANTED
    assert (report.rows, report.accepted, report.created, report.duplicates, report.rejected) == (7, 4, 3, 0, 3)
    assert report.generation == account.generation()
    assert [p.name for p in report.properties] == ["brand", "weight", "accessory_of", "colour"]
    assert report.empty_columns == ("nothing",)
    assert account.product_schema["colour"].type is FieldType.CATEGORY
    assert [(r.index, r.field) for r in report.rejects] == [(4, ""), (5, ""), (6, "weight")]
    assert "product id" in report.rejects[0].message
    assert report.reject_path is not None
    listed = report.reject_path.read_text().splitlines()
    assert listed[0] == "row,product_id,field,reason,message"
    assert len(listed) == 4
    assert seen[-1][:2] == ("importing", 7)
    # Once more it changes nothing. (In batches of three `b` is written twice, one way and the other.)
    generation = account.generation()
    assert importing.import_products(target, path).created == 0
    assert (account.generation(), held(account)) == (generation, WANTED)
    assert list(account.verify()) == []


def test_whole_numbers_are_ids(account: Account, tmp_path: Path) -> None:
    path = tmp_path / "numbers.parquet"
    pyarrow.parquet.write_table(pa.table({"sku": [7, 1234567], "new": [True, None], "weight": [0.25, 1.0]}), path)
    account.write_products([ProductWrite("1234567", {"new": True, "brand": "stays"})])
    account.import_products(path, id_column="sku")
    assert held(account) == {
        "7": {"new": True, "weight": Decimal("0.25")},
        "1234567": {"weight": Decimal(1), "brand": "stays"},
    }


def test_files_that_cannot_be_imported(account: Account, tmp_path: Path) -> None:
    bad = file_of(tmp_path, ".csv", {"product_id": ["a", "b"], "weight": ["1.234", "2.345"]})
    with pytest.raises(TooManyRejects, match="all of the first 2 rows"):
        account.import_products(bad)
    conflict = tmp_path / "conflict.parquet"
    pyarrow.parquet.write_table(pa.table({"product_id": ["a"], "weight": [True]}), conflict)
    with pytest.raises(SchemaConflict):
        account.import_products(conflict)
    dated = tmp_path / "dated.csv"
    dated.write_text("product_id,since\na,2020-01-01\n")
    with pytest.raises(InvalidSchema, match="'since' is a date"):
        account.import_products(dated)
    assert held(account) == {}
    assert account.generation() == 0
