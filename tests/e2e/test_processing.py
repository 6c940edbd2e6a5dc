"""Photographs and sentences sent through the gateway to models that take numbers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from penstock import manifests
from penstock.client import Client
from penstock.errors import InvalidArgumentError, ModelRejectedError, PenstockError
from tests.support.models import onnx_of
from tests.support.suite import Suite

MANIFEST = """
[[outputs]]
name = "brightness"
labels = ["red", "green", "blue"]

[[preprocessing]]
operation = "decode_image"
shorter_side = 40
crop = [32, 32]
filter = "bicubic"

[[preprocessing]]
operation = "layout"
to = "NCHW"

[[preprocessing]]
operation = "normalize"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
scale = 0.00392156862745098
axis = 1

[[postprocessing]]
operation = "softmax"
output = "probabilities"

[[postprocessing]]
operation = "top_k"
k = 2

[[postprocessing]]
operation = "output"
names = ["label", "probabilities"]
"""
LABELS = np.array(["red", "green", "blue"])


def brightness_onnx(folder: Path) -> Path:
    """The mean of each channel; the model is a folder with a manifest."""
    value = helper.make_tensor_value_info
    onnx_of(
        folder / "model.onnx",
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["means"]),
            helper.make_node("Flatten", ["means"], ["brightness"]),
        ],
        [value("pixels", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [value("brightness", TensorProto.FLOAT, ["n", 3])],
    )
    (folder / "penstock.toml").write_text(MANIFEST)
    return folder


def photograph(seed: int) -> tuple[bytes, np.ndarray]:
    """A JPEG of some size, and the probabilities that Pillow and numpy alone come to."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (3, 4, 3), np.uint8)
    width, height = (int(side) for side in random.integers(40, 200, 2))
    file = BytesIO()
    Image.fromarray(colours).resize((width, height)).save(file, "JPEG")
    image = Image.open(file)
    shorter = min(image.size)
    wide, tall = (side * 40 // shorter for side in image.size)
    left, top = (wide - 32) // 2, (tall - 32) // 2
    image = image.resize((wide, tall), Image.Resampling.BICUBIC).crop((left, top, left + 32, top + 32))
    scaled = (np.asarray(image) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    powers = np.exp(scaled.mean(axis=(0, 1)))
    return file.getvalue(), powers / powers.sum()


def images(*contents: bytes) -> dict[str, np.ndarray]:
    return {"image": np.array(contents, dtype=object)}


@pytest.fixture(scope="module")
def client(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = brightness_onnx(tmp_path_factory.mktemp("colours"))
    suite.command("deploy", str(folder), "--name", "colours", "--wait")
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as connected:
        yield connected
        connected.undeploy("colours")


def test_photographs_are_classified_and_a_broken_one_is_its_senders_error(client: Client) -> None:
    inputs, outputs = client.signature("colours")
    assert [(one.name, one.datatype, one.shape) for one in inputs] == [("image", "BYTES", (-1,))]
    assert [(one.name, one.datatype, one.shape) for one in outputs] == [
        ("label", "BYTES", (-1, 2)),
        ("probabilities", "FP32", (-1, 3)),
    ]
    known = [photograph(seed) for seed in range(40)]

    def ask(number: int) -> Any:
        content, expected = known[number]
        if number % 5 == 0:
            try:
                client.infer("colours", images(content, content[: len(content) // 2]))
            except PenstockError as error:
                return error
        found = client.infer("colours", images(content, known[0][0]))
        np.testing.assert_allclose(found["probabilities"], [expected, known[0][1]], atol=1e-4)
        best = LABELS[np.argsort(-expected)[:2]].tolist()
        assert [one.decode() for one in found["label"][0]] == best
        return None

    with ThreadPoolExecutor(16) as pool:
        errors = [one for one in pool.map(ask, range(40)) if one is not None]
    assert len(errors) == 8
    for error in errors:
        assert isinstance(error, InvalidArgumentError)
        assert "input 'image', row 1: got an image that is damaged" in str(error)


def test_a_file_is_sent_as_it_is(client: Client, suite: Suite, tmp_path: Path) -> None:
    content, expected = photograph(7)
    (tmp_path / "photo.jpg").write_bytes(content)
    outputs = suite.command("infer", "colours", "--input", str(tmp_path / "photo.jpg"))["outputs"]
    assert outputs["label"]["data"][0][0] == LABELS[expected.argmax()]


def test_steps_that_do_not_fit_reject_the_version(suite: Suite, tmp_path: Path) -> None:
    folder = brightness_onnx(tmp_path)
    (folder / "penstock.toml").write_text(MANIFEST.replace("NCHW", "NHWC"))
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as client:
        described = manifests.read(folder / "penstock.toml")
        version = client.create_version("misfit", client.upload(folder), manifest=described)
        wrong = r"step 3 of preprocessing \(normalize\): got 3 means for axis 1 of 'pixels' UINT8"
        with pytest.raises(ModelRejectedError, match=wrong):
            client.wait_validated(version.name, timeout_s=60)
