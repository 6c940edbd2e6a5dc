"""``penstock up`` with a Redis that survives the loss of a server: under Sentinel, and as a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from services.common.redis_masters import LOST, RedisMasters
from tests.chaos.stage import STEADY
from tests.chaos.stages.suite import SuiteStage
from tests.support.redis_topologies import ClusterSetup, Node, SentinelSetup

_KEY = f"penstock:{{{STEADY}}}:"
_FAILOVER_MS = 2_000
"""Sentinels begin no second fail-over before twice that."""


class TopologyStage(SuiteStage):
    """Redis' servers are the harness's own: :meth:`revive` starts again those that it killed."""

    make: ClassVar[Any]

    def __init__(self) -> None:
        self._redis_folder = tempfile.TemporaryDirectory(prefix="penstock-redis-")
        self.setup = type(self).make(Path(self._redis_folder.name))
        super().__init__(PENSTOCK_REDIS_URL=self.setup.url)
        self.parts = {part: count for part, count in self.parts.items() if part != "redis"}

    async def open(self) -> None:
        await asyncio.to_thread(self.setup.start)
        await super().open()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            for node in self.setup.nodes:
                node.close()
            self._redis_folder.cleanup()

    async def master(self) -> Node:
        """The server that has the lanes of the model that is asked.

        Raises:
            StopIteration, RedisError, OSError: there is none just now.
        """
        masters = await RedisMasters(self.setup.url).find()
        port = int(masters.of(_KEY).rpartition(":")[2].partition("/")[0] or 0)
        found: Node = next(node for node in self.setup.nodes if node.port == port)
        return found

    async def revive(self, part: str) -> None:
        for node in self.setup.nodes:
            if not await asyncio.to_thread(node.answers):
                await asyncio.to_thread(node.start)

    async def missing(self, without: Collection[int] = ()) -> str:
        with contextlib.suppress(*LOST, StopIteration):
            if await asyncio.to_thread(self._is_redundant, await self.master()):
                return await super().missing(without)
        return "Redis has no replica that could take over"

    def _is_redundant(self, master: Node) -> bool:
        """Whether the loss of the master would be survived; blocks."""
        state = master.client.info("replication")
        return bool(state["role"] == "master" and state.get("slave0", {}).get("state") == "online")


class SentinelStage(TopologyStage):
    name = "sentinel"
    title = "`penstock up` with a Redis under Sentinel: a master, a replica, three sentinels"
    make = SentinelSetup

    async def open(self) -> None:
        await super().open()
        for sentinel in self.setup.sentinels:
            for name in await asyncio.to_thread(sentinel.client.sentinel_masters):
                await asyncio.to_thread(sentinel.client.sentinel_set, name, "failover-timeout", _FAILOVER_MS)

    async def revive(self, part: str) -> None:
        """As a replica of the new master; the sentinels would take ten seconds to make it one."""
        for node in (self.setup.master, self.setup.replica):
            if not await asyncio.to_thread(node.answers):
                master = self.setup.replica if node is self.setup.master else self.setup.master
                await asyncio.to_thread(node.start, "--replicaof", "127.0.0.1", str(master.port))

    def _is_redundant(self, master: Node) -> bool:
        heard = [
            one.client.sentinel_master(name) for one in self.setup.sentinels for name in one.client.sentinel_masters()
        ]
        agreed = all(one["port"] == master.port and not one["is_sdown"] for one in heard)
        return agreed and super()._is_redundant(master)


class ClusterStage(TopologyStage):
    name = "cluster"
    title = "`penstock up` with a Redis Cluster: three masters, each with a replica"

    @staticmethod
    def make(folder: Path) -> ClusterSetup:
        return ClusterSetup(folder, has_replicas=True)

    def _is_redundant(self, master: Node) -> bool:
        states = [node.client.execute_command("CLUSTER INFO")["cluster_state"] for node in self.setup.nodes]
        return set(states) == {"ok"} and super()._is_redundant(master)
