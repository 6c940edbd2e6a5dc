"""Measure what watching costs: ``python -m benchmarks.watching``. Single-threaded CPU time, no network."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.watching.monitor import analysis_cost
from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.lanes import Entry
from services.common.tracing import TraceContext
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import Execution, Outcome
from services.inference.model_process.lane import Delivery
from services.inference.model_process.outputs import Outputs
from services.inference.model_process.statistics import answers_of
from services.inference.model_process.telemetry import Telemetry
from services.inference.model_process.tensors import Form, Tensors
from services.inference.model_process.worker import BatchReport, Request, Settled

_REQUESTS = 30_000
_ROUNDS = 3
_INPUTS = {"16 features": (16,), "an image of 32 x 32 x 3": (32, 32, 3)}
_TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"


class _Sink:
    """An exporter that encodes nothing and keeps nothing."""

    is_enabled = True

    def export(self, *_: Any, **__: Any) -> None: ...


class _Timer:
    def cancel(self) -> None: ...


def _later(_seconds: float, _call: Callable[[], None]) -> Any:
    return _Timer()


def _outputs(batch: int, classes: int, signature: Signature) -> Outputs:
    """What a classifier gave."""
    scores = np.random.default_rng(1).dirichlet(np.ones(classes), batch).astype(np.float32)
    return Encoder(model="m", version="1", signature=signature).prepare({"Y": scores})


def _reports(batch: int, shape: tuple[int, ...], outputs: Outputs, *, is_told: bool) -> list[BatchReport]:
    """A second's batches of a classifier, with what is to be told of answers and inputs or without."""
    content = np.random.default_rng(1).normal(size=shape).astype(np.float32).tobytes()
    form = Form(("X",), (np.dtype("<f4"),), ((1, *shape),), (0,), 1, None)
    reports = []
    for number in range(_REQUESTS // batch):
        members = [
            Settled(Delivery("lane", b"1", Entry(Envelope(), content, _TRACE, "", number, 0)), Outcome(b"x"), 1)
            for _ in range(batch)
        ]
        answers = answers_of(outputs, [1] * batch, batch) if is_told else None
        execution = Execution([one.outcome for one in members], 1, 2, 3, answers)
        asked = [Request(one.delivery, Tensors("", form, (), [content])) for one in members] if is_told else []
        end_ns = number * (1_000_000_000 * batch // _REQUESTS)
        reports.append(
            BatchReport(
                members, execution, batch, end_ns, end_ns + 1, "full", TraceContext.new_root(is_sampled=True), asked
            )
        )
    return reports


def _cost_us(reports: list[BatchReport], signature: Signature, *, again: Callable[[], object] = lambda: None) -> float:
    """CPU per request of telling one second's batches, the least of some rounds."""
    costs = []
    for _ in range(_ROUNDS):
        telemetry = Telemetry(
            _Sink(),  # type: ignore[arg-type]
            model="m", version="1", device="cpu", later=_later, signature=signature,
        )  # fmt: skip
        began = time.process_time()
        for report in reports:
            again()
            telemetry.batch_ended(report)
        telemetry.flush()
        costs.append(time.process_time() - began)
    return min(costs) / _REQUESTS * 1e6


def main() -> None:
    """Print one table for the model process and one line for the monitor."""
    print(f"{_REQUESTS:,} requests of a second, µs of CPU per request in the model process")
    print(f"{'inputs':<26}{'classes':>8}{'batch':>7}{'all':>9}{'figures':>9}{'answers and inputs':>20}")
    for name, shape in _INPUTS.items():
        for classes in (10, 1_000):
            signature = Signature(
                (TensorSpec("X", "FP32", (-1, *shape)),), (TensorSpec("Y", "FP32", (-1, classes)),), is_batchable=True
            )
            for batch in (1, 8, 32):
                outputs, rows = _outputs(batch, classes, signature), [1] * batch
                whole = _cost_us(
                    _reports(batch, shape, outputs, is_told=True),
                    signature,
                    again=lambda outputs=outputs, rows=rows: answers_of(outputs, rows, len(rows)),
                )
                plain = _cost_us(_reports(batch, shape, outputs, is_told=False), signature)
                print(f"{name:<26}{classes:>8}{batch:>7}{whole:>9.2f}{plain:>9.2f}{whole - plain:>20.2f}")
    read_us, judged_us = analysis_cost()
    print(f"monitor, 30,000 requests/s of 4 replicas: {read_us + judged_us:.2f} µs of CPU per request", end=" ")
    print(f"({read_us:.2f} to read, {judged_us:.2f} to analyse)")


if __name__ == "__main__":
    main()
