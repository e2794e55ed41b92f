"""`segidx products` and `segidx import products`, on a data directory and through a server."""

from __future__ import annotations

import pytest

PRODUCTS = """\
sku,brand,weight,accessory_of,new
P,Acme,1.5,,true
Q,,0.25,P|R,
,Acme,1,,
"""


@pytest.fixture
def products(tmp_path):
    path = tmp_path / "products.csv"
    path.write_text(PRODUCTS)
    return path


def test_products_are_imported_and_shown(segidx, target, products):
    found = segidx("import", "products", products, "--id", "sku", *target)
    assert found.code == 0
    assert "3 rows; 2 products written (2 new), 0 duplicates, 1 refused" in found.out
    assert "properties: brand category, weight number(2), accessory_of tags, new bool\n" in found.out
    assert "refused row 2: " in found.err
    assert products.with_name("products.csv.rejects.csv").read_text().startswith("row,product_id,field,reason,message")
    found = segidx("products", "list", *target)
    assert found.out == "P  brand Acme, new true, weight 1.50\nQ  accessory_of P, R, weight 0.25\n"
    found = segidx("products", "list", "--after", "P", "--limit", 5, "--json", *target)
    assert found.json == {
        "products": [{"product_id": "Q", "properties": {"accessory_of": ["P", "R"], "weight": "0.25"}}]
    }
    assert segidx("products", "get", "P", *target).out == "P  brand Acme, new true, weight 1.50\n"
    found = segidx("products", "get", "P", "--json", *target)
    assert found.json["properties"] == {"brand": "Acme", "new": True, "weight": "1.50"}
    found = segidx("products", "get", "Z", *target)
    assert (found.code, "there is no product 'Z'" in found.err) == (3, True)
    (report,) = segidx("import", "products", products, "--id", "sku", "--json", *target).json["files"]
    assert (report["accepted"], report["created"], report["rejected"]) == (2, 0, 1)
    assert report["properties"] == {
        "brand": "category",
        "weight": "number(2)",
        "accessory_of": "tags",
        "new": "bool",
    }


def test_properties_are_declared_and_listed(segidx, target):
    found = segidx("products", "declare", "brand=text", "weight=number(3)", *target)
    assert (found.code, found.out) == (0, "declared brand category, weight number(3)\n")
    found = segidx("products", "properties", *target)
    assert found.out.splitlines()[2:] == ["accessory_of  tags", "brand         category", "weight        number(3)"]
    assert segidx("products", "properties", "--json", *target).json["weight"] == "number(3)"
    assert segidx("products", "declare", "weight=bool", *target).code == 4
    assert segidx("products", "declare", "born=date", *target).code == 2
    assert segidx("products", "declare", "born", *target).code == 2


def test_a_long_list_is_read_page_by_page(segidx, target, tmp_path):
    path = tmp_path / "many.csv"
    path.write_text("product_id,new\n" + "".join(f"p{n:05},true\n" for n in range(2500)))
    assert segidx("import", "products", path, *target).code == 0
    lines = segidx("products", "list", "--limit", 2200, *target).out.splitlines()
    assert lines == [f"p{n:05}  new true" for n in range(2200)]
    assert len(segidx("products", "list", "--limit", 10_000, *target).out.splitlines()) == 2500
    assert len(segidx("products", "list", *target).out.splitlines()) == 100


def test_what_is_not_imported(segidx, tmp_path, products):
    found = segidx("import", "products", products, "--data", tmp_path / "new")
    assert found.code == 2
    assert not (tmp_path / "new").exists()
    rejects = tmp_path / "r.csv"
    found = segidx("import", "products", products, products, "--rejects", rejects, "--data", tmp_path / "new")
    assert (found.code, "--rejects goes with one FILE" in found.err) == (2, True)
    found = segidx("import", "products", products, "--id", "sku", "--field", "weight=skip", "--data", tmp_path / "new")
    assert found.code == 0
    assert "weight" not in segidx("products", "list", "--data", tmp_path / "new").out
