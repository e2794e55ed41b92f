"""`verify` names each damage to the log, and to what a process remembers of it."""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa
import pytest

from segidx.database import Account
from segidx.kernels.deltas import DeltaArrays, key_of
from segidx.store.catalog import State, write_state
from segidx.store.layout import DB_LOG, DB_META, DB_STRINGS, LIVE_CODE, SYSTEM_FIELD, part_key
from segidx.store.log import NewStrings
from segidx.store.strings import StringTable
from segidx.testing.damage import clear, code_of, flip, get, put
from segidx.testing.damage_log import delta, log, record_of, strings
from segidx.testing.verified import Damage, Damages, by_name, expect, expect_opened, problems
from segidx.testing.verified_contacts import BORN, CITY, CONTACTS, EMAIL, MERGED, TAGS, VIP, N


def _bounds(account: Account) -> None:
    """The greatest of the values that a delta sets is told too small."""
    old = record_of(account, 2).delta
    arrays = DeltaArrays(old)
    nkeys, _, _, nfields, nvalues = old.shape
    data = bytearray(old.data)
    at = 32 + 8 * nkeys + 8 * nvalues + 8 * nfields
    assert struct.unpack_from("<q", data, at)[0] == int(arrays.columns()[0].values.max())
    struct.pack_into("<q", data, at, 7)
    log(account, 2, delta=type(old)(bytes(data)))


def _other_strings_than_base(account: Account) -> None:
    """A merge has begun to fold the record, and put other strings into the base."""
    with account._store.write() as w:
        StringTable(w.txn, w.dbs[DB_STRINGS], CITY, w.catalog().hash_key).insert(pa.array(["elsewhere"]))
    held = {CITY: NewStrings(7, pa.array(["nowhere"]))}
    log(account, 4, strings=held)


def _in_one_part(account: Account) -> None:
    put(account, DB_LOG, part_key(2, 500), b"x")


LOG: dict[str, tuple[Damage, str]] = {
    "checksum": (lambda a: flip(a, DB_LOG, part_key(2, 0), 100), "the log record of generation 2 fails its checksum"),
    "missing": (lambda a: clear(a, DB_LOG, part_key(3, 0)), "the log has no record of generation 3"),
    "of another generation": (
        lambda a: put(a, DB_LOG, part_key(3, 0), get(a, DB_LOG, part_key(4, 0))),
        "the log record of generation 3 is not one",
    ),
    "reserved": (lambda a: flip(a, DB_LOG, part_key(2, 0), 2), "log record of generation 2 has reserved bytes set"),
    "newer": (
        lambda a: put(a, DB_LOG, part_key(9, 0), b"x"),
        "the log has a record of generation 9, and the newest is 4",
    ),
    "parts": (_in_one_part, r"the log record of generation 2 has the parts \[0, .*500\]"),
    "key": (lambda a: put(a, DB_LOG, b"x", b"y"), "log: 1 keys do not have 12 bytes"),
    "segment of later": (lambda a: log(a, 2, segment=9), "the log record of generation 2 is of segment 9"),
    "segment of none": (lambda a: log(a, 2, segment=0), "the log record of generation 2 is of segment 0"),
    "segments": (lambda a: log(a, 4, segment=3), "generation 4 is of segment 3, where the one before is of 2"),
    "codes with a gap": (
        lambda a: strings(a, 2, EMAIL, MERGED + 1, None),
        "generation 2 gives codes of string table 8 out from 301, where 300 is due",
    ),
    "codes twice": (
        lambda a: strings(a, 4, EMAIL, MERGED, ["again"]),
        "generation 4 gives codes of string table 8 out from 300, where 440 is due",
    ),
    "strings of no field": (lambda a: strings(a, 2, 99, 0, ["x"]), "has strings of table 99, which no field has"),
    "strings of a number": (lambda a: strings(a, 2, N, 0, ["x"]), "has strings of table 1, which no field has"),
    "strings that the base does not have": (
        _other_strings_than_base,
        "generation 4 has other strings for codes 7 to 7 of string table 2 than the base",
    ),
    "string twice": (
        lambda a: strings(a, 4, TAGS, None, ["version-1"]),
        "the log gives codes .* out, where a table ends at",
    ),
    "field": (lambda a: delta(a, 2, keys={key_of(99, 0): (1, [1], [])}), "2 changes field 99, code 0, and there is no"),
    "code": (
        lambda a: delta(a, 2, keys={key_of(CITY, 50): (1, [1], [])}),
        r"2 changes field 2 \('city'\), code 50, and the dictionary ends at 7",
    ),
    "system code": (lambda a: delta(a, 2, keys={key_of(0, 9): (1, [1], [])}), "code 9, and this code means nothing"),
    "adds nobody": (
        lambda a: delta(a, 2, keys={key_of(VIP, 1): (1, [CONTACTS], [])}),
        "2 adds ordinal 340, and only 340 were given out",
    ),
    "removes nobody": (
        lambda a: delta(a, 2, keys={key_of(VIP, 1): (1, [], [CONTACTS])}),
        "2 removes ordinal 340, and only 340 were given out",
    ),
    "adds and removes": (
        lambda a: delta(a, 2, keys={key_of(VIP, 1): (1, [3, 5], [5, 7])}),
        "2 both adds and removes ordinal 5 of one value",
    ),
    "value of nobody": (
        lambda a: delta(a, 2, columns={N: {CONTACTS: 1}}),
        "2 has a value of ordinal 340, and only 340 were given out",
    ),
    "values of tags": (
        lambda a: delta(a, 2, columns={TAGS: {5: 1}}),
        r"2 has values of field 4 \('tags'\), which has no column",
    ),
    "values of no field": (lambda a: delta(a, 2, columns={99: {5: 1}}), "has values of field 99, which has no column"),
    "value of no code": (
        lambda a: delta(a, 2, columns={CITY: {5: 7}}),
        r"2 has values of field 2 \('city'\) outside of its 7 codes",
    ),
    "value of no bool": (lambda a: delta(a, 2, columns={VIP: {5: -1}}), r"\('vip'\) outside of its 2 codes"),
    "bounds": (_bounds, "generation 2 has a delta that is not in its canonical form"),
    "untold": (
        lambda a: delta(a, 2, columns={N: {5: 1}}),
        r"generation 2 and the change feed differ in 1 contacts \(first ordinal 5\)",
    ),
}


# What the process has read before it was changed.
OVERLAY: dict[str, tuple[Damage, str]] = {
    "size of a table": (
        lambda a: strings(a, 4, CITY, 7, ["more"]),
        "overlay of this process: string table 2 has 7 strings, and 8 by the log",
    ),
    "strings": (
        lambda a: strings(a, 4, TAGS, None, ["later"]),
        r"overlay of this process: string table 4 has other strings among the codes \d+ to \d+ than the log",
    ),
    "membership": (
        lambda a: delta(a, 3, keys={key_of(CITY, 0): (50, [200], [])}),
        r"overlay of this process: field 2 \('city'\), code 0: lacks 1 \(first ordinal 200\), compared with the log",
    ),
    "membership taken": (
        lambda a: delta(a, 3, keys={key_of(SYSTEM_FIELD, LIVE_CODE): (CONTACTS, [], [200])}),
        r"overlay of this process: .*\(live contacts\): has 1 too many \(first ordinal 200\), compared with the log",
    ),
    "count": (
        lambda a: delta(a, 3, keys={key_of(CITY, 6): (9, [], [])}),
        r"overlay of this process: field 2 \('city'\), code 6: counts \d+ contacts, and 9 by the log",
    ),
    "value": (
        lambda a: delta(a, 3, columns={CITY: {200: 6}}),
        r"overlay of this process: field 2 \('city'\), ordinal 200: the value is 5, and 6 by the log",
    ),
    "no value": (
        lambda a: delta(a, 3, columns={BORN: {200: None}}),
        r"overlay of this process: field 6 \('born'\), ordinal 200: the value is \d+, and none by the log",
    ),
}


CASES = by_name({"log": LOG, "overlay": OVERLAY})


@pytest.mark.parametrize(("damage", "pattern"), CASES.values(), ids=CASES)
def test_each_damage_is_named(account: Account, damage: Damage, pattern: str) -> None:
    assert problems(account) == []
    damage(account)
    expect(account, pattern)


@pytest.mark.parametrize("damages", [LOG], ids=["log"])
def test_a_process_that_opens_the_damage_names_it_or_refuses_it(path: Path, damages: Damages) -> None:
    """What the writing process sees is not what it remembers: another one, which has read nothing before, agrees."""
    expect_opened(path, damages)


def test_a_string_that_the_log_adds_to_those_of_the_base(account: Account) -> None:
    code = code_of(account, TAGS, "late")
    strings(account, 4, TAGS, None, ["third-0"])
    account._store.overlay.clear()
    expect(account, f"overlay of this process: string table 4 does not find the string of code {code} at its code")


def test_a_state_ahead_of_the_log(account: Account) -> None:
    with account._store.write() as w:
        write_state(w.txn, w.dbs[DB_META], State(6, 1, w.state.base, w.state.schema))
    found = expect(account, "the log has no record of generation 5")
    assert any("generation 6" in p for p in found)
