"""What a directory holds, as plain values for the judge.

    python -m crashkit.observe         {"directory": ..., "write": true} a line in, an observation a line out

An observation is {"generation", "contacts", "counts", "broken": [sentences], "after": [...]} or
{"error": what opening or reading raised}. With "write", the directory is then written to and merged, and "after" says
what was wrong with that.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from crashkit import adapter
from crashkit.model import QUESTIONS
from segidx.database import Account, Database


def open_and_observe(directory: str, *, write: bool) -> dict[str, Any]:
    try:
        with Database.open(directory, create=True) as database:
            account = database.account()
            adapter.declare(account)
            found = observed(account)
            if write:
                found["after"] = _write_on(account)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return found


def observed(account: Account) -> dict[str, Any]:
    """The observation of an open account."""
    return {
        "generation": account.stats().generation,
        "contacts": adapter.contacts(account),
        "counts": {text: adapter.count(account, text) for text in QUESTIONS},
        "broken": adapter.verify(account) + adapter.feed_gaps(account),
        "after": [],
    }


def _write_on(account: Account) -> list[str]:
    broken = []
    before = account.count("everyone").count
    account.upsert([("probe", {"city": "probed", "tags": {"probe"}, "note": "x" * 2000})])
    adapter.merge(account)
    if account.count('everyone and city = "probed" and tags has "probe"').count != 1:
        broken.append("a contact written after reopening is not there")
    if account.count("everyone").count != before + 1:
        broken.append("writing one contact changed how many others there are")
    return broken + adapter.verify(account)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(open_and_observe(request["directory"], write=request["write"])), flush=True)


if __name__ == "__main__":
    main()
