"""Builds AST nodes while the parser reads: one method for each rule of grammar.lark, called bottom-up.

Nothing here recurses, and size and height are known as soon as a node is built, so that a text which is too large or
too deep is refused at its place before the rest is read. Imports only `segidx.model` and lark's token type.
"""

from __future__ import annotations

from inspect import getmembers, ismethod
from types import SimpleNamespace

from segidx.model.syntax.conditions import ConditionRules
from segidx.model.syntax.events import EventRules
from segidx.model.syntax.items import Items
from segidx.model.syntax.values import ValueRules
from segidx.model.syntax.windows import WindowRules


def callbacks(items: Items) -> SimpleNamespace:
    """The methods of all rules by name; what they make, they make by `items`."""
    rules = (ConditionRules(items), ValueRules(items), EventRules(items), WindowRules())
    methods = (found for each in rules for found in getmembers(each, ismethod))
    return SimpleNamespace(**{name: method for name, method in methods if not name.startswith("_")})
