"""A directory as a disk knows it: what was synced is there after a power cut, of the rest any part may be.

The rules are POSIX's, harsher than those of a journaling file system:
- a write is durable once a sync of its file that began after it has succeeded, or at once through O_DSYNC;
- of writes that are not durable any 512-byte sectors may have reached the disk, in any order;
- a sync that failed makes nothing durable that was written before it, and no later sync does either: the kernel
  reports a lost page once;
- names (made, renamed, removed) are durable once their directory is synced; before that, they reached the disk in their
  order, up to some point.

Imports nothing of segidx.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crashkit import cutlog
from crashkit.cutlog import Event

SECTOR = 512

# Given how many unsynced changes there are, in order: for each, None (not on the disk), or the share of its sectors
# that is, 0.0 to 1.0.
Chooser = Callable[[int, random.Random], list[float | None]]


@dataclass
class _Change:
    """A write, or a truncation (`data` is None) to `offset` bytes."""

    offset: int
    data: bytes | None
    durable: bool
    doomed: bool = False  # a sync of it failed


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    changes: list[_Change] = field(default_factory=list)  # not folded into the content yet

    def fold(self) -> None:
        """Take the durable changes that no undurable one precedes into the content."""
        n = 0
        while n < len(self.changes) and self.changes[n].durable:
            _apply(self.content, self.changes[n], None)
            n += 1
        del self.changes[:n]


@dataclass
class _Directory:
    entries: dict[str, _Node] = field(default_factory=dict)  # as durable
    changes: list[dict[str, _Node | None]] = field(default_factory=list)  # names set, and removed (None), in order

    def now(self) -> dict[str, _Node]:
        names = dict(self.entries)
        for change in self.changes:
            _take(names, change)
        return names


_Node = _File | _Directory


class Disk:
    """The state after some events; an image may be taken at any point."""

    def __init__(self) -> None:
        self._root = _Directory()
        self._nodes: dict[int, _Node] = {}  # by inode; numbers are used again
        self._syncing: dict[int, tuple[_File, list[_Change]]] = {}  # what a running sync covers, by its number

    def apply(self, event: Event) -> None:
        """Take in an event that has happened."""
        node = self._nodes.get(event.inode)
        match event.kind:
            case cutlog.WRITTEN | cutlog.TRUNCATED:
                assert isinstance(node, _File), f"{event.kind} of an inode that was not made: {event.inode}"
                node.changes.append(_change(event, durable=event.synced))
                node.fold()
            case cutlog.SYNC_BEGINS if isinstance(node, _File):
                self._syncing[event.offset] = node, list(node.changes)
            case cutlog.SYNC_ENDS if isinstance(node, _File):
                file, covered = self._syncing.pop(event.offset)
                for change in covered:
                    change.durable = change.durable or (event.synced and not change.doomed)
                    change.doomed = not change.durable
                file.fold()
            case cutlog.SYNC_ENDS if isinstance(node, _Directory) and event.synced:
                # What was named while the sync ran counts as synced: segidx names things in one thread.
                node.entries = node.now()
                node.changes.clear()
            case cutlog.FILE_MADE:
                self._made(event, _File())
            case cutlog.DIRECTORY_MADE if not event.path:
                self._nodes[event.inode] = self._root
            case cutlog.DIRECTORY_MADE:
                self._made(event, _Directory())
            case cutlog.REMOVED | cutlog.RENAMED:
                self._name(event)

    @contextmanager
    def in_flight(self, event: Event) -> Iterator[None]:
        """An event that was not over when the power was cut: within, it has happened, but nothing is durable by it."""
        undo: Callable[[], object] = bool
        node = self._nodes.get(event.inode)
        if event.kind in (cutlog.WRITTEN, cutlog.TRUNCATED):
            assert isinstance(node, _File)
            node.changes.append(_change(event, durable=False))
            undo = node.changes.pop
        elif event.kind in (cutlog.REMOVED, cutlog.RENAMED):
            undo = self._name(event).changes.pop
        elif event.kind in (cutlog.FILE_MADE, cutlog.DIRECTORY_MADE) and event.path:
            directory, name = self._find(event.path)
            directory.changes.append({name: _File() if event.kind == cutlog.FILE_MADE else _Directory()})
            undo = directory.changes.pop
        yield
        undo()

    # --- names ---

    def _find(self, path: str) -> tuple[_Directory, str]:
        *parents, name = path.split("/")
        directory = self._root
        for parent in parents:
            below = directory.now()[parent]
            assert isinstance(below, _Directory)
            directory = below
        return directory, name

    def _made(self, event: Event, node: _Node) -> None:
        self._nodes[event.inode] = node
        directory, name = self._find(event.path)
        directory.changes.append({name: node})

    def _name(self, event: Event) -> _Directory:
        directory, name = self._find(event.path)
        if event.kind == cutlog.REMOVED:
            directory.changes.append({name: None})
        else:
            target, new_name = self._find(event.new_path)
            assert target is directory, f"{event.path} was renamed into another directory"
            directory.changes.append({new_name: directory.now()[name], name: None})
        return directory

    # --- images ---

    def image(self, choose: Chooser, rng: random.Random) -> dict[str, bytes | None]:
        """What may be found after a cut: path to content, None for a directory."""
        return dict(_walk(self._root, "", choose, rng))


def _change(event: Event, *, durable: bool) -> _Change:
    return _Change(event.offset, event.data if event.kind == cutlog.WRITTEN else None, durable)


def _walk(directory: _Directory, path: str, choose: Chooser, rng: random.Random) -> Iterator[tuple[str, bytes | None]]:
    names = dict(directory.entries)
    for change, share in zip(directory.changes, choose(len(directory.changes), rng), strict=True):
        if share is None:
            break
        _take(names, change)
    for name, node in names.items():
        if isinstance(node, _Directory):
            yield path + name, None
            yield from _walk(node, f"{path}{name}/", choose, rng)
        else:
            yield path + name, _content(node, choose, rng)


def _content(file: _File, choose: Chooser, rng: random.Random) -> bytes:
    content = bytearray(file.content)
    shares = iter(choose(sum(not change.durable for change in file.changes), rng))
    for change in file.changes:
        share = 1.0 if change.durable else next(shares)
        if share is not None:
            _apply(content, change, None if share == 1.0 else lambda share=share: rng.random() < share)
    return bytes(content)


def _take(names: dict[str, _Node], change: dict[str, _Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _apply(content: bytearray, change: _Change, keep: Callable[[], bool] | None) -> None:
    """Change the content; with `keep`, only by the sectors for which it says so."""
    if change.data is None:
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
        return
    end = change.offset + len(change.data)
    start = change.offset
    while start < end:
        stop = end if keep is None else min(end, (start // SECTOR + 1) * SECTOR)
        if keep is None or keep():
            content.extend(bytes(max(0, stop - len(content))))
            content[start:stop] = change.data[start - change.offset : stop - change.offset]
        start = stop
