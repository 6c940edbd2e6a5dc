"""Passes labels that come over REST on to the monitor."""

from __future__ import annotations

import json
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from penstock.monitor.v1 import feedback_service_pb2 as pb
from penstock.monitor.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from services.common import names
from services.common.errors import InvalidArgumentError, UnavailableError
from services.common.status import error_from_code

MAX_BYTES = 4 << 20
_TIMEOUT_S = 10.0
_CUT_OFF = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class LabelReporter:
    """The monitor is far from every request for an answer: none of these waits for it."""

    def __init__(self, monitor: FeedbackServiceStub) -> None:
        self._monitor = monitor

    async def record(self, model: str, body: bytes) -> dict[str, Any]:
        """Pass labels on; returns what became of them, as JSON has it.

        Raises:
            PenstockError: what the monitor says of them, or that it can't be asked now.
        """
        request = read_labels(names.model_id(model), body)
        try:
            answer = await self._monitor.RecordFeedback(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in _CUT_OFF:
                raise UnavailableError(
                    "the monitor can't take labels now, send them again", reason="MONITOR"
                ) from error
            code = int(error.code().value[0])
            raise error_from_code(code, error.details() or "", reason=error.code().name) from error
        document: dict[str, Any] = MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return document


def read_labels(model: str, body: bytes) -> pb.RecordFeedbackRequest:
    """Labels of one model, from ``{"labels": […]}`` or a label alone, by the fields of ``penstock.monitor.v1.Label``.

    Raises:
        InvalidArgumentError: the body is none of that.
    """
    if len(body) > MAX_BYTES:
        raise InvalidArgumentError(f"got {len(body)} bytes of labels, expected at most {MAX_BYTES}; send fewer at once")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the request is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgumentError('the request is no object, expected {"labels": […]} or a label')
    labels = document if "labels" in document else {"labels": [document]}
    try:
        request = ParseDict(labels, pb.RecordFeedbackRequest())
    except (ParseError, RecursionError, TypeError, ValueError) as error:
        raise InvalidArgumentError(f"the labels can't be read: {str(error)[:300]}") from None
    for label in request.labels:
        if label.model not in ("", model):
            raise InvalidArgumentError(f"got a label of model {label.model[:80]!r}, expected {model}")
        label.model = model
    return request
