"""Writes an `Expression` as canonical text, which `parse` reads back as an equal expression.

Canonical text is one line, with lower-case keywords and parentheses around every AND and OR inside another node, so
that nobody has to know which binds tighter. Imports only `segidx.model`.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal

from segidx.model.expression import (
    Aggregate,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Became,
    Between,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Everyone,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Nobody,
    Not,
    OnChannel,
    Only,
    Operator,
    Or,
    Overdue,
    Sequence,
    Step,
    Tagged,
    TagMode,
    TextMatch,
    TimeInWindow,
    Unfinished,
)
from segidx.model.products import PREFIX
from segidx.model.syntax.words import TAGS, is_bare_name
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
)
from segidx.model.windows import (
    Absolute,
    Ago,
    AllTime,
    Calendar,
    CalendarPosition,
    OlderThan,
    Rolling,
    Unit,
    Window,
)

_LONGEST_PLAIN_NUMBER = 21  # digits; 1E+5 is written 100000, 1E+30 stays as it is

Pieces = list["str | Expression | Value"]


def format_expression(expression: Expression) -> str:
    """The canonical text of an expression of any depth: `parse(format_expression(e)) == e`.

    The text exists for expressions that `check` refuses, too; `parse` then refuses those that are too deep or too
    large, and filters of events on other than their properties, while empty lists and unfinished nodes read back.
    """
    return _write(expression)


def format_value(value: Value) -> str:
    """The text of one side of a comparison: `total - 2 * baskets`, `"PL"`, `age(birthday)`."""
    return _write(value)


def _write(root: Expression | Value) -> str:
    # A stack of what is still to be written, last first, in place of recursion: depth is the caller's choice.
    pending: Pieces = [root]
    text: list[str] = []
    while pending:
        piece = pending.pop()
        if isinstance(piece, str):
            text.append(piece)
        elif isinstance(piece, Expression):
            pending.extend(reversed(_expression(piece)))
        else:
            pending.extend(reversed(_value(piece)))
    return "".join(text)


# --- expressions -------------------------------------------------------------------------------------------


def _expression(node: Expression) -> Pieces:
    match node:
        case And(operands=operands):
            return _joined(" and ", operands) if len(operands) > 1 else ["all of ", *_listed(operands)]
        case Or(operands=operands):
            return _joined(" or ", operands) if len(operands) > 1 else ["any of ", *_listed(operands)]
        case Not(operand=operand):
            return _negation(operand)
        case AtLeast():
            return [f"at least {node.count} of ", *_listed(node.operands)]
        case Everyone():
            return ["everyone"]
        case Nobody():
            return ["nobody"]
        case Unfinished():
            return ["..."]
        case HasTags():
            return [_has(node)]
        case IsSet():
            return [f"{format_field(node.field)} is set"]
        case OnChannel():
            return [f"{node.state.value}({_string(node.channel.value)})"]
        case Comparison():
            return [node.left, _comparison(node), node.right]
        case Between():
            return [node.value, " between ", node.low, " and ", node.high]
        case In():
            return _in(node, "")
        case TextMatch():
            return [f"{format_field(node.field)} {node.operator.value} {_ci(node.ci)}{_string(node.pattern)}"]
        case InWindow():
            return [f"{format_field(node.field)} {format_window(node.window)}"]
        case Anniversary():
            return [f"anniversary of {format_field(node.field)} {format_window(node.window)}"]
        case Became():
            became = format_constant(node.value)
            return [f"{format_field(node.field)} became {became}", *_during(node.window)]
        case Tagged():
            field = "" if node.field == TAGS else f"{format_field(node.field)} "
            return [f"{field}tagged {_string(node.tag)}", *_during(node.window)]
        case BandIs():
            return [_band(node, negated=False)]
        case Crossed():
            return [f"crossed({format_field(node.name)}, {format_constant(node.threshold)})", *_during(node.window)]
        case Did(events=events):
            return _asked("did", events)
        case Never(events=events):
            return _asked("never", events)
        case Only():
            return _only(node)
        case EventHas():
            return _event_has(node)
        case HasValue():
            return [node.value, " is set"]
        case TimeInWindow():
            return [node.value, f" {format_window(node.window)}"]
        case Overdue(events=events):
            return _asked("overdue", events)
        case Sequence():
            return _sequence(node)
    raise AssertionError(node)


def _is_chain(node: Expression) -> bool:
    return isinstance(node, And | Or) and len(node.operands) > 1


def _operand(node: Expression) -> Pieces:
    return ["(", node, ")"] if _is_chain(node) else [node]


def _joined(word: str, operands: tuple[Expression, ...]) -> Pieces:
    pieces: Pieces = []
    for index, operand in enumerate(operands):
        if index:
            pieces.append(word)
        pieces.extend(_operand(operand))
    return pieces


def _listed(operands: tuple[Expression, ...]) -> Pieces:
    pieces: Pieces = ["("]
    for index, operand in enumerate(operands):
        if index:
            pieces.append(", ")
        pieces.append(operand)
    return [*pieces, ")"]


def _negation(operand: Expression) -> Pieces:
    if isinstance(operand, IsSet):
        return [f"{format_field(operand.field)} is not set"]
    if isinstance(operand, HasValue):
        return [operand.value, " is not set"]
    if isinstance(operand, In):
        return _in(operand, "not ")
    if isinstance(operand, BandIs):
        return [_band(operand, negated=True)]
    return ["not ", *_operand(operand)]


def _ci(ci: bool) -> str:
    return "ci " if ci else ""


def _has(node: HasTags) -> str:
    field = format_field(node.field)
    if node.mode is TagMode.ANY and len(node.tags) == 1:
        return f"{field} has {_ci(node.ci)}{_string(node.tags[0])}"
    return f"{field} has {node.mode.value} {_ci(node.ci)}({', '.join(map(_string, node.tags))})"


def _in(node: In, negation: str) -> Pieces:
    return [node.value, f" {negation}in {_ci(node.ci)}({', '.join(map(format_constant, node.options))})"]


def _band(node: BandIs, *, negated: bool) -> str:
    labels = ", ".join(map(_string, node.labels))
    if len(node.labels) == 1:
        return f"band({format_field(node.name)}) {'!=' if negated else '='} {labels}"
    return f"band({format_field(node.name)}) {'not ' if negated else ''}in ({labels})"


def _comparison(node: Comparison) -> str:
    if isinstance(node.right, Constant) and isinstance(node.right.value, date):
        if node.operator is Operator.LT:
            return " before "
        if node.operator is Operator.GT:
            return " after "
    return f" {node.operator.value} {_ci(node.ci)}"


def _only(node: Only) -> Pieces:
    pieces: Pieces = [f"only({node.events.type}"]
    if node.that is not None:
        pieces += [" where ", node.that]
    if node.events.where is not None:
        pieces += [" among ", node.events.where]
    return [*pieces, *_during(node.events.window), ")"]


def _event_has(node: EventHas) -> Pieces:
    events = _asked(node.event.function.value, node.event.events)
    grouped = isinstance(node.that, And | Or | AtLeast)
    return [*events, " has ", *(("(", node.that, ")") if grouped else (node.that,))]


# The longest first; lengths are whole seconds.
_FIXED = tuple((unit, unit.milliseconds) for unit in reversed(Unit) if unit.milliseconds is not None)


def _sequence(node: Sequence) -> Pieces:
    pieces: Pieces = ["sequence("]
    for index, step in enumerate(node.steps):
        pieces += [" then " if index else "", *_step(step)]
    return [*pieces, *_during(node.window), ")"]


def _step(step: Step) -> Pieces:
    pieces: Pieces = [f"{'no ' if step.absent else ''}{step.events.type}"]
    if step.events.where is not None:
        pieces += [" where ", step.events.where]
    if step.within is not None:
        fixed = next(each for each in _FIXED if not step.within % each[1])
        pieces.append(f" within {_length(step.within // fixed[1], fixed[0])}")
    return pieces


def _during(window: Window) -> Pieces:
    return [] if isinstance(window, AllTime) else [f" {format_window(window, 'during')}"]


def _asked(function: str, events: Events, property: str | None = None, by: str | None = None) -> Pieces:
    pieces: Pieces = [f"{function}({events.type}"]
    if property is not None:
        pieces.append(f".{format_field(property)}")
    if by is not None:
        pieces.append(f" by {format_field(by)}")
    if events.where is not None:
        pieces += [" where ", events.where]
    return [*pieces, *_during(events.window), ")"]


# --- values ------------------------------------------------------------------------------------------------

_SUMS = (ArithmeticOperator.ADD, ArithmeticOperator.SUBTRACT)


def _value(value: Value) -> Pieces:
    match value:
        case Constant():
            return [format_constant(value.value)]
        case FieldValue():
            return [format_field(value.field)]
        case Age():
            return [f"age({format_field(value.field)})"]
        case DaysSince():
            return [f"days_since({format_field(value.field)})"]
        case Aggregate():
            asked = _asked(value.function.value, value.events, value.property, value.by)
            return [*asked, ".time"] if value.function.is_time else asked
        case DaysSinceEvent(event=event):
            return ["days_since(", *_asked(event.function.value, event.events), ")"]
        case Negative(operand=operand):
            # `-5` is a constant; the negative of the constant 5 is `-(5)`.
            return ["-(", operand, ")"] if isinstance(operand, Constant | Arithmetic | Negative) else ["-", operand]
        case Arithmetic(operator=operator, left=left, right=right):
            product = operator not in _SUMS
            return [
                *_factor(left, product and isinstance(left, Arithmetic) and left.operator in _SUMS),
                f" {operator.value} ",
                *_factor(right, isinstance(right, Arithmetic) and (product or right.operator in _SUMS)),
            ]
    raise AssertionError(value)


def _factor(value: Value, grouped: bool) -> Pieces:
    return ["(", value, ")"] if grouped else [value]


def format_field(name: str) -> str:
    """A field's name, in backticks where it has other than letters, digits and '_' or is a reserved word. A backtick
    inside is written twice. `product.` stands before the name of a product's property."""
    if name.startswith(PREFIX) and name != PREFIX:
        return PREFIX + _plain_name(name.removeprefix(PREFIX))
    return _plain_name(name)


def _plain_name(name: str) -> str:
    return name if is_bare_name(name) else "`" + name.replace("`", "``") + "`"


def format_constant(value: Scalar) -> str:
    """A constant: `"text"` with JSON's escapes, `-1.50`, `true`, `2026-01-31`, `2026-01-31T12:00:00.500Z`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime):
        whole = value.replace(tzinfo=None)
        return whole.isoformat(timespec="milliseconds" if whole.microsecond else "seconds") + "Z"
    return value.isoformat()


def _number(value: Decimal) -> str:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent > 0 and value.adjusted() < _LONGEST_PLAIN_NUMBER:
        return f"{value:f}"
    return str(value)


def _string(value: str) -> str:
    if value.isprintable():
        return json.dumps(value, ensure_ascii=False)
    # What cannot be seen (line ends, NUL, bidirectional marks) is escaped, so that text shows what it says.
    return '"' + "".join(json.dumps(c, ensure_ascii=not c.isprintable())[1:-1] for c in value) + '"'


# --- windows -----------------------------------------------------------------------------------------------

_DAYS = {
    CalendarPosition.LAST: "yesterday",
    CalendarPosition.THIS: "today",
    CalendarPosition.NEXT: "tomorrow",
}


def _length(count: int, unit: Unit, whole: str = "") -> str:
    return f"{count} {whole}{unit.value}{'' if count == 1 else 's'}"


def format_window(window: Window, word: str = "in") -> str:
    """A window as it follows a field: `in last 90 days`, `older than 1 year`, `from 2026-01-01`. `word` stands in
    place of `in`."""
    match window:
        case Rolling():
            return f"{word} {window.direction.value} {_length(window.count, window.unit)}"
        case OlderThan():
            return f"older than {_length(window.count, window.unit)}"
        case Ago():
            return f"{word} {window.far} to {_length(window.near, window.unit)} ago"
        case Calendar(unit=Unit.DAY, count=1):
            return f"{word} {_DAYS[window.position]}"
        case Calendar(position=CalendarPosition.THIS):
            return f"{word} this {window.unit.value}"
        case Calendar():
            return f"{word} {window.position.value} {_length(window.count, window.unit, 'whole ')}"
        case Absolute(start=start, end=end):
            if start is None:
                assert end is not None
                return f"until {format_constant(end)}"
            if end is None:
                return f"from {format_constant(start)}"
            return f"{word} {format_constant(start)} to {format_constant(end)}"
        case AllTime():
            return f"{word} all time"
    raise AssertionError(window)
