"""A span's attributes, looked up by name: only those that figures are made of, as reading them is what intake costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.monitor.probe_spans import PROBE_READERS

MAX_NAME_LENGTH = 256

READERS = {
    "penstock.model.name": "string_value",
    "penstock.model.version": "string_value",
    "penstock.settled_by": "string_value",
    "penstock.sample.weight": "int_value",
    "penstock.request.is_drawn": "bool_value",
    "penstock.batch.rows": "int_value",
    "penstock.batch.is_extra": "bool_value",
    "penstock.batch.drawn": "int_value",
    "penstock.skipped.batches": "int_value",
    "penstock.skipped.requests": "int_value",
    "penstock.skipped.rows": "int_value",
    "penstock.skipped.drawn": "int_value",
    "penstock.skipped.input_ns": "int_value",
    "penstock.skipped.infer_ns": "int_value",
    "penstock.skipped.output_ns": "int_value",
    "penstock.compute.input_ns": "int_value",
    "penstock.compute.infer_ns": "int_value",
    "penstock.compute.output_ns": "int_value",
    "penstock.batches.requests": "bytes_value",
    "penstock.batches.rows": "bytes_value",
    "penstock.batches.input_ns": "bytes_value",
    "penstock.batches.infer_ns": "bytes_value",
    "penstock.batches.output_ns": "bytes_value",
    "penstock.requests.trace_id": "bytes_value",
    "penstock.requests.wait_us": "bytes_value",
    "penstock.requests.total_us": "bytes_value",
    "penstock.requests.status": "bytes_value",
    "penstock.requests.confidence": "bytes_value",
    "penstock.requests.class": "bytes_value",
    "penstock.requests.entropy": "bytes_value",
    "penstock.requests.norm": "bytes_value",
    "penstock.requests.length": "bytes_value",
    "penstock.requests.nonfinite": "bytes_value",
    "penstock.inputs.kind": "string_value",
    "penstock.inputs.sampled": "bytes_value",
    "penstock.inputs.sketch": "bytes_value",
    "penstock.deployment.arm": "string_value",
    "penstock.replica.state": "string_value",
    "penstock.replica.running_ns": "int_value",
    "penstock.replica.running_requests": "int_value",
    "rpc.response.status_code": "string_value",
    "http.response.status_code": "int_value",
    "error.type": "string_value",
    "penstock.probe": "bool_value",
    **PROBE_READERS,
    "penstock.queue.delivery_count": "int_value",
}
"""Attributes that are read, and the field of ``AnyValue`` that each is in."""


class MalformedSpanError(ValueError):
    """A span isn't what OTLP or docs/telemetry.md says."""


class Values:
    """The attributes of one span."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = attributes

    def read(self, name: str, default: Any) -> Any:
        """One of :data:`READERS`, or the default where it is absent.

        Raises:
            MalformedSpanError: the value is of another type.
        """
        attributes = self.attributes
        if name not in attributes:
            return default
        attribute, reader = attributes[name], READERS[name]
        value = getattr(attribute, reader)
        if not value and attribute.WhichOneof("value") != reader:
            raise MalformedSpanError(f"attribute {name} is no {reader.removesuffix('_value')}")
        return value

    def name(self, name: str) -> str:
        """A short text; "" where it is absent.

        Raises:
            MalformedSpanError: the value is none.
        """
        text: str = self.read(name, "")
        if len(text) > MAX_NAME_LENGTH or not text.isprintable():
            raise MalformedSpanError(f"attribute {name} is no printable text of at most {MAX_NAME_LENGTH} characters")
        return text


NO_VALUES = Values({})
