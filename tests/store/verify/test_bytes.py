"""`verify` finds damaged bytes, wherever they are, and what they hide is not more than it must be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.store.layout import (
    DB_CHANGES,
    DB_COLUMNS,
    DB_COUNTS,
    DB_LOG,
    DB_META,
    DB_POSTINGS,
    DB_RECEIPTS,
    DB_STRINGS,
    HEADER_BYTES,
    LIVE_CODE,
    META_STATE,
    SYSTEM_FIELD,
    block_key,
    posting_key,
)
from segidx.testing.damage import cell, flip, get, posting, put, string_key
from segidx.testing.verified import problems
from segidx.testing.verified_contacts import BORN, CITY, NOTE, SEEN, TAGS, VIP, N


def test_one_flipped_bit_anywhere_is_found(account: Account) -> None:
    """In every value of the data: in each byte of its header, and in some of the rest."""
    random = np.random.default_rng(5)
    for database in (DB_STRINGS, DB_POSTINGS, DB_COLUMNS, DB_COUNTS, DB_LOG, DB_CHANGES, DB_RECEIPTS):
        with account._store.begin() as txn:
            keys = [bytes(key) for key, _ in txn.cursor(account._store.databases[database])]
        for key in keys if len(keys) < 6 else random.choice(np.array(keys, object), 6, replace=False):
            value = get(account, database, key)
            places = {int(p) for p in random.integers(0, len(value), 2)} | {
                int(random.integers(0, min(16, len(value))))
            }
            for at in places:
                flip(account, database, key, at, 1 << int(random.integers(8)))
                assert problems(account), f"{database!r}, key {key.hex()}: byte {at} of {len(value)}"
                put(account, database, key, value)
    assert problems(account) == []


@pytest.mark.parametrize("at", range(40))
def test_one_flipped_bit_of_the_state_is_found(account: Account, at: int) -> None:
    flip(account, DB_META, META_STATE, at, 4)
    assert len(problems(account)) == 1


def test_damage_to_one_thing_does_not_hide_damage_to_another(account: Account) -> None:
    """What cannot be read is named once, and everything else is still compared."""
    flip(account, DB_POSTINGS, posting_key(CITY, 0, 0), HEADER_BYTES + 9)
    flip(account, DB_POSTINGS, posting_key(SYSTEM_FIELD, N, 0), HEADER_BYTES + 9)
    flip(account, DB_COLUMNS, block_key(SEEN, 0), 50)
    flip(account, DB_COUNTS, block_key(TAGS, 0), 50)
    flip(account, DB_STRINGS, string_key(NOTE, 0, 0), 20)
    cell(account, BORN, 3, None)
    posting(account, VIP, 1, lambda b: b.add(1))
    found = problems(account)
    for pattern in (
        "'city'.*checksum",
        "'n' is set.*checksum",
        "'seen'.*checksum",
        "'tags'.*checksum",
        "'note'.*",
        "'born' is set.*compared with the column",
        "'vip'.*code 1.*compared with the column",
    ):
        assert len([p for p in found if re.search(pattern, p)]) == 1, f"{pattern!r} is not once among {found}"
    assert len(found) == 7


def test_a_dictionary_that_cannot_be_opened_is_one_problem(account: Account) -> None:
    for field in (CITY, TAGS):
        key = string_key(field, 0, 0)
        flip(account, DB_STRINGS, key, 20)
        found = problems(account)
        assert len(found) == 1
        assert re.search(rf"string table {field}.* its state fails its checksum", found[0])
        flip(account, DB_STRINGS, key, 20)


def test_a_page_of_the_file_that_is_none(path: Path) -> None:
    """In a process of its own: LMDB ends the process for some such pages. The first of a database it searches."""
    file = path / "accounts" / "default" / "data.mdb"
    with Database.open(path) as database:
        value = get(database.account(), DB_POSTINGS, posting_key(SYSTEM_FIELD, LIVE_CODE, 0))
    data = bytearray(file.read_bytes())
    at = data.find(value)
    assert at > 0
    while at >= 0:
        page = at // 4096 * 4096
        data[page : page + 4096] = bytes(4096)
        at = data.find(value)
    file.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "segidx.cli", "verify", "--data", path], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (8, "")
    assert re.fullmatch(r".*/accounts/default: its pages cannot be read \(.*\); restore.*\n1 problem\n", done.stdout)
