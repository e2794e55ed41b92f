"""The events benchmark end to end on its smallest corpus, and the corpus itself: what its documentation promises."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bench import events, timing
from bench.__main__ import main
from bench.answers import SHOWN
from bench.orders.cases import make_cases
from bench.orders.corpus import (
    AT_MS,
    MISSING,
    MONEY_SCALE,
    PRODUCERS,
    QUANTITY_SCALE,
    SCALES,
    START_MS,
    Orders,
    category_names,
    make_orders,
    producer_name,
    product_name,
    source_names,
)
from bench.orders.own import order_batch
from bench.orders.sql import count_query
from segidx.ingest.event_rows import orders_from_rows
from segidx.model.events import Order, OrderLine
from segidx.model.expression import Expression
from segidx.model.schema import AccountInfo
from segidx.model.syntax import parse
from segidx.model.windows import from_millis

needs_duckdb = pytest.mark.skipif(importlib.util.find_spec("duckdb") is None, reason="duckdb is not installed")
SIZE = 10_000


def test_smoke_run_agrees_and_reports_in_the_common_shape(
    loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "SHORT_SECONDS", 0.001)
    out = tmp_path / "events.json"
    assert main(["events", "--rounds", "1", "--dir", str(loaded), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["bench"], report["scale"], report["contacts"]) == ("events", "smoke", SCALES["smoke"])
    names = [case.name for case in make_cases()]
    assert [case["case"] for case in report["cases"]] == [*names, *(f"{name}_unmerged" for name in names)]
    for case in report["cases"]:
        assert case["unit"] == "ms"
        assert case["segidx"] > 0
        assert case["segidx_evaluate"] > 0
        if importlib.util.find_spec("duckdb"):
            peers = case["peers"]
            assert peers["duckdb"] == min(peers["duckdb_by_time"], peers["duckdb_by_contact"]) > 0
    printed = capsys.readouterr().out
    assert "producer_10: sum of producer 10 > 300 in 6 months" in printed
    assert printed.count(f"answers agree: {len(names)} expressions") == 2
    assert "unmerged: 285 orders" in printed
    assert "orders/s" in printed


def test_answers_only_times_nothing_and_reuses_what_is_loaded(
    loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "measure", lambda *_: pytest.fail("it was timed"))
    out = tmp_path / "events.json"
    for _ in range(2):
        assert main(["events", "--answers-only", "--dir", str(loaded), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "load segidx: loaded before" in printed
    case = json.loads(out.read_text())["cases"][0]
    assert case["segidx"] is None
    assert case["peers"]["duckdb"] is None


@needs_duckdb
def test_a_disagreement_fails_the_run_and_names_the_expression(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.orders.duckdb_peer import DuckDbOrders

    right = DuckDbOrders.prepare

    def wrong(self: DuckDbOrders, expression: Expression) -> object:
        run = right(self, expression)
        return (lambda: run() + 1) if self.name == "duckdb_by_contact" else run

    monkeypatch.setattr(DuckDbOrders, "prepare", wrong)
    monkeypatch.setattr(events, "measure", lambda *_: pytest.fail("it was timed"))
    assert main(["events", "--dir", str(loaded)]) == 1
    complaints = capsys.readouterr().err
    assert complaints.count("answers disagree: ") == SHOWN
    assert f"answers disagree on {len(make_cases()) - SHOWN} expressions more" in complaints
    assert "three_orders 0: embedded " in complaints
    assert "count(order during last 90 days) >= 3" in complaints


def test_a_peer_that_is_not_installed_is_null_with_a_reason(
    loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "bench.orders.duckdb_peer", raising=False)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    out = tmp_path / "events.json"
    assert main(["events", "--answers-only", "--dir", str(loaded), "--json", str(out)]) == 0
    assert "duckdb is left out: " in capsys.readouterr().err
    for case in json.loads(out.read_text())["cases"]:
        assert case["peers"] == {"duckdb": None, "chdb": None}


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--seed", "-1"], ["--scale", "huge"]])
def test_wrong_options(options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["events", *options])
    assert ended.value.code == 2


def test_pieces_are_in_time_order_and_follow_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.orders.corpus.PIECE", 3_000)
    pieces, again, other = (list(make_orders(5_000, seed).pieces()) for seed in (1, 1, 2))
    assert [piece.first for piece in pieces] == [0, 3_000, 6_000, 9_000]
    times = np.concatenate([piece.time for piece in pieces])
    assert np.all(np.diff(times) >= 0)
    assert START_MS <= times[0] <= times[-1] < AT_MS
    assert len(times) == 10_000
    assert all(np.array_equal(a.product, b.product) for a, b in zip(pieces, again, strict=True))
    assert not np.array_equal(pieces[0].product[:100], other[0].product[:100])


def test_few_contacts_products_and_producers_have_most() -> None:
    corpus = make_orders(SIZE, 3)
    pieces = list(corpus.pieces())
    lines = np.concatenate([piece.product for piece in pieces])
    assert 2.3 < len(lines) / corpus.orders < 2.7
    sold = np.bincount(lines)
    assert sold[0] > sold[100] > sold[1000] > 0
    made = np.bincount(np.concatenate([piece.producer for piece in pieces]), minlength=PRODUCERS)
    assert made[0] > 2 * made[9] > 4 * made[99] > 0
    orders = np.sort(np.bincount(np.concatenate([piece.contact for piece in pieces]), minlength=SIZE))
    assert 80 < orders[-1] < 400
    assert np.median(orders) <= 1
    assert orders[-SIZE // 100 :].sum() > corpus.orders / 10


def test_the_batch_is_what_the_rows_of_a_caller_make() -> None:
    """Amounts, and what counts, are the corpus's own; segidx works them out alike from the bare rows."""
    piece = next(make_orders(1_000, 4).pieces())
    batch = order_batch(piece)
    made = orders_from_rows(_rows(piece), AccountInfo("any"), AT_MS)
    assert not made.rejects
    assert made.ids.equals(batch.ids)
    assert made.contacts.equals(batch.contacts)
    assert np.array_equal(made.times, batch.times)
    assert np.array_equal(made.line_counts, batch.line_counts)
    for ours, theirs in zip((*batch.properties, *batch.lines), (*made.properties, *made.lines), strict=True):
        assert np.array_equal(ours.present, theirs.present)
        rows = np.flatnonzero(ours.present)
        a, b = (column.take(rows).values for column in (ours, theirs))
        assert a.equals(b) if isinstance(a, pa.Array) else np.array_equal(a, b)
    assert np.array_equal(batch.properties[-1].values != 0, piece.counts)
    assert not piece.counts.all()
    assert (piece.line_counts == 0).any()


def _rows(piece: Orders) -> Iterator[Order]:
    """The piece without what follows from the rest of it."""

    def name(number: int, names: list[str]) -> str | None:
        return None if number == MISSING else names[number]

    ids, ends = piece.ids(), np.cumsum(piece.line_counts).tolist()
    for row, (end, count) in enumerate(zip(ends, piece.line_counts.tolist(), strict=True)):
        lines = [
            OrderLine(
                product=product_name(int(piece.product[at]) + 1),
                producer=producer_name(int(piece.producer[at]) + 1),
                category=name(int(piece.category[at]), category_names()),
                quantity=Decimal(int(piece.quantity[at])).scaleb(-QUANTITY_SCALE),
                unit_price=Decimal(int(piece.unit_price[at])).scaleb(-MONEY_SCALE),
            )
            for at in range(end - count, end)
        ]
        yield Order(
            ids[row],
            f"c{piece.contact[row]:09d}",
            from_millis(int(piece.time[row])),
            source=name(int(piece.source[row]), source_names()),
            paid=None if piece.paid[row] == MISSING else bool(piece.paid[row]),
            amount=None if lines else Decimal(int(piece.amount[row])).scaleb(-MONEY_SCALE),
            lines=lines,
        )


@pytest.mark.parametrize(
    "text",
    [
        "count(order) > 0.5",
        "sum(line.amount) < 3",
        "did(line where quantity > 1)",
        "did(order older than 1 year)",
        'band(spend) = "none"',
    ],
)
def test_what_the_cases_do_not_ask_is_not_translated_wrongly(text: str) -> None:
    with pytest.raises(TypeError):
        count_query(parse(text))
