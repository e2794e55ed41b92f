"""The disk that power cuts are played back on: what must be there, and what may be missing."""

from __future__ import annotations

import random

import pytest
from crashkit.cutlog import (
    DIRECTORY_MADE,
    FILE_MADE,
    REMOVED,
    RENAMED,
    SYNC_BEGINS,
    SYNC_ENDS,
    TRUNCATED,
    WRITTEN,
    Event,
)
from crashkit.disk import Disk
from crashkit.images import KEPT

ROOT, FILE, OTHER = 1, 2, 3
MADE = [Event(DIRECTORY_MADE, ROOT), Event(FILE_MADE, FILE, path="a")]
NAMED = [*MADE, Event(SYNC_BEGINS, ROOT, 1), Event(SYNC_ENDS, ROOT, 1, synced=True)]


def write(data: bytes, offset: int = 0, *, synced: bool = False) -> Event:
    return Event(WRITTEN, FILE, offset, synced=synced, data=data)


def sync(number: int, *, works: bool = True) -> list[Event]:
    return [Event(SYNC_BEGINS, FILE, number), Event(SYNC_ENDS, FILE, number, synced=works)]


def image(events: list[Event], kept: str, in_flight: Event | None = None, seed: int = 0) -> dict[str, bytes | None]:
    disk = Disk()
    for event in events:
        disk.apply(event)
    if in_flight is None:
        return disk.image(KEPT[kept], random.Random(seed))
    with disk.in_flight(in_flight):
        return disk.image(KEPT[kept], random.Random(seed))


@pytest.mark.parametrize("kept", KEPT)
def test_what_was_synced_is_there(kept: str) -> None:
    assert image([*NAMED, write(b"one"), *sync(2)], kept) == {"a": b"one"}
    assert image([*NAMED, write(b"one", synced=True)], kept) == {"a": b"one"}


def test_what_was_not_synced_may_be_missing() -> None:
    events = [*NAMED, write(b"one"), *sync(2), write(b"two", 3)]
    assert image(events, "none") == {"a": b"one"}
    assert image(events, "all") == {"a": b"onetwo"}


def test_a_later_write_may_be_there_without_an_earlier_one() -> None:
    events = [*NAMED, write(b"x" * 4), write(b"y" * 4, 4)]
    found = {image(events, "all but one", seed=seed)["a"] for seed in range(20)}
    assert found == {b"xxxx", b"\0\0\0\0yyyy"}


def test_a_write_may_be_torn_between_sectors() -> None:
    events = [*NAMED, write(b"x" * 1024), *sync(2), write(b"y" * 1024)]
    found = {image(events, "torn", seed=seed)["a"] for seed in range(50)}
    assert found == {a * 512 + b * 512 for a in (b"x", b"y") for b in (b"x", b"y")}


def test_a_sync_covers_what_was_written_before_it_began() -> None:
    events = [*NAMED, write(b"one"), Event(SYNC_BEGINS, FILE, 2), write(b"two", 3)]
    assert image(events, "none") == {"a": b""}
    assert image([*events, Event(SYNC_ENDS, FILE, 2, synced=True)], "none") == {"a": b"one"}


def test_an_unsynced_write_never_lies_over_a_later_synced_one() -> None:
    events = [*NAMED, write(b"old"), write(b"new", synced=True)]
    assert image(events, "all") == image(events, "none") == {"a": b"new"}


def test_a_write_in_flight_is_not_durable_even_through_o_dsync() -> None:
    in_flight = write(b"one", synced=True)
    assert image(NAMED, "none", in_flight) == {"a": b""}
    assert image(NAMED, "all", in_flight) == {"a": b"one"}


def test_what_a_failed_sync_did_not_cover_no_later_sync_covers() -> None:
    events = [*NAMED, write(b"one"), *sync(2, works=False), write(b"two", 3), *sync(3)]
    assert image(events, "none") == {"a": b"\0\0\0two"}
    assert image(events, "all") == {"a": b"onetwo"}


def test_a_truncation_is_a_change_like_a_write() -> None:
    events = [*NAMED, write(b"one"), *sync(2), Event(TRUNCATED, FILE, 1)]
    assert image(events, "none") == {"a": b"one"}
    assert image([*events, *sync(3)], "none") == {"a": b"o"}


def test_names_are_there_once_their_directory_is_synced() -> None:
    assert image(MADE, "none") == {}
    assert image(MADE, "all") == {"a": b""}
    assert image([*MADE, write(b"one"), *sync(2)], "none") == {}
    renamed = [*NAMED, Event(RENAMED, path="a", new_path="b")]
    assert image(renamed, "none") == {"a": b""}
    assert image(renamed, "all") == {"b": b""}
    assert image([*renamed, Event(SYNC_BEGINS, ROOT, 3), Event(SYNC_ENDS, ROOT, 3, synced=True)], "none") == {"b": b""}


def test_an_inode_that_is_used_again_is_another_file() -> None:
    events = [*NAMED, write(b"one"), *sync(2), Event(REMOVED, path="a"), Event(FILE_MADE, FILE, path="b")]
    assert image(events, "none") == {"a": b"one"}
    assert image(events, "all") == {"b": b""}


def test_directories_hold_files_and_names_reach_the_disk_in_their_order() -> None:
    events = [*NAMED, Event(DIRECTORY_MADE, OTHER, path="d"), Event(FILE_MADE, 9, path="d/f"), write(b"one")]
    assert image(events, "all") == {"a": b"one", "d": None, "d/f": b""}
    later = [*events, Event(FILE_MADE, 10, path="g")]
    found = {tuple(sorted(image(later, "some", seed=seed))) for seed in range(30)}
    assert found <= {("a",), ("a", "d"), ("a", "d", "d/f"), ("a", "d", "g"), ("a", "d", "d/f", "g")}
