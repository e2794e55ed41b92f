"""The `segidx` command: its groups, and how an error ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from segidx.cli.accounts import account, schema
from segidx.cli.bands import bands
from segidx.cli.changes import changes
from segidx.cli.contacts import get, preview, suggest, tag
from segidx.cli.demo import demo
from segidx.cli.derived import derived
from segidx.cli.events import events
from segidx.cli.import_events import import_events
from segidx.cli.import_products import import_products
from segidx.cli.imports import import_
from segidx.cli.products import products
from segidx.cli.prune import prune
from segidx.cli.queries import count, explain
from segidx.cli.serve import serve
from segidx.cli.stats import stats
from segidx.cli.timeline import show
from segidx.cli.verify import verify
from segidx.model.errors import ExpressionSyntaxError, Kind, SegidxError

EXIT_CODES = {
    Kind.INVALID: 2,
    Kind.NOT_FOUND: 3,
    Kind.EXISTS: 4,
    Kind.CONFLICT: 4,
    Kind.BUSY: 5,
    Kind.DEADLINE: 6,
    Kind.CANCELLED: 6,
    Kind.RESOURCE: 7,
    Kind.CORRUPT: 8,
    Kind.OUT_OF_RANGE: 2,
}
INTERRUPTED = 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Where the contacts are:
  --data DIR           a data directory, opened in this process (or SEGIDX_DATA)
  --server HOST:PORT   a running server (or SEGIDX_SERVER)

\b
Exit codes:
  0 done                      5 busy: another writer, or no server answers
  1 unexpected error          6 deadline passed or cancelled
  2 wrong usage or request    7 disk or map full
  3 not found                 8 stored data is damaged
  4 exists or conflicts       130 interrupted""",
)
@click.version_option(package_name="segidx", prog_name="segidx")
def cli() -> None:
    """Exact contact segmentation in milliseconds."""


for command in (
    import_,
    count,
    explain,
    preview,
    get,
    suggest,
    tag,
    changes,
    stats,
    schema,
    events,
    products,
    bands,
    derived,
    prune,
    account,
    serve,
    verify,
    demo,
):
    cli.add_command(command)
import_.add_command(import_events)
import_.add_command(import_products)
events.add_command(show)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run a command; the exit code. Errors are told in one line on stderr."""
    try:
        code = cli.main(list(arguments), prog_name="segidx", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        tell(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"see '{error.ctx.command_path} --help'", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        tell("interrupted")
        return INTERRUPTED
    except SegidxError as error:
        tell(_sentence(error))
        return EXIT_CODES[error.kind]
    except BrokenPipeError:
        # Whoever read us has gone (`segidx ... | head`); nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        tell(str(error))
        return 1


def tell(message: str) -> None:
    """An error, on stderr."""
    click.echo(f"segidx: error: {message}", err=True)


def _sentence(error: SegidxError) -> str:
    where = f" (at {error.path})" if "." in error.path else ""
    sentence = " ".join(error.message.split("\n")) + where
    text = error.metadata.get("text")
    if isinstance(error, ExpressionSyntaxError) and text is not None:
        return f"{sentence}\n{pointed_at(text, error.line, error.column)}"
    return sentence


def pointed_at(text: str, line: int, column: int) -> str:
    """The line of the text, and below it a caret under the column (both count from 1)."""
    lines = text.split("\n")
    shown = lines[line - 1] if line <= len(lines) else ""
    before = "".join("\t" if c == "\t" else " " for c in f"{shown:<{column}}"[: column - 1])
    return f"  {shown}\n  {before}^"
