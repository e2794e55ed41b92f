"""A writer killed with SIGKILL at random moments loses nothing acknowledged and leaves nothing half-written.

SEGIDX_CRASH_ROUNDS sets the number of kills (default 6).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segidx.database import Account, Database

sys.path.insert(0, str(Path(__file__).parent))
from writer_process import rows

ROUNDS = int(os.environ.get("SEGIDX_CRASH_ROUNDS", "6"))
SEED = 20_260_501


def run_and_kill(directory: Path, after: float) -> int:
    """Let a writer run, kill it, and return the last batch it acknowledged (0 if none)."""
    command = [sys.executable, str(Path(__file__).parent / "writer_process.py"), str(directory), str(SEED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # the clock starts when it writes, not when it imports
        time.sleep(after)
        process.kill()
        lines = [first, *process.stdout.readlines()]
    # The kill may cut the last line; a whole line ends with a newline.
    acknowledged = [int(line.split()[0]) for line in lines if line.endswith("\n")]
    return max(acknowledged, default=0)


def expected_after(generation: int) -> dict[str, int]:
    """The number of the last batch that wrote each contact, after that many batches."""
    last: dict[str, int] = {}
    for number in range(1, generation + 1):
        for contact_id, _ in rows(number, SEED):
            last[contact_id] = number
    return last


def check(account: Account, acknowledged: int) -> int:
    """Compare everything with the acknowledged batches; returns the generation found."""
    generation = account.stats().generation
    # A batch may be on the disk whose acknowledgement the kill swallowed; one that was acknowledged must be.
    assert acknowledged <= generation <= acknowledged + 1
    last = expected_after(generation)
    assert account.count("everyone").count == len(last)
    for number in set(last.values()):
        holders = sum(n == number for n in last.values())
        assert account.count(f"n = {number}").count == holders
    for residue in range(7):
        assert account.count(f'city = "city-{residue}"').count == sum(n % 7 == residue for n in last.values())
    for residue in range(11):
        assert account.count(f'tags has "batch-{residue}"').count == sum(n % 11 == residue for n in last.values())
    assert account.count('tags has "all" and n is set and city is set').count == len(last)
    sample = random.Random(generation).sample(sorted(last), min(20, len(last)))
    for contact_id in sample:
        fields = account.get(contact_id).fields
        n = last[contact_id]
        assert fields == {"n": n, "city": f"city-{n % 7}", "tags": frozenset({f"batch-{n % 11}", "all"})}
    return generation


@pytest.mark.timeout(1200)
def test_sigkill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    rng = random.Random(SEED)
    acknowledged = 0
    for _ in range(ROUNDS):
        acknowledged = max(acknowledged, run_and_kill(directory, rng.uniform(0.0, 0.25)))
        with Database.open(directory) as database:
            acknowledged = check(database.account(), acknowledged)
    assert acknowledged > ROUNDS
