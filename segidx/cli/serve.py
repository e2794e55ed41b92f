"""`segidx serve`."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import click

from segidx import serving


@click.command()
@click.option("--data", "-d", metavar="DIR", type=click.Path(path_type=Path), help="Data directory (or SEGIDX_DATA).")
@click.option("--host", default=serving.DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    "-p",
    default=serving.DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 picks a free one.",
)
@click.option(
    "--workers",
    default=0,
    show_default=True,
    type=click.IntRange(0, serving.MAX_WORKERS),
    metavar="N",
    help="Processes that answer, besides one that writes. 0: one process does both.",
)
@click.option(
    "--threads",
    default=serving.DEFAULT_THREADS,
    show_default=True,
    type=click.IntRange(min=2),
    help="Calls that run at once, in each worker.",
)
@click.option(
    "--max-message-bytes",
    default=serving.DEFAULT_MESSAGE_BYTES,
    show_default=True,
    type=click.IntRange(min=1024),
    help="Largest request.",
)
@click.option(
    "--grace",
    default=serving.DEFAULT_GRACE_SECONDS,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Time for calls in flight to finish when told to end.",
)
@click.option("--create", is_flag=True, help="Create the data directory if it is not there.")
@click.option("--read-only", is_flag=True, help="Refuse writes.")
def serve(
    data: Path | None,
    host: str,
    port: int,
    workers: int,
    threads: int,
    max_message_bytes: int,
    grace: float,
    create: bool,
    read_only: bool,
) -> None:
    """Serve a data directory over gRPC until told to end (SIGTERM or Ctrl-C).

    Prints `segidx is serving on HOST:PORT` once calls are answered. There is no encryption and no password: listen
    beyond this machine only behind something that has both. docs/OPERATIONS.md tells what the processes of --workers
    do.
    """
    named = data or (Path(os.environ["SEGIDX_DATA"]) if os.environ.get("SEGIDX_DATA") else None)
    if named is None:
        raise click.UsageError("say what to serve: --data DIR")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = serving.Settings(
        named,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        max_message_bytes=max_message_bytes,
        grace=grace,
        create=create,
        read_only=read_only,
    )
    # Whoever waits for the address reads it through a pipe.
    serving.serve(settings, announce=partial(print, flush=True))
