"""What the torch backends share: device and threads, memory layouts, frozen and recorded graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from services.inference.backends.backend import Placement
from services.inference.backends.cuda_graphs import Recorded
from services.inference.backends.errors import LoadError, public_message
from services.inference.backends.torch_devices import Call
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
BUCKETS = "buckets"
OPTIONS = {"layout": (CHANNELS_LAST,), "graph": (FROZEN, OPTIMIZED), "cuda_graphs": (BUCKETS,)}


def check_options(options: Mapping[str, str], known: Mapping[str, Sequence[str]]) -> None:
    """Raises: LoadError: there is an option of another release, or with another value."""
    for name, value in options.items():
        if value not in known.get(name, ()):
            raise LoadError(f"got {name}={value}, expected an option of this release: {known}")


def graph_variants(signature: Signature, device: str) -> list[dict[str, str]]:
    """Frozen graphs, and images kept pixel by pixel; on a GPU each of them, and the original, recorded besides."""
    has_images = any(len(spec.shape) == 4 and spec.datatype in ("FP16", "FP32", "BF16") for spec in signature.inputs)
    layouts = [{}, {"layout": CHANNELS_LAST}] if has_images else [{}]
    graphs: list[dict[str, str]] = [{}, {"graph": FROZEN}, {"graph": OPTIMIZED}]
    variants = [{**graph, **layout} for graph in graphs for layout in layouts if graph or layout]
    if device == "cpu" or not _has_buckets(signature):
        return variants
    return variants + [{**variant, "cuda_graphs": BUCKETS} for variant in ({}, *variants)]


def _has_buckets(signature: Signature) -> bool:
    """Whether inputs differ in nothing but their number of rows."""
    return signature.is_batchable and all(-1 not in spec.shape[1:] for spec in signature.inputs)


def recorded(call: Call, options: Mapping[str, str], signature: Signature, *, device: str) -> Call:
    """The model's inference, recorded where that is asked for.

    Raises:
        LoadError: it can't be recorded here.
    """
    if "cuda_graphs" not in options:
        return call
    if device == "cpu" or not _has_buckets(signature):
        raise LoadError("cuda_graphs needs a GPU, and inputs that differ in nothing but their number of rows")
    return Recorded(call, max_rows=signature.max_batch_size)


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
