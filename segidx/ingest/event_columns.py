"""Which column of a file of events, or of orders, holds what: by the names that columns have, or are said to have.

Imports the model and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pyarrow as pa

from segidx.ingest.arrow import check_id_type
from segidx.ingest.arrow_values import Mask, integers, is_readable
from segidx.ingest.event_batch import TIME
from segidx.ingest.sources import Source
from segidx.model.errors import InvalidArgument, InvalidSource, nearest
from segidx.model.schema import Field, FieldType, describe

CONTACT_ID = "contact_id"
CURRENCY = Field("currency", FieldType.CATEGORY)


def parse_map(options: Iterable[str], known: Collection[str], example: str) -> dict[str, str]:
    """`NAME=COLUMN` options for the `known` names. Raises InvalidArgument, which shows an `example`."""
    found: dict[str, str] = {}
    for option in options:
        name, equals, column = option.partition("=")
        if not equals or not name or not column:
            raise InvalidArgument(f"--map {option!r}: write NAME=COLUMN, such as {example!r}")
        if name not in known:
            raise _unknown_name(f"--map {option!r}: ", name, known)
        if name in found:
            raise InvalidArgument(f"--map {option!r}: {name} is mapped already, to {found[name]!r}")
        found[name] = column
    return found


def choose_columns(source: Source, said: Mapping[str, str], id_: str, fields: Mapping[str, Field]) -> dict[str, str]:
    """The file's column of each name: what is `said`, else the column of that name. The names are the event's `id_`,
    the contact's, and those of `fields`, which say what their columns hold.

    Raises InvalidSource where one that must be there (the ids, the time) is missing, and where one is of a type that
    cannot fill it; InvalidArgument where a name that is said is none.
    """
    names = (id_, CONTACT_ID, *fields)
    for name in said:
        if name not in names:
            raise _unknown_name("", name, names)
    columns: dict[str, str] = {}
    for name in names:
        column = said.get(name, name)
        if name in said:
            source.column(column)
        if column in source.columns:
            columns[name] = column
            _check_type(source.column(column), column, name, fields.get(name))
        elif name in (id_, CONTACT_ID, TIME.name):
            raise InvalidSource(
                f"{source.path} has no column {name!r}; say which one it is with --map '{name}=COLUMN':"
                f" its columns are {', '.join(map(repr, source.columns[:50]))}",
                column=name,
                file=source.path,
            )
    return columns


def _check_type(type: pa.DataType, column: str, name: str, field: Field | None) -> None:
    if field is None:
        check_id_type(type, column, name.removesuffix("_id"))
    elif not is_readable(type, field.type):
        raise InvalidSource(
            f"column {column!r} is of type {type}, which cannot fill {name} ({describe(field)});"
            " give the column another name, or name another with --map",
            column=column,
        )


def _unknown_name(where: str, name: str, known: Collection[str]) -> InvalidArgument:
    close = nearest(name, known)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InvalidArgument(f"{where}there is no {name!r}; {hint}The names are {', '.join(known)}")


def equal_to(strings: pa.Array, wanted: str) -> Mask:
    """Which of the strings are the one that is wanted."""
    encoded = strings.dictionary_encode()
    equal = np.array([text == wanted for text in encoded.dictionary.to_pylist()] + [False], np.bool_)
    found: Mask = equal[integers(encoded.indices, -1)]
    return found
