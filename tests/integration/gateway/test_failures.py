"""What clients see when callers leave, time runs out, queues fill, and Redis, workers or the gateway itself go."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import redis
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from penstock.gateway.v1.payload_service_pb2 import FetchRequest
from penstock.gateway.v1.payload_service_pb2_grpc import PayloadServiceStub
from penstock.gateway.v1.reply_service_pb2 import BatchReply, ConnectRequest, Hello, Reply
from penstock.gateway.v1.reply_service_pb2_grpc import ReplyServiceStub
from penstock.registry.v1.resources_pb2 import Alias, QueueConfig
from services.common.lanes import Entry
from tests.integration.gateway.conftest import Stage, is_deployed, open_stage, tensor
from tests.support.fake_worker import FakeWorker, identity
from tests.support.gateway_process import GatewayProcess
from tests.support.ports import free_port
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.waiting import eventually

PENDING = 'nv_inference_pending_request_count{model="identity",version="1"}'

TWO_PROCESSES = {"PENSTOCK_GATEWAY__PROCESSES": "2"}


def failure(reason: str) -> str:
    return f'nv_inference_request_failure{{model="identity",reason="{reason}",version="1"}}'


def lane_length(stage: Stage, stream: str = "penstock:{identity}:1:lane:0") -> int:
    with redis.Redis.from_url(stage.redis.url) as client:
        return int(client.xlen(stream))  # type: ignore[arg-type]


def start(pool: ThreadPoolExecutor, stage: Stage, count: int, **more: Any) -> list[tuple[Any, Future[Any]]]:
    """Start ``count`` different requests; each is returned with what must come back."""
    sent = [tensor(seed=seed) for seed in range(count)]
    return [(one, pool.submit(stage.client.infer, "identity", [one], **more)) for one in sent]


def check_answers(calls: list[tuple[Any, Future[Any]]]) -> None:
    for sent, call in calls:
        assert call.result(timeout=20).as_numpy("OUTPUT0").tobytes() == sent._get_content()


def test_without_a_live_process_requests_wait_for_the_grace_and_are_then_refused() -> None:
    with open_stage(PENSTOCK_GATEWAY__RECOVERY_GRACE_S="4") as stage:
        stage.registry.deploy("identity")
        eventually(lambda: is_deployed(stage))
        assert not stage.client.is_model_ready("identity")
        with ThreadPoolExecutor() as pool:
            calls = start(pool, stage, 1)
            with FakeWorker(stage.redis.url, "identity"):
                check_answers(calls)
                eventually(lambda: stage.client.is_model_ready("identity"))
        eventually(lambda: not stage.client.is_model_ready("identity"))
        time.sleep(4.1)
        with pytest.raises(InferenceServerException, match="model 'identity' version 1 has no live process") as caught:
            stage.client.infer("identity", [tensor()])
        assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_a_full_queue_refuses_what_comes_then(stage: Stage, worker: FakeWorker) -> None:
    stage.registry.deploy("identity", queue=QueueConfig(max_queue_size=3))
    eventually(
        lambda: (
            stage.client.get_model_config("identity").config.dynamic_batching.default_queue_policy.max_queue_size == 3
        )
    )
    worker.pause()
    with ThreadPoolExecutor() as pool:
        calls = start(pool, stage, 3)
        eventually(lambda: stage.gateway.scrape()[PENDING] == 3)
        with pytest.raises(
            InferenceServerException, match=r"Exceeds maximum queue size: .* has 3 .*, expected less than 3"
        ) as caught:
            stage.client.infer("identity", [tensor()])
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
        answer = httpx.post(
            f"http://{stage.gateway.http}/v2/models/identity/infer",
            content=np.ones(16, "f4").tobytes(),
            headers={"Inference-Header-Content-Length": "0"},
        )
        assert (answer.status_code, "Exceeds maximum queue size" in answer.json()["error"]) == (503, True)
        worker.resume()
        check_answers(calls)
    assert stage.gateway.scrape()[failure("REJECTED")] == 2


def test_a_request_that_runs_out_of_time(stage: Stage, worker: FakeWorker) -> None:
    worker.pause()
    started = time.monotonic()
    with pytest.raises(InferenceServerException, match="Request timeout expired") as caught:
        stage.client.infer("identity", [tensor()], timeout=300_000)
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    assert time.monotonic() - started >= 0.3
    with pytest.raises(InferenceServerException) as caught:
        stage.client.infer("identity", [tensor()], client_timeout=0.2)
    # The client's own clock, or, when that is late, the gateway's word.
    assert caught.value.status() in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE")
    eventually(lambda: stage.gateway.scrape()[PENDING] == 0)
    eventually(lambda: lane_length(stage) == 0)
    worker.resume()
    check = tensor()
    assert stage.client.infer("identity", [check]).as_numpy("OUTPUT0").tobytes() == check._get_content()
    assert len(worker.seen) == 1


def grpc_cancel(stage: Stage) -> None:
    with grpc.insecure_channel(stage.gateway.grpc) as channel:
        request = pb.ModelInferRequest(model_name="identity", raw_input_contents=[bytes(64)])
        request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 16])
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(request.SerializeToString())
        eventually(lambda: stage.gateway.scrape()[PENDING] == 1)
        call.cancel()


def http_cancel(stage: Stage) -> None:
    body = bytes(64)
    host, port = stage.gateway.http.split(":")
    headers = f"Host: {host}\r\nContent-Length: {len(body)}\r\nInference-Header-Content-Length: 0"
    head = f"POST /v2/models/identity/infer HTTP/1.1\r\n{headers}\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
        eventually(lambda: stage.gateway.scrape()[PENDING] == 1)


@pytest.mark.parametrize("leave", [grpc_cancel, http_cancel])
def test_a_caller_that_leaves_takes_its_entry_along(
    stage: Stage, worker: FakeWorker, leave: Callable[[Stage], None]
) -> None:
    stage.client.infer("identity", [tensor()])  # opens the worker's stream
    worker.pause()
    leave(stage)
    eventually(lambda: stage.gateway.scrape()[PENDING] == 0)
    eventually(lambda: lane_length(stage) == 0)
    eventually(lambda: worker.cancelled)
    assert stage.gateway.scrape()[failure("CANCELED")] == 1
    worker.resume()
    stage.client.infer("identity", [tensor()])
    assert len(worker.seen) == 2


def test_redis_restarted_without_persistence_loses_nothing(stage: Stage, worker: FakeWorker) -> None:
    worker.pause()
    with ThreadPoolExecutor(16) as pool:
        calls = start(pool, stage, 8)
        eventually(lambda: lane_length(stage) == 8)
        stage.redis.kill()
        eventually(lambda: not stage.client.is_server_ready())
        while_away = start(pool, stage, 8)
        assert stage.client.is_model_ready("identity")
        stage.redis.start()
        worker.resume()
        check_answers(calls)
        check_answers(while_away)
    eventually(stage.client.is_server_ready)
    figures = stage.gateway.scrape()
    assert figures["penstock_gateway_reenqueued_total"] >= 8
    assert figures['nv_inference_request_success{model="identity",version="1"}'] == 16
    assert figures["penstock_gateway_redis_up"] == 1


def test_what_is_flushed_while_redis_runs_on_is_enqueued_again(stage: Stage, worker: FakeWorker) -> None:
    worker.pause()
    with ThreadPoolExecutor(16) as pool:
        calls = start(pool, stage, 4)
        eventually(lambda: lane_length(stage) == 4)
        stage.redis.flush()
        eventually(lambda: lane_length(stage) == 4)
        worker.resume()
        check_answers(calls)
    assert stage.gateway.scrape()["penstock_gateway_reenqueued_total"] == 4


def test_what_was_accepted_waits_for_memory_when_it_has_to_be_enqueued_again(stage: Stage, worker: FakeWorker) -> None:
    worker.pause()
    with ThreadPoolExecutor(16) as pool, redis.Redis.from_url(stage.redis.url) as client:
        calls = start(pool, stage, 4)
        eventually(lambda: lane_length(stage) == 4)
        client.config_set("maxmemory", 1)
        client.flushall()
        eventually(lambda: stage.gateway.scrape()["penstock_gateway_reenqueued_total"] == 4)
        with pytest.raises(InferenceServerException, match="the queue's memory is full"):
            stage.client.infer("identity", [tensor()])
        assert lane_length(stage) == 0
        client.config_set("maxmemory", 0)
        worker.resume()
        check_answers(calls)


def test_a_redis_that_may_throw_requests_away_is_told_of(stage: Stage) -> None:
    assert stage.gateway.scrape()["penstock_gateway_redis_may_evict"] == 0
    with redis.Redis.from_url(stage.redis.url) as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.client_kill_filter(_type="normal", skipme=True)
    eventually(lambda: stage.gateway.scrape()["penstock_gateway_redis_may_evict"] == 1)
    assert "set maxmemory-policy to noeviction, not allkeys-lru" in stage.gateway.stderr()


def test_a_request_that_may_not_run_twice_fails_when_redis_lost_it(stage: Stage, worker: FakeWorker) -> None:
    stage.registry.deploy("identity", queue=QueueConfig(max_attempts=1, max_queue_size=77))
    eventually(
        lambda: (
            stage.client.get_model_config("identity").config.dynamic_batching.default_queue_policy.max_queue_size == 77
        )
    )
    worker.pause()
    with ThreadPoolExecutor() as pool:
        ((_, call),) = start(pool, stage, 1)
        eventually(lambda: lane_length(stage) == 1)
        stage.redis.restart()
        with pytest.raises(InferenceServerException, match="the queue was lost, and the request may not run twice"):
            call.result(timeout=10)


def test_a_broken_stream_and_batches_sent_again_count_once(stage: Stage, worker: FakeWorker) -> None:
    for seed in range(3):
        stage.client.infer("identity", [tensor(seed=seed)])
    link = worker.link(stage.gateway.internal)
    eventually(lambda: not link.unconfirmed())
    repeated = ConnectRequest(
        batch_reply=BatchReply(sequence=2, batch_rows=1, is_execution_counted=True, compute_infer_ns=1)
    )
    before = len(worker.receipts)
    link.resend_all([repeated])
    eventually(lambda: len(worker.receipts) > before)
    assert worker.receipts[-1] == 3
    link.reconnect()
    stage.client.infer("identity", [tensor()])
    eventually(lambda: not link.unconfirmed())
    assert worker.receipts[-1] == 4
    figures = stage.gateway.scrape()
    assert figures['nv_inference_exec_count{model="identity",version="1"}'] == 4
    assert figures['nv_inference_count{model="identity",version="1"}'] == 4
    assert figures["penstock_gateway_worker_streams"] == 1


def test_two_answers_to_one_request_count_once(stage: Stage) -> None:
    """Two workers run the same entry: the first reply wins."""
    with FakeWorker(stage.redis.url, "identity") as first:
        sent = tensor()
        result = stage.client.infer("identity", [sent])
        link = first.link(stage.gateway.internal)
        (entry,) = first.seen
        late = identity(entry, pb.ModelInferRequest.FromString(entry.request))
        late.request_key = entry.envelope.request_key
        link.send(BatchReply(replies=[late], batch_rows=1, is_execution_counted=True))
        eventually(lambda: not link.unconfirmed())
    assert result.as_numpy("OUTPUT0").tobytes() == sent._get_content()
    assert stage.gateway.scrape()['nv_inference_request_success{model="identity",version="1"}'] == 1


def test_what_is_no_worker_is_told_so(stage: Stage) -> None:
    with grpc.insecure_channel(stage.gateway.internal) as channel:
        stub = ReplyServiceStub(channel)
        for messages in (
            [ConnectRequest(batch_reply=BatchReply(sequence=1))],
            [ConnectRequest(hello=Hello())],
            [ConnectRequest(hello=Hello(consumer="c")), ConnectRequest(hello=Hello(consumer="c"))],
        ):
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.Connect(iter(messages)))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            list(PayloadServiceStub(channel).Fetch(FetchRequest(gateway_id="another", request_key=1)))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_errors_of_the_model_reach_the_caller_and_spare_the_neighbours(stage: Stage) -> None:
    def answer(entry: Entry, request: Any) -> Reply:
        if request.id == "bad":
            return Reply(code=3, message="the model takes no 13", reason="BAD_VALUE")
        return identity(entry, request)

    with FakeWorker(stage.redis.url, "identity", answer=answer) as worker, ThreadPoolExecutor() as pool:
        worker.pause()
        calls = start(pool, stage, 4)
        (_, bad), *_ = start(pool, stage, 1, request_id="bad")
        eventually(lambda: lane_length(stage) == 5)
        worker.resume()
        check_answers(calls)
        with pytest.raises(InferenceServerException, match="the model takes no 13") as caught:
            bad.result()
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    figures = stage.gateway.scrape()
    assert figures[failure("BACKEND")] == 1
    assert figures['nv_inference_request_success{model="identity",version="1"}'] == 4


def test_priorities_have_lanes_of_their_own(stage: Stage) -> None:
    stage.registry.deploy("ranked", queue=QueueConfig(priority_levels=2))
    with FakeWorker(stage.redis.url, "ranked", priorities=2) as worker:
        eventually(lambda: stage.client.is_model_ready("ranked"))
        for priority in (0, 1, 2, 7):
            stage.client.infer("ranked", [tensor()], priority=priority)
        assert [entry.envelope.priority for entry in worker.seen] == [2, 1, 2, 2]


def test_aliases_and_versions_follow_the_registry(stage: Stage) -> None:
    stage.registry.deploy("twice", versions=("1", "2"))
    stage.registry.put(Alias(name="models/twice/aliases/production", version="models/twice/versions/1"))
    with FakeWorker(stage.redis.url, "twice", "1") as one, FakeWorker(stage.redis.url, "twice", "2") as two:
        eventually(lambda: stage.client.is_model_ready("twice", "1") and stage.client.is_model_ready("twice", "2"))
        for version in ("", "1", "production"):
            stage.client.infer("twice", [tensor()], model_version=version)
        assert (len(one.seen), len(two.seen)) == (2, 1)
        stage.registry.put(Alias(name="models/twice/aliases/production", version="models/twice/versions/2"))
        eventually(lambda: stage.client.get_model_metadata("twice", "production").versions == ["2"])


def test_requests_of_a_model_that_is_undeployed_do_not_hang(stage: Stage) -> None:
    deployment = stage.registry.deploy("gone")
    eventually(lambda: {one.name: one.version for one in stage.client.get_model_repository_index().models}.get("gone"))
    with ThreadPoolExecutor() as pool:
        call = pool.submit(stage.client.infer, "gone", [tensor()])
        eventually(lambda: lane_length(stage, "penstock:{gone}:1:lane:0") == 1)
        stage.registry.delete(deployment)
        with pytest.raises(InferenceServerException, match="the model is no longer deployed"):
            call.result(timeout=10)
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'gone' is not found"):
        stage.client.infer("gone", [tensor()])


def test_the_registry_away_changes_nothing(stage: Stage, worker: FakeWorker) -> None:
    address = stage.registry.address
    stage.registry.__exit__(None, None, None)
    time.sleep(0.3)
    assert stage.client.is_server_ready()
    stage.client.infer("identity", [tensor()])
    with ScriptedRegistry(address) as again:
        again.deploy("identity")
        again.deploy("fresh")
        eventually(lambda: len(stage.client.get_model_repository_index().models) == 2)


def test_statistics_agree_wherever_they_are_asked_for(stage: Stage, worker: FakeWorker) -> None:
    worker.pause()
    with ThreadPoolExecutor(8) as pool:
        calls = start(pool, stage, 8)
        eventually(lambda: lane_length(stage) == 8)
        worker.resume()
        check_answers(calls)
    stage.client.infer("identity", [tensor(5)])
    (over_grpc,) = stage.client.get_inference_statistics("identity", as_json=True)["model_stats"]
    (over_http,) = httpx.get(f"http://{stage.gateway.http}/v2/models/stats").json()["model_stats"]
    metrics = stage.gateway.scrape()
    labels = '{model="identity",version="1"}'
    assert (
        over_http["inference_count"]
        == int(over_grpc["inference_count"])
        == metrics[f"nv_inference_count{labels}"]
        == 13
    )
    assert (
        over_http["execution_count"]
        == int(over_grpc["execution_count"])
        == metrics[f"nv_inference_exec_count{labels}"]
        == 2
    )
    assert over_http["inference_stats"]["success"]["count"] == metrics[f"nv_inference_request_success{labels}"] == 9
    assert [(one["batch_size"], one["compute_infer"]["count"]) for one in over_http["batch_stats"]] == [(5, 1), (8, 1)]
    assert over_http["inference_stats"]["compute_infer"] == {"count": 9, "ns": 90_000}
    assert metrics[f"nv_inference_compute_infer_duration_us{labels}"] == 90
    assert over_http["inference_stats"]["queue"]["ns"] // 1_000 == metrics[f"nv_inference_queue_duration_us{labels}"]
    assert metrics[f"penstock_request_duration_seconds_count{labels}"] == 9
    assert metrics[f"penstock_batch_rows_sum{labels}"] == 8 * 8 + 5
    assert over_http["last_inference"] > 1_600_000_000_000


def test_sigterm_finishes_what_is_under_way_and_takes_nothing_more(stage: Stage, worker: FakeWorker) -> None:
    worker.pause()
    with ThreadPoolExecutor(8) as pool:
        calls = start(pool, stage, 4)
        answer = pool.submit(
            httpx.post,
            f"http://{stage.gateway.http}/v2/models/identity/infer",
            content=bytes(64),
            headers={"Inference-Header-Content-Length": "0"},
            timeout=20,
        )
        eventually(lambda: lane_length(stage) == 5)
        stage.gateway.running.terminate()
        time.sleep(0.5)
        with grpc.insecure_channel(stage.gateway.grpc) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=0.5)
        worker.resume()
        check_answers(calls)
        assert answer.result(timeout=10).status_code == 200
    assert stage.gateway.running.wait(10) == 0
    assert worker.links[stage.gateway.internal].unconfirmed() == []


def test_sigterm_does_not_wait_for_ever() -> None:
    with open_stage(PENSTOCK_GATEWAY__DRAIN_TIMEOUT_S="1") as stage:
        stage.registry.deploy("identity")
        eventually(lambda: is_deployed(stage))
        with ThreadPoolExecutor() as pool:
            ((_, call),) = start(pool, stage, 1)
            eventually(lambda: lane_length(stage) == 1)
            assert stage.gateway.terminate() == 0  # within 15 s; the request would wait for a minute
            with pytest.raises(InferenceServerException, match="the gateway is shutting down"):
                call.result()


def test_a_second_sigterm_fails_what_is_under_way_at_once() -> None:
    with open_stage(PENSTOCK_GATEWAY__DRAIN_TIMEOUT_S="600") as stage:
        stage.registry.deploy("identity")
        eventually(lambda: is_deployed(stage))
        with ThreadPoolExecutor() as pool:
            ((_, call),) = start(pool, stage, 1)
            eventually(lambda: lane_length(stage) == 1)
            stage.gateway.running.terminate()
            eventually(lambda: is_refused(stage))
            assert stage.gateway.terminate() == 0
            with pytest.raises(InferenceServerException, match="the gateway is shutting down"):
                call.result()


def is_refused(stage: Stage) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", stage.gateway.ports["HTTP"])) != 0


def test_a_client_that_never_reads_does_not_hold_a_drain() -> None:
    with open_stage(PENSTOCK_GATEWAY__DRAIN_TIMEOUT_S="1") as stage, socket.socket() as deaf:
        stage.registry.deploy("identity")
        with FakeWorker(stage.redis.url, "identity"):
            eventually(lambda: stage.client.is_model_ready("identity"))
            tensor = {"name": "INPUT0", "shape": [20_000, 16], "datatype": "FP32", "data": [0.125] * 320_000}
            body = json.dumps({"inputs": [tensor]}).encode()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.connect(("127.0.0.1", stage.gateway.ports["HTTP"]))
            head = f"POST /v2/models/identity/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            deaf.sendall(head.encode() + body)
            eventually(lambda: deaf.recv(1, socket.MSG_PEEK))  # the answer has begun
            assert stage.gateway.terminate() == 0


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PENSTOCK_GATEWAY__HTPP_PORT": "1"}, "unknown settings PENSTOCK_GATEWAY__HTPP_PORT"),
        ({"PENSTOCK_GATEWAY__GRPC_PORT": "many"}, "PENSTOCK_GATEWAY__GRPC_PORT"),
        ({"PENSTOCK_GATEWAY__GRPC_PORT": "{taken}"}, "can't listen on 127.0.0.1:{taken}"),
        ({"PENSTOCK_GATEWAY__HTTP_PORT": "{taken}"}, "can't listen on 127.0.0.1:{taken}"),
        ({"PENSTOCK_GATEWAY__METRICS_PORT": "{taken}"}, "can't listen on 127.0.0.1:{taken}"),
        ({"PENSTOCK_GATEWAY__INTERNAL_PORT": "{taken}"}, "can't listen on 127.0.0.1:{taken}"),
        ({"PENSTOCK_GATEWAY__PROCESSES": "0"}, "PENSTOCK_GATEWAY__PROCESSES"),
        ({**TWO_PROCESSES, "PENSTOCK_GATEWAY__GRPC_PORT": "{taken}"}, "can't listen on 127.0.0.1:{taken}"),
        ({**TWO_PROCESSES, "PENSTOCK_GATEWAY__HTTP_PORT": "{taken}"}, "can't listen on 127.0.0.1:{taken}"),
        ({**TWO_PROCESSES, "PENSTOCK_GATEWAY__METRICS_PORT": "{taken}"}, "can't listen on 127.0.0.1:{taken}"),
        ({**TWO_PROCESSES, "PENSTOCK_REDIS_URL": "nonsense://x"}, "did not start (exit status 1)"),
        ({"CONSUL_HTTP_ADDR": "consul:x"}, "CONSUL_HTTP_ADDR: got 'consul:x', expected host:port"),
    ],
)
def test_a_bad_start_says_why_and_ends(environ: dict[str, str], message: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        ports = {f"PENSTOCK_GATEWAY__{name}_PORT": str(free_port()) for name in ("HTTP", "GRPC", "METRICS", "INTERNAL")}
        ended = subprocess.run(
            [sys.executable, "-m", "services.gateway"],
            env={
                "PENSTOCK_OTLP_ENDPOINT": "",
                **ports,
                **{key: value.format(taken=taken) for key, value in environ.items()},
            },
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert ended.returncode == 1
    assert message.format(taken=taken) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr


def test_it_starts_before_redis_and_registry_and_becomes_ready_when_they_are_there() -> None:
    from tests.support.redis_server import RedisServer

    with RedisServer() as redis_server:
        redis_server.kill()
        address = f"127.0.0.1:{free_port()}"
        gateway = GatewayProcess(redis_url=redis_server.url, registry_address=address)
        gateway.start()
        try:
            gateway.wait_until_serving(is_serving=False)
            with ScriptedRegistry(address), httpx.Client(base_url=f"http://{gateway.http}") as client:
                assert client.get("/v2/health/live").status_code == 200
                assert client.get("/v2/health/ready").status_code == 400
                redis_server.start()
                gateway.wait_until_serving()
                assert client.get("/v2/health/ready").status_code == 200
        finally:
            gateway.__exit__(None, None, None)


def test_a_storm_of_cancels_and_deadlines_leaves_nothing_behind(stage: Stage, worker: FakeWorker) -> None:
    stop = threading.Event()

    def storm(seed: int) -> None:
        random = np.random.default_rng(seed)
        while not stop.is_set():
            try:
                sent = tensor(seed=seed)
                result = stage.client.infer("identity", [sent], client_timeout=float(random.uniform(0.0005, 0.01)))
                assert result.as_numpy("OUTPUT0").tobytes() == sent._get_content()
            except InferenceServerException:
                pass

    with ThreadPoolExecutor(16) as pool:
        storms = [pool.submit(storm, seed) for seed in range(16)]
        time.sleep(2)
        stop.set()
        for one in storms:
            one.result()
    eventually(lambda: stage.gateway.scrape()[PENDING] == 0)
    eventually(lambda: lane_length(stage) == 0)
    check_answers(start(ThreadPoolExecutor(1), stage, 1))
