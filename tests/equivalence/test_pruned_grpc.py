"""Pruned accounts over gRPC: random questions are answered and refused as the oracle says, with what an error names."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from segidx.client import connect
from segidx.model.errors import PrunedHistory
from segidx.model.results import Count
from segidx.model.windows import from_millis, to_millis
from segidx.service.server import start
from segidx.testing.told import Told
from segidx.v1 import counts_pb2, counts_pb2_grpc

DAY = timedelta(days=1)


@pytest.mark.parametrize("seed", range(2))
def test_random_questions(tmp_path: Path, seed: int) -> None:
    with closing(Told(tmp_path, seed)) as told:
        told.import_all(25)
        told.write(80)
        with start(told.database, port=0) as server, connect(server.address) as client:
            remote = client.account("shop")
            at = told.oracle.default_instant(told.now)
            answered = refused = 0
            for days in (500, 200, 40):
                before = told.at - days * DAY
                assert remote.prune(before, ["order"], dry_run=True) == told.account.prune(
                    before, ["order"], dry_run=True
                )
                remote.prune(before)
                told.oracle.prune([each.name for each in told.types if each.name != "line"], to_millis(before))
                assert remote.horizons == told.account.horizons
                told.write(30)
                questions = told.questions(60)
                for question, found in zip(questions, remote.count_many(questions), strict=True):
                    try:
                        wanted = told.oracle.count(question, at)
                    except PrunedHistory:
                        assert isinstance(found, PrunedHistory)
                        assert found.metadata["horizon"] == told_horizon(told, found.metadata["event"])
                        assert found.path
                        refused += 1
                    else:
                        assert isinstance(found, Count)
                        assert found.count == wanted
                        answered += 1
            assert answered > 20
            assert refused > 20
            assert list(told.account.verify()) == []


def told_horizon(told: Told, event: str) -> str:
    time = from_millis(told.oracle.horizons.times[event])
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_the_status(tmp_path: Path) -> None:
    with closing(Told(tmp_path, 0)) as told, start(told.database, port=0) as server:
        told.account.prune(told.at - DAY, ["order"])
        with grpc.insecure_channel(server.address) as channel:
            stub = counts_pb2_grpc.CountServiceStub(channel)
            request = counts_pb2.CountContactsRequest(
                account="accounts/shop", text="everyone and did(order where paid)"
            )
            with pytest.raises(grpc.RpcError) as caught:
                stub.CountContacts(request, timeout=20)
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert info.reason == "PRUNED_HISTORY"
    assert dict(info.metadata) == {
        "event": "order",
        "horizon": "2024-02-28T11:30:00.000Z",
        "path": "expression.conjunction.operands[1].did",
    }
