"""`segidx count` and `segidx explain`."""

from __future__ import annotations

import click

from segidx.cli import render
from segidx.cli.target import Target, reading, target_options

unfinished_option = click.option(
    "--allow-unfinished", is_flag=True, help="Leave out conditions written as ... and say which."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("expression")
@json_option
@unfinished_option
@target_options
def count(expression: str, as_json: bool, allow_unfinished: bool, target: Target) -> None:
    """Count the contacts that EXPRESSION holds, exactly.

    \b
    segidx count 'tags has "vip" and not country in ("DE", "CZ")' --data DIR
    segidx count 'signup in last 90 days' --data DIR --json
    """
    with reading(expression), target.account() as account:
        found = account.count(expression, allow_unfinished=allow_unfinished, **target.limits())
    if as_json:
        render.print_json({"count": found.count, **render.evaluation_entries(found.evaluation)})
    else:
        click.echo(found.count)
    render.tell_skipped(found.evaluation)


@click.command()
@click.argument("expression")
@click.option("--counts", is_flag=True, help="Evaluate: how many each condition keeps, and how many remain without it.")
@json_option
@unfinished_option
@target_options
def explain(expression: str, counts: bool, as_json: bool, allow_unfinished: bool, target: Target) -> None:
    """Show how EXPRESSION is evaluated, with estimates or exact counts."""
    with reading(expression), target.account() as account:
        found = account.explain(expression, counts=counts, allow_unfinished=allow_unfinished, **target.limits())
    if as_json:
        entries: dict[str, object] = {
            "expression": found.expression,
            "plan": render.plan_entries(found.plan),
            "rules": list(found.rules),
        }
        if found.count is not None:
            entries["count"] = found.count
        render.print_json({**entries, **render.evaluation_entries(found.evaluation)})
    else:
        click.echo(found.expression)
        render.print_rich(render.plan_tree(found.plan))
        if found.rules:
            click.echo(f"rewritten by {', '.join(found.rules)}")
    render.tell_skipped(found.evaluation)
