"""Hypothesis strategies: schemas, contacts, well-typed expressions, sequences of batches, instants and zones.

`cases()` ties them together. Expressions come from `generator`, and those over events with the orders from
`event_lives`; hypothesis makes their choices and shrinks them. The seeded `random_expression` and `random_contacts` for
large runs are exported from here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from unicodedata import normalize

from hypothesis import strategies as st

from segidx.model.events import Order
from segidx.model.expression import Expression
from segidx.model.schema import MAX_CONTACT_ID_BYTES, MAX_MINOR_UNITS, MAX_STRING_BYTES, Field, FieldType, Schema
from segidx.model.writes import Channel, ChannelFlag
from segidx.testing.bulk import random_contacts
from segidx.testing.event_lives import OrderGenerator
from segidx.testing.event_questions import EventGenerator
from segidx.testing.generator import Generator, random_expression
from segidx.testing.pools import DEFAULT_INSTANT, NOTABLE_INSTANTS, ZONES, Pools, pools_for

__all__ = [
    "EVERY_TYPE",
    "Batch",
    "Case",
    "TagBatch",
    "UpsertBatch",
    "batches_for",
    "cases",
    "channels_for",
    "contacts_for",
    "evaluated_ats",
    "event_expressions_for",
    "expressions_for",
    "lives_for",
    "pools_for",
    "random_contacts",
    "random_expression",
    "schemas",
    "zones",
]

Row = tuple[str, Mapping[str, object]]

_NAMES = ("f0", "f1", "f2", "f3", "household size", "źródło", "and", "Score", "score", "x.y", "f" * 64)

# A schema with every type, several of each where fields compare with each other.
EVERY_TYPE = Schema(
    (
        Field("tags", FieldType.TAGS),
        Field("country", FieldType.CATEGORY),
        Field("email", FieldType.TEXT),
        Field("city", FieldType.CATEGORY),
        Field("score", FieldType.NUMBER),
        Field("spend", FieldType.NUMBER, 2),
        Field("ratio", FieldType.NUMBER, 9),
        Field("consent", FieldType.BOOL),
        Field("verified", FieldType.BOOL),
        Field("birthday", FieldType.DATE),
        Field("renewal", FieldType.DATE),
        Field("signup", FieldType.TIMESTAMP),
        Field("seen", FieldType.TIMESTAMP),
        Field("interests", FieldType.TAGS),
    )
)


class _HypothesisChooser:
    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


@dataclass(frozen=True, slots=True)
class UpsertBatch:
    """Rows for an upsert, some of them bad, some of the same id."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class TagBatch:
    """One tag operation: `replace`, or `add` and `remove` without a tag in both."""

    ids: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    replace: tuple[str, ...] | None
    field: str


Batch = UpsertBatch | TagBatch


@dataclass(frozen=True, slots=True)
class Case:
    """All that one equivalence check needs."""

    schema: Schema
    zone: str
    evaluated_at: datetime
    rows: tuple[Row, ...]
    expression: Expression


@st.composite
def schemas(draw: st.DrawFn, *, max_fields: int = 8) -> Schema:
    """One to `max_fields` fields of any types, with plain and awkward names."""
    names = draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=max_fields, unique=True))
    return Schema(tuple(draw(_fields(name)) for name in names))


@st.composite
def _fields(draw: st.DrawFn, name: str) -> Field:
    type_ = draw(st.sampled_from(tuple(FieldType)))
    return Field(name, type_, draw(st.sampled_from((0, 2, 1, 9))) if type_ is FieldType.NUMBER else 0)


def zones() -> st.SearchStrategy[str]:
    """IANA zones with odd offsets, gaps, folds, a skipped day and repeated dates."""
    return st.sampled_from(ZONES)


def evaluated_ats() -> st.SearchStrategy[datetime]:
    """Instants of whole milliseconds, mostly at or near daylight saving edges, leap days, ends of months and years."""
    near = st.builds(
        lambda instant, minutes: instant + timedelta(minutes=minutes),
        st.sampled_from(NOTABLE_INSTANTS),
        st.integers(-1500, 1500),
    )
    anywhere = st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)).map(
        lambda d: d.replace(microsecond=d.microsecond // 1000 * 1000, tzinfo=UTC)
    )
    return st.one_of(st.sampled_from(NOTABLE_INSTANTS), near, anywhere)


@st.composite
def contacts_for(
    draw: st.DrawFn, schema: Schema, *, pools: Pools | None = None, min_size: int = 0, max_size: int = 25
) -> tuple[Row, ...]:
    """Valid rows of different contacts, from small pools; a third of the fields is missing."""
    pools = pools or pools_for()
    generator = Generator(_HypothesisChooser(draw), schema, pools)
    ids = draw(st.lists(st.sampled_from(pools.contact_ids), min_size=min_size, max_size=max_size, unique=True))
    return tuple((contact_id, generator.fields()) for contact_id in ids)


@st.composite
def channels_for(draw: st.DrawFn, contact_ids: Sequence[str]) -> dict[str, dict[Channel, dict[ChannelFlag, bool]]]:
    """Flags of channels for some of the contacts, as `ContactWrite.channels` takes them."""
    generator = Generator(_HypothesisChooser(draw), Schema(()), pools_for())
    return {contact_id: generator.channels() for contact_id in contact_ids if not generator.one_in(4)}


@st.composite
def expressions_for(draw: st.DrawFn, schema: Schema, *, max_leaves: int = 8, pools: Pools | None = None) -> Expression:
    """Well-typed expressions with every node, value and window that the schema's types allow."""
    chooser = _HypothesisChooser(draw)
    return Generator(chooser, schema, pools or pools_for()).expression(chooser.integer(1, max_leaves))


@st.composite
def event_expressions_for(
    draw: st.DrawFn, schema: Schema, *, max_leaves: int = 4, pools: Pools | None = None
) -> Expression:
    """Well-typed expressions that ask about events, most of them, and about fields."""
    chooser = _HypothesisChooser(draw)
    return EventGenerator(chooser, schema, pools or pools_for()).expression(chooser.integer(1, max_leaves))


@st.composite
def lives_for(
    draw: st.DrawFn,
    contact_ids: Sequence[str],
    at: datetime,
    zone: str = "UTC",
    *,
    max_imports: int = 3,
    max_orders: int = 12,
    latest: datetime | None = None,
) -> list[list[Order]]:
    """Imports of valid orders of the contacts, to be made one after another; ids are sent again."""
    chooser = _HypothesisChooser(draw)
    generator = OrderGenerator(chooser, contact_ids, at, zone, latest=latest)
    sizes = [chooser.integer(0, max_orders) for _ in range(chooser.integer(1, max_imports))]
    return [generator.orders(size) for size in sizes]


@st.composite
def cases(draw: st.DrawFn, *, max_leaves: int = 8, max_contacts: int = 25) -> Case:
    """A schema, a zone, an instant, contacts around that instant, and an expression over them."""
    zone, at = draw(zones()), draw(evaluated_ats())
    schema = draw(st.one_of(st.just(EVERY_TYPE), schemas()))
    pools = pools_for(at, zone)
    rows = draw(contacts_for(schema, pools=pools, min_size=min(4, max_contacts), max_size=max_contacts))
    return Case(schema, zone, at, rows, draw(expressions_for(schema, max_leaves=max_leaves, pools=pools)))


_BAD_IDS = ("", "i" * (MAX_CONTACT_ID_BYTES + 1), "é" * 128)


def _bad_values(field: Field) -> tuple[object, ...]:
    """Values that a row is refused for."""
    limit = Decimal(MAX_MINOR_UNITS + 1).scaleb(-field.scale)
    too_long = "x" * (MAX_STRING_BYTES + 1)
    match field.type:
        case FieldType.TAGS:
            return (frozenset({"a", ""}), frozenset({too_long}), frozenset({True}))
        case FieldType.NUMBER:
            return (limit, -limit, Decimal(1).scaleb(-field.scale - 1), Decimal("NaN"), Decimal("Infinity"), "1", True)
        case FieldType.TIMESTAMP:
            return (datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC), date(2024, 1, 1), "2024-01-01")
        case FieldType.DATE:
            return (DEFAULT_INSTANT, "2024-01-01")
        case FieldType.BOOL:
            return (Decimal(1), "true")
    return (too_long, "é" * (MAX_STRING_BYTES // 2 + 1), Decimal(1), True)


@st.composite
def batches_for(
    draw: st.DrawFn, schema: Schema, *, pools: Pools | None = None, max_batches: int = 6, bad_rows: bool = True
) -> tuple[Batch, ...]:
    """Sequences of upserts and tag operations on few contacts: values given, cleared, left; ids repeated within a
    batch, unknown to tag operations; with `bad_rows`, about one row in ten is to be refused."""
    pools = pools or pools_for()
    chooser = _HypothesisChooser(draw)
    generator = Generator(chooser, schema, pools)
    ids = pools.contact_ids[:8] + pools.contact_ids[-6:]

    def row() -> Row:
        contact_id: str = generator.pick(ids)
        fields: dict[str, object] = dict(generator.fields(clear=True))
        if bad_rows and generator.one_in(10):
            if generator.one_in(3):
                return generator.pick(_BAD_IDS), fields
            field = generator.pick(schema.fields)
            fields[field.name] = generator.pick(_bad_values(field))
        return contact_id, fields

    def tags() -> tuple[str, ...]:
        return tuple(normalize("NFC", generator.pick(pools.tags)) for _ in range(chooser.integer(0, 3)))

    def upsert(least: int) -> Batch:
        return UpsertBatch(tuple(row() for _ in range(chooser.integer(least, 12))))

    def batch() -> Batch:
        if not generator.tags or chooser.integer(0, 2) == 0:
            return upsert(0)
        targets = generator.several(lambda: generator.pick(ids), 6)
        field = generator.pick(generator.tags).name
        if generator.one_in(3):
            return TagBatch(targets, (), (), tags(), field)
        add, remove = tags(), tags()
        return TagBatch(targets, add, tuple(tag for tag in remove if tag not in add), None, field)

    # Contacts first, or most tag operations would meet unknown ids.
    return (upsert(4), *(batch() for _ in range(chooser.integer(0, max_batches - 1))))
