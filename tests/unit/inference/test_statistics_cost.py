"""What is told of answers and inputs costs a model that answers one request at a time nearly nothing.

Calls of Python functions are counted, since times depend on the machine: one takes a tenth of a microsecond or two.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from services.inference.model_process.execution import Outcome
from tests.support.batch_reports import TRACE, Answering, settled, tensors
from tests.unit.inference.test_telemetry import Clock, Exporter, made, quick

LOOKED_AT = {"statistics.py", "answer_columns.py", "input_sketch.py", "batch_columns.py", "outputs.py"}
BATCHES = 1_000
UNSAMPLED = TRACE[:-1] + "0"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Calls of functions in the modules that tell of answers and inputs."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and (name := Path(frame.f_code.co_filename).name) in LOOKED_AT:
            calls[f"{name} {frame.f_code.co_name}"] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def classes(_number: int) -> np.ndarray:
    return np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)


def label(_number: int) -> np.ndarray:
    return np.array([[3]])


def token_scores(number: int) -> np.ndarray:
    return np.full((1, 5 + number % 40, 9), 0.5, np.float32)


@pytest.mark.parametrize(("answer", "most"), [(classes, 4), (label, 3), (token_scores, 7)])
def test_a_batch_of_one_request_takes_few_calls(answer: Callable[[int], np.ndarray], most: int) -> None:
    exporter = Exporter()
    telemetry = made(exporter, Clock())
    model, ask = Answering(answer(0)), tensors(np.zeros((1, 2), np.float32))
    outputs = [answer(number) for number in range(BATCHES)]
    members = [settled(Outcome(b"x" * 100), traceparent=UNSAMPLED, request=b"y" * 100) for _ in range(BATCHES)]
    reports = [quick(one, asks=[ask], start_ns=5_000_000 + number) for number, one in enumerate(members)]
    with counted() as calls:
        for array, report in zip(outputs, reports, strict=True):
            report.execution.answers = model.answers(array)
            telemetry.batch_ended(report)
        telemetry.flush()
    assert sum(calls.values()) / BATCHES <= most, calls.most_common()
    ((_, _, rest),) = exporter.spans
    assert rest["attributes"]["messaging.batch.message_count"] == BATCHES
    assert len(rest["attributes"]["penstock.inputs.sampled"]) == 256 * 4
