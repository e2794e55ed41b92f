"""The client's streams: results in order, a bounded window, errors as in other calls, nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from segidx.client import Batch, Client, RemoteAccount, connect
from segidx.model import errors
from segidx.model.errors import SegidxError
from segidx.model.events import Event, Order, Retraction
from segidx.model.writes import ContactWrite
from segidx.service import calls

WAIT = 60
TIME = datetime(2025, 3, 4, tzinfo=UTC)  # before the fake database's clock


def batches(count: int, rows: int = 2) -> Iterator[list[ContactWrite]]:
    for i in range(count):
        yield [ContactWrite(f"w{i}-{k}", {"country": "PL"}) for k in range(rows)]


def until(holds: Callable[[], bool]) -> None:
    """Waits for what another thread will bring about."""
    for _ in range(WAIT * 100):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come about")


# --- writes ------------------------------------------------------------------------------------------------


def test_results_come_in_order(database: Any, account: RemoteAccount) -> None:
    found = list(account.write_stream(batches(30)))
    assert [(r.generation, r.accepted, r.created) for r in found] == [(i + 2, 2, 2) for i in range(30)]
    assert len(database.account("default").contacts) == 64
    assert list(account.write_stream([])) == []


def test_rows_that_cannot_be_sent_are_rejects_of_their_batch(account: RemoteAccount) -> None:
    rows = [
        ContactWrite("x", {"income": float("inf")}),
        ContactWrite("y", {"income": 1}),
        ContactWrite("z", {"nothing": 1}),
    ]
    first, second, third = account.write_stream([rows, rows[:1], rows[1:]])
    assert [(r.index, r.reason) for r in first.rejects] == [(0, "INVALID_VALUE"), (2, "UNKNOWN_FIELD")]
    assert (second.accepted, [r.index for r in second.rejects]) == (0, [0])
    assert (third.accepted, [r.index for r in third.rejects]) == (1, [1])
    written = account.write(rows)
    assert [(r.index, r.reason) for r in written.rejects] == [(0, "INVALID_VALUE"), (2, "UNKNOWN_FIELD")]


def test_batches_hold_rows_and_events(database: Any, account: RemoteAccount) -> None:
    visits = [Event("visit", f"v{i}", "new", TIME, {"dwell": 1}) for i in range(3)]
    unsent = Event("visit", "v9", "a", TIME.replace(tzinfo=None))
    found = list(
        account.write_stream(
            [
                Batch(events=visits),
                [ContactWrite("w")],
                Batch(
                    [ContactWrite("x", {"income": float("inf")}), ContactWrite("y")], [unsent, Order("o", "z", TIME)]
                ),
                Batch(),
                Batch(events=iter([Retraction("visit", "v1"), unsent])),
            ],
            batch_keys=(f"k{i}" for i in range(5)),
        )
    )
    assert [(r.accepted, r.created, r.events_accepted) for r in found] == [
        (0, 1, 3),
        (1, 1, 0),
        (1, 2, 1),
        (0, 0, 0),
        (0, 0, 1),
    ]
    assert [[r.index for r in result.event_rejects] for result in found] == [[], [], [0], [], [1]]
    assert [r.index for r in found[2].rejects] == [0]
    assert {key: contact for key, (_, contact) in database.account("default").events.items()} == {
        ("visit", "v0"): "new",
        ("visit", "v1"): None,
        ("visit", "v2"): "new",
        ("order", "o"): "z",
    }
    (again,) = account.write_stream([Batch(events=visits)], batch_keys=["k0"])
    assert (again.replayed, again.events_accepted) == (True, 3)


def test_keys_of_batches(account: RemoteAccount) -> None:
    keys = [f"k{i}" for i in range(5)]
    first = list(account.write_stream(batches(5), batch_keys=keys))
    again = list(account.write_stream(batches(5), batch_keys=keys))
    assert [r.replayed for r in first + again] == [False] * 5 + [True] * 5
    assert [r.generation for r in again] == [r.generation for r in first]
    stream = account.write_stream(batches(3), batch_keys=keys[:2])
    assert [next(stream).replayed, next(stream).replayed] == [True, True]
    with pytest.raises(errors.InvalidArgument, match="batch 3 has no key"):
        next(stream)
    for wrong in (
        lambda: list(account.write_stream(batches(1), batch_keys=["k" * 129])),
        lambda: account.write([], batch_key="k" * 129),
        lambda: account.write_stream([], window=0),
    ):
        with pytest.raises(errors.InvalidArgument):
            wrong()


def test_no_more_than_the_window_is_without_a_result(database: Any, account: RemoteAccount) -> None:
    taken = 0

    def counted() -> Iterator[list[ContactWrite]]:
        nonlocal taken
        for batch in batches(20):
            taken += 1
            yield batch

    database.commits.clear()
    stream = account.write_stream(counted(), window=3)
    assert taken == 0
    results: list[Any] = []
    reading = threading.Thread(target=lambda: results.append(next(stream)))
    reading.start()
    until(lambda: len(database.submitted) == 3)
    for _ in range(20):
        account.count("everyone")
    assert (taken, results) == (3, [])
    database.commits.set()
    reading.join(WAIT)
    assert len(results + list(stream)) == 20


def test_what_the_batches_raise_comes_after_the_results_before(database: Any, account: RemoteAccount) -> None:
    def failing() -> Iterator[list[ContactWrite]]:
        yield from batches(3)
        raise ZeroDivisionError("mine")

    stream = account.write_stream(failing())
    assert [next(stream).accepted for _ in range(3)] == [2, 2, 2]
    with pytest.raises(ZeroDivisionError, match="mine"):
        next(stream)


def test_an_error_of_the_server_says_how_far_it_came(account: RemoteAccount) -> None:
    stream = account.write_stream(batches(4), batch_keys=["a", "b", "full", "d"])
    assert [next(stream).accepted for _ in range(2)] == [2, 2]
    with pytest.raises(errors.StorageFull) as caught:
        next(stream)
    assert caught.value.metadata == {"free": "0", "committed_batches": "2", "last_sequence": "2"}
    stream = account.write_stream(batches(2, rows=10_001))
    with pytest.raises(errors.InvalidArgument):
        next(stream)


def test_a_stream_that_is_given_up_leaves_nothing_open(database: Any, account: RemoteAccount) -> None:
    def endless(ended: threading.Event) -> Iterator[list[ContactWrite]]:
        try:
            while True:
                yield from batches(1)
        finally:
            ended.set()

    def given_up() -> bool:
        ended = threading.Event()
        stream = account.write_stream(endless(ended), window=2)
        try:
            next(stream)
        except errors.ServerUnavailable:
            # The server still counts the streams before.
            return False
        stream.close()  # type: ignore[attr-defined]
        del stream
        return ended.wait(WAIT)

    for _ in range(5):
        until(given_up)
    until(lambda: not any(t.name == "segidx-stream-reader" for t in threading.enumerate()))


def test_a_timeout_ends_a_stream(database: Any, account: RemoteAccount) -> None:
    database.commits.clear()
    with pytest.raises(errors.DeadlineExceeded):
        list(account.write_stream(batches(1), timeout=0.2))
    database.commits.set()


# --- changes -----------------------------------------------------------------------------------------------


def test_changes_come_and_can_be_resumed(database: Any, account: RemoteAccount) -> None:
    list(account.write_stream(batches(5)))
    whole = list(account.changes(0))
    assert [c.generation for c in whole] == [1, 2, 3, 4, 5, 6]
    assert whole == database.account("default").changes(0)
    assert list(account.changes(3)) == whole[3:]
    bare = list(account.changes(0, include_contacts=False))
    assert [(c.generation, c.contacts, c.last) for c in bare] == [(c.generation, (), True) for c in whole]


def test_a_follower_waits_for_more(database: Any, client: Client) -> None:
    with connect(client.address, timeout=0.5) as hurried:
        # Its deadline is for calls that end by themselves.
        stream = hurried.account("default").changes(1, follow=True)
        for generation in (2, 3):
            threading.Timer(0.6, database.account("default").upsert, ([("f", {})],)).start()
            assert next(stream).generation == generation
        stream.close()  # type: ignore[attr-defined]

        def is_late() -> bool:
            try:
                list(hurried.account("default").changes(3, follow=True, timeout=0.1))
            except errors.ServerUnavailable:
                # The server still counts the follower before.
                return False
            except errors.DeadlineExceeded:
                return True
            raise AssertionError("it ended")

        until(is_late)


def test_errors_of_changes(database: Any, account: RemoteAccount) -> None:
    database.account("default").oldest = 1
    with pytest.raises(errors.GenerationExpired) as caught:
        list(account.changes(0))
    assert caught.value.metadata["oldest"] == "1"
    for after in (-1, 7, 1 << 64):
        with pytest.raises(errors.InvalidArgument):
            list(account.changes(after))


# --- generations -------------------------------------------------------------------------------------------


READS: dict[str, Callable[[RemoteAccount, int], Any]] = {
    "count": lambda a, g: a.count("everyone", min_generation=g),
    "count_many": lambda a, g: a.count_many(["everyone"], min_generation=g),
    "explain": lambda a, g: a.explain("everyone", min_generation=g),
    "preview": lambda a, g: a.preview("everyone", min_generation=g),
    "suggest": lambda a, g: a.suggest("country", "P", min_generation=g),
    "get": lambda a, g: a.get("a", min_generation=g),
    "stats": lambda a, g: a.stats(min_generation=g),
}


@pytest.mark.parametrize("name", READS)
def test_reads_of_a_generation(account: RemoteAccount, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_WAIT_SECONDS", 0.05)
    read = READS[name]
    written = account.write([ContactWrite("mine")])
    assert account.generation() == written.generation
    read(account, written.generation)
    with pytest.raises(errors.GenerationNotReached) as caught:
        read(account, written.generation + 1)
    assert caught.value.metadata == {"generation": "3", "current": "2"}
    for wrong in (-1, 1 << 64):
        with pytest.raises(errors.InvalidArgument):
            read(account, wrong)


def test_streams_without_a_server(client: Client, account: RemoteAccount) -> None:
    with connect("127.0.0.1:1", timeout=WAIT) as lost:
        for call in (
            lambda: list(lost.account("default").changes(0)),
            lambda: list(lost.account("default").write_stream(batches(1))),
        ):
            with pytest.raises(errors.ServerUnavailable):
                call()
    client.close()
    for call in (lambda: list(account.changes(0)), lambda: list(account.write_stream(batches(1)))):
        with pytest.raises(SegidxError):
            call()
