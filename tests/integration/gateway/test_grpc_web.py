"""gRPC-Web as a browser speaks it: HTTP/1.1, frames in bodies, the status in the last one."""

from __future__ import annotations

import base64
import gzip
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2 as pb

from tests.integration.gateway.conftest import FRONTS, Stage, open_stage
from tests.support.certificates import Certificates
from tests.support.fake_worker import FakeWorker
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.waiting import eventually

KINDS = ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"]
INFER = "inference.GRPCInferenceService/ModelInfer"
PAGE = "https://page.example"


@pytest.fixture(scope="module", params=FRONTS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    settings = {"PENSTOCK_GATEWAY__MAX_REQUEST_BYTES": "100000", "PENSTOCK_GATEWAY__CORS_ORIGINS": f'["{PAGE}"]'}
    with open_stage(PENSTOCK_GATEWAY__FRONT=request.param, **settings) as stage:
        stage.registry.deploy("identity")
        with FakeWorker(stage.redis.url, "identity"):
            eventually(lambda: stage.client.is_model_ready("identity"))
            yield stage


def infer_request(model: str = "identity") -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="FP32", shape=[1, 16])
    data = struct.pack("<16f", *range(16))
    return pb.ModelInferRequest(model_name=model, id="7", inputs=[tensor], raw_input_contents=[data])


def frame(message: bytes, *, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(message)) + message


def post(stage: Stage, method: str, body: bytes, *, kind: str = KINDS[0], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(
        f"http://{stage.gateway.http}/{method}",
        content=base64.b64encode(body) if "-text" in kind else body,
        headers={"content-type": kind, "x-grpc-web": "1", **named},
        timeout=20,
    )


def read(answer: httpx.Response) -> tuple[list[bytes], dict[str, str]]:
    """The messages and the trailers."""
    assert answer.status_code == 200, answer.text
    body = answer.content
    if "-text" in answer.headers["content-type"]:  # every frame is base64 of its own, with its own padding
        quads = [body[at : at + 4] for at in range(0, len(body), 4)]
        body = b"".join(base64.b64decode(quad, validate=True) for quad in quads)
    messages = []
    while True:
        flag, size = struct.unpack_from(">BI", body)
        payload, body = body[5 : 5 + size], body[5 + size :]
        if flag == 0x80:
            assert body == b""
            lines = payload.decode("ascii").split("\r\n")[:-1]
            return messages, dict(line.split(":", 1) for line in lines)
        messages.append(payload)


@pytest.mark.parametrize("kind", KINDS)
def test_infer(stage: Stage, kind: str) -> None:
    answer = post(stage, INFER, frame(infer_request().SerializeToString()), kind=kind)

    (message,), trailers = read(answer)
    assert answer.headers["content-type"] == kind
    response = pb.ModelInferResponse.FromString(message)
    assert (response.id, response.raw_output_contents[0]) == ("7", infer_request().raw_input_contents[0])
    assert trailers == {"grpc-status": "0"}


def test_compressed_request(stage: Stage) -> None:
    body = frame(gzip.compress(infer_request().SerializeToString()), flag=1)

    messages, trailers = read(post(stage, INFER, body, grpc_encoding="gzip"))

    assert (len(messages), trailers["grpc-status"]) == (1, "0")


def test_errors_keep_status_text_and_details(stage: Stage) -> None:
    messages, trailers = read(post(stage, INFER, frame(infer_request("no such").SerializeToString())))

    assert (messages, trailers["grpc-status"]) == ([], "5")
    assert "no such" in trailers["grpc-message"]
    assert b"ErrorInfo" in base64.b64decode(trailers["grpc-status-details-bin"] + "==")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, "13"),
        (frame(b"")[:4], {}, "13"),
        (frame(b"a") + frame(b"b"), {}, "13"),
        (frame(b"a", flag=1), {}, "13"),
        (frame(b"a"), {"grpc_timeout": "soon"}, "13"),
        (frame(b"\xff"), {}, "3"),
        (frame(b"x" * 200_000), {}, "8"),
    ],
)
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_bad_requests(stage: Stage, body: bytes, headers: dict[str, str], status: str, kind: str) -> None:
    messages, trailers = read(post(stage, INFER, body, kind=kind, **headers))

    assert (messages, trailers["grpc-status"]) == ([], status)


def test_the_caller_s_deadline_holds(stage: Stage) -> None:
    stage.registry.deploy("unserved")
    eventually(lambda: len(stage.client.get_model_repository_index().models) == 2)

    body = frame(infer_request("unserved").SerializeToString())
    _, trailers = read(post(stage, INFER, body, grpc_timeout="200m"))

    assert trailers["grpc-status"] in {"4", "14"}, "noticed here, or by the gateway in Triton's words"


def test_text_that_is_no_base64_and_other_content_types_are_refused(stage: Stage) -> None:
    url = f"http://{stage.gateway.http}/{INFER}"

    _, trailers = read(httpx.post(url, content=b"!", headers={"content-type": KINDS[2]}))

    assert trailers["grpc-status"] == "13"
    assert httpx.post(url, content=b"{}", headers={"content-type": "application/json"}).status_code == 415
    assert httpx.post(url.replace("ModelInfer", "Nothing"), content=b"").status_code == 415


def test_unknown_methods_are_unimplemented(stage: Stage) -> None:
    assert read(post(stage, INFER.replace("ModelInfer", "Nothing"), frame(b"")))[1]["grpc-status"] == "12"


def test_messages_of_a_stream_come_one_by_one(stage: Stage) -> None:
    headers = {"content-type": KINDS[0]}
    url = f"http://{stage.gateway.http}/grpc.health.v1.Health/Watch"
    with httpx.stream("POST", url, content=frame(b""), headers=headers, timeout=20) as answer:
        first = next(answer.iter_raw())  # and the stream goes on

    assert health_pb2.HealthCheckResponse.FromString(first[5:]).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("path", [INFER, "v2/models/identity/infer"])
def test_pages_of_the_named_origins_may_call(stage: Stage, path: str) -> None:
    def preflight(origin: str) -> Any:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-grpc-web"}
        return httpx.options(f"http://{stage.gateway.http}/{path}", headers={"origin": origin, **asked})

    allowed, refused = preflight(PAGE), preflight("https://elsewhere.example")

    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-grpc-web" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in refused.headers
    answer = post(stage, INFER, frame(infer_request().SerializeToString()), origin=PAGE)
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("front", FRONTS)
def test_it_is_served_over_tls_too(front: str, certificates: Certificates) -> None:
    settings = {"PENSTOCK_GATEWAY__FRONT": front, **certificates.server.gateway_settings}
    with (
        RedisServer() as redis,
        ScriptedRegistry() as registry,
        GatewayProcess(redis_url=redis.url, registry_address=registry.address, **settings) as gateway,
    ):
        context = ssl.create_default_context(cafile=certificates.authority)
        url = f"https://{gateway.http}/grpc.health.v1.Health/Check"
        answer = httpx.post(url, content=frame(b""), headers={"content-type": KINDS[0]}, verify=context, timeout=20)

        messages, trailers = read(answer)
        assert (messages, trailers["grpc-status"]) == ([b"\x08\x01"], "0")
