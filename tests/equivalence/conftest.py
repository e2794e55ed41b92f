"""Months of events are put in order at the second question by a column, so that the small accounts of these tests are
asked both ways: the first question scans, those after it look rows up."""

from __future__ import annotations

import pytest

from segidx.store import event_orders


@pytest.fixture(autouse=True)
def _orders_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_orders, "SCANS", 2)
    monkeypatch.setattr(event_orders, "NARROWED", 1)
    monkeypatch.setattr(event_orders, "SUMMED", 1)
    monkeypatch.setattr(event_orders, "LEAST_ROWS", 1)
    monkeypatch.setattr(event_orders, "LEDGER_SUMS", 1)
    monkeypatch.setattr(event_orders, "LEAST_VALUES", 1)
