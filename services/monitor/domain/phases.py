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
    """What is watched. The values are stored, and are labels of metrics."""

    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    QUEUEING = "queueing"
    STUCK = "stuck"
    DEAD = "dead"
    NONFINITE = "nonfinite"
    CONFIDENCE = "confidence"
    ENTROPY = "entropy"
    NORM = "norm"
    LENGTH = "length"
    CLASS_MIX = "class_mix"
    INPUTS = "inputs"
    PROBE = "probe"
    TRACE_SHAPE = "trace_shape"
    ACCURACY = "accuracy"


class Cause(StrEnum):
    """Whose fault it is, as far as traces tell."""

    REPLICA = "replica"
    VERSION = "version"
    INPUTS = "inputs"
    ARRIVALS = "arrivals"


class Severity(StrEnum):
    """Whether somebody is to be woken."""

    PAGE = "page"
    TICKET = "ticket"


class Family(StrEnum):
    """Signals that show one fault from several sides: a version has at most one open incident of each."""

    SPEED = "speed"
    ERRORS = "errors"
    NUMBERS = "numbers"
    CONTENT = "content"
    PROBES = "probes"
    LABELS = "labels"


FAMILIES = {
    **dict.fromkeys((Signal.STUCK, Signal.DEAD, Signal.LATENCY, Signal.QUEUEING, Signal.TRACE_SHAPE), Family.SPEED),
    Signal.ERROR_RATE: Family.ERRORS,
    Signal.NONFINITE: Family.NUMBERS,
    Signal.PROBE: Family.PROBES,
    Signal.ACCURACY: Family.LABELS,
    **dict.fromkeys(
        (Signal.CONFIDENCE, Signal.ENTROPY, Signal.NORM, Signal.LENGTH, Signal.CLASS_MIX, Signal.INPUTS),
        Family.CONTENT,
    ),
}
