"""What a new version is put through, with made-up inputs, before it may serve."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from services.common.datatypes import bfloat16_as_floats, datatype
from services.inference.backends import Array, Arrays, Drained, Model, RunError
from services.inference.backends.samples import examples_of, sample, working_sizes
from services.inference.domain.agreement import compare
from services.inference.domain.fleet import effective_batch_size
from services.inference.domain.signature import Signature

_ROWS = 5
_EXTREMES = (1e2, 1e4, -1e4, float("nan"))
_SLACK = 10.0
"""Times the usual tolerance: batches of another size are summed up in another order."""
_MOST_RESPONSES = 1_000
_LONGEST_STREAM_S = 10.0
_BATCHES = (1, 4, 16)
_RUNS = 5
_LONG_S = 2.0
"""No larger batch is measured than one that took so long."""
_RESET_PEAK = "5"  # proc_pid_clear_refs(5)
CLEAR_REFS = Path("/proc/self/clear_refs")


class Outcome(StrEnum):
    """What came of a probe; the names are those of ``Probe.Outcome``."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that was tried: "repeats", "batches" or "rows"; of a decoupled model "stream"."""

    name: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BatchMeasurement:
    """What a batch takes: the median of its times, and memory beyond what the process had with the model loaded.

    Libraries keep memory for the next batch, so that this is the largest batch's so far.
    """

    rows: int
    duration_s: float
    peak_bytes: int


class _SkipError(Exception):
    """It can't be tried with this model."""


class Prober:
    """Tries a loaded model, and measures it."""

    def __init__(self, model: Model) -> None:
        """Raises: LoadError: the model fails whatever the size of its free dimensions."""
        self._model = model
        self._signature = model.signature
        self._examples = examples_of(model)
        (self._free_size,) = working_sizes(model, model.signature)
        self.resident_bytes = _memory("VmRSS:")
        """Of this process, with the model; 0 where the kernel doesn't tell."""

    def probe(self) -> Iterator[Probe]:
        """Whether it repeats itself and, where its shapes allow batches, whether strangers may share one."""
        yield self._try("repeats", self._repeats)
        if self._signature.is_batchable:
            yield self._try("batches", self._batches)
            yield self._try("rows", self._rows)

    @staticmethod
    def _try(name: str, trial: Callable[[], str]) -> Probe:
        try:
            difference = trial()
        except _SkipError as error:
            return Probe(name, Outcome.SKIPPED, str(error))
        except RunError as error:
            return Probe(name, Outcome.FAILED, f"the model fails: {error}")
        return Probe(name, Outcome.FAILED if difference else Outcome.PASSED, difference)

    def _repeats(self) -> str:
        inputs = self._sample(1)
        return self._difference(self._model.run(inputs), self._model.run(inputs))

    def _batches(self) -> str:
        """A row gives alone what it gives among others."""
        inputs = self._sample(_ROWS)
        together = self._model.run(inputs)
        for row in range(_ROWS):
            alone = self._model.run(_row(inputs, row))
            if any(output.shape[:1] != (_ROWS,) for output in together.values()):
                return f"{_ROWS} rows give {[list(output.shape) for output in together.values()]}"
            if difference := self._difference(_row(together, row), alone):
                return f"row {row} alone is not what it is among {_ROWS}: {difference}"
        return ""

    def _rows(self) -> str:
        """A row gives the same whatever the others are."""
        inputs, tried = self._sample(_ROWS), 0
        expected = _row(self._model.run(inputs), 0)
        for extreme in _EXTREMES:
            others = {name: self._extreme(name, array, extreme) for name, array in inputs.items()}
            mixed = {name: np.concatenate([array[:1], others[name][1:]]) for name, array in inputs.items()}
            try:
                got = _row(self._model.run(mixed), 0)
            except RunError:  # of the extreme itself
                continue
            tried += 1
            if difference := self._difference(got, expected):
                return f"a row is another one beside rows {extreme:g} times as large: {difference}"
        if not tried:
            raise _SkipError("the model takes no extreme values")
        return ""

    def _extreme(self, name: str, array: Array, factor: float) -> Array:
        spec = next(one for one in self._signature.inputs if one.name == name)
        kind = datatype(spec.datatype)
        if kind.name == "BF16":
            floats = bfloat16_as_floats(array) * np.float32(factor)
            return (floats.view(np.uint32) >> 16).astype(np.uint16)
        if kind.name == "BYTES":
            return np.full_like(array, max(self._examples.get(name, (b"x" * 1000,)), key=len))
        with np.errstate(over="ignore", invalid="ignore"):
            return (array * factor).astype(array.dtype) if kind.dtype.kind == "f" else np.flip(array, -1).copy()

    def _sample(self, rows: int) -> dict[str, Array]:
        """Indices that are too large for the model, or else zeros."""
        size, seed, examples = self._free_size, rows, self._examples
        inputs = sample(self._signature, rows=rows, free_size=size, seed=seed, integers_below=8, examples=examples)
        try:
            self._model.run(inputs)
        except RunError:
            return sample(self._signature, rows=rows, free_size=size, seed=seed, examples=examples)
        return inputs

    def _difference(self, got: Arrays, expected: Arrays) -> str:
        """Where outputs differ by more than rounding; empty where they don't."""
        for spec in self._signature.outputs:
            found = compare(spec.name, spec.datatype, got[spec.name], expected[spec.name], slack=_SLACK)
            if found.difference:
                return found.difference
        return ""

    def measure(self, signature: Signature) -> Iterator[BatchMeasurement]:
        """Batches from one row to the most that the model is served with by default."""
        most = effective_batch_size(0, signature)
        for rows in sorted({*(size for size in _BATCHES if size < most), most}):
            try:
                found = self._measured(rows)
            except RunError:
                return
            yield found
            if found.duration_s > _LONG_S:
                return

    def _measured(self, rows: int) -> BatchMeasurement:
        inputs = self._sample(rows)
        _reset_peak()
        times = []
        for _ in range(_RUNS):
            start = time.perf_counter()
            self._model.run(inputs)
            times.append(time.perf_counter() - start)
            if times[-1] > _LONG_S:
                break
        return BatchMeasurement(rows, statistics.median(times), max(0, _memory("VmHWM:") - self.resident_bytes))


class StreamProber(Prober):
    """Tries a decoupled model. A response is not compared: the next one may well say how late it is."""

    def __init__(self, model: Model) -> None:
        self._streams = Drained(model, most=_MOST_RESPONSES, within_s=_LONGEST_STREAM_S)
        super().__init__(self._streams)

    def probe(self) -> Iterator[Probe]:
        """Whether it makes responses, to its end where that is near."""
        self._model.run(self._sample(1))
        end = "" if self._streams.is_whole else ", then it was closed"
        yield Probe("stream", Outcome.PASSED, f"{self._streams.count} responses{end}")


def _row(arrays: Arrays, row: int) -> dict[str, Array]:
    return {name: array[row : row + 1] for name, array in arrays.items()}


def _memory(field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        CLEAR_REFS.write_text(_RESET_PEAK)
