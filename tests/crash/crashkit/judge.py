"""Compares what is left of a directory with what was acknowledged. Imports the model and nothing of segidx.

Batches commit in order of submission and an acknowledgement comes after the commit, so what is left must be the batches
up to some point: all that are acknowledged, and of those in flight any number of the first, each wholly. An import of
orders is two commits, the contacts that it creates and then the orders: it may also have come as far as the first, and
one that was refused may have, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crashkit.load import batch
from crashkit.model import Answer, Model
from crashkit.report import Ack, Run


class Lost(AssertionError):
    """What is left is not what any cut of the submissions would leave."""


class Ledger:
    """What must be in a directory, over the lives of several writers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.model = Model()
        self.generation = 0
        self.settled: list[int] = []  # numbers of the batches that are there
        self.begun = 0  # imports that have left the contacts they create, and no order
        self._acks: dict[int, Ack] = {}  # of keyed batches, by number

    def settle(self, run: Run, observation: dict[str, Any]) -> int:
        """Judge what is left after a run, and take it as what is there from now on. Returns how many of the batches in
        flight had committed. Raises Lost."""
        if "error" in observation:
            raise Lost(observation["error"])
        if observation["broken"]:
            raise Lost(f"verify: {observation['broken'][:5]}")
        if observation["after"]:
            raise Lost(f"writing on: {observation['after'][:5]}")
        committed = [ack.generation for _, ack in sorted(run.acks.items()) if not ack.replayed]
        if committed != sorted(committed):
            raise Lost(f"batches were committed in another order than they were handed in: {committed}")
        return self._follow(run, observation, 0, 0)

    def _follow(self, run: Run, observation: dict[str, Any], start: int, untold: int) -> int:
        """Apply the batches from index `start` on and judge what is left, with so many generations before that no
        acknowledgement tells of."""
        certain = run.acknowledged()
        for index in range(start, certain):
            if index in run.failures and self._may_have_begun(run, index, observation):
                before = (self.model.copy(), list(self.settled), dict(self._acks), self.begun)
                self._begin(run, index)
                try:
                    return self._follow(run, observation, index + 1, untold + 1)
                except Lost:  # a later batch has created them
                    self.model, self.settled, self._acks, self.begun = before
            self._apply(run, index)
            if index in run.acks and not run.acks[index].replayed:
                untold = 0
        in_flight = 0
        while not self._is_left(observation):
            index = certain + in_flight
            if index >= len(run.numbers):
                raise Lost(self._difference(run, certain, observation))
            if self._may_have_begun(run, index, observation):
                self._begin(run, index)
                untold += 1
                if self._is_left(observation):
                    break
                self.begun -= 1
            self._apply(run, index)
            in_flight += 1
        counts = self.model.counts()
        wrong = {text: (n, counts[text]) for text, n in observation["counts"].items() if n != counts[text]}
        if wrong:
            raise Lost(f"counts that contradict the contacts (found, expected): {wrong}")
        unseen = self._unseen(run.numbers[certain + in_flight :])
        self._check_generation(observation["generation"], newest_acknowledged(run), untold + in_flight + unseen)
        return in_flight

    def _is_left(self, observation: dict[str, Any]) -> bool:
        contacts = {id_: _sets(fields) for id_, fields in observation["contacts"].items()}
        found = contacts, observation["events"], observation["revised"], observation["padding"]
        return found == self.model.seen()

    def _may_have_begun(self, run: Run, index: int, observation: dict[str, Any]) -> bool:
        """Whether the batch is an import that has contacts to create, and all of them are there."""
        missing = self.model.buyers_missing(batch(run.numbers[index], self.seed))
        return bool(missing) and missing <= observation["contacts"].keys()

    def _begin(self, run: Run, index: int) -> None:
        """Do the first half of an import."""
        self.model.create_buyers(batch(run.numbers[index], self.seed))
        self.begun += 1

    def _apply(self, run: Run, index: int) -> None:
        number, ack = run.numbers[index], run.acks.get(index)
        if index in run.failures:
            return
        wanted = batch(number, self.seed)
        answer = self.model.apply(wanted)
        if answer is not None:
            self.settled.append(number)
        if ack is None:
            return
        said = replace(ack, replayed=False)
        if answer is None:
            if not ack.replayed:
                raise Lost(f"batch {number} was there already, and its key was taken for a new one")
            before = self._acks.get(number)
            if before is not None and before != said:
                raise Lost(f"batch {number} answered {before} first and {said} when it was sent again")
        else:
            if ack.replayed:
                raise Lost(f"batch {number} was answered as sent again, but nothing of it was there")
            # Rows with one id may be counted as one or, where one must see what the other did, each.
            plausible = answer.accepted <= ack.accepted <= answer.rows
            if not plausible or _counted(ack) != _counted(answer):
                raise Lost(f"batch {number} was answered with {ack}, which should have been {answer}")
        if wanted.key:
            self._acks[number] = said

    def _unseen(self, numbers: list[int]) -> int:
        """How many of the batches that follow would change nothing that can be seen, and so may be there too."""
        ahead = self.model.copy()
        for n, number in enumerate(numbers):
            ahead.apply(batch(number, self.seed))
            if ahead.seen() != self.model.seen():
                return n
        return len(numbers)

    def _check_generation(self, found: int, acknowledged: int, in_flight: int) -> None:
        floor = max(self.generation, acknowledged)
        # Of batches in flight each is a generation at most; those acknowledged say theirs.
        if not floor <= found <= floor + in_flight:
            raise Lost(f"generation {found} with {floor} acknowledged and {in_flight} batches more")
        self.generation = found

    def _difference(self, run: Run, certain: int, observation: dict[str, Any]) -> str:
        found, wanted = observation["contacts"], self.model.visible()
        newest = sorted({int(f["n"]) for f in found.values() if "n" in f}, reverse=True)[:5]
        differing = [id_ for id_ in {*found, *wanted} if _sets(found.get(id_, {})) != wanted.get(id_, {})]
        return (
            f"no cut of {len(run.numbers)} submitted batches ({certain} of them settled) leaves these {len(found)}"
            f" contacts at generation {observation['generation']}, whose newest batches are {newest};"
            f" last submitted {run.numbers[-5:]}; {len(differing)} contacts differ from all of them, such as"
            f" {differing[:1]}: {[(found.get(id_), wanted.get(id_)) for id_ in differing[:1]]}"
            f"{self._differing_events(observation)}"
        )

    def _differing_events(self, observation: dict[str, Any]) -> str:
        told = ""
        pairs = [("revisions", observation["revised"], self.model.revised())]
        for type in sorted({*observation["events"], *self.model.events()}):
            pairs.append((f"{type}s", observation["events"].get(type, {}), self.model.events().get(type, {})))
        for what, found, wanted in pairs:
            differing = [id_ for id_ in sorted({*found, *wanted}) if found.get(id_) != wanted.get(id_)]
            shown = [(id_, found.get(id_), wanted.get(id_)) for id_ in differing[:1]]
            told += f"; {len(differing)} {what} differ, such as (found, wanted) {shown}" if differing else ""
        return told


def _counted(answer: Ack | Answer) -> tuple[int, ...]:
    events = answer.events, answer.event_duplicates, answer.event_rejects
    return (answer.created, answer.rejects, *events)


def newest_acknowledged(run: Run) -> int:
    """The newest generation that a run was told of."""
    return max((run.opened or 0, *(ack.generation for ack in run.acks.values())))


def _sets(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: frozenset(value) if isinstance(value, list) else value for name, value in fields.items()}
