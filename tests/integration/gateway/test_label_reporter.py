"""Labels over REST are read as the API's own, or refused."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitor.v1.feedback_service_pb2 import RecordFeedbackResponse
from penstock.monitor.v1.feedback_service_pb2_grpc import (
    FeedbackServiceServicer,
    FeedbackServiceStub,
    add_FeedbackServiceServicer_to_server,
)
from services.common.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from services.gateway.adapters.label_reporter import LabelReporter, read_labels
from tests.support.ports import free_port


def test_labels_get_the_model_of_the_path() -> None:
    body = {
        "labels": [
            {"request_id": "a", "class_index": 3, "row": 2, "slices": {"country": "de"}, "metrics": {"bleu": 0.5}},
            {"requestId": "b", "number": 1.5, "label_time": "2026-01-02T03:04:05Z"},
        ]
    }
    first, second = read_labels("digits", json.dumps(body).encode()).labels

    assert (first.model, first.request_id, first.row, first.class_index) == ("digits", "a", 2, 3)
    assert (dict(first.slices), dict(first.metrics)) == ({"country": "de"}, {"bleu": 0.5})
    assert (second.model, second.number, second.label_time.seconds) == ("digits", 1.5, 1_767_323_045)


def test_a_label_may_come_alone() -> None:
    assert read_labels("digits", b'{"request_id": "a", "class_name": "cat"}').labels[0].class_name == "cat"


@given(body=st.one_of(st.binary(max_size=100), st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["labels", "request_id", "number", "row", "slices", "x"]), inner, max_size=3), max_leaves=8
).map(lambda document: json.dumps(document).encode())))  # fmt: skip
def test_any_body_is_labels_or_refused(body: bytes) -> None:
    try:
        request = read_labels("digits", body)
    except InvalidArgumentError:
        return
    assert all(label.model == "digits" for label in request.labels)


def test_too_large_a_body_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="send fewer at once"):
        read_labels("digits", b" " * (5 << 20))


async def test_a_monitor_that_is_away_is_told_as_unavailable() -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
        reporter = LabelReporter(FeedbackServiceStub(channel))
        with pytest.raises(UnavailableError, match="send them again"):
            await reporter.record("digits", b'{"request_id": "a", "number": 1}')


async def test_what_the_monitor_refuses_keeps_its_meaning() -> None:
    class Refusing(FeedbackServiceServicer):
        async def RecordFeedback(self, _request: object, context: Any) -> RecordFeedbackResponse:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "8 calls are under way")
            raise AssertionError("an abort raises")

    server = grpc.aio.server()
    add_FeedbackServiceServicer_to_server(Refusing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(ResourceExhaustedError, match="8 calls"):
                await LabelReporter(FeedbackServiceStub(channel)).record("digits", b'{"request_id": "a", "number": 1}')
    finally:
        await server.stop(None)
