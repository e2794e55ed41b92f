"""Which contacts a command works on: the options --data, --server and --account, and opening what they name."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segidx.model.errors import ExpressionSyntaxError
from segidx.model.schema import DEFAULT_ACCOUNT

if TYPE_CHECKING:
    from segidx.client import Client, RemoteAccount
    from segidx.database import Account, Database

    AnyAccount = Account | RemoteAccount
    AnyDatabase = Database | Client

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """A data directory or a server, and the account in it."""

    data: Path | None
    server: str | None
    account_name: str
    timeout: float | None

    @contextmanager
    def database(self, *, write: bool = False, create: bool = False) -> Iterator[AnyDatabase]:
        """The opened directory (for reading unless `write`), or a client of the server."""
        if self.server is not None:
            from segidx.client import connect

            with connect(self.server, timeout=self.timeout) as client:
                yield client
        else:
            from segidx.database import Database
            from segidx.model.syntax import parse

            assert self.data is not None
            parse("everyone")  # compiles the grammar, which is the process's cost and not the evaluation's
            with Database.open(self.data, read_only=not write, create=create) as database:
                yield database

    @contextmanager
    def account(self, *, write: bool = False, create: bool = False) -> Iterator[AnyAccount]:
        """The account in it."""
        with self.database(write=write, create=create) as database:
            yield database.account(self.account_name)

    def limits(self) -> dict[str, Any]:
        """The options of an evaluation that end it when the timeout has passed. (A client has its own.)"""
        if self.timeout is None or self.server is not None:
            return {}
        from segidx.kernels.bitmaps import Stop

        return {"stop": Stop(time.monotonic_ns() + int(self.timeout * 1e9))}


def target_options(command: _Command) -> _Command:
    """Gives a command the options, and a `target` argument."""

    @click.option("--data", "-d", metavar="DIR", type=click.Path(path_type=Path), help="Data directory.")
    @click.option("--server", "-s", metavar="HOST:PORT", help="Address of a running server.")
    @click.option(
        "--account",
        "-a",
        "account_name",
        metavar="NAME",
        default=DEFAULT_ACCOUNT,
        show_default=True,
        help="Account to work on.",
    )
    @click.option(
        "--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="Give up after this time."
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any, data: Path | None, server: str | None, account_name: str, timeout: float | None, **kwargs: Any
    ) -> Any:
        return command(*args, target=_target(data, server, account_name, timeout), **kwargs)

    return wrapped  # type: ignore[return-value]


def _target(data: Path | None, server: str | None, account_name: str, timeout: float | None) -> Target:
    if data is None and server is None:
        named = os.environ.get("SEGIDX_DATA")
        data, server = Path(named) if named else None, os.environ.get("SEGIDX_SERVER") or None
        if data is not None and server is not None:
            raise click.UsageError("SEGIDX_DATA and SEGIDX_SERVER are both set; say which with --data or --server")
    if data is not None and server is not None:
        raise click.UsageError("give --data or --server, not both")
    if data is None and server is None:
        raise click.UsageError("say where the contacts are: --data DIR or --server HOST:PORT")
    return Target(data, server, account_name, timeout)


@contextmanager
def reading(expression: str) -> Iterator[None]:
    """Lets a syntax error in the expression be shown with its line."""
    try:
        yield
    except ExpressionSyntaxError as error:
        error.metadata["text"] = expression
        raise
