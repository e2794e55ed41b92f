"""CountService. Messages are made and read by `convert` and `convert_counts`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from segidx.model.errors import Cancelled, DeadlineExceeded, SegidxError
from segidx.service import convert, convert_counts
from segidx.service.calls import await_generation, stop_for
from segidx.v1 import counts_pb2_grpc

if TYPE_CHECKING:
    from segidx.database import Database
    from segidx.model.results import Count
    from segidx.v1 import counts_pb2


class CountService(counts_pb2_grpc.CountServiceServicer):
    """Counts and explains expressions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def CountContacts(
        self, request: counts_pb2.CountContactsRequest, context: grpc.ServicerContext
    ) -> counts_pb2.CountContactsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        query = convert.query_of(request)
        await_generation(account, request.min_generation, context, stop)
        return convert_counts.count_response(account.count(query, allow_unfinished=request.allow_unfinished, stop=stop))

    def BatchCountContacts(
        self, request: counts_pb2.BatchCountContactsRequest, context: grpc.ServicerContext
    ) -> counts_pb2.BatchCountContactsResponse:
        began = time.perf_counter()
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        queries = convert_counts.queries_of(request)
        await_generation(account, request.min_generation, context, stop)
        readable = [query for query in queries if not isinstance(query, SegidxError)]
        counted = iter(
            account.count_many(readable, allow_unfinished=request.allow_unfinished, stop=stop) if readable else ()
        )
        outcomes: list[Count | SegidxError] = []
        for query in queries:
            outcome = query if isinstance(query, SegidxError) else next(counted)
            if isinstance(outcome, DeadlineExceeded | Cancelled):
                raise outcome
            outcomes.append(outcome)
        return convert_counts.batch_response(outcomes, (time.perf_counter() - began) * 1000)

    def ExplainExpression(
        self, request: counts_pb2.ExplainExpressionRequest, context: grpc.ServicerContext
    ) -> counts_pb2.ExplainExpressionResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        query = convert.query_of(request)
        await_generation(account, request.min_generation, context, stop)
        explanation = account.explain(
            query, counts=request.counts, allow_unfinished=request.allow_unfinished, stop=stop
        )
        return convert_counts.explain_response(explanation)
