from typing import Final

import numpy as np
import numpy.typing as npt

KIND_TAGS: Final[int]
KIND_STRING: Final[int]
KIND_NUMBER: Final[int]
KIND_TIMESTAMP: Final[int]
KIND_DATE: Final[int]
KIND_BOOL: Final[int]

Ends = npt.NDArray[np.int32]
Strings = tuple[Ends, bytes]
Column = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | Strings, npt.NDArray[np.int64], npt.NDArray[np.uint8]]

# Of orders or lines: values and which of them are there.
OrderColumn = tuple[npt.NDArray[np.int64] | Strings, npt.NDArray[np.uint8]]
Ints = npt.NDArray[np.int64]

def header(data: bytes, rows_field: int, events_field: int = 0) -> tuple[bytes, bool] | None: ...
def parse(
    data: bytes, start: int, rows_field: int, fields: list[tuple[bytes, int, int]], max_rows: int
) -> tuple[int, Strings, npt.NDArray[np.uint8], list[Column]] | None: ...
def parse_orders(
    data: bytes, events_field: int, currency: bytes, money_scale: int, max_orders: int, max_lines: int
) -> tuple[Strings, Strings, Ints, Ints, Ints, list[OrderColumn], list[OrderColumn]] | None: ...
