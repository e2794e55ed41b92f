"""A writer under load, killed with SIGKILL at random moments, loses nothing acknowledged and leaves nothing half there.

SEGIDX_CRASH_ROUNDS sets the number of kills (default 8). About half of them are while a merge folds events, which
leaves many with some of the events folded; the others within a merge or an import of orders, or anywhere, once the
writer has merged.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from crashkit.judge import Ledger
from crashkit.load import PADDING, SPREAD, batch
from crashkit.observer import Observer, environment
from crashkit.report import Run

ROUNDS = int(os.environ.get("SEGIDX_CRASH_ROUNDS", "8"))
SEED = 20_260_501
REPLAYED = 12  # of the last batches, those with a key and the imports are sent again to the next writer


@dataclass(frozen=True)
class Moment:
    """When to kill: `seconds` after the writer, which has merged before, is within what `within` names for the
    `number`th time or a later one. In a "fold", which is too short for others to see, the writer kills itself, whether
    it has merged or not."""

    within: str  # "merge", "fold", "import", "" for anything
    number: int
    seconds: float

    @classmethod
    def draw(cls, rng: random.Random, within: str) -> Moment:
        if not within:
            return cls("", 0, rng.uniform(0.0, 0.4))
        if within == "fold":
            return cls(within, rng.randrange(2, 30), rng.choice((0.0, rng.uniform(0.0, 0.004))))
        return cls(within, rng.randrange(1, 5), rng.choice((0.0, rng.uniform(0.0, 0.01), rng.uniform(0.0, 0.05))))

    def has_come(self, run: Run) -> bool:
        if not run.merges or self.within == "fold":
            return False
        if self.within == "merge":
            return run.merging and run.merges >= self.number
        return not self.within or (run.importing and len(run.imports) >= self.number)


def write_and_kill(directory: Path, first: int, replay: list[int], moment: Moment) -> Run:
    """Let a writer write batches from `first` on, after those to replay, and kill it."""
    options = [f"--seed={SEED}", f"--first={first}", f"--replay={','.join(map(str, replay))}"]
    if moment.within == "fold":
        options += [f"--die-in-fold={moment.number}", f"--die-after={moment.seconds}"]
    command = [sys.executable, "-m", "crashkit.writer", str(directory), *options]
    run, timer = Run(), None
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            run.add(line)
            if timer is None and moment.has_come(run):
                timer = threading.Timer(moment.seconds, process.kill)
                timer.start()
    if timer is not None:
        timer.join()
    assert process.returncode == -9, f"the writer ended with {process.returncode} before it was to be killed"
    return run


@pytest.mark.timeout(10_800)
def test_sigkill_loses_nothing_acknowledged(tmp_path: Path, observer: Observer) -> None:
    directory = tmp_path / "data"
    rng = random.Random(SEED)
    ledger = Ledger(SEED)
    first, replay = max(SPREAD) + 1, []
    seen: Counter[str] = Counter()
    for n in range(ROUNDS):
        moment = Moment.draw(rng, ("fold", "import", "fold", "merge", "fold", "")[n % 6])
        replay = [*(number for number in SPREAD if number not in ledger.settled), *replay]
        run = write_and_kill(directory, first, replay, moment)
        assert run.merges > 0 or moment.within == "fold"
        assert not run.failures
        assert not run.unmerged
        observation = observer.observe(directory)
        in_flight = ledger.settle(run, observation)
        seen["left with some of the events folded"] += observation["half merged"]
        seen["killed within a merge of events"] += run.folding
        seen["events acknowledged"] += sum(ack.events for ack in run.acks.values() if not ack.replayed)
        seen["killed within a merge"] += run.merging
        seen["killed within an import"] += run.importing
        seen["merges"] += run.merges
        seen["transactions of events merged"] += run.folds
        seen["imports acknowledged"] += len([index for index in run.imports if index in run.acks])
        seen["batches acknowledged"] += len(run.acks)
        seen["batches found without an acknowledgement"] += in_flight
        certain = run.acknowledged()
        found = [index for index in run.imports if certain <= index < certain + in_flight]
        seen["imports found without an acknowledgement"] += len(found)
        seen["batches in flight that were not there"] += len(run.numbers) - certain - in_flight
        seen["batches answered as sent before"] += sum(ack.replayed for ack in run.acks.values())
        first = max(first, *run.numbers) + 1
        last = [batch(number, SEED) for number in run.numbers[-REPLAYED:]]
        replay = [sent.number for sent in last if sent.key or (sent.kind == "orders" and sent.number not in SPREAD)]
    seen["imports of which only the contacts were there"] = ledger.begun
    print(f"{ROUNDS} kills:", ", ".join(f"{count} {what}" for what, count in sorted(seen.items())))
    assert seen["batches acknowledged"] > 5 * ROUNDS
    assert seen["imports acknowledged"] > ROUNDS
    assert seen["events acknowledged"] > 20 * ROUNDS
    assert seen["left with some of the events folded"] >= ROUNDS // 8
    assert ledger.model.padding == sum(PADDING.values())
    assert observer.observe(directory, write=True).get("after") == []
