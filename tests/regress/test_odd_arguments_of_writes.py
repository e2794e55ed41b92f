"""Tags given as an iterator were read by their check and then lost; tags of None, a flag that is none, and an id that
has no form in UTF-8 raised untyped errors for all rows instead of refusing their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segidx.database import Account, Database
from segidx.model.schema import Field, FieldType
from segidx.model.writes import Channel, ChannelFlag, ContactWrite


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.update_schema([Field("tags", FieldType.TAGS)])
        account.write([ContactWrite("a")])
        yield account


def test_tags_of_an_iterator_are_written(account: Account) -> None:
    tags: Any = (tag for tag in ("x", "y"))
    account.write([ContactWrite("a", tags_added={"tags": tags})])
    assert account.get("a").fields == {"tags": {"x", "y"}}


@pytest.mark.parametrize(
    "row",
    [
        ContactWrite("a", tags_added={"tags": None}),  # type: ignore[dict-item]
        ContactWrite("a", tags_removed={"tags": 5}),  # type: ignore[dict-item]
        ContactWrite("a", channels={"email": {"consent": True}}),  # type: ignore[dict-item]
        ContactWrite("a", channels={Channel.EMAIL: {ChannelFlag.CONSENT: None}}),  # type: ignore[dict-item]
    ],
)
def test_a_bad_row_is_refused_alone(account: Account, row: ContactWrite) -> None:
    result = account.write([ContactWrite("b"), row, ContactWrite("c")])
    assert (result.accepted, result.created) == (2, 2)
    assert [(reject.index, reject.reason) for reject in result.rejects] == [(1, "INVALID_VALUE")]


def test_ids_that_no_contact_has(account: Account) -> None:
    ids: Any = ["\ud800", "a", "", None, "a", "nobody", 5]
    result = account.tag(ids, add=["x"])
    assert (result.accepted, result.duplicates) == (1, 1)
    assert [reject.index for reject in result.rejects] == [0, 2, 3, 5, 6]
    assert {reject.reason for reject in result.rejects} == {"CONTACT_NOT_FOUND"}
    assert account.count('tags has "x"').count == 1
