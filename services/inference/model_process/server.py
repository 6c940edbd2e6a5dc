"""What starts in a model process, and in which order it stops."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO

from penstock import __version__
from penstock.gateway.v1.reply_service_pb2 import Hello
from services.common import logs
from services.common.discovery.peers import Peers
from services.common.lanes import LaneKeys
from services.common.latency import favour_latency
from services.common.memory import keep_freed_memory
from services.common.payloads import PayloadStore
from services.common.tracing import SpanExporter
from services.inference import backends, sandbox
from services.inference.backends import LoadError
from services.inference.domain.batching import BatchPolicy
from services.inference.model_process.control import AgentPipe, end_with_agent
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import ModelExecutor
from services.inference.model_process.gateways import ReplyStreams
from services.inference.model_process.golden_probe import Judge, Outcome, ProbeResult
from services.inference.model_process.loading import Loaded, load_unless, readable
from services.inference.model_process.prober import Prober
from services.inference.model_process.redis_lane import RedisLane
from services.inference.model_process.spec import ProcessSpec, is_successor
from services.inference.model_process.streamer import Streamer
from services.inference.model_process.telemetry import Telemetry
from services.inference.model_process.weights_digest import WeightsDigest
from services.inference.model_process.worker import Worker

_log = logging.getLogger(__name__)

REDIS_LOST_S = 5.0
_FIGURES_EVERY_S = 1.0


async def serve(stop: asyncio.Event, events: BinaryIO) -> None:
    """Load the model, take part in its lane until ``stop`` is set, drain.

    Raises:
        LoadError: the model can't be loaded; the agent was told.
    """
    pipe = AgentPipe(events)
    spec = await pipe.receive_spec()
    logs.configure("penstock-inference", spec.log_level, spec.log_format)
    pipe.tell(state="loading")
    with sandbox.scratch() as folder:
        if spec.is_confined:
            sandbox.restrict(read=readable(spec), scratch=folder)
        try:
            loaded = await load_unless(stop, spec)
        except LoadError as error:
            pipe.tell(failure=str(error))
            raise
        end_with_agent(is_meant=False)  # from now on it serves on without one
        keep_freed_memory()
        process = ModelProcess(spec, loaded, pipe)
        await process.run(stop)


class ModelProcess:
    """One loaded model and the parts around it, wired by hand."""

    def __init__(self, spec: ProcessSpec, loaded: Loaded, pipe: AgentPipe) -> None:
        batching, model = spec.batching, loaded.model
        self._payloads = PayloadStore(secrets.token_hex(16), limit_bytes=spec.shared_payload_bytes)
        self._spec = spec
        self._pipe = pipe
        self._monitors = Peers.at(spec.otlp_endpoint)
        self._exporter = SpanExporter(
            receivers=self._monitors, service="penstock-inference", instance=spec.consumer, version=__version__
        )
        encoder = Encoder(
            model=spec.model,
            version=spec.version,
            signature=spec.signature,
            keep=self._payloads.put,
            is_watched=self._exporter.is_enabled,
        )
        self._telemetry = Telemetry(
            self._exporter,
            model=spec.model,
            version=spec.version,
            device=model.device,
            later=asyncio.get_running_loop().call_later,
            signature=spec.signature,
            sketch_inputs=spec.sketch_inputs,
            weights=WeightsDigest(Path(spec.path), spec.files, expected=spec.digest) if spec.is_probed else None,
            tells_predictions=spec.tells_predictions,
            now_ns=lambda: self._lane.clock.now_ns(),  # noqa: PLW0108 - the lane is made after it
        )
        self._lane = RedisLane(
            spec.redis_url,
            LaneKeys(spec.model, spec.version),
            consumer=spec.consumer,
            priority_levels=batching.priority_levels,
        )
        self._gateways = ReplyStreams(
            Hello(
                consumer=spec.consumer,
                model=spec.model,
                version=spec.version,
                takes_handovers=not spec.signature.is_decoupled,
                payload_store=self._payloads.owner_id if spec.shared_payload_bytes else "",
                is_decoupled=spec.signature.is_decoupled,
            ),
            on_settled=self._lane.settle,
            on_handover=self._lane.hand_over,
            payloads=self._payloads,
        )
        now_ns = self._lane.clock.now_ns
        self._executor: ModelExecutor | Streamer
        if spec.signature.is_decoupled:
            self._executor = Streamer(backends.decoupled(model), encoder, self._gateways, now_ns=now_ns)
        else:
            self._executor = ModelExecutor(
                model, encoder, is_batchable=spec.signature.is_batchable, on_stall=self._lane.renew_lease_meanwhile
            )
        self._worker = Worker(
            self._lane,
            self._gateways,
            executor=self._executor,
            decoder=Decoder(model=spec.model, signature=spec.signature),
            policy=BatchPolicy(batching.max_batch_size, batching.max_queue_delay_us / 1e6),
            max_attempts=batching.max_attempts,
            observer=self._telemetry,
            prober=self._prober(loaded) if spec.is_probed else None,
            now_ns=now_ns,
        )
        self._device = model.device

    def _prober(self, loaded: Loaded) -> Prober:
        """What probes the model where it may, and tells in any case which files it was loaded from."""
        executor, probe = self._executor, loaded.probe
        skip = partial(ProbeResult, Outcome.SKIP, detail=loaded.why_not)

        async def run() -> Judge:
            return skip if probe is None or isinstance(executor, Streamer) else await executor.call(probe.run)

        return Prober(
            run,
            period_s=self._spec.probe_period_s,
            observer=self._telemetry,
            now_ns=self._lane.clock.now_ns,
            takes_s=0.0 if probe is None else loaded.row_s,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``; then finish what was taken, deliver the replies, acknowledge, leave."""
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch_agent(stop), name="agent")
                reporting = group.create_task(self._report(), name="figures")
                serving = group.create_task(self._serve(stop, group), name="serve")
                await stop.wait()
                self._pipe.tell(state="draining")
                await self._worker.stop()
                if isinstance(self._executor, Streamer):
                    asyncio.get_running_loop().call_later(self._spec.drain_timeout_s, self._executor.hurry)
                await serving
                if not await self._gateways.drain(self._spec.drain_timeout_s):
                    _log.warning("some gateways did not take their replies in time; others will answer them")
                else:
                    self._payloads.close()
                self._lane.leave()
                watching.cancel()
                reporting.cancel()
        finally:
            await self._gateways.close()
            await self._lane.close()
            self._executor.close()
            self._telemetry.stop()
            await self._exporter.close()
            self._pipe.tell(figures=self._figures())

    async def _serve(self, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        await self._lane.join(stop)
        group.create_task(self._lane.acknowledge(), name="acknowledge")
        group.create_task(self._lane.keep(), name="lease")
        favour_latency()
        self._pipe.tell(state="ready", device=self._device)
        await self._worker.serve()

    async def _report(self) -> None:
        """Tell the agent the figures, and give memory back; nothing is done while there is neither."""
        news, told = self._telemetry.news, None
        while True:
            news.clear()
            if (figures := self._figures()) != told:
                self._pipe.tell(figures=figures)
                told = figures
            await asyncio.sleep(_FIGURES_EVERY_S)
            holds_more = self._gateways.trim()
            if not holds_more and not self._exporter.pending and self._figures() == told:
                await news.wait()

    def _figures(self) -> dict[str, int]:
        spans = {f"spans_{result}": count for result, count in self._exporter.results.items()}
        return {**self._telemetry.figures.to_json(), **spans}

    async def _watch_agent(self, stop: asyncio.Event) -> None:
        """Without an agent serve on for a while, until who follows us in our place holds a lease; then drain."""
        await self._pipe.listen(lambda news: self._monitors.update(news.get("monitors", ())))
        _log.warning("the agent is gone; serving on until its successor has an instance ready")
        mine, lease, orphaned_at = self._spec.consumer, self._lane.lease, time.monotonic()
        while True:
            now = time.monotonic()
            is_replaced = any(is_successor(name, mine) for name in lease.live_consumers)
            if (
                is_replaced
                or now - orphaned_at > self._spec.orphan_timeout_s
                or now - lease.last_contact > REDIS_LOST_S
            ):
                stop.set()
                await asyncio.Event().wait()
            await asyncio.sleep(0.5)
