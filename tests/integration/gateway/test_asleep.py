"""Models that are asleep, as callers meet them: a real gateway and Redis, a registry that says what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from penstock.registry.v1.resources_pb2 import InstanceStatus, Placement, QueueConfig
from tests.integration.gateway.conftest import Stage, is_deployed, open_stage, tensor
from tests.support.fake_worker import FakeWorker
from tests.support.waiting import eventually

VERSION = "models/identity/versions/1"
ASLEEP = [Placement(version=VERSION, is_asleep=True, reason="no room")]
AWAKE = [Placement(version=VERSION, node="nodes/a")]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """``identity`` is deployed, and asleep for longer than anybody waits for a process."""
    with open_stage(PENSTOCK_GATEWAY__RECOVERY_GRACE_S="0") as stage:
        stage.registry.deploy("identity", placements=ASLEEP)
        eventually(lambda: is_deployed(stage))
        yield stage


def ask(stage: Stage, **more: Any) -> Any:
    return stage.client.infer("identity", [tensor()], **more)


def test_it_is_ready_and_says_that_it_is_asleep(stage: Stage) -> None:
    assert stage.client.is_model_ready("identity")
    (entry,) = stage.client.get_model_repository_index(as_json=True)["models"]
    assert (entry["state"], entry["reason"]) == ("READY", "asleep: the next request loads it")


def test_a_request_waits_is_told_of_at_once_and_is_answered_by_the_process_that_comes(stage: Stage) -> None:
    with ThreadPoolExecutor() as pool:
        call = pool.submit(ask, stage)
        eventually(lambda: stage.registry.demands)
        (demand,) = stage.registry.demands[0].demands
        assert (demand.version, demand.unsettled_requests) == (VERSION, 1)

        stage.registry.deploy("identity", placements=AWAKE)
        with FakeWorker(stage.redis.url, "identity"):
            assert call.result(timeout=20).as_numpy("OUTPUT0").tobytes() == tensor()._get_content()
            labels = '{model="identity",version="1"}'
            assert stage.gateway.scrape()[f"penstock_cold_start_seconds_count{labels}"] == 1


def test_its_queue_and_deadlines_are_as_those_of_others(stage: Stage) -> None:
    with pytest.raises(InferenceServerException, match="Request timeout expired"):
        ask(stage, timeout=100_000)
    stage.registry.deploy("identity", placements=ASLEEP, queue=QueueConfig(max_queue_size=2))
    eventually(
        lambda: (
            stage.client.get_model_config("identity").config.dynamic_batching.default_queue_policy.max_queue_size == 2
        )
    )
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(ask, stage, timeout=1_000_000) for _ in range(2)]
        eventually(lambda: stage.registry.demands and stage.registry.demands[-1].demands[0].unsettled_requests == 2)
        with pytest.raises(InferenceServerException, match="Exceeds maximum queue size"):
            ask(stage)
        assert all(call.exception(timeout=20) for call in calls)


def test_if_it_does_not_load_those_who_wait_are_told_why(stage: Stage) -> None:
    with ThreadPoolExecutor() as pool:
        call = pool.submit(ask, stage)
        eventually(lambda: stage.registry.demands)
        failed = InstanceStatus(
            version=VERSION, node="nodes/a", state=InstanceStatus.STATE_UNAVAILABLE, reason="out of memory"
        )
        stage.registry.deploy("identity", placements=AWAKE, instances=[failed])
        error = call.exception(timeout=20)
    assert isinstance(error, InferenceServerException)
    assert "model 'identity' version 1 was asleep and does not load: out of memory" in error.message()
    assert error.status() == "StatusCode.UNAVAILABLE"
    assert not stage.client.is_model_ready("identity")
    with pytest.raises(InferenceServerException, match="out of memory"):
        ask(stage)

    stage.registry.deploy("identity", placements=ASLEEP)
    eventually(lambda: stage.client.is_model_ready("identity"))
