"""The one error table is complete."""

from __future__ import annotations

import logging

import grpc
import pytest

from segidx.model.errors import Kind, UnknownField
from segidx.service.status import CODES, status_of, unexpected


def test_every_kind_has_a_code() -> None:
    assert set(CODES) == set(Kind)
    assert len(set(CODES.values())) == len(Kind)


def test_a_status_has_one_error_info() -> None:
    status = status_of(UnknownField("contry", ["country"], path="expression.comparison"))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [d.TypeName() for d in status.details] == ["google.rpc.ErrorInfo"]


def test_the_unexpected_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = unexpected("/m", RuntimeError("the secret"))
    assert "the secret" not in str(status_of(error))
    assert status_of(error).code == grpc.StatusCode.INTERNAL.value[0]
    assert error.metadata["incident"] in caplog.text
    assert "the secret" in caplog.text
