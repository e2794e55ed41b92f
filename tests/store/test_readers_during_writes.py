"""Readers in other processes and threads note counts and generations while a writer works and merges run; afterwards
the writes are replayed in the oracle, and every count that any reader saw must be exact for its generation."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.ingest import merger, writer
from segidx.model.expression import Expression
from segidx.model.syntax import parse
from segidx.model.writes import ContactWrite
from segidx.store import base, log
from segidx.testing import oracle_writes
from segidx.testing.generator import RandomChooser
from segidx.testing.generator_writes import WRITTEN, WriteGenerator
from segidx.testing.oracle import Oracle
from segidx.testing.places import quick_directory
from segidx.testing.pools import pools_for
from segidx.testing.reader import PAUSE, Reader, Seen, look

AT = datetime(2024, 2, 29, 11, 30, tzinfo=UTC)
ZONE = "Europe/Warsaw"
BULK = 45
SEED = 7
ASKED = (
    "everyone",
    'tags has any ("a", "ab", "vip")',
    'tags has none ("a") and interests is set',
    'country = "a" or country = "b"',
    'not city in ("a", "A", "ab")',
    'email = "a@example.com"',
    'email contains "b@"',
    'phone = "+48 1" and not email = "a@example.com"',
    "score between 1 and 100",
    "not spend > 3",
    "score > spend",
    "consent and not verified",
    "signup after 2024-01-01 or birthday is set",
    'reachable("email")',
    'not suppressed("sms")',
    'hard_bounced("email") or hard_bounced("sms")',
)


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (writer, "BULK_CONTACTS", BULK),
        (writer, "GROUP_CONTACTS", BULK - 1),
        (merger, "SEGMENT_BYTES", 2000),
        (merger, "MERGE_BYTES", 6000),
        (merger, "MERGE_SECONDS", 0.05),
        (base, "TEXT_POSTING_MIN", 4),
        (base, "SLICE_BYTES", 3000),
        (base, "SLICE_STRINGS", 5),
        (log, "PART_BYTES", 1500),
    ):
        monkeypatch.setattr(module, name, value)


def write_for_a_while(
    account: Account, rng: np.random.Generator, rounds: int
) -> Iterator[tuple[int, list[ContactWrite]]]:
    """(generation, rows) of batches, in the order of their commits."""
    ids = [f"c{i}" for i in range(60)]
    generator = WriteGenerator(RandomChooser(rng), WRITTEN, pools_for(AT, ZONE), ids)
    for number in range(rounds):
        batches = [generator.rows(8) for _ in range(int(rng.integers(1, 7)))]
        if number % 13 == 12:
            batches.append([ContactWrite(contact_id, {"city": "a"}) for contact_id in ids[:BULK]])
        futures = [account.submit(rows) for rows in batches]
        for rows, future in zip(batches, futures, strict=True):
            yield future.result(30).generation, rows


def check_all_seen(
    written: list[tuple[int, list[ContactWrite]]], seen: set[Seen], expressions: list[Expression]
) -> None:
    """Each look that any reader had at some generation, against the oracle at that generation."""
    looks: dict[int, set[tuple[int, ...]]] = {}
    for generation, counts in seen:
        looks.setdefault(generation, set()).add(counts)
    oracle = Oracle(WRITTEN, ZONE)
    todo = list(written)
    for generation in sorted(looks):
        while todo and todo[0][0] <= generation:
            oracle_writes.write(oracle, todo.pop(0)[1])
        wanted = tuple(oracle.count(expression, AT) for expression in expressions)
        for counts in looks[generation]:
            wrong = [(text, got, want) for text, got, want in zip(ASKED, counts, wanted, strict=True) if got != want]
            assert not wrong, (generation, wrong)


def test_every_count_is_exact_for_its_generation(place: Path) -> None:
    expressions = [parse(text) for text in ASKED]
    stop = place / "stop"
    with Database.open(place / "d", create=True) as database:
        account = database.account()
        account.update_schema(WRITTEN.fields)
        readers = [Reader(place / "d", "default") for _ in range(2)]
        for reader in readers:
            reader.members(expressions[0], AT)  # it has begun
            reader.send("record", expressions, AT, str(stop))
        mine: set[Seen] = set()
        merge_points: set[int] = set()

        def read() -> None:
            while not stop.exists():
                mine.add(look(account, expressions, AT))
                merge_points.add(account.stats().merged_generation)
                time.sleep(PAUSE)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            written = list(write_for_a_while(account, np.random.default_rng(SEED), 40))
        finally:
            stop.touch()
            thread.join()
        found = [reader.receive() for reader in readers]
        for reader in readers:
            reader.close()
        assert list(account.verify()) == []
        last = account.generation()
    assert len(merge_points) > 5, "merges ran meanwhile"
    assert [generation for generation, _ in written] == sorted(generation for generation, _ in written)
    for looks, seen in [*found, (len(mine), mine)]:
        assert looks > 5
        assert len({generation for generation, _ in seen}) > 5
    for _, seen in found:
        assert max(generation for generation, _ in seen) == last
    check_all_seen(written, mine.union(*(seen for _, seen in found)), expressions)
