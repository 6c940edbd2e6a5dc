"""What ``/metrics`` says of discovery. Names: docs/telemetry.md."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.discovery.discovery import Discovery


class DiscoveryCollector(Collector):
    """Read by the thread that serves ``/metrics``."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    def collect(self) -> Iterator[Metric]:
        if self._discovery.is_enabled:
            yield GaugeMetricFamily(
                "penstock_discovery_consul_up", "Whether Consul does what it is asked.", self._discovery.is_answered
            )
        known = GaugeMetricFamily("penstock_discovery_addresses", "Known addresses.", labels=("service",))
        for watch in self._discovery.watches:
            known.add_metric((watch.service,), len(watch.peers.addresses))
        yield known
