"""Flags of a contact's channels, by the oracle. It must not import anything but the model."""

from __future__ import annotations

from collections.abc import Mapping

from segidx.model.expression import ChannelState
from segidx.model.writes import Channel, ChannelFlag

# The flags of one contact that are True.
Flags = set[tuple[Channel, ChannelFlag]]


def set_flags(held: Flags, channels: Mapping[Channel, Mapping[ChannelFlag, bool]]) -> None:
    """Set (True) and clear (False) flags; those that are not named stay."""
    for channel, flags in channels.items():
        for flag, holds in flags.items():
            (held.add if holds else held.discard)((channel, flag))


def is_on_channel(held: Flags, channel: Channel, state: ChannelState) -> bool:
    """Whether a contact with these flags is in the state."""

    def has(flag: ChannelFlag) -> bool:
        return (channel, flag) in held

    suppressed = has(ChannelFlag.UNSUBSCRIBED) or has(ChannelFlag.HARD_BOUNCED) or has(ChannelFlag.COMPLAINED)
    return {
        ChannelState.CONSENTED: has(ChannelFlag.CONSENT),
        ChannelState.UNSUBSCRIBED: has(ChannelFlag.UNSUBSCRIBED),
        ChannelState.HARD_BOUNCED: has(ChannelFlag.HARD_BOUNCED),
        ChannelState.COMPLAINED: has(ChannelFlag.COMPLAINED),
        ChannelState.SUPPRESSED: suppressed,
        ChannelState.REACHABLE: has(ChannelFlag.CONSENT) and not suppressed,
    }[state]
