"""The packed arrays of a batch span, and which spans are made."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.errors import InternalError
from services.common.lanes import Entry
from services.common.tracing import TraceContext
from services.inference.model_process.execution import Execution, Outcome, classify
from services.inference.model_process.lane import Delivery
from services.inference.model_process.telemetry import Telemetry
from services.inference.model_process.worker import BatchReport, Settled

TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


class Exporter:
    is_enabled = True

    def __init__(self) -> None:
        self.spans: list[tuple[str, TraceContext, dict[str, Any]]] = []

    def export(self, name: str, context: TraceContext, **rest: Any) -> None:
        self.spans.append((name, context, rest))


def settled(outcome: Outcome, *, is_sampled: bool = False, traceparent: str = TRACE, enqueue_ns: int = 0) -> Settled:
    entry = Entry(Envelope(is_sampled=is_sampled), b"", traceparent, "", enqueue_ns, 0)
    return Settled(Delivery("lane", b"1", entry), outcome, rows=2)


def report(*members: Settled) -> BatchReport:
    execution = Execution([one.outcome for one in members], 1, 2, 3)
    return BatchReport(
        members,
        execution,
        sum(one.rows for one in members),
        5_000_000,
        9_000_000,
        "full",
        TraceContext.new_root(is_sampled=True),
    )


def spans_of(batch: BatchReport) -> list[tuple[str, TraceContext, dict[str, Any]]]:
    exporter = Exporter()
    Telemetry(exporter, model="m", version="1", device="cpu").batch_ended(batch)  # type: ignore[arg-type]
    return exporter.spans


def test_the_batch_span_carries_every_request_in_order() -> None:
    batch = report(
        settled(Outcome(b"x", None, 0.75, 3)),
        settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR")), traceparent="odd", enqueue_ns=6_000_000),
    )
    name, context, rest = spans_of(batch)[0]
    attributes = rest["attributes"]
    assert (name, context) == ("batch m", batch.span)
    assert attributes["penstock.requests.trace_id"] == bytes.fromhex("ab" * 16) + bytes(16)
    assert attributes["penstock.requests.wait_us"] == struct.pack("<2I", 5_000, 0)
    assert attributes["penstock.requests.total_us"] == struct.pack("<2I", 9_000, 3_000)
    assert attributes["penstock.requests.status"] == bytes([0, 13])
    assert attributes["penstock.requests.confidence"][:4] == struct.pack("<f", 0.75)
    assert attributes["penstock.requests.class"] == struct.pack("<2i", 3, -1)
    assert (attributes["penstock.batch.rows"], attributes["messaging.batch.message_count"]) == (4, 2)
    assert rest["error"] is None, "one of them succeeded"


def test_the_gateways_span_speaks_for_a_request_that_it_gave_up() -> None:
    late = [
        replace(settled(outcome), is_abandoned=True) for outcome in (Outcome(b"x"), Outcome(error=InternalError("x")))
    ]

    attributes = spans_of(report(*late, settled(Outcome(b"x"))))[0][2]["attributes"]

    assert attributes["penstock.requests.status"] == bytes([1, 1, 0])


def test_sampled_and_failed_requests_get_a_span_that_links_to_the_batch_and_back() -> None:
    batch = report(
        settled(Outcome(b"x")),
        settled(Outcome(b"x"), is_sampled=True),
        settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR"))),
    )
    (_, _, whole), sampled, failed = spans_of(batch)
    parent = TraceContext.parse(TRACE)
    assert whole["links"] == [parent]
    assert (sampled[0], sampled[2]["parent"], sampled[2]["links"]) == ("process m", parent, [batch.span])
    assert (failed[2]["attributes"]["error.type"], failed[2]["error"]) == ("MODEL_ERROR", "broke")


def test_a_batch_that_failed_as_a_whole_is_a_failed_span() -> None:
    rest = spans_of(report(settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR")))))[0][2]
    assert (rest["error"], rest["attributes"]["error.type"]) == ("broke", "MODEL_ERROR")


@pytest.mark.parametrize(
    "outputs",
    [
        {"y": np.array([[0.5, 0.6]], np.float32)},
        {"y": np.array([[1.5, -0.5]], np.float32)},
        {"y": np.array([[1.0]], np.float32)},
        {"y": np.array([1.0], np.float32)},
        {"y": np.array([[0, 1]], np.int64)},
    ],
)
def test_what_is_no_distribution_over_classes_is_no_classifier(outputs: dict[str, np.ndarray]) -> None:
    assert classify(outputs, [0]) == ([], [])


def test_a_classifiers_confidence_is_that_of_each_requests_first_row() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], np.float32)
    confidences, classes = classify({"label": np.array([1, 0, 1]), "y": scores}, [0, 1])
    assert confidences == pytest.approx([0.9, 0.8])
    assert classes == [1, 0]
