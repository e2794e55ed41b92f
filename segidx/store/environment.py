"""One account's LMDB environment: opening, creating, read snapshots, and the one write transaction at a time.

Flags are LMDB's safe ones (no WRITEMAP, NOSYNC, NOMETASYNC or MAPASYNC): a commit that returned is on the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import lmdb

from segidx.model.errors import (
    AccountExists,
    AlreadyOpen,
    Closed,
    CorruptData,
    DiskFailed,
    NewerFormat,
    ReadOnly,
    StorageFull,
    UnknownAccount,
)
from segidx.model.schema import AccountInfo, Schema
from segidx.store.caches import Caches
from segidx.store.catalog import Catalog, State, read_catalog, read_state, write_catalog, write_format, write_state
from segidx.store.courtesy import COURTESY
from segidx.store.directory import ACCOUNTS, DataDirectory, sync_directory
from segidx.store.layout import (
    DATABASES,
    DB_META,
    DB_PRODUCTS,
    FORMAT_1_DATABASES,
    FORMAT_2_DATABASES,
    FORMAT_3_DATABASES,
    FORMAT_VERSION,
    Handle,
)
from segidx.store.overlay import Overlay
from segidx.store.snapshot import Snapshot

# Address space, not memory or disk: reserved once, so that the map never moves under a pointer.
MAP_BYTES = 1 << 40
_MAX_READERS = 2048


class WriteTransaction:
    """LMDB's one write transaction with the account's databases. Values read are valid until the next write."""

    def __init__(self, txn: lmdb.Transaction, dbs: dict[bytes, Handle]) -> None:
        self.txn = txn
        self.dbs = dbs
        self.state: State = read_state(txn, dbs[DB_META])

    def catalog(self) -> Catalog:
        return read_catalog(self.txn, self.dbs[DB_META])

    def save_state(self, state: State) -> None:
        write_state(self.txn, self.dbs[DB_META], state)
        self.state = state

    def changed_base(self) -> None:
        """Say that this transaction rewrote a part of the base: pointers into it are good no more."""
        self.save_state(replace(self.state, base=self.state.base + 1))


class AccountStore:
    """An opened environment. `snapshot()` may be called from any thread; `write()` from one at a time."""

    def __init__(self, path: Path, *, writable: bool, quota_bytes: int | None = None) -> None:
        """Open the environment in `path`. `quota_bytes` bounds the file: a commit past it raises StorageFull."""
        self.path = path
        self.writable = writable
        self._write_lock = threading.Lock()
        self.courtesy = COURTESY
        # Whether the disk failed so that only opening anew helps (see DiskFailed).
        self.failed = False
        if writable:
            _allocate_reader_table(path)
        try:
            self._env = lmdb.open(
                str(path),
                map_size=min(MAP_BYTES, quota_bytes or MAP_BYTES) if writable else MAP_BYTES,
                max_dbs=len(DATABASES),
                max_readers=_MAX_READERS,
                max_spare_txns=64,
                readonly=not writable,
                create=False,
                mode=0o600,
            )
        except lmdb.Error as error:
            if "already open in this process" in str(error):
                raise AlreadyOpen(f"{path} is already open in this process; share the opened Database") from error
            raise CorruptData(f"{path} cannot be opened: {error}") from error
        try:
            catalog = self._open_databases()
        except BaseException:
            self._env.close()
            raise
        self._caches = Caches(Overlay(catalog.hash_key))
        if writable:
            self.clear_stale_readers()
        self.info = catalog.account
        self._open = True

    def _open_databases(self) -> Catalog:
        """Open the named databases; bring an environment of an older format to the present one if it may be written."""
        path = self.path
        try:
            self._dbs: dict[bytes, Handle] = {n: self._env.open_db(n, create=False) for n in FORMAT_1_DATABASES}
            with self._env.begin() as txn:
                catalog = read_catalog(txn, self._dbs[DB_META])
            if catalog.format_version > FORMAT_VERSION:
                raise NewerFormat(
                    f"{path} has format {catalog.format_version}; this segidx reads up to {FORMAT_VERSION}:"
                    " upgrade segidx",
                    found=catalog.format_version,
                    supported=FORMAT_VERSION,
                )
            if catalog.format_version < FORMAT_VERSION and self.writable:
                with self._env.begin(write=True) as txn:
                    # The names, the state and the number become visible together.
                    self._dbs |= {n: self._env.open_db(n, txn=txn) for n in DATABASES if n not in self._dbs}
                    # The schema counts as changed: readers remember the catalog, which holds the number.
                    state = read_state(txn, self._dbs[DB_META])
                    write_state(txn, self._dbs[DB_META], replace(state, schema=state.schema + 1))
                    write_format(txn, self._dbs[DB_META], FORMAT_VERSION)
                with self._env.begin() as txn:
                    return read_catalog(txn, self._dbs[DB_META])
            # Read as it is, an older one has no log (format 1) and no events (1 and 2).
            there = {1: FORMAT_1_DATABASES, 2: FORMAT_2_DATABASES}.get(catalog.format_version, FORMAT_3_DATABASES)
            self._dbs |= {n: self._env.open_db(n, create=False) for n in there if n not in self._dbs}
            # Absent of an account that an older release made; then it has no products.
            with contextlib.suppress(lmdb.NotFoundError):
                self._dbs[DB_PRODUCTS] = self._env.open_db(DB_PRODUCTS, create=self.writable)
            return catalog
        except lmdb.Error as error:
            raise CorruptData(f"{path} lacks a database of segidx: {error}; restore from a backup") from error

    def clear_stale_readers(self) -> int:
        """Give the slots of killed readers back, which would pin their pages; how many there were."""
        return int(self._env.reader_check())

    def snapshot(self) -> Snapshot:
        """A consistent read view. Close it as soon as the evaluation ends: a pinned reader makes the file grow."""
        if not self._open:
            raise Closed(f"account {self.info.name!r} is closed")
        txn = self.begin()
        try:
            return Snapshot(txn, self._dbs, self._caches)
        except BaseException:
            txn.abort()
            raise

    def catch_up(self) -> None:
        """Bring this process's overlay up to the log."""
        if self._open:
            self.snapshot().close()

    def begin(self) -> lmdb.Transaction:
        """A bare read transaction; abort it soon."""
        try:
            return self._env.begin(buffers=True)
        except lmdb.Error as error:
            self._raise(error)

    @property
    def databases(self) -> Mapping[bytes, Handle]:
        return self._dbs

    @property
    def overlay(self) -> Overlay:
        return self._caches.overlay

    def state(self) -> State:
        """How far commits and merges are now; cheaper than a snapshot."""
        if not self._open:
            raise Closed(f"account {self.info.name!r} is closed")
        with self._storage_errors(), self._env.begin(buffers=True) as txn:
            return read_state(txn, self._dbs[DB_META])

    @contextlib.contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """The write transaction; commits and syncs on leaving, writes nothing at all if an error leaves it.

        Raises ReadOnly, and StorageFull for a full disk, quota or map.
        """
        if not self._open:
            raise Closed(f"account {self.info.name!r} is closed")
        if not self.writable:
            raise ReadOnly(f"account {self.info.name!r} is open for reading only")
        with self._write_lock, self._storage_errors():
            txn = self._env.begin(write=True, buffers=True)
            try:
                yield WriteTransaction(txn, self._dbs)
            except BaseException:
                txn.abort()
                raise
            txn.commit()

    def sizes(self) -> tuple[dict[str, int], int, int]:
        """(bytes by database, bytes in use, free pages) now."""
        page = int(self._env.stat()["psize"])
        with self._storage_errors(), self._env.begin() as txn:
            by_name = {}
            for name, db in self._dbs.items():
                stat = txn.stat(db)
                by_name[name.decode()] = page * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
        used = page * (self._env.info()["last_pgno"] + 1)
        free = used // page - sum(by_name.values()) // page - 2
        return by_name, used, max(0, free)

    @property
    def map_bytes(self) -> int:
        """Bytes the file may grow to."""
        return int(self._env.info()["map_size"])

    @property
    def file_bytes(self) -> int:
        return (self.path / "data.mdb").stat().st_size

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            self._raise(error)

    def _raise(self, error: lmdb.Error) -> NoReturn:
        try:
            _raise_typed(error, self.path)
        except DiskFailed:
            self.failed = True
            raise

    def close(self) -> None:
        """Close; snapshots still open must not be used any more."""
        if self._open:
            self._open = False
            self._caches.clear()
            self._env.close()


def _allocate_reader_table(path: Path) -> None:
    """Give LMDB's reader table its blocks. It is written through a mapping, so that on a full disk a table with holes
    would kill the process (SIGBUS) when more readers than ever begin. Before LMDB opens: closing this handle gives up
    the process's locks on the file."""
    handle = os.open(path / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, 64 * (_MAX_READERS + 2))
    except OSError as error:
        raise StorageFull(f"{path} cannot be opened for writing: {error.strerror}; make room on the disk") from error
    finally:
        os.close(handle)


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        _raise_typed(error, path)


def _raise_typed(error: lmdb.Error, path: Path) -> NoReturn:
    """Raise what an error of LMDB means; itself where it means nothing more."""
    match error:
        case lmdb.MapFullError():
            raise StorageFull(f"{path} has reached its quota; nothing of this batch was written") from error
        case lmdb.PanicError():
            # LMDB failed to write a meta page and refuses everything from then on, reading too, until it is opened
            # again.
            raise DiskFailed(
                f"{path}: the disk failed while a commit was written; close the database and open it again"
            ) from error
        case lmdb.DiskError():
            raise StorageFull(
                f"{path}: the disk is full or failing ({error}); nothing of this batch was written"
            ) from error
        case lmdb.CorruptedError():
            raise CorruptData(f"{path}: {error}; restore from a backup") from error
    if "No space left" in str(error) or "File too large" in str(error) or "Input/output" in str(error):
        raise StorageFull(f"{path}: {error}; nothing of this batch was written") from error
    raise error


def create_account(directory: DataDirectory, info: AccountInfo) -> None:
    """Make an account's environment, whole or not at all. Raises AccountExists, ReadOnly."""
    if not directory.writable:
        raise ReadOnly(f"{directory.path} is open for reading only")
    place = directory.account_path(info.name)
    if place.exists():
        raise AccountExists(info.name)
    draft = directory.path / ACCOUNTS / f".new-{info.name}"
    shutil.rmtree(draft, ignore_errors=True)  # left by a process that was killed here
    draft.mkdir(mode=0o700, parents=True)
    with _storage_errors(draft):
        env = lmdb.open(str(draft), map_size=MAP_BYTES, max_dbs=len(DATABASES), mode=0o600)
        try:
            dbs = {name: env.open_db(name) for name in DATABASES}
            catalog = Catalog(FORMAT_VERSION, info, Schema(), {}, secrets.token_bytes(16))
            with env.begin(write=True) as txn:
                write_catalog(txn, dbs[DB_META], catalog)
        finally:
            env.close()
    (draft / "lock.mdb").unlink(missing_ok=True)  # readers make their own
    sync_directory(draft)
    draft.rename(place)
    sync_directory(place.parent)


def open_account(directory: DataDirectory, name: str, *, quota_bytes: int | None = None) -> AccountStore:
    """The account's environment. Raises UnknownAccount, AlreadyOpen, CorruptData, NewerFormat."""
    if not directory.has_account(name):
        raise UnknownAccount(name, directory.account_names())
    return AccountStore(directory.account_path(name), writable=directory.writable, quota_bytes=quota_bytes)
