"""Large messages in shared memory, between the real gateway and real model processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from services.common.payloads import directory
from services.inference.domain.fleet import Batching
from services.inference.domain.signature import Signature, TensorSpec
from tests.integration.gateway.conftest import FRONTS, Stage, is_deployed, open_stage
from tests.support.model_processes import ModelProcess
from tests.support.models import identity_onnx
from tests.support.waiting import until

WIDTH = 256 * 1024
SIGNATURE = Signature(
    (TensorSpec("INPUT0", "FP32", (-1, WIDTH)),), (TensorSpec("OUTPUT0", "FP32", (-1, WIDTH)),), is_batchable=True
)
TENSORS = {"inputs": (("INPUT0", "FP32", (-1, WIDTH)),), "outputs": (("OUTPUT0", "FP32", (-1, WIDTH)),)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return identity_onnx(tmp_path / "m.onnx", width=WIDTH)


def process_for(stage: Stage, model: Path, consumer: str = "node.m.1.0@life.1", **changes: Any) -> ModelProcess:
    return ModelProcess(
        model, stage.redis.url, consumer=consumer, signature=SIGNATURE, batching=Batching(max_batch_size=4), **changes
    )


def tensor(seed: int, kind: Any = triton_grpc) -> tuple[Any, Any]:
    data = np.random.default_rng(seed).standard_normal((1, WIDTH)).astype("f4")
    made = kind.InferInput("INPUT0", [1, WIDTH], "FP32")
    made.set_data_from_numpy(data)
    return made, data


def ask(client: Any, seed: int, kind: Any = triton_grpc, **options: Any) -> None:
    sent, data = tensor(seed, kind)
    np.testing.assert_array_equal(client.infer("m", [sent], **options).as_numpy("OUTPUT0"), data)


def ask_rest(stage: Stage, seed: int, **options: Any) -> None:
    with triton_http.InferenceServerClient(stage.gateway.http) as client:  # it belongs to one thread
        ask(client, seed, triton_http, **options)


def store_of(pid: int, digits: int) -> Path:
    """The directory in shared memory that a process has open with an id of so many digits."""
    opened = {Path(os.path.realpath(link)) for link in Path(f"/proc/{pid}/fd").iterdir()}
    (found,) = [path for path in opened if path.name.startswith("penstock-") and len(path.name) == 9 + digits]
    return found


def gateway_store(stage: Stage) -> Path:
    return store_of(stage.gateway.running.pid, 16)


def model_store(process: ModelProcess) -> Path:
    return store_of(process.child._process.pid, 32)


def buffers_in(store: Path) -> list[Path]:
    return [path for path in store.iterdir() if path.name.isdigit()]


def is_mapped(pid: int, store: Path) -> bool:
    return f"{store}/" in Path(f"/proc/{pid}/maps").read_text()


@asynccontextmanager
async def serving(
    model: Path, *, limit: int = 256 * 2**20, **settings: str
) -> AsyncIterator[tuple[Stage, ModelProcess]]:
    with open_stage(PENSTOCK_SHARED_PAYLOAD_BYTES=str(limit), **settings) as stage:
        stage.registry.deploy("m", **TENSORS)
        async with process_for(stage, model, shared_payload_bytes=limit) as process:
            await until(lambda: stage.client.is_model_ready("m"))
            yield stage, process


async def ask_often(stage: Stage, *, seeds: range) -> None:
    await asyncio.gather(*(asyncio.to_thread(ask, stage.client, seed) for seed in seeds))


@pytest.mark.parametrize("front", FRONTS)
async def test_large_messages_are_passed_in_shared_memory_and_leave_nothing(model: Path, front: str) -> None:
    async with serving(model, PENSTOCK_GATEWAY__FRONT=front) as (stage, process):
        for seed in range(6):
            await asyncio.to_thread(ask, stage.client, seed)
            await asyncio.to_thread(ask_rest, stage, seed)
        await ask_often(stage, seeds=range(100, 112))
        theirs, ours = gateway_store(stage), model_store(process)
        assert len(buffers_in(theirs)) <= 14
        assert len(buffers_in(ours)) <= 16
        async with asyncio.timeout(30):  # what isn't used for a while is let go of
            while not (is_mapped(process.child._process.pid, theirs) and is_mapped(stage.gateway.running.pid, ours)):
                await asyncio.to_thread(ask, stage.client, 1)
        process.child.terminate()
        assert await process.ended() == ""
        assert not ours.exists()
    assert not theirs.exists()


async def test_requests_below_the_inline_limit_are_shared_once_all_model_processes_are_here(tmp_path: Path) -> None:
    width = 32 * 1024
    signature = Signature(
        (TensorSpec("INPUT0", "FP32", (-1, width)),), (TensorSpec("OUTPUT0", "FP32", (-1, width)),), is_batchable=True
    )
    model = identity_onnx(tmp_path / "m.onnx", width=width)
    data = np.ones((1, width), "f4")
    sent = triton_grpc.InferInput("INPUT0", [1, width], "FP32")
    sent.set_data_from_numpy(data)
    with open_stage(PENSTOCK_GATEWAY__FRONT="native") as stage:
        stage.registry.deploy(
            "m", inputs=(("INPUT0", "FP32", (-1, width)),), outputs=(("OUTPUT0", "FP32", (-1, width)),)
        )
        async with ModelProcess(model, stage.redis.url, signature=signature):
            await until(lambda: stage.client.is_model_ready("m"))
            async with asyncio.timeout(30):
                while not buffers_in(gateway_store(stage)):
                    answer = await asyncio.to_thread(stage.client.infer, "m", [sent])
                    np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), data)


@pytest.mark.parametrize("limit", [0, 100_000, 3 * 2**20], ids=["off", "too little", "for one or two"])
async def test_without_room_large_messages_go_over_connections(model: Path, limit: int) -> None:
    async with serving(model, limit=limit) as (stage, _):
        await ask_often(stage, seeds=range(10))
        await asyncio.to_thread(ask, stage.client, 11)


async def test_stores_that_can_not_be_opened_do_not_matter(model: Path) -> None:
    """As where the model process is on another host, or in another container, or another user's."""
    with open_stage() as stage:
        stage.registry.deploy("m", **TENSORS)
        gateway_store(stage).chmod(0o750)
        async with process_for(stage, model, shared_payload_bytes=0) as process:
            await until(lambda: stage.client.is_model_ready("m"))
            await ask_often(stage, seeds=range(6))
            assert not is_mapped(process.child._process.pid, gateway_store(stage))
            gateway_store(stage).chmod(0o700)


async def test_what_is_refused_cancelled_or_expired_gives_its_memory_back(stage: Stage) -> None:
    stage.registry.deploy("m", **TENSORS)
    wide, _ = tensor(0)
    wide.set_shape([2, WIDTH // 2])
    await until(lambda: is_deployed(stage, "m"))
    buffers = []
    for number in range(20):
        with pytest.raises(InferenceServerException, match="INPUT0"):
            stage.client.infer("m", [wide])
        with pytest.raises(InferenceServerException, match=r"Deadline|expired"):
            ask(stage.client, 1, client_timeout=0.05)
        with pytest.raises(InferenceServerException, match="expired"):
            ask(stage.client, 2, timeout=20_000)
        with pytest.raises(InferenceServerException, match="expired"):
            ask_rest(stage, 4, timeout=20_000)
        call = stage.client.async_infer("m", [tensor(3)[0]], lambda result, error: None)
        call.cancel()
        if number in (9, 19):
            buffers.append(len(buffers_in(gateway_store(stage))))
    assert buffers[1] < buffers[0] + 8, "ten more of each kind"


async def test_a_killed_model_process_loses_nothing_and_leaves_nothing(model: Path) -> None:
    async with serving(model) as (stage, process):
        await asyncio.to_thread(ask, stage.client, 0)
        dead = model_store(process)
        os.kill(process.child._process.pid, signal.SIGSTOP)
        asked = asyncio.create_task(ask_often(stage, seeds=range(3)))  # threads are to be left for the other process
        await asyncio.sleep(0.1)
        os.kill(process.child._process.pid, signal.SIGKILL)
        async with process_for(stage, model, "node.m.1.1@life.2") as other:
            await asked
            await asyncio.to_thread(ask, stage.client, 9)
            await process.ended()
            assert not dead.exists() or (dead / "abandoned").exists(), "the other process found it"
            directory.remove_abandoned(respite_s=0)
            assert not dead.exists()
            assert model_store(other).exists()


async def test_a_killed_gateway_leaves_nothing_and_its_successor_is_served(model: Path) -> None:
    async with serving(model) as (stage, process):
        await ask_often(stage, seeds=range(4))
        dead, ours = gateway_store(stage), model_store(process)
        os.kill(process.child._process.pid, signal.SIGSTOP)
        asked = asyncio.create_task(ask_often(stage, seeds=range(3)))
        await asyncio.sleep(0.1)
        stage.gateway.running.kill()
        stage.gateway.running.wait()
        with pytest.raises(InferenceServerException):
            await asked
        os.kill(process.child._process.pid, signal.SIGCONT)
        stage.gateway.start()
        stage.gateway.wait_until_serving()
        await until(lambda: stage.client.is_model_ready("m"))
        await ask_often(stage, seeds=range(12))
        directory.remove_abandoned(respite_s=0)
        assert not dead.exists()
        assert gateway_store(stage).exists()
        assert len(buffers_in(ours)) <= 24
