"""Fields, schemas, accounts, and the names they may have."""

import pytest

from segidx.model.errors import (
    InvalidAccountName,
    InvalidArgument,
    InvalidSchema,
    SchemaConflict,
    UnknownField,
)
from segidx.model.schema import (
    MAX_FIELDS,
    AccountInfo,
    Field,
    FieldType,
    Schema,
    check_account_name,
    declaration,
    describe,
    parse_field,
)

SCHEMA = Schema(
    (Field("country", FieldType.CATEGORY), Field("spend", FieldType.NUMBER, 2), Field("tags", FieldType.TAGS))
)


@pytest.mark.parametrize("name", ["a", "Total Sales", "prénom", "日本", "and", "a" * 64, "é" * 32])
def test_names_of_fields(name: str) -> None:
    assert Field(name, FieldType.BOOL).name == name


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "a\0b", "a`b", "a" * 65, "é" * 33, "\ud800", "a\u200bb"])
def test_names_that_fields_cannot_have(name: str) -> None:
    with pytest.raises(InvalidSchema, match="field name"):
        Field(name, FieldType.BOOL)


@pytest.mark.parametrize(("type_", "scale"), [(FieldType.NUMBER, 10), (FieldType.NUMBER, -1), (FieldType.TEXT, 1)])
def test_scales(type_: FieldType, scale: int) -> None:
    with pytest.raises(InvalidSchema, match="scale"):
        Field("a", type_, scale)


def test_lookup() -> None:
    assert SCHEMA["spend"].scale == 2
    assert SCHEMA.get("nothing") is None
    assert "tags" in SCHEMA
    assert [f.name for f in SCHEMA] == ["country", "spend", "tags"]
    assert SCHEMA.of_type(FieldType.TAGS) == (SCHEMA["tags"],)
    with pytest.raises(UnknownField, match="there is no field 'Contry'; did you mean 'country'") as caught:
        SCHEMA["Contry"]
    assert caught.value.nearest == ["country"]


def test_schemas_grow_and_never_change() -> None:
    new = Field("age", FieldType.NUMBER)
    assert [f.name for f in SCHEMA.extended([new, SCHEMA["tags"]])] == ["country", "spend", "tags", "age"]
    assert SCHEMA.extended([SCHEMA["tags"]]) is SCHEMA
    with pytest.raises(SchemaConflict, match=r"field 'spend' is number\(2\); it cannot become number\(3\)"):
        SCHEMA.extended([Field("spend", FieldType.NUMBER, 3)])
    with pytest.raises(InvalidSchema, match="twice"):
        SCHEMA.extended([new, new])
    with pytest.raises(InvalidSchema, match="more than"):
        Schema(tuple(Field(f"f{i}", FieldType.BOOL) for i in range(MAX_FIELDS + 1)))


@pytest.mark.parametrize("type_", FieldType)
def test_which_fields_may_be_tracked(type_: FieldType) -> None:
    if type_ in (FieldType.CATEGORY, FieldType.BOOL, FieldType.TAGS):
        field = Field("x", type_, tracked=True)
        assert declaration(field) == f"{type_.value} tracked"
        assert parse_field("x", declaration(field)) == parse_field("x", f" {type_.value.upper()}  TRACKED ") == field
    else:
        with pytest.raises(InvalidSchema, match=f"'x' is a {type_.value} field, which cannot be tracked"):
            Field("x", type_, tracked=True)


def test_fields_begin_to_be_tracked_and_never_cease() -> None:
    tracked = SCHEMA.extended([Field("tags", FieldType.TAGS, tracked=True), Field("age", FieldType.NUMBER)])
    assert [f.name for f in tracked] == ["country", "spend", "tags", "age"]
    assert [f.name for f in tracked if f.tracked] == ["tags"]
    assert not SCHEMA["tags"].tracked
    assert tracked.extended([Field("tags", FieldType.TAGS), Field("tags", FieldType.TAGS, tracked=True)]) is tracked
    with pytest.raises(SchemaConflict, match="field 'tags' is tags; it cannot become category"):
        tracked.extended([Field("tags", FieldType.CATEGORY, tracked=True)])


@pytest.mark.parametrize("field", [Field("x", t) for t in FieldType] + [Field("x", FieldType.NUMBER, 9)])
def test_types_as_text(field: Field) -> None:
    assert parse_field("x", describe(field)) == field
    assert parse_field("x", f" {describe(field).upper()} ") == field


def test_number_without_decimals() -> None:
    assert parse_field("x", "number") == Field("x", FieldType.NUMBER, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "int",
        "number(",
        "number(10)",
        "number(-1)",
        "text(1)",
        "text tracked",
        "categorytracked",
        "tracked",
        "number(" + "9" * 5000 + ")",
    ],
)
def test_types_that_are_none(text: str) -> None:
    with pytest.raises(InvalidSchema):
        parse_field("x", text)


def test_kinds_of_types() -> None:
    assert {t for t in FieldType if t.is_string} == {FieldType.CATEGORY, FieldType.TEXT}
    assert {t for t in FieldType if t.is_time} == {FieldType.DATE, FieldType.TIMESTAMP}


@pytest.mark.parametrize("name", ["a", "0", "shop-1_b", "a" * 63])
def test_account_names(name: str) -> None:
    assert check_account_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a/b", "..", "a\n", "a" * 64, "é"])
def test_names_that_accounts_cannot_have(name: str) -> None:
    with pytest.raises(InvalidAccountName):
        check_account_name(name)
    with pytest.raises(InvalidAccountName):
        AccountInfo(name)


@pytest.mark.parametrize("zone", ["", "Mars/Base", "Europe", "../etc/passwd", "/etc/localtime", "a\0b"])
def test_zones_that_are_none(zone: str) -> None:
    with pytest.raises(InvalidArgument, match="IANA"):
        AccountInfo("a", zone)


def test_accounts() -> None:
    assert AccountInfo("a", "Europe/Warsaw").tz.key == "Europe/Warsaw"
    with pytest.raises(InvalidArgument, match="currency"):
        AccountInfo("a", currency="eur")
    with pytest.raises(InvalidArgument, match="money scale"):
        AccountInfo("a", money_scale=10)
