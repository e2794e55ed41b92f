"""An opened data directory and its accounts."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from segidx.database.account import Account
from segidx.database.opened import Clock, system_clock
from segidx.exec.query import Limits
from segidx.model.errors import Closed, SegidxError
from segidx.model.schema import DEFAULT_ACCOUNT, AccountInfo
from segidx.store.directory import DataDirectory
from segidx.store.environment import create_account, open_account


class Database:
    """An opened data directory. Safe to use from several threads. Open it once a process and share it."""

    def __init__(self, directory: DataDirectory, clock: Clock, limits: Limits, quota_bytes: int | None) -> None:
        self._directory = directory
        self._clock = clock
        self._limits = limits
        self._quota_bytes = quota_bytes
        self._accounts: dict[str, Account] = {}
        self._lock = threading.Lock()
        self._open = True

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        create: bool = False,
        clock: Clock = system_clock,
        limits: Limits | None = None,
        quota_bytes: int | None = None,
    ) -> Database:
        """Open DIR. With `create`, make it if it is missing or empty; the account `default` is made with it.

        `quota_bytes` bounds the file of each account. Raises DataDirectoryNotFound, NotADataDirectory, NewerFormat,
        AlreadyOpenForWriting.
        """
        directory = DataDirectory.open(path, writable=not read_only, create=create)
        try:
            if not read_only and not directory.has_account(DEFAULT_ACCOUNT):
                create_account(directory, AccountInfo(DEFAULT_ACCOUNT))
        except SegidxError:
            directory.close()
            raise
        return cls(directory, clock, limits or Limits(), quota_bytes)

    def account(self, name: str = DEFAULT_ACCOUNT) -> Account:
        """The account of that name. Raises UnknownAccount, CorruptData, NewerFormat."""
        with self._lock:
            self._check_open()
            found = self._accounts.get(name)
            if found is None:
                store = open_account(self._directory, name, quota_bytes=self._quota_bytes)
                found = self._accounts[name] = Account(store, self._clock, self._limits)
            return found

    def create_account(self, info: AccountInfo) -> Account:
        """Make an account. Raises AccountExists, ReadOnly."""
        with self._lock:
            self._check_open()
            create_account(self._directory, info)
        return self.account(info.name)

    def accounts(self) -> list[AccountInfo]:
        """All accounts, by name."""
        return [self.account(name).info for name in self._directory.account_names()]

    @property
    def failed(self) -> bool:
        """Whether the disk failed in a commit, so that an account answers nothing until the database is opened anew."""
        with self._lock:
            return any(account._store.failed for account in self._accounts.values())

    def catch_up(self) -> None:
        """Read what the logs of opened accounts have grown by, so that the next evaluation need not. For processes that
        only read, every now and then."""
        with self._lock:
            accounts = list(self._accounts.values())
        for account in accounts:
            account._store.catch_up()

    def close(self) -> None:
        """Close every account and give the writer's lock up."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            accounts = list(self._accounts.values())
        # Outside the lock: what is queued is committed first.
        for account in accounts:
            account.close()
        self._directory.close()

    def _check_open(self) -> None:
        if not self._open:
            raise Closed(f"{self._directory.path} is closed")

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
