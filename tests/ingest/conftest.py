"""Fixtures of the import tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def _fakes():
    path = Path(__file__).with_name("fake_account.py")
    spec = importlib.util.spec_from_file_location("segidx_tests_fake_account", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["embedded", "remote"])
def make_account(request):
    """Makes an account that takes batches, or one that takes rows."""
    fakes = _fakes()
    return fakes.EmbeddedFake if request.param == "embedded" else fakes.RemoteFake
