from typing import Final

import numpy as np
import numpy.typing as npt

KIND_TAGS: Final[int]
KIND_STRING: Final[int]
KIND_NUMBER: Final[int]
KIND_TIMESTAMP: Final[int]
KIND_DATE: Final[int]
KIND_BOOL: Final[int]

Strings = tuple[npt.NDArray[np.int32], bytes]
Column = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | Strings, npt.NDArray[np.int64], npt.NDArray[np.uint8]]

def header(data: bytes, rows_field: int) -> bytes | None: ...
def parse(
    data: bytes, start: int, rows_field: int, fields: list[tuple[bytes, int, int]], max_rows: int
) -> tuple[int, Strings, npt.NDArray[np.uint8], list[Column]] | None: ...
