"""Whether all systems count alike: what comes before any timing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.cases import Case
from bench.systems import Run
from segidx.model.syntax import format_expression

SHOWN = 20  # disagreements printed
Runs = dict[str, list[list[Run]]]  # by system: for each case, for each of its expressions


def disagreements(cases: Sequence[Case], runs: Runs) -> list[str]:
    """One line for every expression that not all systems count alike."""
    wrong = []
    for i, case in enumerate(cases):
        for j, expression in enumerate(case.expressions):
            answers = {name: by_case[i][j]() for name, by_case in runs.items()}
            if len(set(answers.values())) > 1:
                said = ", ".join(f"{name} {answer}" for name, answer in answers.items())
                wrong.append(f"{case.name} {j}: {said}: {format_expression(expression)}")
    return wrong


def agree(cases: Sequence[Case], runs: Runs) -> bool:
    """Count everything with every system; says on stderr what they disagree on."""
    wrong = disagreements(cases, runs)
    for line in wrong[:SHOWN]:
        print(f"answers disagree: {line}", file=sys.stderr)
    if len(wrong) > SHOWN:
        print(f"answers disagree on {len(wrong) - SHOWN} expressions more", file=sys.stderr)
    return not wrong
