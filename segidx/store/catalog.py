"""The catalog of an account: its settings, its schema with field ids, its generation."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from segidx.model.errors import CorruptData
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.store.layout import (
    META_ACCOUNT,
    META_FORMAT,
    META_GENERATION,
    META_HASH_KEY,
    META_SCHEMA,
    Handle,
    Reader,
    Writer,
)

_U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the meta database holds. `field_ids` maps names to the ids in keys; ids start at 1 and are never reused."""

    format_version: int
    account: AccountInfo
    schema: Schema
    field_ids: Mapping[str, int]
    generation: int
    hash_key: bytes

    def with_fields(self, fields: Iterable[Field]) -> Catalog:
        """This catalog with more fields declared. Raises SchemaConflict for a change of type."""
        schema = self.schema.extended(fields)
        ids = dict(self.field_ids)
        for added in schema.fields[len(self.schema.fields) :]:
            ids[added.name] = len(ids) + 1
        return replace(self, schema=schema, field_ids=ids)


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
        schema = Schema(tuple(Field(f["name"], FieldType(f["type"]), f["scale"]) for f in fields))
        return Catalog(
            format_version=_U64.unpack(_required(txn, db, META_FORMAT))[0],
            account=AccountInfo(**json.loads(_required(txn, db, META_ACCOUNT))),
            schema=schema,
            field_ids={f["name"]: f["id"] for f in fields},
            generation=read_generation(txn, db),
            hash_key=hash_key,
        )
    except (ValueError, TypeError, KeyError, struct.error) as error:
        raise CorruptData(f"the catalog cannot be read ({error}); restore from a backup") from error


def read_generation(txn: Reader, db: Handle) -> int:
    return int(_U64.unpack(_required(txn, db, META_GENERATION))[0])


def write_generation(txn: Writer, db: Handle, generation: int) -> None:
    txn.put(META_GENERATION, _U64.pack(generation), db=db)


def write_schema(txn: Writer, db: Handle, catalog: Catalog) -> None:
    rows = [
        {"id": catalog.field_ids[f.name], "name": f.name, "type": f.type.value, "scale": f.scale}
        for f in catalog.schema
    ]
    txn.put(META_SCHEMA, json.dumps(rows, ensure_ascii=False).encode(), db=db)


def write_catalog(txn: Writer, db: Handle, catalog: Catalog) -> None:
    """All of it: what a new account begins with."""
    account = catalog.account
    txn.put(META_FORMAT, _U64.pack(catalog.format_version), db=db)
    settings = {
        "name": account.name,
        "zone": account.zone,
        "currency": account.currency,
        "money_scale": account.money_scale,
    }
    txn.put(META_ACCOUNT, json.dumps(settings).encode(), db=db)
    txn.put(META_HASH_KEY, catalog.hash_key, db=db)
    write_generation(txn, db, catalog.generation)
    write_schema(txn, db, catalog)
