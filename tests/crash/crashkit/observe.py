"""What a directory holds, as plain values for the judge.

    python -m crashkit.observe         {"directory": ..., "write": true} a line in, an observation a line out

An observation is {"generation", "contacts", "orders", "counts", "broken": [sentences], "after": [...]} or
{"error": what opening or reading raised}. With "write", a directory with nothing broken is then written to and merged,
all its orders are sent again, and "after" says what was wrong with that.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from crashkit import adapter
from crashkit.model import QUESTIONS
from crashkit.orders import FIRST_TIME
from segidx.database import Account, Database


def open_and_observe(directory: str, *, write: bool) -> dict[str, Any]:
    try:
        with Database.open(directory, create=True) as database:
            account = database.account()
            adapter.declare(account)
            found = observed(account)
            if write and not found["broken"]:
                found["after"] = _write_on(account)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return found


def observed(account: Account) -> dict[str, Any]:
    """The observation of an open account."""
    orders, broken = _orders(account)
    return {
        "generation": account.stats().generation,
        "contacts": adapter.contacts(account),
        "orders": orders,
        "counts": {text: adapter.count(account, text) for text in QUESTIONS},
        "broken": adapter.verify(account) + adapter.feed_gaps(account) + broken,
        "after": [],
    }


def _orders(account: Account) -> tuple[dict[str, Any], list[str]]:
    """The orders, and whether their rows contradict each other."""
    try:
        return adapter.orders(account), []
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        return {}, [f"the rows of orders contradict each other: {error} ({line})"]


def _write_on(account: Account) -> list[str]:
    broken = []
    before = account.count("everyone").count
    account.upsert([("probe", {"city": "probed", "tags": {"probe"}, "note": "x" * 2000})])
    adapter.merge(account)
    if account.count('everyone and city = "probed" and tags has "probe"').count != 1:
        broken.append("a contact written after reopening is not there")
    if account.count("everyone").count != before + 1:
        broken.append("writing one contact changed how many others there are")
    sent = adapter.hand_over_orders(account, "probe", FIRST_TIME)
    asked = {"did(order)": 1, f"count(order) = {sent}": 1, "sum(line.quantity) > -1000000": 0}
    for text, wanted in asked.items():
        if (found := account.count(text).count) != wanted:
            broken.append(f"after all {sent} orders were sent again, {text} holds {found} contacts, not {wanted}")
    orders, contradictions = _orders(account)
    if len(orders) != sent or {order["contact"] for order in orders.values()} != {"probe"}:
        broken.append("orders that were sent again are not all of their new contact")
    return broken + contradictions + adapter.verify(account)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(open_and_observe(request["directory"], write=request["write"])), flush=True)


if __name__ == "__main__":
    main()
