"""`Expression`: what is asked. A frozen AND/OR/NOT tree over predicates that knows no data and no schema.

It is built with Python operators (`(field("score") >= 10) & ~tags("tags").has("vip")`), from protobuf by the service,
or from text by `segidx.model.syntax`. `segidx.plan` binds it to a schema and a snapshot.

Its parts: `nodes`, `tree` (paths, limits, unfinished nodes) and `builder` (from Python). Import from here.

Negation is the complement within the live universe; contacts that lack a field are in it. `a != b` is
`not (a = b)`, everywhere. No comparison holds on a missing value.
"""

from segidx.model.expression.builder import (
    ChannelBuilder,
    FieldBuilder,
    field,
    on_channel,
    tags,
)
from segidx.model.expression.nodes import (
    MAX_DEPTH,
    MAX_NODES,
    And,
    Anniversary,
    AtLeast,
    Between,
    ChannelState,
    Comparison,
    Everyone,
    Expression,
    HasTags,
    In,
    InWindow,
    IsSet,
    Nobody,
    Not,
    OnChannel,
    Operator,
    Or,
    TagMode,
    TextMatch,
    TextOperator,
    Unfinished,
    channel_named,
)
from segidx.model.expression.tree import (
    NODE_NAMES,
    check,
    child_path,
    node_path,
    operands_of,
    parts_of,
    skip_unfinished,
    values_of,
    walk,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "NODE_NAMES",
    "And",
    "Anniversary",
    "AtLeast",
    "Between",
    "ChannelBuilder",
    "ChannelState",
    "Comparison",
    "Everyone",
    "Expression",
    "FieldBuilder",
    "HasTags",
    "In",
    "InWindow",
    "IsSet",
    "Nobody",
    "Not",
    "OnChannel",
    "Operator",
    "Or",
    "TagMode",
    "TextMatch",
    "TextOperator",
    "Unfinished",
    "channel_named",
    "check",
    "child_path",
    "field",
    "node_path",
    "on_channel",
    "operands_of",
    "parts_of",
    "skip_unfinished",
    "tags",
    "values_of",
    "walk",
]
