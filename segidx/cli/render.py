"""How values and results are printed: for people, and as JSON.

In JSON, numbers of contacts' fields are strings of digits, since JSON readers would make inexact floats of them;
instants are UTC with milliseconds and `Z`; tags are sorted lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segidx.model.results import Contact, Evaluation, ExplainNode

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree


T = TypeVar("T")

WIDEST = 200  # characters of a line that is not on a terminal


def instant(when: datetime) -> str:
    """`2026-01-31T18:30:00.000Z`."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(value: object) -> Any:
    """A result's value in JSON's terms."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, frozenset | set):
        return sorted(value)
    return value


def text(value: object) -> str:
    """A field's value in a table."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, default=plain))


def print_all(
    name: str, found: Iterable[T], entry: Callable[[T], object], line: Callable[[T], str], *, as_json: bool
) -> None:
    """A line for each of them, or one JSON object with their entries under the name."""
    if as_json:
        print_json({name: [entry(each) for each in found]})
    else:
        for each in found:
            click.echo(line(each))


def evaluation_entries(evaluation: Evaluation) -> dict[str, Any]:
    """What every evaluation's JSON carries."""
    return {
        "evaluated_at": instant(evaluation.evaluated_at),
        "generation": evaluation.generation,
        "elapsed_ms": round(evaluation.elapsed_ms, 3),
    }


def contact_entries(contact: Contact) -> dict[str, Any]:
    return {"contact_id": contact.contact_id, "fields": {k: plain(v) for k, v in sorted(contact.fields.items())}}


def tell_skipped(evaluation: Evaluation) -> None:
    """Says on stderr which unfinished conditions were left out."""
    for path in evaluation.skipped:
        click.echo(f"segidx: skipped the unfinished condition at {path}", err=True)


def print_rich(renderable: Table | Tree) -> None:
    """A table or a tree; where no screen limits it, as wide as it needs to be."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        needed = Console(highlight=False, width=WIDEST).measure(renderable).maximum
        console = Console(highlight=False, width=max(80, needed))
    console.print(renderable)


# --- plans --------------------------------------------------------------------------------------------------


def plan_entries(node: ExplainNode) -> dict[str, Any]:
    """A plan in JSON's terms."""
    estimate = node.estimate
    found: dict[str, Any] = {
        "operation": node.operation,
        "detail": node.detail,
        "path": node.path,
        "estimate": {"lo": estimate.lo, "expected": estimate.expected, "hi": estimate.hi},
    }
    if node.reason:
        found["reason"] = node.reason
    if node.count is not None:
        found["count"] = node.count
    if node.count_without is not None:
        found["count_without"] = node.count_without
    if node.children:
        found["children"] = [plan_entries(child) for child in node.children]
    return found


def plan_tree(node: ExplainNode) -> Tree:
    """A plan as a tree of lines."""
    from rich.text import Text
    from rich.tree import Tree

    def line(of: ExplainNode) -> Text:
        words = Text(of.operation, style="bold")
        if of.detail:
            words.append(f" {of.detail}", style="not bold")
        estimate = of.estimate
        if of.count is not None:
            words.append(f"  {of.count:,}", style="green not bold")
            if of.count_without is not None:
                words.append(f" (without it {of.count_without:,})", style="not bold dim")
        elif estimate.lo == estimate.hi:
            words.append(f"  {estimate.lo:,}", style="cyan not bold")
        else:
            words.append(f"  ~{estimate.expected:,} ({estimate.lo:,} to {estimate.hi:,})", style="cyan not bold")
        if of.reason:
            words.append(f"  {of.reason}", style="italic not bold")
        return words

    root = Tree(line(node))
    pending = [(root, node)]
    while pending:
        branch, parent = pending.pop()
        pending.extend((branch.add(line(child)), child) for child in parent.children)
    return root
