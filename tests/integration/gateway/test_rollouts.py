"""Requests divided between two versions, rescued from a dead one, and copied: the real gateway, Redis and processes."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from penstock.gateway.v1.reply_service_pb2 import Reply
from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.monitor.v1 import verdict_service_pb2_grpc as verdict_grpc
from penstock.queue.v1.envelope_pb2 import Arm
from penstock.registry.v1.resources_pb2 import TrafficSplit
from services.common import lanes
from services.gateway.domain.splits import place_of
from tests.integration.gateway.conftest import FRONTS, Stage, is_deployed, open_stage, tensor
from tests.support.fake_worker import FakeWorker, identity
from tests.support.model_processes import ModelProcess, as_long_as_told_onnx
from tests.support.models import identity_onnx
from tests.support.waiting import eventually, until

COMPARISON = "comparisons/identity-r-0-1"


def split(model: str = "identity", **said: Any) -> TrafficSplit:
    """Version 2 is on trial, version 1 the baseline."""
    versions = {"candidate": f"models/{model}/versions/2", "baseline": f"models/{model}/versions/1"}
    return TrafficSplit(rollout=f"deployments/{model}/rollouts/r", **versions, **said)


def roll_out(stage: Stage, model: str = "identity", **said: Any) -> None:
    stage.registry.deploy(model, versions=("2", "1"), split=split(model, **said))


def share_of(stage: Stage, version: str) -> float | None:
    return stage.gateway.scrape().get(f'penstock_gateway_split_share{{model="identity",version="{version}"}}')


def answering_as(version: str, change: float = 0.0) -> Any:
    """Gives back what it gets, and says which version it is."""

    def answer(entry: lanes.Entry, request: Any) -> Reply:
        request.model_version = version
        raw = np.frombuffer(request.raw_input_contents[0], "<f4") + np.float32(change)
        request.raw_input_contents[0] = raw.tobytes()
        return identity(entry, request)

    return answer


@pytest.fixture(params=FRONTS)
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Stage, FakeWorker, FakeWorker]]:
    """A rollout that has not begun, and a worker for each version."""
    with open_stage(PENSTOCK_GATEWAY__FRONT=request.param) as stage, ExitStack() as workers:
        roll_out(stage)
        one, two = (
            workers.enter_context(FakeWorker(stage.redis.url, "identity", version, answer=answering_as(version)))
            for version in ("1", "2")
        )
        eventually(lambda: is_deployed(stage))
        eventually(lambda: all(stage.client.is_model_ready("identity", version) for version in ("1", "2")))
        yield stage, one, two


def ask_unary(stage: Stage, count: int, **options: Any) -> Counter[str]:
    """How many answers came of which version."""
    return Counter(
        stage.client.infer("identity", [tensor(seed=seed)], **options).get_response().model_version
        for seed in range(count)
    )


def ask_stream(stage: Stage, count: int) -> Counter[str]:
    answers: queue.Queue[Any] = queue.Queue()
    with triton_grpc.InferenceServerClient(stage.gateway.grpc) as client:
        client.start_stream(lambda result, error: answers.put(error or result))
        for seed in range(count):
            client.async_stream_infer("identity", [tensor(seed=seed)])
        found = [answers.get(timeout=20) for _ in range(count)]
        client.stop_stream()
    return Counter(one.get_response().model_version for one in found)


def ask_rest(stage: Stage, count: int, **headers: str) -> Counter[str]:
    body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}]}
    with httpx.Client(base_url=f"http://{stage.gateway.http}", headers=headers) as client:
        answers = [client.post("/v2/models/identity/infer", json=body).raise_for_status() for _ in range(count)]
    return Counter(one.json()["model_version"] for one in answers)


def test_every_api_divides_requests_and_marks_them(both: tuple[Stage, FakeWorker, FakeWorker]) -> None:
    stage, one, two = both
    assert ask_unary(stage, 20) == {"1": 20}, "it has not begun"
    assert not any(entry.envelope.is_drawn for entry in one.seen)
    roll_out(stage, candidate_share=0.5)
    eventually(lambda: share_of(stage, "2") == 0.5)
    for ask in (ask_unary, ask_stream, ask_rest):
        got = ask(stage, 60)
        assert got["1"] + got["2"] == 60
        assert 10 <= got["2"] <= 50, ask
    drawn = [entry.envelope for entry in one.seen[20:]]
    assert {(entry.arm, entry.is_drawn) for entry in drawn} == {(Arm.ARM_UNSPECIFIED, True)}
    assert {(entry.envelope.arm, entry.envelope.is_drawn) for entry in two.seen} == {(Arm.ARM_CANARY, True)}
    assert ask_unary(stage, 10, model_version="2") == {"2": 10}
    assert (two.seen[-1].envelope.arm, two.seen[-1].envelope.is_drawn) == (Arm.ARM_CANARY, False)
    assert ask_unary(stage, 10, model_version="1") == {"1": 10}
    assert stage.gateway.scrape()['penstock_gateway_split_share{model="identity",version="1"}'] == 0.5


def test_a_callers_key_decides_by_every_api(both: tuple[Stage, FakeWorker, FakeWorker]) -> None:
    stage, _, _ = both
    roll_out(stage, candidate_share=0.5, sticky_key="X-User")
    eventually(lambda: share_of(stage, "2") == 0.5)
    for number in range(12):
        user = f"user-{number}"
        version = "2" if place_of(user, "identity") < 0.5 else "1"
        assert ask_unary(stage, 2, headers={"x-user": user}) == {version: 2}
        assert ask_unary(stage, 2, parameters={"X-User": user}) == {version: 2}
        assert ask_rest(stage, 2, **{"X-User": user}) == {version: 2}


def test_weights_change_within_a_second_and_fail_nothing(both: tuple[Stage, FakeWorker, FakeWorker]) -> None:
    stage, _, _ = both
    stop, failures, answered = threading.Event(), [], Counter[str]()

    def ask_on() -> None:
        with triton_grpc.InferenceServerClient(stage.gateway.grpc) as client:
            while not stop.is_set():
                try:
                    answer = client.infer("identity", [tensor()], client_timeout=20)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is too much
                    failures.append(error)
                else:
                    answered[answer.get_response().model_version] += 1

    with ThreadPoolExecutor() as pool:
        for _ in range(4):
            pool.submit(ask_on)
        try:
            for share in (0.01, 1.0, 0.25, 0.0):
                roll_out(stage, candidate_share=share)
                began = time.monotonic()
                eventually(lambda share=share: share_of(stage, "2") == share)  # type: ignore[misc]
                assert time.monotonic() - began < 1
                time.sleep(0.3)
            stage.registry.deploy("identity", versions=("1",))
            time.sleep(0.5)
        finally:
            stop.set()
    assert failures == []
    assert answered["1"]
    assert answered["2"]


def test_what_waits_for_a_candidate_that_is_taken_away_is_answered(both: tuple[Stage, FakeWorker, FakeWorker]) -> None:
    stage, _, two = both
    roll_out(stage, candidate_share=1.0)
    eventually(lambda: share_of(stage, "2") == 1.0)
    two.pause()
    sent = [tensor(seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(stage.client.infer, "identity", [one], client_timeout=20) for one in sent]
        waiting = 'nv_inference_pending_request_count{model="identity",version="2"}'
        eventually(lambda: stage.gateway.scrape().get(waiting) == 8)
        stage.registry.deploy("identity", versions=("1",))
        for one, call in zip(sent, calls, strict=True):
            answer = call.result(timeout=5)
            assert answer.get_response().model_version == "1"
            assert answer.as_numpy("OUTPUT0").tobytes() == one._get_content()
    figures = stage.gateway.scrape()
    assert figures['penstock_gateway_rescued_total{model="identity"}'] == 8
    assert figures['nv_inference_request_success{model="identity",version="1"}'] == 8
    two.resume()


@pytest.mark.parametrize("front", FRONTS)
async def test_requests_of_a_candidate_that_is_killed_are_answered(tmp_path: Path, front: str) -> None:
    slow, quick = as_long_as_told_onnx(tmp_path / "slow.onnx"), identity_onnx(tmp_path / "quick.onnx")
    with open_stage(PENSTOCK_GATEWAY__FRONT=front) as stage:
        roll_out(stage, "m", candidate_share=0.5)
        async with (
            ModelProcess(quick, stage.redis.url, consumer="node.m.1.0@life.1"),
            ModelProcess(slow, stage.redis.url, consumer="node.m.2.0@life.1", version="2") as candidate,
        ):
            await until(lambda: is_deployed(stage, "m"))
            await until(lambda: all(stage.client.is_model_ready("m", version) for version in ("1", "2")))
            data = np.full((1, 16), 100_000, "<f4")  # microseconds
            sent = triton_grpc.InferInput("INPUT0", [1, 16], "FP32")
            sent.set_data_from_numpy(data)

            def ask(timeout_s: float) -> str:
                answer = stage.client.infer("m", [sent], client_timeout=timeout_s)
                np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), data)
                version: str = answer.get_response().model_version
                return version

            def waiting() -> float:
                return stage.gateway.scrape().get('nv_inference_pending_request_count{model="m",version="2"}', 0)

            with ThreadPoolExecutor(64) as pool:
                calls = [pool.submit(ask, 20) for _ in range(64)]
                await until(lambda: waiting() >= 8)
                os.kill(candidate.child._process.pid, signal.SIGKILL)
                more = [pool.submit(ask, 2) for _ in range(64)]  # its lease would end later than these
                assert len(await asyncio.to_thread(lambda: [call.result(30) for call in calls])) == 64
                assert set(await asyncio.to_thread(lambda: [call.result(30) for call in more])) == {"1"}
            assert stage.gateway.scrape()['penstock_gateway_rescued_total{model="m"}'] >= 8
            assert stage.gateway.scrape()['nv_inference_request_failure{model="m",reason="BACKEND",version="2"}'] == 0


class Verdicts(verdict_grpc.VerdictServiceServicer):
    """A monitor that only listens."""

    def __init__(self) -> None:
        self.told: list[verdict_pb.RecordPairsRequest] = []

    def RecordPairs(self, request: verdict_pb.RecordPairsRequest, _context: Any) -> verdict_pb.RecordPairsResponse:
        self.told.append(request)
        return verdict_pb.RecordPairsResponse()

    def count(self, field: str) -> int:
        return sum(getattr(one, field) for one in self.told)


@pytest.fixture
def verdicts() -> Iterator[tuple[Verdicts, str]]:
    with ThreadPoolExecutor(2) as pool:
        server, servicer = grpc.server(pool), Verdicts()
        verdict_grpc.add_VerdictServiceServicer_to_server(servicer, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield servicer, address
        server.stop(None).wait()


@pytest.mark.parametrize(("change", "differing"), [(0.0, 0), (0.5, 40)], ids=["alike", "differing"])
def test_pairs_of_a_shadow_are_told_to_the_monitor(
    verdicts: tuple[Verdicts, str], change: float, differing: int
) -> None:
    servicer, address = verdicts
    with (
        open_stage(PENSTOCK_MONITOR_ADDRESS=address) as stage,
        FakeWorker(stage.redis.url, "identity", "1", answer=answering_as("1")),
        FakeWorker(stage.redis.url, "identity", "2", answer=answering_as("2", change)) as two,
    ):
        roll_out(stage, shadow_share=1.0, comparison=COMPARISON, pair_tolerance=0.01)
        eventually(lambda: is_deployed(stage))
        eventually(lambda: all(stage.client.is_model_ready("identity", version) for version in ("1", "2")))
        assert ask_unary(stage, 40) == {"1": 40}
        eventually(lambda: servicer.count("pair_count") == 40)
        assert {one.name for one in servicer.told} == {COMPARISON}
        assert servicer.count("differing_count") == differing
        assert servicer.count("candidate_failed_count") == servicer.count("baseline_failed_count") == 0
        assert all(one.largest_batch_count >= 1 for one in servicer.told)
        assert {(entry.envelope.arm, entry.envelope.is_drawn) for entry in two.seen} == {(Arm.ARM_SHADOW, True)}
        figures = stage.gateway.scrape()
        outcome = "differed" if differing else "agreed"
        assert figures[f'penstock_gateway_shadow_total{{model="identity",outcome="{outcome}"}}'] == 40
        assert figures['nv_inference_request_success{model="identity",version="1"}'] == 40
        assert figures['nv_inference_request_success{model="identity",version="2"}'] == 0
        assert figures['nv_inference_pending_request_count{model="identity",version="2"}'] == 0


def test_a_shadow_that_is_stuck_or_gone_is_not_noticed(verdicts: tuple[Verdicts, str]) -> None:
    servicer, address = verdicts
    with (
        open_stage(PENSTOCK_MONITOR_ADDRESS=address) as stage,
        FakeWorker(stage.redis.url, "identity", "1", answer=answering_as("1")),
    ):
        roll_out(stage, shadow_share=1.0, comparison=COMPARISON)
        with FakeWorker(stage.redis.url, "identity", "2", answer=answering_as("2")) as two:
            eventually(lambda: is_deployed(stage))
            eventually(lambda: all(stage.client.is_model_ready("identity", version) for version in ("1", "2")))
            two.pause()
            began = time.monotonic()
            assert ask_unary(stage, 200) == {"1": 200}
            assert time.monotonic() - began < 10
            figures = stage.gateway.scrape()
            assert figures['penstock_gateway_shadow_total{model="identity",outcome="skipped"}'] == 200 - 128
        assert ask_unary(stage, 20) == {"1": 20}
        assert servicer.told == []
