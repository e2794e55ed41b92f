"""The file of refused rows that an import leaves next to its source: CSV with row, contact_id, field, reason, message.

Imports the model only. The file holds personal data, so only its owner can read it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from segidx.model.errors import InvalidArgument
from segidx.model.results import Reject

CONTACT_ID = "contact_id"
HEADER = ["row", CONTACT_ID, "field", "reason", "message"]


def default_reject_path(source: Path) -> Path:
    """`contacts.parquet.rejects.csv` for `contacts.parquet`."""
    return source.with_name(source.name + ".rejects.csv")


class RejectFile:
    """Writes refused rows; the file appears with the first of them. A context manager.

    A file of an earlier import at the same path is replaced, and taken away when nothing is refused this time; a file
    that is not one of ours is never touched (InvalidArgument).
    """

    def __init__(self, path: Path, *, id_column: str = CONTACT_ID) -> None:
        """`id_column` is how the column of ids is headed."""
        self.path = path
        self._header = [id_column if name == CONTACT_ID else name for name in HEADER]
        self.count = 0
        self._partial = path.with_name(path.name + ".partial")
        self._file: IO[str] | None = None
        if path.exists() and not self._is_ours():
            raise InvalidArgument(f"{path} exists and is not a list of refused rows; name another file with --rejects")

    def _is_ours(self) -> bool:
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                return file.read(len(",".join(self._header))) == ",".join(self._header)
        except (OSError, UnicodeDecodeError):
            return False

    def add(self, rejects: Iterable[Reject]) -> None:
        """Write these rows."""
        for reject in rejects:
            if self._file is None:
                self._file = self._create()
            self.count += 1
            row = "" if reject.index < 0 else reject.index
            csv.writer(self._file).writerow([row, reject.contact_id, reject.field, reject.reason, reject.message])

    def _create(self) -> IO[str]:
        self._partial.unlink(missing_ok=True)
        try:
            number = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise InvalidArgument(
                f"refused rows cannot be written to {self.path}: {error.strerror}; name another file with --rejects"
            ) from error
        file = os.fdopen(number, "w", encoding="utf-8", newline="")
        csv.writer(file).writerow(self._header)
        return file

    def close(self) -> None:
        """Put the finished file in place."""
        if self._file is not None:
            self._file.close()
            self._file = None
            os.replace(self._partial, self.path)
        elif not self.count and self.path.exists():
            self.path.unlink()

    def __enter__(self) -> RejectFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
