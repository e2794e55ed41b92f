"""One run of the ingest benchmark: clients that stream updates to a server, while others count and probe.

The answers are compared with an independent recount of all that was acknowledged, at the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.live.children import Child
from bench.live.corpus import LiveCorpus
from bench.live.counting import Counted, counting
from bench.live.figures import Memory, Percentiles, memory, percentiles, rate, worst_rate
from bench.live.purchases import PurchaseTruth
from bench.live.sampler import Sampler, Samples
from bench.live.server import ServerProcess
from bench.live.truth import Truth, disagreements, wrong_counts
from bench.live.writer import STREAMS
from segidx.client import connect

WORST_SECONDS = 10.0
READ_BACK = 300  # contacts that are read back, nine of ten of them written


@dataclass(frozen=True, slots=True)
class Plan:
    """What to stream (see `bench.live.writer.STREAMS`) and how: `rows` a batch, at most `window` batches of a client
    without an acknowledgement, `rate` rows a second of all clients together (0: no limit)."""

    seconds: float
    rows: int
    window: int
    rate: float
    what: str = "updates"


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a run measured. Times in milliseconds, rates in updates a second."""

    clients: int
    updates: int
    rate: float
    worst_rate: float
    worst_seconds: float
    acknowledged: Percentiles | None  # from a batch's sending to its acknowledgement
    visible: Percentiles | None  # from acknowledgement to an answer on another connection
    visible_at_once: float  # the share of probes that the first question showed
    counts: Counted  # meanwhile
    memory: Memory
    server_cpu: float
    client_cpu: float
    other_cpu: float  # of the counting and the probing client
    generations: int
    samples: Samples
    disk_bytes: int  # that the server's processes wrote


def stream(server: ServerProcess, corpus: LiveCorpus, clients: int, plan: Plan) -> tuple[Streamed, list[str]]:
    """(the figures, one line for every answer that is wrong afterwards)."""
    with ExitStack() as stack:
        listening, announcing = os.pipe()
        os.set_blocking(announcing, False)
        writers = []
        for number in range(clients):
            probe = announcing if number == 0 else -1
            options = _writer_options(server, corpus, number, clients, plan, probe)
            writer = Child("bench.live.writer", options, pass_fds=[probe] if probe >= 0 else [])
            stack.callback(writer.end)
            writers.append(writer)
        os.close(announcing)  # the first writer holds it now, and its end ends the probing
        prober = Child("bench.live.prober", {"address": server.address, "pipe": listening}, pass_fds=[listening])
        stack.callback(prober.end)
        os.close(listening)

        before = _generation(server)
        cpu, written = server.cpu_seconds(), server.written_bytes()
        sampler = Sampler(server)
        stack.callback(sampler.stop)
        with counting(server.address, corpus.seed) as counted:
            prober.go()
            for writer in writers:
                writer.go()
            results = [writer.result() for writer in writers]
        probed = prober.result()
        samples = sampler.stop()
        cpu, written = server.cpu_seconds() - cpu, server.written_bytes() - written

    generation = max(result["generation"] for result in results)
    wrong = _wrong_answers(server, corpus, [result["batches"] for result in results], plan, generation)
    sent = [at for result in results for at in result["sent"]]
    acknowledged = [at for result in results for at in result["acknowledged"]]
    worst_seconds = min(WORST_SECONDS, plan.seconds / 4)
    figures = Streamed(
        clients=clients,
        updates=len(acknowledged) * plan.rows,
        rate=rate(sent, acknowledged, plan.rows),
        worst_rate=worst_rate(acknowledged, plan.rows, worst_seconds),
        worst_seconds=worst_seconds,
        # A client's acknowledgements come in the order of its batches.
        acknowledged=percentiles([(b - a) * 1000 for a, b in zip(sent, acknowledged, strict=True)]),
        visible=percentiles(probed["milliseconds"]),
        visible_at_once=probed["at_once"] / len(probed["milliseconds"]) if probed["milliseconds"] else 0.0,
        counts=counted,
        memory=memory(samples.memory),
        server_cpu=cpu,
        client_cpu=sum(result["cpu_seconds"] for result in results),
        other_cpu=counted.cpu_seconds + probed["cpu_seconds"],
        generations=generation - before,
        samples=samples,
        disk_bytes=written,
    )
    return figures, wrong


def _writer_options(
    server: ServerProcess, corpus: LiveCorpus, client: int, clients: int, plan: Plan, probe: int
) -> dict[str, Any]:
    return {
        "what": plan.what,
        "address": server.address,
        "size": corpus.size,
        "seed": corpus.seed,
        "client": client,
        "clients": clients,
        "rows": plan.rows,
        "window": plan.window,
        "seconds": plan.seconds,
        "rate": plan.rate / clients,
        "probe": probe,
    }


def _generation(server: ServerProcess) -> int:
    with connect(server.address) as client:
        return client.account("default").generation()


def _wrong_answers(
    server: ServerProcess, corpus: LiveCorpus, batches: list[int], plan: Plan, generation: int
) -> list[str]:
    """Recount from what the clients sent, which follows from the seed, and compare."""
    clients = len(batches)

    def sent() -> Iterator[Any]:
        for client, count in enumerate(batches):
            source = STREAMS[plan.what](corpus.size, corpus.seed, client, clients, plan.rows)
            yield from (source.columns(number) for number in range(count))

    if plan.what == "orders":
        purchases = PurchaseTruth(corpus.size)
        purchases.apply(sent())
        with connect(server.address) as client:
            return wrong_counts(purchases.counts(), client.account("default"), generation)
    truth = Truth(corpus)
    truth.apply(sent())
    rng = np.random.default_rng([corpus.seed, clients, generation])
    written = np.flatnonzero(truth.seen != corpus.seen)
    rows = rng.choice(written, min(len(written), READ_BACK * 9 // 10), replace=False).tolist()
    rows += rng.integers(0, corpus.size, READ_BACK // 10).tolist()
    with connect(server.address) as client:
        return disagreements(truth, client.account("default"), rows, generation)
