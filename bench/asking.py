"""The asking benchmark: milliseconds of a count beside its evaluation, where a question is new and where it was asked
before.

`again` is one question asked over and over, at one instant; `later` the same while the clock goes on, as services ask;
`new` a question that was never asked, of the same shape with other constants; `grpc` the text of `again` sent to a
server; and `evaluate` what of it is the evaluation of a plan made before.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.contention import Contention
from bench.machine import this_machine
from bench.options import add_rounds, directory_of, parser_of
from bench.orders.corpus import AT_MS, SCALES, SEED, TAG, make_orders, producer_name, product_name
from bench.orders.own import store_orders
from bench.own import Evaluate, OverGrpc
from bench.report import CaseResult, Report
from bench.systems import Run
from bench.timing import measure
from segidx.database import Account, Database
from segidx.model.expression import And, AtLeast, Expression, Or, field, lines, tags
from segidx.model.windows import Direction, Rolling, Unit

ROUNDS = 5
# New questions before the first is asked anew: what is kept is less.
NEW = 20_000
# The months asked for by value are in order by then; see the events benchmark.
ASKED = 64


def product(number: int) -> Expression:
    sold = lines().where(field("product") == product_name(100 + number % 10_000))
    return sold.during(Rolling(Direction.LAST, 30 + number // 10_000, Unit.DAY)).did()


def producer(number: int) -> Expression:
    sold = lines().where(field("producer") == producer_name(100)).during(Rolling(Direction.LAST, 6, Unit.MONTH))
    return sold.sum("amount") > 300 + number


def two_tags(number: int) -> Expression:
    return And((tags().has(TAG), tags().has(f"absent {number}")))


def nested(number: int) -> Expression:
    absent = [tags().has(f"absent {number + i}") for i in range(8)]
    return And((Or((tags().has(TAG), *absent)), AtLeast(1, (product(number), tags().has(TAG))), ~tags().has("absent")))


SHAPES: dict[str, tuple[str, Callable[[int], Expression]]] = {
    "product": ("bought a product in 30 days", product),
    "product_and_tag": ("bought a product in 30 days AND a tag", lambda n: And((tags().has(TAG), product(n)))),
    "producer": ("sum of a producer > x in 6 months", producer),
    "two_tags": ("a AND b", two_tags),
    "nested": ("(9 OR) AND (a product OR a tag) AND NOT a", nested),
}


class Clock:
    def __init__(self) -> None:
        self.now = AT_MS - 1

    def __call__(self) -> int:
        return self.now


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, 1 answers disagree, 2 wrong options."""
    parser = parser_of("asking", __doc__, SCALES, "10k, 1M or 10M", SEED)
    add_rounds(parser, ROUNDS)
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seed < 0:
        parser.error("--rounds is 1 at least, --seed 0 at least")
    with ExitStack() as stack:
        directory = directory_of(options, stack)
        # The corpus is that of the events benchmark, and so is the copy that is kept.
        return _run(options, directory / f"events-{options.scale}", stack)


def _run(options: argparse.Namespace, directory: Path, stack: ExitStack) -> int:
    machine = this_machine()
    print(f"asking, scale {options.scale}, seed {options.seed}: {machine}", flush=True)
    corpus = make_orders(SCALES[options.scale], options.seed)
    loaded, _ = store_orders(corpus, directory / "segidx")
    contention = Contention()
    clock = Clock()
    account = stack.enter_context(Database.open(loaded, read_only=True, clock=clock)).account()
    evaluate, grpc = Evaluate(account, AT_MS), OverGrpc(loaded)
    stack.callback(evaluate.close)
    stack.callback(grpc.close)
    results = []
    for name, (what, make) in SHAPES.items():
        question = make(0)
        plain = evaluate.prepare(question)
        runs = {
            "again": _again(account, question),
            "later": _later(account, question, clock),
            "new": _new(account, make),
            "grpc": grpc.prepare(question),
            "evaluate": plain,
        }
        found = {way: run() for way, run in runs.items() if way not in ("new", "grpc")}
        found["new"], wanted = _counted(account, make, evaluate)
        for _ in range(ASKED):
            plain()
        if len({found["again"], found["later"], found["evaluate"]}) > 1 or found["new"] != wanted:
            print(f"{name}: {found}, and {wanted} for what is new", file=sys.stderr)
            return 1
        figures = measure({way: [run] for way, run in runs.items()}, options.rounds)
        variants = {way: figures[way] for way in ("later", "new", "grpc", "evaluate")}
        results.append(CaseResult(name, what, figures["again"], variants))
        clock.now = AT_MS - 1
    print(f"answers agree: {len(SHAPES)} expressions, {len(SHAPES)} new ones", flush=True)
    report = Report("asking", options.scale, corpus.size, options.seed, machine, results, contention.share())
    print(report.table())
    print(report.conditions())
    if options.json:
        report.write_json(options.json)
    return 0


def _again(account: Account, question: Expression) -> Run:
    return lambda: account.count(question).count


def _later(account: Account, question: Expression, clock: Clock) -> Run:
    def run() -> int:
        clock.now += 1
        return account.count(question).count

    return run


def _new(account: Account, make: Callable[[int], Expression]) -> Run:
    questions: Iterator[Expression] = itertools.cycle([make(number) for number in range(1, NEW)])
    return lambda: account.count(next(questions)).count


def _counted(account: Account, make: Callable[[int], Expression], evaluate: Evaluate) -> tuple[int, int]:
    """How many some questions hold together that were never asked: as they are asked, and as their plans say."""
    questions = [make(number) for number in range(NEW, NEW + 20)]
    return sum(account.count(each).count for each in questions), sum(evaluate.prepare(each)() for each in questions)
