"""A database in dictionaries with the interface of `segidx.database`, for tests of what stands above it.

It knows just enough of expressions: `everyone`, `nobody`, the tree, `=` on a string field, and texts `field = "value"`.
The texts `slow` and `bug` wait for their Stop, and fail as nothing should.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from segidx.kernels.bitmaps import Stop
from segidx.model.errors import (
    AccountExists,
    ContactNotFound,
    DeadlineExceeded,
    ExpressionSyntaxError,
    InvalidValue,
    SegidxError,
    UnknownAccount,
    UnknownField,
)
from segidx.model.expression import (
    And,
    AtLeast,
    Comparison,
    Everyone,
    Expression,
    Nobody,
    Not,
    Operator,
    Or,
    check,
    node_path,
    operands_of,
    skip_unfinished,
    walk,
)
from segidx.model.results import (
    Contact,
    Count,
    Estimate,
    Evaluation,
    ExplainNode,
    Explanation,
    FieldStats,
    Preview,
    Reject,
    Stats,
    Suggestion,
    WriteResult,
)
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.values import Constant, FieldValue

_EQUAL = Operator.EQ
_low, _high = Decimal("-1.50"), Decimal("99.00")
EVALUATED_AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


class FakeAccount:
    def __init__(self, info: AccountInfo, database: FakeDatabase) -> None:
        self.info = info
        self.database = database
        self.generation = 0
        self.contacts: dict[str, dict[str, object]] = {}
        self.declared = Schema(
            (
                Field("country", FieldType.CATEGORY),
                Field("tags", FieldType.TAGS),
                Field("income", FieldType.NUMBER, 2),
                Field("birthday", FieldType.DATE),
                Field("seen", FieldType.TIMESTAMP),
                Field("consent", FieldType.BOOL),
            )
        )

    # --- evaluation

    def _parse(self, text: str) -> Expression:
        if text in ("everyone", "nobody"):
            return Everyone() if text == "everyone" else Nobody()
        match = re.fullmatch(r'(\w+) = "(\w*)"', text)
        if match is None:
            raise ExpressionSyntaxError("this cannot be read", line=1, column=3, expected=("'and'", "'or'"))
        return Comparison(FieldValue(match[1]), _EQUAL, Constant(match[2]))

    def _wait(self, stop: Stop) -> None:
        self.database.slow.set()
        while not stop.stopped:
            if self.database.hurry.wait(0.005):
                return
        self.database.stopped.set()
        raise DeadlineExceeded("the evaluation was stopped")

    def _holds(self, node: Expression, fields: Mapping[str, object]) -> bool:
        match node:
            case Everyone():
                return True
            case Nobody():
                return False
            case And():
                return all(self._holds(o, fields) for o in node.operands)
            case Or():
                return any(self._holds(o, fields) for o in node.operands)
            case Not():
                return not self._holds(node.operand, fields)
            case AtLeast():
                return sum(self._holds(o, fields) for o in node.operands) >= node.count
            case Comparison(left=FieldValue(field=name), right=Constant(value=value)):
                return fields.get(name) == value
        return False

    def _evaluate(
        self, expression: Expression | str, allow_unfinished: bool, stop: Stop | None
    ) -> tuple[Expression, list[str], tuple[str, ...]]:
        self.database.queries.append(expression)
        if expression == "bug":
            raise RuntimeError("the secret of contact 7")
        if expression == "slow":
            assert stop is not None
            self._wait(stop)
            expression = "everyone"
        node = self._parse(expression) if isinstance(expression, str) else expression
        skipped: tuple[str, ...] = ()
        if allow_unfinished:
            node, skipped = skip_unfinished(node)
        check(node)
        for part, path, _depth in walk(node):
            if isinstance(part, Comparison):
                for side in (part.left, part.right):
                    if isinstance(side, FieldValue) and side.field not in self.declared:
                        raise UnknownField(side.field, [f.name for f in self.declared], path=node_path(path, part))
        return node, sorted(c for c, fields in self.contacts.items() if self._holds(node, fields)), skipped

    def _evaluation(self, skipped: tuple[str, ...] = ()) -> Evaluation:
        return Evaluation(self.generation, EVALUATED_AT, 0.25, skipped)

    def count(self, expression, *, allow_unfinished=False, stop=None) -> Count:
        _node, found, skipped = self._evaluate(expression, allow_unfinished, stop)
        return Count(len(found), self._evaluation(skipped))

    def count_many(self, expressions, *, allow_unfinished=False, stop=None) -> list[Count | SegidxError]:
        outcomes: list[Count | SegidxError] = []
        for expression in expressions:
            try:
                outcomes.append(self.count(expression, allow_unfinished=allow_unfinished, stop=stop))
            except SegidxError as error:
                outcomes.append(error)
        return outcomes

    def explain(self, expression, *, counts=False, allow_unfinished=False, stop=None) -> Explanation:
        node, found, skipped = self._evaluate(expression, allow_unfinished, stop)

        def plan(part: Expression) -> ExplainNode:
            return ExplainNode(
                type(part).__name__,
                "detail",
                Estimate(0, 1, 2),
                "expression",
                "",
                3 if counts else None,
                4 if counts else None,
                tuple(plan(child) for child in operands_of(part)),
            )

        return Explanation("text", plan(node), ("flatten",), len(found) if counts else None, self._evaluation(skipped))

    def preview(self, expression, *, fields=None, limit=20, allow_unfinished=False, stop=None) -> Preview:
        _node, found, skipped = self._evaluate(expression, allow_unfinished, stop)
        return Preview(
            tuple(
                Contact(c, {k: v for k, v in self.contacts[c].items() if fields is None or k in fields})
                for c in found[:limit]
            ),
            self._evaluation(skipped),
        )

    def suggest(self, field: str, typed: str, *, limit: int = 10, stop=None) -> list[Suggestion]:
        self.declared[field]
        return [Suggestion(f"{typed}{i}", 100 - i) for i in range(limit)]

    # --- contacts

    def upsert(self, rows: Iterable[tuple[str, Mapping[str, object]]]) -> WriteResult:
        accepted = created = 0
        rejects: list[Reject] = []
        for index, (contact_id, fields) in enumerate(rows):
            wrong = next((name for name in fields if name not in self.declared), None)
            if wrong is not None:
                error = UnknownField(wrong, [f.name for f in self.declared])
                rejects.append(Reject(index, contact_id, wrong, error.reason, error.message))
                continue
            if not contact_id:
                rejects.append(Reject(index, "", "", "INVALID_CONTACT_ID", "the id is empty"))
                continue
            accepted += 1
            created += contact_id not in self.contacts
            held = self.contacts.setdefault(contact_id, {})
            for name, value in fields.items():
                if value is None:
                    held.pop(name, None)
                else:
                    held[name] = value
        self.generation += 1
        return WriteResult(self.generation, accepted, created, 0, tuple(rejects))

    def tag(
        self,
        contact_ids: Sequence[str],
        *,
        field: str = "tags",
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: Sequence[str] | None = None,
    ) -> WriteResult:
        if self.declared[field].type is not FieldType.TAGS:
            raise InvalidValue(f"{field} has no tags")
        rejects = []
        for index, contact_id in enumerate(contact_ids):
            held = self.contacts.get(contact_id)
            if held is None:
                rejects.append(Reject(index, contact_id, "", "CONTACT_NOT_FOUND", "no such contact"))
                continue
            old = held.get(field, frozenset())
            assert isinstance(old, frozenset)
            held[field] = frozenset(replace) if replace is not None else (old | set(add)) - set(remove)
        self.generation += 1
        return WriteResult(self.generation, len(contact_ids) - len(rejects), 0, 0, tuple(rejects))

    def get(self, contact_id: str) -> Contact:
        if contact_id not in self.contacts:
            raise ContactNotFound(contact_id)
        return Contact(contact_id, dict(self.contacts[contact_id]))

    # --- schema

    def schema(self) -> Schema:
        return self.declared

    def update_schema(self, fields: Sequence[Field]) -> Schema:
        self.declared = self.declared.extended(fields)
        return self.declared

    def stats(self) -> Stats:
        return Stats(
            self.info.name,
            self.generation,
            len(self.contacts),
            (
                FieldStats("country", "category", 2, 1),
                FieldStats("income", "number(2)", 1, None, _low, _high),
                FieldStats("birthday", "date", 0, None),
            ),
            1,
            7,
            2**40,
            4096,
            8192,
            3,
            {"postings": 100, "columns": 200},
        )


class FakeDatabase:
    """`FakeDatabase()` holds the account `default` with four contacts."""

    def __init__(self) -> None:
        self.slow = threading.Event()
        self.hurry = threading.Event()
        self.stopped = threading.Event()
        self.queries: list[Expression | str] = []
        self.held: dict[str, FakeAccount] = {}
        self.create_account(AccountInfo("default", "Europe/Warsaw", "PLN", 2)).upsert(
            [
                ("a", {"country": "PL"}),
                ("b", {"country": "PL"}),
                ("c", {"country": "DE"}),
                ("d", {}),
            ]
        )

    def account(self, name: str) -> FakeAccount:
        if name not in self.held:
            raise UnknownAccount(name, self.held)
        return self.held[name]

    def create_account(self, info: AccountInfo) -> FakeAccount:
        if info.name in self.held:
            raise AccountExists(info.name)
        self.held[info.name] = FakeAccount(info, self)
        return self.held[info.name]

    def accounts(self) -> list[AccountInfo]:
        return [account.info for account in self.held.values()]

    def close(self) -> None:
        pass
