"""What the torch backends share: device, threads, tensors to arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from services.inference.backends import Array, LoadError, Placement

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


def to_tensor(array: Array, name: str, device: str) -> Any:
    """A tensor of an array; bfloat16 comes as uint16. Arrays over received bytes are read-only, torch's can't be."""
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return (tensor.view(torch.bfloat16) if name == "BF16" else tensor).to(device)


def to_array(tensor: Any) -> Array:
    tensor = tensor.detach().to("cpu").contiguous()
    return np.asarray((tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).numpy())
