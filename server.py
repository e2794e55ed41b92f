"""Serves a data directory over gRPC: `python server.py --data DIR`. Flags and wiring only; see `segidx.serving`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from segidx import serving
from segidx.model.errors import Kind, SegidxError

EXIT_CODES = {Kind.INVALID: 2, Kind.NOT_FOUND: 3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until it is told to end. Exit codes: 0 ended, 2 wrong flags, 3 no such data, 1 anything else."""
    parser = argparse.ArgumentParser(prog="server.py", description="Serves a segidx data directory over gRPC.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data directory")
    parser.add_argument("--host", default=serving.DEFAULT_HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=serving.DEFAULT_PORT, help="port; 0 picks a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that answer, besides one that writes; 0: one process does both (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=serving.DEFAULT_THREADS,
        help="calls that run at once, in each worker (default: %(default)s)",
    )
    parser.add_argument(
        "--max-message-bytes",
        type=int,
        default=serving.DEFAULT_MESSAGE_BYTES,
        help="largest request (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=serving.DEFAULT_GRACE_SECONDS,
        metavar="SECONDS",
        help="time for calls in flight to finish when told to end (default: %(default)s)",
    )
    parser.add_argument("--create", action="store_true", help="create the data directory if it is not there")
    parser.add_argument("--read-only", action="store_true", help="refuse writes")
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        # Whoever waits for the address reads it through a pipe.
        serving.serve(serving.Settings(**vars(flags)), announce=partial(print, flush=True))
    except SegidxError as error:
        print(f"server.py: error: {error}", file=sys.stderr)
        return EXIT_CODES.get(error.kind, 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
