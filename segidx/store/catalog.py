"""The catalog of an account (settings, schema with field ids) and its state: how far commits and merges are."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from segidx.model.bands import Bands, from_stored, to_stored
from segidx.model.derived import BUILT_IN, DerivedNumber
from segidx.model.derived import from_stored as derived_from_stored
from segidx.model.derived import to_stored as derived_to_stored
from segidx.model.errors import CorruptData, SegidxError
from segidx.model.event_groups import GROUPS, EventGroup, event_group, member, member_text
from segidx.model.events import LINE, ORDER, EventProperty, EventType, EventTypes
from segidx.model.products import BUILT_IN_PROPERTIES
from segidx.model.results import Horizon
from segidx.model.retention import Balance
from segidx.model.retention import from_stored as balances_from_stored
from segidx.model.retention import to_stored as balances_to_stored
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.source_settings import SourceSettings, source_settings
from segidx.model.windows import from_millis
from segidx.store.layout import (
    META_ACCOUNT,
    META_BALANCES,
    META_BANDS,
    META_DERIVED,
    META_EVENT_GROUPS,
    META_EVENT_TYPES,
    META_EVENTS_MERGED,
    META_FORMAT,
    META_GENERATION,
    META_HASH_KEY,
    META_HORIZONS,
    META_NEWEST_CHANGE,
    META_NEWEST_EVENT,
    META_PRODUCT_PROPERTIES,
    META_PRODUCTS,
    META_SCHEMA,
    META_SOURCE_SETTINGS,
    META_STATE,
    Handle,
    Reader,
    Writer,
)

_U64 = struct.Struct("<Q")
_I64 = struct.Struct("<q")


_STATE = struct.Struct("<BBHIQQQQ")
_STATE_VERSION = 1
# version u8, 3 zero bytes, CRC-32 of what follows it, generation, number of the type, range
_EVENTS_MERGED = struct.Struct("<B3sIQII")
_EVENTS_MERGED_VERSION = 1
# version u8, 3 zero bytes, CRC-32 of what follows it, stamp, number of products
_PRODUCTS = struct.Struct("<B3sIQQ")
_PRODUCTS_VERSION = 1


@dataclass(frozen=True, slots=True)
class State:
    """What commits and merges move. A reader's first look: it says what is new since its last.

    `generation`: committed changes of contact data. `merged`: the generation up to which the base holds everything;
    the log holds the later ones. `base`: transactions that have changed the base; pointers into the base are good as
    long as it stays. `schema`: changes of the schema.
    """

    generation: int
    merged: int
    base: int
    schema: int

    def is_before(self, other: State) -> bool:
        """Whether the other one is the later of two states of an account, of which no number ever falls."""
        return self != other and (
            self.generation <= other.generation and self.base <= other.base and self.schema <= other.schema
        )


@dataclass(frozen=True, slots=True)
class EventsMerged:
    """How far a merge that is under way, or was cut short, has folded events: those of the types before `type` (by
    number), and of this type those of the ranges before `range`, are in the base through `generation`."""

    generation: int
    type: int
    range: int

    def has(self, type: int, range: int) -> bool:
        """Whether the base holds the events of a type and range through `generation`."""
        return (type, range) < (self.type, self.range)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the meta database holds. `field_ids` maps names to the ids in keys; ids start at 1 and are never reused."""

    format_version: int
    account: AccountInfo
    schema: Schema
    field_ids: Mapping[str, int]
    hash_key: bytes
    event_types: EventTypes = field(default_factory=EventTypes)
    event_groups: Mapping[str, EventGroup] = field(default_factory=lambda: dict(GROUPS))
    products: Schema = BUILT_IN_PROPERTIES  # their properties, numbered from 1 in this order
    bands: Mapping[str, Bands] = field(default_factory=dict)
    source_settings: SourceSettings = field(default_factory=SourceSettings)
    declared: Mapping[str, DerivedNumber] = field(default_factory=dict)  # those built in left out
    horizons: Mapping[str, int] = field(default_factory=dict)  # by type, those of orders for lines too; ms since 1970
    balances: tuple[Balance, ...] = ()

    @property
    def derived(self) -> dict[str, DerivedNumber]:
        """The derived numbers, built in and declared, by name, in order of their names."""
        return dict(sorted({**BUILT_IN, **self.declared}.items()))

    def horizon(self, type: EventType) -> int | None:
        """The instant before which the events of a type are dropped, in milliseconds since 1970; None where none is."""
        return self.horizons.get(ORDER.name if type == LINE else type.name)

    @property
    def fields_by_id(self) -> dict[int, Field]:
        return {self.field_ids[f.name]: f for f in self.schema}

    def with_fields(self, fields: Iterable[Field]) -> Catalog:
        """This catalog with more fields declared, or tracked. Raises SchemaConflict for a change of type."""
        schema = self.schema.extended(fields)
        ids = dict(self.field_ids)
        for added in schema.fields[len(self.schema.fields) :]:
            ids[added.name] = len(ids) + 1
        return replace(self, schema=schema, field_ids=ids)


def horizons_of(catalog: Catalog) -> dict[str, Horizon]:
    """The horizons by type, in order of the types."""
    balances: dict[str, list[str]] = {}
    for each in catalog.balances:
        name = each.value.events.type
        balances.setdefault(ORDER.name if name == LINE.name else name, []).append(each.text)
    return {
        type.name: Horizon(type.name, from_millis(catalog.horizons[type.name]), tuple(balances.get(type.name, ())))
        for type in catalog.event_types
        if type.name in catalog.horizons
    }


def _required(txn: Reader, db: Handle, key: bytes) -> bytes:
    value = txn.get(key, db=db)
    if value is None:
        raise CorruptData(f"the catalog has no {key.decode()!r}; restore from a backup")
    return bytes(value)


def read_catalog(txn: Reader, db: Handle) -> Catalog:
    """The catalog as this transaction sees it. Raises CorruptData."""
    try:
        hash_key = _required(txn, db, META_HASH_KEY)
        if len(hash_key) != 16:
            raise ValueError(f"its hash key has {len(hash_key)} bytes instead of 16")
        fields = json.loads(_required(txn, db, META_SCHEMA))
        schema = Schema(
            tuple(Field(f["name"], FieldType(f["type"]), f["scale"], f.get("tracked", False)) for f in fields)
        )
        return Catalog(
            format_version=_U64.unpack(_required(txn, db, META_FORMAT))[0],
            account=AccountInfo(**json.loads(_required(txn, db, META_ACCOUNT))),
            schema=schema,
            field_ids={f["name"]: f["id"] for f in fields},
            hash_key=hash_key,
            event_types=_event_types(txn.get(META_EVENT_TYPES, db=db)),
            event_groups=GROUPS | _event_groups(txn.get(META_EVENT_GROUPS, db=db)),
            products=_product_properties(txn.get(META_PRODUCT_PROPERTIES, db=db)),
            bands=_bands(txn.get(META_BANDS, db=db)),
            source_settings=_source_settings(txn.get(META_SOURCE_SETTINGS, db=db)),
            declared=_derived(txn.get(META_DERIVED, db=db)),
            horizons=_horizons(txn.get(META_HORIZONS, db=db)),
            balances=_balances(txn.get(META_BALANCES, db=db)),
        )
    except (ValueError, TypeError, KeyError, struct.error) as error:
        raise CorruptData(f"the catalog cannot be read ({error}); restore from a backup") from error


def _event_groups(value: memoryview | bytes | None) -> dict[str, EventGroup]:
    """Those that the account has said anew."""
    rows = {} if value is None else json.loads(bytes(value))
    if not isinstance(rows, dict):
        raise ValueError("its event groups are no object")
    try:
        return {name: event_group(name, [member(text) for text in texts]) for name, texts in rows.items()}
    except SegidxError as error:
        raise CorruptData(f"the event groups cannot be read ({error}); restore from a backup") from error


def _product_properties(value: memoryview | bytes | None) -> Schema:
    rows = [] if value is None else json.loads(bytes(value))
    declared = tuple(Field(row["name"], FieldType(row["type"]), row["scale"]) for row in rows)
    return Schema((*BUILT_IN_PROPERTIES.fields, *declared))


def _bands(value: memoryview | bytes | None) -> dict[str, Bands]:
    """Those that the account declares, by name, in order of their names."""
    rows = {} if value is None else json.loads(bytes(value))
    if not isinstance(rows, dict):
        raise ValueError("its bands are no object")
    try:
        return {name: from_stored(name, row) for name, row in sorted(rows.items())}
    except (SegidxError, ArithmeticError) as error:
        raise CorruptData(f"the bands cannot be read ({error}); restore from a backup") from error


def _derived(value: memoryview | bytes | None) -> dict[str, DerivedNumber]:
    """The derived numbers that the account declares, by name, in order of their names."""
    rows = {} if value is None else json.loads(bytes(value))
    if not isinstance(rows, dict):
        raise ValueError("its derived numbers are no object")
    try:
        return {name: derived_from_stored(name, row) for name, row in sorted(rows.items())}
    except SegidxError as error:
        raise CorruptData(f"the derived numbers cannot be read ({error}); restore from a backup") from error


def _source_settings(value: memoryview | bytes | None) -> SourceSettings:
    if value is None:
        return SourceSettings()
    try:
        return source_settings(**json.loads(bytes(value)))
    except SegidxError as error:
        raise CorruptData(f"the source settings cannot be read ({error}); restore from a backup") from error


def _horizons(value: memoryview | bytes | None) -> dict[str, int]:
    rows = {} if value is None else json.loads(bytes(value))
    if not isinstance(rows, dict) or not all(isinstance(time, int) for time in rows.values()):
        raise ValueError("its horizons are no object of instants")
    return rows


def _balances(value: memoryview | bytes | None) -> tuple[Balance, ...]:
    try:
        return balances_from_stored(() if value is None else json.loads(bytes(value)))
    except SegidxError as error:
        raise CorruptData(f"the opening balances cannot be read ({error}); restore from a backup") from error


def _event_types(value: memoryview | bytes | None) -> EventTypes:
    rows = [] if value is None else json.loads(bytes(value))
    return EventTypes(
        EventType(
            row["name"],
            tuple(EventProperty(p["name"], FieldType(p["type"]), p["scale"]) for p in row["properties"]),
            row["number"],
        )
        for row in rows
    )


def stored_state(txn: Reader, db: Handle) -> bytes:
    """The state as it is stored, to compare; empty in format 1, whose states are not told apart so."""
    value = txn.get(META_STATE, db=db)
    return b"" if value is None else bytes(value)


def read_state(txn: Reader, db: Handle) -> State:
    """The state as this transaction sees it. Raises CorruptData."""
    value = stored_state(txn, db)
    if not value:
        # Format 1: everything is in the base.
        generation = int(_U64.unpack(_required(txn, db, META_GENERATION))[0])
        return State(generation, generation, 0, 0)
    try:
        version, _, _, crc, generation, merged, base, schema = _STATE.unpack(value)
    except struct.error as error:
        raise CorruptData(f"the state cannot be read ({error}); restore from a backup") from error
    if version != _STATE_VERSION or crc != zlib.crc32(value[8:]):
        raise CorruptData("the state of the account fails its checksum; restore from a backup")
    return State(generation, merged, base, schema)


def write_state(txn: Writer, db: Handle, state: State) -> None:
    numbers = (state.generation, state.merged, state.base, state.schema)
    crc = zlib.crc32(_STATE.pack(0, 0, 0, 0, *numbers)[8:])
    txn.put(META_STATE, _STATE.pack(_STATE_VERSION, 0, 0, crc, *numbers), db=db)


def write_format(txn: Writer, db: Handle, version: int) -> None:
    txn.put(META_FORMAT, _U64.pack(version), db=db)


def read_newest_event(txn: Reader, db: Handle) -> int | None:
    """The newest time that an accepted event has had, ms since 1970; None before the first. Raises CorruptData."""
    value = txn.get(META_NEWEST_EVENT, db=db)
    if value is None:
        return None
    if len(value) != _I64.size:
        raise CorruptData(f"the newest event's time has {len(value)} bytes, not {_I64.size}; restore from a backup")
    return int(_I64.unpack(value)[0])


def write_newest_event(txn: Writer, db: Handle, time: int) -> None:
    txn.put(META_NEWEST_EVENT, _I64.pack(time), db=db)


def read_newest_change(txn: Reader, db: Handle) -> int | None:
    """The newest time of history, ms since 1970; None while none is kept. Raises CorruptData."""
    value = txn.get(META_NEWEST_CHANGE, db=db)
    if value is None:
        return None
    if len(value) != _I64.size:
        raise CorruptData(f"the newest change's time has {len(value)} bytes, not {_I64.size}; restore from a backup")
    return int(_I64.unpack(value)[0])


def write_newest_change(txn: Writer, db: Handle, time: int) -> None:
    txn.put(META_NEWEST_CHANGE, _I64.pack(time), db=db)


def read_events_merged(txn: Reader, db: Handle) -> EventsMerged | None:
    """How far a merge has folded events; None when none is at it. Raises CorruptData."""
    value = txn.get(META_EVENTS_MERGED, db=db)
    if value is None:
        return None
    try:
        version, zero, crc, generation, type, range = _EVENTS_MERGED.unpack(value)
    except struct.error as error:
        raise CorruptData(f"how far events are merged cannot be read ({error}); restore from a backup") from error
    if version != _EVENTS_MERGED_VERSION or zero != bytes(3) or crc != zlib.crc32(bytes(value)[8:]):
        raise CorruptData("how far events are merged fails its checksum; restore from a backup")
    return EventsMerged(generation, type, range)


def write_events_merged(txn: Writer, db: Handle, merged: EventsMerged | None) -> None:
    """None: no merge is at it."""
    if merged is None:
        txn.delete(META_EVENTS_MERGED, db=db)
        return
    numbers = (merged.generation, merged.type, merged.range)
    crc = zlib.crc32(_EVENTS_MERGED.pack(0, b"", 0, *numbers)[8:])
    txn.put(META_EVENTS_MERGED, _EVENTS_MERGED.pack(_EVENTS_MERGED_VERSION, b"", crc, *numbers), db=db)


@dataclass(frozen=True, slots=True)
class ProductsState:
    """How the catalogue of products is: the generation that changed it last, and how many products it has."""

    stamp: int
    count: int


def read_products_state(txn: Reader, db: Handle) -> ProductsState | None:
    """None while there was no product. Raises CorruptData."""
    value = txn.get(META_PRODUCTS, db=db)
    if value is None:
        return None
    try:
        version, zero, crc, stamp, count = _PRODUCTS.unpack(value)
    except struct.error as error:
        raise CorruptData(f"the state of the products cannot be read ({error}); restore from a backup") from error
    if version != _PRODUCTS_VERSION or zero != bytes(3) or crc != zlib.crc32(bytes(value)[8:]):
        raise CorruptData("the state of the products fails its checksum; restore from a backup")
    return ProductsState(stamp, count)


def write_products_state(txn: Writer, db: Handle, state: ProductsState) -> None:
    crc = zlib.crc32(_PRODUCTS.pack(0, b"", 0, state.stamp, state.count)[8:])
    txn.put(META_PRODUCTS, _PRODUCTS.pack(_PRODUCTS_VERSION, b"", crc, state.stamp, state.count), db=db)


def write_product_properties(txn: Writer, db: Handle, properties: Schema) -> None:
    """Those that the account declares, behind the ones that every account has."""
    declared = properties.fields[len(BUILT_IN_PROPERTIES) :]
    rows = [{"name": p.name, "type": p.type.value, "scale": p.scale} for p in declared]
    txn.put(META_PRODUCT_PROPERTIES, json.dumps(rows).encode(), db=db)


def write_schema(txn: Writer, db: Handle, catalog: Catalog) -> None:
    rows = [
        {"id": catalog.field_ids[f.name], "name": f.name, "type": f.type.value, "scale": f.scale}
        | ({"tracked": True} if f.tracked else {})
        for f in catalog.schema
    ]
    txn.put(META_SCHEMA, json.dumps(rows, ensure_ascii=False).encode(), db=db)


def write_event_group(txn: Writer, db: Handle, group: EventGroup) -> None:
    """Say anew which events a group has."""
    groups = _event_groups(txn.get(META_EVENT_GROUPS, db=db)) | {group.name: group}
    rows = {name: [member_text(each) for each in found.members] for name, found in sorted(groups.items())}
    txn.put(META_EVENT_GROUPS, json.dumps(rows, ensure_ascii=False).encode(), db=db)


def write_derived(txn: Writer, db: Handle, declared: Mapping[str, DerivedNumber]) -> None:
    """Say which derived numbers are declared, those built in left out."""
    rows = {name: derived_to_stored(each) for name, each in sorted(declared.items())}
    txn.put(META_DERIVED, json.dumps(rows, ensure_ascii=False).encode(), db=db)


def write_bands(txn: Writer, db: Handle, declared: Mapping[str, Bands]) -> None:
    """Say which bands are declared."""
    rows = {name: to_stored(each) for name, each in sorted(declared.items())}
    txn.put(META_BANDS, json.dumps(rows, ensure_ascii=False).encode(), db=db)


def write_source_settings(txn: Writer, db: Handle, settings: SourceSettings) -> None:
    rows = {"order_minutes": settings.order_minutes, "own_hosts": settings.own_hosts}
    txn.put(META_SOURCE_SETTINGS, json.dumps(rows, ensure_ascii=False).encode(), db=db)


def write_horizons(txn: Writer, db: Handle, horizons: Mapping[str, int], balances: Iterable[Balance]) -> None:
    """Say anew what is dropped, and of which numbers opening balances are kept."""
    txn.put(META_HORIZONS, json.dumps(dict(sorted(horizons.items()))).encode(), db=db)
    txn.put(META_BALANCES, json.dumps(balances_to_stored(balances), ensure_ascii=False).encode(), db=db)


def write_event_types(txn: Writer, db: Handle, types: EventTypes) -> None:
    """Those that the account declares."""
    rows = [
        {
            "number": each.number,
            "name": each.name,
            "properties": [{"name": p.name, "type": p.type.value, "scale": p.scale} for p in each.properties],
        }
        for each in types.declared
    ]
    txn.put(META_EVENT_TYPES, json.dumps(rows).encode(), db=db)


def write_catalog(txn: Writer, db: Handle, catalog: Catalog) -> None:
    """All of it: what a new account begins with."""
    account = catalog.account
    write_format(txn, db, catalog.format_version)
    settings = {
        "name": account.name,
        "zone": account.zone,
        "currency": account.currency,
        "money_scale": account.money_scale,
    }
    txn.put(META_ACCOUNT, json.dumps(settings).encode(), db=db)
    txn.put(META_HASH_KEY, catalog.hash_key, db=db)
    write_state(txn, db, State(0, 0, 0, 0))
    write_schema(txn, db, catalog)
