"""Bad input gets the right status and a message with got and expected; the next request is unharmed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from penstock.gateway.v1.reply_service_pb2 import BatchReply, ConnectRequest, Hello
from penstock.gateway.v1.reply_service_pb2_grpc import ReplyServiceStub
from tests.integration.gateway.conftest import Stage, tensor

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
UNAVAILABLE, UNIMPLEMENTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED
HEADER = "Inference-Header-Content-Length"
ROW = np.ones(16, "<f4").tobytes()
HELLO = ConnectRequest(hello=Hello(consumer="confused", model="identity", version="1"))
REPLY = ConnectRequest(batch_reply=BatchReply(sequence=1))


@pytest.fixture(autouse=True)
def next_request_is_unharmed(shared: Stage) -> Iterator[None]:
    yield
    sent = tensor(3)
    assert shared.client.infer("identity", [sent]).as_numpy("OUTPUT0").tobytes() == sent._get_content()
    pending = shared.gateway.scrape()['nv_inference_pending_request_count{model="identity",version="1"}']
    assert pending == 0


def good() -> Any:
    request = pb.ModelInferRequest(model_name="identity", raw_input_contents=[ROW])
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 16])
    return request


def mutate(change: Callable[[Any], object]) -> Any:
    request = good()
    change(request)
    return request


def mix(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.extend([1.0] * 16)


def over_grpc(shared: Stage, message: bytes) -> grpc.RpcError:
    with grpc.insecure_channel(shared.gateway.grpc) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            infer(message)
        return caught.value


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (
            mutate(lambda r: setattr(r, "model_name", "nobody")),
            NOT_FOUND,
            "Request for unknown model: 'nobody' is not found",
        ),
        (
            mutate(lambda r: setattr(r, "model_version", "9")),
            NOT_FOUND,
            "'identity' version '9' is not found; deployed versions and aliases: 1",
        ),
        (
            mutate(lambda r: setattr(r.inputs[0], "name", "X")),
            INVALID,
            "got unexpected input 'X', model 'identity' expects 'INPUT0' FP32 [-1, 16]",
        ),
        (
            mutate(lambda r: setattr(r.inputs[0], "datatype", "FP64")),
            INVALID,
            "input 'INPUT0' has datatype 'FP64', expected FP32",
        ),
        (
            mutate(lambda r: r.inputs[0].shape.append(1)),
            INVALID,
            "input 'INPUT0' has shape [1, 16, 1], expected [-1, 16]",
        ),
        (
            mutate(lambda r: r.raw_input_contents.__setitem__(0, ROW[:-1])),
            INVALID,
            "input 'INPUT0' has 63 bytes, expected 64",
        ),
        (mutate(mix), INVALID, "input 'INPUT0' has typed contents in a request with raw_input_contents"),
        (mutate(lambda r: r.raw_input_contents.append(ROW)), INVALID, "got 2 raw_input_contents for 1 inputs"),
        (mutate(lambda r: r.outputs.add(name="Y")), INVALID, "got output 'Y' which the model does not have"),
        (mutate(lambda r: r.ClearField("inputs")), INVALID, "missing input 'INPUT0'"),
        (
            mutate(lambda r: setattr(r.parameters["timeout"], "string_param", "soon")),
            INVALID,
            "parameter 'timeout' is 'soon'",
        ),
        (
            mutate(lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "r")),
            UNIMPLEMENTED,
            "is in shared memory, which is not supported",
        ),
    ],
)
def test_requests_that_do_not_fit(shared: Stage, request_: Any, code: grpc.StatusCode, message: str) -> None:
    error = over_grpc(shared, request_.SerializeToString())
    assert error.code() is code
    assert message in error.details()


def test_bytes_that_are_no_request(shared: Stage) -> None:
    error = over_grpc(shared, b"\xff\xff\xff")
    assert error.code() is INVALID
    assert error.details() == "got 3 bytes that are no inference.ModelInferRequest"


def test_errors_carry_their_reason(shared: Stage) -> None:
    error = over_grpc(shared, pb.ModelInferRequest(model_name="nobody").SerializeToString())
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("MODEL_NOT_FOUND", "penstock.dev")


GOOD = {"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "FP32", "data": [1.0] * 16}]}
BINARY = json.dumps(
    {"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "FP32", "parameters": {"binary_data_size": 64}}]}
).encode()


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "message"),
    [
        ("nobody/infer", GOOD, {}, 404, "Request for unknown model: 'nobody' is not found"),
        ("identity/versions/9/infer", GOOD, {}, 404, "version '9' is not found"),
        ("identity/infer", b'{"inputs": [', {}, 400, "the request is no JSON"),
        ("identity/infer", {"inputs": 1}, {}, 400, "'inputs' of the request is 1, expected a list"),
        (
            "identity/infer",
            {"inputs": [{**GOOD["inputs"][0], "data": ["a"] * 16}]},
            {},
            400,
            "holds values that are no FP32",
        ),
        (
            "identity/infer",
            {"inputs": [{**GOOD["inputs"][0], "data": [1.0]}]},
            {},
            400,
            "has shape [1], expected [1, 16]",
        ),
        ("identity/infer", {"inputs": [{**GOOD["inputs"][0], "name": "X"}]}, {}, 400, "got unexpected input 'X'"),
        ("identity/infer", BINARY + ROW, {HEADER: "-5"}, 400, "got Inference-Header-Content-Length '-5'"),
        ("identity/infer", BINARY + ROW, {HEADER: "many"}, 400, "got Inference-Header-Content-Length 'many'"),
        ("identity/infer", BINARY + ROW, {HEADER: "9999"}, 400, "got Inference-Header-Content-Length '9999'"),
        ("identity/infer", BINARY + ROW, {HEADER: str(len(BINARY) - 1)}, 400, "the request is no JSON"),
        ("identity/infer", BINARY + ROW[:-1], {HEADER: str(len(BINARY))}, 400, "is 64, expected 0 to 63"),
        ("identity/infer", BINARY + ROW + b"x", {HEADER: str(len(BINARY))}, 400, "1 bytes are left"),
        ("identity/infer", b"x" * 63, {HEADER: "0"}, 400, "does not follow from 63 bytes"),
        ("identity/infer", b"abc", {"Content-Encoding": "gzip"}, 400, "the body is no gzip data"),
        ("identity/infer", b"abc", {"Content-Encoding": "br"}, 400, "got Content-Encoding 'br', expected gzip"),
        ("identity/infer", {**GOOD, "parameters": {"priority": -1}}, {}, 400, "parameter 'priority' is -1"),
    ],
)
def test_rest_requests_that_do_not_fit(
    shared: Stage, path: str, body: Any, headers: dict[str, str], status: int, message: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"http://{shared.gateway.http}/v2/models/{path}", content=content, headers=headers)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_a_rest_caller_may_send_any_tracestate(shared: Stage) -> None:
    trace = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": "a=é".encode()}
    answer = httpx.post(f"http://{shared.gateway.http}/v2/models/identity/infer", json=GOOD, headers=trace, timeout=5.0)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/identity/versions/9/config", 404),
        ("GET", "/v2/models/nobody/stats", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/identity/infer", 405),
        ("POST", "/v2/health/live", 405),
    ],
)
def test_rest_paths_that_lead_nowhere(shared: Stage, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"http://{shared.gateway.http}{path}")
    assert answer.status_code == status
    assert answer.json()["error"]


def test_unknown_models_in_questions(shared: Stage) -> None:
    for ask in (
        shared.client.get_model_metadata,
        shared.client.get_model_config,
        shared.client.get_inference_statistics,
    ):
        with pytest.raises(InferenceServerException, match="Request for unknown model: 'nobody' is not found"):
            ask("nobody")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([ConnectRequest()], "the first message must be a hello"),
        ([HELLO, HELLO], "expected a reply or a response with a sequence from 1 after the hello"),
        ([HELLO, REPLY, HELLO], "expected a reply or a response with a sequence from 1 after the hello"),
        ([HELLO, REPLY, REPLY, ConnectRequest(batch_reply=BatchReply())], "expected a batch_reply with a sequence"),
    ],
)
def test_a_model_process_that_says_what_makes_no_sense_hears_why(
    shared: Stage, said: list[ConnectRequest], text: str
) -> None:
    done = threading.Event()

    def say() -> Iterator[ConnectRequest]:
        yield from said
        done.wait(30)  # the gateway ends the stream, not the end of what is said

    with grpc.insecure_channel(shared.gateway.internal) as channel:
        call = ReplyServiceStub(channel).Connect(say())
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        done.set()
    assert caught.value.code() is INVALID
    assert text in caught.value.details()
