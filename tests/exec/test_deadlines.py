"""Deadlines and cancelling: every way of asking stops, over the network too, and nothing is left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap

from segidx.client import connect
from segidx.database import Account, Database
from segidx.ingest.arrow import batch_from_arrow
from segidx.kernels.bitmaps import Column, Posting, Program, Stop, Stopped
from segidx.kernels.columns import CHUNK_ROWS, encode_chunk
from segidx.model.errors import Cancelled, DeadlineExceeded
from segidx.model.expression import AtLeast, Expression, field
from segidx.model.schema import Field, FieldType
from segidx.service.server import start

CONTACTS = 200_000
FIELDS = [
    Field("n", FieldType.NUMBER),
    Field("m", FieldType.NUMBER),
    Field("email", FieldType.TEXT),
    Field("tags", FieldType.TAGS),
]
# Generous, since machines are busy; an evaluation that did not stop takes far longer than what is asserted of it.
SOON = 2.0


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(tmp_path_factory.mktemp("deadlines") / "data", create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        n = np.arange(CONTACTS)
        table = pa.record_batch(
            {
                "id": [f"c{i}" for i in range(CONTACTS)],
                "n": n,
                "m": n[::-1].copy(),
                "email": [f"user{i}@example.com" for i in range(CONTACTS)],
                "tags": [["odd"] if i % 2 else ["even"] for i in range(CONTACTS)],
            }
        )
        names = {f.name: f.name for f in FIELDS}
        account.apply(batch_from_arrow(table, account.schema(), "id", names, first_index=0, zone=account.info.tz))
        yield database


@pytest.fixture(scope="module")
def account(database: Database) -> Account:
    return database.account()


ENTRIES: dict[str, Callable[[Account, Stop], Any]] = {
    "count": lambda a, stop: a.count("n > 5", stop=stop),
    "count of a posting": lambda a, stop: a.count('tags has "odd"', stop=stop),
    "count of a tree": lambda a, stop: a.count('not (tags has "odd" or n > 5)', stop=stop),
    "count many": lambda a, stop: a.count_many(["n > 5", "n > 6"], stop=stop),
    "explain": lambda a, stop: a.explain("n > 5", counts=True, stop=stop),
    "preview": lambda a, stop: a.preview("n > 5", limit=3, stop=stop),
    "suggest": lambda a, stop: a.suggest("email", "ser1", stop=stop),
    "contains": lambda a, stop: a.count('email contains "ser1"', stop=stop),
    "regular expression": lambda a, stop: a.count('email matches "r[0-9]+7@"', stop=stop),
    "candidate check": lambda a, stop: a.count("n * 2 > m", stop=stop),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_deadline_that_has_passed(account: Account, entry: str) -> None:
    with pytest.raises(DeadlineExceeded, match="deadline"):
        ENTRIES[entry](account, Stop(time.monotonic_ns() - 1))
    assert ENTRIES[entry](account, Stop(time.monotonic_ns() + 10**12)), "the same with time enough is answered"


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_caller_who_went_away(account: Account, entry: str) -> None:
    stop = Stop()
    stop.cancel()
    assert stop.stopped
    with pytest.raises(Cancelled):
        ENTRIES[entry](account, stop)
    assert ENTRIES[entry](account, Stop())


def test_stopped_calls_leave_no_snapshot_open(account: Account) -> None:
    """A reader left behind would pin its pages for ever."""
    for entry in ENTRIES.values():
        with pytest.raises(DeadlineExceeded):
            entry(account, Stop(1))
    readers = account._store._env.readers()
    mine = [line.split() for line in readers.splitlines()[1:]]
    assert all(line[-1] == "-" for line in mine), readers


# --- in the middle -----------------------------------------------------------------------------------------


def large_program(leaves: int, rows: int = 10**8) -> tuple[Program, list[object]]:
    """At least two of many ranges over 100 million rows, made of one chunk over and over; with what it borrows."""
    rng = np.random.default_rng(1)
    chunk = encode_chunk(rng.integers(0, 1 << 20, CHUNK_ROWS), np.ones(CHUNK_ROWS, np.uint8))
    column = Column([chunk] * -(-rows // CHUNK_ROWS))
    shard = 1 << 20
    parts = [BitMap(range(low, min(rows, low + shard))).serialize() for low in range(0, rows, shard)]
    universe = Posting(parts)
    assert universe.cardinality == rows
    program = Program()
    ranges = [program.range(column, i * 1000, i * 1000 + 500_000) for i in range(leaves)]
    program.finish(program.at_least(leaves // 2, ranges), universe)
    return program, [chunk, column, parts, universe]


@pytest.mark.parametrize("ask", ["count", "materialise"])
def test_a_scan_of_a_hundred_million_rows_stops_at_its_deadline(ask: str) -> None:
    program, borrowed = large_program(400)
    stop = Stop(time.monotonic_ns() + 50_000_000)
    began = time.monotonic()
    with pytest.raises(Stopped) as caught:
        getattr(program, ask)(stop=stop)
    assert caught.value.reason == "deadline"
    assert time.monotonic() - began < SOON
    assert borrowed


def test_a_scan_stops_when_another_thread_cancels() -> None:
    program, borrowed = large_program(400)
    stop = Stop()
    threading.Timer(0.05, stop.cancel).start()
    began = time.monotonic()
    with pytest.raises(Stopped) as caught:
        program.count(stop=stop)
    assert caught.value.reason == "cancelled"
    assert time.monotonic() - began < SOON
    assert borrowed


def test_what_is_stopped_can_be_asked_again() -> None:
    program, borrowed = large_program(3, rows=1 << 20)
    whole = program.count()
    with pytest.raises(Stopped):
        program.count(stop=Stop(1))
    assert program.count() == whole > 0
    assert borrowed


# --- over the network --------------------------------------------------------------------------------------


def slow_expression() -> Expression:
    """Distinct conditions that no rule can join, well within the limits on expressions; seconds of work."""
    return AtLeast(1500, tuple((field("n") if i % 2 else field("m")) * 3 > i * 50 + 1 for i in range(1500)))


class Watched:
    """The database with a record of how each count of it ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.ended: list[str] = []
        self.began = threading.Event()
        self.done = threading.Event()

    def account(self, name: str) -> Any:
        watch, real = self, self._database.account(name)

        class WatchedAccount:
            def count(self, *args: Any, **options: Any) -> Any:
                watch.began.set()
                try:
                    found = real.count(*args, **options)
                    watch.ended.append("answered")
                    return found
                except BaseException as error:
                    watch.ended.append(type(error).__name__)
                    raise
                finally:
                    watch.done.set()

        return WatchedAccount()


def test_a_deadline_over_the_network_ends_the_work_on_the_server(database: Database) -> None:
    watched = Watched(database)
    slow = slow_expression()
    with start(watched, port=0, threads=2) as server, connect(server.address) as client:  # type: ignore[arg-type]
        account = client.account("default")
        assert account.count("n < 10", timeout=60).count == 10
        watched.ended.clear()
        for timeout in (0.05, 0.1, 0.2, 0.4):  # more calls than the server has threads: each must come free
            with pytest.raises(DeadlineExceeded):
                account.count(slow, timeout=timeout)
        began = time.monotonic()
        assert account.count("n < 10", timeout=60).count == 10
        assert time.monotonic() - began < SOON, "a thread is free again"
    # The server has ended, and with it every call. Those that began were stopped, none ran to its answer; a call whose
    # deadline passed before its turn never begins.
    assert watched.ended.count("answered") == 1
    stopped = [how for how in watched.ended if how != "answered"]
    assert stopped, "the slow expression should have begun"
    assert set(stopped) <= {"DeadlineExceeded", "Cancelled"}


def test_a_caller_who_goes_away_ends_the_work_on_the_server(database: Database) -> None:
    watched = Watched(database)
    slow = slow_expression()
    with start(watched, port=0, threads=2) as server:  # type: ignore[arg-type]
        client = connect(server.address)
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                client.account("default").count(slow)
            except BaseException as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert watched.began.wait(60)
        client.close()
        assert watched.done.wait(SOON), "the evaluation goes on although nobody waits"
        asking.join(60)
    assert watched.ended == ["Cancelled"]
    assert len(errors) == 1
