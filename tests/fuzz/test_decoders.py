"""A few hundred seeded rounds of fuzz_decoders: each holds several damaged postings and chunks."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fuzz_decoders", Path(__file__).with_name("fuzz_decoders.py"))
assert _spec is not None
assert _spec.loader is not None
fuzz_decoders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzz_decoders)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_raise_the_typed_error_or_evaluate(seed: int) -> None:
    pick = random.Random(seed)
    opened = sum(fuzz_decoders.once(pick) for _ in range(150))
    assert opened > 50, "most damage should get past opening, or nothing is tested behind it"
