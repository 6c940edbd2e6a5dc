"""Metrics of labels and of what waits for them. Names: docs/telemetry.md."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.monitor.domain.quality.book import QualityBook
from services.monitor.domain.quality.tally import SHARES
from services.monitor.feedback_keeper import FeedbackKeeper


class FeedbackCollector(Collector):
    """Reads from the scraping thread what the event loop writes: whole values only."""

    def __init__(self, keeper: FeedbackKeeper, book: QualityBook) -> None:
        self._keeper = keeper
        self._book = book

    def collect(self) -> Iterator[Metric]:
        labels = CounterMetricFamily("penstock_monitor_labels", "Labels by what became of them.", labels=("outcome",))
        for outcome, count in list(self._keeper.labels.items()):
            labels.add_metric([outcome], count)
        yield labels
        predictions = CounterMetricFamily(
            "penstock_monitor_predictions", "Answers that were told for labels, by what became of them.",
            labels=("result",),
        )  # fmt: skip
        for result, count in list(self._keeper.predictions.items()):
            predictions.add_metric([result], count)
        yield predictions
        yield GaugeMetricFamily(
            "penstock_monitor_labels_waiting", "Labels that wait for their prediction.", value=self._keeper.waiting
        )
        yield GaugeMetricFamily(
            "penstock_monitor_predictions_kept", "Answers that are kept for labels.", value=self._keeper.kept
        )
        yield from self._of_versions()

    def _of_versions(self) -> Iterator[Metric]:
        by_version = ("model", "version")
        quality = GaugeMetricFamily(
            "penstock_quality", "Mean of a metric over all labels of a version, with its interval.",
            labels=(*by_version, "metric", "bound"),
        )  # fmt: skip
        count = CounterMetricFamily(
            "penstock_quality_labels", "Labels that met a prediction of a version.", labels=by_version
        )
        for version, one in self._book.versions(model=""):
            count.add_metric([*version], one.tally.labels)
            for metric in ("accuracy", "log_loss", "mae"):
                if (mean := one.tally.mean_of(metric)) is None:
                    continue
                low, high = mean.interval(is_share=metric in SHARES)
                for bound, value in (("mean", mean.mean), ("low", low), ("high", high)):
                    if math.isfinite(value):
                        quality.add_metric([*version, metric, bound], value)
        yield quality
        yield count
