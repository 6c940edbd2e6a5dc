from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.common.errors import ResourceExhaustedError
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
