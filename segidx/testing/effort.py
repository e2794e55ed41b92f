"""How much the random tests try: by default what a run of all tests has time for, `SEGIDX_TEST_EFFORT` times as much
where that is set (`make test EFFORT=10`). More effort has the seeds of less among its own. Imports nothing of segidx.
"""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("SEGIDX_TEST_EFFORT", "1"))
if EFFORT < 1:
    raise ValueError(f"SEGIDX_TEST_EFFORT must be 1 or more, not {EFFORT}")


def times(count: int) -> int:
    """So many examples, questions or rounds of a test, as often as the effort says."""
    return count * EFFORT


def seeds(count: int) -> range:
    """The seeds of a test that has so many by default."""
    return range(times(count))
