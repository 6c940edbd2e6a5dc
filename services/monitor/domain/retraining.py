"""A retraining as it is remembered, and what it is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from services.common.errors import InvalidArgumentError
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.recipes import Recipe

MAX_TAIL_BYTES = 16_384
MAX_DETAIL = 1_024

_IMPORT_NS = 1_800 * NS
_ROLLOUT_NS = 7 * 86_400 * NS


class RetrainingState(StrEnum):
    """Where a retraining stands. The values are stored, and are labels of metrics."""

    STARTING = "starting"
    RUNNING = "running"
    IMPORTING = "importing"
    ROLLING_OUT = "rolling_out"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (RetrainingState.SUCCEEDED, RetrainingState.FAILED)


@dataclass(frozen=True, slots=True)
class Retraining:
    """A retraining. Times in Unix ns, 0 where there is none yet; ``retraining_id`` sorts by time.

    ``request`` is what was asked for, and ``result`` what it said of what it produced, both as JSON. ``handle`` is how
    its runner finds it again. Who reports of it must know ``token``.
    """

    retraining_id: str
    model: str
    state: RetrainingState
    detail: str
    policy: str
    incident_id: str
    runner: str
    request: str
    token: str
    create_ns: int
    deadline_ns: int
    heartbeat_ns: int = 0
    end_ns: int = 0
    handle: str = ""
    output_tail: str = ""
    result: str = ""
    model_version: str = ""
    rollout: str = ""

    @property
    def name(self) -> str:
        return f"retrainings/{self.retraining_id}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a retraining produced: files that lie at ``path``, or a version that it made itself."""

    path: str = ""
    model_version: str = ""
    metrics: tuple[tuple[str, float], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def result_of(text: str, *, model: str) -> Result:
    """What a retraining says of what it produced.

    Raises:
        InvalidArgumentError: it isn't to be used.
    """
    try:
        found = json.loads(text)
        path, version = found.get("path", ""), found.get("model_version", "")
        metrics = {str(name): float(value) for name, value in found.get("metrics", {}).items()}
        labels = {str(name): str(value) for name, value in found.get("labels", {}).items()}
    except (AttributeError, TypeError, ValueError):
        raise InvalidArgumentError(
            f'got the result {text[:80]!r}, expected JSON like {{"path": "model.onnx", "metrics": {{}}}}'
        ) from None
    if not (isinstance(path, str) and isinstance(version, str)) or bool(path) == bool(version) or "\0" in path:
        raise InvalidArgumentError("got a result with neither or both of path and model_version, expected one of them")
    if version and not version.startswith(f"models/{model}/versions/"):
        raise InvalidArgumentError(f"got the model_version {version[:128]!r}, expected one of models/{model}")
    return Result(path, version, tuple(metrics.items()), tuple(labels.items()))


def is_over_time(now: Retraining, *, now_ns: int) -> bool:
    return now_ns >= now.deadline_ns


def why_to_end(now: Retraining, *, silence_s: float, now_ns: int) -> str:
    """Why one that runs is to be ended; "" where it isn't. ``silence_s`` 0: silence is no matter."""
    if is_over_time(now, now_ns=now_ns):
        return "its time was over"
    if silence_s and now_ns - max(now.heartbeat_ns, now.create_ns) >= silence_s * NS:
        return f"it gave no sign of life for {silence_s:g} s"
    return ""


def ran(now: Retraining, result: str, *, now_ns: int) -> Retraining:
    """It has produced something.

    Raises:
        InvalidArgumentError: which isn't to be used.
    """
    result_of(result, model=now.model)
    return replace(
        now,
        state=RetrainingState.IMPORTING,
        detail="what it produced is imported",
        result=result,
        deadline_ns=now_ns + _IMPORT_NS,
    )


def imported(now: Retraining, version: str, *, is_rolled_out: bool, now_ns: int) -> Retraining:
    """What it produced is a version, by its name."""
    now = replace(now, model_version=version)
    if not is_rolled_out:
        return ended(now, RetrainingState.SUCCEEDED, f"{version} is there, and not to be rolled out", now_ns=now_ns)
    detail = f"{version} is rolled out"
    return replace(now, state=RetrainingState.ROLLING_OUT, detail=detail, deadline_ns=now_ns + _ROLLOUT_NS)


def ended(now: Retraining, state: RetrainingState, why: str, *, now_ns: int) -> Retraining:
    """It is over."""
    return replace(now, state=state, detail=why[:MAX_DETAIL], end_ns=now_ns)


def request_of(
    retraining_id: str,
    incident: Incident,
    recipe: Recipe,
    *,
    policy: str,
    versions: Sequence[str],
    trace_links: Sequence[str],
    now_ns: int,
) -> dict[str, Any]:
    """What is asked for: why, and the data window. ``versions`` are those that serve, by their names."""
    return {
        "retraining": f"retrainings/{retraining_id}",
        "model": incident.model,
        "policy": policy,
        "reason": incident.summary,
        "signal": str(incident.signal),
        "incident": f"incidents/{incident.incident_id}",
        "version": f"models/{incident.model}/versions/{incident.version}",
        "deployed_versions": list(versions),
        "before": incident.before,
        "after": incident.after,
        "window_begin_time": _time(incident.change_ns - int(recipe.window_s * NS)),
        "change_time": _time(incident.change_ns),
        "window_end_time": _time(now_ns),
        "deadline_time": _time(now_ns + int(recipe.deadline_s * NS)),
        "traces": list(trace_links),
    }


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / NS, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tail(text: str) -> str:
    """The end of an output, as much as is kept."""
    last = text.encode(errors="replace")[-MAX_TAIL_BYTES:].decode(errors="ignore")
    return last.replace("\0", "\N{REPLACEMENT CHARACTER}")
