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


def wants_final_response(parameters: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with a response without outputs.

    Raises:
        InvalidArgumentError: ``triton_enable_empty_final_response`` is no bool.
    """
    name = "triton_enable_empty_final_response"
    if name not in parameters:
        return False
    kind = parameters[name].WhichOneof("parameter_choice")
    if kind != "bool_param":
        raise InvalidArgumentError(f"parameter '{name}' is {kind}, expected bool_param")
    return bool(parameters[name].bool_param)


def read_text(parameters: Mapping[str, Any], name: str) -> str:
    """A parameter that is a text or a whole number, as text; empty where there is none, or it is of another kind."""
    if not name or name not in parameters:
        return ""
    kind = parameters[name].WhichOneof("parameter_choice")
    return str(getattr(parameters[name], kind)) if kind in ("string_param", "int64_param", "uint64_param") else ""


def _whole_number(parameters: Mapping[str, Any], name: str) -> int:
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    value: Any = getattr(parameters[name], kind) if kind else None
    if kind not in ("int64_param", "uint64_param") or value < 0:
        raise InvalidArgumentError(f"parameter '{name}' is {value!r} ({kind}), expected a whole number of at least 0")
    return int(value)
