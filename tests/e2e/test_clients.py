"""Existing clients against the running suite."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.support import models
from tests.support.suite import Suite

MODELS = ["digits", "digits-pt2"]


def _accuracy(probabilities: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == models.digits().labels[: len(probabilities)]).mean())


@pytest.mark.parametrize("model", MODELS)
def test_grpc_client_classifies_digits(suite: Suite, model: str) -> None:
    with triton_grpc.InferenceServerClient(suite.grpc_address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        metadata = client.get_model_metadata(model, as_json=True)
        assert [(one["name"], one["datatype"], one["shape"]) for one in metadata["inputs"]] == [
            ("image", "FP32", ["-1", "64"])
        ]
        assert client.get_model_config(model).config.max_batch_size == 64
        before = client.get_inference_statistics(model).model_stats[0].inference_count
        images = models.digits().images
        answers = []
        for start in range(0, len(images), 50):
            tensor = triton_grpc.InferInput("image", [50, 64], "FP32")
            tensor.set_data_from_numpy(images[start : start + 50])
            answers.append(client.infer(model, [tensor], request_id=f"r{start}"))
        assert [answer.get_response().id for answer in answers] == [f"r{start}" for start in range(0, 400, 50)]
        assert _accuracy(np.concatenate([answer.as_numpy("probabilities") for answer in answers])) > 0.95
        assert client.get_inference_statistics(model).model_stats[0].inference_count == before + 400


async def test_aio_client_classifies_digits(suite: Suite) -> None:
    async with triton_aio.InferenceServerClient(suite.grpc_address) as client:
        tensor = triton_aio.InferInput("image", [64, 64], "FP32")
        tensor.set_data_from_numpy(models.digits().images[:64])
        answer = await client.infer("digits", [tensor])
        assert _accuracy(answer.as_numpy("probabilities")) > 0.9


@pytest.mark.parametrize("is_binary_input", [True, False])
@pytest.mark.parametrize("is_binary_output", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_http_client_classifies_digits(suite: Suite, model: str, is_binary_input: bool, is_binary_output: bool) -> None:
    with triton_http.InferenceServerClient(suite.http_address) as client:
        assert client.is_server_ready()
        assert client.get_model_metadata(model)["name"] == model
        assert client.get_model_config(model)["max_batch_size"] == 64
        assert client.get_inference_statistics(model)["model_stats"][0]["name"] == model
        tensor = triton_http.InferInput("image", [40, 64], "FP32")
        tensor.set_data_from_numpy(models.digits().images[:40], binary_data=is_binary_input)
        wanted = triton_http.InferRequestedOutput("probabilities", binary_data=is_binary_output)
        answer = client.infer(model, [tensor], outputs=[wanted])
        assert _accuracy(answer.as_numpy("probabilities")) > 0.9


def test_plain_http_classifies_a_digit(suite: Suite) -> None:
    image = models.digits().images[0]
    body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": image.tolist()}]}
    answer = httpx.post(f"http://{suite.http_address}/v2/models/digits/infer", json=body)
    assert answer.status_code == 200
    (output,) = answer.json()["outputs"]
    assert int(np.argmax(output["data"])) == models.digits().predict(image[None])[0]


def test_both_formats_agree(suite: Suite) -> None:
    with triton_grpc.InferenceServerClient(suite.grpc_address) as client:
        tensor = triton_grpc.InferInput("image", [64, 64], "FP32")
        tensor.set_data_from_numpy(models.digits().images[:64])
        first, second = (client.infer(model, [tensor]).as_numpy("probabilities") for model in MODELS)
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_bad_request_leaves_the_next_one_unharmed(suite: Suite) -> None:
    with triton_grpc.InferenceServerClient(suite.grpc_address) as client:
        tensor = triton_grpc.InferInput("image", [1, 63], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 63), np.float32))
        with pytest.raises(InferenceServerException, match="63") as caught:
            client.infer("digits", [tensor])
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        with pytest.raises(InferenceServerException) as caught:
            client.infer("nobody", [tensor])
        assert caught.value.status() == "StatusCode.NOT_FOUND"
        tensor = triton_grpc.InferInput("image", [1, 64], "FP32")
        tensor.set_data_from_numpy(models.digits().images[:1])
        assert client.infer("digits", [tensor]).as_numpy("probabilities").shape == (1, 10)
