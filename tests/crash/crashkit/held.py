"""What an order or an event comes to once it is held, and the conditions about them that are asked with the model's
answers.

Imports the load only, nothing of segidx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crashkit.events import Event
from crashkit.orders import MIDDLE, Line, Order

# {"contact", "time", "source", "paid", "amount", "lines"} as JSON has it; a line is [product, producer, category,
# quantity, unit price, amount]. Quantities are in thousandths, money in hundredths. Of other events {"contact", "time",
# "properties": what is set}.
Held = Mapping[str, Any]
_QUANTITY, _AMOUNT = 3, 5  # of a line
_MINUTES_30 = 30 * 60_000


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


def held_event(event: Event) -> Held:
    return {"contact": event.contact_id, "time": event.time, "properties": dict(event.properties)}


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
    "count(order until 2024-03-01) >= 1": lambda orders: any(counts(o) and o["time"] < MIDDLE for o in orders),
    'did(line where product = "p3" from 2024-03-01)': lambda orders: any(
        o["time"] >= MIDDLE and line[0] == "p3" for o in orders for line in o["lines"]
    ),
    "count(line) > count(order)": lambda orders: sum(len(o["lines"]) for o in orders) > sum(map(counts, orders)),
    "sum(order.amount) >= 100": lambda orders: sum(o["amount"] or 0 for o in orders) >= 10_000,
    'band(spend) = "100-300"': lambda orders: 10_000 <= sum(o["amount"] or 0 for o in orders) < 30_000,
    "sum(line.quantity) < 3": lambda orders: (
        any(o["lines"] for o in orders) and sum(line[_QUANTITY] for o in orders for line in o["lines"]) < 3_000
    ),
}


def sourced(orders: Mapping[str, Held], visits: Mapping[str, Held]) -> list[Held]:
    """The orders of a contact, by id; those that say no source with that of the last visit in the 30 minutes before
    them, at one time that of the greatest id, and its paid unless they say it. (Every visit has a source.)"""
    found = []
    for order in orders.values():
        if order["source"] is None:
            before = [v for v in visits.items() if 0 <= order["time"] - v[1]["time"] <= _MINUTES_30]
            if before:
                _, visit = max(before, key=lambda v: (v[1]["time"], v[0].encode()))
                of_visit = {name: visit["properties"].get(name) for name in ("source", "paid")}
                order = {**order, **{name: value for name, value in of_visit.items() if order[name] is None}}
        found.append(order)
    return found


# Expression to whether a contact with these orders, as `sourced` gives them, is in it.
SOURCE_QUESTIONS: Mapping[str, Callable[[list[Held]], bool]] = {
    'did(order where source = "shop" and not paid)': lambda orders: any(
        counts(o) and o["source"] == "shop" and o["paid"] is not True for o in orders
    ),
}


def _visited(events: list[Held], **properties: Any) -> int:
    return sum(properties.items() <= event["properties"].items() for event in events)


# Expression to whether a contact with these visits and these tasks is in it.
EVENT_QUESTIONS: Mapping[str, Callable[[list[Held], list[Held]], bool]] = {
    "did(visit)": lambda visits, tasks: bool(visits),
    "count(visit) >= 3": lambda visits, tasks: len(visits) >= 3,
    "never(task)": lambda visits, tasks: not tasks,
    "count(task) >= count(visit)": lambda visits, tasks: len(tasks) >= len(visits),
    'did(visit where source = "shop" and paid)': lambda visits, tasks: _visited(visits, source="shop", paid=True) > 0,
    'did(visit where utm_campaign = "spring" until 2024-03-01)': lambda visits, tasks: any(
        v["time"] < MIDDLE and v["properties"].get("utm_campaign") == "spring" for v in visits
    ),
    "sum(visit.dwell) > 300": lambda visits, tasks: sum(v["properties"].get("dwell", 0) for v in visits) > 300_000,
    'count(task where kind = "call" from 2024-03-01) >= 1': lambda visits, tasks: any(
        t["time"] >= MIDDLE and t["properties"].get("kind") == "call" for t in tasks
    ),
    "did(task where done and effort > 5)": lambda visits, tasks: any(
        t["properties"].get("done") is True and t["properties"].get("effort", 0) > 50 for t in tasks
    ),
    "sum(task.cost) >= 50": lambda visits, tasks: sum(t["properties"].get("cost", 0) for t in tasks) >= 5_000,
}
