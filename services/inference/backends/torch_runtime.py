"""What the torch backends share: device, threads, tensors to arrays and back, frozen graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from services.inference.backends import Array, LoadError, Placement, public_message
from services.inference.domain.signature import Signature

DATATYPES: dict[Any, str] = {
    torch.bool: "BOOL",
    torch.uint8: "UINT8",
    torch.uint16: "UINT16",
    torch.uint32: "UINT32",
    torch.uint64: "UINT64",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.float16: "FP16",
    torch.float32: "FP32",
    torch.float64: "FP64",
    torch.bfloat16: "BF16",
}


def prepare(placement: Placement) -> str:
    """Set this process's threads; return the device to use.

    Raises:
        LoadError: a device was asked for that isn't there.
    """
    torch.set_num_threads(placement.threads)
    if placement.device == "cpu" or (placement.device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise LoadError(f"device {placement.device} was asked for, but torch sees no CUDA device")
    return "cuda:0" if placement.device in ("auto", "cuda") else placement.device


def use_threads(threads: int) -> None:
    torch.set_num_threads(threads)


CHANNELS_LAST = "channels_last"
FROZEN, OPTIMIZED = "frozen", "optimized"
AOT = "ahead_of_time"
OPTIONS = {"layout": (CHANNELS_LAST,), "graph": (FROZEN, OPTIMIZED)}


def check_options(options: Mapping[str, str], known: Mapping[str, Sequence[str]]) -> None:
    """Raises: LoadError: there is an option of another release, or with another value."""
    for name, value in options.items():
        if value not in known.get(name, ()):
            raise LoadError(f"got {name}={value}, expected an option of this release: {known}")


def graph_variants(signature: Signature) -> list[dict[str, str]]:
    """Frozen graphs, and images kept pixel by pixel."""
    has_images = any(len(spec.shape) == 4 and spec.datatype in ("FP16", "FP32", "BF16") for spec in signature.inputs)
    layouts = [{}, {"layout": CHANNELS_LAST}] if has_images else [{}]
    graphs: list[dict[str, str]] = [{}, {"graph": FROZEN}, {"graph": OPTIMIZED}]
    return [{**graph, **layout} for graph in graphs for layout in layouts if graph or layout]


def with_layout(module: Any, options: Mapping[str, str]) -> Any:
    """The module, its weights in the memory layout asked for. Only strides change, no shapes."""
    if options.get("layout") == CHANNELS_LAST:
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = laid_out(tensor.data, options)
    return module


def laid_out(tensor: Any, options: Mapping[str, str]) -> Any:
    """An input in the memory layout asked for."""
    if tensor.dim() == 4 and options.get("layout") == CHANNELS_LAST:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def frozen(script: Any, how: str) -> Any:
    """A TorchScript module with its weights as constants of the graph, where they can be folded into the operators."""
    module = torch.jit.freeze(script.eval())
    return torch.jit.optimize_for_inference(module) if how == OPTIMIZED else module


def cause(error: BaseException) -> str:
    """What went wrong, fit for the caller. TorchScript puts the whole trace before it."""
    text = str(error)
    return public_message(RuntimeError(text.rpartition("RuntimeError: ")[2] or text))


def to_tensor(array: Array, name: str, device: str) -> Any:
    """A tensor of an array; bfloat16 comes as uint16. Arrays over received bytes are read-only, torch's can't be."""
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return (tensor.view(torch.bfloat16) if name == "BF16" else tensor).to(device)


def to_array(tensor: Any) -> Array:
    tensor = tensor.detach().to("cpu").contiguous()
    return np.asarray((tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy())
