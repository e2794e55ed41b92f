"""Files to import: Parquet, CSV (also TSV and gzipped) and Arrow IPC, opened by what they contain and read in record
batches, so that memory stays bounded whatever the file's size. Imports the model and its neighbours only.

Columns of a CSV file are given as binary: every value is parsed by the rules of its field, so that numbers stay exact
and a value that does not fit refuses its row and not the file. An empty CSV cell is null. A line of another number of
cells than the header is a row that is refused too (`segidx.ingest.ragged`).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from segidx.ingest.ragged import BOM, blocks, pieces, with_ragged, without_ragged
from segidx.model.errors import InvalidSource, nearest

BATCH_ROWS = 100_000
_CSV_BLOCK = 8 << 20  # bytes; also the longest CSV row
_HEADER = 1 << 20  # bytes within which a CSV header must end
_DELIMITERS = ",;\t|"
_RAGGED = re.compile(r"Expected \d+ columns, got \d+")  # how pyarrow refuses a file for one line


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read, several times over. `rows` is None where only reading tells; `is_text` says that the
    columns are unparsed text (CSV)."""

    path: Path
    format: str  # "parquet", "csv", "arrow file", "arrow stream"
    schema: pa.Schema
    rows: int | None = None
    is_text: bool = False
    delimiter: str = ","

    @property
    def columns(self) -> list[str]:
        return list(self.schema.names)

    def column(self, name: str) -> pa.DataType:
        """The type of a column; raises InvalidSource that lists the columns there are."""
        if name not in self.schema.names:
            close = nearest(name, self.columns)
            listed = ", ".join(map(repr, self.columns[:50])) + (", …" if len(self.columns) > 50 else "")
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InvalidSource(
                f"{self.path} has no column {name!r}{hint}; its columns are {listed}", column=name, file=self.path
            )
        return self.schema.field(name).type

    def batches(
        self,
        columns: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        coded: Collection[str] = (),
        *,
        ragged: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """The file's rows in order, with these columns, in batches of `batch_rows` (the last may be shorter). Columns
        of strings that are to be `coded` may come dictionary-encoded, which spares much. Lines of a CSV file that have
        too many or too few cells are left out, or with `ragged` are rows of nulls, and batches of CSV files have a
        column more (`ragged.RAGGED`), which tells what is wrong with them.

        Raises InvalidSource where the file turns out to be broken.
        """
        if self.rows == 0:
            return
        with _broken(self.path, self.format):
            found = self._read(list(columns), batch_rows, coded)
            if self.format == "csv" and not ragged:
                found = map(without_ragged, found)
            yield from _rebatched(found, batch_rows)

    def _read(self, columns: list[str], batch_rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        if self.format == "parquet":
            plain = [c for c in coded if pa.types.is_string(self.schema.field(c).type)]
            with pa.parquet.ParquetFile(self.path, read_dictionary=plain) as file:
                for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
                    yield batch.select(columns)
        elif self.format == "csv":
            yield from self._read_csv(columns)
        elif self.format == "arrow file":
            with pa.memory_map(str(self.path)) as memory, pa.ipc.open_file(memory) as reader:
                for i in range(reader.num_record_batches):
                    yield reader.get_batch(i).select(columns)
        else:
            with pa.OSFile(str(self.path)) as stream, pa.ipc.open_stream(stream) as reader:
                for batch in reader:
                    yield batch.select(columns)

    def _read_csv(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a CSV file, with the column RAGGED behind the others. Mostly no line is ragged, and pyarrow reads
        ahead; from the first block that has one on, each is looked through before it is read."""
        rows = 0
        try:
            # Not closed by name: when it is left, pyarrow may still be reading ahead on a thread of its own, which
            # would go on with the number of the closed file, by then that of the next one that is opened, and take away
            # what is to be read there. The file closes with the last who holds it.
            for batch in _csv_reader(_text_of(self.path), columns, self.delimiter):
                yield with_ragged(batch)
                rows += batch.num_rows
        except pa.ArrowInvalid as error:
            if not _RAGGED.search(str(error)):
                raise
        else:
            return
        with _text_of(self.path) as stream:
            yield from self._read_ragged(stream, columns, rows)

    def _read_ragged(self, stream: pa.NativeFile, columns: list[str], start: int) -> Iterator[pa.RecordBatch]:
        """The rows from the one numbered `start` on."""

        def read(text: bytes) -> pa.RecordBatch:
            return _csv_rows(text, columns, self.columns, self.delimiter)

        first = 0
        for block in blocks(stream, self.delimiter, len(self.columns), _CSV_BLOCK):
            if first + block.rows > start:
                yield from pieces(block, max(0, start - first), read, self._ragged)
            first += block.rows

    def _ragged(self, cells: int) -> str:
        """What is said of a line of so many cells."""
        columns = len(self.columns)
        what = (
            "write an empty cell for what is not set"
            if cells < columns
            else "put a cell that holds the delimiter in quotes"
        )
        return (
            f"the line has {_counted(cells, 'cell')} and the header {_counted(columns, 'column')}, which are parted by"
            f" {self.delimiter!r}; {what}"
        )


def open_source(path: str | Path) -> Source:
    """The file, opened by its first bytes and, for text, by its name. Raises InvalidSource naming the file and what
    is wrong with it."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise InvalidSource(f"there is no file {path}", file=path) from error
    except OSError as error:
        raise InvalidSource(f"{path} cannot be read: {error.strerror}", file=path) from error
    if not start:
        raise InvalidSource(f"{path} is empty", file=path)
    suffixes = [s.lower() for s in path.suffixes[-2:]]
    with _broken(path, _format_named(suffixes)):
        if start.startswith(b"PAR1"):
            return _open_parquet(path)
        if start.startswith(b"ARROW1"):
            return _open_arrow_file(path)
        if start.startswith(b"\xff\xff\xff\xff"):
            with pa.OSFile(str(path)) as stream, pa.ipc.open_stream(stream) as reader:
                return _distinct(Source(path, "arrow stream", reader.schema))
        if start.startswith(b"FEA1"):
            raise InvalidSource(f"{path} is Feather version 1, which is not read; write version 2 (Arrow)", file=path)
        if set(suffixes) & {".parquet", ".pq", ".arrow", ".feather", ".ipc"}:
            raise InvalidSource(
                f"{path} does not begin as {_format_named(suffixes)} does;"
                " it may be cut short or be something else under this name",
                file=path,
            )
        if set(suffixes) & {".csv", ".tsv", ".txt"}:
            return _open_csv(path, is_tsv=".tsv" in suffixes)
    raise InvalidSource(
        f"{path} is of no known format; Parquet, Arrow (.arrow, .feather) and CSV (.csv, .tsv, .csv.gz) are read",
        file=path,
    )


def _format_named(suffixes: Sequence[str]) -> str:
    return "Parquet" if set(suffixes) & {".parquet", ".pq"} else "CSV" if ".csv" in suffixes else "Arrow"


@contextmanager
def _broken(path: Path, format_: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())
        raise InvalidSource(
            f"{path} cannot be read as {format_}: {what[:300]}; write the file again or check that it is whole",
            file=path,
        ) from error


def _distinct(source: Source) -> Source:
    """The source, unless two of its columns have one name."""
    twice = [name for name, times in Counter(source.columns).items() if times > 1]
    if twice:
        raise InvalidSource(f"{source.path} has more than one column {twice[0]!r}; rename one", file=source.path)
    return source


def _open_parquet(path: Path) -> Source:
    with pa.parquet.ParquetFile(path) as file:
        return _distinct(Source(path, "parquet", file.schema_arrow, rows=file.metadata.num_rows))


def _open_arrow_file(path: Path) -> Source:
    with pa.memory_map(str(path)) as memory, pa.ipc.open_file(memory) as reader:
        schema = reader.schema
    rows = pa.dataset.dataset(path, format="ipc").count_rows()
    return _distinct(Source(path, "arrow file", schema, rows=rows))


def _open_csv(path: Path, *, is_tsv: bool) -> Source:
    with _text_of(path) as stream:
        start = stream.read(_HEADER)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InvalidSource(f"{path} is UTF-16; save it as UTF-8", file=path)
    text = start.decode("utf-8-sig", errors="replace")
    line = text.split("\n", 1)[0]
    delimiter = "\t" if is_tsv else max(_DELIMITERS, key=_unquoted(line).count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = next(lines, [])
    if not names:
        raise InvalidSource(f"{path} has no header line with the names of its columns", file=path)
    if any("\ufffd" in name for name in names):
        raise InvalidSource(f"the header of {path} is not UTF-8; save the file as UTF-8", file=path)
    schema = pa.schema([(name, pa.binary()) for name in names])
    is_empty = len(start) < _HEADER and next(lines, None) is None
    return _distinct(Source(path, "csv", schema, rows=0 if is_empty else None, is_text=True, delimiter=delimiter))


def _unquoted(line: str) -> str:
    return "".join(line.split('"')[::2])


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _text_of(path: Path) -> pa.NativeFile:
    """The text of a CSV file, which may be compressed."""
    return pa.input_stream(str(path), compression="detect")


def _csv_reader(stream: object, columns: list[str], delimiter: str) -> Iterator[pa.RecordBatch]:
    yield from pa.csv.open_csv(
        stream,
        read_options=pa.csv.ReadOptions(block_size=_CSV_BLOCK),
        parse_options=_csv_parsing(delimiter),
        convert_options=_csv_columns(columns),
    )


def _csv_rows(text: bytes, columns: list[str], names: list[str], delimiter: str) -> pa.RecordBatch:
    """These columns of rows that all have a cell for each of the `names`."""
    if not text:
        return pa.RecordBatch.from_pylist([], pa.schema([(name, pa.binary()) for name in columns]))
    # Of a mark of UTF-8 that begins what is read, pyarrow takes one away: here it is part of a cell.
    given = BOM + text if text.startswith(BOM) else text
    table = pa.csv.read_csv(
        pa.BufferReader(given),
        read_options=pa.csv.ReadOptions(column_names=names, block_size=len(given)),
        parse_options=_csv_parsing(delimiter),
        convert_options=_csv_columns(columns),
    )
    return table.combine_chunks().to_batches()[0]


def _csv_parsing(delimiter: str) -> pa.csv.ParseOptions:
    return pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)


def _csv_columns(columns: list[str]) -> pa.csv.ConvertOptions:
    return pa.csv.ConvertOptions(
        check_utf8=False,
        column_types={name: pa.binary() for name in columns},
        include_columns=columns,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )


def _rebatched(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `rows`, but for the last."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for given in batches:
        batch = given
        while held + batch.num_rows >= rows:
            waiting.append(batch.slice(0, rows - held))
            yield joined(waiting)
            batch = batch.slice(rows - held)
            waiting, held = [], 0
        if batch.num_rows:
            waiting.append(batch)
            held += batch.num_rows
    if waiting:
        yield joined(waiting)


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of several batches in one."""
    if len(batches) == 1:
        return batches[0]
    # Dictionaries may differ from batch to batch; a table unifies them.
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]
