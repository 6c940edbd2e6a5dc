from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.common.errors import InvalidArgumentError, ResourceExhaustedError
from services.monitor.intake import Intake
from services.monitor.otlp import Reading
from tests.unit.monitor.test_otlp import BATCH, REJECTED, request, span


def test_spans_reach_the_analysis_in_order_and_are_counted() -> None:
    taken: list[Reading] = []
    intake = Intake(taken.extend, max_spans=10_000, max_bytes=1 << 20)
    ids = [number.to_bytes(8, "big") for number in range(1, 601)]

    refusals = [
        intake.offer(request(*(span(BATCH, span_id=one) for one in ids))),
        intake.offer(request(span(REJECTED), span({}, trace_id=b""), service="penstock-gateway")),
        intake.offer(request(span({}), service="shop")),
    ]
    intake.drain()

    assert [refusal.spans for refusal in refusals] == [0, 1, 0]
    assert "expected 16 and 8 bytes" in refusals[1].reason
    assert [reading.span.span_id for reading in taken[:600]] == ids
    assert intake.results == {"batch": 600, "request": 1, "foreign": 1, "malformed": 1, "dropped": 0, "refused": 0}


def test_a_full_queue_refuses_and_counts_until_there_is_room_again() -> None:
    taken: list[Sequence[Reading]] = []
    intake = Intake(taken.append, max_spans=10, max_bytes=1 << 20)
    five = request(*(span(BATCH, span_id=bytes([number]) * 8) for number in range(1, 6)))

    accepted = [intake.offer(five).spans for _ in range(2)]
    for _ in range(2):
        with pytest.raises(ResourceExhaustedError, match="full with 10 spans") as refused:
            intake.offer(five)
        assert refused.value.retry_after_s == 1
    intake.drain()
    accepted.append(intake.offer(five).spans)

    assert accepted == [0, 0, 0]
    assert intake.results["refused"] == 10
    assert intake.results["batch"] == 15


def test_what_can_never_fit_is_dropped_for_good() -> None:
    intake = Intake(lambda _: None, max_spans=4, max_bytes=1 << 20)
    five = request(*(span(BATCH, span_id=bytes([number]) * 8) for number in range(1, 6)))

    refusal = intake.offer(five)

    assert refusal.spans == 5
    assert "expected at most 4" in refusal.reason
    assert intake.results["dropped"] == 5


def test_the_queue_is_bounded_by_bytes_too() -> None:
    one = request(span(BATCH))
    intake = Intake(lambda _: None, max_spans=1_000, max_bytes=one.ByteSize() + 100)

    assert intake.offer(one).spans == 0
    with pytest.raises(ResourceExhaustedError):
        intake.offer(one)


def test_a_request_of_scopes_alone_is_refused() -> None:
    intake = Intake(lambda _: None, max_spans=10, max_bytes=1 << 20)
    told = request(span(BATCH))
    for _ in range(18):
        told.resource_spans[0].scope_spans.add()
    assert intake.offer(told).spans == 0

    told.resource_spans[0].scope_spans.add()
    with pytest.raises(InvalidArgumentError, match="got 21 resources and scopes or more, expected at most 20"):
        intake.offer(told)
    assert intake.results["batch"] == 1


def test_the_lag_is_how_long_what_comes_next_has_waited() -> None:
    now_s, seen = 100.0, []
    intake = Intake(lambda _: seen.append(intake.lag_s), max_spans=100, max_bytes=1 << 20, clock=lambda: now_s)
    assert intake.lag_s == 0.0
    for second in range(3):
        now_s = 100.0 + second
        intake.offer(request(span(BATCH, span_id=bytes([second + 1]) * 8)))

    now_s = 145.0
    assert intake.lag_s == 45.0
    intake.drain()

    assert seen == [44.0, 43.0, 0.0]
    assert intake.lag_s == 0.0
