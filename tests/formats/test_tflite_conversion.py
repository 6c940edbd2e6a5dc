"""What TensorFlow's converter makes of a model is served, and gives what the model gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: make test-formats")
pytest.importorskip("ai_edge_litert", reason="ai_edge_litert is not installed: make test-formats")

import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from services.inference import backends
from services.inference.backends import ModelFiles, Placement
from tests.formats.conftest import Asking
from tests.support.models import digits


@pytest.fixture(scope="module")
def network() -> Any:
    made = keras.Sequential(
        [
            keras.Input((64,), name="image"),
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    made.compile("adam", "sparse_categorical_crossentropy")
    made.fit(digits().images, digits().labels, epochs=3, verbose=0)
    return made


def converted(network: Any, folder: Path, *, is_quantized: bool = False) -> Path:
    network.export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    if is_quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([one[None]] for one in digits().images[:100])
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path = folder / "model.tflite"
    path.write_bytes(converter.convert())
    return path


def load(path: Path) -> Any:
    files = ModelFiles(path)
    return backends.load(files, backends.recognise(files).format, Placement("cpu", 1))


def test_a_converted_network_is_served(network: Any, ask: Asking, tmp_path: Path) -> None:
    path, images = converted(network, tmp_path), digits().images[:7]
    model = load(path)
    assert model.signature.is_batchable
    (taken,), (given,) = model.signature.inputs, model.signature.outputs
    outputs = ask(path, {taken.name: images})
    np.testing.assert_allclose(outputs[given.name], network.predict(images, verbose=0), rtol=1e-4, atol=1e-5)


def test_a_quantised_network_keeps_its_integers(network: Any, tmp_path: Path) -> None:
    path, images = converted(network, tmp_path, is_quantized=True), digits().images[:50]
    model = load(path)
    (taken,), (given,) = model.signature.inputs, model.signature.outputs
    assert (taken.datatype, given.datatype) == ("INT8", "INT8")
    details = Interpreter(str(path)).get_input_details()[0]
    scale, zero = details["quantization"]
    rows = np.clip(np.round(images / scale + zero), -128, 127).astype(np.int8)
    found = model.run({taken.name: rows})[given.name].argmax(axis=1)
    assert (found == network.predict(images, verbose=0).argmax(axis=1)).mean() > 0.9
