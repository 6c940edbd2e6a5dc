"""What callers are told when there is more to do than can be done, and who is let in: with the real gateway."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from penstock.registry.v1.resources_pb2 import BatchingConfig, QueueConfig
from services.common import lanes
from tests.integration.gateway.conftest import FRONTS, Stage, open_stage, tensor
from tests.support.fake_worker import FakeWorker, identity
from tests.support.waiting import eventually

METHOD = "/inference.GRPCInferenceService/ModelInfer"
LABELS = 'model="identity",version="1"'
PENDING = f"nv_inference_pending_request_count{{{LABELS}}}"
ESTIMATED = f"penstock_gateway_estimated_wait_seconds{{{LABELS}}}"
ROW = bytes(64)


def refusals(stage: Stage, reason: str) -> float:
    return stage.gateway.scrape().get(
        f'penstock_gateway_refusals_total{{model="identity",reason="{reason}",version="1"}}', 0.0
    )


def message(*, timeout_us: int = 0, rows: int = 1, priority: int = 0) -> bytes:
    request = pb.ModelInferRequest(model_name="identity", raw_input_contents=[ROW * rows])
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[rows, 16])
    if timeout_us:
        request.parameters["timeout"].int64_param = timeout_us
    if priority:
        request.parameters["priority"].int64_param = priority
    return request.SerializeToString()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status as it came over the wire."""

    code: grpc.StatusCode
    text: str
    reason: str
    retry_after: str
    retry_delay_s: int

    @classmethod
    def of(cls, error: Any) -> Refusal:
        rich = rpc_status.from_call(error)
        assert rich is not None
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert rich.details[0].Unpack(info)
        assert rich.details[1].Unpack(retry)
        trailers = dict(error.trailing_metadata())
        return cls(error.code(), error.details(), info.reason, trailers["retry-after"], retry.retry_delay.seconds)


class Callers:
    """Many at a time on one connection, each with a name."""

    def __init__(self, stage: Stage) -> None:
        self._channel = grpc.insecure_channel(stage.gateway.grpc)
        self._infer = self._channel.unary_unary(METHOD)
        self.calls: list[Any] = []

    def start(self, count: int, *, tenant: str = "", **request: Any) -> None:
        metadata = [("x-penstock-tenant", tenant)] if tenant else None
        self.calls += [self._infer.future(message(**request), metadata=metadata) for _ in range(count)]

    def refusal(self, *, tenant: str = "", **request: Any) -> Refusal:
        """What a caller is told that must not get in."""
        with pytest.raises(grpc.RpcError) as caught:
            self._infer(message(**request), metadata=[("x-penstock-tenant", tenant)] if tenant else None)
        return Refusal.of(caught.value)

    def check_answers(self) -> None:
        for call in self.calls:
            assert pb.ModelInferResponse.FromString(call.result(timeout=30)).raw_output_contents[0][:64] == ROW

    def close(self) -> None:
        self._channel.close()


@contextmanager
def served(
    front: str, *, queue: QueueConfig, most_rows: int = 1, settings: dict[str, str] | None = None, **worker: Any
) -> Iterator[Any]:
    with ExitStack() as opened:
        stage = opened.enter_context(open_stage(PENSTOCK_GATEWAY__FRONT=front, **(settings or {})))
        stage.registry.deploy("identity", queue=queue, batching=BatchingConfig(max_batch_size=most_rows))
        process = opened.enter_context(FakeWorker(stage.redis.url, "identity", **worker))
        eventually(lambda: stage.client.is_model_ready("identity"))
        callers = Callers(stage)
        opened.callback(callers.close)
        yield stage, process, callers


def post(stage: Stage, **headers: str) -> httpx.Response:
    return httpx.post(
        f"http://{stage.gateway.http}/v2/models/identity/infer",
        content=ROW,
        headers={"Inference-Header-Content-Length": "0", **headers},
        timeout=30,
    )


@pytest.mark.parametrize("front", FRONTS)
def test_a_contended_queue_is_shared_and_a_full_one_says_when_to_come_again(front: str) -> None:
    with served(front, queue=QueueConfig(max_queue_size=20)) as (stage, worker, callers):
        worker.pause()
        callers.start(18, tenant="greedy")
        eventually(lambda: stage.gateway.scrape()[PENDING] == 18)
        callers.start(1, tenant="modest")
        eventually(lambda: stage.gateway.scrape()[PENDING] == 19)

        refused = callers.refusal(tenant="greedy")
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "FAIR_SHARE_USED_UP")
        assert refused.text.startswith("Exceeds fair share of the queue: several callers want more of model 'identity'")
        assert (refused.retry_after, refused.retry_delay_s) == ("1", 1)
        answer = post(stage, **{"X-Penstock-Tenant": "greedy"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

        with ThreadPoolExecutor() as pool:
            over_rest = pool.submit(post, stage)  # by its address, it is somebody else
            eventually(lambda: stage.gateway.scrape()[PENDING] == 20)
            for tenant in ("greedy", "modest"):
                assert callers.refusal(tenant=tenant).reason == "QUEUE_FULL"
            answer = post(stage)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "Exceeds maximum queue size" in answer.json()["error"]
            with pytest.raises(InferenceServerException, match="Exceeds maximum queue size") as caught:
                stage.client.infer("identity", [tensor()])
            assert caught.value.status() == "StatusCode.UNAVAILABLE"
            worker.resume()
            assert over_rest.result().status_code == 200
        callers.check_answers()
        assert refusals(stage, "FAIR_SHARE_USED_UP") == 2
        assert refusals(stage, "QUEUE_FULL") == 4
        assert stage.gateway.scrape()["penstock_gateway_pending_bytes"] == 0


class Pacer:
    """Answers so many requests, one in 20 ms, and the others when it is told to go on."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.may_go_on = threading.Event()

    def __call__(self, entry: lanes.Entry, request: Any) -> Any:
        if not self.left:
            self.may_go_on.wait(60)
        self.left = max(0, self.left - 1)
        time.sleep(0 if self.may_go_on.is_set() else 0.02)
        return identity(entry, request)


@pytest.mark.parametrize("front", FRONTS)
def test_what_would_come_too_late_is_refused_at_once_and_nothing_else_is(front: str) -> None:
    pacer = Pacer(40)
    queue = QueueConfig(priority_levels=2)
    with served(front, queue=queue, answer=pacer, max_batch=1, priorities=2) as (stage, _, callers):
        try:
            callers.start(100)
            eventually(lambda: pacer.left == 0)
            eventually(lambda: stage.gateway.scrape()[ESTIMATED] > 0.5)

            refused = callers.refusal(timeout_us=300_000)
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DEADLINE_UNREACHABLE")
            assert "rows waiting or running before this request" in refused.text
            assert refused.retry_after == str(refused.retry_delay_s)
            assert refused.retry_delay_s >= 1
            callers.start(1)  # as before, with a minute's time, though nothing is being answered now
            callers.start(1, timeout_us=30_000_000, priority=1)
            eventually(lambda: stage.gateway.scrape()[PENDING] == 62)
        finally:
            pacer.may_go_on.set()
        callers.check_answers()
        callers.start(1, timeout_us=10_000_000)
        callers.check_answers()
        assert refusals(stage, "DEADLINE_UNREACHABLE") == 1


@pytest.mark.parametrize("front", FRONTS)
def test_the_memory_of_requests_under_way_is_bounded(front: str) -> None:
    limit = 400_000
    settings = {"PENSTOCK_GATEWAY__MAX_PENDING_BYTES": str(limit)}
    with served(front, queue=QueueConfig(), most_rows=5_000, settings=settings) as (stage, worker, callers):
        worker.pause()
        callers.start(1, rows=5_000)
        eventually(lambda: stage.gateway.scrape()["penstock_gateway_pending_bytes"] > 320_000)
        refused = callers.refusal(rows=5_000)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "PENDING_BYTES_FULL")
        assert refused.retry_after == "1"
        over_rest = httpx.post(
            f"http://{stage.gateway.http}/v2/models/identity/infer",
            content=ROW * 5_000,
            headers={"Inference-Header-Content-Length": "0"},
        )
        assert (over_rest.status_code, over_rest.headers["retry-after"]) == (503, "1")
        callers.start(1)
        worker.resume()
        callers.check_answers()
        eventually(lambda: stage.gateway.scrape()["penstock_gateway_pending_bytes"] == 0)
