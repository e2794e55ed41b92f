from collections.abc import Iterable, Sequence
from typing import Final, Protocol
from weakref import ReferenceType

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from segidx.kernels._bitmaps import Stop

BLOCK_ROWS: Final[int]
LAYER_ROWS: Final[int]

Op = tuple[object, ...]

class CorruptEvents(Exception):
    column: int | None
    reason: str
    def __init__(self, column: int | None, reason: str, of: str = "block") -> None: ...

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

def encode_layer(
    columns: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
    contacts: npt.NDArray[np.uint32],
    times: npt.NDArray[np.int64],
    events: npt.NDArray[np.uint32],
) -> bytes: ...
def merge_layers(older: EventLayer, newer: EventLayer) -> bytes: ...

class EventLayer:
    data: Buffer
    def __init__(self, buffer: Buffer) -> None: ...
    def __len__(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def stale(self) -> int: ...
    @property
    def columns(self) -> int: ...
    def zone(self, column: int) -> tuple[int, int, int] | None: ...
    def decode(
        self, first: int = 0, end: int | None = None
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]: ...
    def stale_places(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.uint32]]: ...
    @property
    def last(self) -> int: ...
    def ranges(self) -> npt.NDArray[np.uint32]: ...
    def rows_of(self, first_contact: int, end_contact: int) -> tuple[int, int]: ...
    def stale_of(self, first_contact: int, end_contact: int) -> tuple[int, int]: ...
    remembered: dict[object, object]

def favourites(
    contacts: npt.NDArray[np.uint32],
    codes: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int64] | None = None,
    stop: Stop | None = None,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]: ...

class GroupedRows:
    groups: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    def __init__(self, columns: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> None: ...
    def merged(
        self, first: int, end: int, blocks: Sequence[EventBlock], gone: npt.NDArray[np.uint8] | None = None
    ) -> list[bytes]: ...

class Equal(Protocol):
    @property
    def column(self) -> int: ...

class EventFilter:
    @property
    def equals(self) -> tuple[Equal, ...]: ...
    def __init__(self, ops: Iterable[Op]) -> None: ...

class EventMonth:
    rows: int
    def __init__(self, pairs: Iterable[tuple[int, EventBlock]]) -> None: ...
    def __len__(self) -> int: ...
    @property
    def last(self) -> int: ...
    def of(self, number: int) -> tuple[EventBlock, ...]: ...
    def zone(self, column: int) -> tuple[int, int, int] | None: ...
    def use(self, order: EventOrder) -> bool: ...
    def measure(self, measure: EventMeasure) -> bool: ...
    def ordered(self, column: int) -> bool: ...
    def forget(self, column: int) -> None: ...
    def looked_up(self, filter: EventFilter | None, measure: int = -1) -> bool: ...
    def counted(self, filter: EventFilter | None) -> bool: ...
    def cost(
        self, filter: EventFilter | None, measure: int = -1, contacts: int | None = None, located: bool = False
    ) -> int: ...
    def locate(self) -> None: ...
    def value(self, column: int) -> None: ...
    @property
    def located(self) -> int: ...
    @property
    def kept_by_contact(self) -> tuple[int, ...]: ...
    def lose(self) -> None: ...

class EventOrder:
    column: int
    def __init__(self, month: EventMonth, column: int) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def values(self) -> int: ...

class EventLedger:
    column: int
    months: tuple[ReferenceType[EventMonth], ...]
    def __init__(self, months: Iterable[EventMonth], column: int) -> None: ...
    def fill(self, rows: int) -> bool: ...
    @property
    def full(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...
    def use(self) -> None: ...
    def forget(self) -> None: ...

class EventMeasure:
    order: EventOrder
    column: int
    def __init__(self, month: EventMonth, order: EventOrder, column: int) -> None: ...
    @property
    def nbytes(self) -> int: ...

MISSING: int

def collect(
    months: Iterable[EventMonth],
    filter: EventFilter | None,
    start: int,
    end: int,
    measure: int,
    among: npt.NDArray[np.uint32] | bytes | None = None,
    low: int | None = None,
    high: int | None = None,
    stop: Stop | None = None,
    how: str = "sum",
    layers: Iterable[EventLayer] = (),
    zone: tuple[Buffer, Buffer] | None = None,
    folded: tuple[int, int] = (0, 0),
    ranges: tuple[int, int] = ...,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]: ...
def collect_set(
    months: Iterable[EventMonth],
    filter: EventFilter | None,
    start: int,
    end: int,
    measure: int,
    among: npt.NDArray[np.uint32] | bytes | None = None,
    low: int | None = None,
    high: int | None = None,
    stop: Stop | None = None,
    how: str = "sum",
    layers: Iterable[EventLayer] = (),
    zone: tuple[Buffer, Buffer] | None = None,
    folded: tuple[int, int] = (0, 0),
    ranges: tuple[int, int] = ...,
) -> bytes: ...
def collect_count(
    months: Iterable[EventMonth],
    filter: EventFilter | None,
    start: int,
    end: int,
    measure: int,
    among: npt.NDArray[np.uint32] | bytes | None = None,
    low: int | None = None,
    high: int | None = None,
    stop: Stop | None = None,
    how: str = "sum",
    layers: Iterable[EventLayer] = (),
    zone: tuple[Buffer, Buffer] | None = None,
    folded: tuple[int, int] = (0, 0),
    ranges: tuple[int, int] = ...,
    within: bytes | None = None,
) -> int: ...
def select(
    months: Iterable[EventMonth],
    filter: EventFilter | None,
    start: int,
    end: int,
    columns: Sequence[int],
    among: npt.NDArray[np.uint32] | bytes | None = None,
    stop: Stop | None = None,
    layers: Iterable[EventLayer] = (),
    folded: tuple[int, int] = (0, 0),
    ranges: tuple[int, int] = ...,
) -> tuple[npt.NDArray[np.uint32], tuple[npt.NDArray[np.int64], ...]]: ...

Where = tuple[Iterable[EventMonth], EventFilter | None, int, int, Iterable[EventLayer], tuple[int, int]]

def take(
    orders: Where,
    visits: Where,
    columns: tuple[int, int],
    within: int,
    among: npt.NDArray[np.uint32] | None = None,
    stop: Stop | None = None,
    ranges: tuple[int, int] = ...,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...

Rows = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], int | None]

def follow(steps: Iterable[Rows], none: Rows | None, end: int, stop: Stop | None = None) -> npt.NDArray[np.uint32]: ...
def spreads(
    contacts: npt.NDArray[np.uint32], times: npt.NDArray[np.int64], stop: Stop | None = None
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.uint64]]: ...
