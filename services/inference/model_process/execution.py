"""Runs a batch: joins the inputs, calls the model, gives each request its rows back."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

from services.common.boundary import internal_message
from services.common.errors import InternalError, InvalidArgumentError, PenstockError
from services.inference.backends import Array, ElsewhereError, InputError, Model, RefusedError, RunError
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.statistics import Kept, Statistics, answers_of
from services.inference.model_process.tensors import Tensors, join

MODEL_ERROR = "MODEL_ERROR"

SHORT_NS = 300_000
"""Batches of a shorter mean time run in the event loop's thread."""
STALL_S = 0.25
_LONG_NS = 10_000_000
_MOST_COUNTED_NS = 1_500_000
_FIRST_MEAN_NS = 10_000_000
_MEAN_OVER = 8


@dataclass(slots=True)
class Outcome:
    """How a request ended: a serialised response, or an error. ``sent_bytes`` are those of a stream's responses."""

    response: bytes | memoryview = b""
    error: PenstockError | None = None
    sent_bytes: int = 0


@dataclass(slots=True)
class Execution:
    """One outcome per request, in order, and where the time went, in nanoseconds.

    ``answers`` are those to all of the requests; None where they were not run together.
    """

    outcomes: list[Outcome]
    input_ns: int
    infer_ns: int
    output_ns: int
    answers: Kept | Statistics | None = None

    @property
    def took_ns(self) -> int:
        return self.input_ns + self.infer_ns + self.output_ns


Pick = Callable[[], Sequence[Tensors]]
"""Says, in any thread, what a batch holds when its turn has come."""


class Executor(Protocol):
    """Runs one batch at a time; one that is given meanwhile comes right after it."""

    async def run(self, pick: Pick) -> Execution:
        """Never raises because of a request or the model: that is an outcome."""


R = TypeVar("R")

Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ModelExecutor:
    """Runs batches in a thread, so that the event loop goes on serving; short ones at once, since waking a thread and
    the loop again takes longer. Belongs to the loop that it was made in.

    Batches are short while the running mean of their times is below ``SHORT_NS``. One of 10 ms or more sends the next
    ones back to the thread, as two of less do: a single one may have waited for the processor. ``on_stall`` is called
    from another thread, again and again, while one that was thought to be short keeps the loop from what it has to do.
    """

    def __init__(self, model: Model, encoder: Encoder, *, is_batchable: bool, on_stall: Callable[[], None]) -> None:
        self._model = model
        self._encoder = encoder
        self._is_batchable = is_batchable
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="executor", daemon=True)
        self._thread.start()
        self._mean_ns = _FIRST_MEAN_NS
        self._watch = StallWatch(on_stall)

    async def run(self, pick: Pick) -> Execution:
        if self._mean_ns < SHORT_NS:
            self._watch.begin()
            execution = self._execute(pick)
            self._watch.end()
        else:
            done: asyncio.Future[Execution] = self._loop.create_future()
            self._jobs.put((partial(self._execute, pick), done))
            execution = await done
        took_ns = execution.took_ns
        counted_ns = took_ns if took_ns >= _LONG_NS else min(took_ns, _MOST_COUNTED_NS)
        self._mean_ns += (counted_ns - self._mean_ns) // _MEAN_OVER
        return execution

    async def call(self, work: Callable[[], R]) -> R:
        """Do something else with the model in the thread, where batches run too. Not beside :meth:`run`."""
        done: asyncio.Future[R] = self._loop.create_future()
        self._jobs.put((work, done))
        return await done

    def _execute(self, pick: Pick) -> Execution:
        if batch := pick():
            return execute(self._model, self._encoder, batch, is_batchable=self._is_batchable)
        return Execution([], 0, 0, 0)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - as an executor's future: whoever awaits gets it
                self._loop.call_soon_threadsafe(_fail, done, error)
            else:
                self._loop.call_soon_threadsafe(_finish, done, result)

    def close(self) -> None:
        """Wait until the batch in hand is done."""
        self._jobs.put(None)
        self._thread.join()
        self._watch.close()


class StallWatch:
    """Calls ``on_stall`` every ``STALL_S`` while the event loop is held up, from twice that time on at the latest.

    Its thread starts with the first batch, and sleeps while there are none.
    """

    def __init__(self, on_stall: Callable[[], None]) -> None:
        self._on_stall = on_stall
        self._number = 0
        self._is_running = False
        self._is_asleep = True
        self._begun, self._closed = Event(), Event()
        self._thread: Thread | None = None

    def begin(self) -> None:
        self._number += 1
        self._is_running = True
        if self._is_asleep:
            self._wake()

    def _wake(self) -> None:
        self._begun.set()
        if self._thread is None:
            self._thread = Thread(target=self._look, name="stall watch", daemon=True)
            self._thread.start()

    def end(self) -> None:
        self._is_running = False

    def _look(self) -> None:
        seen = self._sleep(0)
        while not self._closed.wait(STALL_S):
            if self._number != seen:
                seen = self._number
            elif self._is_running:
                self._on_stall()
            else:
                self._begun.clear()
                seen = self._sleep(seen)

    def _sleep(self, seen: int) -> int:
        """Sleep until a batch begins that was not seen; its number."""
        self._is_asleep = True  # whoever begins one from now on sets the event, which was cleared before
        if self._number == seen and not self._closed.is_set():
            self._begun.wait()
        self._is_asleep = False
        return self._number

    def close(self) -> None:
        self._closed.set()
        self._begun.set()
        if self._thread is not None:
            self._thread.join()


def _finish(done: asyncio.Future[R], result: R) -> None:
    if not done.cancelled():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.cancelled():
        done.set_exception(error)


def execute(model: Model, encoder: Encoder, batch: Sequence[Tensors], *, is_batchable: bool) -> Execution:
    """Run a batch. When several fail together each is run again alone, so that only the guilty one gets the error.

    Where it is known whose input is wrong the others run together, and nobody's is run again where it is nobody's.
    """
    start = time.perf_counter_ns()
    try:
        inputs = join(batch)
        joined = time.perf_counter_ns()
        outputs = _checked(model.run(inputs), sum([one.rows for one in batch]), is_batchable=is_batchable)
    except InputError as error:
        refused = _refused(error, batch)
        parts = [Execution([], 0, time.perf_counter_ns() - start, 0)]
        if rest := [one for number, one in enumerate(batch) if number not in refused]:
            parts.append(execute(model, encoder, rest, is_batchable=is_batchable))
        served = iter(parts[-1].outcomes)
        outcomes = [refused[number] if number in refused else next(served) for number in range(len(batch))]
        return replace(_sum(parts), outcomes=outcomes)
    except Exception as error:  # noqa: BLE001 - whatever the model provokes ends here, as an outcome
        if len(batch) == 1 or (isinstance(error, ElsewhereError) and not error.is_of_input):
            elapsed = time.perf_counter_ns() - start
            return Execution([Outcome(error=model_error(error)) for _ in batch], 0, elapsed, 0)
        return _sum([execute(model, encoder, [one], is_batchable=is_batchable) for one in batch])
    ran = time.perf_counter_ns()
    outcomes, answers = _split(encoder, batch, outputs, is_batchable=is_batchable)
    return Execution(outcomes, joined - start, ran - joined, time.perf_counter_ns() - ran, answers)


def _refused(error: InputError, batch: Sequence[Tensors]) -> dict[int, Outcome]:
    """How the requests end that the wrong rows belong to, by their number."""
    if len(batch) == 1:
        return {0: Outcome(error=InvalidArgumentError(str(error)))}
    ends, found = list(accumulate([one.rows for one in batch])), {}
    for row in sorted(error.rows, reverse=True):
        number = bisect_right(ends, row)
        first_row = ends[number] - batch[number].rows
        found[number] = Outcome(error=InvalidArgumentError(error.message(row, first_row=first_row)))
    return found


def _checked(outputs: dict[str, Array], rows: int, *, is_batchable: bool) -> dict[str, Array]:
    for name, array in outputs.items():
        if is_batchable and (array.ndim == 0 or array.shape[0] != rows):
            raise RunError(f"the model gave output {name!r} the shape {list(array.shape)} for a batch of {rows} rows")
    return outputs


def _split(
    encoder: Encoder, batch: Sequence[Tensors], outputs: dict[str, Array], *, is_batchable: bool
) -> tuple[list[Outcome], Kept | Statistics | None]:
    rows = [one.form.rows for one in batch]
    starts = list(accumulate(rows, initial=0)) if is_batchable else [0]
    prepared = encoder.prepare(outputs)
    outcomes = []
    for number, one in enumerate(batch):
        try:
            response = encoder.encode(one, prepared, starts[number])
        except Exception as error:  # noqa: BLE001 - as in execute
            outcomes.append(Outcome(error=error if isinstance(error, PenstockError) else model_error(error)))
        else:
            outcomes.append(Outcome(response))
    return outcomes, answers_of(prepared, rows, starts[-1] or 1)


def _sum(parts: Sequence[Execution]) -> Execution:
    return Execution(
        [outcome for part in parts for outcome in part.outcomes],
        sum(part.input_ns for part in parts),
        sum(part.infer_ns for part in parts),
        sum(part.output_ns for part in parts),
    )


def model_error(error: Exception) -> PenstockError:
    """What a caller is told of a model's failure."""
    if isinstance(error, ElsewhereError):
        return error.error
    if isinstance(error, RefusedError):
        return InvalidArgumentError(str(error))
    message = str(error) if isinstance(error, RunError) else internal_message(error)
    return InternalError(message, reason=MODEL_ERROR)
