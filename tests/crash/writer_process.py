"""A writing process for the crash tests: upserts batches for ever and prints each acknowledgement.

    python writer_process.py DIR SEED

Batch n gives contacts `c0`.. a new value of `n`, a city and a tag. A line `n generation` is printed, flushed, after
the batch is acknowledged, and never before.
"""

from __future__ import annotations

import random
import sys

from segidx.database import Database
from segidx.model.schema import Field, FieldType

FIELDS = [Field("n", FieldType.NUMBER), Field("city", FieldType.CATEGORY), Field("tags", FieldType.TAGS)]
CONTACTS = 3000
BATCH = 200


def rows(number: int, seed: int) -> list[tuple[str, dict[str, object]]]:
    """The rows of a batch; the checker computes the same ones."""
    rng = random.Random(seed * 1_000_003 + number)
    return [
        (f"c{i}", {"n": number, "city": f"city-{number % 7}", "tags": {f"batch-{number % 11}", "all"}})
        for i in rng.sample(range(CONTACTS), BATCH)
    ]


def main() -> None:
    directory, seed = sys.argv[1], int(sys.argv[2])
    with Database.open(directory, create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        number = account.stats().generation
        while True:
            number += 1
            result = account.upsert(rows(number, seed))
            print(number, result.generation, flush=True)


if __name__ == "__main__":
    main()
