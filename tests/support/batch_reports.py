"""Executed batches, as a worker reports them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.lanes import Entry
from services.common.trace_context import TraceContext
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import Execution, Outcome
from services.inference.model_process.lane import Delivery
from services.inference.model_process.statistics import Kept, Statistics, answers_of
from services.inference.model_process.tensors import Form, Tensors
from services.inference.model_process.worker import BatchReport, Request, Settled

TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
_DATATYPES = {"e": "FP16", "f": "FP32", "d": "FP64", "H": "BF16", "l": "INT64", "O": "BYTES"}


def tensors(*arrays: np.ndarray, is_raw: bool = True) -> Tensors:
    """A request for these inputs, which are called x0, x1, …"""
    names = tuple(f"x{number}" for number in range(len(arrays)))
    form = Form(names, tuple(one.dtype for one in arrays), tuple(one.shape for one in arrays), (), len(arrays[0]), None)
    if is_raw:
        return Tensors("", form, (), [one.tobytes() for one in arrays])
    return Tensors("", form, (), None, dict(zip(names, arrays, strict=True)))


def settled(
    outcome: Outcome,
    *,
    is_sampled: bool = False,
    traceparent: str = TRACE,
    enqueue_ns: int = 0,
    request: bytes | memoryview = b"",
    **envelope: Any,
) -> Settled:
    entry = Entry(Envelope(is_sampled=is_sampled, **envelope), request, traceparent, "", enqueue_ns, 0)
    return Settled(Delivery("lane", b"1", entry), outcome, rows=2)


def asked(delivery: Delivery, asks: Tensors | None = None) -> Request:
    return Request(delivery, asks or tensors(np.zeros((1, 2), np.float32)))


def report(
    *members: Settled,
    start_ns: int = 5_000_000,
    end_ns: int = 9_000_000,
    answers: Kept | Statistics | None = None,
    asks: Sequence[Tensors | None] = (),
) -> BatchReport:
    """``asks`` is what the members ask for; a row of two numbers if nothing is said."""
    execution = Execution([one.outcome for one in members], 1, 2, 3, answers)
    return BatchReport(
        members,
        execution,
        sum(one.rows for one in members),
        start_ns,
        end_ns,
        "full",
        TraceContext.new_root(is_sampled=True),
        [asked(one.delivery, ask) for one, ask in zip(members, asks or [None] * len(members), strict=True)],
    )


class Answering:
    """A model's outputs on their way to its callers, as far as they are told of."""

    def __init__(self, *outputs: np.ndarray, is_batchable: bool = True) -> None:
        """``outputs`` show the types of what it answers; uint16 is BF16."""
        specs = tuple(
            TensorSpec(str(number), _DATATYPES[one.dtype.char], (-1,) * one.ndim) for number, one in enumerate(outputs)
        )
        signature = Signature((), specs, is_batchable=is_batchable)
        self._encoder = Encoder(model="m", version="1", signature=signature)

    def answers(self, *outputs: np.ndarray, rows: Sequence[int] = (1,)) -> Kept | Statistics | None:
        """What is kept of a batch's outputs, whose requests have so many rows."""
        prepared = self._encoder.prepare({str(number): one for number, one in enumerate(outputs)})
        return answers_of(prepared, list(rows), sum(rows))


def answers(*outputs: np.ndarray, rows: Sequence[int] = (1,), **more: Any) -> Kept | Statistics | None:
    """What is kept of the only batch of a model."""
    return Answering(*outputs, **more).answers(*outputs, rows=rows)
