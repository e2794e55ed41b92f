"""The judge of what crashes leave: it lets every possible state pass, and no other."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from crashkit.judge import Ledger, Lost
from crashkit.load import batch
from crashkit.model import Model
from crashkit.report import Run

SEED = 7
# Batches of rows, so that each changes something that can be seen.
NUMBERS = [n for n, _ in zip((n for n in count(1) if batch(n, SEED).kind != "tag"), range(8), strict=False)]
KEYED = next(i for i, n in enumerate(NUMBERS) if batch(n, SEED).key)


def observation(numbers: list[int], generation: int | None = None, **more: Any) -> dict[str, Any]:
    """What a directory holds after these batches."""
    model = Model()
    for number in numbers:
        model.apply(batch(number, SEED))
    contacts = {
        id_: {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields.items()}
        for id_, fields in model.visible().items()
    }
    reached = len(numbers) if generation is None else generation
    return {"generation": reached, "contacts": contacts, "counts": model.counts(), "broken": [], "after": [], **more}


def run(numbers: list[int], acknowledged: int) -> Run:
    """A run that submitted these batches, each a commit, and got this many acknowledgements."""
    model, lines = Model(), ["open 0"]
    for index, number in enumerate(numbers):
        lines.append(f"submit {index} {number}")
        answer = model.apply(batch(number, SEED))
        assert answer is not None
        if index < acknowledged:
            lines.append(f"ack {index} {index + 1} {answer.accepted} {answer.created} {answer.rejects} 0")
    return Run.of(lines)


@pytest.mark.parametrize("there", [3, 4, 5])
def test_batches_in_flight_are_there_or_not(there: int) -> None:
    assert Ledger(SEED).settle(run(NUMBERS[:5], 3), observation(NUMBERS[:there])) == there - 3


def test_batches_of_one_commit_share_a_generation() -> None:
    assert Ledger(SEED).settle(run(NUMBERS[:5], 3), observation(NUMBERS[:5], generation=4)) == 2


@pytest.mark.parametrize(
    "left",
    [
        observation(NUMBERS[:2]),  # an acknowledged batch is missing
        observation([*NUMBERS[:3], NUMBERS[4]]),  # one in flight is there without the one before it
        observation(NUMBERS[:3], generation=2),
        observation(NUMBERS[:3], generation=4),
        observation(NUMBERS[:3], broken=["a posting contradicts its column"]),
        observation(NUMBERS[:3], after=["writing on failed"]),
        {"error": "CorruptData"},
        observation(NUMBERS[:6]),  # never submitted
    ],
)
def test_what_cannot_be_left_is_refused(left: dict[str, Any]) -> None:
    with pytest.raises(Lost):
        Ledger(SEED).settle(run(NUMBERS[:5], 3), left)


def test_half_a_batch_is_refused() -> None:
    left = observation(NUMBERS[:3])
    whole = observation(NUMBERS[:4])["contacts"]
    changed = sorted(id_ for id_ in whole if whole[id_] != left["contacts"].get(id_))
    assert len(changed) > 1
    left["contacts"][changed[0]] = whole[changed[0]]
    with pytest.raises(Lost, match="no cut of 5 submitted batches"):
        Ledger(SEED).settle(run(NUMBERS[:5], 3), left)


def test_counts_that_contradict_the_contacts_are_refused() -> None:
    left = observation(NUMBERS[:3])
    left["counts"]["city is set"] += 1
    with pytest.raises(Lost, match="city is set"):
        Ledger(SEED).settle(run(NUMBERS[:5], 3), left)


def test_a_refused_batch_is_not_there() -> None:
    refused = run(NUMBERS[:4], 3)
    refused.add("fail 3 STORAGE_FULL")
    assert Ledger(SEED).settle(refused, observation(NUMBERS[:3])) == 0
    refused.numbers.append(NUMBERS[4])
    with pytest.raises(Lost):
        Ledger(SEED).settle(refused, observation(NUMBERS[:4]))


def test_a_batch_sent_again_gets_the_same_answer_and_changes_nothing() -> None:
    before = NUMBERS[: KEYED + 1]
    again, generation = [NUMBERS[KEYED]], len(before)
    first = run(before, len(before))
    for sent_again, passes in ((True, True), (False, False)):
        ledger = Ledger(SEED)
        ledger.settle(first, observation(before))
        ack = first.acks[KEYED]
        lines = [
            f"submit 0 {again[0]}",
            f"ack 0 {ack.generation} {ack.accepted} {ack.created} {ack.rejects} {int(sent_again)}",
        ]
        if passes:
            assert ledger.settle(Run.of(lines), observation(before)) == 0
        else:
            with pytest.raises(Lost, match="taken for a new one"):
                ledger.settle(Run.of(lines), observation(before, generation + 1))
