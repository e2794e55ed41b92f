"""Another process that reads an account while this one writes it: `python -m segidx.testing.reader DIR ACCOUNT`.

Requests and answers are pickled over its standard input and output. It may import anything below the service.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from segidx.database import Account, Database
from segidx.exec.evaluate import count, materialise
from segidx.exec.query import prepare
from segidx.model.expression import Expression
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext

PAUSE = 0.01  # seconds between two looks, so that the writer gets its turn

# What one look at the account found: its generation, and the count of each expression then.
Seen = tuple[int, tuple[int, ...]]


class Reader:
    """The process, seen from the one that started it."""

    def __init__(self, directory: Path, account: str) -> None:
        command = [sys.executable, "-m", "segidx.testing.reader", str(directory), account]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def members(self, expression: Expression, at: datetime) -> tuple[int, set[str]]:
        """(generation, ids) that it finds."""
        self.send("members", expression, at)
        generation, ids = self.receive()
        return int(generation), set(ids)

    def count(self, expression: Expression) -> tuple[int, int]:
        """(generation, contacts) as its own `Account.count` says, now."""
        self.send("counted", expression)
        generation, contacts = self.receive()
        return int(generation), int(contacts)

    def send(self, name: str, *arguments: object) -> None:
        assert self._process.stdin is not None
        pickle.dump((name, arguments), self._process.stdin)
        self._process.stdin.flush()

    def receive(self) -> Any:
        """The answer to the oldest request that has none yet. Raises what it raised."""
        assert self._process.stdout is not None
        answer = pickle.load(self._process.stdout)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def members(account: Account, expression: Expression, at: datetime) -> tuple[int, list[str]]:
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, to_millis(at), account.info.tz)
        bitmap = materialise(prepare(expression, context).plan, context)
        return snapshot.generation, snapshot.ids.get(np.array(bitmap, np.uint32)).to_pylist()


def counted(account: Account, expression: Expression) -> tuple[int, int]:
    found = account.count(expression)
    return found.evaluation.generation, found.count


def look(account: Account, expressions: list[Expression], at: datetime) -> Seen:
    """Counts of all expressions on one snapshot."""
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, to_millis(at), account.info.tz)
        found = tuple(count(prepare(expression, context).plan, context) for expression in expressions)
        return snapshot.generation, found


def record(account: Account, expressions: list[Expression], at: datetime, until: str) -> tuple[int, set[Seen]]:
    """(how often it looked, all that it saw) until a file appears."""
    looks, seen = 0, set()
    while not os.path.exists(until):
        seen.add(look(account, expressions, at))
        looks += 1
        time.sleep(PAUSE)
    seen.add(look(account, expressions, at))
    return looks, seen


def main() -> None:
    directory, name = sys.argv[1:]
    functions: dict[str, Callable[..., object]] = {"members": members, "counted": counted, "record": record}
    with Database.open(directory, read_only=True) as database:
        account = database.account(name)
        while True:
            try:
                function, arguments = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer: object = functions[function](account, *arguments)
            except Exception as error:  # told to the other side, whatever it is
                answer = error
            pickle.dump(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
