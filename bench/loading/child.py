"""A process that loads the files into one system and says on its output, in JSON, what that took: so its peak memory is
its own. `python -m bench.loading.child segidx|duckdb-by-contact|duckdb-by-time CONTACTS ORDERS TARGET`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.loading.files import Files
from bench.orders.corpus import AT_MS
from bench.peers import THREADS

_SORTS = {"duckdb-by-contact": ("contact_id", "contact_id, time"), "duckdb-by-time": ("contact_id", "time")}
SYSTEMS = ("segidx", *_SORTS)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load took. `memory` is the most that the process had resident, pages of files that it maps among it;
    `anonymous` the most of that which was no file's, looked at ten times a second. Bytes."""

    seconds: float
    phases: dict[str, float]  # seconds of each
    processor: float  # seconds
    memory: int
    anonymous: int


def load(system: str, files: Files, target: Path) -> Loaded:
    """Load in a process of its own. Raises RuntimeError with what it said if it fails."""
    words = [sys.executable, "-m", "bench.loading.child", system, str(files.contacts), str(files.orders), str(target)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"loading {system} failed with status {done.returncode}")
    return Loaded(**json.loads(done.stdout.splitlines()[-1]))


def _segidx(contacts: Path, orders: Path, target: Path) -> dict[str, float]:
    from segidx.database import Database
    from segidx.ingest.import_contacts import import_contacts
    from segidx.ingest.import_orders import import_orders

    phases = {}
    began = time.perf_counter()
    with Database.open(target, create=True, clock=lambda: AT_MS - 1) as database:
        account = database.account()
        import_contacts(account, contacts, id_column="contact_id")
        phases["contacts"] = time.perf_counter() - began
        report = import_orders(account, orders)
        if report.rejected:
            raise RuntimeError(f"{report.rejected} rows were refused, {report.rejects[0].message}")
        account.keep_derived()
    phases["orders"] = time.perf_counter() - began - phases["contacts"]
    return phases


def _duckdb(sort: str, contacts: Path, orders: Path, target: Path) -> dict[str, float]:
    import duckdb

    phases = {}
    with duckdb.connect(str(target), config={"threads": THREADS}) as connection:
        for table, file, key in zip(("contacts", "joined"), (contacts, orders), _SORTS[sort], strict=True):
            began = time.perf_counter()
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_parquet('{file}') ORDER BY {key}")
            phases[table] = time.perf_counter() - began
        began = time.perf_counter()
        connection.execute("CHECKPOINT")
        phases["checkpoint"] = time.perf_counter() - began
    return phases


class _Anonymous:
    """The most anonymous memory of this process, from its making on."""

    def __init__(self) -> None:
        self.most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def look(self) -> int:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:  # no Linux
            return 0
        now = next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:")), 0)
        self.most = max(self.most, now)
        return self.most

    def _watch(self) -> None:
        while True:
            self.look()
            time.sleep(0.1)


def main(words: list[str]) -> int:
    system, *paths = words
    contacts, orders, target = map(Path, paths)
    work: Callable[[], dict[str, float]] = (
        (lambda: _segidx(contacts, orders, target))
        if system == "segidx"
        else (lambda: _duckdb(system, contacts, orders, target))
    )
    memory = _Anonymous()
    before, began = os.times(), time.perf_counter()
    phases = work()
    seconds, after = time.perf_counter() - began, os.times()
    processor = after.user + after.system - before.user - before.system
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(json.dumps(asdict(Loaded(seconds, phases, processor, most, memory.look()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
