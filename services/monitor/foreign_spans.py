"""What spans of other makes say of calls: OpenTelemetry's conventions, old and new; all else is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.otlp.v1.trace_pb2 import Span
from services.monitor.domain.foreign import Call, SeriesKey
from services.monitor.domain.outcomes import CODES, Outcome, outcome_of

_MAX_SERVICE, _MAX_OPERATION, _MAX_REPLICA = 200, 160, 80
"""Characters of names; longer ones are cut."""
_ENTRY_KINDS = frozenset({2, 5})
"""OTLP's SERVER and CONSUMER: spans that stand for a call to a service, not for a part of one."""
_UNKNOWN = "unknown_service"
"""What OpenTelemetry calls a service that has no name."""

Attributes = Mapping[str, Any]


def call_of(span: Span, *, service: str, instance: str, has_error: bool) -> Call | None:
    """The call that a span stands for; None for a part of one.

    The kinds SERVER and CONSUMER do, and whatever has no parent: programs that are instrumented by hand seldom
    name kinds.
    """
    if span.kind not in _ENTRY_KINDS and span.parent_span_id:
        return None
    key = SeriesKey(
        printable(service, _MAX_SERVICE) or _UNKNOWN,
        printable(_operation(span.name, span.attributes), _MAX_OPERATION),
        printable(instance, _MAX_REPLICA),
    )
    outcome = _outcome(span.attributes, has_error=has_error)
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    return Call(key, span.trace_id, end_ns, end_ns - start_ns, outcome)


def _operation(name: str, attributes: Attributes) -> str:
    """``pkg.Service/Method``, ``GET /route/{id}``, or the span's name: by the conventions each has few values."""
    if method := _text(attributes, "rpc.method"):
        service = _text(attributes, "rpc.service")
        return f"{service}/{method}" if service and "/" not in method else method
    if route := _text(attributes, "http.route"):
        verb = _text(attributes, "http.request.method") or _text(attributes, "http.method")
        return f"{verb} {route}".strip()
    return name


def _outcome(attributes: Attributes, *, has_error: bool) -> Outcome:
    """By the status that the caller got; a span that failed although that was good failed by the server's fault."""
    outcome = outcome_of(
        rpc_status=_rpc_status(attributes),
        error_type="",
        http_status=_number(attributes, "http.response.status_code") or _number(attributes, "http.status_code"),
    )
    return Outcome.SERVER_ERROR if has_error and outcome is Outcome.OK else outcome


def _rpc_status(attributes: Attributes) -> str:
    """The name of the gRPC code, which was a number once; "" where none is known."""
    text = _text(attributes, "rpc.response.status_code")
    if text in CODES:
        return text
    name = "rpc.response.status_code" if text.isdecimal() else "rpc.grpc.status_code"
    number = _number(attributes, name)
    if name not in attributes or not 0 <= number < len(CODES):
        return ""
    return CODES[number]


def _text(attributes: Attributes, name: str) -> str:
    return attributes[name].string_value if name in attributes else ""


def _number(attributes: Attributes, name: str) -> int:
    """A number, or one written as text; 0 for anything else."""
    if name not in attributes:
        return 0
    text: str = attributes[name].string_value
    if text:
        return int(text) if len(text) <= 4 and text.isascii() and text.isdecimal() else 0
    return int(attributes[name].int_value)


def printable(text: str, limit: int) -> str:
    """So many characters of a text at most; those that can't be shown are replaced."""
    short = text[:limit]
    return short if short.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in short)
