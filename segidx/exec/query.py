"""The three stages joined: an expression or its text, checked, bound and rewritten, ready to evaluate."""

from __future__ import annotations

from dataclasses import dataclass

from segidx.exec.evaluate import stop_errors
from segidx.model.expression import MAX_DEPTH, MAX_NODES, Expression, check, skip_unfinished
from segidx.model.syntax import parse
from segidx.plan.bind import bind
from segidx.plan.context import BindContext
from segidx.plan.derived import use_derived
from segidx.plan.nodes import Plan
from segidx.plan.optimise import optimise


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on expressions; larger ones are refused before anything is read."""

    max_depth: int = MAX_DEPTH
    max_nodes: int = MAX_NODES


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query ready to run. `skipped` are the paths of unfinished nodes that were left out."""

    expression: Expression
    plan: Plan
    rules: tuple[str, ...]
    skipped: tuple[str, ...]


def read_expression(
    asked: Expression | str, limits: Limits, *, allow_unfinished: bool
) -> tuple[Expression, tuple[str, ...]]:
    """(the checked expression, paths of skipped nodes). Raises the errors of `parse` and `check`."""
    expression = (
        parse(asked, max_depth=limits.max_depth, max_nodes=limits.max_nodes) if isinstance(asked, str) else asked
    )
    skipped: tuple[str, ...] = ()
    if allow_unfinished:
        check(expression, max_depth=limits.max_depth, max_nodes=limits.max_nodes, finished=False)
        expression, skipped = skip_unfinished(expression)
    check(expression, max_depth=limits.max_depth, max_nodes=limits.max_nodes)
    return expression, skipped


def prepare(
    asked: Expression | str,
    context: BindContext,
    limits: Limits | None = None,
    *,
    allow_unfinished: bool = False,
    optimised: bool = True,
) -> Prepared:
    """Read, bind and rewrite a query for one snapshot. Raises every typed error an expression can have."""
    expression, skipped = read_expression(asked, limits or Limits(), allow_unfinished=allow_unfinished)
    return plan_of(expression, skipped, context, optimised=optimised)


def plan_of(
    expression: Expression, skipped: tuple[str, ...], context: BindContext, *, optimised: bool = True
) -> Prepared:
    """Bind and rewrite what `read_expression` gave. Raises the errors of binding, DeadlineExceeded, Cancelled."""
    with stop_errors():
        plan = bind(expression, context)
    if not optimised:
        return Prepared(expression, plan, (), skipped)
    kept = use_derived(plan, context)
    best, rules = optimise(kept)
    return Prepared(expression, best, rules if kept is plan else (use_derived.__name__, *rules), skipped)
