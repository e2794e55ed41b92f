"""Orders that say nothing of their source take that of a visit: what a plan says of it.

Nothing is stored of it, and nothing is read here. An order without a `source` has that of its contact's last visit
that has one, at the order's time or up to the account's minutes before it, and its `paid` where it has none itself; of
visits at one time, the one of the greatest event id. A filter that asks for an order's source has one step more, which
is asked of the visit's, and which `segidx.exec.attribution` turns into one over the order's event number when it has
found the visits.

Codes of sources that orders take are those of the orders' own dictionary; behind them are those of the visits'.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segidx.model.events import ORDER, VISIT, EventType
from segidx.model.windows import MIN_INSTANT
from segidx.plan.context import BindContext
from segidx.plan.reach import check_reach
from segidx.plan.values import FilterOp
from segidx.store.events import FIRST_PROPERTY

Ints = npt.NDArray[np.int64]

SOURCE, PAID = "source", "paid"
ATTRIBUTED = (SOURCE, PAID)
"""The properties of an order that it takes from a visit."""

TAKEN = "taken"
"""The step of a filter: (TAKEN, property), that the order takes a value of it, or (TAKEN, property, the bytes of int64
codes), that it takes one of these: codes of the visits' dictionary, or 0 and 1 of `paid`."""


def is_taken(type: EventType, name: str, context: BindContext) -> bool:
    """Whether events of a type that lack a property may take it from visits."""
    return type == ORDER and name in ATTRIBUTED and context.snapshot.catalog.source_settings.order_minutes > 0


def check_visits(start: int, end: int, context: BindContext) -> None:
    """Raises PrunedHistory where orders of the window may take a source from visits behind the visits' horizon."""
    minutes = context.snapshot.catalog.source_settings.order_minutes
    if start < end:
        whose = f"the time in which orders take a visit's source, {minutes} minutes before the window and in it,"
        check_reach(VISIT, max(MIN_INSTANT, start - minutes * 60_000), end, context, whose)


def or_taken(steps: list[FilterOp], name: str, codes: Ints | None = None) -> list[FilterOp]:
    """The steps of one condition on orders, which holds too of those that lack the property and take one of the codes;
    None: any."""
    if codes is not None and not len(codes):
        return steps
    taken: list[FilterOp] = [(TAKEN, name) if codes is None else (TAKEN, name, codes.astype(np.int64).tobytes())]
    if name == PAID:  # an order that takes a source may have it; none that takes a source has one
        taken += [("present", FIRST_PROPERTY + ORDER.index(PAID)), ("not",), ("all", 2)]
    return [*steps, *taken, ("any", 2)]
