"""What all rooms of an account stand on: its opened files, its clock, its writer and the plans that are kept."""

from __future__ import annotations

import time
from collections.abc import Callable

from segidx.exec.evaluate import stop_errors
from segidx.exec.kept_plans import KeptPlans
from segidx.exec.query import Limits
from segidx.ingest.writer import Writer
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import ReadOnly
from segidx.model.schema import AccountInfo
from segidx.store.environment import AccountStore

Clock = Callable[[], int]  # milliseconds since 1970


def system_clock() -> int:
    return time.time_ns() // 1_000_000


class Opened:
    """One account of an opened database, without what can be asked of it."""

    def __init__(self, store: AccountStore, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._plans = KeptPlans(limits)
        self._writer = Writer(store, clock)

    def close(self) -> None:
        """Commit what is queued and close the account's files. `Database.close` does this for all."""
        self._writer.close()
        self._plans.clear()
        self._store.close()

    @property
    def info(self) -> AccountInfo:
        return self._store.info

    def now(self) -> int:
        """The clock of the database, milliseconds since 1970."""
        return self._clock()

    def _check_writable(self) -> None:
        if not self._store.writable:
            raise ReadOnly(f"account {self.info.name!r} is open for reading only; open it without read_only")


def checked(stop: Stop | None) -> Callable[[], None]:
    """What raises the errors of a stop."""

    def check() -> None:
        if stop is not None:
            with stop_errors():
                stop.check()

    return check
