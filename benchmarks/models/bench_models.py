"""The models that are measured, as plain functions from rows to rows. Every Python server runs exactly these.

The module stands alone (numpy, and torch for the CNN), since the peers' environments hold nothing of Penstock. Weights
of the digits MLP are in the folder that ``BENCH_MODELS`` names; the CNN's are random, from a fixed seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rows = np.ndarray[Any, np.dtype[np.float32]]
Model = Callable[[Rows], Rows]

SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "bench-identity": ((16,), (16,)),
    "bench-1mib": ((262_144,), (262_144,)),
    "bench-digits": ((64,), (10,)),
    "bench-cnn": ((3, 64, 64), (1_000,)),
}
"""Shapes of one row, in and out. All tensors are FP32; inputs are called input0, outputs output0."""
MAX_BATCH = 64
"""Most rows in a batch, for servers whose batching is to be configured: Penstock's default."""


def load(name: str) -> Model:
    """The model of this name."""
    if name == "bench-cnn":
        return eager(cnn())
    if name == "bench-digits":
        return digits(Path(os.environ["BENCH_MODELS"], "digits.npz"))
    return lambda rows: rows


def digits(weights: Path) -> Model:
    """A multilayer perceptron, 64 → 128 → 10, with softmax."""
    with np.load(weights) as archive:
        w0, b0, w1, b1 = (archive[name] for name in ("w0", "b0", "w1", "b1"))

    def run(rows: Rows) -> Rows:
        hidden = np.maximum(rows @ w0 + b0, 0)
        logits = hidden @ w1 + b1
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    return run


def eager(network: Any) -> Model:
    """A torch module, run as it is in one thread."""
    import torch

    torch.set_num_threads(1)

    def run(rows: Rows) -> Rows:
        with torch.inference_mode():
            return network(torch.from_numpy(rows if rows.flags.writeable else rows.copy())).numpy()

    return run


def cnn() -> Any:
    """A residual network of ResNet-18's shape (18 layers, 11.7 million parameters), with random weights."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.shortcut: nn.Module = nn.Identity()
            if stride != 1 or before != width:
                self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    blocks = [Block(*one) for one in [*widths, (512, 512, 1)]]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1_000)]
    return nn.Sequential(*stem, *blocks, *head).eval()
