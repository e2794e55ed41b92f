"""Expressions of the protocol to and from the model: `read_expression` and `write_expression`, and the same for events
and for what they come to, where these stand in no expression. Imports only v1 and the model.
"""

from segidx.wire.expressions.limits import too_deep, too_large
from segidx.wire.expressions.read import read_expression, read_member, read_value
from segidx.wire.expressions.write import write_expression, write_member, write_value

__all__ = [
    "read_expression",
    "read_member",
    "read_value",
    "too_deep",
    "too_large",
    "write_expression",
    "write_member",
    "write_value",
]
