"""Writes requests into the lanes of a Redis Cluster: one LaneWriter for each shard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from services.common.errors import PenstockError
from services.common.redis_masters import LOST, Masters, RedisMasters
from services.gateway.adapters.lane_writer import LaneWriter, Pending
from services.gateway.adapters.ticket_packer import TicketPacker
from services.gateway.domain.statistics import Failure
from services.gateway.domain.tickets import Ticket

_log = logging.getLogger(__name__)

_PAUSE_S = 0.05
_BLIND_PAUSE_S = 0.5


class ClusterWriter:
    """To the gateway it is a LaneWriter. ``run`` follows the cluster: it looks when anything gives cause for doubt.

    A lane that moved to another shard took its entries along if its old master still is one. Else a replica took over,
    which may lack the last of them: they are enqueued again.
    """

    def __init__(self, masters: RedisMasters, pending: Pending, packer: TicketPacker) -> None:
        self.hand_over: Callable[[Ticket], bool] | None = None
        """Gives a request to an idle model process, if there is one."""
        self.reenqueued = 0
        """Requests that were enqueued again."""
        self._masters = masters
        self._pending = pending
        self._packer = packer
        self._table = Masters((), ())
        self._shards: dict[str, _Shard] = {}
        self._routes: dict[str, _Shard] = {}
        """The shard of each stream that was asked for."""
        self._homeless: dict[int, Ticket] = {}
        """What waits until it is known who serves its lane."""
        self._doubts = asyncio.Event()

    @property
    def may_evict(self) -> bool:
        """Whether a shard throws requests away when its memory is full."""
        return any(shard.writer.may_evict for shard in self._shards.values())

    def put(self, ticket: Ticket) -> None:
        shard = self._routes.get(ticket.stream) or self._route(ticket.stream)
        if shard is not None:
            shard.writer.put(ticket)
        else:
            self.redirect(ticket)

    def put_again(self, ticket: Ticket) -> None:
        self.reenqueued += 1
        self.put(ticket)

    def remove(self, ticket: Ticket) -> None:
        if self._homeless.pop(ticket.key, None) is None and (shard := self._routes.get(ticket.stream)) is not None:
            shard.writer.remove(ticket)

    def take_back(self, ticket: Ticket) -> None:
        """Enqueue what was handed over to a model process that died, leaves, or doesn't answer."""
        shard = self._routes.get(ticket.stream)
        if shard is not None:
            shard.writer.take_back(ticket)
        else:
            ticket.sent_ns = 0
            self.redirect(ticket)

    def lose(self, stream: str) -> None:
        """Hear that Redis no longer has what it took for a stream; enqueue all of it again."""
        if (shard := self._routes.get(stream)) is not None:
            shard.writer.lose(stream)

    def compare(self, run_ids: Mapping[str, str]) -> bool:
        """Hear who somebody else takes for the masters; look again, and return False, when they are others."""
        shards = [self._shards.get(server) for server in run_ids]
        agrees = all(shard is not None and shard.writer.compare(run_ids) for shard in shards)
        if not agrees:
            self.doubt()
        return agrees

    def redirect(self, ticket: Ticket) -> None:
        self._homeless[ticket.key] = ticket
        self.doubt()

    def doubt(self) -> None:
        self._doubts.set()

    async def run(self) -> None:
        """Keep the connections. Runs until cancelled."""
        self.doubt()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._doubts.wait()
                self._doubts.clear()
                try:
                    table = await self._masters.find()
                except LOST as error:
                    _log.warning("the cluster's shards can't be found, trying again: %s", error)
                    self.doubt()
                    await asyncio.sleep(_BLIND_PAUSE_S)
                else:
                    self._adopt(table, group)
                    await asyncio.sleep(_PAUSE_S)

    def _adopt(self, table: Masters, group: asyncio.TaskGroup) -> None:
        servers = set(filter(None, table.servers))
        gone = {self._shards.pop(server) for server in self._shards.keys() - servers}
        for server in servers - self._shards.keys():
            self._shards[server] = shard = self._shard(server)
            shard.task = group.create_task(shard.writer.run(), name="shard")
        before, self._routes, self._table = self._routes, {}, table
        for ticket in self._pending.unsettled():
            was, now = before.get(ticket.stream), self._routes.get(ticket.stream) or self._route(ticket.stream)
            if was is not None and was is not now:
                self._move(ticket, was, now, is_lost=was in gone)
        for shard in gone:  # its connection is closed; what it has not answered is put again
            shard.task.cancel()
        homeless, self._homeless = self._homeless, {}
        for ticket in homeless.values():
            if ticket.key in self._pending:
                self.put(ticket)

    def _move(self, ticket: Ticket, was: _Shard, now: _Shard | None, *, is_lost: bool) -> None:
        if was.writer.give_up(ticket):
            self.put(ticket)
        elif is_lost and ticket.entry_id:
            (now or was).writer.enqueue_again([ticket])

    def _route(self, stream: str) -> _Shard | None:
        shard = self._shards.get(self._table.of(stream))
        if shard is not None:
            self._routes[stream] = shard
        return shard

    def _shard(self, server: str) -> _Shard:
        shard = _Shard(self._pending, self._routes_to)
        shard.writer = LaneWriter(partial(self._masters.open, server), shard, self._packer, router=self)
        shard.writer.hand_over = self.hand_over
        return shard

    def _routes_to(self, shard: _Shard, ticket: Ticket) -> bool:
        return self._routes.get(ticket.stream) is shard


class _Shard:
    """A shard's writer, and those of the pending requests whose lanes it has."""

    writer: LaneWriter
    task: asyncio.Task[None]

    def __init__(self, pending: Pending, has: Callable[[_Shard, Ticket], bool]) -> None:
        self._pending = pending
        self._has = has

    def __contains__(self, key: int) -> bool:
        return key in self._pending

    def unsettled(self) -> Iterable[Ticket]:
        return [ticket for ticket in self._pending.unsettled() if self._has(self, ticket)]

    def fail(self, ticket: Ticket, error: PenstockError, failure: Failure) -> bool:
        return self._pending.fail(ticket, error, failure)
