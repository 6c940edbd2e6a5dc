"""What breaks in a fleet: processes whose neighbours take over, hosts, connections, clocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from random import Random
from typing import ClassVar

from penstock.registry.v1.resources_pb2 import InstanceStatus
from tests.chaos.callers import CONNECTION_LOST
from tests.chaos.fault import Fault
from tests.chaos.faults.processes import KillFault, PauseFault
from tests.chaos.stage import REPLICAS, Stage
from tests.chaos.stages.fleet import CONSUL, GATEWAYS, NODES, PROXIED, SPARE, FleetStage
from tests.support.tcp_proxy import TcpProxy

_AWAY_S = 2.0
"""How long it takes until what died is started again; longer than a process manager would."""
_AGAIN_S = 0.2
"""As a process manager does; else the registry places elsewhere what ran there."""
_BAD_S, _SILENT_S = 2.0, 5.0
_SLOW_S = 0.1
_STEPS_S = (-3600, -30, 30, 3600)


def fleet(stage: Stage) -> FleetStage:
    """The stage that a fault of this module is made for."""
    if not isinstance(stage, FleetStage):
        raise TypeError(f"got the stage {stage.name}, expected a fleet")
    return stage


class KillGatewayService(KillFault):
    name = "kill-gateway-service"
    breaks = "one of two gateways killed"
    promise = "UNAVAILABLE for the calls that were open on it; clients go to the other one"
    stage = "fleet"
    part = "gateway"
    lasts_s = _AWAY_S
    open_calls_may = frozenset({"UNAVAILABLE", CONNECTION_LOST})


class KillOneNode(KillFault):
    name = "kill-one-node"
    breaks = "one of two nodes lost: agent and model processes killed"
    stage = "fleet"
    part = "inference"
    lasts_s = _AWAY_S
    recovers_within_s = 5.0

    async def prepare(self, stage: Stage) -> None:
        self.victims = await asyncio.to_thread(fleet(stage).pids_on, self.random.choice(NODES))


class KillFleetAgent(KillFault):
    name = "kill-fleet-agent"
    breaks = "one of two agents killed; its model processes live on"
    promise = "nothing"
    stage = "fleet"
    part = "inference"
    lasts_s = _AGAIN_S
    recovers_within_s = 5.0

    async def prepare(self, stage: Stage) -> None:
        agent, *self._orphans = await asyncio.to_thread(fleet(stage).pids_on, self.random.choice(NODES))
        self.victims = [agent]

    async def healed(self, stage: Stage) -> None:
        await stage.whole(without=[*self.victims, *self._orphans])


class KillFleetRegistry(KillFault):
    name = "kill-fleet-registry"
    breaks = "one of two registries killed"
    promise = "nothing"
    stage = "fleet"
    part = "registry"
    lasts_s = _AWAY_S


class KillPersistentRedis(KillFault):
    name = "kill-redis-persistent"
    breaks = "Redis killed; it comes back with its data"
    stage = "fleet"
    part = "redis"
    lasts_s = 0.5
    recovers_within_s = 5.0


class KillConsul(KillFault):
    name = "kill-consul"
    breaks = "Consul killed; it comes back without knowing anybody"
    promise = "nothing"
    stage = "fleet"
    part = CONSUL
    lasts_s = _AWAY_S

    def obstacle(self, stage: Stage) -> str:
        return fleet(stage).consul_obstacle

    async def healed(self, stage: Stage) -> None:
        await super().healed(stage)
        await fleet(stage).all_registered()


class PauseConsul(PauseFault):
    name = "pause-consul"
    breaks = "Consul stands still"
    promise = "nothing"
    stage = "fleet"
    part = CONSUL

    def obstacle(self, stage: Stage) -> str:
        return fleet(stage).consul_obstacle

    async def healed(self, stage: Stage) -> None:
        await super().healed(stage)
        await fleet(stage).all_registered()


class JoinNode(Fault):
    """Measured is how long a new agent takes from its start until it has a process that takes requests."""

    name = "join-node"
    breaks = "a third node joins, and leaves again"
    promise = "nothing; the target is for the node's first process, from the agent's start"
    stage = "fleet"
    recovers_within_s = 5.0

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._took_s: float | None = None

    @property
    def took_s(self) -> float | None:
        return self._took_s

    async def strike(self, stage: Stage) -> None:
        start = time.monotonic()
        await asyncio.to_thread(fleet(stage).services[SPARE].start)
        while not await self._serves(stage):  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(0.1)
        self._took_s = time.monotonic() - start

    @staticmethod
    async def _serves(stage: Stage) -> bool:
        found = [one for model in REPLICAS for one in await stage.instances(model)]
        return any(one.node.endswith(SPARE) and one.state == InstanceStatus.STATE_READY for one in found)

    async def mend(self, stage: Stage) -> None:
        await asyncio.to_thread(fleet(stage).services[SPARE].stop)


class UnplugFault(Fault):
    """The host's cable is pulled: packets vanish, connections stay half open, and nobody is told."""

    stage = "fleet"
    lasts_s = _SILENT_S
    hosts: ClassVar[tuple[str, ...]]

    def obstacle(self, stage: Stage) -> str:
        return fleet(stage).network.obstacle

    async def prepare(self, stage: Stage) -> None:
        self._host = fleet(stage).host(self.random.choice(self.hosts))

    async def strike(self, stage: Stage) -> None:
        await asyncio.to_thread(self._host.unplug)

    async def mend(self, stage: Stage) -> None:
        await asyncio.to_thread(self._host.plug_in)


class UnplugNode(UnplugFault):
    name = "partition-node"
    breaks = "one of two nodes cut off from the network"
    promise = "latency"
    hosts = NODES


class UnplugGateway(UnplugFault):
    name = "partition-gateway"
    breaks = "one of two gateways cut off from the network"
    promise = "latency on its connections"
    hosts = GATEWAYS


class WayFault(Fault):
    """A connection behaves badly, and is good again."""

    stage = "fleet"
    promise = "latency"
    lasts_s = _BAD_S

    def ways(self, stage: FleetStage) -> Iterable[TcpProxy]:
        """Those that it may be; one is chosen."""
        return [stage.redis_ways[name] for name in PROXIED]

    async def prepare(self, stage: Stage) -> None:
        self.way = self.random.choice([*self.ways(fleet(stage))])

    async def mend(self, stage: Stage) -> None:
        self.way.resume()


class ReplyWayFault(WayFault):
    """As its like, between one gateway and all model processes."""

    def ways(self, stage: FleetStage) -> Iterable[TcpProxy]:
        return [stage.reply_way]


class SlowWay(WayFault):
    name = "slow-redis"
    breaks = "Redis slow for one gateway or node: 0.1 s each way"

    async def strike(self, stage: Stage) -> None:
        self.way.delay(_SLOW_S)


class StalledWay(WayFault):
    name = "stalled-redis"
    breaks = "connections of one gateway or node to Redis half open: nothing passes"
    lasts_s = _SILENT_S

    async def strike(self, stage: Stage) -> None:
        self.way.stall()


class CutWay(WayFault):
    name = "cut-redis"
    breaks = "connections of one gateway or node to Redis reset, new ones refused"

    async def strike(self, stage: Stage) -> None:
        await self.way.cut()

    async def mend(self, stage: Stage) -> None:
        await self.way.listen()


class SlowReplies(SlowWay, ReplyWayFault):
    name = "slow-replies"
    breaks = "replies to one gateway slow: 0.1 s each way"


class StalledReplies(StalledWay, ReplyWayFault):
    name = "stalled-replies"
    breaks = "connections for replies to one gateway half open: nothing passes"


class CutReplies(CutWay, ReplyWayFault):
    name = "cut-replies"
    breaks = "connections for replies to one gateway reset, new ones refused"


class ClockFault(Fault):
    """The clock of a host steps, and steps back some seconds later."""

    stage = "fleet"
    promise = "latency"
    lasts_s = _BAD_S
    hosts: ClassVar[tuple[str, ...]]

    async def prepare(self, stage: Stage) -> None:
        self._clock = fleet(stage).clocks[self.random.choice(self.hosts)]

    async def strike(self, stage: Stage) -> None:
        self._clock.set(self.random.choice(_STEPS_S))

    async def mend(self, stage: Stage) -> None:
        self._clock.set(0)


class GatewayClock(ClockFault):
    name = "clock-gateway"
    breaks = "clock of one gateway steps by half a minute or an hour, either way"
    hosts = GATEWAYS


class NodeClock(ClockFault):
    name = "clock-node"
    breaks = "clock of one node steps by half a minute or an hour, either way"
    hosts = NODES


FLEET_FAULTS: tuple[type[Fault], ...] = (
    KillGatewayService, KillOneNode, KillFleetAgent, KillFleetRegistry, KillPersistentRedis, KillConsul, PauseConsul,
    JoinNode, UnplugNode, UnplugGateway, SlowWay, StalledWay, CutWay, SlowReplies, StalledReplies, CutReplies,
    GatewayClock, NodeClock,
)  # fmt: skip
