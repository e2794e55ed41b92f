"""Accounts that were told the same events, each in another way, for tests that have the answers from somewhere else:
another database, on data that is not this project's. It may import anything below the service.

Events come as Arrow tables, a row an event, with the columns that `import_events` reads; orders with those of
`import_orders`, a row a line. Times are in UTC, where a table's are naive too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from segidx.database import Account, Database
from segidx.exec.evaluate import count, materialise
from segidx.exec.query import prepare
from segidx.ingest import merger
from segidx.ingest.import_events import EventImportReport
from segidx.ingest.import_orders import OrderImportReport, import_orders
from segidx.model.events import Event, EventType, Order, OrderLine, Retraction
from segidx.model.expression import Expression
from segidx.model.schema import AccountInfo, Field
from segidx.model.syntax import parse
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext

ORDER = "order"
# In bulk; live and not merged; live and merged; live over something else that came in bulk, not merged and merged.
WAYS = ("bulk", "live", "merged", "mended", "mended_merged")
BATCH = 3_000  # of a live write: several layers, of sizes that differ
_ROOT = Path(__file__).parents[2]
_LINE = ("product", "producer", "category", "quantity", "unit_price", "amount")


def shared_data(folder: str) -> Path:
    """Where real data is looked for: below what SEGIDX_SHARED_DATA names, by default beside the project."""
    return (_ROOT / os.environ.get("SEGIDX_SHARED_DATA", "../shared/data")).resolve() / folder


def lacks(folder: str, *names: str) -> str:
    """Why tests on these Parquet files are skipped; empty where all are there."""
    data = shared_data(folder)
    there = all((data / f"{name}.parquet").exists() for name in names)
    return "" if there else f"the {folder} data is not in {data}; set SEGIDX_SHARED_DATA"


class Ways:
    """The accounts, by way."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        *,
        zone: str = "UTC",
        ways: Sequence[str] = WAYS,
        types: Iterable[EventType] = (),
        fields: Sequence[Field] = (),
        contacts: Sequence[tuple[str, Mapping[str, object]]] = (),
        name: str = "",
    ) -> None:
        self._directory = directory
        self.accounts = {way: database.create_account(AccountInfo(f"{name}{way}", zone)) for way in ways}
        declared = tuple(types)
        for account in self.accounts.values():
            account.declare_event_types(declared)
            account.update_schema(fields)
            result = account.upsert(contacts)
            assert not result.rejects, result.rejects[:3]
            account.merge()

    def tell(self, events: Mapping[str, pa.Table], batch: int = BATCH) -> None:
        """Tell every account all of these events, by type; what has "merged" in its name is merged, others not."""
        tables = {type: _with_zone(table) for type, table in events.items()}
        for way, account in self.accounts.items():
            if way == "bulk":
                for type, table in tables.items():
                    self._import(account, type, table)
            elif way.startswith("mended"):
                self._mend(account, tables, batch)
            else:
                write_live(account, (row for type, table in tables.items() for row in rows_of(type, table)), batch)
            if way.endswith("merged"):
                account.merge()
            self._check_state(way)

    def _check_state(self, way: str) -> None:
        waiting = self.accounts[way].stats().log_records
        assert (waiting > 0) == (way in ("live", "mended")), f"{way}: {waiting} records wait for the merge"
        assert list(self.accounts[way].verify()) == []

    def _import(self, account: Account, type: str, table: pa.Table) -> None:
        path = self._directory / f"{account.info.name}-{type}.parquet"
        pyarrow.parquet.write_table(table, path)
        import_file(account, type, path)

    def _mend(self, account: Account, tables: Mapping[str, pa.Table], batch: int) -> None:
        """A third is as it should be in bulk, and stays; of another the events came under each other's ids, and are
        written anew; a third is written live only. Some that came are no events at all, and are retracted; some of
        these are sent again, and stay away."""
        for type, table in tables.items():
            parts = _thirds(type, table)
            gone = _renamed(type, parts[0], {each: f"gone-{each}" for each in _ids(type, parts[0])[::5]})
            self._import(account, type, pa.concat_tables([parts[0], _exchanged(type, parts[1]), gone]))
            held = [Retraction(type, each) for each in _ids(type, gone)]
            unseen = [Retraction(type, f"un{each.event_id}") for each in held]
            again = _renamed(type, gone, {each: f"un{each}" for each in _ids(type, gone)})
            rows = [*held, *rows_of(type, parts[2]), *unseen, *rows_of(type, parts[1]), *rows_of(type, again)]
            write_live(account, rows, batch)

    def check(self, expression: str, wanted: Iterable[object], at: datetime, where: str = "") -> int:
        """How many hold. Every account must find the very contacts that are `wanted`, with and without rules."""
        asked = _parse(expression)
        ids = set(wanted)
        for way, account in self.accounts.items():
            for optimised in (True, False):
                found = found_in(account, asked, at, optimised=optimised)
                differ = sorted(str(each) for each in found ^ ids)[:5]
                how = f"{way}, {'' if optimised else 'un'}optimised"
                assert found == ids, f"{how}: {len(found)} for {len(ids)}, {differ}\n{expression}\n{where}"
        return len(ids)


def found_in(account: Account, expression: Expression, at: datetime, *, optimised: bool) -> set[object]:
    """The ids of the contacts that hold. What is counted without listing them is checked as well."""
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, to_millis(at), account.info.tz)
        plan = prepare(expression, context, optimised=optimised).plan
        ordinals = np.array(materialise(plan, context), np.uint32)
        assert count(plan, context) == len(ordinals), "counted and listed differ"
        return set(snapshot.ids.get(ordinals).to_pylist())


_parse = lru_cache(parse)


@contextmanager
def ways_of(directory: Path) -> Iterator[Database]:
    """A database for `Ways`, of which nothing is merged but on demand."""
    with (
        mock.patch.object(merger, "MERGE_SECONDS", 100_000.0),
        Database.open(directory / "data", create=True) as database,
    ):
        yield database


def import_file(account: Account, type: str, path: Path) -> EventImportReport | OrderImportReport:
    """Import a file of events, or of orders, all of which must be good."""
    report = import_orders(account, path) if type == ORDER else account.import_events(type, path)
    assert not report.rejected, report.rejects[:3]
    return report


def write_live(account: Account, rows: Iterable[Order | Event | Retraction], batch: int = BATCH) -> int:
    """Write them in several batches, all of which must be good; how many changed nothing."""
    waiting = list(rows)
    unchanged = 0
    for first in range(0, len(waiting), batch):
        result = account.write_events(waiting[first : first + batch])
        assert not result.event_rejects, result.event_rejects[:3]
        unchanged += result.events_duplicates
    return unchanged


def rows_of(type: str, table: pa.Table) -> Iterator[Order | Event]:
    """The events of a table; of lines the orders, whose lines stand together."""
    if type != ORDER:
        ids, contacts, times = (table.column(name).to_pylist() for name in ("event_id", "contact_id", "time"))
        rest = table.drop_columns(["event_id", "contact_id", "time"]).to_pylist()
        for row in zip(ids, contacts, times, rest, strict=True):
            yield Event(type, *row)
        return
    held: list[dict[str, Any]] = []
    for line in table.to_pylist():
        if held and held[0]["order_id"] != line["order_id"]:
            yield _order(held)
            held = []
        held.append(line)
    if held:
        yield _order(held)


def _order(lines: list[dict[str, Any]]) -> Order:
    first = lines[0]
    return Order(
        first["order_id"],
        first["contact_id"],
        first["time"],
        source=first.get("source"),
        paid=first.get("paid"),
        lines=[OrderLine(**{name: line.get(name) for name in _LINE}) for line in lines],
    )


def _with_zone(table: pa.Table) -> pa.Table:
    for place, column in enumerate(table.columns):
        if pa.types.is_timestamp(column.type):
            naive = column.cast(pa.timestamp("ms")) if column.type.tz is None else column
            aware = pc.assume_timezone(naive, "UTC") if naive.type.tz is None else naive.cast(pa.timestamp("ms", "UTC"))
            table = table.set_column(place, table.column_names[place], aware)
    return table


def _id_column(type: str) -> str:
    return "order_id" if type == ORDER else "event_id"


def _ids(type: str, table: pa.Table) -> list[str]:
    """The distinct ids, in order of first appearance."""
    ids: list[str] = table.column(_id_column(type)).unique().to_pylist()
    return ids


def _thirds(type: str, table: pa.Table) -> list[pa.Table]:
    column = table.column(_id_column(type))
    ids = _ids(type, table)
    return [table.filter(pc.is_in(column, pa.array(ids[third::3], pa.string()))) for third in range(3)]


def _renamed(type: str, table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """The rows of the ids that have another name, under that."""
    name = _id_column(type)
    kept = table.filter(pc.is_in(table.column(name), pa.array(list(names), pa.string())))
    renamed = pa.array([names[each] for each in kept.column(name).to_pylist()], pa.string())
    return kept.set_column(kept.column_names.index(name), name, renamed)


def _exchanged(type: str, table: pa.Table) -> pa.Table:
    """The same events, each under the id of another."""
    ids = _ids(type, table)
    return _renamed(type, table, dict(zip(ids, [*ids[1:], *ids[:1]], strict=True)))
