"""The parts of one gateway process, wired by hand, and what they do in the background."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import secrets
import time

import penstock
from services.common import serving
from services.common.discovery.discovery import Discovery
from services.common.discovery.registration import MONITOR, OTLP_PORT, REGISTRY
from services.common.errors import UnavailableError
from services.common.lanes import LEASE_MS
from services.common.payloads import Draft, PayloadStore
from services.common.redis_masters import RedisMasters
from services.common.settings import SuiteSettings
from services.common.tracing import SpanExporter
from services.common.watch import ResourceCache
from services.gateway.adapters.cluster_writer import ClusterWriter
from services.gateway.adapters.demand_reporter import DemandReporter
from services.gateway.adapters.lane_watch import LaneWatch
from services.gateway.adapters.lane_writer import LaneWriter
from services.gateway.adapters.ticket_packer import TicketPacker
from services.gateway.catalog import Catalog
from services.gateway.domain import refusals
from services.gateway.domain.lane import Lane
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.tickets import Ticket
from services.gateway.grpc_servicer import SERVICE
from services.gateway.inference import Desk
from services.gateway.metrics import GatewayCollector
from services.gateway.models import Models
from services.gateway.payload_servicer import PayloadServicer
from services.gateway.pending import PendingTable
from services.gateway.processes.member import Membership
from services.gateway.reply_servicer import ReplyServicer
from services.gateway.settings import GatewaySettings
from services.gateway.shadow import Shadows
from services.gateway.spans import RequestSpans

_WATCH_PERIOD_S = 0.5
_MISSED_AFTER_NS = 1_000_000_000
"""After this time it is looked whether Redis still has what it took."""
_SPAN_FLUSH_PERIOD_S = 1.0
_PREPARE_WITHIN_S = 5.0
_PAYLOAD_PERIOD_S = 5.0
_SWEEP_PERIOD_S = 1.0
_SHARED_BYTES = 32 * 1024
"""From this size on a request costs less in shared memory than within a lane."""


class Gateway:
    """A gateway process but for the servers that make it reachable."""

    def __init__(self, suite: SuiteSettings, settings: GatewaySettings, membership: Membership | None) -> None:
        version = penstock.__version__
        gateway_id = secrets.token_hex(8)
        self.discovery = Discovery(suite.consul)
        self.registries = self.discovery.find(REGISTRY, suite.registry_address)
        self.monitors = self.discovery.find(MONITOR, suite.monitor_address)
        self.exporter = SpanExporter(
            receivers=self.discovery.find(MONITOR, suite.otlp_endpoint, port=OTLP_PORT),
            service="penstock-gateway",
            instance=gateway_id,
            version=version,
        )
        self.spans = RequestSpans(
            self.exporter,
            sample_ratio=suite.trace_sample_ratio,
            max_traces_per_second=settings.max_traces_per_second,
            max_errors_per_second=settings.max_error_spans_per_second,
        )
        redis = RedisMasters(suite.effective_redis_url)
        self.lane_watch = LaneWatch(redis)
        self.pending_bytes = PendingBytes(settings.pending_bytes_of_a_process)
        self.pending = PendingTable(self.spans, pending_bytes=self.pending_bytes)
        self.catalog = Catalog(
            clock=asyncio.get_running_loop().time, gateway_processes=settings.process_count if membership else 1
        )
        self.payload_store = PayloadStore(gateway_id, limit_bytes=suite.shared_payload_bytes)
        self._inline_limit_bytes = settings.inline_limit_bytes
        self.packer = TicketPacker(
            gateway_id=gateway_id, inline_limit_bytes=settings.inline_limit_bytes, payloads=self.payload_store
        )
        self.writer = (
            ClusterWriter(redis, self.pending, self.packer)
            if redis.is_cluster
            else LaneWriter(functools.partial(redis.open_for, ""), self.pending, self.packer)
        )
        self.replies = ReplyServicer(
            gateway_id=gateway_id,
            pending=self.pending,
            find_lane=self.catalog.find,
            on_taken_back=self.writer.take_back,
            on_broken=self.writer.remove,
            on_cut_off=self._cut_off,
        )
        self.writer.hand_over = self.replies.hand_over
        keys = itertools.count(1)
        self.shadows = Shadows(queue=self.writer, cancellations=self.replies, keys=keys)
        self.pending.on_stray = self.shadows.take
        self.payloads = PayloadServicer(gateway_id=gateway_id, find=self._find_ticket)
        self.demand = DemandReporter(gateway_id, lambda: self.catalog.lanes, clock=asyncio.get_running_loop().time)
        self.desk = Desk(
            pending=self.pending,
            spans=self.spans,
            queue=self.writer,
            cancellations=self.replies,
            recovery_grace_s=settings.recovery_grace_s,
            on_cold=self.demand.hurry,
            keys=keys,
            copies=self.shadows,
        )
        self.resources = ResourceCache(self._follow_registry)
        self.models = Models(
            resources=self.resources, catalog=self.catalog, desk=self.desk, version=version, siblings=membership
        )
        self._prepared = asyncio.Event()
        self._news = asyncio.Event()
        self.health = serving.Health(SERVICE)

    def collector(self) -> GatewayCollector:
        return GatewayCollector(
            lanes=lambda: self.catalog.lanes,
            pending_bytes=self.pending_bytes,
            reenqueued=lambda: self.writer.reenqueued,
            is_ready=lambda: self.models.is_ready,
            is_redis_up=lambda: self.models.is_redis_up,
            may_evict=lambda: self.writer.may_evict,
            worker_streams=lambda: self.replies.stream_count,
            splits=lambda: self.desk.routes.splits,
            rescued=self.desk.rescuer.rescued,
            shadows=self.shadows.counts,
            spans=lambda: self.exporter.results,
        )

    async def watch_lanes(self) -> None:
        """Follow leases and Redis itself, and let health follow them and the registry. Runs until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            lanes = self.catalog.lanes
            sent = self.pending.long_sent(before_ns=time.time_ns() - _MISSED_AFTER_NS)
            entries = [(ticket.stream, ticket.entry_id) for ticket in sent]
            sighting = await self.lane_watch.look([lane.keys for lane in lanes], entries)
            self.models.is_redis_up = sighting is not None
            if sighting is not None:
                if not self.writer.compare(sighting.run_ids):
                    await self.lane_watch.close()
                for ticket, (stream, entry_id), is_gone in zip(sent, entries, sighting.are_gone, strict=True):
                    if is_gone and ticket.key in self.pending and ticket.entry_id == entry_id:
                        self.writer.lose(stream)
                for lane, count in zip(lanes, sighting.live_consumers, strict=True):
                    self._note_consumers(lane, count, now=clock())
                self.catalog.drop_settled()
            self.replies.break_orphans(gone_for_s=LEASE_MS / 1_000)
            self.replies.take_back(before_ns=time.time_ns() - LEASE_MS * 1_000_000)
            if self.models.is_prepared:
                self._prepared.set()
            await self.health.set_serving(is_serving=self.models.is_ready)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_PERIOD_S):
                    await self._news.wait()
            self._news.clear()

    def _note_consumers(self, lane: Lane, count: int | None, *, now: float) -> None:
        """Take what a look at leases found; a lane without a live process keeps only what nobody else can answer."""
        if count is not None:
            lane.observe_consumers(count, now=now)
        if lane.unsettled and not lane.is_live:
            self.desk.rescuer.empty(lane)
            if not lane.is_deployed:
                error = UnavailableError("the model is no longer deployed", reason="UNDEPLOYED")
                self.desk.abandon(lane, error)

    async def prepare(self, stop: asyncio.Event) -> None:
        """Wait until requests can be served, or for a while, or until ``stop``.

        A process that starts again beside others should take no connection earlier: they serve it meanwhile.
        """
        waiting = [asyncio.create_task(event.wait()) for event in (self._prepared, stop)]
        try:
            await asyncio.wait(waiting, timeout=_PREPARE_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def until_prepared(self) -> None:
        await self._prepared.wait()

    async def await_siblings(self, membership: Membership) -> None:
        """Let health wait until all processes of the gateway are prepared. Runs until cancelled."""
        await self.until_prepared()
        with contextlib.suppress(ConnectionError):  # the parent left, and so shall we
            await membership.wait_for_all()
        self.models.is_awaited = False
        await self.health.set_serving(is_serving=self.models.is_ready)
        await asyncio.Event().wait()

    async def flush_spans(self) -> None:
        """Export merged error spans every second. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SPAN_FLUSH_PERIOD_S)
            self.spans.flush()

    def reserve(self, size: int) -> Draft | None:
        """Room in shared memory for a request that is too large for a lane, or may go that way at less expense."""
        least = _SHARED_BYTES if self.replies.are_all_here else self._inline_limit_bytes
        return self.payload_store.begin(size) if size >= least else None

    async def tend_payloads(self) -> None:
        """Give back what shared memory holds for nothing. Runs until cancelled."""
        while True:
            await asyncio.sleep(_PAYLOAD_PERIOD_S)
            self.payload_store.trim()
            self.replies.trim()

    def _follow_registry(self) -> None:
        self.desk.routes = self.catalog.rebuild(self.resources)
        self._news.set()
        for lane in self.catalog.lanes:
            if lane.unsettled and not lane.is_deployed:
                self.desk.rescuer.empty(lane)
            if not lane.unsettled or lane.is_live:
                continue
            if lane.residence.has_failed:
                self.desk.abandon(lane, refusals.load_failed(str(lane), lane.residence.failure))
            else:
                self.demand.hurry()

    async def tend_copies(self) -> None:
        """Give up the copies that nobody answers. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_PERIOD_S)
            self.shadows.sweep()

    def _find_ticket(self, key: int) -> Ticket | None:
        return self.pending.get(key) or self.shadows.get(key)

    def _cut_off(self, lane: Lane) -> None:
        """No process of a lane is connected any more: what may go elsewhere does not wait for the end of its lease."""
        lane.note_cut_off(until=asyncio.get_running_loop().time() + LEASE_MS / 1_000 + _WATCH_PERIOD_S)
        self.desk.rescuer.empty(lane)
