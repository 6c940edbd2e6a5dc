"""The real gateway and real model processes on Redis as people run it, while parts of it die, move or fall silent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from services.common.lanes import GROUP, LaneKeys
from services.common.redis_connection import connect
from services.common.redis_masters import RedisMasters
from services.inference.adapters.lane_keeping import end_lease
from services.inference.domain.fleet import Batching
from tests.support.certificates import Certificates
from tests.support.gateway_process import GatewayProcess
from tests.support.model_processes import ModelProcess, as_long_as_told_onnx
from tests.support.models import identity_onnx
from tests.support.redis_server import RedisServer
from tests.support.redis_topologies import ClusterSetup, Node, SentinelSetup, started
from tests.support.relay import Relay
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.waiting import until

RIGHTS = (
    "~penstock:* +ping +info +role +client|id +client|unblock +client|setinfo +eval +time +del "
    "+xadd +xdel +xlen +xrange +xack +xclaim +xpending +xreadgroup +xgroup +xinfo "
    "+zadd +zrem +zcount +zrangebyscore +zremrangebyscore"
)
"""What Penstock's user needs, as docs/architecture.md has it."""


class Load:
    """Callers that send request after request to one model. Each answer must be the right one."""

    def __init__(self, client: Any, model: str) -> None:
        self.answered = 0
        self._client = client
        self._model = model
        self._numbers = itertools.count(1)
        self._is_ending = False

    async def call(self, value: float = 0) -> None:
        sent = np.full((1, 16), value or next(self._numbers), np.float32)
        tensor = triton.InferInput("INPUT0", [1, 16], "FP32").set_data_from_numpy(sent)
        answer = await self._client.infer(self._model, [tensor])
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), sent)
        self.answered += 1

    async def _call_on(self) -> None:
        while not self._is_ending:
            await self.call()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(self._call_on())
            await self.goes_on()
            yield
            await self.goes_on()
            self._is_ending = True

    async def goes_on(self) -> None:
        """Wait for many more answers, of which the last were asked for after this."""
        aim = self.answered + 50
        await until(lambda: self.answered >= aim)


@asynccontextmanager
async def serving(url: str, path: Path, *models: str, **more: Any) -> AsyncIterator[list[Load]]:
    """A gateway, and a process of each model."""
    async with AsyncExitStack() as stack:
        registry = stack.enter_context(ScriptedRegistry())
        for model in models:
            registry.deploy(model)
        gateway = stack.enter_context(GatewayProcess(redis_url=url, registry_address=registry.address))
        for model in models:
            consumer = f"node.{model}.1.0@life.1"
            await stack.enter_async_context(ModelProcess(path, url, model=model, consumer=consumer, **more))
        client = await stack.enter_async_context(triton.InferenceServerClient(gateway.grpc))
        for model in models:
            await until(lambda model=model: _is_ready(client, model))
        yield [Load(client, model) for model in models]


async def _is_ready(client: Any, model: str) -> bool:
    try:
        return bool(await client.is_model_ready(model))
    except InferenceServerException:
        return False


async def left_empty(node: Node, model: str) -> None:
    """Wait until nothing is left in the model's lane."""
    stream = LaneKeys(model, "1").stream(0)
    await until(lambda: node.client.xlen(stream) == node.client.xpending(stream, GROUP)["pending"] == 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return identity_onnx(tmp_path / "model.onnx")


async def test_the_master_under_sentinel_is_killed_under_load(model: Path) -> None:
    with started(SentinelSetup) as redis:
        async with serving(redis.url, model, "identity") as (load,):
            async with load.running():
                redis.master.kill()
                await load.goes_on()
            await left_empty(redis.replica, "identity")


async def test_a_shard_of_a_cluster_dies_and_another_one_gives_a_slot_away_under_load(model: Path) -> None:
    with started(lambda folder: ClusterSetup(folder, has_replicas=True)) as redis:
        names = (f"model-{number}" for number in itertools.count())
        first = next(names)
        second = next(name for name in names if _shard(redis, name) is not _shard(redis, first))
        async with serving(redis.url, model, first, second) as loads:
            async with loads[0].running(), loads[1].running():
                successor = redis.replicas[redis.masters.index(_shard(redis, first))]
                _shard(redis, first).kill()
                await loads[0].goes_on()
                target = next(one for one in redis.masters if one not in (_shard(redis, first), _shard(redis, second)))
                await asyncio.to_thread(redis.move, LaneKeys(second, "1").leases, target)
                await loads[1].goes_on()
            await left_empty(successor, first)
            await left_empty(target, second)


def _shard(redis: ClusterSetup, model: str) -> Node:
    return redis.master_of(LaneKeys(model, "1").leases)


async def test_connections_that_fall_silent_are_given_up(redis_server: RedisServer, model: Path) -> None:
    with Relay(redis_server.socket) as relay:
        async with serving(f"redis://127.0.0.1:{relay.port}", model, "identity") as (load,), load.running():
            relay.swallow()
            await load.goes_on()


async def test_a_user_with_the_rights_we_name_is_enough_and_tls_is_spoken(
    redis_server: RedisServer, certificates: Certificates, model: Path
) -> None:
    async with connect(redis_server.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "penstock", "on", ">secret", *RIGHTS.split())
        await redis.execute_command("ACL", "SETUSER", "default", "off")
        with Relay(redis_server.socket, pair=certificates.server) as relay:
            url = f"rediss://penstock:secret@localhost:{relay.port}/0?ssl_ca_certs={certificates.authority}"
            async with serving(url, model, "identity") as (load,), load.running():
                pass
            keys = LaneKeys("another", "1")
            await end_lease(RedisMasters(url), keys, keys.streams(1), "the last one")
        assert not await redis.acl_log()


async def test_full_memory_refuses_what_is_new_and_keeps_what_it_has(redis_url: str, tmp_path: Path) -> None:
    slow = as_long_as_told_onnx(tmp_path / "model.onnx")
    async with (
        connect(redis_url) as redis,
        serving(redis_url, slow, "identity", batching=Batching(max_batch_size=1)) as (load,),
        asyncio.TaskGroup() as group,
    ):
        for _ in range(6):
            group.create_task(load.call(400_000))  # all of them take longer than a lease lasts
        await until(lambda: _waits(redis, 5))
        await redis.config_set("maxmemory", 1)
        for _ in range(2):
            with pytest.raises(InferenceServerException, match="the queue's memory is full") as caught:
                await load.call()
            assert caught.value.status() == "StatusCode.UNAVAILABLE"
        await until(lambda: load.answered >= 5)
        await redis.config_set("maxmemory", 0)
        for _ in range(3):
            group.create_task(load.call())


async def _waits(redis: Any, count: int) -> bool:
    return bool(await redis.xlen(LaneKeys("identity", "1").stream(0)) >= count)
