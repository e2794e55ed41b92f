"""What the import of every file does whatever its rows are: batches one ahead, refused rows, counts, progress."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from segidx.ingest import importing
from segidx.ingest.importing import SHOWN_REJECTS, Import, ahead, in_parts, numbered
from segidx.model.errors import InvalidArgument, InvalidSource, TooManyRejects
from segidx.model.results import Reject

WAIT = 10.0


@dataclass(frozen=True)
class Batch:
    ids: pa.Array
    rejects: Sequence[Reject] = ()


@dataclass(frozen=True)
class Result:
    generation: int
    created: int


def batch(*ids: str, rejects: Sequence[Reject] = ()) -> Batch:
    return Batch(pa.array(ids, pa.string()), rejects)


def refused(index: int, why: str = "bad") -> Reject:
    return Reject(index, f"c{index}", "score", "INVALID_VALUE", why)


def listed(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("id,score\na,1\nb,2\n", encoding="utf-8")
    return path


def test_batches_are_counted_when_they_are_written(source: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    with Import(source, None, lambda *said: told.append(said)) as work:
        work.looking(2)
        seen = []
        for each in work.batches(iter([(3, batch("a", "b", rejects=[refused(2)])), (2, batch("c", "d"))])):
            seen.append((each.ids.to_pylist(), work.rows, work.rejected))
            work.wrote(Result(7 + len(seen), 1))
    assert seen == [(["a", "b"], 0, 0), (["c", "d"], 3, 1)]
    assert (work.rows, work.rejected, work.created, work.generation) == (5, 1, 2, 9)
    assert [(phase, done) for phase, done, _total in told] == [("looking", 2), ("importing", 3), ("importing", 5)]
    assert work.shown == [refused(2)]
    assert work.reject_path == source.with_name("rows.csv.rejects.csv")
    assert listed(work.reject_path)[1:] == [["2", "c2", "score", "INVALID_VALUE", "bad"]]
    assert work.seconds > 0


def test_without_refused_rows_there_is_no_list(source: Path) -> None:
    stale = source.with_name("rows.csv.rejects.csv")
    with Import(source, None, None) as work:
        work._refuse([refused(0)])
    assert stale.exists()
    with Import(source, None, None) as work:
        assert [each.ids.to_pylist() for each in work.batches(iter([(1, batch("a"))]))] == [["a"]]
    assert work.reject_path is None
    assert not stale.exists()  # that of the import before says nothing of this one


def test_what_the_account_refuses_is_listed_among_the_rest_by_row(source: Path, tmp_path: Path) -> None:
    where = tmp_path / "mine.csv"
    own = [refused(1), refused(5)]
    with Import(source, where, None, id_column="product_id") as work:
        for each in work.batches(iter([(6, batch("a", rejects=own)), (1, batch("b"))])):
            if each.rejects:
                work.also_refused(each, [*own, refused(3, "too large")])
    assert work.rejected == 3
    head, *rows = listed(where)
    assert head == ["row", "product_id", "field", "reason", "message"]
    assert [(row[0], row[4]) for row in rows] == [("1", "bad"), ("3", "too large"), ("5", "bad")]


def test_late_refusals_have_no_row(source: Path) -> None:
    own = [refused(1)]
    with Import(source, None, None) as work:
        for each in work.batches(iter([(2, batch("a", rejects=own))])):
            work.refuse_late(each, [*own, refused(0, "no such field any more")])
    assert work.rejected == 2
    assert work.reject_path is not None
    assert [row[0] for row in listed(work.reject_path)[1:]] == ["", "1"]


@pytest.mark.parametrize("said", [None, "none of the orders is good"])
def test_a_first_batch_without_a_good_row_ends_the_import(source: Path, said: str | None) -> None:
    with Import(source, None, None) as work:
        batches = work.batches(iter([(2, batch(rejects=[refused(0, "first"), refused(1)]))]), said=said)
        with pytest.raises(TooManyRejects) as caught:
            next(batches)
    begins = said or f"all of the first 2 rows of {source} were refused, so nothing was imported"
    assert caught.value.message.startswith(f"{begins}; the first: first; all are listed in ")
    assert caught.value.metadata["reason_of_first"] == "INVALID_VALUE"
    assert work.reject_path is not None
    assert len(listed(work.reject_path)) == 3


def test_later_batches_may_be_all_bad_and_empty_ones_come_first(source: Path) -> None:
    pieces = [(0, batch()), (1, batch("a")), (2, batch(rejects=[refused(1), refused(2)]))]
    with Import(source, None, None) as work:
        assert len(list(work.batches(iter(pieces)))) == 3
    assert (work.rows, work.rejected) == (3, 2)


def test_the_first_refused_rows_are_shown(source: Path) -> None:
    many = [refused(index) for index in range(SHOWN_REJECTS - 1)]
    with Import(source, None, None) as work:
        pieces = [(100, batch("a", rejects=many)), (100, batch("b", rejects=[refused(200), refused(201)]))]
        assert len(list(work.batches(iter(pieces)))) == 2
    assert work.shown == [*many, refused(200)]
    assert work.rejected == SHOWN_REJECTS + 1


def test_files_that_are_not_ours(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSource):
        Import(tmp_path / "none.csv", None, None)
    with pytest.raises(InvalidArgument, match="not a list of refused rows"), Import(source, source, None):
        pytest.fail("the source would be replaced")


def test_the_list_is_put_in_place_when_the_import_fails(source: Path) -> None:
    def fails() -> Iterator[tuple[int, Batch]]:
        yield 1, batch("a", rejects=[refused(0)])
        raise OSError("gone")

    seen = []
    with pytest.raises(OSError, match="gone"), Import(source, None, None) as work:
        seen += list(work.batches(fails()))
    assert work.rows == 1
    assert work.reject_path is not None
    assert len(listed(work.reject_path)) == 2


def test_batches_are_numbered_by_their_first_rows() -> None:
    pieces = [pa.RecordBatch.from_pydict({"a": list(range(size))}) for size in (3, 0, 2)]
    found = list(numbered(iter(pieces), lambda rows, first: (first, rows.num_rows)))
    assert found == [(3, (0, 3)), (0, (3, 0)), (2, (3, 2))]


def test_the_next_one_is_made_while_the_caller_works() -> None:
    second, makers = threading.Event(), set()

    def made() -> Iterator[int]:
        makers.add(threading.current_thread())
        yield 1
        second.set()
        yield 2

    coming = ahead(made())
    assert next(coming) == 1
    assert second.wait(WAIT)  # though nobody has asked for it
    assert list(coming) == [2]
    assert threading.current_thread() not in makers
    assert list(ahead(iter(()))) == []


def test_what_the_reader_raises_comes_in_its_turn() -> None:
    def made() -> Iterator[int]:
        yield 1
        raise InvalidSource("broken")

    coming = ahead(made())
    assert next(coming) == 1
    with pytest.raises(InvalidSource):
        next(coming)


def test_rows_go_out_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "REMOTE_ROWS", 3)
    assert list(in_parts(iter(range(7)))) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_parts(iter(range(6)))) == [[0, 1, 2], [3, 4, 5]]
    assert list(in_parts(iter(()))) == []
