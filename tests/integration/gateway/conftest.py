"""The real gateway process, a real Redis, a scripted registry, and a worker in miniature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from tests.support.fake_worker import FakeWorker
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.waiting import eventually

FRONTS = ["native", "grpcio"]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a test plays on. Model ``identity`` gives back what it gets, 16 floats a row."""

    redis: RedisServer
    registry: ScriptedRegistry
    gateway: GatewayProcess
    client: Any


def is_deployed(stage: Stage, model: str = "identity") -> bool:
    """Whether the gateway has heard that the model is to be served."""
    try:
        stage.client.get_model_metadata(model)
    except InferenceServerException:
        return False
    return True


def tensor(rows: int = 1, *, name: str = "INPUT0", seed: int = 0) -> Any:
    """An input of the identity model for the gRPC clients."""
    data = np.random.default_rng(seed).standard_normal((rows, 16)).astype("f4")
    made = triton_grpc.InferInput(name, list(data.shape), "FP32")
    made.set_data_from_numpy(data)
    return made


@contextmanager
def open_stage(**settings: str) -> Iterator[Stage]:
    with (
        RedisServer() as redis,
        ScriptedRegistry() as registry,
        GatewayProcess(redis_url=redis.url, registry_address=registry.address, **settings) as gateway,
        triton_grpc.InferenceServerClient(gateway.grpc) as client,
    ):
        yield Stage(redis, registry, gateway, client)


@pytest.fixture(scope="module", params=FRONTS)
def shared(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage with ``identity`` served, for tests that leave it as it was; one for each front."""
    with open_stage(PENSTOCK_GATEWAY__FRONT=request.param) as stage:
        stage.registry.deploy("identity")
        with FakeWorker(stage.redis.url, "identity"):
            eventually(lambda: stage.client.is_model_ready("identity"))
            yield stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A stage of one's own, with ``identity`` deployed and nobody serving it yet."""
    with open_stage() as stage:
        stage.registry.deploy("identity")
        eventually(lambda: is_deployed(stage))
        yield stage


@pytest.fixture
def worker(stage: Stage) -> Iterator[FakeWorker]:
    """A worker for ``stage``, with its lease."""
    with FakeWorker(stage.redis.url, "identity") as worker:
        eventually(lambda: stage.client.is_model_ready("identity"))
        yield worker
