"""Which column of a file fills which field: what the caller says, what the account's schema says, else inference.

Imports the model and its neighbours only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from segidx.ingest.infer import infer_fields
from segidx.ingest.sources import Source
from segidx.model.errors import InvalidArgument, InvalidSchema, nearest
from segidx.model.schema import Field, Schema, parse_field

SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a caller says about columns. `types` (each must concern a column of the file) and `declared` (from a TOML
    file that may serve many files) give a type text or "skip" by the name of the column or of its field; `rename`
    gives fields other names than their columns'."""

    types: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)

    def type_of(self, column: str) -> str | None:
        """The type text for a column, "skip", or None where nothing is said."""
        name = self.rename.get(column, column)
        for said in (self.types, self.declared):
            for key in (column, name):
                if key in said:
                    return said[key]
        return None


def parse_options(options: Iterable[str]) -> dict[str, str]:
    """`NAME=TYPE` options. Raises InvalidArgument."""
    found: dict[str, str] = {}
    for option in options:
        name, equals, type_text = option.rpartition("=")
        if not equals or not name or not type_text:
            raise InvalidArgument(f"--field {option!r}: write NAME=TYPE, such as 'income=number(2)' or 'notes=skip'")
        if type_text != SKIP:
            parse_field(name, type_text)
        found[name] = type_text
    return found


def read_toml(path: Path) -> Overrides:
    """The overrides of a TOML file with the tables [fields] (name = "type") and [rename] (column = "field")."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path} is not TOML: {error}") from error
    unknown = sorted(set(content) - {"fields", "rename"})
    if unknown:
        raise InvalidArgument(f"{path}: there is no table [{unknown[0]}]; the tables are [fields] and [rename]")
    tables: dict[str, dict[str, str]] = {}
    for table in ("fields", "rename"):
        entries = content.get(table, {})
        if not isinstance(entries, dict) or not all(isinstance(v, str) for v in entries.values()):
            raise InvalidArgument(f"{path}: [{table}] must hold lines such as {_EXAMPLES[table]}")
        tables[table] = entries
    for name, type_text in tables["fields"].items():
        if type_text != SKIP:
            parse_field(name, type_text)
    return Overrides(declared=tables["fields"], rename=tables["rename"])


_EXAMPLES = {"fields": 'income = "number(2)"', "rename": '"E-mail" = "email"'}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The decision: `columns` gives the field of each imported column, `fields` are those to be declared (those the
    schema has already may be among them), `empty` the columns left out because they hold no value."""

    columns: dict[str, str]
    fields: tuple[Field, ...]
    empty: tuple[str, ...] = ()


def choose_fields(
    source: Source,
    schema: Schema,
    id_column: str,
    overrides: Overrides,
    progress: Callable[[int], None] | None = None,
) -> ColumnMapping:
    """Decide which column fills which field.

    Raises SchemaConflict if a stated type differs from the schema's, InvalidArgument for names that concern no column
    and for two columns of one field, InvalidSource where inference finds no type.
    """
    source.column(id_column)
    _check_names(source, overrides)
    columns: dict[str, str] = {}
    fields: dict[str, Field] = {}
    guessed: list[str] = []
    for column in source.columns:
        said = overrides.type_of(column)
        if said == SKIP or (column == id_column and said is None):
            continue
        name = overrides.rename.get(column, column)
        if name in columns.values():
            raise InvalidArgument(f"two columns of {source.path} would fill field {name!r}; skip or rename one")
        columns[column] = name
        known = schema.get(name)
        if said is not None:
            fields[column] = parse_field(name, said)
        elif known is not None:
            fields[column] = known
        else:
            _check_name(column, name)
            guessed.append(column)
    schema.extended(fields.values())  # a conflict is told before the file is read
    empty: list[str] = []
    for column, guess in infer_fields(source, guessed, progress).items():
        if guess is None:
            empty.append(column)
            del columns[column]
        else:
            fields[column] = replace(guess, name=columns[column])
    named = {f.name: f for column, f in fields.items()}
    for name, type_text in overrides.declared.items():
        if type_text != SKIP and name not in named and name not in source.columns:
            named[name] = parse_field(name, type_text)
    ordered = [fields[column].name for column in source.columns if column in fields]
    rest = [name for name in named if name not in ordered]
    return ColumnMapping(columns, tuple(named[name] for name in (*ordered, *rest)), tuple(empty))


def _check_name(column: str, name: str) -> None:
    try:
        parse_field(name, "text")
    except InvalidSchema as error:
        raise InvalidSchema(
            f"column {column!r} cannot name a field ({error.message}); rename it with a [rename] table in --schema,"
            f" or leave it out with --field '{column}=skip'",
            field=name,
        ) from error


def _check_names(source: Source, overrides: Overrides) -> None:
    columns = source.columns
    names = {*columns, *(overrides.rename.get(c, c) for c in columns)}
    for what, given, known in (("--field", overrides.types, names), ("[rename]", overrides.rename, set(columns))):
        for name in given:
            if name not in known:
                close = nearest(name, known)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise InvalidArgument(f"{what} {name!r}: {source.path} has no such column{hint}", column=name)
