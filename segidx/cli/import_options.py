"""The options of commands that import files whose columns become fields or properties: what each is, by which name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from segidx.ingest.mapping import Overrides

_Command = TypeVar("_Command", bound=Callable[..., Any])


def reject_option(whose: str = "") -> Callable[[_Command], _Command]:
    """--rejects, of the rows of one of several files where it says `whose`: as `rejects`."""
    return click.option(
        "--rejects",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"Where refused rows{whose} are listed (default: FILE.rejects.csv, written only if there are any).",
    )


def column_options(types: str, renamed: str) -> Callable[[_Command], _Command]:
    """--field, of one of the `types`, and --schema, in which a column is `renamed` to one: as `types` and `toml`."""

    def add(command: _Command) -> _Command:
        schema = click.option(
            "--schema",
            "toml",
            metavar="TOML",
            type=click.Path(path_type=Path),
            help=f'File with the tables [fields] (name = "type") and [rename] (column = "{renamed}").',
        )
        field = click.option(
            "--field",
            "-f",
            "types",
            multiple=True,
            metavar="NAME=TYPE",
            help=f"The type of a column: {types} (repeatable).",
        )
        return field(schema(command))

    return add


separator_option = click.option(
    "--tag-separator", default="|", show_default=True, metavar="TEXT", help="Splits the tags in a column of strings."
)


def overrides_of(types: tuple[str, ...], toml: Path | None) -> Overrides:
    """What --field and --schema say. Raises what is wrong with them."""
    from segidx.ingest.mapping import Overrides, parse_options, read_toml

    said = read_toml(toml) if toml is not None else Overrides()
    return Overrides(types=parse_options(types), declared=said.declared, rename=said.rename)


def check_one_file(files: tuple[Path, ...], rejects: Path | None) -> None:
    """Refuses one list of refused rows for several files."""
    if rejects is not None and len(files) > 1:
        raise click.UsageError("--rejects goes with one FILE; each has its own list of refused rows")
