"""Answers, schemas and accounts of the protocol to and from the model. Imports only v1 and the model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from segidx.model.errors import InvalidAccountName, InvalidArgument, InvalidSchema
from segidx.model.results import (
    Estimate,
    Evaluation,
    ExplainNode,
    Explanation,
    FieldStats,
    Preview,
    Stats,
    Suggestion,
)
from segidx.model.schema import AccountInfo, Field, FieldType, Schema, check_account_name
from segidx.v1 import accounts_pb2, contacts_pb2, counts_pb2, schema_pb2
from segidx.wire.contacts import read_contact, read_field_value, write_contact, write_field_value
from segidx.wire.retention import read_horizon, write_horizon
from segidx.wire.values import write_instant

# --- resource names ----------------------------------------------------------------------------------------

_ACCOUNTS = "accounts/"


def read_account_name(resource: str) -> str:
    """The account of `accounts/{account}`. Raises InvalidArgument for an empty name, InvalidAccountName for others."""
    if not resource:
        raise InvalidArgument("every request names an account, such as 'accounts/default'", argument="account")
    if not resource.startswith(_ACCOUNTS):
        raise InvalidAccountName(
            f"account {resource!r} is not a resource name; write 'accounts/' before it, as in 'accounts/default'",
            account=resource,
        )
    return check_account_name(resource.removeprefix(_ACCOUNTS))


def write_account_name(name: str) -> str:
    return _ACCOUNTS + check_account_name(name)


# --- evaluations -------------------------------------------------------------------------------------------


def read_evaluation(message: Any) -> Evaluation:
    """The four fields that every evaluation response carries."""
    return Evaluation(message.generation, read_evaluated_at(message), message.elapsed_ms, tuple(message.skipped_nodes))


def read_evaluated_at(message: Any) -> datetime:
    """The instant of an evaluation, in UTC."""
    instant: datetime = message.evaluated_at.ToDatetime(tzinfo=UTC)
    return instant


def write_evaluation(evaluation: Evaluation, message: Any) -> None:
    message.generation = evaluation.generation
    write_instant(evaluation.evaluated_at, message.evaluated_at)
    message.elapsed_ms = evaluation.elapsed_ms
    message.skipped_nodes.extend(evaluation.skipped)


def read_plan(message: counts_pb2.PlanNode) -> ExplainNode:
    return ExplainNode(
        operation=message.operation,
        detail=message.detail,
        estimate=Estimate(message.estimate.lo, message.estimate.expected, message.estimate.hi),
        path=message.path,
        reason=message.reason,
        count=message.count if message.HasField("count") else None,
        count_without=message.count_without if message.HasField("count_without") else None,
        children=tuple(read_plan(child) for child in message.children),
    )


def write_plan(node: ExplainNode, message: counts_pb2.PlanNode) -> None:
    message.operation, message.detail = node.operation, node.detail
    message.estimate.lo, message.estimate.expected, message.estimate.hi = (
        node.estimate.lo,
        node.estimate.expected,
        node.estimate.hi,
    )
    message.path, message.reason = node.path, node.reason
    if node.count is not None:
        message.count = node.count
    if node.count_without is not None:
        message.count_without = node.count_without
    for child in node.children:
        write_plan(child, message.children.add())


def read_explanation(message: counts_pb2.ExplainExpressionResponse) -> Explanation:
    return Explanation(
        message.text,
        read_plan(message.plan),
        tuple(message.rules),
        message.count if message.HasField("count") else None,
        read_evaluation(message),
    )


def write_explanation(explanation: Explanation, message: counts_pb2.ExplainExpressionResponse) -> None:
    message.text = explanation.expression
    write_plan(explanation.plan, message.plan)
    message.rules.extend(explanation.rules)
    if explanation.count is not None:
        message.count = explanation.count
    write_evaluation(explanation.evaluation, message)


def read_preview(message: contacts_pb2.PreviewContactsResponse) -> Preview:
    return Preview(tuple(read_contact(contact) for contact in message.contacts), read_evaluation(message))


def write_preview(preview: Preview, message: contacts_pb2.PreviewContactsResponse) -> None:
    for contact in preview.contacts:
        write_contact(contact, message.contacts.add())
    write_evaluation(preview.evaluation, message)


# --- accounts and schema -----------------------------------------------------------------------------------


def read_account(message: accounts_pb2.Account) -> AccountInfo:
    """The account, with the defaults of what is left empty. Raises InvalidAccountName and InvalidArgument."""
    defaults = AccountInfo("default")
    return AccountInfo(
        read_account_name(message.name),
        message.zone or defaults.zone,
        message.currency or defaults.currency,
        message.money_scale if message.HasField("money_scale") else defaults.money_scale,
    )


def write_account(info: AccountInfo, message: accounts_pb2.Account) -> None:
    message.name = write_account_name(info.name)
    message.zone, message.currency, message.money_scale = info.zone, info.currency, info.money_scale


FIELD_TYPES: dict[int, FieldType] = {
    schema_pb2.FIELD_TYPE_TAGS: FieldType.TAGS,
    schema_pb2.FIELD_TYPE_CATEGORY: FieldType.CATEGORY,
    schema_pb2.FIELD_TYPE_NUMBER: FieldType.NUMBER,
    schema_pb2.FIELD_TYPE_TIMESTAMP: FieldType.TIMESTAMP,
    schema_pb2.FIELD_TYPE_DATE: FieldType.DATE,
    schema_pb2.FIELD_TYPE_BOOL: FieldType.BOOL,
    schema_pb2.FIELD_TYPE_TEXT: FieldType.TEXT,
}
FIELD_TYPE_NUMBERS = {v: schema_pb2.FieldType.ValueType(k) for k, v in FIELD_TYPES.items()}


def read_field(message: schema_pb2.Field) -> Field:
    type_ = FIELD_TYPES.get(message.type)
    if type_ is None:
        raise InvalidSchema(
            f"field {message.name!r} has no type that this release knows; the types are"
            f" {', '.join(t.value for t in FieldType)}",
            field=message.name,
        )
    return Field(message.name, type_, message.scale, message.tracked)


def read_schema(message: schema_pb2.Schema) -> Schema:
    return Schema(tuple(read_field(f) for f in message.fields))


def write_fields(fields: Iterable[Field], message: schema_pb2.Schema) -> None:
    message.SetInParent()
    for f in fields:
        message.fields.add(name=f.name, type=FIELD_TYPE_NUMBERS[f.type], scale=f.scale, tracked=f.tracked)


# --- statistics --------------------------------------------------------------------------------------------


def read_suggestions(message: schema_pb2.SuggestValuesResponse) -> list[Suggestion]:
    return [Suggestion(s.value, s.count) for s in message.suggestions]


def write_suggestions(suggestions: list[Suggestion], message: schema_pb2.SuggestValuesResponse) -> None:
    for suggestion in suggestions:
        message.suggestions.add(value=suggestion.value, count=suggestion.count)


def read_stats(message: schema_pb2.Stats) -> Stats:
    return Stats(
        account=read_account_name(message.account),
        generation=message.generation,
        contacts=message.contacts,
        fields=tuple(_read_field_stats(f) for f in message.fields),
        format_version=message.format_version,
        postings=message.postings,
        map_bytes=message.map_bytes,
        used_bytes=message.used_bytes,
        file_bytes=message.file_bytes,
        free_pages=message.free_pages,
        sizes=dict(message.sizes),
        log_bytes=message.log_bytes,
        log_records=message.log_records,
        overlay_bytes=message.overlay_bytes,
        merged_generation=message.merged_generation,
        merge_lag_seconds=message.merge_lag_seconds,
        horizons=tuple(read_horizon(each) for each in message.horizons),
    )


def write_stats(stats: Stats, message: schema_pb2.Stats) -> None:
    message.account = write_account_name(stats.account)
    for name in (
        "generation",
        "contacts",
        "format_version",
        "postings",
        "map_bytes",
        "used_bytes",
        "file_bytes",
        "free_pages",
        "log_bytes",
        "log_records",
        "overlay_bytes",
        "merged_generation",
        "merge_lag_seconds",
    ):
        setattr(message, name, getattr(stats, name))
    for f in stats.fields:
        _write_field_stats(f, message.fields.add())
    for name, size in stats.sizes.items():
        message.sizes[name] = size
    for horizon in stats.horizons:
        write_horizon(horizon, message.horizons.add())


def _read_field_stats(message: schema_pb2.FieldStats) -> FieldStats:
    type_ = FIELD_TYPES[message.type].value if message.type in FIELD_TYPES else ""
    return FieldStats(
        name=message.name,
        type=f"{type_}({message.scale})" if message.HasField("scale") else type_,
        set_count=message.set_count,
        distinct=message.distinct if message.HasField("distinct") else None,
        minimum=read_field_value(message.minimum) if message.HasField("minimum") else None,
        maximum=read_field_value(message.maximum) if message.HasField("maximum") else None,
    )


def _write_field_stats(stats: FieldStats, message: schema_pb2.FieldStats) -> None:
    message.name, message.set_count = stats.name, stats.set_count
    # FieldStats writes a type as people do: `category`, `number(2)`.
    type_, _, scale = stats.type.rstrip(")").partition("(")
    message.type = FIELD_TYPE_NUMBERS[FieldType(type_)]
    if scale:
        message.scale = int(scale)
    if stats.distinct is not None:
        message.distinct = stats.distinct
    if stats.minimum is not None:
        write_field_value(stats.minimum, message.minimum)
    if stats.maximum is not None:
        write_field_value(stats.maximum, message.maximum)
