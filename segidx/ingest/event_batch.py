"""Events of one type in columns, validated: what the writer applies, whoever made it (rows of a caller, a file).

Here is also the rule by which one write of an event follows another. Imports the model and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.ingest.arrow_values import integers
from segidx.ingest.values import id_for_report, refuse, shown
from segidx.model.errors import InvalidValue, PrunedHistory, SegidxError
from segidx.model.events import MAX_AHEAD_MILLIS, MAX_REVISION, ORDER, EventType
from segidx.model.results import Reject
from segidx.model.retention import instant_text
from segidx.model.schema import AccountInfo, Field, FieldType

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

TIME = Field("time", FieldType.TIMESTAMP)
REVISION = Field("revision", FieldType.NUMBER)


@dataclass(frozen=True, slots=True)
class EventColumn:
    """A property of n events: int64[n], or a pyarrow array of n strings, which may be dictionary-encoded; meaningless
    where it is not `present`."""

    values: Ints | pa.Array
    present: Mask

    def take(self, rows: Ints) -> EventColumn:
        values = self.values.take(pa.array(rows)) if isinstance(self.values, pa.Array) else self.values[rows]
        return EventColumn(values, self.present[rows])


@dataclass(frozen=True, slots=True)
class Superseded:
    """Events of a batch in whose place another write of their id in the batch came: all that is left to do for them is
    to create their contacts, where they took effect.

    `rows` says which id of the batch each was of; `contacts` (a pyarrow string array) and `revisions` are theirs.
    """

    rows: Ints
    contacts: pa.Array
    revisions: Ints


@dataclass(frozen=True, slots=True)
class FoundContacts:
    """The distinct contacts of a batch's events, looked up before the batch is applied: each event is of
    `contacts[owners]`, a pyarrow string array. `ordinals` are theirs, -1 of those that were not there yet; a contact
    keeps its ordinal."""

    contacts: pa.Array
    owners: Ints
    ordinals: Ints


@dataclass(frozen=True, slots=True)
class Repeated:
    """All rows of a batch in whose place another with their id stands, to be told of if that is refused.

    `rows` says which id of the batch each was of, `indices` number them as rejects do, and `contacts` (a pyarrow string
    array) are theirs, "" of retractions.
    """

    rows: Ints
    indices: Ints
    contacts: pa.Array


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one type to write, replace or retract: `ids` is a pyarrow string array of n distinct valid ids,
    `contacts` one of the contact of each, `times` are ms since 1970, `revisions` 0 where none was given.

    Rows of which `retracts` says so take the event away: their contact, time and properties mean nothing. `properties`
    has the type's columns in order, with all amounts worked out, and last the one that says what counts. Of orders,
    `lines` has the same columns of LINE, first those of the first order, then of the next, `line_counts` of each; other
    types have no lines. `rejects` are the rows that were refused, `duplicates` counts those that another row with the
    same id replaced; `superseded` are theirs, and `repeated` all of them. `found` may spare the writer looking its
    contacts up. `indices` number the rows as rejects do; without them from 0.
    """

    type: EventType
    ids: pa.Array
    contacts: pa.Array
    times: Ints
    properties: tuple[EventColumn, ...]
    revisions: Ints
    retracts: Mask
    line_counts: Ints
    lines: tuple[EventColumn, ...] = ()
    rejects: tuple[Reject, ...] = ()
    duplicates: int = 0
    superseded: Superseded | None = None
    found: FoundContacts | None = None
    indices: Ints | None = None
    repeated: Repeated | None = None

    @property
    def weight(self) -> int:
        """Events and lines."""
        return len(self.ids) + int(self.line_counts.sum())

    def take(self, rows: Ints) -> EventBatch:
        """The batch of some rows, ascending, without rejects, duplicates, what is superseded and repeated, and what was
        found."""
        if len(rows) == len(self.ids):
            lines = self.lines
        else:
            kept = np.zeros(len(self.ids), np.bool_)
            kept[rows] = True
            line_rows = np.flatnonzero(np.repeat(kept, self.line_counts))
            lines = tuple(column.take(line_rows) for column in self.lines)
        places = pa.array(rows)
        return EventBatch(
            self.type,
            self.ids.take(places),
            self.contacts.take(places),
            self.times[rows],
            tuple(column.take(rows) for column in self.properties),
            self.revisions[rows],
            self.retracts[rows],
            self.line_counts[rows],
            lines,
            indices=None if self.indices is None else self.indices[rows],
        )

    def index(self, row: int) -> int:
        """The number by which a reject names a row."""
        return row if self.indices is None else int(self.indices[row])


def event_fields(type: EventType, account: AccountInfo) -> tuple[Field, ...]:
    """The properties of a type as fields, by whose rules their values are checked."""
    return tuple(Field(p.name, p.type, p.decimals(account.money_scale)) for p in type.properties)


def with_counts(columns: tuple[EventColumn, ...], rows: int) -> tuple[EventColumn, ...]:
    """The columns of events of which each counts."""
    return (*columns, EventColumn(np.ones(rows, np.int64), np.ones(rows, np.bool_)))


def lines_of(line_counts: Ints) -> tuple[Ints, Ints]:
    """(the order of each line, its number in it)."""
    owner = np.repeat(np.arange(len(line_counts)), line_counts)
    firsts = np.cumsum(line_counts) - line_counts
    return owner, np.arange(len(owner)) - firsts[owner]


def codes_of(column: EventColumn, insert: Callable[[pa.Array], Ints]) -> Ints:
    """The codes of a column of strings, 0 where it has none; `insert` gives those of distinct strings."""
    codes = np.zeros(len(column.present), np.int64)
    rows = np.flatnonzero(column.present)
    if len(rows):
        strings: pa.Array = column.values
        if isinstance(strings, pa.DictionaryArray):
            places = integers(strings.indices)[rows]
            found = np.zeros(len(strings.dictionary), np.int64)
            found[places] = 1
            used = np.flatnonzero(found)  # a dictionary may have words that no row has
            found[used] = insert(strings.dictionary.take(pa.array(used)))
            codes[rows] = found[places]
        else:
            encoded = (strings if len(rows) == len(codes) else strings.take(pa.array(rows))).dictionary_encode()
            codes[rows] = insert(encoded.dictionary)[encoded.indices.to_numpy(zero_copy_only=False)]
    return codes


# --- what is refused ---------------------------------------------------------------------------------------


def noun(type: EventType) -> str:
    """What a message calls an event of the type: "an order", "a visit event"."""
    if type == ORDER:
        return "an order"
    return f"{'an' if type.name[0] in 'aeiou' else 'a'} {type.name} event"


def check_time(millis: int, given: object, now: int, horizon: int = 0) -> int:
    """The time of an event, if an event may have it when the clock shows `now` and those before `horizon` are pruned.
    Raises InvalidValue, PrunedHistory."""
    if millis < 0:
        raise refuse(TIME, f"{shown(given)} is before 1970")
    if millis < horizon:
        since = instant_text(horizon)
        raise PrunedHistory(
            f"field {TIME.name!r}: {shown(given)} is before {since}, and such events are pruned", field=TIME.name
        )
    if millis > now + MAX_AHEAD_MILLIS:
        raise refuse(TIME, f"{shown(given)} is more than {MAX_AHEAD_MILLIS // 3_600_000} hours ahead of the clock")
    return millis


def check_revision(value: object) -> int:
    """The revision of a write, 0 for None. Raises InvalidValue."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise refuse(REVISION, f"a revision is a whole number, not {type(value).__name__} {shown(value)}")
    if not 1 <= value <= MAX_REVISION:
        raise refuse(REVISION, f"{shown(value)} is no revision; they are 1 to {MAX_REVISION}")
    return int(value)


def written_with_its_order() -> InvalidValue:
    return InvalidValue("a line is written with its order")


def event_reject(index: int, what: str, event_id: object, contact_id: object, field: str, error: SegidxError) -> Reject:
    """The refusal of an event (`what` is the name of its type), whose message names the row and the event."""
    name = "" if event_id is None else f"{what} {shown(id_for_report(event_id))}: "
    return Reject(index, id_for_report(contact_id), field, error.reason, f"row {index}: {name}{error.message}")


# --- what is pruned ----------------------------------------------------------------------------------------


def check_times(batch: EventBatch, horizon: int | None) -> None:
    """Whether a batch may be committed when events before `horizon` are pruned: a row that lies there was refused when
    the batch was made, unless they are pruned since. Raises PrunedHistory for the whole batch, to be made anew."""
    if horizon is not None and bool(((batch.times < horizon) & ~batch.retracts).any()):
        raise PrunedHistory(
            f"{batch.type.name} events before {instant_text(horizon)} were pruned while this batch was under way;"
            " nothing of it was written: send it again",
            event=batch.type.name,
        )


def pruned_rejects(batch: EventBatch, refused: Mask) -> tuple[Reject, ...]:
    """The refusals of writes of events that are pruned. They are known by their ids, so that none counts twice."""
    field = "order_id" if batch.type == ORDER else "event_id"
    why = "it is pruned: what it came to is kept, and it is neither replaced nor retracted any more"
    error = PrunedHistory(f"field {field!r}: {why}", field=field)

    def reject(row: int, index: int, contact_id: str) -> Reject:
        return event_reject(index, batch.type.name, batch.ids[row].as_py(), contact_id or None, field, error)

    rows = np.flatnonzero(refused).tolist()
    found = [reject(row, batch.index(row), "" if batch.retracts[row] else batch.contacts[row].as_py()) for row in rows]
    again = batch.repeated
    if again is not None:
        for place in np.flatnonzero(refused[again.rows]).tolist():
            found.append(reject(int(again.rows[place]), int(again.indices[place]), again.contacts[place].as_py()))
    return tuple(found)


def by_index(some: Sequence[Reject], others: Sequence[Reject]) -> tuple[Reject, ...]:
    """All of them, each once, in order of their rows."""
    return tuple(sorted({*some, *others}, key=lambda reject: reject.index))


# --- one write after another -------------------------------------------------------------------------------


def takes_effect(revisions: Ints, held: Ints, there: Mask, retracted: Mask) -> Mask:
    """Which writes, events or retractions, take effect on what is held of their events: the revision, whether the
    event is there, whether it is retracted (of what was never written neither). A write of the same revision replaces
    what is there, and never brings back what was retracted."""
    effect: Mask = (revisions > held) | ((revisions == held) & ~retracted) | ~(there | retracted)
    return effect


def settled(ids: pa.Array, revisions: Ints, retracts: Mask) -> tuple[Mask, Mask]:
    """Writes one after another, by the rule of `takes_effect`, on nothing: (which take effect, which stand in the end).
    On something they come to the same, if those are left out that take no effect on it."""
    count = len(ids)
    encoded = ids.dictionary_encode()
    if len(encoded.dictionary) == count:
        return np.ones(count, np.bool_), np.ones(count, np.bool_)
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    # What is held of an id only grows: by revision, and within one by being retracted.
    states = np.unique(revisions * 2 + retracts, return_inverse=True)[1].reshape(-1).astype(np.int64)
    order = np.argsort(codes, kind="stable")
    codes, states = codes[order], states[order]
    peaks = np.maximum.accumulate(codes * count + states)
    before = np.full(count, -1, np.int64)
    before[1:] = np.where(codes[1:] == codes[:-1], peaks[:-1] - codes[1:] * count, -1)
    effective, standing = np.zeros((2, count), np.bool_)
    effective[order] = (states > before) | ((states == before) & ~retracts[order])
    places = np.flatnonzero(effective[order])
    last = np.append(codes[places[1:]] != codes[places[:-1]], True)
    standing[order[places[last]]] = True
    return effective, standing


def with_found_contacts(batch: EventBatch, find: Callable[[pa.Array], Ints]) -> EventBatch:
    """The batch with its contacts looked up: `find` gives the ordinals of distinct ids, -1 where there is none."""
    encoded = batch.contacts.dictionary_encode()
    owners = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return replace(batch, found=FoundContacts(encoded.dictionary, owners, find(encoded.dictionary)))


def joined_batches(batches: Sequence[EventBatch]) -> EventBatch:
    """Batches of one type, no id in two of them, none superseded, as one."""
    if len(batches) == 1:
        return batches[0]
    assert all(batch.superseded is None for batch in batches)
    return EventBatch(
        batches[0].type,
        pa.concat_arrays([batch.ids for batch in batches]),
        pa.concat_arrays([batch.contacts for batch in batches]),
        np.concatenate([batch.times for batch in batches]),
        tuple(_joined_column(columns) for columns in zip(*(batch.properties for batch in batches), strict=True)),
        np.concatenate([batch.revisions for batch in batches]),
        np.concatenate([batch.retracts for batch in batches]),
        np.concatenate([batch.line_counts for batch in batches]),
        tuple(_joined_column(columns) for columns in zip(*(batch.lines for batch in batches), strict=True)),
        tuple(reject for batch in batches for reject in batch.rejects),
        sum(batch.duplicates for batch in batches),
        indices=np.concatenate(
            [np.arange(len(batch.ids)) if batch.indices is None else batch.indices for batch in batches]
        ),
    )


def _joined_column(columns: Sequence[EventColumn]) -> EventColumn:
    present = np.concatenate([column.present for column in columns])
    strings = [column.values for column in columns if isinstance(column.values, pa.Array)]
    if strings:
        coded = [each if isinstance(each, pa.DictionaryArray) else each.dictionary_encode() for each in strings]
        return EventColumn(pa.chunked_array(coded).unify_dictionaries().combine_chunks(), present)
    return EventColumn(np.concatenate([column.values for column in columns]), present)


def settled_batch(batch: EventBatch) -> EventBatch:
    """A batch of rows whose ids may repeat as one of distinct ids: what stands when all have been applied in order."""
    effective, standing = settled(batch.ids, batch.revisions, batch.retracts)
    if standing.all():
        return batch
    kept = np.flatnonzero(standing)
    gone = np.flatnonzero(effective & ~standing & ~batch.retracts)
    places = pa.array(gone)
    standing_ids = batch.ids.take(pa.array(kept))
    instead = pc.index_in(batch.ids.take(places), value_set=standing_ids).to_numpy().astype(np.int64)
    superseded = Superseded(instead, batch.contacts.take(places), batch.revisions[gone])
    others = np.flatnonzero(~standing)
    indices = others if batch.indices is None else batch.indices[others]
    whose = pc.if_else(pa.array(batch.retracts[others]), "", batch.contacts.take(pa.array(others)))
    of = pc.index_in(batch.ids.take(pa.array(others)), value_set=standing_ids).to_numpy().astype(np.int64)
    repeated = Repeated(of, indices, whose)
    return replace(batch.take(kept), duplicates=len(others), superseded=superseded, repeated=repeated)
