"""A request whose form is known is one that would be read alike."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from services.common.forms import KnownForms
from services.gateway.domain.lane import Lane
from services.gateway.domain.plans import Plan
from tests.unit.gateway.requests import infer_request, served

LANE = Lane(served(), now=0.0)
PLAN = Plan(LANE, LANE.tiers[0], rows=1, timeout_s=1.0, request_id="")
WORDS = st.sampled_from(["", "m", "INPUT0", "3:\x04abcd"])
CONTENTS = st.lists(st.binary(max_size=200), min_size=1, max_size=3)


@st.composite
def requests(draw: st.DrawFn, contents: st.SearchStrategy[list[bytes]] = CONTENTS) -> Any:
    raw = draw(contents)
    request = pb.ModelInferRequest(model_name=draw(WORDS), model_version=draw(WORDS), raw_input_contents=raw)
    for _ in raw:
        request.inputs.add(name=draw(WORDS), datatype="FP32", shape=draw(st.lists(st.integers(-1, 300), max_size=3)))
    for name in draw(st.lists(WORDS, max_size=2)):
        request.outputs.add(name=name)
    if draw(st.booleans()):
        request.parameters["timeout"].int64_param = draw(st.integers(0, 2**62))
    return request


def read(message: bytes) -> Any:
    """What a message says, and the sizes of its contents; None when it says nothing."""
    try:
        request = pb.ModelInferRequest.FromString(message)
    except DecodeError:
        return None
    sizes = [len(raw) for raw in request.raw_input_contents]
    request.ClearField("raw_input_contents")
    return request, sizes


@given(requests(), st.randoms(use_true_random=False))
def test_a_request_with_other_contents_has_the_same_form(request: Any, random: Any) -> None:
    forms: KnownForms[Plan] = KnownForms()
    message = request.SerializeToString()
    forms.learn(message, request.raw_input_contents, PLAN)
    request.raw_input_contents[:] = [random.randbytes(len(raw)) for raw in request.raw_input_contents]
    assert forms.recall(request.SerializeToString()) is PLAN


@given(requests(), st.data())
def test_whatever_has_a_known_form_says_the_same(request: Any, data: st.DataObject) -> None:
    forms: KnownForms[Plan] = KnownForms()
    message = request.SerializeToString()
    forms.learn(message, request.raw_input_contents, PLAN)
    other = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        other[data.draw(st.integers(0, len(other) - 1))] = data.draw(st.integers(0, 255))
    if forms.recall(bytes(other)) is not None:
        assert read(bytes(other)) == read(message)


@given(st.lists(st.integers(0, 1), max_size=6), requests(), requests())
def test_forms_are_not_mixed_up(order: list[int], one: Any, other: Any) -> None:
    forms: KnownForms[Plan] = KnownForms()
    plans = [PLAN, PLAN._replace(rows=2)]
    for at in order:
        request = (one, other)[at]
        forms.learn(request.SerializeToString(), request.raw_input_contents, plans[at])
    for at in set(order):
        message = (one, other)[at].SerializeToString()
        if read(one.SerializeToString()) != read(other.SerializeToString()):
            assert forms.recall(message) is plans[at]


def test_fields_in_another_order_have_no_form() -> None:
    request = infer_request()
    head = pb.ModelInferRequest()
    head.CopyFrom(request)
    head.ClearField("raw_input_contents")
    raw = pb.ModelInferRequest(raw_input_contents=request.raw_input_contents)
    forms: KnownForms[Plan] = KnownForms()
    message = raw.SerializeToString() + head.SerializeToString()
    assert pb.ModelInferRequest.FromString(message) == request
    forms.learn(message, request.raw_input_contents, PLAN)
    assert forms.recall(message) is None


@pytest.mark.parametrize("unknown", [b"\x78\x05", b"\x7d1234", b"\x79" + b"12345678"])
def test_fields_that_the_protocol_does_not_know_have_no_form(unknown: bytes) -> None:
    request = infer_request()
    message = unknown + request.SerializeToString()
    assert read(message) is not None
    forms: KnownForms[Plan] = KnownForms()
    forms.learn(message, request.raw_input_contents, PLAN)
    assert forms.recall(message) is None


def test_a_flood_of_forms_leaves_no_more_than_fits() -> None:
    forms: KnownForms[Plan] = KnownForms()
    for number in range(5_000):
        request = infer_request(model=str(number) * (number % 7))
        forms.learn(request.SerializeToString(), request.raw_input_contents, PLAN)
    shapes = [shape for shapes in forms._by_length.values() for shape in shapes]
    assert sum(len(plans) for _, plans in shapes) <= 1_024
    assert max(map(len, forms._by_length.values())) <= 4
