"""DuckDB over what it loaded: the one table of lines with their orders, seen as the tables that the queries ask."""

from __future__ import annotations

from pathlib import Path

import duckdb

from bench.orders.corpus import MONEY_SCALE, TAG
from bench.orders.sql import count_query
from bench.peers import THREADS
from bench.systems import Run
from segidx.model.expression import Expression

_CENTS = 10**MONEY_SCALE
_VIEWS = f"""
CREATE VIEW contacts AS SELECT contact_id AS contact, list_contains(tags, '{TAG}') AS {TAG} FROM stored.contacts;
CREATE VIEW lines AS SELECT contact_id AS contact, make_timestamp(epoch_us(time)) AS time, product, producer, category,
  (amount * {_CENTS})::BIGINT AS amount FROM stored.joined WHERE product IS NOT NULL;
CREATE TABLE orders AS SELECT any_value(contact_id) AS contact, make_timestamp(epoch_us(any_value(time))) AS time,
  (any_value(order_amount) * {_CENTS})::BIGINT AS amount,
  CASE WHEN count(product) > 0 THEN bool_or(quantity > 0) ELSE any_value(order_amount) >= 0 END AS counts
  FROM stored.joined GROUP BY order_id;
"""


class JoinedOrders:
    """The peer over the database of one load. Orders are made of their rows once, when it is opened."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self._connection = duckdb.connect(":memory:", config={"threads": THREADS})
        self._connection.execute(f"ATTACH '{file}' AS stored (READ_ONLY)")
        self._connection.execute(_VIEWS)

    def prepare(self, expression: Expression) -> Run:
        query = count_query(expression)

        def run() -> int:
            row = self._connection.execute(query).fetchone()
            assert row is not None
            return int(row[0])

        return run

    def close(self) -> None:
        self._connection.close()
