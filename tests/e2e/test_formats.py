"""A model of each format, deployed by the command and asked through the gateway, gives what its library gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops import io
from tritonclient.utils import InferenceServerException

from penstock.client import Client
from services.common.datatypes import DATATYPES
from tests.support import models
from tests.support.model_server import ModelServer
from tests.support.suite import Suite, wait_until

Arrays = Mapping[str, NDArray[Any]]
Case = tuple[Path, Arrays, Arrays]
"""What to deploy, inputs, and what is to come of them."""

DATA, CLASSES = load_digits(return_X_y=True)
ROWS = DATA[:7]

PYTHON = """
class Model:
    def load(self, folder, options):
        self.words = (folder / "words.txt").read_text().split()

    def infer(self, inputs):
        import numpy as np
        words = [self.words[at % len(self.words)].encode() for at in inputs["at"].ravel()]
        return {"word": np.array(words, dtype=object).reshape(inputs["at"].shape)}
"""
MANIFEST = """
[[inputs]]
name = "at"
datatype = "INT32"
shape = [-1]

[[outputs]]
name = "word"
datatype = "BYTES"
shape = [-1]
"""


def classifier() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(DATA, CLASSES)


def onnx_folder(folder: Path, _suite: Suite) -> Case:
    rows = np.arange(32, dtype=np.float32).reshape(2, 16)
    return models.folder_onnx(folder, bias=5), {"INPUT0": rows}, {"OUTPUT0": rows + 5}


def torch_export(folder: Path, _suite: Suite) -> Case:
    import torch

    path, images = models.digits_torch_export(folder / "model.pt2"), models.digits().images[:7]
    (probabilities,) = torch.export.load(path).module()(torch.from_numpy(images)).values()
    return path, {"image": images}, {"probabilities": probabilities.detach().numpy()}


def skops(folder: Path, _suite: Suite) -> Case:
    estimator = classifier()
    io.dump(estimator, folder / "model.skops")
    expected = {"label": estimator.predict(ROWS), "probabilities": estimator.predict_proba(ROWS)}
    return folder / "model.skops", {"X": ROWS}, expected


def pickled(folder: Path, _suite: Suite) -> Case:
    estimator = classifier()
    joblib.dump(estimator, folder / "model.joblib")
    return folder / "model.joblib", {"X": ROWS}, {"label": estimator.predict(ROWS)}


def booster(folder: Path, _suite: Suite) -> Case:
    settings = {"objective": "multiclass", "num_class": 10, "verbose": -1, "num_threads": 1}
    made = lightgbm.train(settings, lightgbm.Dataset(DATA, CLASSES), 5)
    made.save_model(folder / "model.txt")
    return folder / "model.txt", {"X": ROWS}, {"prediction": made.predict(ROWS)}


def missing_values(folder: Path, _suite: Suite) -> Case:
    rows = np.where(ROWS > 8, np.nan, ROWS)
    made = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(np.where(DATA > 8, np.nan, DATA), CLASSES)
    made.save_model(folder / "model.ubj")
    return folder / "model.ubj", {"X": rows}, {"prediction": made.predict_proba(rows)}


def python(folder: Path, _suite: Suite) -> Case:
    (folder / "model.py").write_text(PYTHON)
    (folder / "penstock.toml").write_text(MANIFEST)
    (folder / "words.txt").write_text("zero one zwei trois")
    expected = np.array([b"trois", b"one"], dtype=object)
    return folder, {"at": np.array([3, 5], np.int32)}, {"word": expected}


def remote(folder: Path, suite: Suite) -> Case:
    """The server that it is at is this one."""
    (folder / "remote.toml").write_text(f'address = "{suite.grpc_address}"\nmodel = "identity"\ntimeout_s = 10')
    rows = np.arange(48, dtype=np.float32).reshape(3, 16)
    return folder / "remote.toml", {"INPUT0": rows}, {"OUTPUT0": rows}


CASES = [onnx_folder, torch_export, skops, pickled, booster, missing_values, python, remote]


@pytest.mark.parametrize("make", CASES, ids=[one.__name__ for one in CASES])
def test_a_model_of_the_format_gives_what_its_library_gives(
    make: Callable[[Path, Suite], Case], suite: Suite, tmp_path: Path
) -> None:
    path, inputs, expected = make(tmp_path, suite)
    name = f"format-{make.__name__}"
    suite.command("deploy", str(path), "--name", name, "--trust", "--wait")
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as client:
        outputs = client.infer(name, inputs)
        for output, array in expected.items():
            if array.dtype == object:
                assert list(outputs[output]) == list(array)
            else:
                np.testing.assert_allclose(outputs[output], array, rtol=1e-5, atol=1e-6)
        client.undeploy(name)


def test_callers_are_told_when_the_server_elsewhere_is_away(suite: Suite, tmp_path: Path) -> None:
    server = ModelServer()
    (tmp_path / "m.toml").write_text(f'address = "127.0.0.1:{server.port}"\nmodel = "m"\ntimeout_s = 5')
    suite.command("deploy", str(tmp_path / "m.toml"), "--name", "elsewhere", "--trust", "--wait")
    rows = np.ones((2, 1), np.float32)
    with triton_grpc.InferenceServerClient(suite.grpc_address) as client:
        tensor = triton_grpc.InferInput("INPUT0", [2, 1], "FP32")
        tensor.set_data_from_numpy(rows)

        def answer() -> Any:
            return client.infer("elsewhere", [tensor]).as_numpy("OUT")

        np.testing.assert_array_equal(answer(), rows)
        server.kill()
        with pytest.raises(InferenceServerException, match="the model's server: UNAVAILABLE") as caught:
            answer()
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
        server.start()

        def is_back() -> bool:
            with contextlib.suppress(InferenceServerException):
                return bool((answer() == rows).all())
            return False

        wait_until(is_back)
    suite.command("undeploy", "elsewhere")
    server.kill()


ONNX_KINDS = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BF16": "BFLOAT16", "BYTES": "STRING"}
EXTREMES = {
    "BOOL": np.array([[True, False]]),
    "FP16": np.array([[1.5, -65504]], np.float16),
    "FP32": np.array([[1.5, -3e38]], np.float32),
    "FP64": np.array([[1.5, -1e308]]),
    "BF16": np.array([[1.5, -3e38]], ml_dtypes.bfloat16),
    "BYTES": np.array([["é".encode(), b""]], dtype=object),
}


def extremes() -> Arrays:
    """Two values of each datatype, named by it."""
    limits = {name: np.iinfo(kind.dtype) for name, kind in DATATYPES.items() if name not in EXTREMES}
    return EXTREMES | {name: np.array([[one.min, one.max]], one.dtype) for name, one in limits.items()}


def same(path: Path, names: Iterable[str]) -> Path:
    """ONNX: tensors of these datatypes, named by them, come out as they went in."""
    nodes, inputs, outputs = [], [], []
    for name in names:
        kind = getattr(TensorProto, ONNX_KINDS.get(name, name))
        nodes.append(helper.make_node("Identity", [name], [f"{name}-out"]))
        inputs.append(helper.make_tensor_value_info(name, kind, ["n", 2]))
        outputs.append(helper.make_tensor_value_info(f"{name}-out", kind, ["n", 2]))
    return models.onnx_of(path, nodes, inputs, outputs)


def by_triton(module: Any, address: str, model: str, arrays: Arrays) -> Arrays:
    tensors = []
    for name, array in arrays.items():
        tensors.append(module.InferInput(name, list(array.shape), name))
        tensors[-1].set_data_from_numpy(array)
    with module.InferenceServerClient(address) as client:
        answer = client.infer(model, tensors)
        return {name: answer.as_numpy(f"{name}-out") for name in arrays}


@pytest.mark.parametrize("group", ["numbers", "texts"])  # onnxruntime takes no BF16 beside BYTES
def test_every_datatype_comes_back_as_it_went(group: str, suite: Suite, tmp_path: Path) -> None:
    arrays = {name: array for name, array in extremes().items() if (name == "BYTES") == (group == "texts")}
    path = same(tmp_path / "m.onnx", arrays)
    suite.command("deploy", str(path), "--name", group, "--wait")
    for module, address in ((triton_grpc, suite.grpc_address), (triton_http, suite.http_address)):
        outputs = by_triton(module, address, group, arrays)
        for name, array in arrays.items():
            assert outputs[name].dtype == array.dtype
            np.testing.assert_array_equal(outputs[name], array)
