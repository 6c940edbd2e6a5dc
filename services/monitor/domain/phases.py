"""The parts of a request's life, and the signals watched on them."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Phase(IntEnum):
    """A part of a request's life, in the order of the rows of every per-phase array."""

    QUEUE = 0
    COMPUTE_INPUT = 1
    COMPUTE_INFER = 2
    COMPUTE_OUTPUT = 3
    TOTAL = 4

    @property
    def label(self) -> str:
        return self.name.lower()


COMPUTE_PHASES = (Phase.COMPUTE_INPUT, Phase.COMPUTE_INFER, Phase.COMPUTE_OUTPUT)
FLOW_PHASES = (Phase.QUEUE, Phase.TOTAL)

DEEPEST_FIRST = (Phase.COMPUTE_INFER, Phase.COMPUTE_INPUT, Phase.COMPUTE_OUTPUT, Phase.QUEUE, Phase.TOTAL)
"""A slow model makes queue and total slow too, never the other way round: the first of these in alarm is to blame."""


class Signal(StrEnum):
    ERROR_RATE = "error_rate"
    LATENCY = "latency"
