"""The oracle: what every expression answers, in plain Python sets, lists, dicts, Fractions and datetimes.

It is slow and obvious on purpose and shares nothing with the engine but the values of `segidx/model`, and the tables of
where visits come from (`oracle_event_rows`): no plan, no bitmap, no kernel, and its own calendar (`oracle_time`). It
must not import `segidx/plan`, `exec`, `kernels` or `store`.

Readings chosen where the words are silent (a test that meets another reading has found a question, not yet a bug):

 1. Contact ids are taken byte for byte, not normalised. Strings and tags are NFC; their length is that after NFC.
 2. Bad rows are rejected first; of the valid rows of one id the last stands and the earlier ones are duplicates. So a
    bad last row does not take an earlier good one with it, and a bad earlier row is a reject, not a duplicate.
 3. An undeclared field rejects the row (UNKNOWN_FIELD), a value of another type too (TYPE_MISMATCH), a value outside
    the domain too (INVALID_VALUE). A row without fields makes the contact. An empty set of tags clears the field.
 4. A number has too many decimals if its value has: 1.500 is a legal number(2). A bool is not a number.
 5. Tag operations reject unknown contacts (CONTACT_NOT_FOUND) and bad tags; the rest stands. They remove, then add;
    `replace` goes alone. A bad tag in the request refuses the request, since it concerns every row.
 6. Types are checked in the whole tree before anything is evaluated, so `nobody and <ill-typed>` is an error.
 7. Constants may be compared with constants (`1 < 2` holds for everyone), a date with an instant only as a timestamp
    field, or the time of an event, with a date constant, on either side. A timestamp and a date field are different
    kinds.
 8. A timestamp's local date is that of the wall clock, also where the clock was set back over midnight and dates
    repeat; a window written in dates begins at the (earlier) midnight instant. Local dates may leave years 1 to 9999.
 9. A gap moves a local time forward by the gap's length (02:30 becomes 03:30).
10. A window's end beyond years 1 to 9999 is as far away as it says: the calendar goes on, nothing is clamped.
11. Age is rounded down for the future too: born tomorrow is -1.
12. An anniversary is that of any year, before birth too. Its window is one of days: hours and instants are a type
    error on timestamp fields too; a missing end is InvalidExpression.
13. `ci` folds case wholly (casefold, then NFC) in =, in, contains, prefix, suffix and tags. On `matches` it is the
    regular expression's own i flag, since patterns cannot be folded.
14. `$` is the very end of the text and `.` no newline, as in RE2. The oracle reads only what `strategies` writes.
15. Equality of bools only; ordering and `between` refuse them. `between` is `>= low and <= high`, missing if any is.
16. A flag of a channel that was never given is False. An upsert that leaves an address other than the present one
    clears the channel's hard bounce; one that takes the address away, or gives the same again, does not.
17. Event ids are taken byte for byte, like contact ids; a bad one is INVALID_VALUE. An event is refused whole, for the
    first thing wrong with it: its type, its id, contact, time, properties in the type's order, lines, revision. A time
    finer than a millisecond, before 1970 or more than 24 hours ahead is INVALID_VALUE. What 3. and 4. say of fields
    holds for properties; one that the type lacks is refused with None too. `order` is written as an Order only.
18. Of the valid rows of one id in a batch or an import one counts as accepted where one took effect, and all others are
    duplicates; a bad row leaves what was there. Each row that takes effect makes its contact, also if a later row of
    the batch replaces it; those that take none, and rejects, make none. A retraction that was remembered took
    effect, and so did one that only raised the revision of what was retracted.
19. An amount is rounded half away from zero, so that a return takes back what its sale gave. One that comes out of
    range is INVALID_VALUE, as if it had been given. An order's amount that is given may differ from that of its lines.
20. What is worked out is set: a line without a quantity has the quantity 1 in filters and sums too. An order of
    returned lines does not count, whatever its amount; one without lines and amount does. Lines all count.
21. In a filter a property is compared with constants, and a constant with a constant. `!=` on a missing property holds,
    being `not (=)`. A property that the kind lacks is UNKNOWN_PROPERTY, all else is as 6. and 15. say.
22. A window that reaches beyond `evaluated_at` ends there. The newest event, of which the default `evaluated_at` is
    told, stays the newest when it is replaced by an earlier one or retracted. One that another row of its batch
    replaced or retracted was never there.
23. The average of orders may be above their greatest amount or below their least: orders that do not count are in the
    sum and not in the divisor. Local days since the first event may be fewer than since the last, where dates repeat.
24. Events of other types than orders and lines count always, each as one. Their averages are over those that have the
    property, as those of lines are. A timestamp property is compared as 7. says of fields.
25. `hour` and `weekday` of an event are those of the wall clock at its time, which every event has. Beside the number
    that they are they are like properties in filters, and nothing is made of them. `month` is another; a type that was
    declared with a property of that name before there was one keeps its own.
26. Different values are those that are not equal as they are kept: strings with their case, numbers whatever their
    digits. Like `count`, what counts them looks at orders that count and at all else.
27. Of a visit with a url or a referrer that are not empty, what it lacks is filled in by what `derive_source` says of
    these and of the utm properties given: utm properties and search phrase always, `source` and `paid` where no source
    was given. None is lacking, an empty string is not.
28. A group of events stands for the events of its members one after another, each with the window that the group is
    asked with: what two members select is there twice, and the gap between the two is 0. What is made of a property is
    not made of a group, which is refused before the property is looked at, and whatever else its filter says. `line`
    may be a member, and so may what counts not: it counts not. A filter of a group names what the type of one member
    has at least; the events of the others lack it. A condition is refused where the types of one of those that have
    its property do not allow it.
29. A call of `upsert`, `tag` or `write` changes a tracked field once: what it leaves against what was before. A field
    that is declared as tracked later has no history from before; neither has what was set before it.
30. Rows of products apply one after another; a bad one changes nothing. `accepted` are the products that are named by a
    valid row; one that is new and gone again in a batch is neither created nor deleted. Ids and strings are NFC.
31. What an event lacks its product has, where both are of the same type; `product.` asks the catalogue alone. A
    condition on tags holds where it holds for one of them, but `!=`, which is `not (=)`. Products have no history.
32. Of a group's events at one time and of one id the first is that of the type which the group names first. `only`
    leaves out orders and lines of a group as it does where it asks for these alone, whatever filters the members have.
33. A favourite is compared with strings that are constants, on either side, for equality: it has no order, and is
    compared with no field. An empty string is a value and may be the favourite.
34. The deviation of gaps is compared, with any number, and not calculated with. Where there is one gap it is 0.
35. The next event may be expected at the very instant of evaluation: then it is not overdue. When it is expected is
    told of a window's events by these alone, wherever the window ends, and may lie in the window, or behind it.
36. One event is of one step only, since the next must be later; a step may ask for the same events as another. Of
    orders and lines those are steps that `did` looks for. An event that is to stay away does so up to `within`
    milliseconds, these included, and the sequence holds from the millisecond after these on.
37. A window behind the time of an event holds instants, as that of a timestamp field does; it may reach beyond the
    instant of evaluation, where what is expected may lie.
38. Bands are those that are declared when they are asked for, whenever the events were. What is crossed is worked out
    anew from the events that there are: one that comes late, or is taken back, changes what was crossed before.
39. An order that says no `source` has that of its contact's last visit that has one, from the account's minutes
    before the order (that instant too) to its own time, and that visit's `paid` unless it says it itself. What is asked
    is answered by the visits that are kept when it is asked. Visits of one time are ordered by their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from segidx.model.bands import Bands, bands, check_decimals
from segidx.model.derived import DerivedNumber
from segidx.model.errors import ContactNotFound, InvalidArgument, PrunedHistory, SegidxError, TypeMismatch
from segidx.model.event_groups import GROUPS, EventGroup, event_group
from segidx.model.events import EventType, EventTypes
from segidx.model.expression import (
    Aggregate,
    And,
    AtLeast,
    Became,
    Comparison,
    Did,
    Events,
    Everyone,
    Expression,
    Nobody,
    Not,
    OnChannel,
    Operator,
    Or,
    Tagged,
    check,
)
from segidx.model.results import FieldData, Reject
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.source_settings import SourceSettings
from segidx.model.values import Constant
from segidx.model.values import scalar as to_scalar
from segidx.model.writes import ADDRESS_FIELDS, Channel, ChannelFlag
from segidx.testing import oracle_time
from segidx.testing.oracle_channels import Flags, is_on_channel, set_flags
from segidx.testing.oracle_conditions import Conditions
from segidx.testing.oracle_event_rows import EventRefused, EventRow, Taken, take
from segidx.testing.oracle_events import Kept, Subject, with_sources
from segidx.testing.oracle_history import Change, changes_between, has_become, is_tagged
from segidx.testing.oracle_horizons import Account, Horizons
from segidx.testing.oracle_products import OracleCatalogue
from segidx.testing.oracle_rows import check_contact_id, clean_tags, clean_value
from segidx.testing.oracle_types import check_types

Row = tuple[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class OracleResult:
    """What a batch did: rows that stand, contacts made, rows that a later one replaced, rows refused."""

    accepted: int
    created: int
    duplicates: int
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of an event id: the revision, and what is kept of the event; None where it is retracted."""

    revision: int
    kept: Kept | None


class Oracle:
    """One account's contacts and events in dicts, and the answer to every expression about them.

    `contacts` maps each contact id to its set fields (tags as a non-empty frozenset, instants in UTC); `flags` those
    that ever had one to the flags that are True; `held` each type and event id to what is held of it; `history` each
    contact to what became of its tracked fields, in order, by the `clock` (in ms) at the writes.
    """

    def __init__(
        self,
        schema: Schema,
        zone: str,
        money_scale: int = 2,
        event_groups: Mapping[str, EventGroup] = GROUPS,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self.schema = schema
        self.event_groups = dict(event_groups)
        self.bands: dict[str, Bands] = {}
        self.money_scale = money_scale
        self.local = oracle_time.LocalTime(zone)
        self.contacts: dict[str, dict[str, FieldData]] = {}
        self.flags: dict[str, Flags] = {}
        self.event_types = EventTypes()
        self.held: dict[tuple[str, str], Held] = {}
        self.newest_event: int | None = None  # of all that were ever taken, in ms
        self.history: dict[str, list[Change]] = {}
        self.source_settings = SourceSettings()
        self.clock = clock
        self.catalogue = OracleCatalogue()
        self.horizons = Horizons()
        self.derived: dict[str, DerivedNumber] = {}  # those declared

    def kept(self, type: str) -> dict[str, Kept]:
        """What is kept of each id of a type, of those that are not retracted."""
        return {event_id: h.kept for (of, event_id), h in self.held.items() if of == type and h.kept is not None}

    # --- writing -------------------------------------------------------------------------------------------

    def declare(self, fields: Iterable[Field]) -> None:
        """Add fields, or track them. Raises SchemaConflict where one is declared otherwise."""
        self.schema = self.schema.extended(fields)

    def declare_event_types(self, types: Iterable[EventType]) -> None:
        """Add event types. Raises SchemaConflict where one is declared otherwise."""
        self.event_types = self.event_types.extended(types)

    def set_event_group(self, name: str, members: Iterable[Events]) -> None:
        """Say anew which events a group has. Raises InvalidArgument for what is no group, and what `members` raises of
        its members."""
        group = event_group(name, members)
        for member in group.members:
            check_types(Did(member), self.schema, self.event_types, products=self.catalogue.schema)
        self.event_groups[name] = group

    def declare_bands(
        self,
        name: str,
        value: Aggregate,
        thresholds: Iterable[Decimal | int],
        labels: Iterable[str] | None = None,
    ) -> None:
        """Declare bands, in place of any of the name. Raises InvalidArgument for what cannot be bands, and what
        `members` raises of the value."""
        of = bands(name, value, thresholds, labels)
        asked = Comparison(value, Operator.EQ, Constant(Decimal(0)))
        check_types(asked, self.schema, self.event_types, products=self.catalogue.schema)
        scale = 0
        if of.value.property is not None:
            scale = self.event_types[value.events.type].property(of.value.property).decimals(self.money_scale)
        check_decimals(of, scale)
        self.bands[name] = of

    @contextmanager
    def remembering(self, contact_ids: Iterable[str]) -> Iterator[None]:
        """What is done within to these contacts is one change of each of their tracked fields."""
        before = {name: dict(self.contacts.get(name, {})) for name in contact_ids}
        yield
        for name, fields in before.items():
            changes = changes_between(self.schema, fields, self.contacts.get(name, {}), self.clock())
            self.history.setdefault(name, []).extend(changes)

    def upsert(self, rows: Sequence[Row]) -> OracleResult:
        """Apply rows (contact id, fields): a value replaces, None clears, an absent field stays as it is."""
        with self.remembering(name for name, _ in rows):
            return self._upsert(rows)

    def _upsert(self, rows: Sequence[Row]) -> OracleResult:
        rejects: list[Reject] = []
        last: dict[str, dict[str, FieldData | None]] = {}
        duplicates = 0
        for index, (contact_id, fields) in enumerate(rows):
            try:
                name = ""
                check_contact_id(contact_id)
                clean: dict[str, FieldData | None] = {}
                for name, value in fields.items():
                    clean[name] = clean_value(self.schema[name], value)
            except SegidxError as error:
                rejects.append(Reject(index, contact_id, name, error.reason, error.message))
                continue
            duplicates += contact_id in last
            last[contact_id] = clean
        created = 0
        for contact_id, clean in last.items():
            created += contact_id not in self.contacts
            contact = self.contacts.setdefault(contact_id, {})
            for channel, address in ADDRESS_FIELDS.items():
                if clean.get(address) not in (None, contact.get(address)):
                    self.flags.get(contact_id, set()).discard((channel, ChannelFlag.HARD_BOUNCED))
            for name, value in clean.items():
                if value is None:
                    contact.pop(name, None)
                else:
                    contact[name] = value
        return OracleResult(len(last), created, duplicates, tuple(rejects))

    def tag(
        self,
        ids: Sequence[str],
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        replace: Iterable[str] | None = None,
        field: str = "tags",
    ) -> OracleResult:
        """Add and remove tags of contacts, or replace all of them. Raises UnknownField, TypeMismatch, InvalidValue."""
        declared = self.schema[field]
        if declared.type is not FieldType.TAGS:
            raise TypeMismatch(f"field {field!r} is {declared.type.value}, not tags", field=field)
        added, removed = clean_tags(field, add), clean_tags(field, remove)
        if replace is not None and (added or removed):
            raise InvalidArgument("replace all tags, or add and remove some, not both")
        with self.remembering(ids):
            return self._tag(ids, added, removed, None if replace is None else clean_tags(field, replace), field)

    def _tag(
        self,
        ids: Sequence[str],
        added: frozenset[str],
        removed: frozenset[str],
        replaced: frozenset[str] | None,
        field: str,
    ) -> OracleResult:
        rejects = []
        for index, contact_id in enumerate(ids):
            contact = self.contacts.get(contact_id)
            if contact is None:
                error = ContactNotFound(contact_id)
                rejects.append(Reject(index, contact_id, "", error.reason, error.message))
                continue
            held = contact.get(field, frozenset())
            assert isinstance(held, frozenset)
            now = (held - removed) | added if replaced is None else replaced
            if now:
                contact[field] = now
            else:
                contact.pop(field, None)
        found = {contact_id for contact_id in ids if contact_id in self.contacts}
        return OracleResult(len(found), 0, len(ids) - len(rejects) - len(found), tuple(rejects))

    def set_channels(self, contact_id: str, channels: Mapping[Channel, Mapping[ChannelFlag, bool]]) -> None:
        """Set (True) and clear (False) flags of a contact, as `ContactWrite.channels` does after its fields; flags
        that are not named stay. Raises ContactNotFound."""
        if contact_id not in self.contacts:
            raise ContactNotFound(contact_id)
        set_flags(self.flags.setdefault(contact_id, set()), channels)

    def write_events(self, rows: Sequence[EventRow], now_ms: int) -> OracleResult:
        """Write and retract events, in order, when the clock shows `now_ms`. Orders take their lines along; a contact
        that is not known is created."""
        rejects: list[Reject] = []
        stand: set[tuple[str, str]] = set()
        valid = created = 0
        for index, row in enumerate(rows):
            try:
                taken = take(
                    row,
                    self.event_types,
                    self.money_scale,
                    now_ms,
                    self.source_settings.own_hosts,
                    self.horizons.times,
                )
                self._check_horizon(taken)
            except EventRefused as refused:
                error = refused.error
                contact_id = getattr(row, "contact_id", "")
                rejects.append(Reject(index, contact_id, refused.field, error.reason, error.message))
                continue
            valid += 1
            before = len(self.contacts)
            if self._apply_event(taken):
                stand.add((taken.type, taken.event_id))
            created += len(self.contacts) - before
        times = [kept.event.time for key in stand if (kept := self.held[key].kept) is not None]
        if times:
            self.newest_event = max(times if self.newest_event is None else [self.newest_event, *times])
        return OracleResult(len(stand), created, valid - len(stand), tuple(rejects))

    def _check_horizon(self, taken: Taken) -> None:
        """Raises EventRefused for an event that is pruned."""
        horizon = self.horizons.times.get(taken.type, 0)
        held = self.held.get((taken.type, taken.event_id))
        if held is not None and held.kept is not None and held.kept.event.time < horizon:
            field = "order_id" if taken.type == "order" else "event_id"
            raise EventRefused(field, PrunedHistory("what is held of the id is behind the horizon"))

    def _apply_event(self, taken: Taken) -> bool:
        """Whether it takes effect."""
        held = self.held.get((taken.type, taken.event_id))
        if held is not None:
            again = taken.revision == held.revision and held.kept is not None
            if not again and taken.revision <= held.revision:
                return False
        if taken.kept is not None:
            self.contacts.setdefault(taken.kept.contact_id, {})
        self.held[taken.type, taken.event_id] = Held(taken.revision, taken.kept)
        return True

    # --- asking --------------------------------------------------------------------------------------------

    def default_instant(self, now_ms: int) -> datetime:
        """`evaluated_at` where none is asked for: the later of the clock and the newest event, plus 1 ms."""
        newest = now_ms if self.newest_event is None else max(now_ms, self.newest_event)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=newest + 1)

    def count(self, expression: Expression, evaluated_at: datetime) -> int:
        """How many contacts the expression holds for at an instant."""
        return len(self.members(expression, evaluated_at))

    def members(self, expression: Expression, evaluated_at: datetime) -> set[str]:
        """The ids of the contacts that the expression holds for at an instant (aware, whole milliseconds).

        Raises InvalidExpression and its kinds for what no schema makes valid, UnknownField, UnknownEventType,
        UnknownProperty and TypeMismatch for what this schema and these event types do not, PrunedHistory.
        """
        check(expression)
        check_types(
            expression,
            self.schema,
            self.event_types,
            products=self.catalogue.schema,
            bands=self.bands,
            groups=self.event_groups,
        )
        instant = to_scalar(evaluated_at)
        assert isinstance(instant, datetime)
        at = oracle_time.millis(instant)
        self.horizons.check(expression, at, self._account())
        conditions = Conditions(
            self.schema, self.event_types, self.event_groups, self.bands, self.catalogue, self.local, at
        )
        return self._members(expression, conditions)

    def prune(self, types: Iterable[str], before: int) -> None:
        """Forget nothing, and refuse what reaches behind an instant, in ms."""
        self.horizons.move(types, before, self._account())

    def _account(self) -> Account:
        return Account(
            self.event_types,
            self.event_groups,
            self.bands,
            self.derived,
            self.catalogue.schema,
            self.source_settings,
            self.local,
        )

    def _members(self, node: Expression, conditions: Conditions) -> set[str]:
        everyone = set(self.contacts)
        match node:
            case Everyone():
                return everyone
            case Nobody():
                return set()
            case Not(operand=operand):
                return everyone - self._members(operand, conditions)
            case And(operands=operands):
                return everyone.intersection(*(self._members(operand, conditions) for operand in operands))
            case Or(operands=operands):
                return set().union(*(self._members(operand, conditions) for operand in operands))
            case AtLeast(count=count, operands=operands):
                audiences = [self._members(operand, conditions) for operand in operands]
                return {c for c in everyone if sum(c in audience for audience in audiences) >= count}
            case OnChannel(channel=channel, state=state):
                return {c for c in everyone if is_on_channel(self.flags.get(c, set()), channel, state)}
            case Became():
                return {c for c in everyone if has_become(node, self.history.get(c, ()), conditions.at, self.local)}
            case Tagged():
                return {c for c in everyone if is_tagged(node, self.history.get(c, ()), conditions.at, self.local)}
        holds = conditions.of(node)
        ids_of: dict[str, list[tuple[str, Kept]]] = {}
        for (_, event_id), held in self.held.items():
            if held.kept is not None:
                ids_of.setdefault(held.kept.contact_id, []).append((event_id, held.kept))
        minutes = self.source_settings.order_minutes
        kept_of = {c: with_sources(kept, minutes) for c, kept in ids_of.items()}
        # Where contacts are many, most have nothing: what holds for one of these does for all.
        of_nothing = holds(Subject({}))
        return {
            c
            for c, fields in self.contacts.items()
            if (holds(Subject(fields, kept_of.get(c, ()))) if fields or c in kept_of else of_nothing)
        }
