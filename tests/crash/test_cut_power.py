"""Cut power: images of what the disk may hold must all open with every acknowledgement present.

The same with syncs that do nothing must fail, or the test would show nothing. SEGIDX_CRASH_IMAGES sets the number of
images (default 40).
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from crashkit.cutlog import MARK, SYNC_ENDS, Event, read_log
from crashkit.disk import Disk
from crashkit.images import KEPT, Cut, Image, draw_cuts, play
from crashkit.judge import Ledger, Lost
from crashkit.load import SPREAD
from crashkit.observer import Observer, environment
from crashkit.report import Run

IMAGES = int(os.environ.get("SEGIDX_CRASH_IMAGES", "40"))
BATCHES = max(60, min(IMAGES, 400))
SEED = 20_260_501


def record(tmp_path: Path, library: str, *more: str, batches: int = BATCHES) -> list[Event]:
    """What a writer under load wrote and synced, in `tmp_path`/data."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "crashkit.writer", str(tmp_path / "data")]
    options = [f"--seed={SEED}", f"--batches={batches}", *more]
    env = environment(LD_PRELOAD=library, CUTPOWER_ROOT=str(tmp_path / "data"), CUTPOWER_LOG=str(log))
    done = subprocess.run([*command, *options], env=env, stdout=subprocess.PIPE, text=True, timeout=600)
    assert done.returncode == 0
    run = Run.of(done.stdout.splitlines())
    assert run.done
    assert len(run.acks) + len(run.failures) == len(run.numbers) >= batches
    assert run.merges > 0
    assert bool(run.failures or run.unmerged) == any(option.startswith("--fail") for option in more)
    return list(read_log(log))


def opened(events: list[Event]) -> int:
    """The place of the first mark: the directory is made and open."""
    return next(i for i, event in enumerate(events) if event.kind == MARK)


def loses(
    image: Image, observer: Observer, place: Path, *, write: bool = True, seen: Counter[str] | None = None
) -> str:
    """What is wrong with an image; "" if it holds what was acknowledged by its cut, or more."""
    image.write(place)
    try:
        observation = observer.observe(place, write=write)
        if seen is not None:
            seen["with some of the events folded"] += observation.get("half merged", False)
            seen["written to"] += write
        Ledger(SEED).settle(image.reported, observation)
    except Lost as lost:
        return f"{image.cut}: {lost}"
    finally:
        shutil.rmtree(place)
    return ""


def check_all(events: list[Event], cuts: list[Cut], observer: Observer, place: Path) -> Counter[str]:
    """No image may lose anything; a third of them are written to as well. Returns what the images were like."""
    seen: Counter[str] = Counter()
    lost = [
        complaint
        for n, image in enumerate(play(events, cuts))
        if (complaint := loses(image, observer, place, write=n % 3 == 0, seen=seen))
    ]
    print(f"{len(cuts)} images:", ", ".join(f"{count} {what}" for what, count in sorted(seen.items())))
    assert not lost, f"{len(lost)} of {len(cuts)} images, of {len(events)} events: " + "\n".join(lost[:10])
    return seen


@pytest.mark.timeout(3600)
def test_every_image_of_a_power_cut_opens_with_all_that_was_acknowledged(
    tmp_path: Path, cutpower: str, observer: Observer
) -> None:
    events = record(tmp_path, cutpower, f"--replay={','.join(map(str, SPREAD))}", f"--first={max(SPREAD) + 1}")
    check_the_log(events, tmp_path / "data")
    cuts = draw_cuts(events, IMAGES, SEED, after=opened(events))
    seen = check_all(events, cuts, observer, tmp_path / "image")
    assert seen["with some of the events folded"]


@pytest.mark.timeout(3600)
def test_a_power_cut_while_a_directory_is_made_leaves_one_that_can_be_made(
    tmp_path: Path, cutpower: str, observer: Observer
) -> None:
    events = record(tmp_path, cutpower, batches=10)
    if IMAGES > 100:
        cuts = [Cut(at, kept, SEED + at) for at in range(opened(events)) for kept in KEPT]
    else:
        cuts = [Cut(at, ("none", "all", "some")[at // 3 % 3], SEED + at) for at in range(0, opened(events), 3)]
    check_all(events, cuts, observer, tmp_path / "image")


@pytest.mark.timeout(3600)
def test_a_sync_that_failed_and_those_after_it_are_not_counted_on(
    tmp_path: Path, cutpower: str, observer: Observer
) -> None:
    events = record(tmp_path, cutpower, "--fail-syncs=15")
    failed = next(i for i, event in enumerate(events) if event.kind == SYNC_ENDS and not event.synced)
    check_all(events, draw_cuts(events, IMAGES // 4, SEED, after=failed), observer, tmp_path / "image")


def check_the_log(events: list[Event], directory: Path) -> None:
    """With everything on the disk the image is the directory: no call has gone unseen."""
    disk = Disk()
    for event in events:
        disk.apply(event)
    tree = disk.image(KEPT["all"], random.Random(0))
    assert set(tree) == {str(path.relative_to(directory)) for path in directory.rglob("*")}
    for path, content in tree.items():
        if content is not None and not path.endswith("lock.mdb"):  # it is written through a mapping
            assert content == (directory / path).read_bytes(), path


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ignored", ["sync", "dsync"])
def test_a_disk_that_does_not_sync_is_found_out(
    ignored: str, tmp_path: Path, cutpower: str, observer: Observer
) -> None:
    events = record(tmp_path, cutpower, f"--ignore={ignored}")
    place = tmp_path / "image"
    cuts = [cut for cut in draw_cuts(events, 4 * IMAGES, SEED, after=opened(events)) if cut.kept != "all"]
    acknowledged = {i + 1 for i, event in enumerate(events) if event.kind == MARK and event.line.startswith("ack")}
    cuts = [cut for cut in cuts if cut.at in acknowledged]
    assert any(loses(image, observer, place) for image in play(events, cuts)), f"{len(cuts)} images show nothing"
