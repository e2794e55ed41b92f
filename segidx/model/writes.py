"""What is written to contacts, and what a write changed: frozen values. Imports the schema's names only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

MAX_BATCH_KEY_BYTES = 128


class Channel(Enum):
    """A way to reach a contact. The order is part of the stored format (`segidx.store.layout.channel_code`)."""

    EMAIL = "email"
    SMS = "sms"
    WEB_PUSH = "web_push"
    ADS = "ads"


class ChannelFlag(Enum):
    """What is known of a contact on a channel: consent, and the three reasons that suppress it. The order is part of
    the stored format."""

    CONSENT = "consent"
    UNSUBSCRIBED = "unsubscribed"
    HARD_BOUNCED = "hard_bounced"  # of the present address: a new address clears it
    COMPLAINED = "complained"


SUPPRESSING = (ChannelFlag.UNSUBSCRIBED, ChannelFlag.HARD_BOUNCED, ChannelFlag.COMPLAINED)

# The contact field that holds a channel's address, where the schema has it.
ADDRESS_FIELDS: Mapping[Channel, str] = {Channel.EMAIL: "email", Channel.SMS: "phone"}


@dataclass(frozen=True, slots=True)
class ContactWrite:
    """One row of a batch. Rows apply in their order, also those with the same id.

    Within a row `fields` come first (None clears, a tags value replaces the field's tags), then the tags taken, then
    those given (tags field to tags; a tag in both is held), then the flags of channels (True sets, False clears). An
    unknown contact is created, or refused (CONTACT_NOT_FOUND) with `must_exist`.
    """

    contact_id: str | bytes
    fields: Mapping[str, object] = field(default_factory=dict)
    tags_added: Mapping[str, Collection[str]] = field(default_factory=dict)
    tags_removed: Mapping[str, Collection[str]] = field(default_factory=dict)
    channels: Mapping[Channel, Mapping[ChannelFlag, bool]] = field(default_factory=dict)
    must_exist: bool = False


class ChangeKind(Enum):
    """What of a contact a commit changed."""

    CREATED = "created"
    FIELDS = "fields"
    TAGS = "tags"
    CHANNELS = "channels"
    EVENTS = "events"  # events were written to it, replaced or taken from it


@dataclass(frozen=True, slots=True)
class ContactChange:
    contact_id: str
    kinds: frozenset[ChangeKind]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one committed generation changed, or a part of it; `last` says that no more of the generation follows."""

    generation: int
    time: datetime  # of the commit, by the writer's clock, UTC
    contacts: tuple[ContactChange, ...]
    last: bool
