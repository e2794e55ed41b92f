"""`serve --workers` as real processes: every call on every worker, and how it ends. (Kills: test_workers_killed.py.)"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from segidx.client import Client
from segidx.model.errors import DeadlineExceeded, ReadOnly, UnknownAccount
from segidx.model.events import EventType, Retraction
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.service import convert
from segidx.testing.served import WAIT_SECONDS, Served, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks into Linux's /proc")

ROOT = Path(__file__).parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "data", tmp_path / "log", "--create", "--grace", "100") as running:
        with running.client() as client:
            client.account("default").update_schema([Field("n", FieldType.NUMBER), Field("tags", FieldType.TAGS)])
        yield running


def count(client: Client, text: str = "everyone") -> int:
    return client.account("default").count(text).count


def health(channel: grpc.Channel) -> Any:
    """An open watch of a worker's health."""
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)


def every_call(n: int) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(method, request, a part of the answer) of every method, in an order that works; rounds differ in `n`."""
    account = {"account": f"accounts/a{n}"}
    row = {"contactId": "anna", "fields": {"city": {"stringValue": "Łódź"}, "tags": {"tagsValue": {"tags": ["new"]}}}}
    query = {**account, "text": 'city = "Łódź"'}
    fields = [{"name": "city", "type": "FIELD_TYPE_CATEGORY"}, {"name": "tags", "type": "FIELD_TYPE_TAGS"}]
    one = {"accepted": "1", "created": "1"}
    types = [{"name": "download", "properties": [{"name": "size", "type": "FIELD_TYPE_NUMBER"}]}]
    group = {"name": "touch", "members": [{"type": "cart"}]}
    spend = {"function": "AGGREGATE_FUNCTION_SUM", "events": {"type": "order"}, "property": "amount"}
    bands = {"name": "spend", "value": spend, "thresholds": ["100", "500"]}
    event = {"eventId": "d1", "contactId": "anna", "time": "2026-01-02T03:04:05.678Z"}
    download = {"event": {"type": "download", **event, "properties": {"size": {"decimalValue": "1.50"}}}}
    shown = {
        "type": "download",
        "eventId": "d1",
        "time": event["time"],
        "properties": {"size": {"decimalValue": "1.50"}},
    }
    retraction = {"retraction": {"type": "download", "eventId": "d1", "revision": "3"}}
    brand = {"name": "brand", "type": "FIELD_TYPE_CATEGORY"}
    product = {"productId": "P", "properties": {"brand": {"stringValue": "Acme"}}}
    return [
        ("AccountService/CreateAccount", {"account": {"name": f"accounts/a{n}", "zone": "UTC"}}, {}),
        ("AccountService/GetAccount", account, {}),
        ("AccountService/ListAccounts", {}, {}),
        ("SchemaService/UpdateSchema", {**account, "schema": {"fields": fields}}, {}),
        ("SchemaService/GetSchema", account, {}),
        ("SchemaService/DeclareEventTypes", {**account, "eventTypes": types}, {}),
        ("SchemaService/SetEventGroup", {**account, "eventGroup": group}, {}),
        ("SchemaService/ListEventTypes", account, {}),
        ("ProductService/UpdateProductSchema", {**account, "schema": {"fields": [brand]}}, {}),
        ("ProductService/GetProductSchema", account, {}),
        ("ProductService/WriteProducts", {**account, "products": [product]}, one),
        ("ProductService/GetProduct", {**account, "productId": "P"}, {"product": product}),
        ("ProductService/ListProducts", account, {"products": [product]}),
        ("SchemaService/SetBands", {**account, "bands": bands}, {}),
        ("SchemaService/ListBands", account, {}),
        ("SchemaService/RemoveBands", {**account, "name": "spend"}, {}),
        ("SchemaService/SetDerivedNumber", {**account, "derivedNumber": {"name": "spent", "value": spend}}, {}),
        ("SchemaService/ListDerivedNumbers", account, {}),
        ("SchemaService/RemoveDerivedNumber", {**account, "name": "spent"}, {}),
        (
            "SchemaService/SetSourceSettings",
            {**account, "sourceSettings": {"orderMinutes": 60}},
            {"sourceSettings": {"orderMinutes": 60}},
        ),
        ("SchemaService/GetSourceSettings", account, {"sourceSettings": {"orderMinutes": 60}}),
        (
            "SchemaService/PruneEvents",
            {**account, "eventTypes": ["cart"], "beforeTime": "2020-01-01T00:00:00Z", "dryRun": True},
            {"pruned": [{"eventType": "cart", "horizonTime": "2020-01-01T00:00:00Z"}]},
        ),
        ("ContactService/UpsertContacts", {**account, "contacts": [row]}, one),
        ("ContactService/StreamUpsertContacts", {**account, "contacts": [{**row, "contactId": "b"}]}, one),
        ("ContactService/TagContacts", {**account, "contactIds": ["anna"], "add": ["vip"]}, {"accepted": "1"}),
        (
            "IngestService/WriteBatch",
            {**account, "rows": [{**row, "contactId": "c"}], "events": [download]},
            {**one, "eventsAccepted": "1"},
        ),
        ("ContactService/ListContactEvents", {**account, "contactId": "anna"}, {"events": [shown]}),
        (
            "IngestService/StreamWrites",
            {**account, "sequence": 7, "rows": [{"contactId": "d"}], "events": [retraction]},
            {"sequence": "7", "eventsAccepted": "1"},
        ),
        ("IngestService/StreamChanges", account, {"last": True}),
        ("ContactService/GetContact", {**account, "contactId": "anna"}, {}),
        ("ContactService/PreviewContacts", query, {}),
        ("CountService/CountContacts", query, {"count": "3"}),
        ("CountService/BatchCountContacts", {**account, "queries": [{"text": "everyone"}]}, {}),
        ("CountService/ExplainExpression", {**query, "counts": True}, {}),
        ("SchemaService/SuggestValues", {**account, "field": "city", "typed": "ł"}, {}),
        ("SchemaService/GetStats", account, {}),
    ]


def call(channel: grpc.Channel, method: str, request: dict[str, Any]) -> dict[str, Any]:
    """Calls a method by its name; the answer, of a stream the last one."""
    request_class = convert.request_classes()[method]
    service, name = method[1:].split("/")
    found = request_class.DESCRIPTOR.file.services_by_name[service.rsplit(".", 1)[1]].methods_by_name[name]
    kind = f"{'stream' if found.client_streaming else 'unary'}_{'stream' if found.server_streaming else 'unary'}"
    stub = getattr(channel, kind)(
        method, request_class.SerializeToString, GetMessageClass(found.output_type).FromString
    )
    message = json_format.ParseDict(request, request_class())
    answer = stub(iter([message]) if found.client_streaming else message, timeout=WAIT_SECONDS)
    return json_format.MessageToDict(list(answer)[-1] if found.server_streaming else answer)


def test_every_worker_answers_every_call(served: Served) -> None:
    with served.one_channel_each() as channels:
        assert set(channels) == set(served.workers())
        assert len(channels) == 2
        for pid, channel in channels.items():
            calls = every_call(pid)
            assert {f"/segidx.v1.{name}" for name, _, _ in calls} == set(convert.request_classes())
            for name, request, part in calls:
                answer = call(channel, f"/segidx.v1.{name}", request)
                assert part.items() <= answer.items(), (name, answer)
            assert next(health(channel)).status == SERVING
            listed = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=WAIT_SECONDS
            )
            names = {each.name for each in next(listed).list_services_response.service}
            assert names > set(convert.service_names())


def test_a_worker_reads_what_another_wrote(served: Served) -> None:
    clients = [served.client() for _ in range(8)]
    try:
        for i in range(40):
            written = clients[i % 8].account("default").upsert([(f"c{i}", {"n": i})])
            for reader in clients:
                answer = reader.account("default").count(f"n = {i}")
                assert answer.count == 1
                assert answer.evaluation.generation >= written.generation
        for i, client in enumerate(clients):
            client.create_account(AccountInfo(f"new{i}"))
            assert all(f"new{i}" in [each.name for each in other.accounts()] for other in clients)
            assert all(other.account(f"new{i}").count("everyone").count == 0 for other in clients)
            client.account(f"new{i}").update_schema([Field("x", FieldType.BOOL)])
            assert all([f.name for f in other.account(f"new{i}").schema()] == ["x"] for other in clients)
    finally:
        for client in clients:
            client.close()


def test_errors_come_back_through_a_worker_as_in_process(served: Served) -> None:
    with served.client() as client:
        with pytest.raises(UnknownAccount, match="nobody") as caught:
            client.account("nobody").upsert([("a", {})])
        assert caught.value.metadata == {"account": "nobody"}
        assert client.account("default").upsert([("a", {"n": "x"})]).rejects[0].field == "n"
        writer = served.writer()
        os.kill(writer, signal.SIGSTOP)
        try:
            # More writes than threads hang, and reads do not wait for them.
            hanging = [threading.Thread(target=write_in_vain, args=(served,)) for _ in range(24)]
            for thread in hanging:
                thread.start()
            with pytest.raises(DeadlineExceeded):
                client.account("default").upsert([("late", {})], timeout=2)
            assert count(client) == 0
            for thread in hanging:
                thread.join(WAIT_SECONDS)
            assert count(client) == 0
        finally:
            os.kill(writer, signal.SIGCONT)
        assert client.account("default").upsert([("b", {})]).accepted == 1


def write_in_vain(served: Served) -> None:
    with served.client() as client, pytest.raises(DeadlineExceeded):
        client.account("default").upsert([("vain", {})], timeout=3)


def test_the_socket_is_its_users_alone_and_the_supervisor_stays_small(served: Served, tmp_path: Path) -> None:
    socket = tmp_path / "data" / "writer.sock"
    assert stat.S_ISSOCK(socket.stat().st_mode)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    loaded = Path(f"/proc/{served.process.pid}/maps").read_text()
    assert not [name for name in ("cygrpc", "lmdb", "numpy", "_bitmaps") if name in loaded]
    assert "cygrpc" in Path(f"/proc/{served.writer()}/maps").read_text()
    served.tell(signal.SIGTERM)
    assert served.wait() == 0
    assert not socket.exists()


def test_a_directory_with_a_long_name_is_served(tmp_path: Path) -> None:
    data = tmp_path / ("ż" * 60) / ("with spaces and ? % #" * 5)
    with Served(data, tmp_path / "log", "--create", workers=1) as served, served.client() as client:
        assert client.account("default").upsert([("a", {})]).created == 1
        assert not (data / "writer.sock").exists()


def test_without_a_writer_nothing_is_written(tmp_path: Path) -> None:
    with Served(tmp_path / "data", tmp_path / "log", "--create", workers=1):
        pass
    with Served(tmp_path / "data", tmp_path / "log", "--read-only") as served, served.client() as client:
        assert sorted(served.children().values()) == ["worker", "worker"]
        assert count(client) == 0
        account = client.account("default")
        for write in (
            lambda: account.upsert([("a", {})]),
            lambda: account.write_events([Retraction("visit", "v")]),
            lambda: account.declare_event_types([EventType("download")]),
            lambda: account.set_event_group("touch", ["visit"]),
            lambda: account.declare_bands("spend", "sum(order.amount)", [100]),
            lambda: account.prune(datetime(2020, 1, 1, tzinfo=UTC)),
            lambda: account.remove_bands("spend"),
            lambda: account.declare_derived("spend", "sum(order.amount)"),
            lambda: account.remove_derived("spend"),
        ):
            with pytest.raises(ReadOnly):
                write()


# --- the end -----------------------------------------------------------------------------------------------------


class Stream:
    """A stream of writes in another thread: each `send` is a batch of one contact."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._next: list[str] = []
        self._more = threading.Semaphore(0)
        self.result: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def send(self, contact_id: str) -> None:
        self._next.append(contact_id)
        self._more.release()

    def finish(self) -> Any:
        """The result, or the error."""
        self._more.release()
        self._thread.join(WAIT_SECONDS)
        return self.result

    def _rows(self) -> Iterator[tuple[str, dict[str, object]]]:
        while self._more.acquire(timeout=WAIT_SECONDS) and self._next:
            yield self._next.pop(0), {}

    def _run(self) -> None:
        try:
            self.result = self._client.account("default").upsert_stream(self._rows(), batch_rows=1)
        except Exception as error:
            self.result = error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_workers_after_their_calls_then_the_writer(served: Served, number: signal.Signals) -> None:
    with served.client() as client:
        stream = Stream(client)
        stream.send("first")
        until(lambda: count(client) == 1)
        watch = health(client._channel)
        assert next(watch).status == SERVING
        served.tell(number)
        assert next(watch).status == NOT_SERVING
        # The stream's worker lets it finish, and the writer is there for it.
        stream.send("second")
        assert stream.finish().batches == 2
    assert served.wait() == 0
    until(served.all_gone)


def test_a_second_signal_kills_at_once(served: Served) -> None:
    with served.client() as client:
        stream = Stream(client)
        stream.send("first")
        until(lambda: count(client) == 1)
        watch = health(client._channel)
        assert next(watch).status == SERVING
        served.tell(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        served.tell(signal.SIGTERM)
        assert served.wait() == -signal.SIGTERM
        until(served.all_gone)
        assert isinstance(stream.finish(), Exception)


# --- what cannot begin -------------------------------------------------------------------------------------------


def refused(*flags: str, program: tuple[str, ...] = ("-m", "segidx.cli", "serve")) -> tuple[int, str]:
    """(exit code, last line on stderr) of a server that cannot begin."""
    ended = subprocess.run(
        [sys.executable, *program, *flags], capture_output=True, text=True, timeout=WAIT_SECONDS, cwd=ROOT
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr.strip().splitlines()[-1]


def test_a_second_server_of_a_directory_is_refused(served: Served, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"), "--port", "0")
    writer = str(served.writer())
    for flags in (("--workers", "2"), ()):
        code, said = refused(*data, *flags)
        assert code == 5
        assert f"already open for writing by process {writer}" in said
    assert refused(*data, "--workers", "1", program=("server.py",))[0] == 1
    with served.client() as client:
        assert client.account("default").upsert([("a", {})]).created == 1


def test_a_second_server_of_a_port_is_refused(served: Served, tmp_path: Path) -> None:
    other = ("--data", str(tmp_path / "other"), "--create", "--port", str(served.port))
    for flags in (("--workers", "2"), ()):
        code, said = refused(*other, *flags)
        assert code == 5
        assert f"cannot listen on {served.address}" in said


def test_what_a_child_cannot_open_ends_the_service_with_its_error(tmp_path: Path) -> None:
    for flags in ((), ("--read-only",)):
        code, said = refused("--data", str(tmp_path / "none"), "--workers", "2", "--port", "0", *flags)
        assert code == 3
        assert "there is no data directory" in said
