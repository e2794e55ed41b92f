"""What an order comes to once it is held, and the conditions about orders that are asked with the model's answers.

Imports the load only, nothing of segidx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crashkit.orders import MIDDLE, Line, Order

# {"contact", "time", "source", "paid", "amount", "lines"} as JSON has it; a line is [product, producer, category,
# quantity, unit price, amount]. Quantities are in thousandths, money in hundredths.
Held = Mapping[str, Any]
_QUANTITY, _AMOUNT = 3, 5  # of a line


def held(order: Order) -> Held:
    """The order with the amounts that follow from others worked out."""
    lines = [_line(line) for line in order.lines]
    amounts = [line[_AMOUNT] for line in lines if line[_AMOUNT] is not None]
    amount = order.amount if order.amount is not None or not amounts else sum(amounts)
    return {
        "contact": order.contact_id,
        "time": order.time,
        "source": order.source,
        "paid": order.paid,
        "amount": amount,
        "lines": lines,
    }


def _line(line: Line) -> list[Any]:
    quantity = 1 if line.quantity is None else line.quantity
    amount = line.amount
    if amount is None and line.unit_price is not None:
        amount = quantity * line.unit_price
    return [line.product, line.producer, line.category, quantity * 1000, line.unit_price, amount]


def counts(order: Held) -> bool:
    if order["lines"]:
        return any(line[_QUANTITY] > 0 for line in order["lines"])
    return order["amount"] is None or order["amount"] >= 0


# Expression to whether a contact with these orders is in it.
ORDER_QUESTIONS: Mapping[str, Callable[[list[Held]], bool]] = {
    "did(order)": lambda orders: any(map(counts, orders)),
    "never(order)": lambda orders: not any(map(counts, orders)),
    "count(order) >= 2": lambda orders: sum(map(counts, orders)) >= 2,
    'did(order where source = "shop" and not paid)': lambda orders: any(
        counts(o) and o["source"] == "shop" and o["paid"] is not True for o in orders
    ),
    "count(order until 2024-03-01) >= 1": lambda orders: any(counts(o) and o["time"] < MIDDLE for o in orders),
    'did(line where product = "p3" from 2024-03-01)': lambda orders: any(
        o["time"] >= MIDDLE and line[0] == "p3" for o in orders for line in o["lines"]
    ),
    "count(line) > count(order)": lambda orders: sum(len(o["lines"]) for o in orders) > sum(map(counts, orders)),
    "sum(order.amount) >= 100": lambda orders: sum(o["amount"] or 0 for o in orders) >= 10_000,
    "sum(line.quantity) < 3": lambda orders: (
        any(o["lines"] for o in orders) and sum(line[_QUANTITY] for o in orders for line in o["lines"]) < 3_000
    ),
}
