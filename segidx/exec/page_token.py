"""Tokens of pages: a place in an order, sealed together with the question that it is a place in.

The seal is keyed with the account's own secret, so that a token holds in every process that serves the directory, and
nobody else makes one. It must not know what is paged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import struct
from collections.abc import Sequence

from segidx.model.errors import InvalidArgument

# Version, time in ms, type, number; 27 bytes with the seal, which base64 writes without padding.
_PLACE = struct.Struct("<BqHI")
_VERSION = 1
_SEAL_BYTES = 12

Place = tuple[int, int, int]
"""Where an event stands in a timeline: its time, the number of its type, its own number."""


def write_token(question: Sequence[object], place: Place, key: bytes) -> str:
    """The token of a place. The question is what JSON can say of it, the same for the same question."""
    packed = _PLACE.pack(_VERSION, *place)
    return base64.urlsafe_b64encode(packed + _seal(question, packed, key)).decode()


def read_token(token: str, question: Sequence[object], key: bytes) -> Place:
    """The place. Raises InvalidArgument for what `write_token` did not make of this question."""
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    packed, seal = data[: _PLACE.size], data[_PLACE.size :]
    if len(packed) == _PLACE.size and hmac.compare_digest(seal, _seal(question, packed, key)):
        version, *place = _PLACE.unpack(packed)
        if version == _VERSION:
            time, type, number = place
            return time, type, number
    raise InvalidArgument(
        "the page token is not one of this question; ask for what the page before was asked for, or start over without",
        argument="page_token",
    )


def _seal(question: Sequence[object], packed: bytes, key: bytes) -> bytes:
    asked = json.dumps(question).encode()
    return hashlib.blake2b(packed + asked, digest_size=_SEAL_BYTES, key=key).digest()
