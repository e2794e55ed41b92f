"""Messages of any nesting are read or refused by name; none recurses beyond its limits."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from google.protobuf.message import DecodeError

from segidx.model.errors import ExpressionTooDeep, ExpressionTooLarge, InvalidArgument, SegidxError
from segidx.model.expression import MAX_DEPTH, And, AtLeast, Expression, IsSet, Not, Or, check
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Value
from segidx.v1 import contacts_pb2, counts_pb2
from segidx.v1 import expressions_pb2 as pb
from segidx.wire import decode as module
from segidx.wire.decode import decode
from segidx.wire.expressions import read_expression, write_expression

REQUEST = counts_pb2.CountContactsRequest


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def wrap(levels: Iterable[tuple[int, ...]], leaf: bytes) -> bytes:
    """The leaf in one message after another, outermost first."""
    body = leaf
    for numbers in reversed(list(levels)):
        for number in reversed(numbers):
            body = field(number, body)
    return body


IS_SET = field(11, field(1, b"a"))
CONJUNCTION = (1, 1)
NEGATION = (3,)


def request(levels: list[tuple[int, ...]]) -> bytes:
    return field(1, b"accounts/default") + field(2, wrap(levels, IS_SET))


def test_the_usual_parser_alone_would_refuse_what_is_allowed() -> None:
    with pytest.raises(DecodeError):
        REQUEST.FromString(request([CONJUNCTION] * (MAX_DEPTH - 1)))


@pytest.mark.parametrize("level", [CONJUNCTION, NEGATION, (2, 1), (4, 2)])
def test_the_deepest_allowed_is_read(level: tuple[int, ...]) -> None:
    message = decode(REQUEST, request([level] * (MAX_DEPTH - 1)))
    assert message.account == "accounts/default"
    depth, node = 1, message.expression
    while node.WhichOneof("kind") != "is_set":
        part = getattr(node, node.WhichOneof("kind"))
        node = part if isinstance(part, pb.Expression) else part.operands[0]
        depth += 1
    assert depth == MAX_DEPTH
    assert node.is_set.field == "a"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 100_000])
def test_deeper_is_refused_with_the_path_of_the_first_node_below(depth: int) -> None:
    with pytest.raises(ExpressionTooDeep) as caught:
        decode(REQUEST, request([CONJUNCTION] * (depth - 1)))
    tree: Expression = IsSet("a")
    for _ in range(MAX_DEPTH):
        tree = And((tree,))
    with pytest.raises(ExpressionTooDeep) as in_process:
        check(tree)
    assert caught.value.path == in_process.value.path


def test_deep_values_and_groups_are_refused() -> None:
    value = wrap([(6,)] * 100_000, field(2, b"a"))
    comparison = field(2, field(12, field(1, value)))
    with pytest.raises(ExpressionTooDeep) as caught:
        decode(REQUEST, comparison)
    assert caught.value.path == "expression"
    with pytest.raises(InvalidArgument):
        decode(REQUEST, field(2, b"\x7b" * 100_000))  # unknown groups in groups
    with pytest.raises(InvalidArgument):
        decode(REQUEST, b"\x7b" * 100_000)


def test_other_messages_are_refused_without_a_look() -> None:
    with pytest.raises(InvalidArgument, match="UpsertContactsRequest"):
        decode(contacts_pb2.UpsertContactsRequest, b"\xff\xff")


def test_a_deep_message_of_many_fields_is_refused() -> None:
    wide = b"\x08\x01" * (module.MAX_FIELDS + 1)
    with pytest.raises(ExpressionTooLarge):
        decode(REQUEST, request([CONJUNCTION] * (MAX_DEPTH - 1)) + wide)


def random_tree(rng: random.Random, depth: int) -> Expression:
    """A tree whose first branch is as deep as asked."""
    if depth == 1:
        value: Value = Constant("x")
        for _ in range(rng.randrange(3)):
            value = Arithmetic(rng.choice(list(ArithmeticOperator)), value, FieldValue("b"))
        return rng.choice([IsSet("a"), FieldComparison(value)])
    below = random_tree(rng, depth - 1)
    others = tuple(random_tree(rng, rng.randint(1, min(3, depth - 1))) for _ in range(rng.randrange(3)))
    operands = (below, *others) if rng.random() < 0.5 else (*others, below)
    return rng.choice([And(operands), Or(operands), Not(below), AtLeast(2, operands)])


def FieldComparison(value: Value) -> Expression:
    from segidx.model.expression import Comparison, Operator

    return Comparison(FieldValue("a"), Operator.LT, value)


def test_both_ways_of_reading_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    for _ in range(60):
        tree = random_tree(rng, rng.choice([1, 5, 30, 49, 60, 62]))
        message = REQUEST(account="accounts/default", allow_unfinished=True)
        write_expression(tree, message.expression)
        data = message.SerializeToString()
        assembled = REQUEST()
        module._Assembler().fill(assembled, memoryview(data), "", "", 0)
        assert assembled == message
        assert read_expression(decode(REQUEST, data).expression) == tree


def test_broken_bytes_are_refused_and_never_crash() -> None:
    rng = random.Random(11)
    good = request([CONJUNCTION] * (MAX_DEPTH - 1))
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            read_expression(decode(REQUEST, bytes(data)).expression)
        except SegidxError:
            refused += 1
    assert refused > 1000


def test_a_field_given_twice_in_a_deep_message_is_refused() -> None:
    deep = request([CONJUNCTION] * (MAX_DEPTH - 1))
    with pytest.raises(InvalidArgument, match="twice"):
        decode(REQUEST, deep + field(2, IS_SET))
    with pytest.raises(InvalidArgument, match="twice"):
        decode(REQUEST, deep + field(3, b"everyone"))


def test_a_deep_plan_is_read() -> None:
    node = message = counts_pb2.ExplainExpressionResponse()
    node = message.plan
    for _ in range(120):
        node = node.children.add()
    node.operation = "posting"
    assert decode(counts_pb2.ExplainExpressionResponse, message.SerializeToString()) == message
