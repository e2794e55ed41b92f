"""Rows of one contact in a batch were joined where the second depends on what the first did: an id given as bytes was
taken for another one, so that a row that may create was lost with one that must not; of several rows refused one was
reported; and an address that came and went within a batch did not clear the bounce of the old one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.schema import Field, FieldType
from segidx.model.writes import Channel, ChannelFlag, ContactWrite

BOUNCED = 'hard_bounced("email")'
BOUNCE = {Channel.EMAIL: {ChannelFlag.HARD_BOUNCED: True}}


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.update_schema([Field("email", FieldType.TEXT), Field("tags", FieldType.TAGS)])
        yield account


def test_an_id_in_bytes_is_the_same_contact(account: Account) -> None:
    rows = [ContactWrite("a", must_exist=True), ContactWrite(b"a", tags_added={"tags": ["x"]})]
    result = account.write(rows)
    assert (result.accepted, result.created, [r.index for r in result.rejects]) == (1, 1, [0])
    assert account.get("a").fields == {"tags": {"x"}}
    account.write([ContactWrite("a", channels=BOUNCE), ContactWrite(b"a", {"email": "new"})])
    assert account.count(BOUNCED).count == 0


def test_every_refused_row_is_reported(account: Account) -> None:
    rows = [ContactWrite("nobody", must_exist=True), ContactWrite("b"), ContactWrite("nobody", must_exist=True)]
    result = account.write(rows)
    assert (result.accepted, result.created, result.duplicates) == (1, 1, 0)
    assert [(r.index, r.reason) for r in result.rejects] == [(0, "CONTACT_NOT_FOUND"), (2, "CONTACT_NOT_FOUND")]


@pytest.mark.parametrize("second", ["old", None, "third"])
@pytest.mark.parametrize("contact_id", ["a", b"a"])
def test_an_address_that_came_and_went_clears_the_bounce(
    account: Account, contact_id: str | bytes, second: str | None
) -> None:
    account.write([ContactWrite("a", {"email": "old"}, channels=BOUNCE)])
    assert account.count(BOUNCED).count == 1
    account.write([ContactWrite("a", {"email": "new"}), ContactWrite(contact_id, {"email": second})])
    assert account.count(BOUNCED).count == 0
    assert account.get("a").fields == ({} if second is None else {"email": second})


def test_an_address_taken_away_and_given_again_clears_the_bounce(account: Account) -> None:
    account.write([ContactWrite("a", {"email": "old"}, channels=BOUNCE)])
    account.write([ContactWrite("a", {"email": None}), ContactWrite("a", {"email": "old"})])
    assert account.count(BOUNCED).count == 0
