"""Deadlines and cancellation reach into a real evaluation behind a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from segidx.client import RemoteAccount, connect
from segidx.database import Database
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, DeadlineExceeded
from segidx.model.expression import AtLeast, Expression, field
from segidx.model.schema import Field, FieldType
from segidx.service.server import start

CONTACTS = 1_000_000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(tmp_path_factory.mktemp("deadline") / "d", create=True) as opened:
        account = opened.account()
        account.update_schema([Field("n", FieldType.NUMBER), Field("name", FieldType.TEXT)])
        rows = np.arange(CONTACTS)
        values = np.random.default_rng(1).integers(0, 2**30, CONTACTS)
        names = pa.array([f"name {i} of many" for i in range(CONTACTS)])
        nobody = np.zeros(0, np.int64)
        account.apply(
            ContactBatch(
                pa.array([f"c{i}" for i in range(CONTACTS)]),
                {"n": FieldChange(rows, values, nobody), "name": FieldChange(rows, names, nobody)},
            )
        )
        yield opened


@pytest.fixture
def remote(database: Database) -> Iterator[RemoteAccount]:
    with start(database, port=0) as server, connect(server.address) as client:
        yield client.account("default")


def heavy() -> Expression:
    """3,000 scans of a million rows that no zone map answers: seconds of work."""
    ranges = tuple(field("n").between(i << 17, (i << 17) + 2**29) for i in range(3000))
    return AtLeast(2000, ranges)


def test_a_deadline_ends_the_evaluation_and_frees_the_server(remote: RemoteAccount) -> None:
    assert remote.count("everyone").count == CONTACTS
    for timeout in (0.05, 0.2):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            remote.count(heavy(), timeout=timeout)
        # Generous: a machine may be busy. Without a deadline inside the evaluation this takes many seconds.
        assert time.monotonic() - started < 3
    assert remote.count("n >= 0", timeout=10).count == CONTACTS


@pytest.mark.parametrize("text", ["n >= 5", 'name contains "77"', 'name matches "7+ of"', "n * 2 > n + 7"])
def test_a_passed_deadline_and_a_cancelled_call_stop_every_kind(database: Database, text: str) -> None:
    account = database.account()
    for stop, error in ((Stop(time.monotonic_ns() - 1), DeadlineExceeded), (Stop(), Cancelled)):
        if error is Cancelled:
            stop.cancel()
        with pytest.raises(error):
            account.count(text, stop=stop)
        with pytest.raises(error):
            account.preview(text, stop=stop)
        with pytest.raises(error):
            account.explain(text, counts=True, stop=stop)
    with pytest.raises(DeadlineExceeded):
        account.suggest("name", "77", stop=Stop(time.monotonic_ns() - 1))
