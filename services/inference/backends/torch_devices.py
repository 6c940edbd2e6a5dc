"""Where torch models run: how their inputs get there, and their outputs back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from services.inference.backends.backend import Array
from services.inference.backends.errors import DeviceLostError

Input = tuple[Array, str]
"""An array, and its datatype: bfloat16 comes as uint16."""
Call = Callable[..., Sequence[Any]]
"""A model's inference, from tensors to tensors."""


class Device(Protocol):
    """The processor, or a GPU."""

    name: str

    def tensors(self, inputs: Sequence[Input]) -> list[Any]:
        """The inputs, where the model can take them."""

    def run(self, call: Call, inputs: Sequence[Input]) -> list[Array]:
        """Infer; returns when the outputs are there. They are the caller's.

        Raises:
            DeviceLostError: the device takes nothing more from this process.
        """


def device_of(name: str) -> Device:
    """The device "cpu", "cuda:0", …"""
    return Host() if name == "cpu" else Gpu(name)


class Host:
    """The processor."""

    name = "cpu"

    def tensors(self, inputs: Sequence[Input]) -> list[Any]:
        return [_typed(torch.from_numpy(_writable(array)), datatype) for array, datatype in inputs]

    def run(self, call: Call, inputs: Sequence[Input]) -> list[Array]:
        with torch.inference_mode():
            return [_array(output) for output in call(*self.tensors(inputs))]


class Gpu:
    """A GPU, on a stream of its own: models on one GPU run beside each other.

    Copies pass through pinned memory, which torch keeps for the next ones of its size, and wait for nothing; the only
    wait is for the stream's end.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._stream = torch.cuda.Stream(name)
        self._done = torch.cuda.Event()

    def tensors(self, inputs: Sequence[Input]) -> list[Any]:
        return [self._upload(array, datatype) for array, datatype in inputs]

    def run(self, call: Call, inputs: Sequence[Input]) -> list[Array]:
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                self._stream.wait_stream(torch.cuda.default_stream(self.name))  # where models are loaded
                outputs = call(*self.tensors(inputs))
                arrived = [output.detach().contiguous().to("cpu", non_blocking=True) for output in outputs]
                self._done.record(self._stream)
                self._done.synchronize()
        except Exception:
            self._check()
            raise
        return [_array(output) for output in arrived]

    def _upload(self, array: Array, datatype: str) -> Any:
        pinned = torch.empty(array.shape, dtype=_torch_type(array), pin_memory=True)
        np.copyto(pinned.numpy(), array)
        return _typed(pinned, datatype).to(self.name, non_blocking=True)

    def _check(self) -> None:
        """After some errors, such as an index out of bounds in a kernel, CUDA refuses all that follows."""
        try:
            self._stream.synchronize()
        except Exception as error:
            raise DeviceLostError(f"{self.name} takes nothing more from this process: {error}") from error


def _writable(array: Array) -> Array:
    """Arrays over received bytes are read-only, torch's can't be."""
    return array if array.flags.writeable else array.copy()


def _torch_type(array: Array) -> Any:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


def _typed(tensor: Any, datatype: str) -> Any:
    return tensor.view(torch.bfloat16) if datatype == "BF16" else tensor


def _array(tensor: Any) -> Array:
    tensor = tensor.detach().to("cpu").contiguous()
    return np.asarray((tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy())
