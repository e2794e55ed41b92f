"""What a name in a filter of events stands for where events have products, and the steps that conditions become."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.errors import InvalidPattern, SegidxError, TypeMismatch, UnknownProperty
from segidx.model.events import LINE, Event, EventProperty, EventType, Order, OrderLine
from segidx.model.expression import Did
from segidx.model.products import BUILT_IN_PROPERTIES, ProductWrite
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.syntax import parse
from segidx.plan.context import BindContext
from segidx.plan.event_filters import bind_filter
from segidx.plan.events import bind_events
from segidx.plan.product_filters import Named, named

AT = datetime(2026, 3, 1, tzinfo=UTC)
# A type whose `brand` is like the catalogue's, whose `weight` is not, and which has a product.
VIEW = EventType(
    "view",
    (
        EventProperty("product", FieldType.CATEGORY),
        EventProperty("brand", FieldType.CATEGORY),
        EventProperty("weight", FieldType.CATEGORY),
        EventProperty("new", FieldType.BOOL),
        EventProperty("accessory_of", FieldType.CATEGORY),
    ),
)
# One whose `product` is no string.
COUNTED = EventType("counted", (EventProperty("product", FieldType.NUMBER),))
BRAND, WEIGHT, NEW = (
    Field("brand", FieldType.CATEGORY),
    Field("weight", FieldType.NUMBER, 2),
    Field("new", FieldType.BOOL),
)
PROPERTIES = Schema((*BUILT_IN_PROPERTIES, BRAND, WEIGHT, NEW))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Lines of P (own producer "own"), Q and R of anna, ben, cara; views of P with and without brands of dora, eve."""
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.declare_event_types([VIEW, COUNTED])
        account.update_product_schema([BRAND, WEIGHT, NEW])
        account.write_events(
            [
                Order("1", "anna", AT, lines=[OrderLine("P", producer="own", amount=Decimal(5))]),
                Order("2", "ben", AT, lines=[OrderLine("Q", amount=Decimal(7)), OrderLine("P")]),
                Order("3", "cara", AT, lines=[OrderLine("R"), OrderLine(producer="69")]),
                Event("view", "1", "dora", AT, {"product": "P", "brand": "seen", "weight": "heavy"}),
                Event("view", "2", "eve", AT, {"product": "P", "new": False}),
                Event("counted", "1", "dora", AT, {"product": 1}),
            ]
        )
        yield account


def catalogue(account: Account) -> None:
    account.write_products(
        [
            ProductWrite("P", {"brand": "Acme", "weight": "1.5", "new": True, "producer": "69"}),
            ProductWrite("Q", {"accessory_of": ["P", "S"], "weight": 2}),
            ProductWrite("unsold", {"accessory_of": ["R"], "brand": "Other"}),
        ]
    )


def held(account: Account, filter: str) -> set[str]:
    return {each.contact_id for each in account.preview(f"did({filter})").contacts}


@pytest.mark.parametrize(
    ("type", "name", "own", "of_product"),
    [
        (LINE, "amount", "amount", None),
        (LINE, "product", "product", None),
        (LINE, "hour", "hour", None),
        (LINE, "producer", "producer", "producer"),
        (LINE, "product.producer", None, "producer"),
        (LINE, "brand", None, "brand"),
        (LINE, "accessory_of", None, "accessory_of"),
        (VIEW, "brand", "brand", "brand"),
        (VIEW, "weight", "weight", None),  # of another type
        (VIEW, "product.weight", None, "weight"),
        (VIEW, "accessory_of", "accessory_of", None),
        (COUNTED, "product", "product", None),
    ],
)
def test_what_a_name_stands_for(type: EventType, name: str, own: str | None, of_product: str | None) -> None:
    found = named(type, name, PROPERTIES)
    assert isinstance(found, Named)
    assert (found.own and found.own.name, found.of_product and found.of_product.name) == (own, of_product)


@pytest.mark.parametrize(
    ("type", "name"), [(LINE, "product.amount"), (LINE, "product."), (LINE, "x"), (COUNTED, "product.brand")]
)
def test_names_that_stand_for_nothing(type: EventType, name: str) -> None:
    with pytest.raises(UnknownProperty, match=type.name):
        named(type, name, PROPERTIES)


ANSWERS = {
    'line where product.accessory_of = "P"': {"ben"},
    'line where product.accessory_of in ("X", "S")': {"ben"},
    'line where product.accessory_of != "P"': {"anna", "ben", "cara"},
    'line where product.accessory_of != "P" and amount > 6': set(),
    'line where product.accessory_of between "O" and "PP"': {"ben"},
    # No tag lies between, though there is one on either side.
    'line where product.accessory_of between "PP" and "R"': set(),
    'line where product.accessory_of starts with ci "s"': {"ben"},
    "line where accessory_of is set": {"ben"},
    "line where accessory_of is not set": {"anna", "ben", "cara"},
    'line where producer = "69"': {"ben", "cara"},  # of the catalogue, and of its own
    'line where product.producer = "69"': {"anna", "ben"},
    'line where producer = "own"': {"anna"},
    'line where producer != "69"': {"anna", "ben", "cara"},
    "line where producer is not set": {"ben", "cara"},
    'line where producer in ("69", "own") and product is set': {"anna", "ben"},
    'line where producer > "6" and producer < "7"': {"ben", "cara"},
    'line where producer matches "^[0-9]+$"': {"ben", "cara"},
    'line where brand = ci "ACME"': {"anna", "ben"},
    'line where brand = "Other"': set(),
    "line where weight > 1.5": {"ben"},
    "line where weight >= 1.500": {"anna", "ben"},
    "line where weight = 1.501": set(),
    "line where weight in (1.5, 7)": {"anna", "ben"},
    "line where 2 > weight": {"anna", "ben"},
    "line where new": {"anna", "ben"},
    "line where not new": {"ben", "cara"},
    "line where new = false": set(),
    "line where at least 2 of (new, weight > 1, amount > 4)": {"anna", "ben"},
    'view where brand = "Acme"': {"eve"},
    'view where brand = "seen"': {"dora"},
    'view where product.brand = "Acme"': {"dora", "eve"},
    'view where weight = "heavy" and product.weight = 1.5': {"dora"},
    "view where new": {"dora"},
    "view where product.new and not new": {"eve"},
    "line where product.weight is set and not product.weight > 1.9": {"anna", "ben"},
}


@pytest.mark.parametrize("filter", ANSWERS)
def test_answers(account: Account, filter: str) -> None:
    catalogue(account)
    for _ in range(2):
        assert held(account, filter) == ANSWERS[filter]
        account.merge()


def test_an_empty_catalogue_costs_nothing(account: Account) -> None:
    """The steps are those of the events' own properties."""
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, 10**13, account.info.tz)
        asked = parse('did(line where producer = "69" and category is set)')
        assert isinstance(asked, Did)
        assert bind_events(asked.events, context, "").where == (("range", 5, 1, 1), ("present", 6), ("all", 2))
        other = parse('did(line where product.brand = "x" and not product.weight > 1)')
        assert isinstance(other, Did)
        assert other.events.where is not None
        steps = bind_filter(other.events.where, LINE, (0, 1), context, "")
        assert steps == [("constant", False), ("constant", False), ("not",), ("all", 2)]


def test_products_are_codes_of_a_table(account: Account) -> None:
    catalogue(account)
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, 10**13, account.info.tz)
        asked = parse('did(line where producer = "69")')
        assert isinstance(asked, Did)
        where = bind_events(asked.events, context, "").where
        assert where == (("range", 5, 1, 1), ("present", 5), ("not",), ("range", 4, 0, 0), ("all", 2), ("any", 2))
        asked = parse("did(line where weight > 1)")
        assert isinstance(asked, Did)
        assert bind_events(asked.events, context, "").where == (("range", 4, 0, 1),)


def test_the_catalogue_of_now_counts_whatever_the_instant(account: Account) -> None:
    """Each version answers at once, also for products whose lines came before and behind it."""
    assert held(account, 'line where brand = "Acme"') == set()
    catalogue(account)
    assert held(account, 'line where brand = "Acme"') == {"anna", "ben"}
    account.write_events([Order("4", "fay", AT, lines=[OrderLine("unsold")]), Order("5", "gus", AT)])
    assert held(account, 'line where accessory_of = "R"') == {"fay"}
    account.write_products([ProductWrite("P", {"brand": None}), ProductWrite("unsold", delete=True)])
    assert held(account, 'line where brand = "Acme"') == set()
    assert held(account, 'line where accessory_of = "R"') == set()
    account.write_products([ProductWrite("R", {"brand": "Acme"})])
    assert held(account, 'line where brand = "Acme"') == {"cara"}


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize(
    ("filter", "error"),
    [
        ("product.brand = 1", TypeMismatch),
        ("product.accessory_of > 1", TypeMismatch),
        ('product.weight = "x"', TypeMismatch),
        ("product.new > false", TypeMismatch),
        ('product.weight contains "x"', TypeMismatch),
        ("product.weight between 1 and true", TypeMismatch),
        ("product.weight in (1, 2020-01-01)", TypeMismatch),
        ("brand = 1", TypeMismatch),
        ("producer = true", TypeMismatch),
        ('product.brand matches "("', InvalidPattern),
        ("product.wieght = 1", UnknownProperty),
    ],
)
def test_conditions_that_cannot_be(account: Account, filter: str, error: type[SegidxError], filled: bool) -> None:
    """The same ones whether there are products or not; the path is that of the condition."""
    if filled:
        catalogue(account)
    with pytest.raises(error) as caught:
        account.count(f"did(line where amount > 1 and {filter})")
    assert caught.value.path.startswith("expression.did.events.where.conjunction.operands[1]")


def test_a_misspelt_property_is_told_the_nearest(account: Account) -> None:
    with pytest.raises(UnknownProperty, match=r"did you mean 'product\.weight'"):
        account.count("did(line where product.wieght = 1)")


def test_orders_have_no_product(account: Account) -> None:
    for text in ('did(order where product.brand = "x")', 'did(counted where brand = "x")', 'product.brand = "x"'):
        with pytest.raises(SegidxError):
            account.count(text)
