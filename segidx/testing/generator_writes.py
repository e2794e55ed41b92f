"""Random `ContactWrite` rows: values given and cleared, tags replaced, given and taken, flags, rows of one id again and
again, rows of contacts that must exist, and rows that are to be refused. It must import nothing but `segidx/model` and
`segidx/testing`.
"""

from __future__ import annotations

from collections.abc import Sequence

from segidx.model.schema import Field, FieldType, Schema
from segidx.model.writes import ADDRESS_FIELDS, Channel, ChannelFlag, ContactWrite
from segidx.testing.generator import Chooser, Generator
from segidx.testing.pools import Pools
from segidx.testing.strategies import EVERY_TYPE

# Every type, and the fields that hold addresses; some fields are tracked.
WRITTEN = EVERY_TYPE.extended(
    [
        Field("phone", FieldType.CATEGORY),
        Field("country", FieldType.CATEGORY, tracked=True),
        Field("consent", FieldType.BOOL, tracked=True),
        Field("tags", FieldType.TAGS, tracked=True),
    ]
)

# Few, so that an address comes back.
_ADDRESSES = ("a@example.com", "b@example.com", "+48 1")
# Rows that every batch refuses.
REFUSED: tuple[ContactWrite, ...] = (
    ContactWrite(""),
    ContactWrite("c1", {"land": "PL"}),
    ContactWrite("c1", {"country": "PL", "score": "many"}),
    ContactWrite("c2", {"consent": "maybe"}),
    ContactWrite("c2", {"tags": "vip"}),
    ContactWrite("c3", {"score": 1}, tags_added={"tags": ["a", ""]}),
    ContactWrite("c3", tags_removed={"tags": [""]}),
    ContactWrite("c4", tags_added={"country": ["a"]}),
    ContactWrite("c4", tags_removed={"land": ["a"]}),
)


class WriteGenerator:
    """Random rows over contacts of `ids`."""

    def __init__(self, chooser: Chooser, schema: Schema, pools: Pools, ids: Sequence[str]) -> None:
        self.generator = Generator(chooser, schema, pools)
        self.ids = ids
        self._chooser = chooser

    def rows(self, most: int) -> list[ContactWrite]:
        """Rows of a batch; at times several of one contact right behind each other."""
        found: list[ContactWrite] = []
        for _ in range(self._chooser.integer(1, most)):
            same = found and self.generator.one_in(4)
            contact_id = found[-1].contact_id if same else self.generator.pick(self.ids)
            found.append(self.row(contact_id.decode() if isinstance(contact_id, bytes) else contact_id))
        return found

    def row(self, contact_id: str) -> ContactWrite:
        one_in = self.generator.one_in
        if one_in(15):
            return self.generator.pick(REFUSED)
        given: str | bytes = contact_id.encode() if one_in(6) else contact_id
        fields = self.fields() if not one_in(3) else {}
        added, removed = ({}, {}) if one_in(2) else self.tag_edits()
        channels = self.channels() if one_in(2) else {}
        return ContactWrite(given, fields, added, removed, channels, must_exist=one_in(4))

    def fields(self) -> dict[str, object]:
        """Some fields, of few or of many; addresses from a pool of their own."""
        fields: dict[str, object] = dict(self.generator.fields(clear=True))
        if self.generator.one_in(2):
            kept = set(self.generator.several(lambda: self.generator.pick(list(self.generator.schema)).name, 3))
            fields = {name: value for name, value in fields.items() if name in kept}
        for name in ADDRESS_FIELDS.values():
            if fields.get(name) is not None or self.generator.one_in(4):
                fields[name] = self.generator.pick(_ADDRESSES)
        return fields

    def tag_edits(self) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
        """(added, removed) by tags field; now and then a tag is in both."""
        added, removed = {}, {}
        for field in self.generator.tags:
            if more := self.tags():
                added[field.name] = more
            if fewer := self.tags():
                removed[field.name] = fewer
        return added, removed

    def tags(self) -> tuple[str, ...]:
        return tuple(self.generator.pick(self.generator.pools.tags) for _ in range(self._chooser.integer(0, 3)))

    def channels(self) -> dict[Channel, dict[ChannelFlag, bool]]:
        """Flags, hard bounces most of all: they are cleared in more than one way."""
        channels = self.generator.channels()
        for channel in ADDRESS_FIELDS:
            if self.generator.one_in(3):
                channels.setdefault(channel, {})[ChannelFlag.HARD_BOUNCED] = not self.generator.one_in(5)
        return channels
