"""Changes that stay in the overlay: written in this process, with merging held off until it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from bench.live.hold import merging_held
from segidx.client import Batch
from segidx.database import Account, Database
from segidx.model.results import Stats, WriteResult
from segidx.model.writes import ContactWrite

_WINDOW = 8
_LOOK_EVERY = 10  # batches


@dataclass(frozen=True, slots=True)
class Unmerged:
    """What lies in the overlay. `changes` are rows that were written."""

    changes: int
    log_bytes: int
    overlay_bytes: int
    log_records: int


def write_unmerged(path: Path, batches: Iterable[list[ContactWrite] | Batch], log_bytes: int | None = None) -> Unmerged:
    """Write batches until there is no more or the log holds so many bytes, and merge nothing.

    Raises RuntimeError when a row is refused.
    """
    waiting: deque[Future[WriteResult]] = deque()
    rows = 0
    with merging_held(), Database.open(path) as database:
        account = database.account()
        for number, batch in enumerate(batches):
            if len(waiting) >= _WINDOW:
                _check(waiting.popleft())
            if log_bytes is not None and number % _LOOK_EVERY == 0 and _log_bytes(account) >= log_bytes:
                break
            given = batch if isinstance(batch, Batch) else Batch(batch)
            waiting.append(account.submit(given.rows, events=given.events))
            rows += len([*given.rows, *given.events])
        for future in waiting:
            _check(future)
        stats: Stats = account.stats()
    return Unmerged(rows, stats.log_bytes, stats.overlay_bytes, stats.log_records)


def merge_all(path: Path) -> Stats:
    """Fold everything into the base."""
    with merging_held(), Database.open(path) as database:
        account = database.account()
        account.merge()
        return account.stats()


def _log_bytes(account: Account) -> int:
    with account._store.snapshot() as snapshot:
        return snapshot.view.log_bytes


def _check(future: Future[WriteResult]) -> None:
    result = future.result()
    refused = (*result.rejects, *result.event_rejects)
    if refused:
        raise RuntimeError(f"{len(refused)} rows were refused; the first: {refused[0].message}")
