"""Files: every format read whole and in bounded batches, and every way of being broken told by name."""

from __future__ import annotations

import gzip
import random

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from segidx.ingest.sources import open_source
from segidx.model.errors import InvalidSource

TABLE = pa.table({"id": [f"c{i}" for i in range(25)], "n": list(range(25)), "a.b": [None] * 5 + ["x"] * 20})


def write(path, kind):
    if kind == "parquet":
        pq.write_table(TABLE, path, row_group_size=7)
    elif kind == "arrow file":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
            for batch in TABLE.to_batches(max_chunksize=4):
                writer.write_batch(batch)
    elif kind == "arrow stream":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=11)
    else:
        pa.csv.write_csv(TABLE, path)
    return path


@pytest.mark.parametrize("kind", ["parquet", "arrow file", "arrow stream", "csv"])
@pytest.mark.parametrize("rows", [1, 6, 25, 1000])
def test_every_format_in_batches(tmp_path, kind, rows):
    source = open_source(write(tmp_path / f"contacts.{'csv' if kind == 'csv' else 'data'}", kind))
    assert source.format == kind
    assert source.columns == ["id", "n", "a.b"]
    assert source.rows == (25 if kind in ("parquet", "arrow file") else None)
    batches = list(source.batches(["a.b", "id"], rows))
    assert [b.num_rows for b in batches] == [rows] * (25 // rows) + ([25 % rows] if 25 % rows else [])
    found = pa.Table.from_batches(batches)
    assert found.column_names == ["a.b", "id"]
    text = found.cast(pa.schema([("a.b", pa.string()), ("id", pa.string())]))
    assert text.to_pydict() == TABLE.select(["a.b", "id"]).to_pydict()


def test_feather_and_dictionaries_that_differ(tmp_path):
    path = tmp_path / "contacts.feather"
    column = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()])
    pa.feather.write_feather(pa.table({"id": [1, 2, 3, 4], "x": column}).unify_dictionaries(), path, chunksize=2)
    (batch,) = open_source(path).batches(["x"])
    assert batch.column("x").to_pylist() == ["a", "b", "c", "a"]


def csv_rows(path, **options):
    source = open_source(path)
    return [row for batch in source.batches(source.columns, **options) for row in batch.to_pylist()]


def test_csv_as_it_comes(tmp_path):
    path = tmp_path / "contacts.csv"
    path.write_bytes('\ufeffid;"na;me"\r\n007;"x\r\ny"\r\n8;\r\n"";NA\r\n9;"say ""hi"""\r\n'.encode() + b"10;\xff\r\n")
    assert csv_rows(path) == [
        {"id": b"007", "na;me": b"x\r\ny"},
        {"id": b"8", "na;me": None},
        {"id": None, "na;me": b"NA"},
        {"id": b"9", "na;me": b'say "hi"'},
        {"id": b"10", "na;me": b"\xff"},
    ]


def test_tsv_and_gzip(tmp_path):
    tsv, gz = tmp_path / "a.tsv", tmp_path / "a.csv.gz"
    tsv.write_text("id\tv\n1\ta,b,c\n")
    gz.write_bytes(gzip.compress(b"id,v\n1,2\n"))
    assert csv_rows(tsv) == [{"id": b"1", "v": b"a,b,c"}]
    assert csv_rows(gz) == [{"id": b"1", "v": b"2"}]


def test_csv_with_a_header_alone(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,v\n")
    assert csv_rows(path) == []
    path.write_text("id,v")
    assert csv_rows(path) == []


def test_csv_of_several_blocks(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w") as file:
        file.write("id,v\n")
        for i in range(40_000):
            file.write(f"c{i},{'x' * 300}\n")
    source = open_source(path)
    batches = list(source.batches(["id"], 15_000))
    assert [b.num_rows for b in batches] == [15_000, 15_000, 10_000]
    assert batches[2].column("id")[-1].as_py() == b"c39999"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.parquet", b"", "is empty"),
        ("a.parquet", b"id,v\n1,2\n", "does not begin as Parquet"),
        ("a.arrow", b"id,v\n1,2\n", "does not begin as Arrow"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("a.arrow", b"ARROW1\0\0 and no more", "cannot be read as Arrow"),
        ("a.arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00abc", "cannot be read as Arrow"),
        ("a.xlsx", b"PK\3\4 zip", "of no known format; Parquet, Arrow"),
        ("a.csv", "id,v\n1,2".encode("utf-16"), "UTF-16"),
        ("a.csv", b"id,na\xefve\n1,2\n", "header of .* is not UTF-8"),
        ("a.csv", b"id,v,id\n1,2,3\n", "more than one column 'id'"),
        ("a.csv", b"\n", "no header line"),
        ("a.csv.gz", b"not gzip at all", "cannot be read as CSV"),
    ],
)
def test_broken_files(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidSource, match=says) as caught:
        open_source(path)
    assert name in caught.value.message
    assert "\n" not in caught.value.message


def test_files_that_break_while_being_read(tmp_path):
    gz = tmp_path / "a.csv.gz"
    gz.write_bytes(gzip.compress(b"id,v\n" + random.Random(1).randbytes(1 << 20).hex().encode())[:-200_000])
    with pytest.raises(InvalidSource, match=r"a\.csv\.gz cannot be read as csv"):
        csv_rows(gz)
    cut = write(tmp_path / "a.parquet", "parquet")
    content = bytearray(cut.read_bytes())
    content[20:200] = bytes(180)
    cut.write_bytes(content)
    with pytest.raises(InvalidSource, match=r"a\.parquet cannot be read as parquet"):
        list(open_source(cut).batches(["id", "n"]))


def test_a_missing_file_directory_or_column(tmp_path):
    with pytest.raises(InvalidSource, match="there is no file"):
        open_source(tmp_path / "no.csv")
    with pytest.raises(InvalidSource, match="cannot be read: Is a directory"):
        open_source(tmp_path)
    source = open_source(write(tmp_path / "a.parquet", "parquet"))
    with pytest.raises(
        InvalidSource, match=r"no column 'ID' \(did you mean 'id'\?\); its columns are 'id', 'n', 'a\.b'"
    ):
        source.column("ID")
