"""Keras models give through the backend, and the gateway, what Keras gives; what is code is told by name."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: make test-formats")

import h5py
from keras import layers

from services.inference.backends import LoadError, RunError, keras_config
from services.inference.domain.signature import TensorSpec
from tests.formats.conftest import Asking
from tests.formats.parity import check_digits, inspected, load
from tests.support.models import digits
from tests.support.suite import Suite

SUFFIXES = ["keras", "h5"]
# TensorFlow's variables, and NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

GROWN = r"has \d+ bytes, which would become \d{9}"


def classifier() -> Any:
    model = keras.Sequential(
        [keras.Input((64,), name="image"), layers.Dense(10, activation="softmax", name="probabilities")]
    )
    model.layers[0].set_weights([digits().weights, digits().bias])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def kept(model: Any, folder: Path, suffix: str = "keras") -> Path:
    """Under a name that says nothing."""
    model.save(folder / f"model.{suffix}")
    return (folder / f"model.{suffix}").rename(folder / "model")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_classifier_gives_the_same_and_batches(suffix: str, tmp_path: Path) -> None:
    made = classifier()
    check_digits(kept(made, tmp_path, suffix), "keras", lambda images: made.predict(images, verbose=0), rtol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_is_served_through_the_gateway_without_trust(suffix: str, ask: Asking, tmp_path: Path) -> None:
    made, images = classifier(), digits().images[:7]
    outputs = ask(kept(made, tmp_path, suffix), {"image": images})
    np.testing.assert_allclose(outputs["probabilities"], made.predict(images, verbose=0), rtol=1e-5, atol=1e-6)


def test_many_layers_inputs_and_operations_are_no_code(tmp_path: Path) -> None:
    image, words = keras.Input((8, 8, 1), name="image"), keras.Input((None,), dtype="int32", name="words")
    seen = layers.MaxPooling2D()(layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(image)))
    seen = layers.Dropout(0.5)(layers.Dense(6, kernel_regularizer="l2")(layers.Flatten()(seen)))
    read = layers.Bidirectional(layers.LSTM(3))(layers.Embedding(10, 4)(words))
    total = layers.LayerNormalization()(layers.Add()([seen, read]))
    made = keras.Model({"image": image, "words": words}, {"sum": total, "wave": keras.ops.sin(total) * 2})
    path = kept(made, tmp_path)
    assert inspected(path)["signature"]["is_batchable"]

    model = load(path)
    assert model.signature.inputs == (
        TensorSpec("image", "FP32", (-1, 8, 8, 1)),
        TensorSpec("words", "INT32", (-1, -1)),
    )
    random = np.random.default_rng(0)
    inputs = {
        "image": random.random((5, 8, 8, 1), np.float32),
        "words": random.integers(0, 10, (5, 7)).astype(np.int32),
    }
    outputs, expected = model.run(inputs), made.predict(inputs, verbose=0)
    assert outputs.keys() == expected.keys() == {"sum", "wave"}
    for name, array in expected.items():
        np.testing.assert_allclose(outputs[name], array, rtol=1e-4, atol=1e-5)


def test_one_layer_s_outputs_are_told_apart(tmp_path: Path) -> None:
    x, y = keras.Input((2,), name="x"), keras.Input((2,), name="y")
    shared = layers.Dense(3, name="shared")
    model = load(kept(keras.Model([x, y], [shared(x), shared(y)]), tmp_path))
    assert [one.name for one in model.signature.outputs] == ["shared", "shared_1"]


def test_what_goes_through_keeps_its_datatype(tmp_path: Path) -> None:
    arrays = {
        "float16": np.array([[1.5, -2]], np.float16),
        "bfloat16": np.array([[0x3F80, 0xC000]], np.uint16),
        "float64": np.array([[1.5, 2e300]]),
        "bool": np.array([[True, False]]),
        "uint8": np.array([[1, 255]], np.uint8),
        "int64": np.array([[2**62, -1]]),
    }
    inputs = {kind: keras.Input((2,), dtype=kind, name=kind) for kind in arrays}
    made = keras.Model(inputs, {kind: layers.Identity(dtype=kind)(tensor) for kind, tensor in inputs.items()})
    outputs = load(kept(made, tmp_path)).run(arrays)
    for kind, array in arrays.items():
        assert outputs[kind].dtype == array.dtype
        np.testing.assert_array_equal(outputs[kind], array)


def lambda_model() -> Any:
    return keras.Sequential([keras.Input((2,), name="x"), layers.Lambda(lambda x: x * 2, output_shape=(2,), name="y")])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_lambda_is_refused_by_name_and_run_for_trust_only(suffix: str, tmp_path: Path) -> None:
    path = kept(lambda_model(), tmp_path, suffix)
    with pytest.raises(LoadError, match=r"may run code or read files \(Lambda\)"):
        inspected(path)
    inspected(path, is_trusted=True)
    np.testing.assert_array_equal(load(path).run({"x": np.ones((1, 2), np.float32)})["y"], [[2, 2]])


def test_a_lambda_is_rejected_by_the_suite_too(suite: Suite, tmp_path: Path) -> None:
    path = kept(lambda_model(), tmp_path)
    with pytest.raises(AssertionError, match=r"was rejected: .* may run code or read files \(Lambda\)"):
        suite.command("deploy", str(path), "--name", "lambda", "--wait")


@keras.saving.register_keras_serializable("theirs")
class Doubling(layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_custom_layer_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    path = kept(keras.Sequential([keras.Input((2,)), Doubling()]), tmp_path, suffix)
    with pytest.raises(LoadError, match=r"may run code or read files \((theirs>)?Doubling\)"):
        inspected(path)


def test_layers_that_read_files_are_refused_by_name(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((1,), dtype="string"), layers.StringLookup(vocabulary=["a", "b"])])
    with pytest.raises(LoadError, match=r"read files \(StringLookup\)"):
        inspected(kept(model, tmp_path))


def changed(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def reconfigured(path: Path, part: Any) -> Path:
    """The archive with something else for the first layer's activation."""

    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        config["config"]["layers"][1]["config"]["activation"] = part
        members["config.json"] = json.dumps(config).encode()

    return changed(path, change)


HOSTILE = [
    ({"class_name": "function", "config": "system", "module": "os", "registered_name": "system"}, "system"),
    ({"class_name": "function", "config": "load_model", "module": "keras.saving"}, "load_model"),
    ({"class_name": "get_file", "config": {"origin": "http://x"}, "module": "keras.utils"}, "get_file"),
    ({"class_name": "__lambda__", "config": {"value": "4wAA"}}, "Lambda"),
    ({"class_name": "__typespec__", "spec_name": "x", "module": "antigravity", "config": [[]]}, "__typespec__"),
    (
        {"class_name": "TorchModuleWrapper", "config": {"module": "gASV"}, "module": "keras.layers"},
        "TorchModuleWrapper",
    ),
    ({"class_name": "TFSMLayer", "config": {"filepath": "/x"}, "module": "keras.layers"}, "TFSMLayer"),
    ({"class_name": "Map", "config": {}, "module": "keras.src.ops.core"}, "Map"),
    ({"class_name": "np", "config": {}, "module": "keras.src.ops.numpy"}, "np"),
    (
        {"class_name": "Dense", "config": {}, "module": "keras.layers", "registered_name": "theirs>Dense"},
        "theirs>Dense",
    ),
    ({"deep": [{"class_name": ["Dense"], "config": {}}]}, r"\['Dense'\]"),
]


@pytest.mark.parametrize(("part", "name"), HOSTILE, ids=[one[1] for one in HOSTILE])
def test_other_ways_to_code_are_refused_by_name(part: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=rf"may run code or read files \({name}\)"):
        inspected(reconfigured(kept(classifier(), tmp_path), part))


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_how_it_was_trained_is_not_looked_at(tmp_path: Path) -> None:
    model = classifier()
    model.compile(loss=lambda truth, found: found - truth)
    inspected(kept(model, tmp_path))


def test_all_that_is_listed_is_keras_own() -> None:
    names = keras_config._LAYER_NAMES.split()
    assert all(issubclass(getattr(keras.layers, name), layers.Layer) for name in names)
    assert all(callable(getattr(keras.activations, name)) for name in keras_config._ACTIVATIONS)


def test_files_of_layers_need_trust(tmp_path: Path) -> None:
    path = kept(classifier(), tmp_path)
    changed(path, lambda members: members.update({"assets/words.txt": b"x"}))
    with pytest.raises(LoadError, match=r"read files \(files of its own\)"):
        inspected(path)


def test_strange_members_and_bombs_are_refused(tmp_path: Path) -> None:
    path = kept(classifier(), tmp_path)
    whole = path.read_bytes()
    for name, message in {
        "../evil": "leads elsewhere",
        "/etc/evil": "leads elsewhere",
        "assets/../../evil": "leads elsewhere",
        "model.weights.npz": "which Keras keeps in no model",
    }.items():
        path.write_bytes(whole)
        with pytest.raises(LoadError, match=message):
            inspected(changed(path, lambda members, name=name: members.update({name: b"x"})))
    for noise, message in ((b"", "unpacked it would take more than 64 MiB"), (os.urandom(2 * 2**20), GROWN)):
        path.write_bytes(whole)
        bomb = {"assets/noise": noise, "assets/zeros": bytes(150 * 2**20)}
        with pytest.raises(LoadError, match=message):
            inspected(changed(path, lambda members, bomb=bomb: members.update(bomb)))


def linked(file: Any, folder: Path) -> None:
    file["model_weights/other"] = h5py.ExternalLink(str(folder / "other.h5"), "/x")


def softly_linked(file: Any, _folder: Path) -> None:
    file["model_weights/other"] = h5py.SoftLink("/model_weights")


def in_circles(file: Any, _folder: Path) -> None:
    file["model_weights/other"] = file["model_weights"]


def stored_outside(file: Any, folder: Path) -> None:
    (folder / "secret").write_bytes(b"hidden words")
    file.create_dataset("other", (12,), "u1", external=[(str(folder / "secret"), 0, 12)])


def virtual(file: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", (4,))
    file.create_virtual_dataset("other", layout)


def endless(file: Any, _folder: Path) -> None:
    file.create_dataset("other", (2**40,), "f4", chunks=(2**20,))


def no_data(file: Any, _folder: Path) -> None:
    file["other"] = np.dtype("f4")


OUTSIDE = {
    no_data: "has no numbers at 'other'",
    linked: "has a link at 'other'",
    softly_linked: "has a link at 'other'",
    in_circles: "in several places",
    stored_outside: "has no numbers at 'other'",
    virtual: "has no numbers at 'other'",
    endless: r"which would become \d{13}",
}


@pytest.mark.parametrize("how", OUTSIDE)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_are_all_in_the_file(how: Callable[[Any, Path], None], suffix: str, tmp_path: Path) -> None:
    path = kept(classifier(), tmp_path, suffix)
    hdf5 = path
    if suffix == "keras":
        hdf5 = tmp_path / "weights.h5"
        with zipfile.ZipFile(path) as archive:
            hdf5.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(hdf5, "r+") as file:
        file.require_group("model_weights")
        how(file, tmp_path)
    if suffix == "keras":
        changed(path, lambda members: members.update({"model.weights.h5": hdf5.read_bytes()}))
    with pytest.raises(LoadError, match=OUTSIDE[how]):
        inspected(path, is_trusted=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_ends_early_is_refused(suffix: str, tmp_path: Path) -> None:
    path = kept(classifier(), tmp_path, suffix)
    content = path.read_bytes()
    for size in (60, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:size])
        with pytest.raises(LoadError, match="damaged"):
            inspected(path)


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    classifier().save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(LoadError, match="holds weights only: expected a whole model"):
        inspected(tmp_path / "model.weights.h5")


def test_a_run_that_fails_is_the_callers_error(tmp_path: Path) -> None:
    words = keras.Input((2,), dtype="int32", name="words")
    model = load(kept(keras.Model(words, layers.Embedding(3, 2)(words)), tmp_path))
    with pytest.raises(RunError):
        model.run({"words": np.full((1, 2), 7, np.int32)})
