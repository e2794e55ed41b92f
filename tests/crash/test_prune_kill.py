"""A prune that is killed with SIGKILL, before or after any of its commits, beside writes, leaves an account that
answers as if it had all events; the next one goes on where it was left.

SEGIDX_CRASH_ROUNDS sets the number of kills (default 8).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.errors import PrunedHistory
from segidx.model.events import Order, OrderLine
from segidx.model.schema import Field, FieldType

ROUNDS = int(os.environ.get("SEGIDX_CRASH_ROUNDS", "8"))
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
CONTACTS = 40_000  # three ranges

# Writes an order a commit beside the prune, says so, and ends itself at the transaction of that number.
PRUNER = """
import os, signal, sys, threading
from datetime import datetime
from decimal import Decimal
from contextlib import contextmanager
from segidx.database import Database
from segidx.model.events import Order
from segidx.store import base

path, before, kill_at, after, first = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1", int(sys.argv[5])
base.SLICE_BYTES = 1
with Database.open(path) as database:
    account = database.account()
    begin, begun = account._store.write, 0

    @contextmanager
    def write():
        global begun
        begun += 1
        last = begun == kill_at
        with begin() as transaction:
            yield transaction
            if last and not after:
                os.kill(os.getpid(), signal.SIGKILL)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    account._store.write = write

    def orders():
        for n in range(first, first + 10_000):
            account.write_events([Order(f"late{n}", "busy", datetime.now().astimezone(), amount=Decimal(1))])
            print(n, flush=True)

    threading.Thread(target=orders, daemon=True).start()
    account.prune(datetime.fromisoformat(before))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def spent(account: Account) -> tuple[int, ...]:
    texts = ("sum(order.amount) >= 3", "count(order) = 2", "count(order) = 1", "last(order).time < 2024-06-01")
    return tuple(account.count(f'{text} and not tags has "busy"').count for text in texts)


@pytest.mark.timeout(10_800)
def test_sigkill_in_a_prune(tmp_path: Path) -> None:
    rng = random.Random(7)
    path = tmp_path / "data"
    with Database.open(path, create=True) as database:
        account = database.account()
        account.update_schema([Field("tags", FieldType.TAGS)])
        account.upsert([(f"c{n}", {}) for n in range(CONTACTS)] + [("busy", {"tags": {"busy"}})])
        orders = [
            Order(
                f"o{n}",
                f"c{rng.randrange(CONTACTS)}",
                FIRST + timedelta(hours=rng.randrange(24 * 400)),
                amount=Decimal(rng.randrange(5)),
                lines=[OrderLine("p")] * rng.randrange(3),
            )
            for n in range(20_000)
        ]
        account.import_orders(orders)
        wanted = spent(account)
        assert all(wanted)
    told = 0
    for number in range(ROUNDS):
        before = FIRST + timedelta(days=40 * (number // 2 + 1), hours=7)
        arguments = [str(path), before.isoformat(), str(rng.randrange(1, 25)), str(number % 2), str(told)]
        done = subprocess.run(
            [sys.executable, "-c", PRUNER, *arguments], stdout=subprocess.PIPE, text=True, check=False
        )
        assert done.returncode == -9
        acknowledged = [int(line) for line in done.stdout.split()]
        with Database.open(path) as database:
            account = database.account()
            assert spent(account) == wanted
            told = max([told - 1, *acknowledged]) + 1
            # What was acknowledged is there, and at most the one that was on its way.
            counts = [account.count(f'count(order) = {n} and tags has "busy"').count for n in (told, told + 1)]
            assert sum(counts) == 1 or told == 0
            told += counts[1]
            assert list(account.verify()) == []
            horizon = account.horizons.get("order")
            if horizon is not None:
                with pytest.raises(PrunedHistory):
                    account.count("did(order where amount > 1)")
    with Database.open(path) as database:
        account = database.account()
        assert account.horizons["order"].time >= FIRST + timedelta(days=40)
        account.prune(account.horizons["order"].time, ["order"])
        assert spent(account) == wanted
        assert all(each.events == 0 for each in account.prune(account.horizons["order"].time, ["order"]))
        assert list(account.verify()) == []
