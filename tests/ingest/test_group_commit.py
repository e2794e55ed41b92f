"""What waits together is committed together: order, shared generations, keys seen twice, batches and commits that fail,
back-pressure, and closing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from segidx.database import Account, Database
from segidx.ingest import writer
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, Closed, GenerationNotReached, StorageFull, UnknownField
from segidx.model.results import WriteResult
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ContactWrite
from segidx.store.environment import WriteTransaction
from segidx.testing.places import quick_directory

FIELDS = (Field("city", FieldType.TEXT), Field("tags", FieldType.TAGS), Field("score", FieldType.NUMBER))


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "d"


@pytest.fixture
def account(place: Path) -> Iterator[Account]:
    with Database.open(place, create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        yield account


@contextmanager
def held_up(account: Account) -> Iterator[None]:
    """What is submitted within waits, and is then one group behind a first, empty commit."""
    queue = account._writer._queue
    with account._store.write():
        account.submit([ContactWrite("first")])
        while queue:
            time.sleep(0.001)
        yield


def results(*futures: Future[WriteResult]) -> list[WriteResult]:
    return [future.result(20) for future in futures]


def test_a_group_shares_a_generation_and_applies_in_order(account: Account) -> None:
    with held_up(account):
        futures = [account.submit([ContactWrite("a", {"score": n}, {"tags": [f"t{n}"]})]) for n in range(50)]
        futures.append(account.submit([ContactWrite("a", must_exist=True), ContactWrite("b", must_exist=True)]))
    found = results(*futures)
    assert {result.generation for result in found} == {2}
    assert [result.created for result in found] == [1] + [0] * 50
    assert [reject.contact_id for reject in found[-1].rejects] == ["b"]
    assert account.get("a").fields == {"score": 49, "tags": {f"t{n}" for n in range(50)}}
    (part,) = account.changes(1)
    assert [change.contact_id for change in part.contacts] == ["a"]
    assert account.count('tags has "t3"').count == 1


def test_batches_that_change_nothing_make_no_generation(account: Account) -> None:
    account.write([ContactWrite("a", {"score": 1})])
    with held_up(account):
        futures = [account.submit([ContactWrite("a", {"score": 1})]), account.submit([])]
    assert [result.generation for result in results(*futures)] == [2, 2]
    assert account.generation() == 2
    with held_up(account):
        futures = [account.submit([ContactWrite("a", {"score": n})]) for n in (1, 2, 2)]
    assert results(*futures)[1].generation == 3
    assert account.generation() == 3


def test_a_key_seen_twice_in_a_group_is_applied_once(account: Account) -> None:
    with held_up(account):
        futures = [
            account.submit([ContactWrite("a", {"score": 1})], batch_key="k"),
            account.submit([ContactWrite("a", {"score": 2})]),
            account.submit([ContactWrite("a", {"score": 1})], batch_key="k"),
            account.submit([ContactWrite("c")], batch_key="other"),
        ]
    first, _, again, other = results(*futures)
    assert (first.replayed, again.replayed, other.replayed) == (False, True, False)
    assert (again.generation, again.created) == (first.generation, 1)
    assert account.get("a").fields == {"score": 2}
    third = account.write([ContactWrite("z")], batch_key="k")
    assert (third.replayed, third.generation) == (True, first.generation)
    assert account.generation() == 2


def undeclared(contact_id: str) -> ContactBatch:
    """A batch that was validated against a schema that this account has not: its new strings must leave no trace."""
    rows = np.array([0])
    changes = {
        "city": FieldChange(rows, pa.array(["city of the failed"]), rows[:0]),
        "land": FieldChange(rows, pa.array(["PL"]), rows[:0]),
    }
    return ContactBatch(pa.array([contact_id]), changes)


def test_a_batch_that_fails_leaves_nothing_and_harms_no_other(account: Account) -> None:
    with held_up(account):
        good = account.submit([ContactWrite("a", {"city": "x"})])
        bad = account._writer.submit([undeclared("ghost")], "key")
        apart = [account.submit([ContactWrite(f"apart {n}", {"city": f"x{n}"})]) for n in range(3)]
        worse = account._writer.submit([undeclared("other ghost")])  # which is compared together with those beside it
        after = account.submit([ContactWrite("b", {"city": "y"}), ContactWrite("a", {"city": "z"})])
        same = account.submit([ContactWrite("c", {"city": "city of the failed"})], batch_key="key")
    for future in (bad, worse):
        with pytest.raises(UnknownField):
            future.result(20)
    assert [result.created for result in results(*apart)] == [1, 1, 1]
    assert [result.created for result in results(good, after, same)] == [1, 1, 1]
    assert not same.result().replayed, "a failed batch has no receipt"
    assert account.count("everyone").count == 7
    for text, wanted in (("x", 0), ("x2", 1), ("y", 1), ("z", 1), ("city of the failed", 1)):
        assert account.count(f'city = "{text}"').count == wanted
    assert [contact.contact_id for contact in account.preview("everyone").contacts] == [
        *("first", "a", "apart 0", "apart 1", "apart 2", "b", "c")
    ]
    account.merge()
    assert list(account.verify()) == []
    assert account.get("c").fields == {"city": "city of the failed"}


def test_a_commit_that_fails_fails_all_of_its_batches_and_nothing_else(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.write([ContactWrite("a", {"city": "old"})])
    write = account._store.write

    @contextmanager
    def full() -> Iterator[WriteTransaction]:
        with write() as transaction:
            yield transaction
            raise StorageFull("for a test")

    with monkeypatch.context() as patch:
        patch.setattr(account._store, "write", full)
        futures = [
            account.submit([ContactWrite("a", {"city": "new"}), ContactWrite(f"b{n}")], batch_key=f"k{n}")
            for n in range(3)
        ]
        for future in futures:
            with pytest.raises(StorageFull):
                future.result(20)
    assert account.generation() == 1
    assert account.get("a").fields == {"city": "old"}
    assert account.count("everyone").count == 1
    result = account.write([ContactWrite("b0", {"city": "new"})], batch_key="k0")
    assert (result.replayed, result.created, result.generation) == (False, 1, 2)
    assert account.count('city = "new"').count == 1
    assert list(account.verify()) == []


def test_submitting_waits_while_too_much_is_queued(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUE_CONTACTS", 10)
    done: list[Future[WriteResult]] = []

    def submit() -> None:
        done.extend(account.submit([ContactWrite(f"{n} {i}") for i in range(6)]) for n in range(4))

    thread = threading.Thread(target=submit)
    with held_up(account):
        thread.start()
        time.sleep(0.05)
        assert len(done) < 4, "the second batch has no room"
    thread.join(20)
    assert [result.created for result in results(*done)] == [6] * 4
    # One that is larger than the queue goes alone.
    assert account.write([ContactWrite(f"large {i}") for i in range(50)]).created == 50


def test_closing_commits_what_waits(place: Path) -> None:
    with Database.open(place, create=True) as database:
        account = database.account()
        with held_up(account):
            futures = [account.submit([ContactWrite(f"c{n}")]) for n in range(20)]
    assert [result.created for result in results(*futures)] == [1] * 20
    with pytest.raises(Closed):
        account.submit([ContactWrite("late")])
    with Database.open(place) as database:
        assert database.account().count("everyone").count == 21


def test_waiting_for_a_generation(account: Account) -> None:
    account.wait_for_generation(0, timeout=0)
    with pytest.raises(GenerationNotReached) as caught:
        account.wait_for_generation(1, timeout=0.02)
    assert (int(caught.value.metadata["generation"]), int(caught.value.metadata["current"])) == (1, 0)
    thread = threading.Thread(target=lambda: account.write([ContactWrite("a")]))
    thread.start()
    account.wait_for_generation(1, timeout=20)
    assert account.count("everyone").count == 1
    thread.join()
    stop = Stop()
    stop.cancel()
    with pytest.raises(Cancelled):
        account.wait_for_generation(2, stop=stop, timeout=20)
