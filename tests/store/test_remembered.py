"""What snapshots remember for later ones: codes and counts by version of the base, the catalog by the schema's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.events import Event
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.store import caches
from segidx.store.base import TEXT_POSTING_MIN
from segidx.store.snapshot import Snapshot
from segidx.testing.checks import count_in

FIELDS = [Field("city", FieldType.CATEGORY), Field("note", FieldType.TEXT)]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True) as database:
        database.account().update_schema(FIELDS)
        yield database.account()


def test_what_is_remembered_of_the_base_moves_with_generations(account: Account) -> None:
    """Codes and counts are kept by version of the base, which commits to the log leave as it is."""
    account.upsert([(f"c{i}", {"city": "old"}) for i in range(5)])
    account.merge()
    seen: list[tuple[Snapshot, dict[str, int | None]]] = []

    def look(wanted: dict[str, int | None]) -> None:
        """All snapshots, the newest first and last, hold what they held: None for a city without a code."""
        seen.append((account._store.snapshot(), wanted))
        for snapshot, held in (*reversed(seen), *seen):
            city = snapshot.catalog.schema["city"]
            for text, number in held.items():
                code = snapshot.code_of(city, text)
                assert code == snapshot.dictionary(city).find_one(text)
                found = None if code is None else snapshot.value_count(snapshot.field_id(city), code)
                assert found == number, (snapshot.generation, text)
                assert count_in(snapshot, account, f'city = "{text}"') == (number or 0)

    try:
        look({"old": 5, "new": None, "later": None})
        account.upsert([("c0", {"city": "new"})])
        look({"old": 4, "new": 1, "later": None})
        account.upsert([("c1", {"city": "new"}), ("c2", {"city": "later"})])
        look({"old": 2, "new": 2, "later": 1})
        account.upsert([("c1", {"city": "old"}), ("c2", {"city": "old"})])
        look({"old": 4, "new": 1, "later": 0})
        assert len({snapshot.state.base for snapshot, _ in seen}) == 1, "all of one base"
        assert len({snapshot.generation for snapshot, _ in seen}) == 4
        account.merge()
        look({"old": 4, "new": 1, "later": 0})
        account.upsert([("c3", {"city": "later"}), ("c4", {"city": "last"})])
        look({"old": 2, "new": 1, "later": 1, "last": 1})
    finally:
        for snapshot, _ in seen:
            snapshot.close()


def test_an_older_snapshot_is_not_told_what_a_newer_one_found(account: Account) -> None:
    """It looks first after the newer one has, and both are of one base."""
    account.upsert([(f"c{i}", {"city": "old"}) for i in range(5)])
    account.merge()
    with account._store.snapshot() as older:
        account.upsert([("c0", {"city": "new"}), ("c1", {"city": "new"})])
        with account._store.snapshot() as newer:
            assert newer.state.base == older.state.base
            city = newer.catalog.schema["city"]
            field_id = newer.field_id(city)
            for snapshot, old, new in ((newer, 3, 2), (older, 5, None), (newer, 3, 2)):
                code = snapshot.code_of(city, "old")
                assert code is not None
                assert snapshot.value_count(field_id, code) == old
                assert (snapshot.code_of(city, "new") is None) == (new is None)
                for text, number in (("old", old), ("new", new or 0)):
                    assert count_in(snapshot, account, f'city = "{text}"') == number


def test_whether_a_text_has_a_posting_is_remembered_of_one_base_only(account: Account) -> None:
    """A text that becomes common is promoted by a merge."""
    account.upsert([(f"c{i}", {"note": "same" if i < 10 else f"own {i}"}) for i in range(TEXT_POSTING_MIN + 10)])
    account.merge()
    with account._store.snapshot() as rare:
        note = rare.catalog.schema["note"]
        code = rare.code_of(note, "same")
        assert code is not None
        assert rare.value_entry(rare.field_id(note), code) == (10, False)
        account.upsert([(f"c{i}", {"note": "same"}) for i in range(TEXT_POSTING_MIN + 5)])
        with account._store.snapshot() as common:
            assert common.state.base == rare.state.base
            assert common.value_entry(common.field_id(note), code) == (TEXT_POSTING_MIN + 5, False)
            account.merge()
            with account._store.snapshot() as promoted:
                assert promoted.value_entry(promoted.field_id(note), code) == (TEXT_POSTING_MIN + 5, True)
                for snapshot, number in ((rare, 10), (common, TEXT_POSTING_MIN + 5), (promoted, TEXT_POSTING_MIN + 5)):
                    assert snapshot.value_count(snapshot.field_id(note), code) == number
                    assert count_in(snapshot, account, 'note = "same"') == number


def test_a_field_that_was_declared_is_seen_at_once(account: Account) -> None:
    """The catalog is kept by version of the schema, and a declaration is no generation."""
    account.upsert([(f"c{i}", {"city": "old"}) for i in range(5)])
    with account._store.snapshot() as before:
        account.update_schema([Field("size", FieldType.NUMBER)])
        with account._store.snapshot() as after:
            assert after.generation == before.generation
            assert "size" in [field.name for field in after.catalog.schema]
            account.upsert([("c1", {"size": 3})])
            with account._store.snapshot() as older, account._store.snapshot() as newer:
                assert older.catalog is newer.catalog is after.catalog
                assert count_in(newer, account, "size = 3") == 1
            assert count_in(after, account, "size = 3") == 0
        assert "size" not in [field.name for field in before.catalog.schema]


def test_snapshots_of_one_state_are_opened_with_the_same(account: Account) -> None:
    """And with what says the same as soon as that is settled; what any commit, merge or declaration changed is new."""
    store = account._store

    def opened() -> tuple[int, ...]:
        with store.snapshot() as first, store.snapshot() as second:
            assert (first.state, first.view, first.catalog) == (second.state, second.view, second.catalog)
            assert first._entries is second._entries
            assert first.view is store.overlay.settled(first.view)
            assert first.size == len(first.ids)
            assert first.base_size == len(first.ids.base)
            assert first.newest_event == second.newest_event
            return id(first._entries), first.size, first.base_size, len(first.catalog.schema.fields)

    seen = [opened()]
    for number in range(8):
        account.upsert([(f"c{number}", {"city": "a"})])
        seen.append(opened())
    assert [each[1] for each in seen] == list(range(9))
    account.merge()
    seen.append(opened())
    assert seen[-1][2] == 8
    account.update_schema([Field("more", FieldType.NUMBER)])
    assert opened()[3] == 3
    account.write_events([Event("visit", "v", "c0", datetime(2025, 1, 1, tzinfo=UTC))])
    with store.snapshot() as snapshot:
        assert snapshot.newest_event == to_millis(datetime(2025, 1, 1, tzinfo=UTC))


def test_what_is_remembered_is_forgotten_when_it_is_too_much(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.upsert([(f"c{i}", {"city": f"city {i}"}) for i in range(30)])
    monkeypatch.setattr(caches, "CACHE_ENTRIES", 10)
    for _ in range(3):
        for number in range(30):
            assert account.count(f'city = "city {number}"').count == 1
            with account._store.snapshot() as snapshot:
                assert len(snapshot._entries) < 40


def test_a_view_is_exchanged_for_one_that_is_settled(account: Account) -> None:
    account.upsert([("c0", {"city": "a"})])
    overlay = account._store.overlay
    with account._store.snapshot() as before:
        assert before.view is overlay._view
        overlay._view = replace(overlay._view)  # as `publish` does behind a commit
        with account._store.snapshot() as after:
            assert after.view is overlay._view
            assert after._entries is before._entries
            assert after._layers is not before._layers
