"""Batches from `ContactWrite` rows: fields, tags and flags of contacts in one ordered list.

Rows with one id are joined into one, as if applied one after the other. A bad value refuses its whole row; the other
rows stand. Imports the model, and of the store only the codes of flags.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from segidx.ingest.batch import ContactBatch, FieldChange, FlagEdits, TagEdits
from segidx.ingest.converters import converter
from segidx.ingest.rows import TAG_LIST, field_values, make_reject
from segidx.ingest.values import Stored, check_id, id_for_report, tag_names
from segidx.model.errors import InvalidValue, SegidxError, TypeMismatch, UnknownField
from segidx.model.results import Reject
from segidx.model.schema import MAX_CONTACT_ID_BYTES, MAX_STRING_BYTES, Field, FieldType, Schema
from segidx.model.writes import ADDRESS_FIELDS, Channel, ChannelFlag, ContactWrite
from segidx.store.layout import channel_code

_CODES = {(channel, flag): channel_code(channel, flag) for channel in Channel for flag in ChannelFlag}
_ADDRESSES = frozenset(ADDRESS_FIELDS.values())


class _Tags:
    """What becomes of one contact's tags in one field: `given[tag]` says whether it is held afterwards."""

    __slots__ = ("given", "replaced")

    def __init__(self) -> None:
        self.replaced = False
        self.given: dict[str, bool] = {}


class _Builder:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._converters: dict[str, Callable[[object], Stored]] = {}
        self.positions: dict[str, int] = {}
        self.indices: list[int] = []
        self.must_exist: list[bool] = []
        self.joined = 0
        # By field: the positions written to, and what: None clears. The last of a position counts.
        self.values: dict[str, tuple[list[int], list[Stored | None]]] = {}
        self.tags: dict[str, dict[int, _Tags]] = {}
        self.flags: dict[tuple[int, int], bool] = {}
        self.addressed: set[tuple[int, str]] = set()  # positions that were given an address, or lost it

    def add(self, index: int, row: ContactWrite) -> None:
        """Join one row to the batch, whole or not at all: raises what its first bad value raises, as (field, error)."""
        contact_id = row.contact_id
        if not (type(contact_id) is str and contact_id.isascii() and 0 < len(contact_id) <= MAX_CONTACT_ID_BYTES):
            contact_id = check_id(contact_id)
        converters = self._converters
        converted: list[tuple[str, Stored | None]] = []
        for name, value in row.fields.items():
            try:
                convert = converters.get(name) or self._converter(name)
                converted.append((name, None if value is None else convert(value)))
            except SegidxError as error:
                raise _BadField(name, error) from None
        edits = [
            (name, self._checked_tags(name, tags), added)
            for given, added in ((row.tags_removed, False), (row.tags_added, True))
            for name, tags in given.items()
        ]
        flags = _checked_flags(row) if row.channels else []

        position = self.positions.get(contact_id)
        if position is None:
            position = self.positions[contact_id] = len(self.positions)
            self.indices.append(index)
            self.must_exist.append(row.must_exist)
        else:
            self.joined += 1
        for name, stored_value in converted:
            if self._schema[name].type is FieldType.TAGS:
                tags = self._tags_of(name, position)
                tags.replaced = True
                tags.given = dict.fromkeys(stored_value or (), True)  # type: ignore[arg-type]
                continue
            column = self.values.get(name)
            if column is None:
                column = self.values[name] = ([], [])
            column[0].append(position)
            column[1].append(stored_value)
            if name in _ADDRESSES:
                self.addressed.add((position, name))
        for name, names, added in edits:
            tags = self._tags_of(name, position)
            for tag in names:
                if tags.replaced and not added:
                    tags.given.pop(tag, None)
                else:
                    tags.given[tag] = added
        for code, value in flags:
            self.flags[position, code] = value

    def must_wait(self, row: ContactWrite) -> bool:
        """Whether the row must see what the rows before it did, and so cannot be joined with them: an earlier row of
        the contact may be refused, or the row is of an address that the rows before changed, or that has bounced."""
        contact_id = row.contact_id
        if isinstance(contact_id, bytes):
            contact_id = contact_id.decode(errors="replace")  # if it is none, `add` says so
        position = self.positions.get(contact_id) if isinstance(contact_id, str) else None
        if position is None:
            return False
        return self.must_exist[position] or any(
            name in row.fields
            and (
                (position, name) in self.addressed
                or self.flags.get((position, _CODES[channel, ChannelFlag.HARD_BOUNCED]))
            )
            for channel, name in ADDRESS_FIELDS.items()
        )

    def _tags_of(self, name: str, position: int) -> _Tags:
        field = self.tags.get(name)
        if field is None:
            field = self.tags[name] = {}
        found = field.get(position)
        if found is None:
            found = field[position] = _Tags()
        return found

    def _converter(self, name: str) -> Callable[[object], Stored]:
        found = self._converters[name] = converter(self._field(name))
        return found

    def _field(self, name: str) -> Field:
        field = self._schema.get(name)
        if field is None:
            raise UnknownField(name, [f.name for f in self._schema])
        return field

    def _checked_tags(self, name: str, tags: Collection[str]) -> Collection[str]:
        try:
            if self._field(name).type is not FieldType.TAGS:
                raise TypeMismatch(
                    f"field {name!r} is a {self._field(name).type.value} field; only tags fields hold tags", field=name
                )
            if isinstance(tags, str | bytes) or not isinstance(tags, Collection):
                return tag_names(tags)  # which refuses it, or takes it once
            for tag in tags:
                if not (type(tag) is str and 0 < len(tag) <= MAX_STRING_BYTES and tag.isascii()):
                    return tag_names(tags)
            return tags
        except SegidxError as error:
            raise _BadField(name, error) from None

    def batch(self, rejects: list[Reject]) -> ContactBatch:
        changes = {n: self._change(self._schema[n], *column) for n, column in self.values.items()}
        edits: dict[str, TagEdits] = {}
        for name, by_position in self.tags.items():
            replaced = {p: t for p, t in by_position.items() if t.replaced}
            edited = {p: t for p, t in by_position.items() if not t.replaced and t.given}
            if replaced:
                changes[name] = _replacement(replaced)
            if edited:
                edits[name] = TagEdits(
                    np.repeat(np.array(list(edited), np.int64), [len(t.given) for t in edited.values()]),
                    pa.array([tag for t in edited.values() for tag in t.given], pa.string()),
                    np.array([added for t in edited.values() for added in t.given.values()], np.bool_),
                )
        flags = None
        if self.flags:
            keys = np.array(list(self.flags), np.int64)
            flags = FlagEdits(keys[:, 0], keys[:, 1], np.array(list(self.flags.values()), np.bool_))
        return ContactBatch(
            ids=pa.array(list(self.positions), pa.string()),
            changes=changes,
            duplicates=self.joined,
            rejects=tuple(rejects),
            edits=edits,
            flags=flags,
            must_exist=np.array(self.must_exist, np.bool_) if any(self.must_exist) else None,
            indices=np.array(self.indices, np.int64),
        )

    def _change(self, field: Field, positions: list[int], values: list[Any]) -> FieldChange:
        rows = np.array(positions, np.int64)
        if self.joined and len(np.unique(rows)) < len(rows):
            last = dict(zip(positions, values, strict=True))  # of several values of a position the last stands
            rows = np.array(sorted(last), np.int64)
            values = [last[row] for row in rows.tolist()]
        elif self.joined and bool((np.diff(rows) < 0).any()):
            order = np.argsort(rows)
            rows = rows[order]
            values = [values[at] for at in order.tolist()]
        present = [v for v in values if v is not None]
        if len(present) == len(values):
            return FieldChange(rows, field_values(field, values), np.zeros(0, np.int64))
        mask = np.array([v is not None for v in values], np.bool_)
        return FieldChange(rows[mask], field_values(field, present), rows[~mask])


class _BadField(Exception):
    def __init__(self, name: str, error: SegidxError) -> None:
        super().__init__(name)
        self.name = name
        self.error = error


def _checked_flags(row: ContactWrite) -> list[tuple[int, bool]]:
    """(code, whether it is set) of a row's flags."""
    flags = []
    for channel, given in row.channels.items():
        for flag, value in given.items():
            code = _CODES.get((channel, flag))
            if code is None or type(value) is not bool:
                raise InvalidValue(f"{flag!r} of {channel!r} is not a flag that is set or cleared with {value!r}")
            flags.append((code, value))
    return flags


def _replacement(replaced: dict[int, _Tags]) -> FieldChange:
    positions = sorted(replaced)
    rows = np.array([p for p in positions if replaced[p].given], np.int64)
    lists = [list(replaced[p].given) for p in rows.tolist()]
    cleared = np.array([p for p in positions if not replaced[p].given], np.int64)
    return FieldChange(rows, pa.array(lists, TAG_LIST), cleared)


def batches_from_writes(
    rows: Iterable[ContactWrite], schema: Schema, *, first_index: int = 0
) -> tuple[ContactBatch, ...]:
    """The valid rows, in order, as batches to be applied one behind another and committed together: nearly always one.

    Refused rows are in the batches' `rejects`, numbered from `first_index`.
    """
    batches: list[ContactBatch] = []
    builder = _Builder(schema)
    rejects: list[Reject] = []
    for index, row in enumerate(rows, first_index):
        if builder.must_wait(row):
            batches.append(builder.batch(rejects))
            builder, rejects = _Builder(schema), []
        try:
            builder.add(index, row)
        except _BadField as bad:
            rejects.append(make_reject(index, row.contact_id, id_for_report(bad.name), bad.error))
        except SegidxError as error:
            rejects.append(make_reject(index, row.contact_id, "", error))
    batches.append(builder.batch(rejects))
    return tuple(batches)
