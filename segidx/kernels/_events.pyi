from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from segidx.kernels._bitmaps import Stop

BLOCK_ROWS: Final[int]

Op = tuple[object, ...]

class CorruptEvents(Exception):
    column: int | None
    reason: str
    def __init__(self, column: int | None, reason: str) -> None: ...

def encode_block(columns: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> bytes: ...
def verify_block(buffer: Buffer) -> str | None: ...

class EventBlock:
    def __init__(self, buffer: Buffer) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    def zone(self, column: int) -> tuple[int, int, int] | None: ...
    def decode(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]: ...

class EventFilter:
    def __init__(self, ops: Iterable[Op]) -> None: ...

def collect(
    ranges: Iterable[tuple[int, Sequence[EventBlock]]],
    filter: EventFilter | None,
    start: int,
    end: int,
    measure: int,
    among: npt.NDArray[np.uint32] | None = None,
    low: int | None = None,
    high: int | None = None,
    stop: Stop | None = None,
    how: str = "sum",
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]: ...
