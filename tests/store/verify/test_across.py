"""`verify` names what contradicts each other: postings, columns, counts, ids and flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from segidx.database import Account
from segidx.store.layout import DB_POSTINGS, DB_STRINGS, IDS_TABLE, LIVE_CODE, SYSTEM_FIELD, posting_key
from segidx.store.strings import StringTable
from segidx.testing.damage import cell, clear, code_of, counted, posting
from segidx.testing.verified import Damage, Damages, by_name, expect, expect_opened, problems
from segidx.testing.verified_contacts import BORN, CITY, EMAIL, FIELDS, HARD_BOUNCED, NOTE, SUPPRESSED, TAGS, VIP, write


def _no_id(account: Account) -> None:
    with account._store.write() as w:
        StringTable(w.txn, w.dbs[DB_STRINGS], IDS_TABLE, w.catalog().hash_key).blank(np.array([3]))


def delta_count(account: Account, field: int, code: int) -> None:
    """Merge, so that no overlay sets the count, then change it."""
    account.merge()
    counted(account, field, code, lambda entry: entry + 1)


ACROSS: dict[str, tuple[Damage, str]] = {
    "category lacks": (
        lambda a: posting(a, CITY, 3, lambda b: b.remove(3)),
        r"posting of field 2 \('city'\), code 3, shard 0: lacks 1 \(first ordinal 3\), compared with the column",
    ),
    "category has": (
        lambda a: posting(a, CITY, 3, lambda b: b.add(4)),
        r"posting of field 2 \('city'\), code 3, shard 0: has 1 too many \(first ordinal 4\), compared with the column",
    ),
    "category has none": (
        lambda a: clear(a, DB_POSTINGS, posting_key(CITY, 3, 0)),
        r"'city'\), code 3, shard 0: lacks \d+ \(first ordinal 3\), compared with the column",
    ),
    "bool": (
        lambda a: posting(a, VIP, 1, lambda b: b.add(1)),
        r"posting of field 5 \('vip'\), code 1, shard 0: has 1 too many \(first ordinal 1\), compared with the column",
    ),
    "text": (
        lambda a: posting(a, NOTE, code_of(a, NOTE, "common"), lambda b: b.remove(1)),
        r"posting of field 3 \('note'\), code \d+, shard 0: lacks 1 \(first ordinal 1\), compared with the column",
    ),
    "text has none": (
        lambda a: clear(a, DB_POSTINGS, posting_key(NOTE, code_of(a, NOTE, "common"), 0)),
        r"posting of field 3 \('note'\), code \d+, shard 0: lacks \d+ \(first ordinal 1\), compared with the column",
    ),
    "column": (
        lambda a: cell(a, CITY, 3, 4),
        r"'city'\), code 3, shard 0: has 1 too many \(first ordinal 3\), compared with the column",
    ),
    "value of no code": (
        lambda a: cell(a, CITY, 3, 50),
        r"column of field 2 \('city'\), ordinal 3: code 50 is none of its 7 codes",
    ),
    "value of no bool": (
        lambda a: cell(a, VIP, 3, 2),
        r"column of field 5 \('vip'\), ordinal 3: code 2 is none of its 2 codes",
    ),
    **{
        f"presence of {name}": (
            lambda a, field=field: posting(a, SYSTEM_FIELD, field, lambda b: b.remove(3)),
            rf"code {field} \('{name}' is set\), shard 0: lacks 1 \(first ordinal 3\), compared with the "
            + ("tags" if name == "tags" else "column"),
        )
        for field, name in enumerate([f.name for f in FIELDS], 1)
    },
    "presence of nothing": (
        lambda a: cell(a, BORN, 3, None),
        r"code 6 \('born' is set\), shard 0: has 1 too many \(first ordinal 3\), compared with the column",
    ),
    "tag": (
        lambda a: [posting(a, TAGS, code_of(a, TAGS, t), lambda b: b.discard(3)) for t in ("third-0", "version-0")],
        r"code 4 \('tags' is set\), shard 0: has 1 too many \(first ordinal 3\), compared with the tags",
    ),
    "count of a tag": (
        lambda a: posting(a, TAGS, code_of(a, TAGS, "third-0"), lambda b: b.remove(3)),
        r"field 4 \('tags'\), code \d+: \d+ contacts are counted, and \d+ hold it",
    ),
    "count of a category": (
        lambda a: counted(a, EMAIL, 7, lambda entry: entry + 1),
        r"field 8 \('email'\), code 7: 2 contacts are counted, and 1 hold it",
    ),
    "count of a bool": (
        lambda a: delta_count(a, VIP, 1),
        r"field 5 \('vip'\), code 1: \d+ contacts are counted, and \d+ hold it",
    ),
    "count of a flag": (
        lambda a: counted(a, SYSTEM_FIELD, HARD_BOUNCED + 16, lambda _: 1),
        r"\(sms hard_bounced\): 1 contacts are counted, and 0 hold it",
    ),
    "count of live contacts": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\(live contacts\): 340 contacts are counted, and 339 hold it",
    ),
    "live without id": (
        _no_id,
        r"\(live contacts\), shard 0: has 1 too many \(first ordinal 3\), compared with the ids",
    ),
    "id of nobody live": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\(live contacts\), shard 0: lacks 1 \(first ordinal 3\), compared with the ids",
    ),
    "set, and not live": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\('born' is set\), shard 0: holds 1 contacts that are not live \(first ordinal 3\)",
    ),
    "flagged, and not live": (
        lambda a: posting(a, SYSTEM_FIELD, LIVE_CODE, lambda b: b.remove(3)),
        r"\(email consent\), shard 0: holds 1 contacts that are not live \(first ordinal 3\)",
    ),
    "suppressed for nothing": (
        lambda a: posting(a, SYSTEM_FIELD, SUPPRESSED, lambda b: b.add(3)),
        r"\(email suppressed\), shard 0: has 1 too many \(first ordinal 3\), compared with the flags that suppress",
    ),
    "not suppressed": (
        lambda a: posting(a, SYSTEM_FIELD, HARD_BOUNCED, lambda b: b.add(3)),
        r"\(email suppressed\), shard 0: lacks 1 \(first ordinal 3\), compared with the flags that suppress",
    ),
}


CASES = by_name({"across": ACROSS})


@pytest.mark.parametrize(("damage", "pattern"), CASES.values(), ids=CASES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    assert problems(account) == []
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("damages", [ACROSS], ids=["across"])
def test_a_process_that_opens_the_damage_names_it_or_refuses_it(path: Path, damages: Damages) -> None:
    """What the writing process sees is not what it remembers: another one, which has read nothing before, agrees."""
    expect_opened(path, damages)


def test_the_id_of_a_contact_may_be_too_long(empty: Account) -> None:
    empty.write([write(0)])
    empty.merge()
    with empty._store.write() as w:
        StringTable(w.txn, w.dbs[DB_STRINGS], IDS_TABLE, w.catalog().hash_key).insert(pa.array(["x" * 256]))
    posting(empty, SYSTEM_FIELD, LIVE_CODE, lambda b: b.add(1))
    counted(empty, SYSTEM_FIELD, LIVE_CODE, lambda _: 2)
    assert problems(empty) == ["the id of ordinal 1 has 256 bytes, over the limit of 255"]
