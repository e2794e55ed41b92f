"""The batches of one stream of writes, between being read and being acknowledged.

Reading, committing and acknowledging go on at once: a thread of the stream reads and submits, the call's own thread
waits for commits in their order and sends acknowledgements. Room for so many batches bounds what is in flight: without
room nothing is read, so that the flow control of gRPC holds the sender back. Knows no messages and no database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from segidx.model.errors import SegidxError
from segidx.model.results import WriteResult
from segidx.wire.writes import BatchErrors

MAX_IN_FLIGHT = 8
# How often a wait for a commit looks whether anybody still waits for its acknowledgement.
_LOOK_SECONDS = 1.0

Request = TypeVar("Request")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A batch that is on its way to the disk, and what of it could not be read."""

    sequence: int
    future: Future[WriteResult]
    errors: BatchErrors


class Pipeline(Generic[Request]):
    """`submit` is called with each request, in order, in a thread of its own; what it raises ends the stream, after the
    acknowledgements of the batches before."""

    def __init__(self, requests: Iterator[Request], submit: Callable[[Request], Submitted]) -> None:
        self._requests = requests
        self._submit = submit
        self._room = threading.Semaphore(MAX_IN_FLIGHT)
        # In the order of the stream; None is its end.
        self._read: SimpleQueue[Submitted | BaseException | None] = SimpleQueue()
        # Held while a request is submitted, so that nothing is submitted once the stream has ended.
        self._submitting = threading.Lock()
        self._ended = False

    def committed(self, check_alive: Callable[[], None]) -> Generator[tuple[int, WriteResult], None, None]:
        """Each batch's sequence and result once it is committed, in order. `check_alive` raises when nobody waits for
        them any more. Raises what reading, submitting and committing raise.

        Nothing is submitted any more when the iterator has ended or was closed. The reading thread itself may end a
        little later, with the call.
        """
        threading.Thread(target=self._run, name="segidx-stream-reader", daemon=True).start()
        try:
            while (read := self._read.get()) is not None:
                if isinstance(read, BaseException):
                    raise read
                yield read.sequence, read.errors.merge_rejects(_result(read.future, check_alive))
                # The acknowledgement is sent: there is room for one batch more.
                self._room.release()
        finally:
            self._end()

    def refuse_more(self, error: SegidxError) -> None:
        """Ends the stream with the error, after the acknowledgements of what was submitted so far."""
        self._end()
        self._read.put(error)

    def _end(self) -> None:
        with self._submitting:
            self._ended = True
        # Wakes the reading thread where it waits for room.
        self._room.release()

    def _run(self) -> None:
        try:
            while True:
                self._room.acquire()
                if self._ended:
                    return
                request = next(self._requests, None)
                with self._submitting:
                    if self._ended:
                        return
                    self._read.put(None if request is None else self._submit(request))
                    if request is None:
                        return
        except BaseException as error:
            self._read.put(error)


def _result(future: Future[WriteResult], check_alive: Callable[[], None]) -> WriteResult:
    while True:
        try:
            return future.result(_LOOK_SECONDS)
        except TimeoutError:
            check_alive()
