"""docs/GRPC.md against the protocol: its messages are messages, every method is named, every reason is in its table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from segidx.model.errors import SegidxError
from segidx.service import convert
from segidx.service.status import code_of
from segidx.v1 import ingest_pb2
from segidx.wire.errors import InternalError

DOC = (Path(__file__).parents[2] / "docs" / "GRPC.md").read_text(encoding="utf-8")
SERVICES = [service for file in convert._FILES for service in file.DESCRIPTOR.services_by_name.values()]
METHODS = {method.name: method for service in SERVICES for method in service.methods}
# What is met where data is opened or files are imported, and never in a call.
ELSEWHERE = {
    "ALREADY_OPEN",
    "ALREADY_OPEN_FOR_WRITING",
    "DATA_DIRECTORY_NOT_FOUND",
    "INVALID_SOURCE",
    "NOT_A_DATA_DIRECTORY",
    "RAGGED_ROW",
    "TOO_MANY_REJECTS",
    "UNKNOWN_CODE",
}


def examples() -> list[tuple[str, str]]:
    """(the section of the page up to there, the JSON of a message), of whole messages."""
    found = []
    for block in re.finditer(r"^```json\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL):
        section = DOC[: block.start()].rpartition("\n## ")[2]
        found += [(section, text) for text in re.split(r"\n\s*\n", block[1].strip())]
    return found


def kinds(section: str) -> Iterator[type[Message]]:
    """The messages that may stand there: those of the methods named before; a row at the head of IngestService."""
    named = [name for name in re.findall(r"\*\*(\w+)\*\*", section) if name in METHODS]
    for name in named:
        yield GetMessageClass(METHODS[name].input_type)
        yield GetMessageClass(METHODS[name].output_type)
    if not named:
        yield ingest_pb2.ContactWrite


def reads(value: object, kind: type[Message]) -> bool:
    try:
        json_format.ParseDict(value, kind())
    except json_format.ParseError:
        return False
    return True


@pytest.mark.parametrize(("section", "text"), examples(), ids=[str(number) for number, _ in enumerate(examples())])
def test_messages_are_messages(section: str, text: str) -> None:
    assert any(reads(json.loads(text), kind) for kind in kinds(section)), text


def test_there_are_messages() -> None:
    assert len(examples()) > 20


def test_every_method_is_named() -> None:
    assert set(METHODS) <= set(re.findall(r"\*\*(\w+)\*\*", DOC))
    assert len(METHODS) == len(convert.request_classes())


def subclasses(of: type[SegidxError]) -> Iterator[type[SegidxError]]:
    for each in of.__subclasses__():
        if each.__module__.startswith("segidx."):
            yield each
            yield from subclasses(each)


def test_every_reason_is_in_the_table_of_errors() -> None:
    table: dict[str, set[str]] = {}
    for code, reasons in re.findall(r"^\| ([A-Z_]+) \| ([^|]*) \|", DOC.partition("## Errors")[2], re.MULTILINE):
        for reason in re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", reasons):
            table.setdefault(reason, set()).add(code)
    known: dict[str, set[str]] = {}
    for each in subclasses(SegidxError):
        error = each.__new__(each)
        SegidxError.__init__(error, "")
        known.setdefault(each.reason, set()).add(code_of(error).name)
    assert known.pop(InternalError.reason) == {"INTERNAL"} == table.pop("INTERNAL")
    assert {reason: codes for reason, codes in known.items() if reason not in ELSEWHERE} == table
