"""A model's kernels recorded once and launched together: to launch small ones takes longer than to run them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from services.inference.backends.torch_devices import Call

_log = logging.getLogger(__name__)

MOST_ROWS = 256
"""Larger batches keep a GPU busy without."""
_WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True)
class Recording:
    """``replay`` computes ``outputs`` from what is in ``inputs``, always in the same memory."""

    inputs: Sequence[Any]
    outputs: Sequence[Any]
    replay: Callable[[], None]


Recorder = Callable[[Call, Sequence[Any]], Recording]


class Recorded:
    """A model's inference, recorded for each power of two of rows when first asked for.

    Batches are padded with zeros up to it, so rows must not depend on each other. Outputs are good until the next call.
    A size that can't be recorded runs as it is.
    """

    def __init__(self, call: Call, *, max_rows: int, record: Recorder | None = None) -> None:
        self._call = call
        self._max_rows = max_rows
        self._record = record or GpuRecorder()
        self._recordings: dict[int, Recording | None] = {}

    def __call__(self, *tensors: Any) -> Sequence[Any]:
        rows = len(tensors[0])
        size = 1 << (rows - 1).bit_length()
        if self._max_rows:
            size = min(size, self._max_rows)
        if not rows <= size <= MOST_ROWS:
            return self._call(*tensors)
        if size not in self._recordings:
            self._recordings[size] = self._try_to_record([_padded(tensor, size) for tensor in tensors])
        recording = self._recordings[size]
        if recording is None:
            return self._call(*tensors)
        for kept, given in zip(recording.inputs, tensors, strict=True):
            kept[:rows].copy_(given)
            kept[rows:].zero_()
        recording.replay()
        return [output[:rows] for output in recording.outputs]

    def _try_to_record(self, inputs: Sequence[Any]) -> Recording | None:
        try:
            return self._record(self._call, inputs)
        except Exception as error:  # noqa: BLE001 - out of memory, or what a graph can't hold
            _log.warning("batches of %d rows are not recorded: %s", len(inputs[0]), error)
            return None


def _padded(tensor: Any, rows: int) -> Any:
    """Zeros of this tensor's kind and memory layout, with so many rows."""
    images = (
        tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    )
    layout = torch.channels_last if images else torch.contiguous_format
    return tensor.new_zeros((rows, *tensor.shape[1:])).contiguous(memory_format=layout)


class GpuRecorder:
    """Records CUDA graphs on the current stream. They share the memory of what is between inputs and outputs."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, call: Call, inputs: Sequence[Any]) -> Recording:
        for _ in range(_WARM_UP_RUNS):
            call(*inputs)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            outputs = call(*inputs)
        return Recording(inputs, outputs, graph.replay)
