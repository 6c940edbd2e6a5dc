from __future__ import annotations

from services.gateway.domain.statistics import Duration, Histogram, VersionStatistics


def test_one_request_of_eight_rows() -> None:
    figures = VersionStatistics()
    figures.count_successes(request_ns=[100], queue_ns=[10], rows=8)
    figures.count_batch(requests=1, rows=8, input_ns=1, infer_ns=2, output_ns=3)
    figures.count_execution(rows=8, input_ns=1, infer_ns=2, output_ns=3, now_ms=5)
    assert (figures.success.count, figures.inference_count, figures.execution_count) == (1, 8, 1)
    assert figures.last_inference_ms == 5


def test_eight_requests_of_one_row_in_one_batch() -> None:
    figures = VersionStatistics()
    for _ in range(8):
        figures.count_successes(request_ns=[100], queue_ns=[10], rows=1)
    figures.count_batch(requests=8, rows=8, input_ns=1, infer_ns=2, output_ns=3)
    figures.count_execution(rows=8, input_ns=1, infer_ns=2, output_ns=3, now_ms=5)
    assert (figures.success.count, figures.inference_count, figures.execution_count) == (8, 8, 1)
    assert figures.success == Duration(8, 800)
    assert figures.queue == Duration(8, 80)
    assert figures.compute_infer == Duration(8, 16)
    assert figures.by_batch_size[8].compute_infer == Duration(1, 2)
    assert sum(figures.batch_rows.counts) == 8


def test_failures_add_up() -> None:
    figures = VersionStatistics()
    figures.count_failure("REJECTED", 10)
    figures.count_failure("BACKEND", 20)
    assert figures.failed == Duration(2, 30)
    assert figures.failures["CANCELED"] == Duration()


def test_histograms_count_at_and_above_their_bounds() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1]
    assert histogram.total == 12.0
