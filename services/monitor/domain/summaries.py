"""What an incident says: one sentence that a tired operator understands at once."""

from __future__ import annotations

from datetime import UTC, datetime

from services.monitor.domain.findings import Alarm
from services.monitor.domain.phases import Cause, Signal
from services.monitor.domain.reference import LEVELS

NOTE_PARTS = "\n"
"""Between what a note says of a golden probe before the instant and after it."""

_NAMES = {
    Signal.CONFIDENCE: "Confidence",
    Signal.ENTROPY: "Entropy of the answers",
    Signal.NORM: "Size of the answers' numbers",
    Signal.LENGTH: "Length of the answers",
}


def summarise(model: str, version: str, alarm: Alarm) -> str:
    """What changed, of whom, from what to what, since when, and what that means."""
    since = datetime.fromtimestamp(alarm.change_second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{_what(f'{model} version {version}', alarm)} at {since}{_meaning(alarm)}."


def _what(name: str, alarm: Alarm) -> str:
    whom = f"replica {replica_name(alarm.replica)} of {name}" if alarm.replica else name
    before, after = float(alarm.before[alarm.level]), float(alarm.after[alarm.level])
    if alarm.signal in _NAMES:
        return f"{_NAMES[alarm.signal]} of {whom} went from {before:.3g} to {after:.3g} (median)"
    if alarm.signal in (Signal.LATENCY, Signal.QUEUEING, Signal.STUCK, Signal.DEAD):
        return _slowness(whom, alarm, duration_text(before), duration_text(after))
    if alarm.signal is Signal.ACCURACY:
        return _inaccuracy(whom, alarm, before, after)
    if alarm.signal is Signal.PROBE:
        return f"{_begun(whom) if alarm.replica else whom} {alarm.note.partition(NOTE_PARTS)[0]}"
    return {
        # What was normal of errors is known as an upper limit only.
        Signal.ERROR_RATE: f"Errors of {whom} rose from at most {before:.2%} to {after:.2%} of requests",
        Signal.NONFINITE: f"Answers of {whom} are no numbers: {after:.2%} of requests got NaN or infinity, beginning",
        Signal.CLASS_MIX: f"Classes of {whom} changed: {alarm.note} went from {before:.1%} to {after:.1%} of answers",
        Signal.TRACE_SHAPE: f"Requests of {whom} go another way: {before:.2%} of them did, and now {after:.2%}",
        Signal.INPUTS: f"Inputs of {whom} changed: {after:.0%} of {alarm.note} lies where it did not use to",
    }[alarm.signal]


def _inaccuracy(whom: str, alarm: Alarm, before: float, after: float) -> str:
    if alarm.note:
        return f"Answers of {whom} are off by more than {alarm.note} in {after:.2%} of labels, up from {before:.2%},"
    return f"Accuracy of {whom} fell from {1 - before:.2%} to {1 - after:.2%} of labels, for requests answered"


def _slowness(whom: str, alarm: Alarm, before: str, after: str) -> str:
    phase = "Latency" if alarm.phase is None else alarm.phase.label.replace("_", " ").capitalize()
    level = {0.1: "p10", 0.5: "median", 0.9: "p90", 0.99: "p99"}[LEVELS[alarm.level]]
    than = " than its siblings'" if alarm.replica and not alarm.is_versions else ""
    return {
        Signal.LATENCY: f"{phase} of {whom} became slower{than}: {level} rose from {before} to {after}",
        Signal.QUEUEING: f"The queue of {whom} runs away: mean wait rose from {before} to {after}",
        Signal.STUCK: f"{_begun(whom)} is stuck: a batch has run for {after}, where 99 in 100 take at most {before},",
        Signal.DEAD: f"{_begun(whom)} is gone: it has done nothing while its siblings went on",
    }[alarm.signal]


def _meaning(alarm: Alarm) -> str:
    if alarm.signal in (Signal.ERROR_RATE, Signal.QUEUEING, Signal.LATENCY, Signal.TRACE_SHAPE):
        return f"; {alarm.note}" if alarm.note else ""
    if alarm.signal is Signal.PROBE:
        return alarm.note.partition(NOTE_PARTS)[2]
    if alarm.signal is Signal.INPUTS:
        return "; what is asked has changed, which is no fault of the model"
    if alarm.cause is Cause.INPUTS:
        return ", along with the inputs; what is asked has changed, which is no fault of the model"
    if alarm.signal in (Signal.STUCK, Signal.DEAD, Signal.NONFINITE, Signal.ACCURACY):
        return ""
    return ", while inputs stayed as they were: the model is at fault" if alarm.has_inputs else ""


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]


def replica_name(instance: str) -> str:
    """An instance without what is new with each of its processes."""
    return instance.partition("@")[0] or instance


def duration_text(ns: float) -> str:
    for unit, size in (("h", 3.6e12), ("min", 6e10), ("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns / 1e3:.3g} µs"
