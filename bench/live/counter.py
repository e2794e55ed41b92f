"""A client that counts at a fixed rate, one question at a time.

Options: address, questions (texts, asked in turn), rate (a second). A question that is due while the one before is not
answered yet is asked as soon as it is, and said to be late: one caller cannot ask two questions at once, and a backlog
would measure how long the run lasts, not the server.
"""

from __future__ import annotations

import time
from typing import Any

from bench.live.children import Orders, run_child
from segidx.client import connect


def act(options: dict[str, Any], orders: Orders) -> dict[str, Any]:
    """Milliseconds of each question, without one warming pass; the last answer to each; how many were late."""
    questions, period = options["questions"], 1 / options["rate"]
    with connect(options["address"]) as client:
        account = client.account("default")
        answers = [account.count(question).count for question in questions]
        orders.wait_for_go()
        taken: list[float] = []
        late = 0
        due = time.monotonic()
        while not orders.stopped.wait(max(0.0, due - time.monotonic())):
            at = len(taken) % len(questions)
            asked = time.monotonic()
            answers[at] = account.count(questions[at]).count
            answered = time.monotonic()
            taken.append((answered - asked) * 1000)
            due += period
            if answered > due:
                late += 1
                due = answered
    return {"milliseconds": taken, "answers": answers, "late": late, "cpu_seconds": orders.cpu_seconds()}


if __name__ == "__main__":
    run_child(act)
