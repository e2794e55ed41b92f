"""A data directory: its marker, its writer's lock, its accounts. Private to its user.

DIR/segidx.json              marker: {"format": 6}
DIR/writer.lock              held (flock) by the one writing process
DIR/accounts/NAME/data.mdb   one LMDB environment an account
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from segidx.model.errors import (
    AlreadyOpenForWriting,
    DataDirectoryNotFound,
    NewerFormat,
    NotADataDirectory,
)
from segidx.model.schema import check_account_name
from segidx.store.layout import FORMAT_VERSION

MARKER = "segidx.json"
WRITER_LOCK = "writer.lock"
ACCOUNTS = "accounts"


class DataDirectory:
    """An opened data directory. Writing holds an exclusive lock until `close`; reading takes no lock."""

    def __init__(self, path: Path, *, writable: bool, lock_file: int | None) -> None:
        self.path = path
        self.writable = writable
        self._lock_file = lock_file

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, writable: bool, create: bool = False) -> DataDirectory:
        """Open DIR; with `create`, make it if it is missing or empty.

        Raises DataDirectoryNotFound, NotADataDirectory, NewerFormat, AlreadyOpenForWriting.
        """
        root = Path(path).absolute()
        if create and writable:
            _initialise(root)
        _check_marker(root)
        lock_file = _lock(root) if writable else None
        return cls(root, writable=writable, lock_file=lock_file)

    def account_path(self, name: str) -> Path:
        return self.path / ACCOUNTS / check_account_name(name)

    def has_account(self, name: str) -> bool:
        return (self.account_path(name) / "data.mdb").exists()

    def account_names(self) -> list[str]:
        """Names of the accounts, sorted."""
        return sorted(p.parent.name for p in (self.path / ACCOUNTS).glob("*/data.mdb") if _is_name(p.parent.name))

    def close(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)  # gives the lock up
            self._lock_file = None


def _is_name(name: str) -> bool:
    # A half-made account lies under a name that no account may have (see environment.create_account).
    return not name.startswith(".")


def _initialise(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise NotADataDirectory(f"{root} is a file, not a directory; name another place for the data")
    if not root.exists():
        root.mkdir(parents=True, mode=0o700)
    elif not {path.name for path in root.iterdir()} <= {ACCOUNTS, MARKER + ".new"}:
        return  # the marker decides; these two alone are what a process leaves that ends right here
    (root / ACCOUNTS).mkdir(mode=0o700, exist_ok=True)
    # The marker comes last and whole, so that a directory with a marker is complete.
    draft = root / (MARKER + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"format": FORMAT_VERSION}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(root / MARKER)
    sync_directory(root)


def sync_directory(path: Path) -> None:
    """Make names created or renamed in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_marker(root: Path) -> None:
    if not root.exists():
        raise DataDirectoryNotFound(f"there is no data directory {root}; `segidx import` creates one", path_=root)
    try:
        found = json.loads((root / MARKER).read_text())
        version = found["format"]
        if not isinstance(version, int):
            raise TypeError(version)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotADataDirectory(
            f"{root} was not made by segidx (it has no readable {MARKER}); name an empty or a missing directory"
        ) from error
    if version > FORMAT_VERSION:
        raise NewerFormat(
            f"{root} has format {version}; this segidx reads up to {FORMAT_VERSION}: upgrade segidx",
            found=version,
            supported=FORMAT_VERSION,
        )


def _lock(root: Path) -> int:
    handle = os.open(root / WRITER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise AlreadyOpenForWriting(
            f"{root} is already open for writing by process {holder};"
            " send the request to that server with --server, or stop it",
            process=holder,
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle
