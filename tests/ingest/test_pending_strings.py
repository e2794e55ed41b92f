"""Strings that a group of batches gives codes to: a large batch's are kept otherwise, and mean the same."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from segidx.ingest import pending
from segidx.ingest.pending import PendingStrings


class Stored:
    """A table that has some strings."""

    def __init__(self, strings: list[str]) -> None:
        self.codes = {text: code for code, text in enumerate(strings)}

    def __len__(self) -> int:
        return len(self.codes)

    def find(self, strings: pa.Array) -> npt.NDArray[np.int64]:
        return np.array([self.codes.get(text, -1) for text in strings.to_pylist()], np.int64)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("many", [1, 5, 10_000])
@pytest.mark.parametrize("remembers", [False, True])
def test_codes_are_given_in_order_of_first_appearance(
    monkeypatch: pytest.MonkeyPatch, seed: int, many: int, remembers: bool
) -> None:
    monkeypatch.setattr(pending, "MANY", many)
    pick = random.Random(seed)
    words = [f"w{n}" for n in range(40)]
    stored = Stored(pick.sample(words, pick.randint(0, 10)))
    table = PendingStrings(stored, {} if remembers else None)  # type: ignore[arg-type]
    codes = dict(stored.codes)
    marks = [table.mark()]
    for _ in range(12):
        some = [pick.choice(words) for _ in range(pick.choice((0, 1, 6, 20)))]
        match pick.choice(("insert", "insert", "find", "mark", "forget")):
            case "insert":
                assert table.insert(pa.array(some, pa.string())).tolist() == [
                    codes.setdefault(s, len(codes)) for s in some
                ]
            case "find":
                assert table.find(pa.array(some, pa.string())).tolist() == [codes.get(s, -1) for s in some]
            case "mark":
                marks.append(table.mark())
            case "forget":
                at = marks[-1]
                table.forget(at)
                codes = {text: code for text, code in codes.items() if code < len(stored) + at}
                marks = [mark for mark in marks if mark <= at]
        assert len(table) == len(codes)
        new = table.new_strings()
        listed = [text for text, code in codes.items() if code >= len(stored)]
        assert ([] if new is None else new.strings.to_pylist()) == listed
        assert new is None or new.first == len(stored)
