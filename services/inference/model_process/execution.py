"""Runs a batch: joins the inputs, calls the model, gives each request its rows back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

import numpy as np

from services.common.boundary import internal_message
from services.common.errors import InternalError, PenstockError
from services.inference.backends import Array, Model, RunError
from services.inference.model_process.codec import Codec, Tensors

MODEL_ERROR = "MODEL_ERROR"

_MOST_CLASSES = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: a serialised response, or an error. ``top_class`` is -1 unless the model is a classifier."""

    response: bytes = b""
    error: PenstockError | None = None
    confidence: float = float("nan")
    top_class: int = -1


@dataclass(frozen=True, slots=True)
class Execution:
    """One outcome per request, in order, and where the time went, in nanoseconds."""

    outcomes: list[Outcome]
    input_ns: int
    infer_ns: int
    output_ns: int


class Executor(Protocol):
    """Runs one batch at a time."""

    async def run(self, batch: Sequence[Tensors]) -> Execution:
        """Never raises because of a request or the model: that is an outcome."""


Job = tuple[Sequence[Tensors], "asyncio.Future[Execution]"]


class ThreadExecutor:
    """Runs batches in one thread, so that the event loop goes on serving. Belongs to the loop that it was made in.

    A queue and a future take 20 µs of CPU for each batch where ``run_in_executor`` takes 32 (benchmarks, one client).
    """

    def __init__(self, model: Model, codec: Codec, *, is_batchable: bool) -> None:
        self._model = model
        self._codec = codec
        self._is_batchable = is_batchable
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="executor", daemon=True)
        self._thread.start()

    async def run(self, batch: Sequence[Tensors]) -> Execution:
        done: asyncio.Future[Execution] = self._loop.create_future()
        self._jobs.put((batch, done))
        return await done

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch, done = job
            try:
                execution = execute(self._model, self._codec, batch, is_batchable=self._is_batchable)
            except BaseException as error:  # noqa: BLE001 - as an executor's future: whoever awaits gets it
                self._loop.call_soon_threadsafe(_fail, done, error)
            else:
                self._loop.call_soon_threadsafe(_finish, done, execution)

    def close(self) -> None:
        """Wait until the batch in hand is done."""
        self._jobs.put(None)
        self._thread.join()


def _finish(done: asyncio.Future[Execution], execution: Execution) -> None:
    if not done.cancelled():
        done.set_result(execution)


def _fail(done: asyncio.Future[Execution], error: BaseException) -> None:
    if not done.cancelled():
        done.set_exception(error)


def execute(model: Model, codec: Codec, batch: Sequence[Tensors], *, is_batchable: bool) -> Execution:
    """Run a batch. When several fail together each is run again alone, so that only the guilty one gets the error."""
    start = time.perf_counter_ns()
    try:
        inputs = join(batch)
        joined = time.perf_counter_ns()
        outputs = _checked(model.run(inputs), sum(one.rows for one in batch), is_batchable=is_batchable)
    except Exception as error:  # noqa: BLE001 - whatever the model provokes ends here, as an outcome
        if len(batch) == 1:
            elapsed = time.perf_counter_ns() - start
            return Execution([Outcome(error=_model_error(error))], 0, elapsed, 0)
        return _sum([execute(model, codec, [one], is_batchable=is_batchable) for one in batch])
    ran = time.perf_counter_ns()
    outcomes = _split(codec, batch, outputs, is_batchable=is_batchable)
    return Execution(outcomes, joined - start, ran - joined, time.perf_counter_ns() - ran)


def join(batch: Sequence[Tensors]) -> Mapping[str, Array]:
    """The inputs of all, one below the other."""
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs}


def _checked(outputs: dict[str, Array], rows: int, *, is_batchable: bool) -> dict[str, Array]:
    for name, array in outputs.items():
        if is_batchable and (array.ndim == 0 or array.shape[0] != rows):
            raise RunError(f"the model gave output {name!r} the shape {list(array.shape)} for a batch of {rows} rows")
    return outputs


def _split(codec: Codec, batch: Sequence[Tensors], outputs: dict[str, Array], *, is_batchable: bool) -> list[Outcome]:
    starts = list(accumulate((one.rows for one in batch), initial=0)) if is_batchable else []
    confidences, classes = classify(outputs, starts[:-1])
    outcomes = []
    for number, one in enumerate(batch):
        try:
            share = (
                {name: array[starts[number] : starts[number + 1]] for name, array in outputs.items()}
                if len(batch) > 1
                else outputs
            )
            response = codec.encode(one, share)
        except Exception as error:  # noqa: BLE001 - as in execute
            outcomes.append(Outcome(error=error if isinstance(error, PenstockError) else _model_error(error)))
        else:
            outcomes.append(
                Outcome(response, None, confidences[number], classes[number]) if classes else Outcome(response)
            )
    return outcomes


def classify(outputs: Mapping[str, Array], first_rows: list[int]) -> tuple[list[float], list[int]]:
    """Highest probability and its index for each of some rows; empty when the model is no classifier.

    A classifier's first floating-point output is [rows, 2 to 10,000 classes], and rows sum to 1.
    """
    scores = next((array for array in outputs.values() if array.dtype.kind == "f"), None)
    if scores is None or scores.ndim != 2 or not 2 <= scores.shape[1] <= _MOST_CLASSES or not first_rows:
        return [], []
    with np.errstate(over="ignore", invalid="ignore"):  # scores may be anything
        rows = scores[first_rows].astype(np.float32, copy=False)
        if rows.min() < 0 or not (np.abs(rows.sum(axis=1) - 1.0) < 1e-2).all():
            return [], []
    return rows.max(axis=1).tolist(), rows.argmax(axis=1).tolist()


def _sum(parts: Sequence[Execution]) -> Execution:
    return Execution(
        [outcome for part in parts for outcome in part.outcomes],
        sum(part.input_ns for part in parts),
        sum(part.infer_ns for part in parts),
        sum(part.output_ns for part in parts),
    )


def _model_error(error: Exception) -> InternalError:
    message = str(error) if isinstance(error, RunError) else internal_message(error)
    return InternalError(message, reason=MODEL_ERROR)
