"""What holds for all tests: modules and collected tests live to the end, so garbage collections need not walk them."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
