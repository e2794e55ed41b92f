"""The peers: other systems that answer the same questions over the same corpus, each in the way its users would write
it. A peer whose package is not installed is left out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from bench.corpus import Corpus
from bench.systems import System

# Each module has `open_peer(corpus, directory) -> System`; all times of a run are taken in the order given here.
PEERS = {
    "pyroaring_lmdb": "bench.peers.pyroaring_lmdb",
    "duckdb": "bench.peers.duckdb_peer",
    "chdb": "bench.peers.chdb_peer",
}
THREADS = 2  # of the engines that run one query on several


def open_peer(name: str, corpus: Corpus, directory: Path) -> System:
    """The peer, loaded with the corpus; what it stores is kept under `directory`. Raises ImportError."""
    module = importlib.import_module(PEERS[name])
    return cast(Callable[[Corpus, Path], System], module.open_peer)(corpus, directory / name)
