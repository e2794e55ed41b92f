"""Value suggestions as one types: values that begin with the typed text before values that contain it, each group by
how many contacts hold it."""

from __future__ import annotations

import numpy as np

from segidx.exec.evaluate import stop_errors
from segidx.model.errors import TypeMismatch
from segidx.model.expression import TextOperator
from segidx.model.results import Suggestion
from segidx.model.schema import Field, FieldType
from segidx.plan.context import BindContext
from segidx.plan.strings import dictionary_of, text_codes


def suggest(field: Field, typed: str, limit: int, context: BindContext) -> list[Suggestion]:
    """At most `limit` values in use that contain `typed`, ignoring case. Raises TypeMismatch, DeadlineExceeded."""
    snapshot = context.snapshot
    if field.type is FieldType.BOOL:
        words = {"false": 0, "true": 1}
        return [
            Suggestion(word, snapshot.value_count(snapshot.field_id(field), code))
            for word, code in words.items()
            if word.startswith(typed.casefold())
        ][:limit]
    if not (field.type.is_string or field.type is FieldType.TAGS):
        raise TypeMismatch(
            f"{field.name!r} is a {field.type.value} field; only tags, category, text and bool fields have values"
            " to suggest",
            field=field.name,
        )
    counts, _ = snapshot.value_counts(field)
    with stop_errors():
        if typed:
            containing = text_codes(context, dictionary_of(context, field), TextOperator.CONTAINS, typed, ci=True)
            starting = text_codes(context, dictionary_of(context, field), TextOperator.STARTS_WITH, typed, ci=True)
        else:
            containing = starting = np.arange(len(counts))
    used = containing[counts[containing] > 0]
    starts = np.isin(used, starting)
    best = np.lexsort((used, -counts[used].astype(np.int64), ~starts))[:limit]
    codes = used[best]
    values = snapshot.dictionary(field).get(codes.astype(np.uint32)).to_pylist()
    return [Suggestion(value, int(counts[code])) for value, code in zip(values, codes.tolist(), strict=True)]
