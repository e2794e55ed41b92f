"""The attribution benchmark: milliseconds to count contacts by the source of orders that say none and take that of a
visit, over two years of them.

A count is compared with NumPy's over the same rows before anything is timed. Figures are the least of the rounds, of
whole questions: each looks for the visits anew, since nothing of them is kept from one to the next.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bench.machine import this_machine
from segidx.database import Account, Database
from segidx.ingest.import_orders import import_orders
from segidx.model.schema import Field, FieldType

SCALES = {"smoke": 10_000, "large": 1_000_000}  # contacts, and as many orders; twice as many visits
SEED = 7
ROUNDS = 5
AT = 1_767_225_600_000
YEARS_MS = 2 * 365 * 86_400_000
WITHIN_MS = 30 * 60_000
SOURCES = ("email", "direct", "paid_search", "organic_search", "referral", "social", None)
CHECKED = 'did(order where source = "email")'
QUESTIONS = (
    CHECKED,
    'did(order where source = "email" during last 1 month)',
    'tier = "gold" and did(order where source = "email")',
    "only(order where paid)",
    'first(order) has source = "email"',
    "distinct(order.source) >= 2",
    'favourite(order.source) = "email"',
)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corpus:
    """int64 each: whose orders and visits, and when; and the visits' sources, as places in SOURCES."""

    buyers: Ints
    bought: Ints
    visitors: Ints
    seen: Ints
    sources: Ints

    def email_buyers(self) -> int:
        """How many contacts have an order that takes "email"."""
        says = np.flatnonzero(self.sources < len(SOURCES) - 1)
        order = says[np.lexsort((says, self.seen[says], self.visitors[says]))]
        visits = self.visitors[order] << 43 | self.seen[order]
        before = np.searchsorted(visits, self.buyers << 43 | self.bought, "right") - 1
        last = order[before]
        takes = (before >= 0) & (self.visitors[last] == self.buyers) & (self.bought - self.seen[last] <= WITHIN_MS)
        return len(np.unique(self.buyers[takes & (self.sources[last] == SOURCES.index("email"))]))


def make_corpus(size: int, seed: int) -> Corpus:
    """Two in five visits are within the hour before an order."""
    rng = np.random.default_rng(seed)
    buyers, bought = rng.integers(0, size, size), AT - YEARS_MS + rng.integers(0, YEARS_MS, size)
    near, of = rng.random(2 * size) < 0.4, rng.integers(0, size, 2 * size)
    visitors = np.where(near, buyers[of], rng.integers(0, size, 2 * size))
    anywhere = AT - YEARS_MS + rng.integers(0, YEARS_MS, 2 * size)
    seen = np.where(near, bought[of] - rng.integers(0, 3_600_000, 2 * size), anywhere)
    return Corpus(buyers, bought, visitors, seen, rng.integers(0, len(SOURCES), 2 * size))


def store(corpus: Corpus, account: Account, directory: Path) -> None:
    """One contact in a thousand is gold."""
    size = len(corpus.buyers)
    account.update_schema([Field("tier", FieldType.CATEGORY)])
    for first in range(0, size, 100_000):
        some = range(first, min(first + 100_000, size))
        account.upsert([(f"c{n}", {"tier": "base" if n % 1000 else "gold"}) for n in some])
    sources = [SOURCES[n] for n in corpus.sources.tolist()]
    visits = {
        "event_id": [f"v{n:09}" for n in range(len(corpus.seen))],
        "contact_id": [f"c{n}" for n in corpus.visitors.tolist()],
        "time": pa.array(corpus.seen, pa.timestamp("ms", tz="UTC")),
        "source": pa.array(sources, pa.string()),
        "paid": pa.array([None if source is None else source == "paid_search" for source in sources], pa.bool_()),
    }
    orders = {
        "order_id": [f"o{n:09}" for n in range(size)],
        "contact_id": [f"c{n}" for n in corpus.buyers.tolist()],
        "time": pa.array(corpus.bought, pa.timestamp("ms", tz="UTC")),
        "amount": pa.array([10] * size, pa.int64()),
    }
    pq.write_table(pa.table(visits), directory / "visits.parquet")
    pq.write_table(pa.table(orders), directory / "orders.parquet")
    account.import_events("visit", directory / "visits.parquet")
    import_orders(account, directory / "orders.parquet")
    account.merge()


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, 1 the answers disagree, 2 wrong options."""
    parser = argparse.ArgumentParser(prog="python -m bench attribution", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="smoke", help="10k or 1M contacts (default: smoke)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the corpus (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements a figure (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seed < 0:
        parser.error("--rounds is 1 at least, --seed 0 at least")
    corpus = make_corpus(SCALES[options.scale], options.seed)
    print(f"attribution, scale {options.scale}, seed {options.seed}: {this_machine()}", flush=True)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segidx-bench-")))
        database = stack.enter_context(Database.open(place / "data", create=True, clock=lambda: AT))
        account = database.account()
        store(corpus, account, place)
        found, wanted = account.count(CHECKED).count, corpus.email_buyers()
        if found != wanted:
            print(f"bench: {CHECKED} counts {found:,} contacts, and NumPy {wanted:,}", file=sys.stderr)
            return 1
        print(f"answers agree: {found:,} contacts\n\n| question | contacts | ms |\n|---|---|---|")
        for question in QUESTIONS:
            taken = []
            for _ in range(options.rounds):
                began = time.perf_counter()
                count = account.count(question).count
                taken.append(1000 * (time.perf_counter() - began))
            print(f"| `{question}` | {count:,} | {min(taken):.1f} |", flush=True)
    return 0
