"""The lane on Redis streams: reading, leases, acknowledgements. Survives the loss of Redis and of all it held."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Any

import hiredis
from redis import Redis
from redis.exceptions import ResponseError

from services.common import lanes
from services.common.lane_clock import LaneClock
from services.common.lanes import GROUP, LEASE_MS, Entry, LaneKeys
from services.common.redis_masters import LOST, RedisMasters
from services.common.resp import ANSWER_S, RespConnection, is_memory_full
from services.inference.model_process import claims
from services.inference.model_process.lane import Delivery
from services.inference.model_process.lease import Consumers, Lease
from services.inference.model_process.reads import Reads
from services.inference.model_process.settlements import EntryKey, Settlements

_log = logging.getLogger(__name__)

_BLOCK_MS = 5_000
"""The longest read: a process that was killed in one counts for so long as one that has nothing to do."""
_READ_S = 5.0
"""How long an answer with requests in it may take; see :meth:`RedisLane._look_at_reader`."""
_PAUSE_S, _LAST_PAUSE_S = 0.1, 0.5
_DEAF_LOOKS = 3

# What was a write from its beginning may go on when Redis' memory is full. Making a group alone is refused then.
_MAKE_GROUP = """
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
"""


class RedisLane:
    """One consumer of a model version's streams.

    Both its connections go to the master that has the lane, which is looked up whenever one is opened.
    ``join`` first; ``keep`` and ``acknowledge`` run as tasks beside the reader until ``leave``; ``close`` at the end.
    ``lease`` knows who else is there.
    """

    def __init__(self, url: str, keys: LaneKeys, *, consumer: str, priority_levels: int = 1) -> None:
        self.clock = LaneClock()
        """Redis' time; what is given out has its instants by it."""
        self._masters = RedisMasters(url)
        self._keys = keys
        self._streams = keys.streams(priority_levels)
        self._consumer = consumer
        self._reader: RespConnection | None = None
        self._reader_id = 0
        self._writer: RespConnection | None = None
        self._opening = asyncio.Lock()
        self._is_blocked = False
        """Whether a read waits in Redis for an entry that is to come, or is about to."""
        self._is_in_doubt = False
        self._pause_s = _PAUSE_S
        self._is_resting = False
        self._news: asyncio.Future[None] | None = None
        self._reads = Reads(keys, self._streams, consumer, clock=self.clock)
        self._settlements = Settlements(keys.dead_letters)
        self._ready: list[Delivery] = []
        self._suspect: EntryKey | None = None
        self._keep_on = asyncio.Event()
        self._has_read = False
        self._is_leaving = False
        self._has_heard = False
        self._deaf_looks = 0
        self.lease = Lease(
            keys,
            self._streams,
            consumer,
            is_busy=self._is_busy,
            on_news=self._keep_on.set,
            on_look=self._look_at_reader,
            clock=self.clock,
        )
        self.claimed_count = 0

    async def join(self, stop: asyncio.Event) -> None:
        """Take part from now on; waits for Redis as long as it takes, or until ``stop`` is set."""
        while not stop.is_set() and not await self._reopen():
            await self._pause()

    async def take(self, count: int, *, wait_s: float | None) -> list[Delivery]:
        if not self._ready:
            if self._is_blocked:
                if wait_s != 0:
                    await self._await_news(wait_s)
            elif self._reader is None or self._is_in_doubt:
                if not await self._reopen():
                    await self._pause()
            else:
                block_ms = _BLOCK_MS if wait_s is None else min(_BLOCK_MS, int(wait_s * 1000))
                if wait_s and not block_ms:
                    await asyncio.sleep(wait_s)  # Redis waits in whole milliseconds
                await self._read(count, block_ms)
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def hand_over(self, entry: Entry) -> bool:
        """Deliver what a gateway gave to this process past the lane; False when nothing is taken any more."""
        if not self._is_resting:
            entry = self.clock.correct(entry, b"", now_ns=self.clock.now_ns())
            self._ready.append(Delivery(self._keys.stream(entry.envelope.priority), b"", entry))
            self._tell()
        return not self._is_resting

    def put_back(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._tell()

    async def rest(self) -> list[Delivery]:
        while self._is_blocked:
            await self._await_news(None)
        self._is_resting = True
        taken, self._ready = self._ready, []
        return taken

    async def _await_news(self, wait_s: float | None) -> None:
        """Wait until something came, or the read that waits in Redis has ended."""
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        timer = None if wait_s is None else loop.call_later(wait_s, self._tell)
        await self._news
        if timer is not None:
            timer.cancel()

    def nudge(self) -> None:
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _read(self, count: int, block_ms: int) -> None:
        self._is_blocked = block_ms > 0
        try:
            if len(self._streams) > 1 or not block_ms:
                await self._read_each(count)
            if block_ms and not self._ready:
                await self._await_first(count, block_ms)
            else:
                self._is_blocked = False
        except LOST as error:
            self._fail_reading(error)

    async def _read_each(self, count: int) -> None:
        for stream in self._streams:
            if len(self._ready) < count:
                await self._ask(count - len(self._ready), stream)

    async def _await_first(self, count: int, block_ms: int) -> None:
        if self._reader is None:
            raise ConnectionError("the lane isn't open")
        reads = self._reads.waiting(count, block_ms=block_ms, live=len(self.lease.live_consumers))
        packed = b"".join(map(hiredis.pack_command, reads))
        self._reader.send(packed, len(reads), self._take_answers, within_s=block_ms / 1000 + _READ_S)
        if self._is_blocked:  # not if the connection was lost before
            await self._await_news(None)
        if self._ready and len(self._streams) > 1 and not self._is_blocked:
            await self._read_each(count)
            self._ready.sort(key=lambda one: (not one.is_suspect, one.entry.envelope.priority))

    async def _ask(self, count: int, stream: str) -> None:
        if self._reader is None:
            raise ConnectionError("the lane isn't open")
        read = self._reads.sharing(count, stream, live=len(self.lease.live_consumers))
        self._take_entries(await self._reader.execute(read, within_s=_READ_S))

    def _take_answers(self, answers: list[Any], error: Exception | None) -> None:
        """The answers of a read that waited."""
        self._is_blocked = False
        self._take_entries(answers)
        refusals = (one for one in answers if isinstance(one, ResponseError) and not is_memory_full(one))
        error = error or next(refusals, None)
        if error is not None:
            self._fail_reading(error)
        self._tell()

    def _fail_reading(self, error: Exception) -> None:
        _log.debug("reading from the lane failed, connecting again: %r", error)
        self._is_blocked = False
        self._doubt()

    def _doubt(self) -> None:
        """Let the reader look for what it missed, and connect anew."""
        self._is_in_doubt = True
        if self._reader is not None:
            self._reader.abort()

    def _look_at_reader(self, mine: int, waiting: int) -> None:
        """Notice a connection on which answers are lost without an end: nothing of it comes, though it should."""
        is_missing = mine > self._settlements.count or (waiting > 0 and self._is_blocked)
        self._deaf_looks = self._deaf_looks + 1 if is_missing and not self._has_heard else 0
        self._has_heard = False
        if self._deaf_looks >= _DEAF_LOOKS:
            _log.warning("the connection to Redis brings nothing any more, connecting again")
            self._deaf_looks = 0
            self._doubt()

    def _take_entries(self, answers: list[Any]) -> None:
        self._has_heard, now_ns = True, self.clock.now_ns()
        for answer in answers:
            for stream, entries in answer if isinstance(answer, list) else ():
                self._has_read = True
                name = stream.decode()
                for entry_id, fields in entries:
                    self._receive(name, entry_id, dict(zip(fields[::2], fields[1::2], strict=True)), now_ns=now_ns)

    def _receive(
        self,
        stream: str,
        entry_id: bytes,
        fields: dict[bytes, bytes],
        *,
        now_ns: int = 0,
        count: int = 1,
        is_suspect: bool = False,
    ) -> None:
        """Take an entry in hand, a suspect before the others; one that can't be read goes to the dead letters."""
        self._settlements.add((stream, entry_id))
        try:
            entry = self.clock.correct(lanes.decode(fields), entry_id, now_ns=now_ns or self.clock.now_ns())
        except lanes.MalformedEntryError as error:
            _log.warning("%s", error)
            self._settlements.bury(fields, f"MALFORMED: {error}")
            self._settlements.settle((stream, entry_id))
        else:
            is_suspect = is_suspect or entry.attempt > 1
            self._ready.insert(
                0 if is_suspect else len(self._ready), Delivery(stream, entry_id, entry, count, is_suspect)
            )

    async def _reopen(self) -> bool:
        """Renew the lease, make the groups and find what Redis delivered to us and we never saw; False when it is away.

        The lease comes first: a consumer without one counts as dead.
        """
        self._is_in_doubt = False
        try:
            async with asyncio.timeout(_READ_S):
                await self._renew_lease()
                writer = await self._open_writer()
                for stream in self._streams:
                    make = ("EVAL", _MAKE_GROUP, 1, stream, GROUP)
                    await writer.execute(make, within_s=ANSWER_S, raise_on_error=False)  # BUSYGROUP: it is there
                    await self._recover(writer, stream)
                if self._reader is None or self._reader.is_closed or self._reader.url != writer.url:
                    await self._drop_reader()
                    self._reader = await RespConnection.open(writer.url, within_s=ANSWER_S)
                (self._reader_id,) = await self._reader.execute(("CLIENT", "ID"), within_s=ANSWER_S)
        except LOST as error:
            _log.debug("Redis is away: %r", error)
            self._mistrust(error)
            await self._drop_reader()
            self._is_in_doubt = True
            return False
        self._pause_s = _PAUSE_S
        return True

    async def _pause(self) -> None:
        """A fleet that has lost its Redis must not keep the sentinels, or those that are left of a cluster, busy."""
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LAST_PAUSE_S)

    async def _drop_reader(self) -> None:
        if self._reader is not None:
            await self._reader.close()
            self._reader = None

    async def _recover(self, writer: RespConnection, stream: str) -> None:
        async for one in claims.find_own(writer, stream, self._consumer, known=self._settlements):
            self._receive(stream, one.entry_id, one.fields, count=one.deliveries, is_suspect=one.deliveries > 1)

    async def wake(self) -> None:
        """Make a read that waits return. Redis may see this before the read itself: then once more."""
        self._tell()
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._unblock()
        except LOST:
            self._doubt()

    async def _unblock(self) -> None:
        while self._is_blocked:
            writer = await self._open_writer()
            if self._is_reader_elsewhere():
                self._doubt()
                return
            (is_done,) = await writer.execute(("CLIENT", "UNBLOCK", self._reader_id), within_s=ANSWER_S)
            if is_done:
                return
            await asyncio.sleep(0.001)

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._settlements.settle((delivery.stream, delivery.entry_id))

    def bury(self, delivery: Delivery, reason: str) -> None:
        self._settlements.bury(lanes.encode(delivery.entry), reason)

    async def acknowledge(self) -> None:
        """Send acknowledgements, all that gathered in one pipeline."""
        while not self._is_leaving:
            await self._settlements.due.wait()
            if not await self._flush():
                await asyncio.sleep(_PAUSE_S)

    async def _flush(self) -> bool:
        self._settlements.due.clear()
        if self._settlements.is_any:
            try:
                await self._settlements.send(await self._open_writer(), within_s=ANSWER_S)
            except LOST as error:
                _log.debug("acknowledging failed, trying again: %r", error)
                self._mistrust(error)
                self._settlements.due.set()
                return False
        if self._suspect is not None and self._suspect not in self._settlements:
            self._suspect = None
            self._keep_on.set()
        return True

    async def keep(self) -> None:
        """Keep the lease, and take over what dead consumers left. Cheap: every idle process of a fleet does so."""
        self.lease.start()
        while not self._is_leaving:
            self._keep_on.clear()
            try:
                writer, consumers = self._writer, await self._renew_lease()
                if self._is_in_doubt or self._writer is not writer or len(consumers) < len(self._streams):
                    self._doubt()  # what broke one connection may have silenced the other
                await self._take_over(consumers)
            except LOST as error:
                _log.debug("renewing the lease failed: %r", error)
                self._mistrust(error)
                self._doubt()  # Redis may have given us an entry that we never saw
                self.lease.doubt()
            await self._keep_on.wait()

    def _is_busy(self) -> bool:
        """Whether something is in hand, or was since this was asked before."""
        has_read, self._has_read = self._has_read, False
        return has_read or self._settlements.is_any_in_hand

    async def _renew_lease(self) -> Consumers:
        """Renew ours, read everyone's; returns the consumers of each stream that is as we made it."""
        return await self.lease.renew(await self._open_writer())

    def _is_reader_elsewhere(self) -> bool:
        return self._reader is not None and self._writer is not None and self._reader.url != self._writer.url

    async def _open_writer(self) -> RespConnection:
        """The connection for all but reads, which may block."""
        async with self._opening:
            if self._writer is None or self._writer.is_closed:
                if self._writer is not None:
                    await self._writer.close()
                self._writer = await self._masters.open_for(self._keys.leases)
            return self._writer

    def _mistrust(self, error: Exception) -> None:
        """What refuses our commands may no longer be the master: look for it again."""
        if isinstance(error, ResponseError) and self._writer is not None:
            self._writer.abort()

    def renew_lease_meanwhile(self) -> None:
        """Renew the lease from another thread, while the event loop's is held up."""
        if self._writer is None:
            return
        try:
            with Redis.from_url(self._writer.url, socket_timeout=LEASE_MS / 1000) as redis:
                redis.execute_command(*self.lease.renewal(self.clock.now_ms()))
        except LOST as error:
            _log.debug("renewing the lease failed: %r", error)

    async def _take_over(self, consumers: Consumers) -> None:
        """Claim one entry at most, and no other before that one is acknowledged."""
        if self._suspect is None:
            known = self.lease.live_consumers | {self._consumer}
            if all(one[b"name"].decode() in known for group in consumers.values() for one in group):
                return
            live = self.lease.live_consumers
            async with asyncio.timeout(_READ_S):
                one = await claims.claim_one(await self._open_writer(), consumers, live=live, me=self._consumer)
            if one is None:
                return
            self.claimed_count += 1
            self._suspect = (one.stream, one.entry_id)
            if self._suspect not in self._settlements:
                self._receive(one.stream, one.entry_id, one.fields, count=one.deliveries, is_suspect=True)
        if self._ready:
            self._tell()

    def leave(self) -> None:
        """End the tasks, without cancelling what Redis may have done already."""
        self._is_leaving = True
        self._settlements.due.set()
        self._keep_on.set()

    async def close(self) -> None:
        """Send the last acknowledgements and give up the lease; what is still unsettled is for others to claim."""
        self.lease.stop()
        with contextlib.suppress(*LOST):
            async with asyncio.timeout(_READ_S):
                await self._flush()
                # On the connection of the renewals, one of which may still be on its way.
                writer = await self._open_writer()
                ends = [("ZREM", key, self._consumer) for key in (self._keys.leases, self._keys.idle)]
                await writer.execute(*ends, within_s=ANSWER_S)
                for stream in self._streams:
                    await claims.forget(writer, stream, self._consumer)
        await self._drop_reader()
        if self._writer is not None:
            await self._writer.close()
