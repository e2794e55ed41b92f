"""Every error crosses the wire as itself, within the size of HTTP/2 headers."""

from __future__ import annotations

import inspect

import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from segidx.model import errors
from segidx.wire.errors import DOMAIN, PATH, error_classes, error_info, restore, restore_info, wire_message

SPECIAL = {
    errors.ExpressionSyntaxError: lambda: errors.ExpressionSyntaxError(
        "no", line=3, column=14, expected=("'and'", "a name")
    ),
    errors.UnknownField: lambda: errors.UnknownField("contry", ["country", "county", "age"], path="expression.in"),
    errors.UnknownEventType: lambda: errors.UnknownEventType("visti", ["order", "line", "visit"]),
    errors.UnknownProperty: lambda: errors.UnknownProperty("order", "amuont", ["source", "paid", "amount"]),
    errors.UnknownProductProperty: lambda: errors.UnknownProductProperty("brnad", ["producer", "brand"]),
    errors.ProductNotFound: lambda: errors.ProductNotFound("P-1"),
    errors.UnknownBands: lambda: errors.UnknownBands("spent", ["orders", "spend"]),
    errors.UnknownBand: lambda: errors.UnknownBand("spend", "100", ["none", "<100", "100+"]),
    errors.UnknownThreshold: lambda: errors.UnknownThreshold("spend", "5", ["100", "500"]),
    errors.UnknownDerived: lambda: errors.UnknownDerived("spent", ["spend"]),
    errors.ContactNotFound: lambda: errors.ContactNotFound("c-1"),
    errors.UnknownAccount: lambda: errors.UnknownAccount("acme"),
    errors.AccountExists: lambda: errors.AccountExists("acme"),
}


def all_classes() -> list[type[errors.SegidxError]]:
    return [c for _name, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.SegidxError)]


@pytest.mark.parametrize("cls", all_classes(), ids=lambda c: c.__name__)
def test_an_error_returns_as_itself(cls: type[errors.SegidxError]) -> None:
    make = SPECIAL.get(cls, lambda: cls("what and what to do", path="expression.negation", limit=3, field="a"))
    sent = make()
    info = ErrorInfo.FromString(error_info(sent).SerializeToString())
    assert (info.reason, info.domain) == (cls.reason, DOMAIN)
    assert info.metadata.get(PATH, "") == sent.path
    found = restore_info(info, wire_message(sent))
    assert type(found) is cls
    assert found.kind is cls.kind
    assert str(found) == str(sent)
    assert vars(found) == {**vars(sent), "reason": cls.reason}


def test_reasons_are_unique() -> None:
    assert len({c.reason for c in all_classes()}) == len(all_classes())
    assert set(all_classes()) <= set(error_classes().values())


def test_an_unknown_reason_is_still_an_error() -> None:
    found = restore("FROM_THE_FUTURE", "message", "", {"a": "b"})
    assert type(found) is errors.SegidxError
    assert (found.reason, found.metadata) == ("FROM_THE_FUTURE", {"a": "b"})


def test_long_parts_are_cut_to_fit_headers() -> None:
    path = "expression" + ".disjunction.operands[9999]" * 64
    sent = errors.UnknownField("ż" * 100_000, ["ż" * 5000 + str(i) for i in range(5)], path=path)
    info = error_info(sent)
    # The message goes percent-encoded and, with the details, in base64.
    assert len(wire_message(sent).encode()) * 3 + (len(wire_message(sent).encode()) + info.ByteSize()) * 4 / 3 < 7800
    assert info.metadata[PATH] == path
    assert wire_message(sent).endswith("…")


def test_lone_surrogates_do_not_break_an_answer() -> None:
    sent = errors.UnknownField("\ud800")
    assert error_info(sent).metadata["field"] == "?"
    wire_message(sent).encode()
