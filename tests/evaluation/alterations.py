"""Faults that lie outside a simulated replica: what they do to the spans that it sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from services.monitor.domain.blocks import NS, Batch
from services.monitor.evaluation.stream import START_S

Alteration = Callable[[Batch], Batch]


def unaltered(batch: Batch) -> Batch:
    return batch


def ended_s(batch: Batch) -> float:
    """When it ended, seconds since the start."""
    return (batch.end_ns - START_S * NS) / NS


def delayed(since_s: float, more_ms: float) -> Alteration:
    """Every request is so much longer on its way to the queue's reader."""

    def alter(batch: Batch) -> Batch:
        if ended_s(batch) < since_s:
            return batch
        wait, total = (
            (np.frombuffer(one, "<u4").astype(np.int64) + int(more_ms * 1_000)).astype("<u4").tobytes()
            for one in (batch.wait_us, batch.total_us)
        )
        return replace(batch, wait_us=wait, total_us=total)

    return alter


def rounded(since_s: float, noise: float, *, seed: int) -> Alteration:
    """Logits of answers have noise of this standard deviation, as of weights with fewer bits."""
    random = np.random.default_rng([seed, 78])

    def alter(batch: Batch) -> Batch:
        if ended_s(batch) < since_s:
            return batch
        old = np.clip(np.frombuffer(batch.confidence, "<f4").astype(np.float64), 1e-9, 1 - 1e-9)
        logits = np.log(old / (1 - old)) + noise * random.standard_normal(old.size)
        new = np.clip(1 / (1 + np.exp(-logits)), 1e-9, 1 - 1e-9)
        entropy = -(new * np.log(new) + (1 - new) * np.log((1 - new) / 9))
        return replace(batch, confidence=new.astype("<f4").tobytes(), entropy=entropy.astype("<f4").tobytes())

    return alter
