"""Spans of other makes, by old and new conventions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services.monitor import otlp
from services.monitor.domain.foreign import Call
from services.monitor.domain.outcomes import Outcome
from tests.unit.monitor.test_otlp import ANY_VALUES, request, span

OK, CLIENT, SERVER = Outcome.OK, Outcome.CLIENT_ERROR, Outcome.SERVER_ERROR


def call(attributes: dict[str, Any], *, service: str = "shop", **fields: Any) -> Call | None:
    fields = {"kind": Span.SPAN_KIND_SERVER, "name": "the span's name", **fields}
    (reading,) = otlp.read(request(span(attributes, **fields), service=service)).spans
    assert reading.observation is None or isinstance(reading.observation, Call)
    return reading.observation


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"rpc.system": "grpc", "rpc.service": "shop.v1.Cart", "rpc.method": "Add"}, "shop.v1.Cart/Add"),
        ({"rpc.system.name": "grpc", "rpc.method": "shop.v1.Cart/Add"}, "shop.v1.Cart/Add"),
        ({"rpc.service": "shop.v1.Cart", "rpc.method": "shop.v1.Cart/Add"}, "shop.v1.Cart/Add"),
        ({"http.method": "GET", "http.route": "/carts/{id}"}, "GET /carts/{id}"),
        ({"http.request.method": "PUT", "http.route": "/carts/{id}", "url.path": "/carts/7"}, "PUT /carts/{id}"),
        ({"http.route": "/carts"}, "/carts"),
        ({"http.request.method": "PUT", "url.path": "/carts/7"}, "the span's name"),
        ({"rpc.method": 7, "http.route": b"x"}, "the span's name"),
        ({}, "the span's name"),
    ],
)
def test_the_operation_is_named_by_the_conventions(attributes: dict[str, Any], operation: str) -> None:
    found = call(attributes)

    assert found is not None
    assert found.key == ("shop", operation, "worker-7")


@pytest.mark.parametrize(
    ("attributes", "has_error", "outcome"),
    [
        ({}, False, OK),
        ({}, True, SERVER),
        ({"rpc.grpc.status_code": 0}, False, OK),
        ({"rpc.grpc.status_code": 5}, True, CLIENT),
        ({"rpc.grpc.status_code": 14}, True, SERVER),
        ({"rpc.grpc.status_code": 99}, False, OK),
        ({"rpc.grpc.status_code": -1}, True, SERVER),
        ({"rpc.response.status_code": "NOT_FOUND"}, True, CLIENT),
        ({"rpc.response.status_code": "INTERNAL"}, True, SERVER),
        ({"rpc.response.status_code": "13"}, True, SERVER),
        ({"rpc.response.status_code": "3"}, True, CLIENT),
        ({"rpc.response.status_code": "OK"}, True, SERVER),
        ({"http.status_code": 404}, False, CLIENT),
        ({"http.status_code": 503}, True, SERVER),
        ({"http.status_code": "500"}, False, SERVER),
        ({"http.response.status_code": 200}, False, OK),
        ({"http.response.status_code": 200}, True, SERVER),
        ({"http.response.status_code": 429}, True, CLIENT),
        ({"http.response.status_code": "many"}, False, OK),
    ],
)
def test_the_outcome_is_what_the_caller_got(attributes: dict[str, Any], has_error: bool, outcome: Outcome) -> None:
    found = call(attributes, status={"code": 2 if has_error else 0})

    assert found is not None
    assert found.outcome is outcome


@pytest.mark.parametrize(
    ("kind", "parent", "is_call"),
    [
        (Span.SPAN_KIND_SERVER, b"p" * 8, True),
        (Span.SPAN_KIND_CONSUMER, b"p" * 8, True),
        (Span.SPAN_KIND_INTERNAL, b"", True),
        (Span.SPAN_KIND_UNSPECIFIED, b"", True),
        (Span.SPAN_KIND_INTERNAL, b"p" * 8, False),
        (Span.SPAN_KIND_CLIENT, b"p" * 8, False),
    ],
)
def test_parts_of_calls_are_not_counted(kind: Any, parent: bytes, is_call: bool) -> None:
    assert (call({}, kind=kind, parent_span_id=parent) is not None) == is_call


def test_names_are_cut_and_cleaned() -> None:
    found = call({}, name="n" * 10_000, service="a\nb\0" + "s" * 1_000)

    assert found is not None
    assert found.key.service.startswith("a\ufffdb\ufffds")
    assert [len(part) for part in found.key] == [200, 160, len("worker-7")]
    nameless = call({}, service="")
    assert nameless is not None
    assert nameless.key.service == "unknown_service"


@given(
    attributes=st.dictionaries(
        st.sampled_from([
            "rpc.method", "rpc.service", "rpc.grpc.status_code", "rpc.response.status_code", "http.route",
            "http.method", "http.request.method", "http.status_code", "http.response.status_code", "else",
        ]),
        ANY_VALUES,
        max_size=10,
    ),
    name=st.text(max_size=300),
)  # fmt: skip
def test_whatever_a_foreign_span_says_its_names_can_be_printed(attributes: dict[str, AnyValue], name: str) -> None:
    odd = span({}, name=name, kind=Span.SPAN_KIND_SERVER)
    for key, one in attributes.items():
        odd.attributes.add(key=key, value=one)

    (reading,) = otlp.read(request(odd, service="shop")).spans

    assert isinstance(reading.observation, Call)
    assert all(part.isprintable() for part in reading.observation.key)
