"""What is worked out of orders and their lines: amounts that are not given, and what counts. Imports the model and its
neighbours only.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from segidx.ingest.event_batch import EventColumn, Ints
from segidx.model.errors import InvalidValue
from segidx.model.events import MAX_LINES, QUANTITY_SCALE
from segidx.model.schema import MAX_MINOR_UNITS

ONE: int = 10**QUANTITY_SCALE  # the quantity of a line that says none


def line_amount(quantity: int, unit_price: int) -> int:
    """The amount of a line in minor units, half a unit rounded away from zero, so that a return takes back exactly
    what its sale gave. Raises InvalidValue when it is out of range."""
    product = quantity * unit_price
    units = (abs(product) + ONE // 2) // ONE
    if units > MAX_MINOR_UNITS:
        raise InvalidValue("the amount, quantity times unit price, is beyond the largest number")
    return units if product >= 0 else -units


def order_amount(amounts: Iterable[int]) -> int:
    """The amount of an order that its lines come to. Raises InvalidValue when it is out of range."""
    total = sum(amounts)
    if abs(total) > MAX_MINOR_UNITS:
        raise InvalidValue("the amount, the sum of the lines' amounts, is beyond the largest number")
    return total


def too_many_lines(count: int) -> InvalidValue:
    return InvalidValue(f"an order has at most {MAX_LINES:,} lines, not {count:,}")


# --- what counts -------------------------------------------------------------------------------------------


def with_counts_of_lines(columns: tuple[EventColumn, ...]) -> tuple[EventColumn, ...]:
    """The columns of lines, quantities filled in, and the one that says which count: those of a positive quantity."""
    quantity = columns[-3].values
    return (*columns, EventColumn((quantity > 0).astype(np.int64), np.ones(len(quantity), np.bool_)))


def with_counts_of_orders(
    columns: tuple[EventColumn, ...], line_counts: Ints, counts_of_lines: EventColumn
) -> tuple[EventColumn, ...]:
    """The same of orders: one that has a line that counts, or no line and no negative amount."""
    amount = columns[-1]
    owner = np.repeat(np.arange(len(line_counts)), line_counts)
    some = np.bincount(owner[counts_of_lines.values != 0], minlength=len(line_counts)) > 0
    counts = np.where(line_counts > 0, some, ~(amount.present & (amount.values < 0)))
    return (*columns, EventColumn(counts.astype(np.int64), np.ones(len(counts), np.bool_)))
