"""`python -m bench` lists the benchmarks; `python -m bench NAME [OPTIONS]` runs one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

# Each is a module of this package with `main(arguments) -> exit code`; a hyphen is an underscore there.
BENCHMARKS = {
    "count": "how long a count of an AND/OR/NOT expression takes, against bitmap and column engines",
    "events": "how long a count by orders and lines takes, against a column engine",
    "load": "how long contacts and orders take to load from Parquet, against a column engine that sorts them",
    "ingest": "durable contact updates a second over gRPC, and how long counts take meanwhile",
    "attribution": "how long counts by the source of orders that take a visit's take",
    "asking": "what a count takes beside its evaluation, of a question that is new or was asked before",
    "single-add": "one tag given to one contact: a tag of half of all contacts against one of ten",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark. Exit codes: those of the benchmark, or 2 for a name that is none."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m bench NAME [OPTIONS]; NAME --help shows the options\n")
        for name, what in BENCHMARKS.items():
            print(f"  {name:10} {what}")
        return 0
    name, *rest = words
    if name not in BENCHMARKS:
        print(f"bench: there is no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"bench.{name.replace('-', '_')}").main(rest))


if __name__ == "__main__":
    sys.exit(main())
