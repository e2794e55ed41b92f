"""The writing process: several threads hand batches in while another merges, until it is killed or has written enough.

    python -m crashkit.writer DIR --seed 1 --first 100 --replay 97,98 --batches 0

It reports (see `report`) through its standard output, and under cutpower.c into that log too. Batches are handed in
one at a time, so that the order of the reports is the order of submission, but several wait for their
acknowledgements at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import signal
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

from crashkit import adapter, preloaded, report
from crashkit.load import batch
from segidx.database import Account, Database
from segidx.model.errors import SegidxError
from segidx.model.results import WriteResult

THREADS = 3
IN_FLIGHT = 12  # batches not yet acknowledged, at most


class Source:
    """Hands batches in, one at a time and in order, and reports what becomes of them."""

    def __init__(self, account: Account, numbers: Iterator[int], seed: int, say: report.Report) -> None:
        self._account = account
        self._numbers = numbers
        self._seed = seed
        self._say = say
        self._lock = threading.Lock()
        self._room = threading.Semaphore(IN_FLIGHT)
        self._index = 0
        self.acknowledged = threading.Event()  # something is: there is something to merge

    def submit_all(self) -> None:
        """What a thread does: hand batches in until there are none."""
        with _fatal():
            while self._submit():
                pass

    def finish(self) -> None:
        """Wait until every batch is acknowledged."""
        for _ in range(IN_FLIGHT):
            self._room.acquire()

    def _submit(self) -> bool:
        self._room.acquire()
        with self._lock:
            number = next(self._numbers, None)
            if number is None:
                self._room.release()
                return False
            index, self._index = self._index, self._index + 1
            wanted = batch(number, self._seed)
            self._say(f"submit {index} {number} {wanted.kind}")
            future = adapter.submit(self._account, wanted)
        future.add_done_callback(lambda done: self._settled(index, done))
        return True

    def _settled(self, index: int, done: Future[WriteResult]) -> None:
        with _fatal():
            try:
                result = done.result()
            except SegidxError as error:
                self._say(f"fail {index} {error.reason}")
            else:
                counts = f"{result.accepted} {result.created} {len(result.rejects)}"
                events = f"{result.events_accepted} {result.events_duplicates} {len(result.event_rejects)}"
                self._say(f"ack {index} {result.generation} {counts} {int(result.replayed)} {events}")
                self.acknowledged.set()
        self._room.release()


@contextmanager
def _fatal() -> Iterator[None]:
    """An error that nobody expects ends the process, whatever thread it is in."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
        os._exit(3)


def keep_merging(source: Source, account: Account, say: report.Report, stop: threading.Event) -> None:
    """Merge at random moments, from the first acknowledgement until `stop`, and once at least."""
    rng = random.Random(os.getpid())
    with _fatal():
        source.acknowledged.wait()
        while True:
            stop.wait(rng.uniform(0.0, 0.08))
            merge(account, say)
            if stop.is_set():
                return


def merge(account: Account, say: report.Report) -> None:
    say("merging")
    try:
        adapter.merge(account)
    except SegidxError as error:
        say(f"unmerged {error.reason}")
    else:
        say("merged")


def write_under_load(account: Account, numbers: Iterator[int], seed: int, say: report.Report) -> None:
    """Write these batches from several threads, with merges, and wait until all are acknowledged or refused."""
    source = Source(account, numbers, seed, say)
    stop = threading.Event()
    merger = threading.Thread(target=keep_merging, args=(source, account, say, stop))
    writers = [threading.Thread(target=source.submit_all) for _ in range(THREADS)]
    for thread in (merger, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    source.finish()
    stop.set()
    source.acknowledged.set()
    merger.join()
    say("done")


def dying(say: report.Report, fold: int, seconds: float) -> report.Report:
    """`say`, which kills this process so many seconds after it has said "folding" for the `fold`th time."""
    left = count(fold, -1)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def said(line: str) -> None:
        say(line)
        if line == "folding" and next(left) == 1:
            if seconds:
                threading.Timer(seconds, die).start()
            else:
                die()

    return said


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--replay", default="")  # numbers to hand in before the new ones
    parser.add_argument("--batches", type=int, default=0)  # 0: until killed
    parser.add_argument("--die-in-fold", type=int)
    parser.add_argument("--die-after", type=float, default=0.0)  # seconds
    parser.add_argument("--ignore", choices=("sync", "dsync"))  # under cutpower.c: what does nothing from now on
    parser.add_argument("--fail-syncs", type=int)  # under cutpower.c: after so many, two fail
    arguments = parser.parse_args()
    say = report.to_cut_log if preloaded.is_preloaded() else report.to_pipe
    replayed = [int(n) for n in arguments.replay.split(",") if n]
    last = arguments.first + arguments.batches
    fresh = iter(range(arguments.first, last)) if arguments.batches else count(arguments.first)
    adapter.use_small_pieces()
    with Database.open(arguments.directory, create=True) as database:
        account = database.account()
        adapter.declare(account)
        if arguments.ignore:
            preloaded.honour(sync_calls=arguments.ignore != "sync", dsync=arguments.ignore != "dsync")
        if arguments.fail_syncs is not None:
            preloaded.fail("sync", arguments.fail_syncs, errno.EIO, times=2)
        fold = arguments.die_in_fold
        adapter.tell_folds(say if fold is None else dying(say, fold, arguments.die_after))
        say(f"open {account.stats().generation}")
        write_under_load(account, chain(replayed, fresh), arguments.seed, say)


if __name__ == "__main__":
    main()
