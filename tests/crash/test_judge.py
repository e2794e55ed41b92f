"""The judge of what crashes leave: it lets every possible state pass, and no other."""

from __future__ import annotations

import copy
from itertools import count
from typing import Any

import pytest
from crashkit.events import Event, EventRow, Retraction
from crashkit.judge import Ledger, Lost
from crashkit.load import Batch, batch
from crashkit.model import Answer, Model
from crashkit.report import Run

SEED = 7
# Batches of rows, so that each changes something that can be seen.
NUMBERS = [n for n, _ in zip((n for n in count(1) if batch(n, SEED).rows), range(8), strict=False)]
KEYED = next(i for i, n in enumerate(NUMBERS) if batch(n, SEED).key)


def after(numbers: list[int], begun: int | None = None) -> Model:
    """These batches, and the contacts that the import `begun` creates."""
    model = Model()
    for number in numbers:
        model.apply(batch(number, SEED))
    if begun is not None:
        assert model.create_buyers(batch(begun, SEED))
    return model


# Imports: the first creates contacts, the second replaces some of its orders.
ORDERS = [n for n in range(1, 2_000) if len(batch(n, SEED).orders) > 5]
FIRST = next(n for n in ORDERS if len(after(NUMBERS[:2]).buyers_missing(batch(n, SEED))) > 1)
AGAIN = next(
    n for n in ORDERS if n > FIRST and {o.order_id for o in batch(n, SEED).orders} & after([FIRST]).orders().keys()
)


def observation(
    numbers: list[int], generation: int | None = None, begun: int | None = None, **more: Any
) -> dict[str, Any]:
    """What a directory holds after these batches."""
    model = after(numbers, begun)
    contacts = {
        id_: {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields.items()}
        for id_, fields in model.visible().items()
    }
    reached = len(numbers) if generation is None else generation
    held = {"contacts": contacts, "padding": 0, "events": model.events(), "revised": model.revised()}
    held["counts"] = model.counts()
    return {"generation": reached, **held, "broken": [], "after": [], **more}


def acknowledgement(index: int, generation: int, answer: Answer) -> str:
    events = f"{answer.events} {answer.event_duplicates} {answer.event_rejects}"
    return f"ack {index} {generation} {answer.accepted} {answer.created} {answer.rejects} 0 {events}"


def run(numbers: list[int], acknowledged: int) -> Run:
    """A run that submitted these batches, each a commit, and got this many acknowledgements."""
    model, lines = Model(), ["open 0"]
    for index, number in enumerate(numbers):
        lines.append(f"submit {index} {number} {batch(number, SEED).kind}")
        answer = model.apply(batch(number, SEED))
        assert answer is not None
        if index < acknowledged:
            lines.append(acknowledgement(index, index + 1, answer))
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
        answer = Answer(ack.accepted, 0, ack.created, ack.rejects, ack.events, ack.event_duplicates, ack.event_rejects)
        told = acknowledgement(0, ack.generation, answer).split()
        told[6] = str(int(sent_again))
        lines = [f"submit 0 {again[0]} write", " ".join(told)]
        if passes:
            assert ledger.settle(Run.of(lines), observation(before)) == 0
        else:
            with pytest.raises(Lost, match="taken for a new one"):
                ledger.settle(Run.of(lines), observation(before, generation + 1))


THREE = [*NUMBERS[:2], FIRST, NUMBERS[2]]  # the import is in flight with what is behind it


@pytest.mark.parametrize(
    "left",
    [
        observation(NUMBERS[:2]),
        observation(NUMBERS[:2], begun=FIRST, generation=3),
        observation(THREE[:3], generation=4),
        observation(THREE, generation=5),
    ],
)
def test_an_import_in_flight_is_there_or_not_or_its_contacts_are(left: dict[str, Any]) -> None:
    ledger = Ledger(SEED)
    imported = f"only {FIRST}" in left["events"].get("order", {})
    assert ledger.settle(run(THREE, 2), left) == max(0, left["generation"] - 3 if imported else 0)
    assert ledger.begun == (left["generation"] == 3)


def half_imported(numbers: list[int], imported: int, part: str) -> dict[str, Any]:
    """One of the contacts, or of the orders, that an import changes as it would have it, the others as before."""
    before = observation(numbers, begun=imported if part == "orders" else None)
    whole = observation([*numbers, imported])
    was, becomes = (
        left["events"].setdefault("order", {}) if part == "orders" else left[part] for left in (before, whole)
    )
    changed = sorted(id_ for id_ in becomes if becomes[id_] != was.get(id_))
    assert len(changed) > 1
    was[changed[0]] = becomes[changed[0]]
    return before


@pytest.mark.parametrize(
    "left",
    [
        half_imported(NUMBERS[:2], FIRST, "orders"),
        half_imported(NUMBERS[:2], FIRST, "contacts"),
        observation(NUMBERS[:2], begun=FIRST, generation=4),
        observation(NUMBERS[:3], begun=FIRST),  # what is behind it is there
        observation(NUMBERS[:2], events=observation(THREE[:3])["events"]),
        observation(THREE[:3], generation=5),
    ],
)
def test_half_an_import_is_refused(left: dict[str, Any]) -> None:
    with pytest.raises(Lost):
        Ledger(SEED).settle(run(THREE, 2), left)


def test_an_acknowledged_import_is_there_whole_and_what_it_replaces_is_gone() -> None:
    sent = [*NUMBERS[:2], FIRST, AGAIN]
    assert Ledger(SEED).settle(run(sent, 4), observation(sent)) == 0
    events = after(sent).events()
    older, newer = after(sent[:3]).orders(), events["order"]
    replaced = next(id_ for id_ in older if newer[id_] != older[id_])
    missing = {id_: order for id_, order in newer.items() if id_ != replaced}
    for orders in (older, {**newer, replaced: older[replaced]}, missing):
        with pytest.raises(Lost, match="orders differ"):
            Ledger(SEED).settle(run(sent, 4), observation(sent, events={**events, "order": orders}))


# Batches of events, with contacts and without.
LIVE = [n for n in range(1, 400) if len(batch(n, SEED).events) > 10][:12]


def change(left: dict[str, Any], what: str) -> None:
    """Make of what these batches leave something that they cannot leave."""
    before, now = after(LIVE[:-1]), after(LIVE)
    orders, visits = left["events"]["order"], left["events"]["visit"]
    older = {id_: event for n in range(1, 11) for id_, event in after(LIVE[:n]).events()["visit"].items()}
    if what == "a line is missing":
        order = next(order for order in orders.values() if len(order["lines"]) > 1)
        order["lines"] = order["lines"][:-1]
    elif what == "an order has lines of before":
        id_ = next(i for i, o in before.orders().items() if o["lines"] != orders.get(i, o)["lines"])
        orders[id_] = {**orders[id_], "lines": before.orders()[id_]["lines"]}
    elif what == "an event is missing":
        del visits[f"only {LIVE[0]}"]
    elif what == "one that was taken back is there":
        id_ = next(i for i in older if i not in visits)
        visits[id_] = older[id_]
    elif what == "a property is of before":
        id_ = next(i for i, e in older.items() if e != visits.get(i, e))
        visits[id_] = older[id_]
    elif what == "a type is as before":
        left["events"]["task"] = before.events()["task"]
    elif what == "a revision is forgotten":
        del left["revised"][next(key for key in now.revised() if key not in before.revised())]
    else:
        assert what == "padding"
        left["padding"] = 1


@pytest.mark.parametrize(
    "what",
    [
        "a line is missing",
        "an order has lines of before",
        "an event is missing",
        "one that was taken back is there",
        "a property is of before",
        "a type is as before",
        "a revision is forgotten",
        "padding",
    ],
)
def test_half_a_batch_of_events_is_refused(what: str) -> None:
    assert Ledger(SEED).settle(run(LIVE, 12), observation(LIVE)) == 0
    left = copy.deepcopy(observation(LIVE))
    change(left, what)
    for acknowledged in (11, 12):
        with pytest.raises(Lost, match="no cut of 12 submitted batches"):
            Ledger(SEED).settle(run(LIVE, acknowledged), left)


@pytest.mark.parametrize("there", [3, 4, 11, 12])
def test_batches_of_events_in_flight_are_there_or_not(there: int) -> None:
    assert Ledger(SEED).settle(run(LIVE, 3), observation(LIVE[:there])) == there - 3


@pytest.mark.parametrize("part", [-3, -2, -1])
def test_an_answer_that_counts_events_wrongly_is_refused(part: int) -> None:
    wrong = run(LIVE[:6], 5)
    answer = after(LIVE[:5]).apply(batch(LIVE[5], SEED))
    assert answer is not None
    told = acknowledgement(5, 6, answer).split()
    told[part] = str(int(told[part]) + 1)
    wrong.add(" ".join(told))
    with pytest.raises(Lost, match="which should have been"):
        Ledger(SEED).settle(wrong, observation(LIVE[:6]))


def test_the_rule_of_revisions() -> None:
    model = Model()

    def write(*rows: EventRow) -> tuple[int, int, int]:
        answer = model.apply(Batch(1, "write", (), "", (), rows))
        assert answer is not None
        return answer.events, answer.event_duplicates, answer.created

    def visit(contact: str, revision: int | None = None) -> Event:
        return Event("visit", "v", contact, 0, {}, revision)

    def taken_back(revision: int | None = None) -> Retraction:
        return Retraction("visit", "v", revision)

    def whose() -> str | None:
        return model.events().get("visit", {}).get("v", {}).get("contact")

    assert write(taken_back()) == (1, 0, 0)
    assert write(visit("a"), taken_back()) == (0, 2, 0)
    assert (whose(), model.revised()) == (None, {"visit v": [0, True]})
    assert write(visit("a", 1), visit("b", 1)) == (1, 1, 2)
    assert whose() == "b"
    assert write(visit("c")) == (0, 1, 0)
    assert write(taken_back(2), visit("c", 2), visit("a", 1)) == (1, 2, 0)
    assert (whose(), model.revised()) == (None, {"visit v": [2, True]})
    assert write(visit("c", 3)) == (1, 0, 1)
    assert (whose(), model.revised(), sorted(model.contacts)) == ("c", {"visit v": [3, False]}, ["a", "b", "c"])


def test_counts_that_contradict_the_orders_are_refused() -> None:
    left = observation(THREE)
    left["counts"]["count(order) >= 2"] += 1
    with pytest.raises(Lost, match="count\\(order\\) >= 2"):
        Ledger(SEED).settle(run(THREE, 4), left)


def test_an_import_that_was_refused_has_left_its_contacts_at_most() -> None:
    refused = run(THREE[:3], 2)
    refused.add("fail 2 STORAGE_FULL")
    for begun in (None, FIRST):
        left = observation(NUMBERS[:2], begun=begun, generation=2 + (begun is not None))
        assert Ledger(SEED).settle(refused, left) == 0
    with pytest.raises(Lost):
        Ledger(SEED).settle(refused, observation(THREE[:3]))


@pytest.mark.parametrize("begun", [True, False])
def test_what_a_refused_import_has_left_is_told_from_what_a_later_one_creates(begun: bool) -> None:
    model = after(NUMBERS[:2], FIRST if begun else None)
    answer = model.apply(batch(FIRST, SEED))
    assert answer is not None
    sent_again = run(THREE[:3], 2)
    sent_again.add("fail 2 STORAGE_FULL")
    sent_again.add(f"submit 3 {FIRST} orders")
    sent_again.add(f"ack 3 {4 if begun else 5} {answer.accepted} {answer.created} {answer.rejects} 0")
    ledger = Ledger(SEED)
    assert ledger.settle(sent_again, observation(THREE[:3], generation=4 if begun else 5)) == 0
    assert ledger.begun == begun
    assert ledger.settled == THREE[:3]
