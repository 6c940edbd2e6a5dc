"""Spans in OTLP's protobuf encoding, written by hand: with generated classes a span takes several times as long.

What repeats from span to span is encoded once. See opentelemetry/proto/trace/v1/trace.proto for the fields.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Mapping, Sequence

from services.common.trace_context import TraceContext

Scalar = str | bool | int | float | bytes
AttributeValue = Scalar | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]

_UINT64 = 2**64 - 1
_times = struct.Struct("<BQBQ").pack
_double = struct.Struct("<Bd").pack


class SpanKind(enum.IntEnum):
    """OpenTelemetry's kinds, with the numbers that OTLP gives them."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


def encode_span(
    name: str,
    context: TraceContext,
    *,
    kind: SpanKind,
    start_ns: int,
    end_ns: int,
    parent: TraceContext | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
    more: bytes = b"",
    links: Sequence[TraceContext] = (),
    error: str | None = None,
) -> bytes:
    """A span as an element of ``ScopeSpans.spans``.

    ``more`` is attributes by :func:`encode_attributes`; ``error`` is the status' description of a failed span.
    """
    parts = [
        b"\x0a\x10%b\x12\x08%b" % context[:2],
        b"" if parent is None else b"\x22\x08" + parent.span_id,
        _title(name, kind),
        _times(0x39, start_ns, 0x41, end_ns),
        more,
    ]
    for key, value in attributes.items() if attributes else ():
        if type(value) is str:
            parts.append(_constant(key, value))
        elif type(value) is int:
            digits = _varint(value & _UINT64)
            parts += _int_head(key, len(digits)), digits
        elif type(value) is bytes:
            parts += _bytes_head(key, len(value)), value
        else:
            parts.append(_attribute(key, value))
    for link in links:
        parts.append(b"\x6a\x1c\x0a\x10%b\x12\x08%b" % link[:2])
    if error is not None:
        parts.append(_field(b"\x7a", _field(b"\x12", _utf8(error)) + b"\x18\x02"))
    return _field(b"\x12", b"".join(parts))


def encode_attributes(attributes: Mapping[str, AttributeValue]) -> bytes:
    """Attributes that many spans share."""
    return b"".join([_attribute(key, value) for key, value in attributes.items()])


def encode_origin(resource: Mapping[str, AttributeValue], *, scope: str, version: str) -> tuple[bytes, bytes]:
    """``ResourceSpans.resource`` and ``ScopeSpans.scope``: what made the spans of a request."""
    described = b"".join([_field(b"\x0a", _pair(key, value)) for key, value in resource.items()])
    scoped = _field(b"\x0a", _utf8(scope)) + _field(b"\x12", _utf8(version))
    return _field(b"\x0a", described), _field(b"\x0a", scoped)


def encode_request(origin: tuple[bytes, bytes], spans: Sequence[bytes]) -> bytes:
    """An ``ExportTraceServiceRequest`` of spans that :func:`encode_span` made."""
    resource, scope = origin
    size = sum(map(len, spans)) + len(scope)
    in_scope = b"\x12" + _varint(size)
    size += len(in_scope) + len(resource)
    return b"".join((b"\x0a", _varint(size), resource, in_scope, scope, *spans))


def _field(tag: bytes, content: bytes) -> bytes:
    size = len(content)
    return tag + (_SMALL[size] if size < 128 else _varint(size)) + content


def _varint(value: int) -> bytes:
    if value < 1 << 7:
        return _SMALL[value]
    if value < 1 << 14:
        return bytes((value & 127 | 128, value >> 7))
    if value < 1 << 21:
        return bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14))
    digits = bytearray()
    while value >= 128:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)


_SMALL = [bytes([value]) for value in range(128)]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # half a surrogate pair, from a caller's JSON, has no encoding


@functools.lru_cache(maxsize=1_024)
def _title(name: str, kind: SpanKind) -> bytes:
    return _field(b"\x2a", _utf8(name)) + b"\x30" + _SMALL[kind]


def _attribute(key: str, value: AttributeValue) -> bytes:
    return _field(b"\x4a", _pair(key, value))


_constant = functools.lru_cache(maxsize=4_096)(_attribute)
"""Most texts are the same in span after span."""


@functools.lru_cache(maxsize=4_096)
def _bytes_head(key: str, size: int) -> bytes:
    """An attribute of so many bytes, without them."""
    return _attribute(key, bytes(size))[: -size or None]


@functools.lru_cache(maxsize=4_096)
def _int_head(key: str, size: int) -> bytes:
    """An attribute of a number with so many digits, without them."""
    return _attribute(key, 1 << 7 * (size - 1))[:-size]


def _pair(key: str, value: AttributeValue) -> bytes:
    """A ``KeyValue``."""
    return _key(key) + _field(b"\x12", _value(value))


@functools.lru_cache(maxsize=1_024)
def _key(key: str) -> bytes:
    return _field(b"\x0a", _utf8(key))


def _value(value: AttributeValue) -> bytes:
    """An ``AnyValue``."""
    match value:
        case bytes():
            return _field(b"\x3a", value)
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case int():
            return b"\x18" + _varint(value & _UINT64)
        case str():
            return _field(b"\x0a", _utf8(value))
        case float():
            return _double(0x21, value)
        case _:
            return _field(b"\x2a", b"".join([_field(b"\x0a", _value(item)) for item in value]))
