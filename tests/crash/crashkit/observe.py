"""What a directory holds, as plain values for the judge.

    python -m crashkit.observe         {"directory": ..., "write": true} a line in, an observation a line out

An observation is {"generation", "contacts", "padding", "events", "revised", "counts", "broken": [sentences],
"half merged", "after": [...]} or {"error": what opening or reading raised}. With "write", a directory with nothing
broken is then merged, which must change nothing, written to and merged again, all its events are sent again or taken
back, and "after" says what was wrong with that.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from crashkit import adapter, stored
from crashkit.model import QUESTIONS
from crashkit.orders import FIRST_TIME
from segidx.database import Account, Database

_REVISION = 1 << 40  # greater than any of the load


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
    half_merged = stored.half_merged(account)
    contacts, padding = stored.contacts(account)
    return {
        "generation": account.stats().generation,
        "contacts": contacts,
        "padding": padding,
        "half merged": half_merged,
        **_held(account),
        "after": [],
    }


def _held(account: Account) -> dict[str, Any]:
    """The events, the answers to all questions, and what is broken."""
    events, revised, contradictions = _events(account)
    return {
        "events": events,
        "revised": revised,
        "counts": {text: adapter.count(account, text) for text in QUESTIONS},
        "broken": adapter.verify(account) + adapter.feed_gaps(account) + contradictions,
    }


def _events(account: Account) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The events and the revisions, and whether their rows contradict each other."""
    try:
        return (*stored.events(account), [])
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        return {}, {}, [f"the rows of events contradict each other: {error} ({line})"]


def _write_on(account: Account) -> list[str]:
    before = _held(account)
    adapter.merge(account)
    after = _held(account)
    broken = [f"merging changed {part}" for part in before if before[part] != after[part]]
    everyone = account.count("everyone").count
    account.upsert([("probe", {"city": "probed", "tags": {"probe"}, "note": "x" * 2000})])
    adapter.merge(account)
    if account.count('everyone and city = "probed" and tags has "probe"').count != 1:
        broken.append("a contact written after reopening is not there")
    if account.count("everyone").count != everyone + 1:
        broken.append("writing one contact changed how many others there are")
    ids = {type: list(found) for type, found in after["events"].items()}
    return broken + _hand_over(account, ids) + adapter.verify(account)


def _hand_over(account: Account, ids: dict[str, list[str]]) -> list[str]:
    """Send all events again as those of one contact, through the log and as an import, then take some types back."""
    broken = []
    kept = {**ids, "order": [*ids.get("order", ()), "probe"], "visit": [*ids.get("visit", ()), "probe"]}
    adapter.hand_over_events(account, kept, "probe", FIRST_TIME, _REVISION)
    broken += _wrong(account, kept, "that was written live")
    adapter.merge(account)
    broken += _wrong(account, kept, "that was merged")
    adapter.hand_over_orders(account, kept["order"], "probe", FIRST_TIME + 1, _REVISION + 1)
    broken += _wrong(account, kept, "whose orders were imported")
    for type in ("task", "visit"):
        adapter.retract(account, type, kept.pop(type, ()), _REVISION)
    broken += _wrong(account, kept, "of which some was taken back")
    adapter.merge(account)
    return broken + _wrong(account, kept, "of which some was taken back and merged")


def _wrong(account: Account, kept: dict[str, list[str]], what: str) -> list[str]:
    """How the events differ from these, each of the probe, and no order with lines."""
    broken = []
    for type in ("order", "visit", "task"):
        sent = len(kept.get(type, ()))
        asked = {f"did({type})": int(sent > 0), f"count({type}) = {max(sent, 1)}": int(sent > 0)}
        for text, wanted in asked.items():
            if (found := account.count(text).count) != wanted:
                broken.append(f"all was sent again; of what {what}, {text} holds {found} contacts, not {wanted}")
    events, _, contradictions = _events(account)
    whose = {event["contact"] for found in events.values() for event in found.values()}
    if {type: sorted(found) for type, found in events.items()} != {type: sorted(i) for type, i in kept.items() if i}:
        broken.append(f"all was sent again; {what}: other ids are there than were sent")
    if whose != {"probe"} or any(order["lines"] for order in events["order"].values()):
        broken.append(f"all was sent again; {what}: not everything is of its new contact and without lines")
    return broken + contradictions


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(open_and_observe(request["directory"], write=request["write"])), flush=True)


if __name__ == "__main__":
    main()
