"""What a request's parameters ask of the queue (Triton's schedule_policy extension)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.common.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Options:
    """``timeout_us`` is None and ``priority`` 0 where the request names none."""

    timeout_us: int | None = None
    priority: int = 0


_NONE = Options()


def read_options(parameters: Mapping[str, Any]) -> Options:
    """Read ``timeout`` (microseconds; 0 means none) and ``priority`` from an InferParameter map.

    Raises:
        InvalidArgumentError: a value is no whole number, or below 0.
    """
    if not parameters:
        return _NONE
    timeout_us = _whole_number(parameters, "timeout")
    return Options(timeout_us=timeout_us or None, priority=_whole_number(parameters, "priority"))


def _whole_number(parameters: Mapping[str, Any], name: str) -> int:
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    value: Any = getattr(parameters[name], kind) if kind else None
    if kind not in ("int64_param", "uint64_param") or value < 0:
        raise InvalidArgumentError(f"parameter '{name}' is {value!r} ({kind}), expected a whole number of at least 0")
    return int(value)
