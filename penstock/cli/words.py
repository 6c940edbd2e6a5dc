"""Words and bars that several commands show."""

from __future__ import annotations

from penstock.monitor.v1.action_service_pb2 import Action
from penstock.monitor.v1.monitor_service_pb2 import Incident, Phase

SHARES = (
    Incident.SIGNAL_ERROR_RATE,
    Incident.SIGNAL_NONFINITE,
    Incident.SIGNAL_CLASS_MIX,
    Incident.SIGNAL_TRACE_SHAPE,
    Incident.SIGNAL_ACCURACY,
)
"""Signals whose figures are shares of requests."""
_BAR = 8


def enum_words(name: str, prefix: str) -> str:
    """A value's name as people say it: ``enum_words("PHASE_COMPUTE_INFER", "PHASE_")`` is "compute infer"."""
    return name.removeprefix(prefix).replace("_", " ").lower()


def phase_words(phase: Phase) -> str:
    return enum_words(Phase.Name(phase), "PHASE_")


def signal_words(signal: Incident.Signal, phase: Phase) -> str:
    """What is watched, and of a latency where in a request's life: "latency of compute infer"."""
    words = enum_words(Incident.Signal.Name(signal), "SIGNAL_")
    return f"{words} of {phase_words(phase)}" if phase and signal == Incident.SIGNAL_LATENCY else words


def action_words(action: Action) -> str:
    """What was done, or would have been, and what came of it, in a line."""
    what = enum_words(Action.Kind.Name(action.kind), "KIND_")
    outcome = enum_words(Action.Outcome.Name(action.outcome), "OUTCOME_")
    target = f" of {action.target}" if action.target else ""
    return f"{what}{target}: {outcome}{f', {action.detail}' if action.detail else ''}"


def bar(share: float, colour: str) -> str:
    """A share of 0 to 1 as a bar; what is beyond is full."""
    full = int(min(1.0, max(0.0, share)) * _BAR)
    return f"[{colour}]{'█' * full}[/][dim]{'·' * (_BAR - full)}[/]"
