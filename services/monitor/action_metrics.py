"""What the monitor did by itself, as metrics. Names: docs/telemetry.md."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.monitor.actions import Actor
from services.monitor.domain.actions import Outcome
from services.monitor.domain.policies import ActionKind
from services.monitor.domain.retraining import RetrainingState
from services.monitor.retrainings import Retrainings


class ActionCollector(Collector):
    """Reads single numbers that the event loop writes, from the scraping thread."""

    def __init__(self, actor: Actor, retrainings: Retrainings) -> None:
        self._actor = actor
        self._retrainings = retrainings

    def collect(self) -> Iterator[Metric]:
        actions = CounterMetricFamily(
            "penstock_monitor_actions", "What was done because of incidents.", labels=("action", "outcome")
        )
        for kind in ActionKind:
            for outcome in (Outcome.DONE, Outcome.REFUSED, Outcome.DRY_RUN):
                actions.add_metric([kind, outcome], self._actor.results[kind, outcome])
        ended = CounterMetricFamily("penstock_monitor_retrainings", "Retrainings that are over.", labels=("state",))
        for state in (RetrainingState.SUCCEEDED, RetrainingState.FAILED):
            ended.add_metric([state], self._retrainings.results[state])
        under_way = GaugeMetricFamily(
            "penstock_monitor_retrainings_under_way", "Retrainings that go on, by state.", labels=("state",)
        )
        states = [one.state for one in self._retrainings.under_way]
        for state in RetrainingState:
            if not state.is_over:
                under_way.add_metric([state], states.count(state))
        yield from (actions, ended, under_way)
