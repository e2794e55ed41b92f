"""The load benchmark end to end on its smallest corpus, and its files: what they say is what the corpus has."""

from __future__ import annotations

import importlib.util
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.__main__ import main
from bench.load import BYTES_A_KEY, PEERS, Bar
from bench.loading import child
from bench.loading.files import store_files
from bench.orders.corpus import MISSING, SCALES, make_orders, product_name

needs_duckdb = pytest.mark.skipif(importlib.util.find_spec("duckdb") is None, reason="duckdb is not installed")
SIZE = 2_000


@needs_duckdb
def test_smoke_run_agrees_and_reports(loaded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "load.json"
    assert main(["load", "--dir", str(loaded), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["bench"], report["contacts"], report["orders"]) == ("load", SCALES["smoke"], 2 * SCALES["smoke"])
    assert set(report["loads"]) == {"segidx", *PEERS}
    for one in report["loads"].values():
        assert one["seconds"] > 0
        assert one["memory"] >= one["anonymous"] > 0
    assert report["disk"]["events"] > 0
    assert report["disk"]["file"] > sum(report["disk"][part] for part in ("events", "postings", "rest"))
    # What a key takes lies near what docs/FORMAT.md says it must hold: the string, and 8 bytes of a bucket.
    assert all(12 < each < BYTES_A_KEY for each in report["disk"]["ids"].values())
    assert [bar["limit"] for bar in report["bars"]] == [4, 6, 2.5, 60, 60]
    printed = capsys.readouterr().out
    assert "answers agree: 5 expressions, embedded, duckdb-by-contact" in printed
    assert printed.count("- bar, ") == 5


def test_answers_only_reports_no_figures(loaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--dir", str(loaded), "--answers-only", "--peers"]) == 0
    printed = capsys.readouterr().out
    assert "answers agree: 5 expressions, embedded" in printed
    assert "bar" not in printed


@needs_duckdb
def test_a_disagreement_fails_the_run(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.loading.duckdb_peer import JoinedOrders

    right = JoinedOrders.prepare
    monkeypatch.setattr(JoinedOrders, "prepare", lambda self, e: lambda: right(self, e)() + 1)
    assert main(["load", "--dir", str(loaded)]) == 1
    assert capsys.readouterr().err.count("answers disagree: ") == 5


def test_a_load_that_fails_is_said(tmp_path: Path) -> None:
    files = store_files(make_orders(10), tmp_path)
    files.orders.write_bytes(b"PAR1 no more")
    with pytest.raises(RuntimeError, match="loading segidx failed"):
        child.load("segidx", files, tmp_path / "segidx")


def test_a_bar_says_whether_it_is_met() -> None:
    assert Bar("times", 3.0, 4.0).text() == "- bar, times: 3 (4): met"
    assert Bar("times", 4.5, 4.0).text() == "- bar, times: 4.5 (4): missed"
    assert Bar("times", None, 4.0).text() == "- bar, times: not measured (4)"


def test_the_files_are_the_corpus(tmp_path: Path) -> None:
    corpus = make_orders(SIZE)
    files = store_files(corpus, tmp_path)
    contacts, orders = pq.read_table(files.contacts), pq.read_table(files.orders)
    assert contacts["contact_id"].to_pylist() == corpus.ids(0, SIZE)
    tagged = [row for row, tags in enumerate(contacts["tags"].to_pylist()) if tags]
    assert tagged == corpus.tagged.tolist()
    (piece,) = corpus.pieces()
    at = np.maximum(piece.line_counts, 1)
    assert orders.num_rows == at.sum()
    assert files.lines == len(piece.product) == orders.num_rows - orders["product"].null_count
    firsts = np.cumsum(at) - at
    assert orders["order_id"].take(firsts).to_pylist() == piece.ids()
    assert [int(a * 100) for a in orders["order_amount"].take(firsts).to_pylist()] == piece.amount.tolist()
    lines = orders.filter(orders["product"].is_valid())
    assert lines["product"].to_pylist() == [product_name(n + 1) for n in piece.product.tolist()]
    assert lines["quantity"].to_pylist() == [Decimal(int(q)) / 1000 for q in piece.quantity.tolist()]
    assert [int(a * 100) for a in lines["amount"].to_pylist()] == piece.line_amount.tolist()
    assert lines["category"].null_count == int((piece.category == MISSING).sum())
    again = store_files(corpus, tmp_path)
    assert again == files
