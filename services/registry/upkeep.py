"""What the registry does by itself, for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from services.common.errors import PenstockError
from services.common.serving import Health
from services.registry import replays
from services.registry.adapters import artifact_rows
from services.registry.adapters.database import Clock, Database
from services.registry.collection import Collector
from services.registry.lease import Lease
from services.registry.nodes import Nodes
from services.registry.rollout_driver import RolloutDriver

_log = logging.getLogger(__name__)

_SWEEP_NS = 60 * 10**9
_MEASURE_EVERY = 5
_LOOK_S = 0.25
_DRIVE_S = 0.5


async def follow_database(
    database: Database,
    lease: Lease,
    *,
    poll_s: float,
    seen: Callable[[int], None],
    begun: Callable[[], Awaitable[None]],
    health: Health,
) -> None:
    """Look at what other registries write, which ``seen`` is told, and who writes; ``begun`` when it is this one now.

    The registry is healthy as long as the database can be asked.
    """
    while True:
        try:
            head = await database.head()
            seen(head.revision)
            if await lease.look(head):
                await begun()
            await health.set_serving(is_serving=True)
        except PenstockError as error:
            _log.warning("the registry is not ready: %s", error)
            await health.set_serving(is_serving=False)
        await asyncio.sleep(min(poll_s, lease.pause_s))


async def measure(database: Database, *, poll_s: float, seen: Callable[[int], None]) -> None:
    """Look now and then how many bytes of content there are."""
    while True:
        with contextlib.suppress(PenstockError):
            seen(await database.read(artifact_rows.total_bytes))
        await asyncio.sleep(_MEASURE_EVERY * poll_s)


async def watch_nodes(nodes: Nodes, lease: Lease) -> None:
    """Look after the nodes, as the writer: who fell silent, and what that means for the placements."""
    while True:
        try:
            if lease.is_writer:
                await nodes.sweep()
        except PenstockError as error:
            _log.warning("placing replicas failed, it is tried again: %s", error)
        await asyncio.sleep(_LOOK_S)


async def drive_rollouts(driver: RolloutDriver, lease: Lease, *, poll_s: float) -> None:
    """Carry rollouts on, as the writer."""
    while True:
        try:
            if lease.is_writer:
                await driver.drive()
        except PenstockError as error:
            _log.warning("rollouts can't be carried on, it is tried again: %s", error)
        await asyncio.sleep(min(poll_s, _DRIVE_S))


async def sweep(database: Database, nodes: Nodes, lease: Lease, *, clock: Clock, poll_s: float) -> None:
    """Let go, as the writer, of what has had its time: silent nodes at once, answered requests within a minute."""
    swept_ns = 0
    while True:
        await asyncio.sleep(poll_s)
        if not lease.is_writer:
            continue
        try:
            await nodes.expire_silent()
            if _is_due(now_ns := clock(), swept_ns):
                await database.write(replays.forget_old)
                swept_ns = now_ns
        except (PenstockError, OSError) as error:
            _log.warning("sweeping failed, it is tried again: %s", error)


async def collect(collector: Collector, lease: Lease, *, clock: Clock, poll_s: float) -> None:
    """Remove, as the writer, what is of no use any more: soon after something was deleted, and every minute."""
    swept_ns = 0
    while True:
        await asyncio.sleep(poll_s)
        if not lease.is_writer or not (collector.is_awake or _is_due(clock(), swept_ns)):
            continue
        try:
            swept_ns = clock()
            await collector.sweep()
        except (PenstockError, OSError) as error:
            _log.warning("collecting garbage failed, it is tried again: %s", error)


def _is_due(now_ns: int, swept_ns: int) -> bool:
    return not 0 <= now_ns - swept_ns < _SWEEP_NS  # less than 0: the clock was set back
