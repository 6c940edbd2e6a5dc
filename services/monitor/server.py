"""What the monitor starts, and in which order it stops: intake first, then the answers, then what they need."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from penstock.endpoints import joined
from penstock.monitor.v1.action_service_pb2_grpc import add_ActionServiceServicer_to_server
from penstock.monitor.v1.drift_service_pb2_grpc import add_DriftServiceServicer_to_server
from penstock.monitor.v1.feedback_service_pb2_grpc import add_FeedbackServiceServicer_to_server
from penstock.monitor.v1.monitor_service_pb2_grpc import add_MonitorServiceServicer_to_server
from penstock.monitor.v1.verdict_service_pb2_grpc import add_VerdictServiceServicer_to_server
from services.common import serving
from services.common.boundary import translated
from services.common.discovery.channel import FollowingChannel
from services.common.discovery.discovery import Discovery
from services.common.discovery.metrics import DiscoveryCollector
from services.common.discovery.registration import MONITOR, OTLP_PORT, REGISTRY, Registration
from services.common.errors import InvalidArgumentError, UnavailableError
from services.common.settings import SuiteSettings
from services.monitor import acting, outlets, trace_servicer
from services.monitor.action_metrics import ActionCollector
from services.monitor.action_servicer import ActionServicer
from services.monitor.adapters import database
from services.monitor.adapters.action_store import ActionStore
from services.monitor.adapters.comparison_store import ComparisonStore
from services.monitor.adapters.feedback_terms import FeedbackTerms
from services.monitor.adapters.forwarder import Forwarder
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.adapters.objectives import Objectives
from services.monitor.adapters.prediction_store import PredictionStore
from services.monitor.adapters.registry_calls import RegistryCalls
from services.monitor.analysis import Analysis
from services.monitor.arrivals import Arrivals
from services.monitor.domain.blocks import NS
from services.monitor.domain.evidence import Budget
from services.monitor.domain.figures import Figures
from services.monitor.domain.foreign import ForeignServices
from services.monitor.domain.foreign_incidents import ForeignIncidents
from services.monitor.domain.incidents import Incident, Incidents
from services.monitor.domain.quality.labels import Judgement, Label
from services.monitor.domain.quality.predictions import Prediction
from services.monitor.domain.ring import TraceRing
from services.monitor.domain.tail import Tail
from services.monitor.drift_servicer import DriftServicer
from services.monitor.feedback_keeper import FeedbackKeeper
from services.monitor.feedback_metrics import FeedbackCollector
from services.monitor.feedback_servicer import FeedbackServicer
from services.monitor.grpc_server import GrpcServer
from services.monitor.health import HealthCollector
from services.monitor.http_server import HttpServer
from services.monitor.intake import Intake
from services.monitor.intake_metrics import IntakeCollector
from services.monitor.journal import Journal
from services.monitor.metrics import MonitorCollector
from services.monitor.monitor_servicer import MonitorServicer
from services.monitor.otlp_http import TraceEndpoint
from services.monitor.rounds import Rounds
from services.monitor.settings import MonitorSettings
from services.monitor.trace_servicer import TraceServicer
from services.monitor.verdict_keeper import VerdictKeeper
from services.monitor.verdict_metrics import VerdictCollector
from services.monitor.verdict_servicer import VerdictServicer

_MONITOR_SERVICE = "penstock.monitor.v1.MonitorService"

_FLUSH_S = 1.0
_FORWARD_PERIOD_S = 0.25


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a monitor listens."""

    otlp: int
    otlp_http: int
    api: int


class Monitor:
    """One monitor: builds its parts by hand, and :meth:`serve` runs them."""

    def __init__(
        self, suite: SuiteSettings, settings: MonitorSettings, *, clock: Callable[[], int] = time.time_ns
    ) -> None:
        """``clock`` gives Unix nanoseconds.

        Raises:
            InvalidArgumentError: the database's URL is unfit, or the monitor would forward to itself.
            UnavailableError: the database can't be used.
        """
        self._suite = suite
        self._settings = settings
        self._clock = clock
        budget = Budget(settings.false_alarms_per_week, settings.assumed_series)
        self._engine, self._store, comparisons, predictions, actions = _open_stores(suite.home, settings.database_url)
        self._verdicts = VerdictKeeper(comparisons, clock=clock)
        self._objectives = Objectives()
        self._feedback = FeedbackKeeper(
            predictions,
            terms=FeedbackTerms(self._objectives.resources),
            learn=self._learn_label,
            max_predictions=settings.feedback_max_predictions,
            clock=clock,
        )
        ring = TraceRing(max_spans=settings.ring_max_spans, max_bytes=settings.ring_max_mebibytes << 20)
        self._analysis = Analysis(
            figures=Figures(max_series=settings.max_series),
            ring=ring,
            incidents=Incidents(budget),
            budget=budget,
            clock=clock,
            limit_s=self._objectives.wait_limit_s,
            on_block=self._verdicts.feed,
            on_predictions=self._feedback.take,
        )
        if settings.forward_endpoint in {
            f"{host}:{settings.otlp_port}" for host in (suite.bind, "127.0.0.1", "localhost")
        }:
            raise InvalidArgumentError(
                f"PENSTOCK_MONITOR__FORWARD_ENDPOINT {settings.forward_endpoint} is the monitor itself"
            )
        self._forwarder = (
            Forwarder(settings.forward_endpoint, max_bytes=settings.forward_max_mebibytes << 20)
            if settings.forward_endpoint
            else None
        )
        incidents = ForeignIncidents(average_run_length=budget.run_length)
        self._arrivals = Arrivals(
            self._analysis,
            ring=ring,
            services=ForeignServices(
                max_series=settings.max_service_series, threshold=budget.threshold, is_alarmed=incidents.goes_on
            ),
            incidents=incidents,
            tail=Tail(
                delay_ns=int(settings.forward_delay_s * NS),
                traces_per_second=settings.forward_traces_per_second,
                contrasts_per_minute=settings.forward_contrasts_per_minute,
            ),
            onward=self._forwarder,
            forwards_foreign=settings.forward_foreign,
            clock=clock,
        )
        self._intake = Intake(
            self._arrivals.take,
            max_spans=settings.intake_max_spans,
            max_bytes=settings.intake_max_mebibytes << 20,
        )
        self._discovery = Discovery(suite.consul)
        self._journal = Journal(self._store, open_incidents=self._open_incidents)
        self._rounds = Rounds(
            analysis=self._analysis,
            arrivals=self._arrivals,
            verdicts=self._verdicts,
            feedback=self._feedback,
            store=self._store,
            journal=self._journal,
            clock=clock,
        )
        self._outlets = outlets.build(settings, clock=clock)
        self._registry: FollowingChannel | None = None
        self._acting = acting.build(
            settings,
            actions,
            home=suite.home,
            open_incidents=self._open_incidents,
            probes=self._analysis.probes,
            registry_address=lambda: suite.registry_address if self._registry is None else self._registry.address,
            clock=clock,
        )

    def _learn_label(self, prediction: Prediction, label: Label, judgement: Judgement) -> None:
        self._analysis.learn_label(prediction, label, judgement)
        if judgement.is_class and judgement.loss is not None:
            self._verdicts.feed_label(
                prediction.model, prediction.version, answered_ns=prediction.time_ns, is_wrong=judgement.loss > 0
            )

    def _open_incidents(self) -> list[Incident]:
        return [*self._analysis.incidents.open, *self._arrivals.incidents.open]

    async def serve(self, stop: asyncio.Event, *, on_start: Callable[[Ports], None] = lambda _: None) -> None:
        """Serve until ``stop`` is set; then stop taking spans in, finish what is queued, save, and close.

        ``on_start`` is called when everything answers.

        Raises:
            SystemExit: an address is taken.
            ExceptionGroup: a background task failed.
        """
        async with contextlib.AsyncExitStack() as closing:
            # What is entered last closes first.
            closing.callback(self._engine.dispose)
            if self._forwarder is not None:
                closing.push_async_callback(self._forwarder.close)
            await self._rounds.adopt()
            await self._acting.adopt()
            closing.push_async_callback(self._rounds.finish)
            closing.callback(self._serve_metrics())
            api = await self._start_api()
            closing.push_async_callback(api.stop)
            closing.callback(self._journal.close)
            closing.callback(self._verdicts.close)
            endpoint = TraceEndpoint(self._intake, max_bytes=self._settings.intake_max_mebibytes << 20)
            closing.callback(endpoint.close)
            otlp_http = HttpServer(endpoint, host=self._suite.bind, port=self._settings.otlp_http_port)
            await otlp_http.start()
            closing.push_async_callback(otlp_http.stop)
            otlp = await self._start_otlp()
            closing.push_async_callback(otlp.stop)
            where = Registration(MONITOR, self._suite.reachable_host, api.port, ports={OTLP_PORT: otlp.port})
            self._discovery.announce(where)
            registries = self._discovery.find(REGISTRY, self._suite.registry_address)
            registry = await closing.enter_async_context(FollowingChannel(registries, "registry"))
            self._registry = registry
            on_start(Ports(otlp.port, otlp_http.port, api.port))
            await self._run(stop, registry, otlp, otlp_http)

    async def _run(
        self, stop: asyncio.Event, registry: FollowingChannel, otlp: GrpcServer, otlp_http: HttpServer
    ) -> None:
        calls = RegistryCalls(registry)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(otlp_http.running()),
                group.create_task(self._intake.work()),
                group.create_task(self._rounds.run()),
                group.create_task(self._feedback.work()),
                group.create_task(self._discovery.run()),
                group.create_task(self._objectives.follow(registry)),
                group.create_task(self._acting.actor.run(calls)),
                group.create_task(self._acting.retrainings.run(calls)),
                *(
                    group.create_task(outlet.run(lambda: self._journal.watch("", ended=self._rounds.ended)))
                    for outlet in self._outlets
                ),
            ]
            if self._forwarder is not None:
                background += [group.create_task(self._forwarder.work()), group.create_task(self._forward())]
            await stop.wait()
            await self._discovery.withdraw()
            for intake in (otlp, otlp_http):
                await intake.stop()
            self._intake.drain()
            self._arrivals.forward(at_once=True)
            if self._forwarder is not None:
                await self._forwarder.flush(_FLUSH_S)
            for task in background:
                task.cancel()

    async def _forward(self) -> None:
        while True:
            await asyncio.sleep(_FORWARD_PERIOD_S)
            self._arrivals.forward()

    def _serve_metrics(self) -> Callable[[], None]:
        registry = CollectorRegistry(auto_describe=False)
        forwarded = {"sent": 0, "dropped": 0} if self._forwarder is None else self._forwarder.results
        registry.register(
            MonitorCollector(
                self._analysis, spans=self._intake.results, forwarded=forwarded, objectives=self._objectives
            )
        )
        registry.register(VerdictCollector(self._verdicts))
        registry.register(FeedbackCollector(self._feedback, self._analysis.quality))
        registry.register(ActionCollector(self._acting.actor, self._acting.retrainings))
        registry.register(IntakeCollector(self._arrivals))
        registry.register(
            HealthCollector(self._settings, intake=self._intake, ring=self._analysis.ring, outlets=self._outlets)
        )
        registry.register(DiscoveryCollector(self._discovery))
        ProcessCollector(registry=registry)
        return serving.serve_metrics(registry, host=self._suite.bind, port=self._settings.metrics_port)

    async def _start_api(self) -> GrpcServer:
        servicer = MonitorServicer(
            figures=self._analysis.figures,
            ring=self._analysis.ring,
            services=self._arrivals.services,
            store=self._store,
            journal=self._journal,
            probes=self._analysis.probes,
            clock=self._clock,
        )
        server = GrpcServer(_MONITOR_SERVICE)
        add_MonitorServiceServicer_to_server(translated(servicer), server.grpc)
        verdicts = VerdictServicer(self._verdicts, clock=self._clock)
        add_VerdictServiceServicer_to_server(translated(verdicts), server.grpc)
        feedback = FeedbackServicer(self._feedback, self._analysis.quality, clock=self._clock)
        add_FeedbackServiceServicer_to_server(translated(feedback), server.grpc)
        drift = DriftServicer(self._analysis, clock=self._clock)
        add_DriftServiceServicer_to_server(translated(drift), server.grpc)
        actions = ActionServicer(self._acting.store, self._acting.retrainings, self._acting.actor.policies)
        add_ActionServiceServicer_to_server(translated(actions), server.grpc)
        await server.start(joined(self._suite.bind, self._settings.port))
        return server

    async def _start_otlp(self) -> GrpcServer:
        server = GrpcServer(trace_servicer.SERVICE, max_message_bytes=trace_servicer.MAX_MESSAGE_BYTES)
        trace_servicer.add_to_server(translated(TraceServicer(self._intake)), server.grpc)
        await server.start(joined(self._suite.bind, self._settings.otlp_port))
        return server


def _open_stores(
    home: Path, database_url: str | None
) -> tuple[Engine, IncidentStore, ComparisonStore, PredictionStore, ActionStore]:
    try:
        if database_url is None:
            home.mkdir(parents=True, exist_ok=True)
        engine = database.engine_of(database_url or f"sqlite:///{home / 'monitor.db'}")
        return (
            engine,
            *(IncidentStore(engine), ComparisonStore(engine), PredictionStore(engine), ActionStore(engine)),
        )
    except (ArgumentError, ModuleNotFoundError) as error:
        raise InvalidArgumentError(f"PENSTOCK_MONITOR__DATABASE_URL is unfit: {error}") from error
    except (SQLAlchemyError, OSError) as error:
        raise UnavailableError(f"the monitor's database can't be used: {getattr(error, 'orig', error)}") from error
