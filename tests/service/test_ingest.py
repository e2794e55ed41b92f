"""IngestService with a real grpc client: batches in order, acknowledgements, back-pressure, the feed of changes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from segidx.kernels.bitmaps import Stop
from segidx.model.writes import Channel, ChannelFlag
from segidx.service import calls, convert
from segidx.service.pipeline import MAX_IN_FLIGHT
from segidx.service.server import RunningServer, start
from segidx.v1 import contacts_pb2, contacts_pb2_grpc, counts_pb2, counts_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from segidx.wire import writes

ACCOUNT = "accounts/default"
WAIT = 60


@pytest.fixture
def ingest(channel: grpc.Channel) -> Any:
    return ingest_pb2_grpc.IngestServiceStub(channel)


def count(channel: grpc.Channel, min_generation: int = 0) -> int:
    request = counts_pb2.CountContactsRequest(account=ACCOUNT, text="everyone", min_generation=min_generation)
    return counts_pb2_grpc.CountServiceStub(channel).CountContacts(request, timeout=WAIT).count


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, ErrorInfo]:
    """The code and ErrorInfo of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return told(caught.value)


def told(error: Any) -> tuple[grpc.StatusCode, ErrorInfo]:
    status = rpc_status.from_call(error)
    assert status is not None, error
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return error.code(), info


def until(holds: Callable[[], bool]) -> None:
    """Waits for what another thread will bring about."""
    for _ in range(WAIT * 100):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come about")


def readers() -> int:
    return sum(thread.name == "segidx-stream-reader" for thread in threading.enumerate())


def value(text: str) -> contacts_pb2.FieldValue:
    return contacts_pb2.FieldValue(string_value=text)


def batch(sequence: int, rows: int = 1, key: str = "", account: str = ACCOUNT) -> ingest_pb2.StreamWritesRequest:
    request = ingest_pb2.StreamWritesRequest(account=account, sequence=sequence, batch_key=key)
    for i in range(rows):
        request.rows.add(contact_id=f"s{sequence}-{i}", fields={"country": value("PL")})
    return request


class Feed:
    """Requests that a test sends one by one."""

    def __init__(self) -> None:
        self._given = threading.Semaphore(0)
        self._requests: list[Any] = []
        self._at = 0

    def send(self, *requests: Any) -> None:
        for request in requests:
            self._requests.append(request)
            self._given.release()

    def end(self) -> None:
        self.send(None)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._given.acquire()
        request = self._requests[self._at]
        self._at += 1
        if request is None:
            raise StopIteration
        return request


# --- batches -----------------------------------------------------------------------------------------------


def test_a_batch_of_everything(database: Any, ingest: Any) -> None:
    request = ingest_pb2.WriteBatchRequest(account=ACCOUNT)
    add = request.rows.add
    add(contact_id="x", fields={"country": value("PL")}, tags=[{"add": ["vip", "new"]}, {"remove": ["new", "old"]}])
    add(contact_id="y", fields={"income": contacts_pb2.FieldValue(decimal_value="much")})
    add(contact_id="z", fields={"incme": value("1")})
    add(contact_id="nobody", must_exist=True)
    add(contact_id="a", channels=[{"channel": 1, "flag": 1, "value": True}, {"channel": 2, "flag": 2}])
    add(contact_id="b", channels=[{"channel": 0, "flag": 1}])
    add(contact_id="x", tags=[{"field": "tags", "remove": ["vip"]}])
    response = ingest.WriteBatch(request, timeout=WAIT)
    assert (response.generation, response.accepted, response.created, response.replayed) == (2, 2, 1, False)
    assert [(r.index, r.contact_id, r.field, r.reason) for r in response.rejects] == [
        (1, "y", "income", "INVALID_VALUE"),
        (2, "z", "incme", "UNKNOWN_FIELD"),
        (3, "nobody", "", "CONTACT_NOT_FOUND"),
        (5, "b", "channels", "INVALID_VALUE"),
    ]
    assert all(r.message.startswith(f"row {r.index}: ") for r in response.rejects)
    account = database.account("default")
    assert account.contacts["x"] == {"country": "PL", "tags": {"new"}}
    assert account.flags["a"] == {(Channel.EMAIL, ChannelFlag.CONSENT)}


def test_a_batch_key_gives_the_first_answer(database: Any, ingest: Any) -> None:
    request = ingest_pb2.WriteBatchRequest(account=ACCOUNT, batch_key="ż" * 64)
    request.rows.add(contact_id="k")
    request.rows.add(contact_id="")
    first = ingest.WriteBatch(request)
    again = ingest.WriteBatch(request)
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.generation, again.created) == (first.generation, 1)
    # Other rows change nothing either, not even where the answer's rejects have no place among them.
    del request.rows[:]
    request.rows.add(contact_id="other", channels=[{}])
    other = ingest.WriteBatch(request)
    assert (other.replayed, other.generation, [r.index for r in other.rejects]) == (True, first.generation, [0, 1])
    assert "other" not in database.account("default").contacts


def test_limits_of_a_batch(ingest: Any) -> None:
    request = ingest_pb2.WriteBatchRequest(account=ACCOUNT, batch_key="k" * 129)
    code, info = refused(lambda: ingest.WriteBatch(request))
    assert (code, info.reason, info.metadata["argument"]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        "batch_key",
    )
    request = ingest_pb2.WriteBatchRequest(account=ACCOUNT)
    request.rows.extend([ingest_pb2.ContactWrite(contact_id="a")] * (convert.MAX_ROWS + 1))
    assert refused(lambda: ingest.WriteBatch(request))[1].metadata["argument"] == "rows"


# --- the stream of writes ----------------------------------------------------------------------------------


def test_acknowledgements_come_in_order(database: Any, ingest: Any) -> None:
    requests = [batch(1, 3), batch(5, 2, account=""), batch(6, 0), batch(1 << 63)]
    requests[1].rows.add(contact_id="bad", fields={"income": contacts_pb2.FieldValue(decimal_value="bad")})
    requests[1].rows.add(fields={"country": value("PL")})
    found = list(ingest.StreamWrites(iter(requests), timeout=WAIT))
    assert [(r.sequence, r.generation, r.accepted, r.created) for r in found] == [
        (1, 2, 3, 3),
        (5, 3, 2, 2),
        (6, 4, 0, 0),
        (1 << 63, 5, 1, 1),
    ]
    assert [(r.index, r.reason) for r in found[1].rejects] == [(2, "INVALID_VALUE"), (3, "INVALID_CONTACT_ID")]
    assert list(ingest.StreamWrites(iter(()), timeout=WAIT)) == []


def test_an_acknowledgement_waits_for_no_further_request(ingest: Any) -> None:
    feed = Feed()
    call = ingest.StreamWrites(feed, timeout=WAIT)
    for sequence in range(1, 20):
        feed.send(batch(sequence))
        assert next(call).sequence == sequence
    feed.end()
    assert list(call) == []


@pytest.mark.parametrize(
    ("third", "argument"),
    [
        (batch(2), "sequence"),
        (batch(1), "sequence"),
        (batch(3, account="accounts/other"), "account"),
        (batch(3, key="k" * 129), "batch_key"),
        (batch(3, rows=convert.MAX_ROWS + 1), "rows"),
    ],
)
def test_a_wrong_request_ends_the_stream_after_the_batches_before(
    database: Any, ingest: Any, third: Any, argument: str
) -> None:
    call = ingest.StreamWrites(iter([batch(1), batch(2), third, batch(4)]), timeout=WAIT)
    assert [next(call).sequence, next(call).sequence] == [1, 2]
    code, info = refused(lambda: next(call))
    assert (code, info.metadata["argument"]) == (grpc.StatusCode.INVALID_ARGUMENT, argument)
    assert (info.metadata["committed_batches"], info.metadata["last_sequence"]) == ("2", "2")
    held = database.account("default").contacts
    assert "s2-0" in held
    assert "s4-0" not in held
    until(lambda: readers() == 0)


def test_a_malformed_message_ends_the_stream_after_the_batches_before(database: Any, channel: grpc.Channel) -> None:
    raw = channel.stream_stream("/segidx.v1.IngestService/StreamWrites")
    sent = [batch(7).SerializeToString(), batch(9).SerializeToString(), b"\xff\xff\xff", batch(10).SerializeToString()]
    call = raw(iter(sent), timeout=WAIT)
    assert [ingest_pb2.StreamWritesResponse.FromString(next(call)).sequence for _ in range(2)] == [7, 9]
    code, info = refused(lambda: next(call))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert (info.metadata["committed_batches"], info.metadata["last_sequence"]) == ("2", "9")
    assert database.submitted == [1, 1]
    until(lambda: readers() == 0)


def test_a_commit_that_fails_ends_the_stream(ingest: Any, caplog: pytest.LogCaptureFixture) -> None:
    call = ingest.StreamWrites(iter([batch(1), batch(2, key="full"), batch(3)]), timeout=WAIT)
    assert next(call).sequence == 1
    code, info = refused(lambda: next(call))
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
    assert dict(info.metadata) == {"free": "0", "committed_batches": "1", "last_sequence": "1"}
    code, info = refused(lambda: list(ingest.StreamWrites(iter([batch(1, key="bug")]), timeout=WAIT)))
    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in str(info)
    until(lambda: readers() == 0)


def test_nothing_is_read_while_eight_batches_are_in_flight(database: Any, ingest: Any, channel: grpc.Channel) -> None:
    database.commits.clear()
    call = ingest.StreamWrites((batch(i) for i in range(1, 101)), timeout=WAIT)
    until(lambda: len(database.submitted) == MAX_IN_FLIGHT)
    # The server is at work all the while, and takes no more.
    for _ in range(50):
        count(channel)
    assert len(database.submitted) == MAX_IN_FLIGHT
    database.commits.set()
    assert [response.sequence for response in call] == list(range(1, 101))


def test_a_client_that_never_reads_is_held_back(database: Any, ingest: Any, channel: grpc.Channel) -> None:
    taken = itertools.count()
    sent = 0

    def requests() -> Iterator[ingest_pb2.StreamWritesRequest]:
        nonlocal sent
        while True:
            sent = next(taken) + 1
            request = batch(sent)
            # Rejects with long messages, so that acknowledgements fill the window of flow control.
            for _ in range(100):
                request.rows.add(contact_id="r" * 200, fields={"x" * 200: value("y")})
            yield request

    call = ingest.StreamWrites(requests())
    until(lambda: len(database.submitted) > MAX_IN_FLIGHT)
    held_still, seen = 0, 0
    while held_still < 100:
        count(channel)
        held_still = held_still + 1 if (len(database.submitted), sent) == seen else 0
        seen = (len(database.submitted), sent)
    # Every batch that was submitted is committed, and no more are on their way.
    assert database.account("default").generation() == 1 + len(database.submitted)
    call.cancel()
    until(lambda: readers() == 0)
    assert_streams_are_free(ingest)


def assert_streams_are_free(ingest: Any) -> None:
    """As many streams as the server of these tests takes can be opened, so that no thread is held by an old one."""

    def opened() -> bool:
        feeds = [Feed(), Feed()]
        calls = [ingest.StreamWrites(feed, timeout=WAIT) for feed in feeds]
        try:
            for feed, call in zip(feeds, calls, strict=True):
                feed.send(batch(1))
                next(call)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        finally:
            for feed in feeds:
                feed.end()
        return True

    until(opened)


def test_a_stream_that_is_cancelled_leaves_nothing_open(database: Any, ingest: Any) -> None:
    for held in (False, True):
        feed = Feed()
        call = ingest.StreamWrites(feed)
        feed.send(batch(1), batch(2))
        assert next(call).sequence == 1
        before = len(database.submitted)
        if held:
            # Cancelled while batches wait to be committed and the reader for room.
            database.commits.clear()
            feed.send(*(batch(i) for i in range(3, 30)))
            until(lambda before=before: len(database.submitted) >= before + MAX_IN_FLIGHT - 1)
        call.cancel()
        until(lambda: readers() == 0)
        database.commits.set()
        feed.end()
    # What was submitted is committed all the same.
    database.committer.submit(lambda: None).result()
    assert database.account("default").generation() == 1 + len(database.submitted)
    assert_streams_are_free(ingest)


KILLED = """
import sys, grpc, itertools
from segidx.v1 import ingest_pb2, ingest_pb2_grpc
def requests():
    for i in itertools.count(1):
        request = ingest_pb2.StreamWritesRequest(account="accounts/default", sequence=i)
        request.rows.add(contact_id=f"k{i}")
        yield request
with grpc.insecure_channel(sys.argv[1]) as channel:
    for response in ingest_pb2_grpc.IngestServiceStub(channel).StreamWrites(requests()):
        print(response.sequence, flush=True)
"""


def test_a_client_that_is_killed(database: Any, server: RunningServer, ingest: Any) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, server.address], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        acknowledged = [int(next(process.stdout)) for _ in range(50)]
    finally:
        process.kill()
        process.wait()
    assert acknowledged == list(range(1, 51))
    until(lambda: readers() == 0)
    assert_streams_are_free(ingest)
    assert {f"k{i}" for i in acknowledged} <= set(database.account("default").contacts)


def test_streams_of_both_services_share_one_bound(channel: grpc.Channel, ingest: Any) -> None:
    feeds = [Feed(), Feed()]
    first = ingest.StreamWrites(feeds[0], timeout=WAIT)
    feeds[0].send(batch(1))
    next(first)
    second = contacts_pb2_grpc.ContactServiceStub(channel).StreamUpsertContacts.future(feeds[1], timeout=WAIT)

    def is_refused() -> bool:
        try:
            list(ingest.StreamWrites(iter([batch(1)]), timeout=WAIT))
        except grpc.RpcError as error:
            code, info = told(error)
            assert (code, info.metadata["limit"]) == (grpc.StatusCode.UNAVAILABLE, "2")
            return True
        return False

    until(is_refused)
    assert count(channel) >= 4
    for feed in feeds:
        feed.end()
    assert list(first) == []
    assert second.result().batches == 0


def test_a_deadline_ends_a_stream(ingest: Any) -> None:
    feed = Feed()
    call = ingest.StreamWrites(feed, timeout=0.3)
    feed.send(batch(1))
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: readers() == 0)
    feed.end()


def test_a_server_that_ends_acknowledges_what_it_read(database: Any) -> None:
    running = start(database, port=0, threads=4)
    with grpc.insecure_channel(running.address) as channel:
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        database.commits.clear()
        feed = Feed()
        writing = ingest.StreamWrites(feed, timeout=WAIT)
        feed.send(batch(1), batch(2))
        following = ingest.StreamChanges(changes_request(follow=True), timeout=WAIT)
        assert next(following).generation == 1
        until(lambda: len(database.submitted) == 2)
        stopping = threading.Thread(target=running.stop, args=(WAIT,))
        stopping.start()
        code, info = refused(lambda: list(following))
        assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_UNAVAILABLE")
        database.commits.set()
        assert [next(writing).sequence, next(writing).sequence] == [1, 2]
        code, info = refused(lambda: next(writing))
        assert (code, info.metadata["committed_batches"]) == (grpc.StatusCode.UNAVAILABLE, "2")
        stopping.join(WAIT)
        assert not stopping.is_alive()
        feed.end()


# --- the feed of changes -----------------------------------------------------------------------------------


def changes_request(after: int = 0, *, follow: bool = False, contacts: bool = False) -> ingest_pb2.StreamChangesRequest:
    return ingest_pb2.StreamChangesRequest(
        account=ACCOUNT, after_generation=after, follow=follow, include_contacts=contacts
    )


def test_changes_catch_up_and_end(ingest: Any) -> None:
    request = ingest_pb2.WriteBatchRequest(account=ACCOUNT)
    request.rows.add(contact_id="a", tags=[{"add": ["vip"]}], channels=[{"channel": 1, "flag": 1, "value": True}])
    request.rows.add(contact_id="new")
    ingest.WriteBatch(request)
    first, second = ingest.StreamChanges(changes_request(contacts=True), timeout=WAIT)
    assert (first.generation, first.last, len(first.contacts)) == (1, True, 4)
    assert second.commit_time.ToJsonString() == "2026-01-02T03:04:05.678Z"
    assert [(c.contact_id, list(c.kinds)) for c in second.contacts] == [
        ("a", [ingest_pb2.CHANGE_KIND_TAGS, ingest_pb2.CHANGE_KIND_CHANNELS]),
        ("new", [ingest_pb2.CHANGE_KIND_CREATED]),
    ]
    resumed = list(ingest.StreamChanges(changes_request(1, contacts=True), timeout=WAIT))
    assert resumed == [second]
    bare = list(ingest.StreamChanges(changes_request(), timeout=WAIT))
    assert [(c.generation, c.last, len(c.contacts)) for c in bare] == [(1, True, 0), (2, True, 0)]
    assert list(ingest.StreamChanges(changes_request(2), timeout=WAIT)) == []


def test_a_large_generation_comes_in_parts(database: Any, ingest: Any) -> None:
    database.account("default").part = writes.MAX_CHANGES + 10
    request = ingest_pb2.WriteBatchRequest(account=ACCOUNT)
    for i in range(8000):
        request.rows.add(contact_id=f"p{i}")
    ingest.WriteBatch(request)
    parts = list(ingest.StreamChanges(changes_request(1, contacts=True), timeout=WAIT))
    assert [(len(p.contacts), p.last) for p in parts] == [(5000, False), (10, False), (2990, True)]
    assert [c.contact_id for p in parts for c in p.contacts] == [f"p{i}" for i in range(8000)]
    bare = list(ingest.StreamChanges(changes_request(1), timeout=WAIT))
    assert [(c.generation, c.last) for c in bare] == [(2, True)]


def test_a_generation_that_is_gone_or_to_come(database: Any, ingest: Any) -> None:
    database.account("default").oldest = 1
    code, info = refused(lambda: list(ingest.StreamChanges(changes_request(), timeout=WAIT)))
    assert (code, info.reason, info.metadata["oldest"]) == (grpc.StatusCode.OUT_OF_RANGE, "GENERATION_EXPIRED", "1")
    code, info = refused(lambda: list(ingest.StreamChanges(changes_request(7), timeout=WAIT)))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


def test_a_follower_sees_later_commits(database: Any, ingest: Any) -> None:
    call = ingest.StreamChanges(changes_request(1, follow=True, contacts=True), timeout=WAIT)
    for generation in range(2, 6):
        database.account("default").upsert([(f"f{generation}", {})])
        found = next(call)
        assert (found.generation, [c.contact_id for c in found.contacts]) == (generation, [f"f{generation}"])
    call.cancel()


def test_followers_are_bounded_and_noticed_when_they_go(database: Any, channel: grpc.Channel, ingest: Any) -> None:
    for _ in range(3):
        call: Any = None

        def opened() -> bool:
            # The one before may not be noticed yet.
            nonlocal call
            call = ingest.StreamChanges(changes_request(follow=True))
            try:
                return bool(next(call).generation == 1)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False

        until(opened)
        code, info = refused(lambda: list(ingest.StreamChanges(changes_request(), timeout=WAIT)))
        assert (code, info.metadata["limit"]) == (grpc.StatusCode.UNAVAILABLE, "1")
        # Followers are no streams of writes, and leave room for counts.
        assert len(list(ingest.StreamWrites(iter([batch(1)]), timeout=WAIT))) == 1
        assert count(channel) >= 4
        database.account("default").log[1:] = []
        call.cancel()


# --- reading one's writes ----------------------------------------------------------------------------------


def test_a_read_waits_for_its_generation(database: Any, channel: grpc.Channel) -> None:
    assert count(channel, min_generation=1) == 4
    answered = counts_pb2_grpc.CountServiceStub(channel).CountContacts.future(
        counts_pb2.CountContactsRequest(account=ACCOUNT, text="everyone", min_generation=2), timeout=WAIT
    )
    assert count(channel) == 4
    database.account("default").upsert([("later", {})])
    assert answered.result().count == 5


@pytest.mark.parametrize(
    "path",
    [
        "CountService/CountContacts",
        "CountService/BatchCountContacts",
        "CountService/ExplainExpression",
        "ContactService/PreviewContacts",
        "ContactService/GetContact",
        "SchemaService/SuggestValues",
        "SchemaService/GetStats",
    ],
)
def test_every_read_says_when_its_generation_was_not_reached(
    channel: grpc.Channel, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_WAIT_SECONDS", 0.05)
    request = convert.request_classes()[f"/segidx.v1.{path}"](account=ACCOUNT, min_generation=(1 << 64) - 1)
    call = channel.unary_unary(f"/segidx.v1.{path}", request_serializer=lambda r: r.SerializeToString())
    code, info = refused(lambda: call(request, timeout=WAIT))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GENERATION_NOT_REACHED")
    assert (info.metadata["generation"], info.metadata["current"]) == (str((1 << 64) - 1), "1")


@pytest.mark.parametrize(("left", "most"), [(None, 10.0), (1e12, 10.0), (20.0, 10.0), (1.0, 0.95), (0.01, 0.0095)])
def test_a_wait_ends_in_time_for_its_answer(left: float | None, most: float) -> None:
    class Context:
        def time_remaining(self) -> float | None:
            return left

    class Account:
        waits: ClassVar[list[float]] = []

        def wait_for_generation(self, generation: int, *, stop: Any, timeout: float) -> None:
            self.waits.append(timeout)

    account: Any = Account()
    calls.await_generation(account, 0, Context(), Stop())
    assert account.waits == []
    calls.await_generation(account, 7, Context(), Stop())
    (waited,) = account.waits
    assert most / 2 < waited <= most
