"""The parts of the benchmarks of writing: the updates, the recount they are checked with, and the figures."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bench.live.corpus import START_MS, make_live_corpus, store
from bench.live.figures import memory, percentiles, rate, worst_rate
from bench.live.purchases import PurchaseStream, PurchaseTruth
from bench.live.sampler import Samples
from bench.live.truth import Truth
from bench.live.unmerged import merge_all, write_unmerged
from bench.live.updates import UpdateStream
from segidx.database import Database

SIZE, SEED = 3000, 5


def test_a_batch_follows_from_its_number_and_clients_share_the_contacts_out() -> None:
    def contacts(client: int, number: int) -> np.ndarray:
        return UpdateStream(SIZE, SEED, client, 4, 100).columns(number).contacts

    assert np.array_equal(contacts(1, 3), contacts(1, 3))
    assert not np.array_equal(contacts(1, 3), contacts(1, 4))
    for client in range(4):
        drawn = np.concatenate([contacts(client, number) for number in range(30)])
        assert set(drawn.tolist()) <= set(range(client, SIZE, 4))
        assert len(np.unique(drawn)) > SIZE // 4 * 0.9


def test_every_update_has_five_fields_and_two_tags_and_is_later_than_all_before() -> None:
    stream = UpdateStream(SIZE, SEED, 0, 1, 50)
    last = START_MS - 1
    for number in range(3):
        updates = stream.columns(number)
        assert np.all(updates.tags[:, 0] != updates.tags[:, 1])
        assert int(updates.seen[0]) == last + 1
        last = int(updates.seen[-1])
        for row, write in enumerate(stream.batch(updates)):
            assert write.contact_id == f"c{updates.contacts[row]:09d}"
            assert set(write.fields) == {"income", "country", "active", "seen", "city"}
            assert len(set(write.tags_added["tags"])) == 2


def test_the_recount_is_what_the_store_holds(tmp_path: Path) -> None:
    """Truth against segidx, unmerged and merged; and truth against itself with one batch more, which must differ."""
    corpus = make_live_corpus(SIZE, SEED)
    store(corpus, tmp_path / "data")
    stream = UpdateStream(SIZE, SEED, 0, 1, 500)
    sent = [stream.columns(number) for number in range(4)]
    truth = Truth(corpus)
    truth.apply(sent)
    held = write_unmerged(tmp_path / "data", [stream.batch(updates) for updates in sent])
    assert held.changes == 2000
    assert held.log_bytes > 0
    for _ in range(2):
        with Database.open(tmp_path / "data", read_only=True) as database:
            account = database.account()
            expected = truth.counts()
            answers = account.count_many(list(expected))
            assert [getattr(answer, "count", answer) for answer in answers] == list(expected.values())
            for row in (*sent[0].contacts[:20].tolist(), *range(20)):
                assert dict(account.get(f"c{row:09d}").fields) == truth.contact(row)
        assert merge_all(tmp_path / "data").log_bytes == 0
    truth.apply([stream.columns(4)])
    assert truth.counts() != expected


def test_the_last_of_several_updates_of_a_contact_counts() -> None:
    truth = Truth(make_live_corpus(10, SEED))
    stream = UpdateStream(10, SEED, 0, 1, 200)
    updates = stream.columns(0)
    truth.apply([updates])
    row = int(updates.contacts[0])
    last = int(np.flatnonzero(updates.contacts == row)[-1])
    assert truth.contact(row)["income"] == Decimal(int(updates.income[last]))


def test_writing_unmerged_stops_at_the_size_asked_for(tmp_path: Path) -> None:
    store(make_live_corpus(SIZE, SEED), tmp_path / "data")
    stream = UpdateStream(SIZE, SEED, 0, 1, 100)
    endless = (stream.batch(stream.columns(number)) for number in range(10**9))
    held = write_unmerged(tmp_path / "data", endless, log_bytes=200_000)
    assert 200_000 <= held.log_bytes < 1_000_000


def test_percentiles_are_values_that_were_measured() -> None:
    found = percentiles([*range(1, 100), 1000.0])
    assert found is not None
    assert (found.p50, found.p99, found.count) == (51, 1000, 100)
    assert percentiles([]) is None


def test_rates_count_from_the_first_sending_and_the_worst_stretch_is_found() -> None:
    acknowledged = [second + tenth / 10 for second in range(20) for tenth in range(10) if not 8 <= second < 10]
    assert rate([0.0] * len(acknowledged), acknowledged, 100) == pytest.approx(180 * 100 / 19.9)
    assert worst_rate(acknowledged, 100, 4.0) == pytest.approx(500, rel=0.06)
    assert worst_rate(acknowledged, 100, 30.0) == 0.0


def test_memory_that_climbs_is_not_flat() -> None:
    assert memory([50, *[100] * 40]).flat
    climbing = memory(list(range(100, 200)))
    assert not climbing.flat
    assert (climbing.start, climbing.most, climbing.end) == (100, 199, 199)
    assert memory([7]).growth == 1.0


def test_samples_of_nothing_say_nothing() -> None:
    nothing = Samples()
    assert (nothing.merges(), nothing.record_bytes(), nothing.most_overlay_bytes()) == (0, 0.0, 0)


def test_the_recount_of_orders_is_what_the_store_holds(tmp_path: Path) -> None:
    """As above, of orders: some of them sent again, and so replaced."""
    store(make_live_corpus(SIZE, SEED), tmp_path / "data")
    streams = [PurchaseStream(SIZE, SEED, client, 2, 500) for client in range(2)]
    sent = [stream.columns(number) for number in range(4) for stream in streams]
    truth = PurchaseTruth(SIZE)
    truth.apply(sent)
    expected = truth.counts()
    again = sum(len(p.numbers) for p in sent) - len(np.unique([(p.client, n) for p in sent for n in p.numbers], axis=0))
    assert again > 20
    batches = [stream.batch(stream.columns(number)) for number in range(4) for stream in streams]
    assert write_unmerged(tmp_path / "data", batches).changes == 4000
    for _ in range(2):
        with Database.open(tmp_path / "data", read_only=True) as database:
            answers = database.account().count_many(list(expected))
            assert [getattr(answer, "count", answer) for answer in answers] == list(expected.values())
        assert merge_all(tmp_path / "data").log_bytes == 0
    truth.apply([streams[0].columns(4)])
    assert truth.counts() != expected
