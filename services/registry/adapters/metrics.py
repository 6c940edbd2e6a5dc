"""The registry's figures on ``/metrics``; the names are listed in ``docs/telemetry.md``."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Servicer = TypeVar("Servicer")


class Metrics:
    """All figures, in a registry of their own."""

    def __init__(self) -> None:
        self.collectors = CollectorRegistry()
        self.artifact_bytes = Gauge(
            "penstock_registry_artifact_bytes", "Bytes of content kept", registry=self.collectors
        )
        self._revision = Gauge("penstock_registry_revision", "The present revision", registry=self.collectors)
        self._watchers = Gauge("penstock_registry_watchers", "Open watch streams", registry=self.collectors)
        self._is_writer = Gauge(
            "penstock_registry_writer", "1 while this registry is the one that writes", registry=self.collectors
        )
        self.evictions = Counter(
            "penstock_registry_evictions_total", "Replicas that made room for others", registry=self.collectors
        )
        self._homeless = Gauge(
            "penstock_registry_homeless_versions", "Deployed versions that run nowhere", registry=self.collectors
        )
        self._active_rollouts = Gauge(
            "penstock_registry_active_rollouts", "Rollouts under way", registry=self.collectors
        )
        self._requests = Counter(
            "penstock_registry_requests_total", "Ended calls", ["method", "code"], registry=self.collectors
        )
        self._duration = Histogram(
            "penstock_registry_request_duration_seconds", "Time from call to end", ["method"], registry=self.collectors
        )

    def observe(
        self,
        *,
        revision: Callable[[], float],
        watchers: Callable[[], float],
        is_writer: Callable[[], bool],
        homeless: Callable[[], float],
        active_rollouts: Callable[[], float],
    ) -> None:
        """Say where to read figures that are kept elsewhere."""
        self._is_writer.set_function(is_writer)
        self._revision.set_function(revision)
        self._watchers.set_function(watchers)
        self._homeless.set_function(homeless)
        self._active_rollouts.set_function(active_rollouts)

    def measure(self, servicer: Servicer) -> Servicer:
        """Count and time every rpc of a servicer whose errors are translated already."""
        for name, method in inspect.getmembers(servicer, inspect.isroutine):
            if name[0].isupper():
                wrap = self._streaming if inspect.isasyncgenfunction(method) else self._single
                setattr(servicer, name, wrap(name, method))
        return servicer

    def _single(self, name: str, method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        @functools.wraps(method)
        async def call(request: Any, context: Any) -> Any:
            async with self._measured(name, context):
                return await method(request, context)

        return call

    def _streaming(
        self, name: str, method: Callable[[Any, Any], AsyncGenerator[Any]]
    ) -> Callable[[Any, Any], AsyncGenerator[Any]]:
        @functools.wraps(method)
        async def call(request: Any, context: Any) -> AsyncGenerator[Any]:
            async with self._measured(name, context), aclosing(method(request, context)) as messages:
                async for message in messages:
                    yield message

        return call

    @asynccontextmanager
    async def _measured(self, name: str, context: Any) -> AsyncIterator[None]:
        start, code = time.perf_counter(), grpc.StatusCode.CANCELLED
        try:
            yield
            code = grpc.StatusCode.OK
        except Exception:
            code = context.code()
            raise
        finally:
            self._requests.labels(name, code.name).inc()
            self._duration.labels(name).observe(time.perf_counter() - start)
