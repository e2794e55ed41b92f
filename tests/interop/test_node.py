"""A client in another language, made from the .proto files alone, against a real server process.

Installs its packages (package-lock.json) into a temporary directory; skips where Node, npm or the registry is absent.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segidx.client import connect
from segidx.model.schema import AccountInfo, Field, FieldType

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WAIT = 120


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the client and its packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    place = tmp_path_factory.mktemp("node")
    for name in ("client.js", "package.json", "package-lock.json"):
        shutil.copy(HERE / name, place)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        installed = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=WAIT)
    except subprocess.TimeoutExpired:
        pytest.skip("npm could not install the packages in time")
    if installed.returncode:
        pytest.skip(f"npm could not install the packages: {installed.stderr[-300:]}")
    return place


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server process over a new data directory with the account `default` and a field `country`."""
    command = [sys.executable, str(ROOT / "server.py"), "--data", str(tmp_path / "data"), "--create", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        served = process.stdout.readline().split()[-1]
        with connect(served, timeout=WAIT) as client:
            if "default" not in [info.name for info in client.accounts()]:
                client.create_account(AccountInfo("default"))
            client.account("default").update_schema(
                [Field("country", FieldType.CATEGORY), Field("tags", FieldType.TAGS)]
            )
        yield served
        process.terminate()
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        process.wait()


def test_node_counts_writes_and_reads_errors(node: Path, address: str) -> None:
    ran = subprocess.run(
        ["node", "client.js", address, str(ROOT / "proto")],
        cwd=node,
        capture_output=True,
        text=True,
        timeout=WAIT,
        env={key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told.pop("generation") >= 1
    assert told.pop("evaluated") is True
    refused = told.pop("refused")
    assert (refused["code"], refused["reason"], refused["domain"]) == ("INVALID_ARGUMENT", "UNKNOWN_FIELD", "segidx")
    assert refused["metadata"]["path"].startswith("expression.conjunction.operands[1]")
    assert refused["metadata"]["field"] == "contry"
    assert told == {
        "accepted": 3,
        "rejects": [[3, "contry", "UNKNOWN_FIELD"]],
        "text": 2,
        "tree": 2,
        "bought": [0, 2],
        "skipped": [2, ["expression.conjunction.operands[1]"]],
        "deepest": 2,
        "deeper": "EXPRESSION_TOO_DEEP",
        "late": "DEADLINE_EXCEEDED",
        "stream": [2, 2],
        "contact": "FR",
        "batch": [1, "CONTACT_NOT_FOUND", False, True],
        "mine": 1,
        "acknowledged": [[1, 1], [2, 2]],
        "declared": ["download", False, "FIELD_TYPE_NUMBER"],
        "behaved": [1, 3, 1],
        "refusedEvents": [[1, "price"]],
        "did": 1,
    }
