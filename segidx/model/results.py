"""What segidx answers with; the same values whether asked in process or over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from segidx.model.events import OrderLine

FieldData = str | Decimal | bool | date | datetime | frozenset[str]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cardinality before evaluation: the truth lies in [lo, hi]; `expected` is the best guess."""

    lo: int
    expected: int
    hi: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What every evaluation carries: the generation it saw, its instant, and how long it took."""

    generation: int
    evaluated_at: datetime
    elapsed_ms: float
    skipped: tuple[str, ...] = ()  # paths of unfinished nodes that were left out


@dataclass(frozen=True, slots=True)
class Count:
    count: int
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class ExplainNode:
    """One node of a plan. `count` is how many live contacts the node holds for by itself; `count_without` how many
    the whole expression would hold without it; both are None unless counts were asked for."""

    operation: str  # e.g. "all_of", "posting", "range"
    detail: str  # e.g. 'country = "PL"'
    estimate: Estimate
    path: str = ""  # the expression node it came from, where there is one
    reason: str = ""  # why it became `nothing` or `everything`
    count: int | None = None
    count_without: int | None = None
    children: tuple[ExplainNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    expression: str  # the text form
    plan: ExplainNode
    rules: tuple[str, ...]  # rewrites that changed the plan, in order
    count: int | None
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact: its id and the fields that are set (tags as a frozenset)."""

    contact_id: str
    fields: Mapping[str, FieldData]


@dataclass(frozen=True, slots=True)
class Preview:
    contacts: tuple[Contact, ...]
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class ContactEvent:
    """One event of a contact's timeline. `properties` are those that it has. Events of the types `change` and
    `tagging`, the history of tracked fields, have an empty id; lines are those of an order, in their order."""

    type: str
    event_id: str
    time: datetime
    properties: Mapping[str, str | Decimal | bool | datetime]
    revision: int | None = None  # None where the caller gave none
    lines: tuple[OrderLine, ...] = ()


@dataclass(frozen=True, slots=True)
class ContactEvents:
    """A page of a contact's timeline. `next_page_token` is empty on the last one; otherwise more may follow, whatever
    the number of events here."""

    events: tuple[ContactEvent, ...]
    next_page_token: str
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Suggestion:
    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Reject:
    """A row of a batch that was refused: its index in the batch (or file), the field (or "" for the id), and why."""

    index: int
    contact_id: str
    field: str
    reason: str  # an error's `reason`
    message: str


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The acknowledgement of a batch: synced to disk when it is returned.

    Its rows of contacts are `accepted`, `duplicates` and `rejects` together; its events (and retractions) those that
    took effect and stand, those that changed nothing or that another of the batch replaced, and those refused. Rejects
    of events are numbered among the events.
    """

    generation: int
    accepted: int
    created: int  # contacts, those of events too
    duplicates: int  # earlier rows of the batch that a later row with the same id replaced
    rejects: tuple[Reject, ...] = ()
    replayed: bool = False  # the batch key was known: this is the answer of the first time
    events_accepted: int = 0
    events_duplicates: int = 0
    event_rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True, slots=True)
class ProductWriteResult:
    """The acknowledgement of a batch of products: synced to disk when it is returned. Its rows are `accepted`,
    `duplicates` and `rejects` together; a reject names the product in `contact_id`."""

    generation: int
    accepted: int  # products that were written or deleted
    created: int  # those among them that were not there before
    deleted: int  # those among them that are there no more
    duplicates: int  # earlier rows that a later row with the same id followed
    rejects: tuple[Reject, ...] = ()
    replayed: bool = False  # the batch key was known: this is the answer of the first time


@dataclass(frozen=True, slots=True)
class Horizon:
    """Of the events of a type (of orders, their lines too) those before `time` are dropped. `balances` are the numbers
    that go on being exact, as they are written."""

    type: str
    time: datetime
    balances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrunedType:
    """What pruning did to the events of a type: those before `horizon` are dropped, `events` of them now, with so many
    `lines`. `ended` are numbers that are too large for an opening balance, so that they have none any more."""

    type: str
    horizon: datetime
    events: int
    lines: int = 0
    ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldStats:
    name: str
    type: str
    set_count: int  # contacts that have a value
    distinct: int | None  # of coded fields: dictionary size
    minimum: FieldData | None = None
    maximum: FieldData | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    account: str
    generation: int
    contacts: int
    fields: tuple[FieldStats, ...]
    format_version: int
    postings: int
    map_bytes: int
    used_bytes: int
    file_bytes: int
    free_pages: int
    sizes: Mapping[str, int] = field(default_factory=dict)  # bytes by named database
    log_bytes: int = 0  # of the log: committed changes kept for the merge and for the feed of changes
    log_records: int = 0
    overlay_bytes: int = 0  # memory that holds the changes not yet merged
    merged_generation: int = 0  # the base holds all changes up to it
    merge_lag_seconds: float = 0.0  # age of the oldest change not merged; 0 when there is none
    horizons: tuple[Horizon, ...] = ()  # of event types, behind which events are dropped
