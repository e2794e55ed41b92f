"""Where rows of a CSV text end, and which of them are ragged."""

from __future__ import annotations

import pytest

from segidx.kernels._csv import next_ragged

COMMA = ord(",")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", (0, 0, 0, 0)),
        (b"\n\r\n\r", (0, 4, 4, 0)),
        (b"a,b\nc,d\n", (2, 8, 8, 0)),
        (b"a,b\r\n\r\nc,d\re,f\n", (3, 15, 15, 0)),
        (b"a,b\nc\nd,e\n", (1, 4, 6, 1)),
        (b"a,b,c\nd,e\n", (0, 0, 6, 3)),
        (b"a,b\n,\n,,\n", (2, 6, 9, 3)),
        (b'"a,\n""\r",b\n"c"d"e,f\n', (2, 20, 20, 0)),  # a quote in the middle of a cell is one
        (b'a"b,c"\n"d,e"\n', (1, 7, 13, 1)),
        (b"a,b\r\nc\r\n", (1, 5, 8, 1)),
        (b" \n", (0, 0, 2, 1)),
    ],
)
def test_rows_up_to_a_ragged_one(text, found):
    for final in (False, True):
        assert next_ragged(text, 0, COMMA, 2, final) == found
    assert next_ragged(memoryview(b"zz" + text), 2, COMMA, 2, True) == tuple(
        n + 2 if i in (1, 2) else n for i, n in enumerate(found)
    )


@pytest.mark.parametrize(
    ("text", "cells"),
    [(b"c", 1), (b"c,d,e", 3), (b"c,d,", 3), (b'c,d,"', 3), (b'"c\nd', 1), (b'"c"', 1), (b'"c""', 1), (b'c,"d",""', 3)],
)
def test_what_ends_without_a_line_s_end_is_whole_at_the_end_alone(text, cells):
    text = b"a,b\n" + text
    assert next_ragged(text, 0, COMMA, 2, False) == (1, 4, 4, 0)
    assert next_ragged(text, 0, COMMA, 2, True) == (1, 4, len(text), cells)


def test_another_delimiter_and_going_on():
    text = b"a;b\n1,2;3\n4,5\n6;7;8\n9;9\n"
    assert next_ragged(text, 0, ord(";"), 2, True) == (2, 10, 14, 1)
    assert next_ragged(text, 14, ord(";"), 2, True) == (0, 14, 20, 3)
    assert next_ragged(text, 20, ord(";"), 2, True) == (1, 24, 24, 0)
    assert next_ragged(text, 24, ord(";"), 2, True) == (0, 24, 24, 0)
