"""The change feed of a snapshot: committed generations with the contacts that each changed."""

from __future__ import annotations

from segidx.model.errors import GenerationExpired, InvalidArgument
from segidx.model.windows import from_millis
from segidx.model.writes import Changes, ContactChange
from segidx.store.feed import KINDS, oldest_change, read_changes
from segidx.store.layout import DB_CHANGES
from segidx.store.snapshot import Snapshot


def read_feed(snapshot: Snapshot, after: int, max_contacts: int) -> list[Changes]:
    """What was committed behind the generation `after`, oldest first: whole generations, one where there is any, and
    more until they hold `max_contacts`.

    Raises GenerationExpired when changes behind `after` are no longer kept, and InvalidArgument when `after` is in the
    future or `max_contacts` below 1.
    """
    if max_contacts < 1:
        raise InvalidArgument(f"max_contacts must be 1 or more, not {max_contacts}", argument="max_contacts")
    if not 0 <= after <= snapshot.generation:
        raise InvalidArgument(
            f"generation {after} is not one of 0 to {snapshot.generation}", argument="after_generation"
        )
    if after == snapshot.generation:
        return []
    db = snapshot.dbs.get(DB_CHANGES)
    oldest = None if db is None else oldest_change(snapshot.txn, db)
    if oldest is None or after < oldest - 1:
        kept_from = snapshot.generation if oldest is None else oldest - 1
        raise GenerationExpired(
            f"changes behind generation {after} are no longer kept; read everything again,"
            f" then ask from generation {kept_from} or later",
            after=after,
            oldest=kept_from,
        )
    found: list[Changes] = []
    contacts = 0
    for part in read_changes(snapshot.txn, db, after):
        ids = snapshot.ids.get(part.ordinals).to_pylist()
        changed = tuple(ContactChange(i, KINDS[k]) for i, k in zip(ids, part.kinds.tolist(), strict=True))
        found.append(Changes(part.generation, from_millis(part.time), changed, part.last))
        contacts += len(changed)
        if part.last and contacts >= max_contacts:
            break
    return found
