"""What the parts of a verification share: one transaction, what its catalog says, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import lmdb
from pyroaring import BitMap

from segidx.model.errors import CorruptData
from segidx.model.events import HISTORY, LINE
from segidx.model.schema import FieldType
from segidx.model.writes import Channel, ChannelFlag
from segidx.store.catalog import read_catalog, read_state
from segidx.store.layout import (
    DB_EVENTS,
    DB_META,
    DB_STRINGS,
    IDS_TABLE,
    LIVE_CODE,
    MAX_ORDINALS,
    PLACE_CONTACT,
    PLACE_REVISION,
    PLACE_TIME,
    SYSTEM_FIELD,
    Handle,
    balance_column,
    channel_code,
    derived_of,
    event_ids_table,
    event_place,
    event_table,
)
from segidx.store.snapshot import Snapshot
from segidx.store.strings import StringTable

CODED = (FieldType.CATEGORY, FieldType.TEXT, FieldType.TAGS)
_PLACES = {PLACE_CONTACT: "contacts", PLACE_TIME: "times", PLACE_REVISION: "revisions"}
CHANNEL_FLAGS = {channel_code(c, flag): (c, flag) for c in Channel for flag in (*ChannelFlag, None)}


class Context:
    """See the module. `snapshot` is None when the account cannot be read as a whole."""

    def __init__(self, txn: lmdb.Transaction, dbs: Mapping[bytes, Handle], check: Callable[[], None]) -> None:
        """Raises CorruptData when the state or the catalog cannot be read."""
        self.txn = txn
        self.dbs = dbs
        self.state = read_state(txn, dbs[DB_META])
        self.catalog = read_catalog(txn, dbs[DB_META])
        self.fields = self.catalog.fields_by_id
        self.snapshot: Snapshot | None = None
        types = list(self.catalog.event_types) if DB_EVENTS in dbs else []
        # Columns by event number with their types, and string tables of events with what problems call them.
        self.event_columns = {event_place(t, place): (t, place) for t in types if t != LINE for place in _PLACES}
        self.balances = {balance_column(each.number): each for each in self.catalog.balances}
        self.event_tables = {event_ids_table(t): f"of {t.name} ids" for t in types if t != LINE} | {
            event_table(t, index): f"of the {t.name}s' {each.name!r}"
            for t in (*types, *HISTORY)
            for index, each in enumerate(t.properties)
            if each.type is FieldType.CATEGORY
        }
        self.checked = 0
        self.ids = MAX_ORDINALS  # given out, as far as the log was read
        self._check = check
        self._lost: set[tuple[bytes, int, int]] = set()
        self._sizes: dict[int, int] = {}

    def tick(self) -> None:
        """One more structure is looked at."""
        self.checked += 1
        self._check()

    # --- names ---

    def name(self, field_id: int) -> str:
        """How problems call a field."""
        if field_id == SYSTEM_FIELD:
            return "field 0 (the system's)"
        field = self.fields.get(field_id)
        return f"field {field_id} ({field.name!r})" if field else f"field {field_id}"

    def value(self, field_id: int, code: int) -> str:
        """How problems call a value of a field; for the system's codes, what they mean."""
        if derived_of(field_id) is not None and not code:
            return f"bands of derived number {derived_of(field_id)}"
        meaning = ""
        if field_id == SYSTEM_FIELD and code == LIVE_CODE:
            meaning = " (live contacts)"
        elif field_id == SYSTEM_FIELD and code in self.fields:
            meaning = f" ({self.fields[code].name!r} is set)"
        elif field_id == SYSTEM_FIELD and code in CHANNEL_FLAGS:
            channel, flag = CHANNEL_FLAGS[code]
            meaning = f" ({channel.value} {flag.value if flag else 'suppressed'})"
        return f"{self.name(field_id)}, code {code}{meaning}"

    def column(self, field_id: int) -> str:
        """How problems call a column."""
        balance = self.balances.get(field_id)
        if balance is not None:
            return f"balance of {balance.text}"
        found = self.event_columns.get(field_id)
        if found is None and derived_of(field_id) is not None:
            return f"column of derived number {derived_of(field_id)}"
        if found is None:
            return f"column of {self.name(field_id)}"
        type, place = found
        return f"column of the {type.name}s' {_PLACES[place]}"

    # --- what could not be read ---

    def lose(self, database: bytes, field_id: int, code: int = 0) -> None:
        """Values of a field cannot be read; of the system's field, one code's."""
        self._lost.add((database, field_id, code if field_id == SYSTEM_FIELD else 0))

    def readable(self, database: bytes, field_id: int, code: int = 0) -> bool:
        return (database, field_id, code if field_id == SYSTEM_FIELD else 0) not in self._lost

    # --- what there may be ---

    def base_size(self, table: int) -> int:
        """Codes that the base has given out of a string table; all that there are when its state cannot be read."""
        if table not in self._sizes:
            try:
                size = len(StringTable(self.txn, self.dbs[DB_STRINGS], table, self.catalog.hash_key))
            except CorruptData:  # which `check_strings` names
                size = MAX_ORDINALS
            self._sizes[table] = size
        return self._sizes[table]

    @property
    def base_ids(self) -> int:
        """Ordinals that the base has given out."""
        return self.base_size(IDS_TABLE)

    def stray(self, field_id: int, code: int, dictionary: int) -> str:
        """Why there can be no postings and counts of a value, where the field's `dictionary` has so many codes; "" when
        there can be."""
        if field_id == SYSTEM_FIELD:
            known = code == LIVE_CODE or code in self.fields or code in CHANNEL_FLAGS
            return "" if known else "this code means nothing"
        if derived_of(field_id) is not None:
            return "" if code == 0 else "bands have the code 0 alone"
        field = self.fields.get(field_id)
        if field is None:
            return "there is no such field"
        if field.type is FieldType.BOOL:
            return "" if code <= 1 else "a bool is 0 or 1"
        if field.type not in CODED:
            return f"values of a {field.type.value} have no codes"
        return "" if code < dictionary else f"the dictionary ends at {dictionary}"

    # --- walking ---

    def keys(self, database: bytes, prefix: bytes = b"") -> Iterator[bytes]:
        """The keys of a database that begin so, ascending; copies."""
        with self.txn.cursor(self.dbs[database]) as cursor:
            if not cursor.set_range(prefix):
                return
            for key in cursor.iternext(keys=True, values=False):
                copy = bytes(key)
                if not copy.startswith(prefix):
                    return
                yield copy

    def value_of(self, database: bytes, key: bytes) -> memoryview | bytes:
        """The value of a key that is there, borrowed."""
        value = self.txn.get(key, db=self.dbs[database])
        assert value is not None
        return value

    def items(self, database: bytes, key_bytes: int) -> Iterator[tuple[bytes, memoryview | bytes] | str]:
        """(key, value) of a database, the value borrowed; a problem in place of one whose key has another length."""
        with self.txn.cursor(self.dbs[database]) as cursor:
            for key, value in cursor:
                self.tick()
                copy = bytes(key)
                if len(copy) == key_bytes:
                    yield copy, value
                else:
                    yield f"{database.decode()}: key {copy.hex()} has {len(copy)} bytes, not {key_bytes}"


def difference(found: BitMap, wanted: BitMap) -> str:
    """How the contacts `found` differ from those `wanted`, in words; "" when they do not."""
    extra, missing = found - wanted, wanted - found
    parts = []
    if extra:
        parts.append(f"has {len(extra)} too many (first ordinal {extra.min()})")
    if missing:
        parts.append(f"lacks {len(missing)} (first ordinal {missing.min()})")
    return " and ".join(parts)
