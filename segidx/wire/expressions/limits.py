"""How deep and how large an expression of the protocol may be, said in the same words wherever it is found out.

Imports only the model.
"""

from __future__ import annotations

from segidx.model.errors import ExpressionTooDeep, ExpressionTooLarge
from segidx.model.expression import MAX_DEPTH, MAX_NODES


def too_deep(path: str) -> ExpressionTooDeep:
    """The error of a node below the deepest level allowed."""
    return ExpressionTooDeep(
        f"the expression is deeper than {MAX_DEPTH}; group or shorten it", path=path, limit=MAX_DEPTH
    )


def too_large(path: str) -> ExpressionTooLarge:
    """The error of a tree with more nodes than are allowed."""
    return ExpressionTooLarge(
        f"the expression has more than {MAX_NODES} nodes; put the values in a tag or a field instead",
        path=path,
        limit=MAX_NODES,
    )
