"""Random lives of an account whose fields are tracked, over two hundred days, asked of now and of the past, against
the oracle: unmerged, merged, reopened, in bulk, in another process and over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from segidx.client import connect
from segidx.database import Database
from segidx.model.errors import SegidxError
from segidx.model.expression import Expression, Not, Or
from segidx.model.schema import AccountInfo
from segidx.model.syntax import format_expression
from segidx.model.windows import from_millis, to_millis
from segidx.model.writes import ContactWrite
from segidx.service.server import start
from segidx.store import feed
from segidx.testing import oracle_writes
from segidx.testing.account_lives import AT, EVERYTHING, Life, leave_unmerged, live, shrink
from segidx.testing.checks import check_expression
from segidx.testing.effort import seeds
from segidx.testing.generator import Generator, RandomChooser
from segidx.testing.generator_writes import WRITTEN, WriteGenerator
from segidx.testing.oracle import Oracle
from segidx.testing.places import quick_directory
from segidx.testing.pools import Pools, pools_for
from segidx.testing.reader import Reader

DAY = 86_400_000
WEIGHTED = tuple((name, weight) for name, weight in EVERYTHING if name not in ("declare", "replay", "write_with_a_key"))


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(feed, "RETAINED_MILLIS", 1000 * DAY)


def few(pools: Pools) -> Pools:
    """Values that come again and again."""
    return replace(pools, strings=("a", "b", "PL"), tags=("a", "vip", "\u0142\xf3d\u017a"), absent_strings=("zzz",))


class Asking(Generator):
    """Expressions that ask of history in the first place."""

    def __init__(self, chooser: RandomChooser, oracle: Oracle, pools: Pools) -> None:
        super().__init__(chooser, oracle.schema, pools)
        self.leaves = [self.became, self.tagged] * 4 + [self.has_tags, self.string_comparison]


class TrackedLife(Life):
    """A life that goes on for days between any two steps."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.pools = few(self.pools)
        self.ids = self.ids[:24]
        self.now = to_millis(AT) - 200 * DAY
        self.moments = [self.now]
        self.told_apart = 0  # questions that some contacts answer, and some do not

    def rows(self, most: int) -> list[ContactWrite]:
        self.now = min(self.now + int(self.rng.exponential(2 * DAY)), to_millis(AT) - 1_000_000)
        self.moments.append(self.now)
        return super().rows(most)

    def tag(self) -> None:
        self.now = min(self.now + int(self.rng.exponential(DAY)), to_millis(AT) - 1_000_000)
        super().tag()

    def expressions(self, n: int) -> list[Expression]:
        generator = Asking(RandomChooser(self.rng), self.oracle, self.pools)
        return [generator.expression(generator.chooser.integer(1, 3)) for _ in range(3 * n)]

    def check_some(self) -> None:
        """Now, and in the middle between two steps."""
        times = sorted({*self.moments, self.now + 100_000})
        past = int(self.rng.integers(len(times)))
        middle = (times[past] + times[min(past + 1, len(times) - 1)]) // 2
        for expression in self.expressions(4):
            for at in (AT, from_millis(middle + 500), from_millis(self.now + 100_000)):
                check_expression(self.account, self.oracle, expression, at)
                try:
                    self.told_apart += 0 < self.oracle.count(expression, at) < len(self.oracle.contacts)
                except SegidxError:
                    continue
                if self.reader is not None and at != AT:
                    wanted = (self.generation, self.oracle.members(expression, at))
                    assert self.reader.members(expression, at) == wanted


@pytest.mark.parametrize("seed", seeds(2))
def test_a_random_life(place: Path, seed: int) -> None:
    with closing(TrackedLife(place / "d", seed)) as life:
        live(life, 60, WEIGHTED)
        assert life.told_apart > 100


def test_a_life_that_another_process_reads(place: Path) -> None:
    with closing(TrackedLife(place / "d", 50)) as life, Reader(place / "d", "test") as life.reader:
        live(life, 24, WEIGHTED)


def test_a_life_in_one_segment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small commits over a few contacts, nothing merged: the overlay has it all."""
    leave_unmerged(monkeypatch.setattr)
    with closing(TrackedLife(place / "d", 60)) as life:
        life.ids = life.ids[:5]
        weighted = (("write", 5), ("write_in_waves", 2), ("write_apart", 2), ("tag", 5), ("track", 1), ("reopen", 1))
        live(life, 60, weighted)
        assert life.account.stats().merged_generation == 0
        life.merge()
        life.check_all()


def test_over_grpc(place: Path) -> None:
    """Declared, written and asked for over the wire, in trees and in text, while the server's clock goes on."""
    rng = np.random.default_rng(5)
    zone = "Europe/Warsaw"
    pools = few(pools_for(AT, zone))
    now = [to_millis(AT) - 100 * DAY]
    oracle = Oracle(WRITTEN, zone, clock=lambda: now[0])
    writer = WriteGenerator(RandomChooser(rng), WRITTEN, pools, [f"c{i}" for i in range(30)])
    asking = Asking(RandomChooser(rng), oracle, pools)

    def expected(expression: Expression, at: datetime) -> int | str:
        try:
            return oracle.count(expression, at)
        except SegidxError as error:
            return error.reason

    with (
        Database.open(place / "d", create=True, clock=lambda: now[0]) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        account = client.create_account(AccountInfo("test", zone))
        assert account.update_schema(WRITTEN.fields) == WRITTEN
        for step in range(30):
            now[0] += int(rng.exponential(3 * DAY))
            rows = writer.rows(12)
            wanted = oracle_writes.write(oracle, rows)
            assert account.write(rows).created == wanted.result.created
            if step % 3 == 2:
                expressions = [asking.expression(asking.chooser.integer(1, 3)) for _ in range(15)]
                at = account.count("everyone").evaluation.evaluated_at
                assert 0 < to_millis(at) - now[0] < 100
                for asked in (expressions, [format_expression(each) for each in expressions]):
                    answers = account.count_many(asked)
                    found = [a.reason if isinstance(a, SegidxError) else a.count for a in answers]
                    assert found == [expected(each, at) for each in expressions]
            if step % 10 == 9:
                database.account("test").merge()


def test_questions_of_every_kind_differ(place: Path) -> None:
    """A union with its own negation is everybody, at any instant and whatever is merged."""
    with closing(TrackedLife(place / "d", 7)) as life:
        for _ in range(12):
            life.write()
        for expression in life.expressions(6):
            for at in (AT, from_millis(life.moments[6])):
                try:
                    life.oracle.members(expression, at)
                except SegidxError:
                    continue
                check_expression(life.account, life.oracle, Or((expression, Not(expression))), at)
