"""What the real tritonclient, over gRPC and HTTP, asks and gets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.integration.gateway.conftest import Stage, tensor
from tests.support.fake_worker import FakeWorker
from tests.support.waiting import eventually

ROWS = np.arange(32, dtype="f4").reshape(2, 16)


@pytest.fixture
def http(shared: Stage) -> Iterator[Any]:
    with triton_http.InferenceServerClient(shared.gateway.http) as client:
        yield client


def http_tensor(*, binary: bool) -> Any:
    made = triton_http.InferInput("INPUT0", [2, 16], "FP32")
    made.set_data_from_numpy(ROWS, binary_data=binary)
    return made


def test_server_and_model_over_grpc(shared: Stage) -> None:
    client = shared.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("identity", "1")
    assert not client.is_model_ready("identity", "9")
    assert not client.is_model_ready("nobody")
    assert "statistics" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("identity")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("identity", ["1"], "onnxruntime_onnx")
    assert (metadata.inputs[0].name, metadata.inputs[0].datatype, list(metadata.inputs[0].shape)) == (
        "INPUT0",
        "FP32",
        [-1, 16],
    )
    config = client.get_model_config("identity", as_json=True)["config"]
    assert (config["max_batch_size"], config["input"][0]["dims"], config["input"][0]["data_type"]) == (
        64,
        ["16"],
        "TYPE_FP32",
    )
    (entry,) = client.get_model_repository_index().models
    assert (entry.name, entry.version, entry.state) == ("identity", "1", "READY")


def test_server_and_model_over_http(http: Any) -> None:
    assert http.is_server_live()
    assert http.is_server_ready()
    assert http.is_model_ready("identity", "1")
    assert not http.is_model_ready("nobody")
    assert "binary_tensor_data" in http.get_server_metadata()["extensions"]
    assert http.get_model_metadata("identity", "1")["inputs"] == [
        {"name": "INPUT0", "datatype": "FP32", "shape": [-1, 16]}
    ]
    assert http.get_model_config("identity")["input"] == [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [16]}]
    assert http.get_model_repository_index() == [{"name": "identity", "version": "1", "state": "READY", "reason": ""}]


def test_inference_over_grpc(shared: Stage) -> None:
    sent = tensor(2)
    result = shared.client.infer(
        "identity", [sent], request_id="abc", outputs=[triton_grpc.InferRequestedOutput("OUTPUT0")]
    )
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0").tobytes(), sent._get_content())
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("abc", "identity", "1")


async def test_many_inferences_at_once_over_grpc_aio(shared: Stage) -> None:
    async with triton_aio.InferenceServerClient(shared.gateway.grpc) as client:
        sent = [tensor(seed=seed) for seed in range(32)]
        results = await asyncio.gather(
            *(client.infer("identity", [one], request_id=str(at)) for at, one in enumerate(sent))
        )
        for at, (one, result) in enumerate(zip(sent, results, strict=True)):
            assert result.get_response().id == str(at)
            assert result.as_numpy("OUTPUT0").tobytes() == one._get_content()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_inference_over_grpc(shared: Stage, algorithm: str) -> None:
    result = shared.client.infer("identity", [tensor(40)], compression_algorithm=algorithm)
    assert result.as_numpy("OUTPUT0").shape == (40, 16)


def test_typed_contents_over_grpc(shared: Stage) -> None:
    """The client's own message, checked and passed on untouched."""
    with grpc.insecure_channel(shared.gateway.grpc) as channel:
        request = pb.ModelInferRequest(model_name="identity")
        request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 16]).contents.fp32_contents.extend([1.0] * 15)
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelInferResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            infer(request)
        assert caught.value.details() == "input 'INPUT0' has 15 elements in fp32_contents, expected 16"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
def test_inference_over_http(http: Any, binary_in: bool, binary_out: bool | None, algorithm: str | None) -> None:
    outputs = None if binary_out is None else [triton_http.InferRequestedOutput("OUTPUT0", binary_data=binary_out)]
    result = http.infer(
        "identity",
        [http_tensor(binary=binary_in)],
        outputs=outputs,
        request_id="abc",
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), ROWS)
    assert (result.get_response()["id"], result.get_response()["model_version"]) == ("abc", "1")


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("gzip; q=0.0", None),
        ("identity", None),
    ],
)
def test_rest_answers_are_compressed_as_the_caller_accepts(shared: Stage, accepted: str, encoding: str | None) -> None:
    data = np.arange(1_024, dtype="f4").reshape(64, 16)
    document = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [64, 16], "data": data.tolist()}]}
    answer = httpx.post(
        f"http://{shared.gateway.http}/v2/models/identity/infer", json=document, headers={"accept-encoding": accepted}
    )
    assert answer.headers.get("content-encoding") == encoding
    assert answer.json()["outputs"][0]["data"] == data.ravel().tolist()


def test_plain_json_and_bare_bytes_over_http(shared: Stage) -> None:
    url = f"http://{shared.gateway.http}/v2/models/identity"
    document = {"inputs": [{"name": "INPUT0", "shape": [2, 16], "datatype": "FP32", "data": ROWS.tolist()}]}
    answer = httpx.post(f"{url}/versions/1/infer", json=document)
    assert answer.status_code == 200
    assert answer.json()["outputs"] == [
        {"name": "OUTPUT0", "datatype": "FP32", "shape": [2, 16], "data": ROWS.ravel().tolist()}
    ]
    answer = httpx.post(f"{url}/infer", content=ROWS.tobytes(), headers={"Inference-Header-Content-Length": "0"})
    assert answer.content[int(answer.headers["Inference-Header-Content-Length"]) :] == ROWS.tobytes()


def test_nan_comes_through_json(shared: Stage) -> None:
    body = (
        '{"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "FP32", "data": ['
        + ", ".join(["NaN"] * 16)
        + "]}]}"
    )
    answer = httpx.post(f"http://{shared.gateway.http}/v2/models/identity/infer", content=body)
    assert np.isnan(answer.json()["outputs"][0]["data"]).all()


@pytest.mark.parametrize("size", [1, 20])
def test_large_requests_stay_with_the_gateway_until_they_are_fetched(shared: Stage, size: int) -> None:
    width = size * 1024 * 256
    shared.registry.deploy(
        f"large{size}", inputs=(("INPUT0", "FP32", (-1, width)),), outputs=(("OUTPUT0", "FP32", (-1, width)),)
    )
    data = np.random.default_rng(0).standard_normal((1, width)).astype("f4")
    over_grpc = triton_grpc.InferInput("INPUT0", [1, width], "FP32")
    over_grpc.set_data_from_numpy(data)
    over_http = triton_http.InferInput("INPUT0", [1, width], "FP32")
    over_http.set_data_from_numpy(data)
    with (
        FakeWorker(shared.redis.url, f"large{size}") as worker,
        triton_http.InferenceServerClient(shared.gateway.http) as http,
    ):
        eventually(lambda: shared.client.is_model_ready(f"large{size}"))
        for client, sent in ((shared.client, over_grpc), (http, over_http)):
            np.testing.assert_array_equal(client.infer(f"large{size}", [sent]).as_numpy("OUTPUT0"), data)
        assert all(entry.envelope.payload_bytes > data.nbytes and entry.request == b"" for entry in worker.seen)


def test_rpcs_that_are_not_there_yet_say_so(shared: Stage) -> None:
    client = shared.client
    for call in (client.get_trace_settings, client.get_log_settings, client.get_system_shared_memory_status):
        with pytest.raises(InferenceServerException, match="is not supported by this server") as caught:
            call()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_what_is_no_request_is_answered_within_the_stream(shared: Stage) -> None:
    good = pb.ModelInferRequest(model_name="identity", id="good")
    good.inputs.append(tensor()._get_tensor())
    good.raw_input_contents.append(bytes(64))
    with grpc.insecure_channel(shared.gateway.grpc) as channel:
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        requests = [b"\xff", b"", good.SerializeToString()]
        answers = [pb.ModelStreamInferResponse.FromString(one) for one in stream(iter(requests))]
    bad, unknown, good_one = [one.error_message for one in answers]
    assert bad == "got 1 bytes that are no inference.ModelInferRequest"
    assert unknown.startswith("Request for unknown model: '' is not found; deployed models: 'identity'")
    assert good_one == ""
    statuses = [one.infer_response.parameters["status"].string_param for one in answers[:2]]
    assert statuses == ["INVALID_ARGUMENT", "NOT_FOUND"]
    assert answers[2].infer_response.id == "good"


def test_health_and_reflection(shared: Stage) -> None:
    for address, service in (
        (shared.gateway.grpc, "inference.GRPCInferenceService"),
        (shared.gateway.internal, "penstock.gateway.v1.ReplyService"),
    ):
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert (
                health.Check(health_pb2.HealthCheckRequest(service=service)).status
                == health_pb2.HealthCheckResponse.SERVING
            )
            ask = reflection_pb2.ServerReflectionRequest(list_services="")
            (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
            assert service in {one.name for one in answer.list_services_response.service}
