"""The quick way of streamed orders from the wire to the writer: plain ones become a batch of columns natively, without
a message, an `Order` or its lines in between. Anything not plain goes the general way, through `convert_ingest` and
`segidx.ingest.event_rows`, which gives the same batch; the tests compare the two.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from segidx.ingest.event_batch import EventBatch, EventColumn, settled_batch
from segidx.ingest.orders import with_counts_of_lines, with_counts_of_orders
from segidx.kernels import _rows
from segidx.model.events import MAX_AHEAD_MILLIS, ORDER
from segidx.model.schema import AccountInfo


class PlainOrders:
    """Reads requests whose events are the protobuf field `events_field`: at most `max_events`, orders among them with
    `max_lines` in all."""

    def __init__(self, events_field: int, max_events: int, max_lines: int) -> None:
        self._events_field = events_field
        self._max_events = max_events
        self._max_lines = max_lines

    def batch(self, data: bytes, account: AccountInfo, now: int, horizon: int) -> EventBatch | None:
        """The events of a request as one batch; None where they are not plain orders. `now` is the clock and `horizon`
        that of orders, both in milliseconds since 1970."""
        parsed = _rows.parse_orders(
            data, self._events_field, account.currency.encode(), account.money_scale, self._max_events, self._max_lines
        )
        if parsed is None:
            return None
        ids, contacts, times, revisions, line_counts, of_orders, of_lines = parsed
        if not len(times) or times.min() < max(0, horizon) or times.max() > now + MAX_AHEAD_MILLIS:
            return None
        lines = with_counts_of_lines(tuple(map(_column, of_lines)))
        return settled_batch(
            EventBatch(
                type=ORDER,
                ids=_string_array(*ids),
                contacts=_string_array(*contacts),
                times=times,
                properties=with_counts_of_orders(tuple(map(_column, of_orders)), line_counts, lines[-1]),
                revisions=revisions,
                retracts=np.zeros(len(times), np.bool_),
                line_counts=line_counts,
                lines=lines,
                indices=np.arange(len(times)),
            )
        )


def _column(parsed: _rows.OrderColumn) -> EventColumn:
    values, there = parsed
    return EventColumn(values if isinstance(values, np.ndarray) else _string_array(*values), there.view(np.bool_))


def _string_array(ends: _rows.Ends, data: bytes) -> pa.StringArray:
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(data))
