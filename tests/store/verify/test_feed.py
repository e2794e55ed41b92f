"""`verify` names each damage to the change feed and to the receipts."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from segidx.database import Account
from segidx.store.layout import DB_CHANGES, DB_RECEIPTS, part_key
from segidx.testing.damage import clear, flip, put
from segidx.testing.damage_log import feed, receipt_keys
from segidx.testing.verified import Damage, Damages, by_name, expect, expect_opened, problems
from segidx.testing.verified_contacts import CONTACTS


def _generation_of_receipt(account: Account) -> None:
    first = receipt_keys(account)[0]
    data = zlib.compress(b'{"generation":99,"accepted":1,"created":1,"duplicates":0,"rejects":[]}')
    put(account, DB_RECEIPTS, first, struct.pack("<B3sIII", 1, b"", 1, zlib.crc32(data), 0) + data)


def _answer_of_receipt(account: Account) -> None:
    data = zlib.compress(b'{"generation":1}')
    key = receipt_keys(account)[0]
    put(account, DB_RECEIPTS, key, struct.pack("<B3sIII", 1, b"", 1, zlib.crc32(data), 0) + data)


FEED: dict[str, tuple[Damage, str]] = {
    "checksum": (lambda a: flip(a, DB_CHANGES, part_key(2, 0), 40), "the changes of generation 2 fail their checksum"),
    "missing": (lambda a: clear(a, DB_CHANGES, part_key(3, 0)), "the changes of generation 4 follow those of 2"),
    "ends": (
        lambda a: clear(a, DB_CHANGES, part_key(4, 0)),
        "the change feed ends with generation 3, and the newest is 4",
    ),
    "newer": (lambda a: feed(a, 9, 0, [1], [1]), "the changes of generation 9 are in the feed, and the newest is 4"),
    "parts": (lambda a: feed(a, 4, 2, [1], [1]), r"the changes of generation 4 have the parts \[0, 2\]"),
    "no first part": (
        lambda a: (feed(a, 4, 1, [1], [1]), clear(a, DB_CHANGES, part_key(4, 0))),
        r"the changes of generation 4 have the parts \[1\]",
    ),
    "last": (lambda a: feed(a, 4, 0, [201], [4], last=0), "generation 4: part 1 of 1 says that it is not the last"),
    "last early": (lambda a: feed(a, 4, 1, [301], [4]), "generation 4: part 1 of 2 says that it is the last"),
    "order": (lambda a: feed(a, 4, 0, [201, 5], [4, 4]), "the changes of generation 4: the contacts do not ascend"),
    "twice": (lambda a: feed(a, 4, 0, [201, 201], [4, 4]), "the changes of generation 4: the contacts do not ascend"),
    "order of parts": (lambda a: feed(a, 4, 1, [5], [4]), "the changes of generation 4: the contacts do not ascend"),
    "no kind": (lambda a: feed(a, 4, 0, [201], [0]), "generation 4: a contact changed in no known way"),
    "unknown kind": (lambda a: feed(a, 4, 0, [201], [32]), "generation 4: a contact changed in no known way"),
    "nobody": (
        lambda a: feed(a, 4, 0, [201, CONTACTS], [4, 4]),
        "generation 4: tell of ordinal 340, and only 340 were given out",
    ),
    "reserved": (
        lambda a: flip(a, DB_CHANGES, part_key(4, 0), 3),
        "the changes of generation 4: reserved bytes are set",
    ),
    "other contacts": (
        lambda a: feed(a, 4, 0, [202], [4]),
        r"record of generation 4 and the change feed differ in 2 contacts \(first ordinal 201\)",
    ),
    "key": (lambda a: put(a, DB_CHANGES, b"x", b"y"), "changes: 1 keys do not have 12 bytes"),
}


RECEIPTS: dict[str, tuple[Damage, str]] = {
    "checksum": (lambda a: flip(a, DB_RECEIPTS, receipt_keys(a)[0], 30), "the receipt [0-9a-f]{32}: .*checksum"),
    "reserved": (lambda a: flip(a, DB_RECEIPTS, receipt_keys(a)[0], 13), "the receipt .*: reserved bytes are set"),
    "part too many": (
        lambda a: put(a, DB_RECEIPTS, receipt_keys(a)[0][:17] + b"\0\1", b"x"),
        "the receipt .* has 2 parts where its header says 1",
    ),
    "part of none": (
        lambda a: put(a, DB_RECEIPTS, receipt_keys(a)[0][:17] + b"\0\7", b"x"),
        "the receipt .* lacks a part, or has a key that is none",
    ),
    "answer": (_answer_of_receipt, "the receipt .*: 'accepted'"),
    "generation": (_generation_of_receipt, "the receipt .* is of generation 99, and the newest is 4"),
    "for ever": (
        lambda a: clear(a, DB_RECEIPTS, receipt_keys(a)[-1]),
        "3 receipts are kept, and 2 are to be forgotten",
    ),
    "gone": (
        lambda a: clear(a, DB_RECEIPTS, receipt_keys(a)[0]),
        "the receipt .* is to be forgotten, and is not there",
    ),
    "key": (lambda a: put(a, DB_RECEIPTS, b"x", b"y"), "receipts: key 78 means nothing"),
    "time": (lambda a: put(a, DB_RECEIPTS, receipt_keys(a)[-1], b"\1"), "receipts: key 74.* means nothing"),
}


ALL = {"feed": FEED, "receipts": RECEIPTS}
CASES = by_name(ALL)


@pytest.mark.parametrize(("damage", "pattern"), CASES.values(), ids=CASES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    assert problems(account) == []
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("damages", ALL.values(), ids=ALL)
def test_a_process_that_opens_the_damage_names_it_or_refuses_it(path: Path, damages: Damages) -> None:
    """What the writing process sees is not what it remembers: another one, which has read nothing before, agrees."""
    expect_opened(path, damages)
