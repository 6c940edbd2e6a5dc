"""What the benchmark's clients write, read back as a server would, and what they read."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as oip

from benchmarks.wire import Base64Json, GrpcV2, RawBytes, RestV2, TorchServeGrpc
from benchmarks.workloads import Identity

WORKLOAD = Identity()
ROWS = WORKLOAD.rows(1)


def test_grpc_carries_the_row_as_raw_contents() -> None:
    request = oip.ModelInferRequest.FromString(GrpcV2("", WORKLOAD).call(ROWS).body)

    assert request.raw_input_contents[0] == ROWS.tobytes()
    assert list(request.inputs[0].shape) == [1, 16]


@pytest.mark.parametrize("is_raw", [True, False])
def test_grpc_answers_are_read_raw_or_typed(is_raw: bool) -> None:
    response = oip.ModelInferResponse(raw_output_contents=[ROWS.tobytes()] if is_raw else [])
    response.outputs.add(name="output0").contents.fp32_contents.extend([] if is_raw else ROWS.ravel().tolist())

    assert np.array_equal(GrpcV2("", WORKLOAD).read(response.SerializeToString()), ROWS.ravel())


def test_the_binary_extension_says_where_json_ends() -> None:
    call = RestV2("", WORKLOAD, is_binary=True).call(ROWS)
    size = int(dict(call.headers)["inference-header-content-length"])

    assert json.loads(call.body[:size])["inputs"][0]["parameters"] == {"binary_data_size": ROWS.nbytes}
    assert call.body[size:] == ROWS.tobytes()


@pytest.mark.parametrize("is_binary", [True, False])
def test_rest_answers_are_read(is_binary: bool) -> None:
    output = {"name": "output0", **({} if is_binary else {"data": ROWS.ravel().tolist()})}
    reply = json.dumps({"outputs": [output]}).encode() + (ROWS.tobytes() if is_binary else b"")

    assert np.array_equal(RestV2("", WORKLOAD, is_binary=is_binary).read(reply), ROWS.ravel())


@pytest.mark.parametrize("is_list", [True, False])
def test_base64_answers_are_read(is_list: bool) -> None:
    text = base64.b64encode(ROWS.tobytes()).decode()
    api = Base64Json("", "/", is_list=is_list)

    assert json.loads(api.call(ROWS).body) == {"data": [text] if is_list else text}
    assert np.array_equal(api.read(json.dumps([text] if is_list else {"data": text}).encode()), ROWS.ravel())


def test_torchserve_is_asked_in_its_own_message() -> None:
    """The fields are those of PredictionsRequest: model_name = 1, input = 3, a map from string to bytes."""
    body = TorchServeGrpc("", WORKLOAD).call(ROWS).body

    assert body.startswith(b"\x0a\x0ebench-identity\x1a\x48\x0a\x04data\x12\x40" + ROWS.tobytes())
    assert np.array_equal(TorchServeGrpc("", WORKLOAD).read(b"\x0a\x40" + ROWS.tobytes()), ROWS.ravel())


def test_plain_bytes_go_as_they_are() -> None:
    api = RawBytes("", "/")

    assert np.array_equal(api.read(api.call(ROWS).body), ROWS.ravel())
