"""Messages of CountService, to arguments and from results."""

from __future__ import annotations

from collections.abc import Sequence

from segidx.model.errors import InvalidArgument, SegidxError
from segidx.model.expression import Expression
from segidx.model.results import Count, Evaluation, Explanation
from segidx.service.convert import MAX_QUERIES, query_of
from segidx.v1 import counts_pb2
from segidx.wire import results
from segidx.wire.errors import wire_message, wire_metadata, wire_path
from segidx.wire.values import write_instant


def count_response(count: Count) -> counts_pb2.CountContactsResponse:
    response = counts_pb2.CountContactsResponse(count=count.count)
    results.write_evaluation(count.evaluation, response)
    return response


def queries_of(request: counts_pb2.BatchCountContactsRequest) -> list[Expression | str | SegidxError]:
    """Each query of a batch, or why it cannot be read. Raises InvalidArgument for too many."""
    if len(request.queries) > MAX_QUERIES:
        raise InvalidArgument(
            f"{len(request.queries)} queries are more than {MAX_QUERIES} in one call; send several", argument="queries"
        )
    queries: list[Expression | str | SegidxError] = []
    for query in request.queries:
        try:
            queries.append(query_of(query))
        except SegidxError as error:
            queries.append(error)
    return queries


def batch_response(outcomes: Sequence[Count | SegidxError], elapsed_ms: float) -> counts_pb2.BatchCountContactsResponse:
    response = counts_pb2.BatchCountContactsResponse()
    evaluation: Evaluation | None = None
    for i, outcome in enumerate(outcomes):
        part = response.outcomes.add()
        if isinstance(outcome, SegidxError):
            part.error.reason, part.error.message = outcome.reason, wire_message(outcome)
            part.error.path = wire_path(outcome)
            part.error.metadata.update(wire_metadata(outcome))
            continue
        evaluation = outcome.evaluation
        part.result.count, part.result.elapsed_ms = outcome.count, evaluation.elapsed_ms
        part.result.skipped_nodes.extend(evaluation.skipped)
        response.skipped_nodes.extend(f"queries[{i}].{path}" for path in evaluation.skipped)
    response.elapsed_ms = elapsed_ms
    if evaluation is not None:
        response.generation = evaluation.generation
        write_instant(evaluation.evaluated_at, response.evaluated_at)
    return response


def explain_response(explanation: Explanation) -> counts_pb2.ExplainExpressionResponse:
    response = counts_pb2.ExplainExpressionResponse()
    results.write_explanation(explanation, response)
    return response
