"""Batches of writes, their acknowledgements and the feed of changes, of the protocol to and from the model.

A server converts every row of every stream here, so that the two loops over rows are written for speed: the common
kinds of values are read and written in place, and only the rest goes to `segidx.wire.contacts`. A row that cannot be
converted is a reject, as there. Imports only v1, the model and the other conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from segidx.model.errors import InvalidArgument, InvalidValue, SegidxError
from segidx.model.events import EventRow
from segidx.model.results import WriteResult
from segidx.model.windows import EPOCH
from segidx.model.writes import (
    MAX_BATCH_KEY_BYTES,
    ChangeKind,
    Changes,
    Channel,
    ChannelFlag,
    ContactChange,
    ContactWrite,
)
from segidx.v1 import ingest_pb2 as pb
from segidx.wire.contacts import (
    RowErrors,
    contact_id_text,
    for_report,
    read_field_value,
    read_rejects,
    write_field_value,
    write_rejects,
)
from segidx.wire.event_writes import write_event_writes
from segidx.wire.values import CHANNEL_NUMBERS, CHANNELS, MAX_DECIMAL_TEXT, is_decimal, write_instant

MAX_CHANGES = 5000  # contacts of one message: with ids of 255 bytes below the 4 MiB that clients take by default
DEFAULT_TAGS = "tags"

CHANNEL_FLAGS: Final[dict[int, ChannelFlag]] = {
    pb.CHANNEL_FLAG_CONSENT: ChannelFlag.CONSENT,
    pb.CHANNEL_FLAG_UNSUBSCRIBED: ChannelFlag.UNSUBSCRIBED,
    pb.CHANNEL_FLAG_HARD_BOUNCED: ChannelFlag.HARD_BOUNCED,
    pb.CHANNEL_FLAG_COMPLAINED: ChannelFlag.COMPLAINED,
}
CHANGE_KINDS: Final[dict[int, ChangeKind]] = {
    pb.CHANGE_KIND_CREATED: ChangeKind.CREATED,
    pb.CHANGE_KIND_FIELDS: ChangeKind.FIELDS,
    pb.CHANGE_KIND_TAGS: ChangeKind.TAGS,
    pb.CHANGE_KIND_CHANNELS: ChangeKind.CHANNELS,
    pb.CHANGE_KIND_EVENTS: ChangeKind.EVENTS,
}
_FLAG_NUMBERS = {v: pb.ChannelFlag.ValueType(k) for k, v in CHANNEL_FLAGS.items()}
_KIND_NUMBERS = {v: pb.ChangeKind.ValueType(k) for k, v in CHANGE_KINDS.items()}

# What a reject of a flag names in the place of a field.
_CHANNELS = "channels"


# --- rows --------------------------------------------------------------------------------------------------

# Most rows have no edits of a kind; a fresh dictionary for each would keep the garbage collector busy.
_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})
# A frozen dataclass sets its slots through object.__setattr__, which takes twice as long as their descriptors.
_new_write = ContactWrite.__new__
_set_id, _set_fields, _set_added, _set_removed, _set_channels, _set_must_exist = (
    vars(ContactWrite)[name].__set__
    for name in ("contact_id", "fields", "tags_added", "tags_removed", "channels", "must_exist")
)


def read_writes(messages: Iterable[pb.ContactWrite]) -> tuple[list[ContactWrite], RowErrors]:
    """The rows of a batch as the database takes them, and those that could not be read."""
    rows: list[ContactWrite] = []
    errors = RowErrors()
    kept, append, name, index = errors.kept, rows.append, "", -1
    for message in messages:
        index += 1
        values: dict[str, object] = {}
        added = removed = channels = _NOTHING
        try:
            fields = message.fields
            for name in fields:
                value = fields[name]
                # Of the kinds of a oneof the unset ones read as empty, so that the two common kinds need no question.
                if text := value.string_value:
                    values[name] = text
                elif (text := value.decimal_value) and len(text) <= MAX_DECIMAL_TEXT and is_decimal(text):
                    values[name] = Decimal(text)
                else:
                    values[name] = read_field_value(value)
            if edits := message.tags:
                added, removed = _read_tags(edits)
            if flags := message.channels:
                name = _CHANNELS
                channels = _read_channels(flags)
        except SegidxError as error:
            errors.seen = index
            errors.refuse(message.contact_id[:255], name[:255], error)
            continue
        kept.append(index)
        write = _new_write(ContactWrite)
        _set_id(write, message.contact_id)
        _set_fields(write, values)
        _set_added(write, added)
        _set_removed(write, removed)
        _set_channels(write, channels)
        _set_must_exist(write, message.must_exist)
        append(write)
    errors.seen = index + 1
    return rows, errors


def _read_tags(edits: Iterable[pb.TagEdit]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    added: dict[str, list[str]] = {}
    removed: dict[str, list[str]] = {}
    for edit in edits:
        field = edit.field or DEFAULT_TAGS
        # A slice is a list made at once; list() would take the tags one by one.
        if add := edit.add[:]:
            added[field] = added[field] + add if field in added else add
        if remove := edit.remove[:]:
            removed[field] = removed[field] + remove if field in removed else remove
    return added, removed


def _read_channels(edits: Iterable[pb.ChannelEdit]) -> dict[Channel, dict[ChannelFlag, bool]]:
    channels: dict[Channel, dict[ChannelFlag, bool]] = {}
    for edit in edits:
        channel, flag = CHANNELS.get(edit.channel), CHANNEL_FLAGS.get(edit.flag)
        if channel is None or flag is None:
            raise InvalidValue(
                f"channel {edit.channel} with flag {edit.flag} is none that this release knows; the channels are"
                f" {', '.join(c.value for c in Channel)}, the flags {', '.join(f.value for f in ChannelFlag)}"
            )
        channels.setdefault(channel, {})[flag] = edit.value
    return channels


def write_writes(rows: Iterable[ContactWrite], request: pb.WriteBatchRequest | pb.StreamWritesRequest) -> RowErrors:
    """Adds the rows to the request, and returns those that cannot be sent."""
    errors = RowErrors()
    messages = request.rows
    add, kept, index = messages.add, errors.kept, -1
    for row in rows:
        index += 1
        message = add()
        name = ""
        try:
            contact_id = row.contact_id
            message.contact_id = contact_id if type(contact_id) is str else contact_id_text(contact_id)
            if row.fields:
                fields = message.fields
                for name, value in row.fields.items():
                    kind = type(value)
                    if kind is str:
                        fields[name].string_value = value  # type: ignore[assignment]
                    elif kind is int:
                        fields[name].decimal_value = str(value)
                    elif kind is bool:
                        fields[name].bool_value = value  # type: ignore[assignment]
                    else:
                        write_field_value(value, fields[name])
            if row.tags_added or row.tags_removed:
                for name, tags in row.tags_added.items():
                    edit = message.tags.add()
                    if name != DEFAULT_TAGS:
                        edit.field = name
                    edit.add.extend(_tags(tags))
                for name, tags in row.tags_removed.items():
                    edit = message.tags.add()
                    if name != DEFAULT_TAGS:
                        edit.field = name
                    edit.remove.extend(_tags(tags))
            if row.channels:
                name = _CHANNELS
                for channel, flags in row.channels.items():
                    for flag, value in flags.items():
                        message.channels.add(
                            channel=CHANNEL_NUMBERS[channel], flag=_FLAG_NUMBERS[flag], value=bool(value)
                        )
            if row.must_exist:
                message.must_exist = True
        except SegidxError as error:
            refused = error
        except UnicodeEncodeError:
            # protobuf's word for a lone surrogate: in the id, a field's name, a string or a tag.
            refused = _not_utf8(row.contact_id)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            refused = InvalidValue(f"{name or 'the row'} cannot be sent: {error}; see ContactWrite for what it takes")
        else:
            kept.append(index)
            continue
        del messages[-1]
        errors.seen = index
        errors.refuse(for_report(row.contact_id), for_report(name), refused)
    errors.seen = index + 1
    return errors


def _tags(tags: Iterable[str]) -> Iterable[str]:
    if isinstance(tags, str):
        raise InvalidValue(f"tags are a collection of strings, not the string {tags!r}")
    # A set has no order of its own; sorted, the same row is always the same bytes, also under its batch key.
    return sorted(tags) if isinstance(tags, set | frozenset) else tags


def _not_utf8(contact_id: str | bytes) -> SegidxError:
    try:
        contact_id_text(contact_id)
    except SegidxError as error:
        return error
    return InvalidValue("a string is not valid UTF-8")


def check_batch_key(key: str) -> str:
    """A key that can be sent; raises InvalidArgument for one over 128 bytes of UTF-8 or with lone surrogates."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument("the batch key is not valid UTF-8", argument="batch_key") from error
    if size > MAX_BATCH_KEY_BYTES:
        raise InvalidArgument(
            f"a batch key of {size} bytes is longer than {MAX_BATCH_KEY_BYTES}; send its hash", argument="batch_key"
        )
    return key


# --- batches with events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchErrors:
    """What was left out of a batch before the database saw it: of its rows, and of its events."""

    rows: RowErrors
    events: RowErrors

    def merge_rejects(self, result: WriteResult) -> WriteResult:
        """The result with all rejects, in the order of the caller's rows and in that of its events."""
        result = self.rows.merge_rejects(result)
        if not self.events.rejects:
            return result
        return replace(result, event_rejects=self.events.merged(result.event_rejects))


def write_batch(
    rows: Iterable[ContactWrite],
    events: Iterable[EventRow],
    request: pb.WriteBatchRequest | pb.StreamWritesRequest,
) -> BatchErrors:
    """Adds the rows and the events to the request, and returns those that cannot be sent."""
    return BatchErrors(write_writes(rows, request), write_event_writes(events, request.events))


# --- answers -----------------------------------------------------------------------------------------------


def read_acknowledgement(message: pb.WriteBatchResponse | pb.StreamWritesResponse) -> WriteResult:
    return WriteResult(
        message.generation,
        message.accepted,
        message.created,
        message.duplicates,
        read_rejects(message.rejects) if message.rejects else (),
        message.replayed,
        message.events_accepted,
        message.events_duplicates,
        read_rejects(message.event_rejects) if message.event_rejects else (),
    )


def write_acknowledgement(result: WriteResult, message: pb.WriteBatchResponse | pb.StreamWritesResponse) -> None:
    message.generation, message.accepted = result.generation, result.accepted
    message.created, message.duplicates = result.created, result.duplicates
    if result.rejects:
        message.rejects.extend(write_rejects(result.rejects))
    message.replayed = result.replayed
    message.events_accepted, message.events_duplicates = result.events_accepted, result.events_duplicates
    if result.event_rejects:
        message.event_rejects.extend(write_rejects(result.event_rejects))


# --- changes -----------------------------------------------------------------------------------------------


def read_changes(message: pb.StreamChangesResponse) -> Changes:
    """The message as the model has it. The commit's time is in UTC."""
    time = message.commit_time
    return Changes(
        message.generation,
        EPOCH + timedelta(0, time.seconds, time.nanos // 1000),
        tuple(
            # A kind that a later release added says nothing to this one.
            ContactChange(c.contact_id, frozenset(CHANGE_KINDS[k] for k in c.kinds if k in CHANGE_KINDS))
            for c in message.contacts
        ),
        message.last,
    )


def write_changes(changes: Changes, *, contacts: bool) -> Iterator[pb.StreamChangesResponse]:
    """The messages of one `Changes`: as many as its contacts need; without `contacts` one at its generation's end."""
    if not contacts:
        if changes.last:
            yield _changes_message(changes.generation, changes.time, last=True)
        return
    held = changes.contacts
    # A generation may have changed no contact, and is told all the same.
    for first in range(0, max(len(held), 1), MAX_CHANGES):
        part = held[first : first + MAX_CHANGES]
        message = _changes_message(
            changes.generation, changes.time, last=changes.last and first + MAX_CHANGES >= len(held)
        )
        add = message.contacts.add
        for change in part:
            add(contact_id=change.contact_id, kinds=sorted(_KIND_NUMBERS[kind] for kind in change.kinds))
        yield message


def _changes_message(generation: int, time: datetime, *, last: bool) -> pb.StreamChangesResponse:
    message = pb.StreamChangesResponse(generation=generation, last=last)
    write_instant(time, message.commit_time)
    return message
