"""A retraining as it is remembered, and what it is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from services.common.errors import InvalidArgumentError
from services.monitor.domain.blocks import NS
from services.monitor.domain.incidents import Incident
from services.monitor.domain.recipes import Recipe

MAX_TAIL_BYTES = 16_384
MAX_DETAIL = 1_024


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
