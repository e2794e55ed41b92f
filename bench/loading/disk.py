"""What a load left on segidx's disk, in bytes of LMDB's pages: events and postings, indexes of ids, and the rest."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import lmdb

from segidx.database import Database
from segidx.model.events import ORDER
from segidx.store.layout import DB_STRINGS, IDS_TABLE, event_ids_table

_TABLES = {"contact ids": IDS_TABLE, "order ids": event_ids_table(ORDER)}
_KEY = struct.Struct(">HBBI")


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes. `ids` gives those of a key, by index. `rest` is what neither events, postings nor ids take; `free` are
    pages that are given back, and `file` the whole file."""

    events: int
    postings: int
    ids: dict[str, float]
    rest: int
    free: int
    file: int


def disk_of(path: Path, keys: dict[str, int]) -> Disk:
    """Of a data directory with one account; `keys` says how many each index of ids has."""
    with Database.open(path, read_only=True) as database:
        stats = database.account().stats()
        name = database.account().info.name
    strings = stats.sizes[DB_STRINGS.decode()]
    stored = _stored(path / "accounts" / name)
    # A page may be of two tables; each is taken to fill its pages as the others do.
    shares = {what: stored.get(table, 0) / max(1, sum(stored.values())) for what, table in _TABLES.items()}
    indexes = {what: strings * share for what, share in shares.items()}
    events, postings = (stats.sizes[each] for each in ("events", "postings"))
    rest = sum(stats.sizes.values()) - events - postings - round(sum(indexes.values()))
    page = 4096
    return Disk(
        events,
        postings,
        {what: size / keys[what] for what, size in indexes.items()},
        rest,
        stats.free_pages * page,
        (path / "accounts" / name / "data.mdb").stat().st_size,
    )


def _stored(path: Path) -> dict[int, int]:
    """Bytes of the keys and values of each string table."""
    found: dict[int, int] = {}
    with lmdb.open(str(path), max_dbs=16, readonly=True, lock=False, map_size=1 << 40) as env:
        db = env.open_db(DB_STRINGS, create=False)
        with env.begin(buffers=True) as txn, txn.cursor(db) as cursor:
            for key, value in cursor:
                table = _KEY.unpack(key)[0]
                found[table] = found.get(table, 0) + len(key) + len(value)
    return found
