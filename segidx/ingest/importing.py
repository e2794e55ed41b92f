"""What the import of every file does, whatever its rows are: batch after batch is made while the one before is written,
refused rows are listed, rows are counted, progress is told. Imports the model and its neighbours only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import pyarrow as pa

from segidx.ingest.rejects import CONTACT_ID, RejectFile, default_reject_path
from segidx.ingest.sources import open_source
from segidx.model.errors import TooManyRejects
from segidx.model.results import Reject

SHOWN_REJECTS = 20
# Rows of one message where the account is reached over the network: some hundred KB, far below a message's limit.
REMOTE_ROWS = 2000

Progress = Callable[[str, int, "int | None"], None]
_T = TypeVar("_T")


class Batch(Protocol):
    """What an import needs of a batch: the ids of what is good in it, and its refused rows."""

    @property
    def ids(self) -> pa.Array: ...

    @property
    def rejects(self) -> Sequence[Reject]: ...


class Result(Protocol):
    """What an import needs of the acknowledgement of a write."""

    @property
    def generation(self) -> int: ...

    @property
    def created(self) -> int: ...


_B = TypeVar("_B", bound=Batch)


class Import:
    """The import of one file, from its opening to the figures of its report. A context manager, within which the list
    of refused rows is open.

    `rows` of the file were read and `rejected` refused, of which `shown` are the first; `created` were new, as of
    `generation`.
    """

    def __init__(
        self, path: str | Path, reject_path: Path | None, progress: Progress | None, *, id_column: str = CONTACT_ID
    ) -> None:
        """`id_column` heads the ids in the list of refused rows. Raises InvalidSource for a file that cannot be
        read."""
        self._began = time.monotonic()
        self.source = open_source(path)
        self.rows = self.rejected = self.created = self.generation = 0
        self.shown: list[Reject] = []
        self._late: list[Reject] = []  # of the batch in hand
        self._where = reject_path or default_reject_path(self.source.path)
        self._id_column = id_column
        self._tell = progress or (lambda _phase, _done, _total: None)

    def __enter__(self) -> Import:
        """Raises InvalidArgument where the list of refused rows would replace a file that is no such list."""
        self._refused = RejectFile(self._where, id_column=self._id_column)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._refused.close()

    @property
    def reject_path(self) -> Path | None:
        """Where the refused rows are listed; None without any."""
        return self._where if self._refused.count else None

    @property
    def seconds(self) -> float:
        """Since the file was opened."""
        return time.monotonic() - self._began

    def looking(self, done: int) -> None:
        """Tells that so many rows were looked at for what their columns hold."""
        self._tell("looking", done, self.source.rows)

    def batches(self, batches: Iterator[tuple[int, _B]], *, said: str | None = None) -> Iterator[_B]:
        """The batches, each given with the number of rows of the file it was made of; a batch's rows are counted and
        told of when the caller has written it.

        Raises TooManyRejects, before anything is written, if the first batch holds nothing good; `said` is how its
        message begins (by default with the number of rows).
        """
        for count, batch in ahead(batches):
            if not self.rows and batch.rejects and not len(batch.ids):
                self._refuse(batch.rejects)
                raise self._all_refused(batch.rejects, said)
            self._late = []
            yield batch
            self._refuse(sorted([*batch.rejects, *self._late], key=lambda reject: reject.index))
            self.rows += count
            self._tell("importing", self.rows, self.source.rows)

    def wrote(self, result: Result) -> None:
        """Counts what a write came to."""
        self.created += result.created
        self.generation = result.generation

    def also_refused(self, batch: Batch, rejects: Sequence[Reject]) -> None:
        """Counts what an account refused of a batch's rows when it wrote them, beside what the batch did."""
        own = set(batch.rejects)
        self._late += [reject for reject in rejects if reject not in own]

    def refuse_late(self, batch: Batch, rejects: Sequence[Reject]) -> None:
        """Counts what an account refused beyond what the batch did: it was accepted by the schema as it was when the
        import began. Which row of the file it stood in is not known any more."""
        own = set(batch.rejects)
        self._refuse([replace(reject, index=-1) for reject in rejects if reject not in own])

    def _refuse(self, rejects: Sequence[Reject]) -> None:
        self._refused.add(rejects)
        self.rejected += len(rejects)
        self.shown += rejects[: SHOWN_REJECTS - len(self.shown)]

    def _all_refused(self, rejects: Sequence[Reject], said: str | None) -> TooManyRejects:
        path = self.source.path
        began = said or f"all of the first {len(rejects)} rows of {path} were refused, so nothing was imported"
        return TooManyRejects(
            f"{began}; the first: {rejects[0].message}; all are listed in {self._where}",
            rows=len(rejects),
            reason_of_first=rejects[0].reason,
        )


def numbered(
    batches: Iterable[pa.RecordBatch], convert: Callable[[pa.RecordBatch, int], _T]
) -> Iterator[tuple[int, _T]]:
    """Each batch of a file's rows converted, which is told the number of its first row, behind how many rows it has."""
    first = 0
    for rows in batches:
        yield rows.num_rows, convert(rows, first)
        first += rows.num_rows


def ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The same items, the next one being made on a thread while the caller works on this one."""
    with ThreadPoolExecutor(1, "import-reader") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def in_parts(rows: Iterator[_T]) -> Iterator[list[_T]]:
    """The rows, as many at a time as one message to an account takes that is reached over the network."""
    while part := list(islice(rows, REMOTE_ROWS)):
        yield part
