"""Bytes of a message to the message, also where it is nested deeper than protobuf's parser goes.

protobuf's parser (upb) refuses messages nested deeper than 100, and an expression nests two messages a level, so that
one of 64 levels, which is allowed, reaches 130. Raising upb's limit is possible for the whole process only and lets a
hostile message overflow the C stack. So the usual parser goes first, and what it refuses is taken apart here: the
fields of recursive messages are cut out level by level, at most as deep as an expression may be, and every piece is
parsed by itself. No input recurses further than the limits.

Imports only v1, the model and protobuf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from segidx.model.errors import InvalidArgument, SegidxError
from segidx.model.expression import MAX_DEPTH
from segidx.v1 import counts_pb2, expressions_pb2
from segidx.wire.expressions import too_deep, too_large

# Fields looked at one by one in Python, about a microsecond each. An expression of 10,000 nodes has a tenth of it.
MAX_FIELDS = 500_000
# A plan adds a few levels to its expression's.
MAX_PLAN_DEPTH = 2 * MAX_DEPTH

M = TypeVar("M", bound=Message)
# The stubs know two classes of each, of which upb has one.
Descriptor = Any
FieldDescriptor = Any

_EXPRESSION = expressions_pb2.Expression.DESCRIPTOR
_VALUE = expressions_pb2.Value.DESCRIPTOR
_PLAN = counts_pb2.PlanNode.DESCRIPTOR


class _Malformed(Exception):
    """Bytes that are no message of the type."""


def decoder(message_class: type[M]) -> Callable[[bytes], M]:
    """The function that parses messages of a class; see `decode`."""

    def parse(data: bytes) -> M:
        return decode(message_class, data)

    return parse


def decode(message_class: type[M], data: bytes) -> M:
    """The message of `data`, whatever its nesting.

    Raises ExpressionTooDeep (with the path of the first node below the limit) or ExpressionTooLarge for an expression
    beyond its limits, and InvalidArgument for bytes that are no such message.
    """
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        cause = error
    descriptor = message_class.DESCRIPTOR
    if not _reaches_recursion(descriptor):
        raise _invalid(descriptor, cause)
    message = message_class()
    try:
        _Assembler().fill(message, memoryview(data), "", "", 0)
    except (DecodeError, _Malformed, UnicodeDecodeError) as error:
        raise _invalid(descriptor, error) from None
    return message


def _invalid(descriptor: Descriptor, cause: Exception) -> SegidxError:
    return InvalidArgument(f"the bytes are not a {descriptor.full_name}: {cause}", message_type=descriptor.full_name)


_recursion: dict[str, bool] = {}


def _reaches_recursion(descriptor: Descriptor) -> bool:
    """Whether a message of this type can hold an expression, a value or a plan."""
    known = _recursion.get(descriptor.full_name)
    if known is None:
        # Set first: a type that is met again on its own way adds nothing.
        _recursion[descriptor.full_name] = False
        known = descriptor in (_EXPRESSION, _VALUE, _PLAN) or any(
            _reaches_recursion(f.message_type) for f in descriptor.fields if f.message_type is not None
        )
        _recursion[descriptor.full_name] = known
    return known


for _root in (_EXPRESSION, _VALUE, _PLAN):
    _recursion[_root.full_name] = True


class _Assembler:
    """Fills one message piece by piece."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields = 0

    def fill(self, message: Message, data: memoryview, path: str, node: str, depth: int) -> None:
        """Parses `data` into the empty `message`.

        `path` is the message's place in the request, `node` that of the expression it belongs to, `depth` that
        expression's level, arithmetic counted as levels of its own.
        """
        by_number = message.DESCRIPTOR.fields_by_number
        plain: list[memoryview] = []
        seen: set[str] = set()
        counts: dict[str, int] = {}
        at, end = 0, len(data)
        while at < end:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise too_large(node or path)
            start = at
            tag, at = _varint(data, at)
            at, body = _skip(data, at, tag & 7)
            field = by_number.get(tag >> 3)
            if field is None or field.message_type is None or not _reaches_recursion(field.message_type):
                if field is not None and field.containing_oneof is not None:
                    self._once(field, seen)
                plain.append(data[start:at])
                continue
            if tag & 7 != 2:
                raise _Malformed(f"field {field.full_name} has the wrong wire type")
            name = field.name
            if field.is_repeated:
                index = counts.get(name, 0)
                counts[name] = index + 1
                child, where = getattr(message, name).add(), f"{path}{name}[{index}]"
            else:
                self._once(field, seen)
                child, where = getattr(message, name), f"{path}{name}"
                child.SetInParent()
            self._descend(message, child, body, where, node, depth)
        if plain:
            message.MergeFromString(b"".join(plain))

    def _descend(self, parent: Message, child: Message, body: memoryview, where: str, node: str, depth: int) -> None:
        kind = child.DESCRIPTOR
        if kind is _EXPRESSION or kind is _PLAN:
            node, depth = where, depth + 1
        elif kind is _VALUE and parent.DESCRIPTOR.name in ("Value", "Arithmetic"):
            depth += 1
        if depth > (MAX_PLAN_DEPTH if kind is _PLAN else MAX_DEPTH):
            raise too_deep(node)
        self.fill(child, body, f"{where}.", node, depth)

    @staticmethod
    def _once(field: FieldDescriptor, seen: set[str]) -> None:
        """A field given twice is legal to merge, but no serialiser writes it; taken apart, the order would be lost."""
        oneof = field.containing_oneof
        key = field.name if oneof is None else oneof.full_name
        if key in seen:
            raise _Malformed(f"{key} is given twice")
        seen.add(key)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The base-128 number at `at`, and the place after it."""
    value = shift = 0
    end = len(data)
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Malformed("a number runs over its end")


def _skip(data: memoryview, at: int, wire_type: int) -> tuple[int, memoryview]:
    """The place after the field whose tag ends at `at`, and its contents if it is of the length-delimited kind."""
    if wire_type == 2:
        length, at = _varint(data, at)
        if length > len(data) - at:
            raise _Malformed("a field runs over the end of its message")
        return at + length, data[at : at + length]
    if wire_type == 0:
        return _varint(data, at)[1], data[:0]
    width = {1: 8, 5: 4}.get(wire_type)
    if width is None or width > len(data) - at:
        raise _Malformed("a field of an unknown wire type, or cut off")
    return at + width, data[:0]
