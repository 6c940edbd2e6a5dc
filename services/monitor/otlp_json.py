"""OTLP's JSON encoding: protobuf's JSON mapping, but trace and span ids are hexadecimal digits."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.otlp.v1 import trace_pb2
from services.common.errors import InvalidArgumentError

_MAX_DEPTH = 32
"""Of values in values; protobuf's own limit is 100, and each of its levels is several of JSON's."""
_IDS = ("traceId", "spanId", "parentSpanId")


def request_of(body: bytes) -> trace_pb2.TraceRequest:
    """Read an ``ExportTraceServiceRequest``. Unknown fields are ignored, as the mapping asks for.

    Raises:
        InvalidArgumentError: the body is no JSON, or a value is of another type; where, the message says.
    """
    request = trace_pb2.TraceRequest()
    for where, group in _objects(_loaded(body), "resourceSpans", ""):
        made = request.resource_spans.add(schema_url=_text(group, "schemaUrl", where))
        if group.get("resource") is not None:
            resource = _message(group["resource"], Resource(), f"{where}.resource")
            made.resource.MergeFromString(resource.SerializeToString())
        for within, scope in _objects(group, "scopeSpans", f"{where}."):
            name = _message(scope.get("scope"), InstrumentationScope(), f"{within}.scope")
            made.scope_spans.add(
                scope=name.SerializeToString(),
                schema_url=_text(scope, "schemaUrl", within),
                spans=[_span(one, at) for at, one in _objects(scope, "spans", f"{within}.")],
            )
    return request


def _loaded(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"got JSON that is a {type(value).__name__}, expected an object")
    return value


def _objects(value: dict[str, Any], name: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a list, and where each is; a list that is absent or null is empty."""
    found = value.get(name)
    if found is not None and not isinstance(found, list):
        raise InvalidArgumentError(f"{where}{name} is a {type(found).__name__}, expected a list")
    for number, one in enumerate(found or ()):
        at = f"{where}{name}[{number}]"
        if not isinstance(one, dict):
            raise InvalidArgumentError(f"{at} is a {type(one).__name__}, expected an object")
        yield at, one


def _text(value: dict[str, Any], name: str, where: str) -> str:
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{where}.{name} is a {type(text).__name__}, expected a text")
    return _encodable(text, f"{where}.{name}")


def _encodable(text: str, where: str) -> str:
    if not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text):
        raise InvalidArgumentError(f"{where} holds half of a surrogate pair, expected text that UTF-8 can say")
    return text


def _span(value: dict[str, Any], where: str) -> bytes:
    fields = _with_ids(value, where)
    if value.get("links") is not None:
        fields["links"] = [_with_ids(link, at) for at, link in _objects(value, "links", f"{where}.")]
    return _message(fields, Span(), where).SerializeToString()


def _with_ids(value: dict[str, Any], where: str) -> dict[str, Any]:
    """A copy with ids as protobuf's mapping has them."""
    fields = dict(value)
    for name in _IDS:
        text = fields.get(name)
        if text is None:
            continue
        try:
            fields[name] = base64.b64encode(bytes.fromhex(text)).decode()
        except (TypeError, ValueError):
            raise InvalidArgumentError(f"{where}.{name} is {text!r:.64}, expected hexadecimal digits") from None
    return fields


def _message(value: Any, message: Message, where: str) -> Message:
    if value is None:
        return message
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{where} is a {type(value).__name__}, expected an object")
    try:
        return ParseDict(value, message, ignore_unknown_fields=True, max_recursion_depth=_MAX_DEPTH)
    except (ParseError, RecursionError, UnicodeError, TypeError, ValueError, AttributeError) as error:
        raise InvalidArgumentError(f"{where} can't be read: {str(error)[:200]}") from None
