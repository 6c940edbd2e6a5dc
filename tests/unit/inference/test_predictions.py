"""What a model process tells of its answers, for labels that come later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from penstock.queue.v1.envelope_pb2 import ARM_CANARY, Envelope
from services.common.errors import InternalError
from services.common.lanes import Entry
from services.common.request_keys import request_key
from services.common.tracing import TraceContext
from services.inference.model_process.execution import Outcome
from services.inference.model_process.lane import Delivery
from services.inference.model_process.predictions import Predictions
from services.inference.model_process.worker import Settled
from tests.support.batch_reports import Answering, report


class Exporter:
    is_enabled = True

    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, Any]]] = []

    def export(self, name: str, _context: TraceContext, *, attributes: dict[str, Any], **_rest: Any) -> None:
        self.spans.append((name, attributes))


class Timer:
    def cancel(self) -> None:
        """Nothing rings by itself here."""


def telling() -> tuple[Predictions, Exporter]:
    exporter = Exporter()
    later: Callable[..., Any] = lambda _seconds, _call: Timer()  # noqa: E731 - a stand-in
    return Predictions(exporter, model="m", constants=b"", later=later), exporter  # type: ignore[arg-type]


def member(
    request_id: str, *, rows: int = 1, arm: int = 0, failed: bool = False, is_abandoned: bool = False
) -> Settled:
    entry = Entry(Envelope(request_id=request_id, arm=arm), b"", "", "", 0, 0)  # type: ignore[arg-type]
    outcome = Outcome(error=InternalError("no")) if failed else Outcome()
    return Settled(Delivery("lane", b"1", entry), outcome, rows=rows, is_abandoned=is_abandoned)


def told(exporter: Exporter) -> dict[str, Any]:
    ((name, attributes),) = exporter.spans
    assert name == "predictions m"
    return attributes


def test_a_classifiers_answers_are_told_by_key_with_all_probabilities() -> None:
    predictions, exporter = telling()
    scores = np.array([[0.75, 0.25], [0.25, 0.75]], np.float32)

    predictions.add(report(member("a"), member("b"), answers=Answering(scores).answers(scores, rows=(1, 1))))
    predictions.flush()

    attributes = told(exporter)
    assert attributes["penstock.requests.id"] == request_key("a") + request_key("b")
    assert np.frombuffer(attributes["penstock.requests.class"], "<i4").tolist() == [0, 1]
    assert np.frombuffer(attributes["penstock.requests.confidence"], "<f4").tolist() == [0.75, 0.75]
    assert np.frombuffer(attributes["penstock.requests.probabilities"], "<f2").reshape(2, 2).tolist() == scores.tolist()
    assert np.isnan(np.frombuffer(attributes["penstock.requests.value"], "<f8")).all()


def test_each_row_of_a_request_has_a_key_of_its_own() -> None:
    predictions, exporter = telling()
    scores = np.array([[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]], np.float32)

    predictions.add(
        report(member("", rows=1), member("b", rows=2), answers=Answering(scores).answers(scores, rows=(1, 2)))
    )
    predictions.flush()

    attributes = told(exporter)
    assert attributes["penstock.requests.id"] == request_key("b") + request_key("b", 1)
    assert np.frombuffer(attributes["penstock.requests.class"], "<i4").tolist() == [1, 0]


def test_numbers_are_told_as_numbers() -> None:
    predictions, exporter = telling()
    values = np.array([[1.5], [-2.0]], np.float32)

    predictions.add(report(member("a"), member("b"), answers=Answering(values).answers(values, rows=(1, 1))))
    predictions.flush()

    attributes = told(exporter)
    assert np.frombuffer(attributes["penstock.requests.value"], "<f8").tolist() == [1.5, -2.0]
    assert np.frombuffer(attributes["penstock.requests.class"], "<i4").tolist() == [-1, -1]
    assert "penstock.requests.probabilities" not in attributes


def test_answers_that_nobody_can_read_are_told_by_their_keys_alone() -> None:
    predictions, exporter = telling()

    predictions.add(report(member("a"), answers=None))
    predictions.flush()

    assert np.frombuffer(told(exporter)["penstock.requests.class"], "<i4").tolist() == [-1]


@pytest.mark.parametrize("more", [{"failed": True}, {"is_abandoned": True}], ids=["failed", "abandoned"])
def test_what_nobody_got_is_not_told(more: dict[str, bool]) -> None:
    predictions, exporter = telling()
    scores = np.array([[0.75, 0.25], [0.25, 0.75]], np.float32)

    predictions.add(report(member("a", **more), member("b"), answers=Answering(scores).answers(scores, rows=(1, 1))))
    predictions.add(report(member(""), answers=Answering(scores).answers(scores[:1])))
    predictions.flush()

    attributes = told(exporter)
    assert attributes["penstock.requests.id"] == request_key("b")
    assert np.frombuffer(attributes["penstock.requests.class"], "<i4").tolist() == [1]


def test_arms_are_told_apart() -> None:
    predictions, exporter = telling()
    scores = np.array([[0.75, 0.25]], np.float32)
    answering = Answering(scores)

    predictions.add(report(member("a"), answers=answering.answers(scores)))
    predictions.add(report(member("b", arm=ARM_CANARY), answers=answering.answers(scores)))
    predictions.flush()

    arms = [attributes.get("penstock.deployment.arm", "stable") for _, attributes in exporter.spans]
    assert arms == ["stable", "canary"]


def test_many_are_told_without_waiting() -> None:
    predictions, exporter = telling()
    scores = np.full((64, 2), 0.5, np.float32)
    answering = Answering(scores)

    for number in range(64):
        ids = [member(f"{number}-{one}") for one in range(64)]
        predictions.add(report(*ids, answers=answering.answers(scores, rows=[1] * 64)))

    assert len(told(exporter)["penstock.requests.id"]) == 8 * 64 * 64
