"""The agent's ``/metrics``: figures that the model processes told, read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common import names
from services.inference.adapters.artifacts import ArtifactCache
from services.inference.admission import Admission
from services.inference.agent import Agent
from services.inference.inference_servicer import resident_bytes
from services.inference.instance import Instance
from services.inference.optimization import Optimizer

_LABELS = ("model", "version", "instance")
_COUNTERS = {
    "penstock_instance_executions": ("Batches executed.", "executions"),
    "penstock_instance_rows": ("Rows inferred.", "rows"),
    "penstock_instance_errors": ("Requests settled with an error.", "errors"),
    "penstock_instance_claimed": ("Requests taken over from processes that died.", "claimed"),
    "penstock_instance_dead_letters": ("Requests given up because processes died of them.", "dead_letters"),
}


class InstanceCollector(Collector):
    """Reads the agent's instances; called by the thread that serves ``/metrics``."""

    def __init__(self, agent: Agent, cache: ArtifactCache, optimizer: Optimizer, admission: Admission) -> None:
        self._agent = agent
        self._cache = cache
        self._optimizer = optimizer
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        yield from _of_instances(list(self._agent.instances()))
        yield from _of_searches(self._optimizer)
        yield _of_signatures(self._admission)
        cache = self._cache
        yield GaugeMetricFamily("penstock_cache_bytes", "Artifacts on this node.", value=cache.size_bytes)
        yield GaugeMetricFamily("penstock_cache_limit_bytes", "Most that may be kept.", value=cache.limit_bytes)
        yield CounterMetricFamily("penstock_cache_evictions", "Models that made room.", value=cache.evictions)
        yield CounterMetricFamily("penstock_cache_repairs", "Models found damaged.", value=cache.repairs)


def _of_instances(instances: Sequence[Instance]) -> Iterator[Metric]:
    for name, (text, figure) in _COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=_LABELS)
        for one in instances:
            counter.add_metric(_labels(one), one.totals[figure])
        yield counter
    restarts = CounterMetricFamily("penstock_instance_restarts", "Processes started again.", labels=_LABELS)
    ready = GaugeMetricFamily("penstock_instance_ready", "1 while the process takes requests.", labels=_LABELS)
    memory = GaugeMetricFamily("penstock_instance_resident_bytes", "Memory in RAM.", labels=_LABELS)
    spans = CounterMetricFamily(
        "penstock_instance_spans", "Spans made, by what became of them.", labels=(*_LABELS, "result")
    )
    for one in instances:
        restarts.add_metric(_labels(one), one.restarts)
        ready.add_metric(_labels(one), one.is_ready)
        memory.add_metric(_labels(one), resident_bytes(one.pid))
        for result in ("sent", "dropped"):
            spans.add_metric((*_labels(one), result), one.totals[f"spans_{result}"])
    yield from (restarts, ready, memory, spans)


def _of_signatures(admission: Admission) -> Metric:
    checks = CounterMetricFamily(
        "penstock_signature_checks", "Versions looked at before a load.", labels=("outcome", "admitted")
    )
    for (outcome, is_admitted), count in list(admission.checks.items()):
        checks.add_metric((outcome, "yes" if is_admitted else "no"), count)
    return checks


def _of_searches(optimizer: Optimizer) -> Iterator[Metric]:
    progress = GaugeMetricFamily(
        "penstock_optimization_progress", "Share of the present search that is done.", labels=_LABELS[:2]
    )
    if (searching := optimizer.searching) is not None:
        progress.add_metric(names.split(searching[0], "models/*/versions/*"), searching[1])
    searches = CounterMetricFamily("penstock_optimization_searches", "Searches ended.", labels=("outcome",))
    for outcome, count in optimizer.outcomes.items():
        searches.add_metric((outcome,), count)
    yield from (progress, searches)


def _labels(instance: Instance) -> tuple[str, str, str]:
    return instance.slot.model, instance.slot.version, instance.name
