"""What writes do to the oracle's contacts, row by row, and what they are said to change.

Written from the words of `segidx/model/writes.py`, not from the writer. It must not import anything but the model and
the oracle.

Readings chosen where those words are silent:

 1. A row is refused whole, before it does anything; the first reason counts. The rows around it stand.
 2. `must_exist` looks at the contacts as the rows before it left them, in this batch too.
 3. A row whose `fields` bring an address other than the one that the contact then has clears the channel's hard bounce;
    the row's own flags come after that. Taking the address away, or bringing the same again, clears nothing.
 4. What becomes of an event may be said of the contact that has it and of the one that had it, though it was replaced
    by the same; of none where nothing took effect.
 5. Where several rows of a commit concern a contact, what it changed is at least what differs at the end, and at most
    what each of the rows changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from segidx.model.errors import ContactNotFound, SegidxError
from segidx.model.events import Order, Retraction
from segidx.model.results import FieldData, Reject
from segidx.model.schema import FieldType
from segidx.model.writes import ADDRESS_FIELDS, ChangeKind, ChannelFlag, ContactWrite
from segidx.testing.oracle import Oracle, OracleResult, Row
from segidx.testing.oracle_channels import Flags
from segidx.testing.oracle_event_rows import EventRow
from segidx.testing.oracle_events import Kept
from segidx.testing.oracle_rows import check_contact_id, clean_tags, clean_value

Kinds = frozenset[ChangeKind]


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of one contact."""

    exists: bool
    fields: Mapping[str, FieldData]
    flags: frozenset[object]
    events: Mapping[tuple[str, str], Kept]  # by type and id


@dataclass(frozen=True, slots=True)
class Step:
    """One contact before and after one row."""

    contact_id: str
    before: State
    after: State
    kinds: Kinds = frozenset()  # what it may be said to change, though nothing differs


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch did. `result.accepted` counts rows that stand here, not contacts."""

    result: OracleResult
    steps: tuple[Step, ...]


def state_of(oracle: Oracle, contact_id: str) -> State:
    fields = oracle.contacts.get(contact_id)
    flags = frozenset(oracle.flags.get(contact_id, ()))
    held = {key: held.kept for key, held in oracle.held.items() if held.kept is not None}
    events = {key: kept for key, kept in held.items() if kept.contact_id == contact_id}
    return State(fields is not None, dict(fields or {}), flags, events)


def write(oracle: Oracle, rows: Sequence[ContactWrite]) -> Written:
    """Apply rows in order, as `Account.write` does."""
    ids = [row.contact_id.decode() if isinstance(row.contact_id, bytes) else row.contact_id for row in rows]
    with oracle.remembering(ids):
        return _write(oracle, rows)


def _write(oracle: Oracle, rows: Sequence[ContactWrite]) -> Written:
    rejects: list[Reject] = []
    steps: list[Step] = []
    for index, row in enumerate(rows):
        name = row.contact_id.decode() if isinstance(row.contact_id, bytes) else row.contact_id
        try:
            before = state_of(oracle, name)
            _write_row(oracle, name, row)
            steps.append(Step(name, before, state_of(oracle, name)))
        except SegidxError as error:
            rejects.append(Reject(index, name, "", error.reason, error.message))
    created = sum(step.after.exists and not step.before.exists for step in steps)
    return Written(OracleResult(len(steps), created, 0, tuple(rejects)), tuple(steps))


def _write_row(oracle: Oracle, name: str, row: ContactWrite) -> None:
    check_contact_id(name)
    fields = {field: clean_value(oracle.schema[field], value) for field, value in row.fields.items()}
    taken = {field: clean_tags(_tags_field(oracle, field), tags) for field, tags in row.tags_removed.items()}
    given = {field: clean_tags(_tags_field(oracle, field), tags) for field, tags in row.tags_added.items()}
    if row.must_exist and name not in oracle.contacts:
        raise ContactNotFound(name)
    contact = oracle.contacts.setdefault(name, {})
    flags: Flags = oracle.flags.setdefault(name, set())
    for channel, address in ADDRESS_FIELDS.items():
        if fields.get(address) is not None and fields[address] != contact.get(address):
            flags.discard((channel, ChannelFlag.HARD_BOUNCED))
    for field, value in fields.items():
        _put(contact, field, value)
    for field, tags in taken.items():
        _put(contact, field, _tags_of(contact, field) - tags)
    for field, tags in given.items():
        _put(contact, field, _tags_of(contact, field) | tags)
    oracle.set_channels(name, row.channels)


def _tags_field(oracle: Oracle, name: str) -> str:
    if oracle.schema[name].type is not FieldType.TAGS:
        clean_value(oracle.schema[name], frozenset({"no tags here"}))  # raises
    return name


def _tags_of(contact: Mapping[str, FieldData], field: str) -> frozenset[str]:
    tags = contact.get(field, frozenset())
    assert isinstance(tags, frozenset)
    return tags


def _put(contact: dict[str, FieldData], field: str, value: FieldData | None) -> None:
    """Set a field; None and an empty set of tags clear it."""
    if value is None or value == frozenset():
        contact.pop(field, None)
    else:
        contact[field] = value


def upsert(oracle: Oracle, rows: Sequence[Row]) -> Written:
    """`Oracle.upsert`, with the steps it takes."""
    before = {name: state_of(oracle, name) for name, _ in rows}
    result = oracle.upsert(rows)
    steps = tuple(Step(name, state, state_of(oracle, name)) for name, state in before.items())
    return Written(result, steps)


def tag(
    oracle: Oracle,
    ids: Sequence[str],
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    replace_with: Iterable[str] | None = None,
    field: str = "tags",
) -> Written:
    """`Oracle.tag`, with the steps it takes."""
    before = {name: state_of(oracle, name) for name in ids}
    result = oracle.tag(ids, add, remove, replace_with, field)
    steps = tuple(Step(name, state, state_of(oracle, name)) for name, state in before.items())
    return Written(result, steps)


def write_events(oracle: Oracle, rows: Sequence[EventRow], now_ms: int) -> Written:
    """`Oracle.write_events`, with the steps it takes: one of each contact that an event is written to or taken from.
    `result.accepted` counts events here."""
    concerned = {row.contact_id for row in rows if not isinstance(row, Retraction)}
    for row in rows:
        key = ("order", row.order_id) if isinstance(row, Order) else (row.type, row.event_id)
        held = oracle.held.get(key)
        if held is not None and held.kept is not None:
            concerned.add(held.kept.contact_id)
    before = {name: state_of(oracle, name) for name in concerned}
    result = oracle.write_events(rows, now_ms)
    events = frozenset({ChangeKind.EVENTS})
    after = {name: state_of(oracle, name) for name in concerned}
    return Written(result, tuple(Step(name, before[name], after[name], events) for name in sorted(concerned)))


def kinds_between(oracle: Oracle, before: State, after: State) -> Kinds:
    """In what ways two states of a contact differ."""
    kinds = set()
    if after.exists and not before.exists:
        kinds.add(ChangeKind.CREATED)
    for field in oracle.schema:
        if before.fields.get(field.name) != after.fields.get(field.name):
            kinds.add(ChangeKind.TAGS if field.type is FieldType.TAGS else ChangeKind.FIELDS)
    if before.flags != after.flags:
        kinds.add(ChangeKind.CHANNELS)
    if before.events != after.events:
        kinds.add(ChangeKind.EVENTS)
    return frozenset(kinds)


def changes_of(oracle: Oracle, steps: Iterable[Step]) -> dict[str, tuple[Kinds, Kinds]]:
    """(least, most) that one commit of these steps, in order, may be said to change of each contact that it touches."""
    first: dict[str, Step] = {}
    most: dict[str, Kinds] = {}
    for step in steps:
        whole = first.setdefault(step.contact_id, step)
        first[step.contact_id] = replace(whole, after=step.after)
        kinds = kinds_between(oracle, step.before, step.after) | step.kinds
        most[step.contact_id] = most.get(step.contact_id, frozenset()) | kinds
    return {name: (kinds_between(oracle, whole.before, whole.after), most[name]) for name, whole in first.items()}
