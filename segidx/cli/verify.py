"""`segidx verify`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segidx.model.errors import CorruptData
from segidx.model.schema import DEFAULT_ACCOUNT

if TYPE_CHECKING:
    from segidx.database import Database

DAMAGED = 8  # the exit code of damaged data, as of every command


@click.command()
@click.option("--data", "-d", metavar="DIR", type=click.Path(path_type=Path), help="Data directory (or SEGIDX_DATA).")
@click.option("--account", "-a", "account_name", metavar="NAME", help=f"Account to verify ({DEFAULT_ACCOUNT}).")
@click.option("--all", "all_accounts", is_flag=True, help="Verify every account of the directory.")
@click.pass_context
def verify(context: click.Context, data: Path | None, account_name: str | None, all_accounts: bool) -> None:
    """Check every invariant of all that is stored in a data directory.

    A server may have it open meanwhile: nothing is written, and one state of each account is seen. Prints each problem
    on a line, and last how many there are; exits with 8 if there are any.
    """
    if data is None and os.environ.get("SEGIDX_DATA"):
        data = Path(os.environ["SEGIDX_DATA"])
    if data is None:
        raise click.UsageError("say where the contacts are: --data DIR, also of a directory that a server has open")
    if all_accounts and account_name is not None:
        raise click.UsageError("give --account or --all, not both")
    from segidx.database import Database
    from segidx.store.directory import DataDirectory

    problems = checked = 0
    with Database.open(data, read_only=True) as database:
        names = [account_name or DEFAULT_ACCOUNT]
        if all_accounts:  # without opening them: one may be damaged
            names = DataDirectory.open(data, writable=False).account_names()
        for name in names:
            for found in _verified(database, name):
                if isinstance(found, int):
                    checked += found
                else:
                    problems += 1
                    click.echo(f"{name}: {found}" if all_accounts else found)
    if problems:
        click.echo(f"{problems:,} problem{'s' if problems > 1 else ''}")
        context.exit(DAMAGED)
    click.echo(f"sound: {checked:,} structures checked")


def _verified(database: Database, name: str) -> Iterator[str | int]:
    """Each problem of an account, and last how many structures were checked."""
    try:
        verification = database.account(name).verify()
    except CorruptData as error:
        yield error.message
        return
    yield from verification
    yield verification.checked
