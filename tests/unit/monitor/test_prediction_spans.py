"""Spans that tell answers are read, or refused with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.common.request_keys import request_key
from services.monitor import otlp
from services.monitor.domain.quality.predictions import Predictions, rows_of
from tests.support.monitor_process import export_request, span

ATTRIBUTES: dict[str, Any] = {
    "penstock.model.name": "digits",
    "penstock.model.version": "7",
    "penstock.deployment.arm": "canary",
    "penstock.requests.id": request_key("a") + request_key("a", 1),
    "penstock.requests.class": np.array([1, -1], "<i4").tobytes(),
    "penstock.requests.confidence": np.array([0.75, np.nan], "<f4").tobytes(),
    "penstock.requests.value": np.array([np.nan, 2.5], "<f8").tobytes(),
    "penstock.requests.probabilities": np.array([[0.25, 0.75], [0, 0]], "<f2").tobytes(),
}


def read(**changes: Any) -> otlp.Readings:
    attributes = {**ATTRIBUTES, **{f"penstock.{name}": value for name, value in changes.items()}}
    return read_span(span("predictions digits", attributes, end_ns=9, start_ns=1, kind=1))


def read_span(one: Span) -> otlp.Readings:
    return otlp.read(TraceRequest.FromString(export_request(one).SerializeToString()))


def test_answers_are_read_row_by_row() -> None:
    (reading,) = read().spans
    assert isinstance(reading.observation, Predictions)
    first, second = rows_of(reading.observation)

    assert first.key == int.from_bytes(request_key("a"), "little", signed=True)
    assert (first.model, first.version, first.arm, first.time_ns) == ("digits", "7", "canary", 9)
    assert (first.predicted, first.confidence, first.value) == (1, 0.75, None)
    assert np.frombuffer(first.probabilities, "<f2").tolist() == [0.25, 0.75]
    assert (second.is_class, second.confidence, second.value, second.probabilities) == (False, None, 2.5, b"")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"requests.id": b"\0" * 9}, "expected 8 for each"),
        ({"requests.id": b""}, "expected 8 for each"),
        ({"requests.class": b"\0" * 4}, "expected 4 for each of 2"),
        ({"requests.class": np.array([-2, 0], "<i4").tobytes()}, "expected -1 or more"),
        ({"requests.class": np.array([2, 0], "<i4").tobytes()}, "classes up to 2"),
        ({"requests.probabilities": b"\0" * 7}, "expected 2 for each class"),
        ({"requests.value": b""}, "expected 8 for each of 2"),
        ({"model.version": ""}, "names no model"),
    ],
    ids=["odd ids", "no ids", "few classes", "negative class", "class beyond", "odd shares", "no values", "nobody's"],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], reason: str) -> None:
    readings = read(**changes)
    assert (readings.spans, readings.malformed) == ([], 1)
    assert reason in readings.error


@given(
    ids=st.binary(max_size=40),
    classes=st.binary(max_size=20),
    shares=st.binary(max_size=40),
    values=st.binary(max_size=40),
)
def test_no_bytes_do_harm(ids: bytes, classes: bytes, shares: bytes, values: bytes) -> None:
    changes = {
        "requests.id": ids,
        "requests.class": classes,
        "requests.probabilities": shares,
        "requests.value": values,
        "requests.confidence": classes,
    }
    for reading in read(**changes).spans:
        assert isinstance(reading.observation, Predictions)
        assert len(rows_of(reading.observation)) == len(ids) // 8
