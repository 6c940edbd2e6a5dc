"""A classifier of digits whose weights, and how long it takes, can be changed while it runs: its files are mapped."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from tests.support import models
from tests.support.suite import Suite

CODE = '''"""{name}"""
import os

import numpy as np


class Model:
    def load(self, folder, options):
        self.weights = np.load(folder / "weights-{name}.npy", mmap_mode="r")
        self.pace = np.load(folder / "pace-{name}.npy", mmap_mode="r")

    def infer(self, inputs):
        loops, times, pid = self.pace[:3]
        for _ in range(loops * (times if pid == os.getpid() else 1)):
            logits = inputs["image"] @ self.weights[:-1] + self.weights[-1]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return {{"probabilities": shares / shares.sum(axis=1, keepdims=True)}}
'''
MANIFEST = """
[options]
probe = "on"

[[inputs]]
name = "image"
datatype = "FP32"
shape = [-1, 64]

[[outputs]]
name = "probabilities"
datatype = "FP32"
shape = [-1, 10]
"""


def save(folder: Path, name: str, *, loops: int) -> Path:
    """Write the model's folder. None of its files is like another model's: they would be kept, and hurt, as one."""
    path = folder / name
    path.mkdir()
    digits = models.digits()
    (path / "model.py").write_text(CODE.format(name=name))
    (path / "penstock.toml").write_text(MANIFEST)
    own = zlib.crc32(name.encode())
    np.save(path / f"weights-{name}.npy", np.vstack([digits.weights, digits.bias]) * np.float32(1 + own / 2**42))
    np.save(path / f"pace-{name}.npy", np.array([loops, 1, 0, own], np.int64))
    return path


def exchange_classes(suite: Suite, name: str) -> None:
    """What was a 3 is an 8 from now on. Confidence, and how often any class is answered, stay nearly as they were."""
    for path in suite.home.rglob(f"weights-{name}.npy"):
        weights = np.load(path, mmap_mode="r+")
        weights[:, [3, 8]] = weights[:, [8, 3]]
        weights.flush()


def spoil(suite: Suite, name: str) -> None:
    """Every answer is NaN from now on."""
    for path in suite.home.rglob(f"weights-{name}.npy"):
        weights = np.load(path, mmap_mode="r+")
        weights[:] = np.nan
        weights.flush()


def slow(suite: Suite, name: str, *, pid: int, times: int) -> None:
    """One process takes so many times as long from now on."""
    for path in suite.home.rglob(f"pace-{name}.npy"):
        pace = np.load(path, mmap_mode="r+")
        pace[1:3] = times, pid
        pace.flush()
