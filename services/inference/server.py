"""What starts in an inference agent, and in which order it stops."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets

import grpc
import psutil
from prometheus_client import CollectorRegistry, Histogram

from penstock.endpoints import joined
from penstock.inference.v1.inference_service_pb2 import DESCRIPTOR, Node
from penstock.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from penstock.registry.v1 import resources_pb2
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common import names, serving
from services.common.boundary import translated
from services.common.discovery.channel import FollowingChannel
from services.common.discovery.discovery import Discovery
from services.common.discovery.metrics import DiscoveryCollector
from services.common.discovery.registration import INFERENCE, MONITOR, OTLP_PORT, REGISTRY, Registration
from services.common.errors import PenstockError
from services.common.payloads import keep_clean
from services.common.redis_masters import RedisMasters
from services.common.serving import Stop
from services.common.settings import SuiteSettings
from services.common.watch import ResourceCache
from services.inference import backends, sandbox
from services.inference.adapters.artifacts import ArtifactCache
from services.inference.adapters.devices import Hardware, devices
from services.inference.adapters.lane_keeping import end_lease, until_empty
from services.inference.adapters.registry import RegistryClient
from services.inference.admission import Admission
from services.inference.agent import Agent, repeat
from services.inference.capacity import Capacity
from services.inference.domain.variants import Level
from services.inference.inference_servicer import InferenceServicer, status_message
from services.inference.instance import Surroundings
from services.inference.metrics import InstanceCollector
from services.inference.optimization import Bounds, Optimizer
from services.inference.resources import asleep, content_of, desired, quarantined
from services.inference.settings import InferenceSettings
from services.inference.validation import Validator

_log = logging.getLogger(__name__)

_REPORT_EVERY_S = 1.0
_TIDY_EVERY_S = 5.0
_LEAVE_EVERY_S = 0.25
_GOODBYE_S = 1.0
_CLAIM_EVERY_S = 10.0
_OPTIMIZE_EVERY_S = 10.0
_VERSION_STATE = resources_pb2.ModelVersion.State


class InferenceServer:
    """The agent's parts, wired by hand."""

    def __init__(self, suite: SuiteSettings, settings: InferenceSettings) -> None:
        node = names.model_id(settings.node)
        self._suite = suite
        self._settings = settings
        self._discovery = Discovery(suite.consul)
        self._channel = FollowingChannel(self._discovery.find(REGISTRY, suite.registry_address), "registry")
        self._stub = RegistryServiceStub(self._channel)
        self._registry = RegistryClient(self._stub, node)
        self._cache = ArtifactCache(suite.home / "cache", self._stub, limit_bytes=settings.cache_bytes)
        redis = RedisMasters(suite.effective_redis_url)
        self._news, self._to_validate, self._has_resources = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._to_optimize = asyncio.Event()
        self._level = Level[settings.optimization.upper()]
        self._hardware = Hardware.of(settings.device, threads=settings.effective_threads)
        self._resources = ResourceCache(self._resources_changed)
        self._admission = Admission(self._resources)
        self._load_seconds = Histogram(
            "penstock_inference_load_seconds", "From a process's start until it takes requests.", registry=None
        )
        monitors = self._discovery.find(MONITOR, suite.otlp_endpoint, port=OTLP_PORT)
        self._agent = Agent(
            Surroundings(
                node=node,
                incarnation=secrets.token_hex(4),
                artifacts=self._cache,
                admit=self._admission.check,
                end_lease=functools.partial(end_lease, redis),
                until_empty=functools.partial(until_empty, redis),
                redis_url=suite.effective_redis_url,
                monitors=monitors,
                log_level=suite.log_level,
                log_format=suite.log_format,
                device=settings.device,
                threads=settings.effective_threads,
                drain_timeout_s=settings.drain_timeout_s,
                shared_payload_bytes=suite.shared_payload_bytes,
                is_confined=settings.confine,
                probe_period_s=settings.probe_period_s,
                sketch_inputs=settings.sketch_inputs,
                on_loaded=self._load_seconds.observe,
            ),
            on_change=self._instances_changed,
        )
        monitors.on_change(self._agent.tell_monitors)
        self._validator = Validator(
            self._registry,
            self._cache,
            self._admission,
            device=settings.device,
            threads=settings.effective_threads,
            timeout_s=settings.validation_timeout_s,
            memory_bytes=int(psutil.virtual_memory().total * settings.validation_memory_share),
            is_confined=settings.confine,
            is_scanning=settings.scanner != "off",
        )
        self._optimizer = Optimizer(
            self._registry,
            self._cache,
            self._resources,
            self._admission,
            node=f"nodes/{node}",
            device=settings.device,
            hardware=self._hardware,
            bounds=Bounds(self._level, settings.optimization_niceness, settings.optimization_memory_share),
            is_confined=settings.confine,
            serving_s=self._agent.serving_s,
            has_product=self._cache.has_product,
        )
        self._capacity = Capacity(settings, self._cache)
        self._node = Node(
            name=f"nodes/{node}",
            devices=devices(),
            formats=backends.installed_formats(),
        )
        self._node.start_time.GetCurrentTime()
        self._address = ""
        self._health = serving.Health(DESCRIPTOR.services_by_name["InferenceService"].full_name)

    async def run(self, stop: Stop) -> None:
        """Serve until ``stop``; then leave, let the model processes drain, and close what is left.

        With a successor, model processes are left alone: they serve until it has others.
        """
        if self._settings.confine and not sandbox.is_available():
            _log.warning("this kernel has no Landlock: processes that load models have all that this one has")
        server = grpc.aio.server(options=serving.SERVER_OPTIONS)
        servicer = InferenceServicer(self._agent, self._cache, self._node)
        add_InferenceServiceServicer_to_server(translated(servicer), server)
        await self._health.attach(server)
        port = serving.bind(server, joined(self._suite.bind, self._settings.port))
        here = Registration(INFERENCE, self._suite.reachable_host, port)
        self._address = here.address
        metrics = CollectorRegistry()
        metrics.register(InstanceCollector(self._agent, self._cache, self._optimizer, self._admission))
        metrics.register(DiscoveryCollector(self._discovery))
        metrics.register(self._load_seconds)
        stop_metrics = serving.serve_metrics(metrics, host=self._suite.bind, port=self._settings.metrics_port)
        await server.start()
        self._discovery.announce(here)
        try:
            await serving.run_until_stopped(
                stop,
                [
                    self._resources.follow(self._stub, on_silence=self._channel.leave),
                    repeat(self._report, wake=self._news, every_s=_REPORT_EVERY_S),
                    repeat(self._tidy, wake=asyncio.Event(), every_s=_TIDY_EVERY_S),
                    repeat(self._validate, wake=self._to_validate, every_s=_CLAIM_EVERY_S),
                    repeat(self._optimizer.optimize_pending, wake=self._to_optimize, every_s=_OPTIMIZE_EVERY_S),
                    self._become_ready(),
                    keep_clean(),
                    self._discovery.run(),
                ],
            )
        finally:
            await self._health.leave()
            if stop.has_successor:
                await self._say_goodbye(has_successor=True)
                self._agent.leave()
            else:
                await self._discovery.withdraw()
                await self._leave()
                await self._agent.close()
                await self._say_goodbye()
            await server.stop(1.0)
            await self._channel.close()
            await asyncio.to_thread(stop_metrics)

    async def _become_ready(self) -> None:
        """Ready once the registry has said what to run; from then on the last snapshot serves."""
        await self._has_resources.wait()
        await self._health.set_serving(is_serving=True)
        await asyncio.Event().wait()

    def _resources_changed(self) -> None:
        if not self._resources.is_complete:
            return
        self._has_resources.set()
        self._reconcile()
        self._to_optimize.set()
        if self._has_pending():
            self._to_validate.set()

    def _instances_changed(self) -> None:
        self._news.set()
        self._to_optimize.set()

    def _reconcile(self) -> None:
        wanted = desired(
            self._resources,
            self._hardware,
            node=self._node.name,
            limit=self._level,
            has_product=self._cache.has_product,
        )
        self._agent.reconcile(
            wanted, asleep=asleep(self._resources), quarantined=quarantined(self._resources, node=self._node.name)
        )

    def _has_pending(self) -> bool:
        unfinished = (_VERSION_STATE.STATE_PENDING, _VERSION_STATE.STATE_VALIDATING)
        return any(version.state in unfinished for version in self._resources.versions.values())

    async def _report(self, *, is_leaving: bool = False, has_successor: bool = False) -> int:
        instances = [status_message(one, self._node.name) for one in self._agent.instances()]
        return await self._registry.report_node(
            instances,
            self._capacity.message(self._agent.instances()),
            address=self._address,
            is_leaving=is_leaving,
            has_successor=has_successor,
        )

    async def _tidy(self) -> None:
        if self._resources.is_complete:
            self._reconcile()
            await self._cache.keep_only(map(content_of, self._resources.versions.values()))
        await self._capacity.refresh(self._agent.instances())

    async def _leave(self) -> None:
        """Go on until other nodes, if there are any, take requests in this one's place; for a while at most."""
        with contextlib.suppress(PenstockError, TimeoutError):
            async with asyncio.timeout(self._settings.leave_timeout_s):
                while True:
                    if not await self._report(is_leaving=True):
                        return
                    await asyncio.sleep(_LEAVE_EVERY_S)

    async def _say_goodbye(self, *, has_successor: bool = False) -> None:
        """Tell that nothing runs here any more, or who will soon look after it."""
        with contextlib.suppress(PenstockError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._report(is_leaving=not has_successor, has_successor=has_successor)

    async def _validate(self) -> None:
        if self._has_pending():
            await self._validator.validate_pending()


async def serve(suite: SuiteSettings, settings: InferenceSettings, stop: Stop) -> None:
    """Run an agent until ``stop`` is set."""
    await InferenceServer(suite, settings).run(stop)
