"""`Expression`: what is asked. A frozen AND/OR/NOT tree over predicates that knows no data and no schema.

It is built with Python operators (`(field("score") >= 10) & ~tags("tags").has("vip")`), from protobuf by the service,
or from text by `segidx.model.syntax`. `segidx.plan` binds it to a schema and a snapshot.

Negation is the complement within the live universe; contacts that lack a field are in it. `a != b` is
`not (a = b)`, everywhere. No comparison holds on a missing value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum

from segidx.model.errors import (
    EmptyOperands,
    ExpressionTooDeep,
    ExpressionTooLarge,
    InvalidExpression,
    UnfinishedExpression,
)
from segidx.model.values import (
    Age,
    Arithmetic,
    ArithmeticOperator,
    Constant,
    DaysSince,
    FieldValue,
    Negative,
    Scalar,
    Value,
    same_scalars,
    scalar,
)
from segidx.model.windows import Window

MAX_DEPTH = 64
MAX_NODES = 10_000


class Expression:
    """Base of all nodes. `&`, `|` and `~` build conjunctions, disjunctions and negations."""

    __slots__ = ()

    def __and__(self, other: Expression) -> And:
        return And((*(self.operands if isinstance(self, And) else (self,)), other))

    def __or__(self, other: Expression) -> Or:
        return Or((*(self.operands if isinstance(self, Or) else (self,)), other))

    def __invert__(self) -> Not:
        return Not(self)

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value; combine expressions with &, | and ~, not and, or, not")


@dataclass(frozen=True, slots=True)
class Everyone(Expression):
    """All live contacts."""


@dataclass(frozen=True, slots=True)
class Nobody(Expression):
    """No contact."""


@dataclass(frozen=True, slots=True)
class And(Expression):
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not(Expression):
    operand: Expression


@dataclass(frozen=True, slots=True)
class AtLeast(Expression):
    """Contacts that satisfy `count` or more of the operands. `count` is 1 or more; a count above the number of
    operands holds for nobody."""

    count: int
    operands: tuple[Expression, ...]

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or not 1 <= self.count <= MAX_NODES:
            raise InvalidExpression(f"at least {self.count!r} of: the count must be a whole number from 1")


@dataclass(frozen=True, slots=True)
class Unfinished(Expression):
    """A node an editor has not completed; written `...`. Refused unless a request allows unfinished nodes, which
    are then skipped and reported."""


class TagMode(Enum):
    ANY = "any"
    ALL = "all"
    NONE = "none"


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise InvalidExpression("a list of strings is wanted, not one string")
    normal = tuple(scalar(v) for v in values)
    if not all(isinstance(v, str) for v in normal):
        raise InvalidExpression("tags are strings")
    return normal  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class HasTags(Expression):
    """`tags has any ("a", "b")`; `has all`; `has none` (also true where no tag is set). `ci` ignores case."""

    field: str
    mode: TagMode
    tags: tuple[str, ...]
    ci: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", _strings(self.tags))


@dataclass(frozen=True, slots=True)
class IsSet(Expression):
    """The field has a value; of a tags field: at least one tag. `is not set` is Not(IsSet)."""

    field: str


class Operator(Enum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True, slots=True)
class Comparison(Expression):
    """`left op right`. `ci` ignores case and goes with = and != on strings only."""

    left: Value
    operator: Operator
    right: Value
    ci: bool = False

    def __post_init__(self) -> None:
        if self.ci and self.operator not in (Operator.EQ, Operator.NE):
            raise InvalidExpression(f"'ci' goes with = and !=, not with {self.operator.value}")


@dataclass(frozen=True, slots=True)
class Between(Expression):
    """`low <= value <= high`, both ends included."""

    value: Value
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class In(Expression):
    """`value in (a, b, ...)`: equal to at least one. `not in` is Not(In)."""

    value: Value
    options: tuple[Scalar, ...]
    ci: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.options, str):
            raise InvalidExpression("a list of values is wanted, not one string")
        object.__setattr__(self, "options", tuple(scalar(o) for o in self.options))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, In):
            return NotImplemented
        return (self.value, self.ci) == (other.value, other.ci) and same_scalars(self.options, other.options)


class TextOperator(Enum):
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class TextMatch(Expression):
    """A substring, prefix, suffix, or a regular expression (RE2, searching) on a text or category field."""

    field: str
    operator: TextOperator
    pattern: str
    ci: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise InvalidExpression(f"the pattern of {self.operator.value!r} must be a string")
        object.__setattr__(self, "pattern", scalar(self.pattern))


@dataclass(frozen=True, slots=True)
class InWindow(Expression):
    """The date or timestamp field lies in a window of time."""

    field: str
    window: Window


@dataclass(frozen=True, slots=True)
class Anniversary(Expression):
    """Some anniversary of the field's local date, in any year, lies in the window. 29 February falls on 28
    February in years that have none. The window must have both ends."""

    field: str
    window: Window


# --- walking and limits ------------------------------------------------------------------------------------


def operands_of(node: Expression) -> tuple[Expression, ...]:
    """The expressions directly below a node."""
    match node:
        case And(operands=operands) | Or(operands=operands) | AtLeast(operands=operands):
            return operands
        case Not(operand=operand):
            return (operand,)
    return ()


def values_of(node: Expression) -> tuple[Value, ...]:
    """The values directly in a predicate."""
    match node:
        case Comparison():
            return (node.left, node.right)
        case Between():
            return (node.value, node.low, node.high)
        case In():
            return (node.value,)
    return ()


def parts_of(value: Value) -> tuple[Value, ...]:
    """The values directly below a value."""
    match value:
        case Arithmetic():
            return (value.left, value.right)
        case Negative():
            return (value.operand,)
    return ()


# How each node is called in the public protocol; paths of errors use these names.
NODE_NAMES: dict[type[Expression], str] = {
    And: "conjunction",
    Or: "disjunction",
    Not: "negation",
    AtLeast: "at_least",
    Everyone: "everyone",
    Nobody: "nobody",
    Unfinished: "unfinished",
    HasTags: "has_tags",
    IsSet: "is_set",
    Comparison: "comparison",
    Between: "between",
    In: "in",
    TextMatch: "text_match",
    InWindow: "in_window",
    Anniversary: "anniversary",
}


def child_path(path: str, node: Expression, index: int) -> str:
    """The path of a node's operand: `expression` -> `expression.conjunction.operands[2]`, and for a negation
    `expression.negation`."""
    name = NODE_NAMES[type(node)]
    return f"{path}.{name}" if isinstance(node, Not) else f"{path}.{name}.operands[{index}]"


def node_path(path: str, node: Expression) -> str:
    """The path of the node itself: `expression.comparison`."""
    return f"{path}.{NODE_NAMES[type(node)]}"


def walk(root: Expression, path: str = "expression") -> Iterator[tuple[Expression, str, int]]:
    """Every node with its path and its depth (the root's is 1), parents first, without recursion."""
    pending = [(root, path, 1)]
    while pending:
        node, where, depth = pending.pop()
        yield node, where, depth
        below = operands_of(node)
        pending.extend((child, child_path(where, node, i), depth + 1) for i, child in reversed(list(enumerate(below))))


def _value_size(value: Value, budget: int, depth: int, max_depth: int, path: str) -> int:
    """Number of value nodes under `value`, stopping past the budget. Raises ExpressionTooDeep."""
    pending = [(value, depth)]
    size = 0
    while pending and size <= budget:
        part, level = pending.pop()
        if level > max_depth:
            raise ExpressionTooDeep(
                f"the expression is deeper than {max_depth}; group or shorten it", path=path, limit=max_depth
            )
        size += 1
        pending.extend((below, level + 1) for below in parts_of(part))
    return size


def check(root: Expression, *, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES, finished: bool = True) -> None:
    """Refuse what no schema could make valid: empty operand lists, too deep, too large, unfinished nodes.

    Depth counts nested expressions and, inside predicates, nested arithmetic. Nodes are expression nodes, the values
    inside them and the listed constants. With `finished` false only depth and size are looked at. Raises
    EmptyOperands, ExpressionTooDeep, ExpressionTooLarge or UnfinishedExpression, each with the node's path.
    """
    size = 0
    for node, path, depth in walk(root):
        size += 1
        if depth > max_depth:
            raise ExpressionTooDeep(
                f"the expression is deeper than {max_depth}; group or shorten it", path=path, limit=max_depth
            )
        for value in values_of(node):
            if not isinstance(value, Constant | FieldValue):
                size += _value_size(value, max_nodes - size, depth, max_depth, path)
        size += max(
            0,
            len(node.options if isinstance(node, In) else node.tags if isinstance(node, HasTags) else ()) - 1,
        )
        if size > max_nodes:
            raise ExpressionTooLarge(
                f"the expression has more than {max_nodes} nodes; put the values in a tag or a field instead",
                path=path,
                limit=max_nodes,
            )
        if not finished:
            continue
        where = node_path(path, node)
        if isinstance(node, And | Or | AtLeast) and not node.operands:
            raise EmptyOperands(f"an empty {_spoken(node)} says nothing; give it operands or remove it", path=where)
        if isinstance(node, In) and not node.options:
            raise EmptyOperands("'in ()' lists no value; give it one or remove it", path=where)
        if isinstance(node, HasTags) and not node.tags:
            raise EmptyOperands("'has' lists no tag; give it one or remove it", path=where)
        if isinstance(node, Unfinished):
            raise UnfinishedExpression("this condition is unfinished; complete it or remove it", path=path)


def _spoken(node: Expression) -> str:
    return {And: "AND", Or: "OR", AtLeast: "'at least'"}[type(node)]


def skip_unfinished(root: Expression) -> tuple[Expression, tuple[str, ...]]:
    """The expression without its unfinished nodes, and the paths of those skipped.

    A skipped operand leaves its AND, OR or 'at least'; one that loses all operands, and a NOT of a skipped operand,
    are skipped with it (only the innermost is reported); an 'at least k' asks for no more than the operands that
    remain. If nothing remains the answer is `everyone`. Lists without values are unfinished too. Raises
    ExpressionTooDeep.
    """
    skipped: list[str] = []

    def clean(node: Expression, path: str, depth: int = 1) -> Expression | None:
        if depth > MAX_DEPTH:
            raise ExpressionTooDeep(
                f"the expression is deeper than {MAX_DEPTH}; group or shorten it", path=path, limit=MAX_DEPTH
            )
        match node:
            case Unfinished():
                skipped.append(path)
                return None
            case In(options=()) | HasTags(tags=()) | And(operands=()) | Or(operands=()) | AtLeast(operands=()):
                skipped.append(node_path(path, node))
                return None
            case Not():
                inner = clean(node.operand, child_path(path, node, 0), depth + 1)
                return None if inner is None else Not(inner)
            case And() | Or() | AtLeast():
                kept = tuple(
                    c
                    for i, child in enumerate(node.operands)
                    if (c := clean(child, child_path(path, node, i), depth + 1)) is not None
                )
                if not kept:
                    return None
                if isinstance(node, AtLeast):
                    return AtLeast(min(node.count, len(kept)) if len(kept) < len(node.operands) else node.count, kept)
                return type(node)(kept)
        return node

    cleaned = clean(root, "expression")
    return (Everyone() if cleaned is None else cleaned), tuple(skipped)


# --- building from Python ----------------------------------------------------------------------------------


def _value(value: object) -> Value:
    return value if isinstance(value, Value) else Constant(value)  # type: ignore[arg-type]


class FieldBuilder:
    """`field("score")`: builds predicates on one field. Comparison operators give expressions, so two builders
    are never compared with each other."""

    __slots__ = ("name", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str, value: Value | None = None) -> None:
        self.name = name
        self.value = FieldValue(name) if value is None else value

    def _compare(self, operator: Operator, other: object) -> Comparison:
        return Comparison(self.value, operator, other.value if isinstance(other, FieldBuilder) else _value(other))

    def __eq__(self, other: object) -> Comparison:  # type: ignore[override]
        return self._compare(Operator.EQ, other)

    def __ne__(self, other: object) -> Comparison:  # type: ignore[override]
        return self._compare(Operator.NE, other)

    def __lt__(self, other: object) -> Comparison:
        return self._compare(Operator.LT, other)

    def __le__(self, other: object) -> Comparison:
        return self._compare(Operator.LE, other)

    def __gt__(self, other: object) -> Comparison:
        return self._compare(Operator.GT, other)

    def __ge__(self, other: object) -> Comparison:
        return self._compare(Operator.GE, other)

    def _arithmetic(self, operator: ArithmeticOperator, other: object) -> FieldBuilder:
        right = other.value if isinstance(other, FieldBuilder) else _value(other)
        return FieldBuilder(self.name, Arithmetic(operator, self.value, right))

    def __add__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.ADD, other)

    def __sub__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.SUBTRACT, other)

    def __mul__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.MULTIPLY, other)

    def __truediv__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.DIVIDE, other)

    def _reflected(self, operator: ArithmeticOperator, other: object) -> FieldBuilder:
        return FieldBuilder(self.name, Arithmetic(operator, _value(other), self.value))

    def __radd__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.ADD, other)

    def __rsub__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.SUBTRACT, other)

    def __rmul__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.MULTIPLY, other)

    def __rtruediv__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.DIVIDE, other)

    def __neg__(self) -> FieldBuilder:
        return FieldBuilder(self.name, Negative(self.value))

    def between(self, low: object, high: object) -> Between:
        return Between(self.value, _value(low), _value(high))

    def isin(self, options: Iterable[object], *, ci: bool = False) -> In:
        return In(self.value, tuple(options), ci)  # type: ignore[arg-type]

    def equals(self, other: str, *, ci: bool = False) -> Comparison:
        return Comparison(self.value, Operator.EQ, Constant(other), ci)

    def is_set(self) -> IsSet:
        return IsSet(self.name)

    def contains(self, text: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.CONTAINS, text, ci)

    def starts_with(self, text: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.STARTS_WITH, text, ci)

    def ends_with(self, text: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.ENDS_WITH, text, ci)

    def matches(self, pattern: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.MATCHES, pattern, ci)

    def in_window(self, window: Window) -> InWindow:
        return InWindow(self.name, window)

    def before(self, when: date) -> Comparison:
        return self < when

    def after(self, when: date) -> Comparison:
        return self > when

    def anniversary(self, window: Window) -> Anniversary:
        return Anniversary(self.name, window)

    def age(self) -> FieldBuilder:
        return FieldBuilder(self.name, Age(self.name))

    def days_since(self) -> FieldBuilder:
        return FieldBuilder(self.name, DaysSince(self.name))

    def has(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.ANY, tags, ci)

    def has_all(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.ALL, tags, ci)

    def has_none(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.NONE, tags, ci)


def field(name: str) -> FieldBuilder:
    """The builder of predicates on a field: `field("country") == "PL"`."""
    return FieldBuilder(name)


def tags(name: str = "tags") -> FieldBuilder:
    """The builder for a tags field: `tags().has("vip")`."""
    return FieldBuilder(name)
