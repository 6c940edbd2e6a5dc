"""Reads the spans of golden probes, by the names in docs/telemetry.md."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from services.monitor.domain.probe_reports import MOST_VALUES, Answer, ProbeOutcome, ProbeReport
from services.monitor.domain.ring import KeptSpan

PROBE_READERS = {
    "penstock.probe.outcome": "string_value",
    "penstock.probe.worst_error": "double_value",
    "penstock.probe.output": "string_value",
    "penstock.probe.detail": "string_value",
    "penstock.probe.exact_sha256": "string_value",
    "penstock.probe.values": "bytes_value",
    "penstock.probe.slack": "bytes_value",
    "penstock.weights.sha256": "string_value",
    "penstock.weights.expected_sha256": "string_value",
    "penstock.compute.device": "string_value",
}
"""Attributes, and the field of ``AnyValue`` that each is in."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

Read = Callable[[str, Any], Any]
Name = Callable[[str], str]


def report_of(span: KeptSpan, read: Read, name: Name, *, instance: str) -> ProbeReport | None:
    """None of a replica that doesn't say which model it runs, or who it is.

    ``read`` gives an attribute or a default, ``name`` one that is a short printable text.

    Raises:
        ValueError: an attribute is not what it should be.
    """
    outcome = name("penstock.probe.outcome")
    if outcome not in set(ProbeOutcome):
        raise ValueError(f"got the outcome {outcome!r}, expected one of {', '.join(ProbeOutcome)}")
    worst: float = read("penstock.probe.worst_error", 0.0)
    if not (math.isfinite(worst) and worst >= 0):
        raise ValueError(f"got {worst} as worst error, expected 0 or more")
    if not span.model or not span.version or not instance:
        return None
    return ProbeReport(
        span.model,
        span.version,
        instance,
        span.trace_id,
        span.end_ns,
        ProbeOutcome(outcome),
        device=name("penstock.compute.device"),
        output=name("penstock.probe.output"),
        worst_error=worst,
        detail=name("penstock.probe.detail"),
        answer=_answer(read, name),
        weights=_sha256(name, "penstock.weights.sha256"),
        expected=_sha256(name, "penstock.weights.expected_sha256"),
    )


def _answer(read: Read, name: Name) -> Answer:
    exact = _sha256(name, "penstock.probe.exact_sha256")
    values: bytes = read("penstock.probe.values", b"")
    slack: bytes = read("penstock.probe.slack", b"")
    if len(values) != len(slack) or len(values) % 8 or len(values) > 8 * MOST_VALUES:
        raise ValueError(
            f"got {len(values)} bytes of values and {len(slack)} of slack, "
            f"expected as many of both, in steps of 8, {8 * MOST_VALUES} at most"
        )
    return Answer(exact, np.frombuffer(values, "<f8"), np.frombuffer(slack, "<f8"))


def _sha256(name: Name, attribute: str) -> str:
    digest = name(attribute)
    if digest and _SHA256.fullmatch(digest) is None:
        raise ValueError(f"got {digest[:80]!r} as {attribute}, expected 64 hexadecimal digits in lower case")
    return digest
