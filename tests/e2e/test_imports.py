"""Models that other tools packed are imported by the command, and give what their library gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from penstock.client import Client
from tests.support.models import folder_onnx, identity_onnx
from tests.support.signing import key_pair
from tests.support.suite import Suite
from tests.unit.penstock_client.test_importing import CONFIG, archive, repository

ROWS = np.arange(32, dtype=np.float32).reshape(2, 16)
NAMED_BY_ORDER = """
max_batch_size: 4
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""


@pytest.fixture
def client(suite: Suite) -> Client:
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as client:
        yield client


def test_a_repository_of_triton_is_served_with_its_limits(suite: Suite, client: Client, tmp_path: Path) -> None:
    echo = repository(
        tmp_path / "repository" / "echo", CONFIG.replace('"echo"', '"imported-echo"'), versions=("1", "2")
    )
    other = tmp_path / "repository" / "imported-shift"
    folder_onnx(other / "1" / "model.onnx", bias=5)

    done = suite.command("import", str(echo.parent))

    assert [one["name"].split("/", 1)[1] for one in done["versions"]] == [
        "imported-echo/versions/1",
        "imported-echo/versions/2",
        "imported-shift/versions/1",
    ]
    deployment = client.deployment("imported-echo")
    assert deployment.versions == ["models/imported-echo/versions/2"]
    assert (deployment.replicas, deployment.batching.max_batch_size, deployment.queue.max_queue_size) == (2, 8, 20)
    np.testing.assert_array_equal(client.infer("imported-echo", {"INPUT0": ROWS})["OUTPUT0"], ROWS)
    np.testing.assert_array_equal(client.infer("imported-shift", {"INPUT0": ROWS})["OUTPUT0"], ROWS + 5)
    for name in ("imported-echo", "imported-shift"):
        client.undeploy(name)


def test_what_is_imported_is_signed_with_its_manifest(suite: Suite, client: Client, tmp_path: Path) -> None:
    packed = repository(tmp_path / "echo", CONFIG.replace('"echo"', '"signed-echo"'), versions=("1",))
    before = {path: path.read_bytes() for path in packed.rglob("*") if path.is_file()}
    keys = key_pair(tmp_path)
    suite.command("keys", "add", "importers", "anna", str(tmp_path / "key.pub"))

    (version,) = suite.command("import", str(packed), "--sign", str(keys.private))["versions"]

    assert version["trust"]["outcome"] == "OUTCOME_VERIFIED"
    assert version["trust"]["signing_key"] == "keySets/importers/keys/anna"
    assert [one["path"] for one in version["files"]] == ["model.onnx", "model.sig", "penstock.toml"]
    assert client.versions("signed-echo")[0].manifest.signature.inputs, "the configuration's tensors are signed, too"
    np.testing.assert_array_equal(client.infer("signed-echo", {"INPUT0": ROWS})["OUTPUT0"], ROWS)
    assert {path: path.read_bytes() for path in packed.rglob("*") if path.is_file()} == before
    suite.command("require", "signed-echo", "--signed-by", "importers")
    refused = suite.command("import", str(packed), check=False)
    assert "it is not signed" in client.versions("signed-echo")[0].state_reason, refused
    client.undeploy("signed-echo")


def test_a_repository_that_says_something_else_than_its_model_is_rejected(
    suite: Suite, client: Client, tmp_path: Path
) -> None:
    repository(tmp_path / "lying", CONFIG.replace("dims: [ 16 ] } ]\noutput", "dims: [ 17 ] } ]\noutput"))
    suite.command("import", str(tmp_path / "lying"), "--name", "lying", check=False)
    (version,) = client.versions("lying")
    assert "[-1, 17] is what the model calls 'INPUT0' FP32 [-1, 16]" in version.state_reason


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
@pytest.mark.parametrize("packed_by", ["torchserve", "triton"])
def test_a_torchscript_module_is_served_in_the_order_of_its_tensors(
    packed_by: str, suite: Suite, client: Client, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(4, 3)
    saved = torch.jit.trace(module, torch.zeros(1, 4))
    if packed_by == "triton":
        (tmp_path / "net" / "1").mkdir(parents=True)
        torch.jit.save(saved, str(tmp_path / "net" / "1" / "model.pt"))
        (tmp_path / "net" / "config.pbtxt").write_text(NAMED_BY_ORDER)
        path, names = tmp_path / "net", ("INPUT__0", "OUTPUT__0")
    else:
        tensors = [{"name": name, "datatype": "FP32", "shape": [-1, size]} for name, size in (("input", 4), ("y", 3))]
        described = {"signature.json": json.dumps({"inputs": tensors[:1], "outputs": tensors[1:]})}
        torch.jit.save(saved, str(tmp_path / "net.pt"), _extra_files=described)
        model = {"modelName": "net", "serializedFile": "net.pt", "handler": "base_handler"}
        path, names = (
            archive(tmp_path / "net.mar", model, {"net.pt": (tmp_path / "net.pt").read_bytes()}),
            ("input", "y"),
        )

    suite.command("import", str(path), "--name", f"imported-{packed_by}", "--trust")

    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    expected = module(torch.from_numpy(rows)).detach().numpy()
    found = client.infer(f"imported-{packed_by}", {names[0]: rows})[names[1]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    client.undeploy(f"imported-{packed_by}")


@pytest.mark.filterwarnings("ignore")  # of MLflow
def test_what_mlflow_saved_is_served(suite: Suite, client: Client, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="make test-formats runs it")
    from mlflow import onnx as mlflow_onnx
    from mlflow import sklearn as mlflow_sklearn

    data, classes = load_digits(return_X_y=True)
    estimator = LogisticRegression(max_iter=200).fit(data, classes)
    signature = mlflow.models.infer_signature(data, estimator.predict(data))
    mlflow_sklearn.save_model(estimator, tmp_path / "estimator", signature=signature, pip_requirements=["scikit-learn"])
    import onnx

    identity = onnx.load(identity_onnx(tmp_path / "identity.onnx"))
    tensors = mlflow.models.infer_signature({"INPUT0": ROWS}, {"OUTPUT0": ROWS})
    mlflow_onnx.save_model(identity, tmp_path / "identity", signature=tensors, pip_requirements=["onnxruntime"])

    for name in ("estimator", "identity"):
        suite.command("import", str(tmp_path / name), "--name", f"mlflow-{name}", "--trust")

    found = client.infer("mlflow-estimator", {"X": data[:9]})
    assert list(found["label"]) == list(estimator.predict(data[:9]))
    np.testing.assert_array_equal(client.infer("mlflow-identity", {"INPUT0": ROWS})["OUTPUT0"], ROWS)
    for name in ("estimator", "identity"):
        client.undeploy(f"mlflow-{name}")


def test_what_torch_model_archiver_packed_is_served(suite: Suite, client: Client, tmp_path: Path) -> None:
    pytest.importorskip("model_archiver", reason="make test-formats runs it")
    model = identity_onnx(tmp_path / "identity.onnx")
    options = {"model-name": "packed", "version": "1.0", "serialized-file": model, "handler": "base_handler"}
    arguments = [f"--{name}={value}" for name, value in {**options, "export-path": tmp_path}.items()]
    packer = "from model_archiver.model_packaging import generate_model_archive; generate_model_archive()"
    subprocess.run([sys.executable, "-c", packer, *arguments], check=True, capture_output=True)

    suite.command("import", str(tmp_path / "packed.mar"))

    np.testing.assert_array_equal(client.infer("packed", {"INPUT0": ROWS})["OUTPUT0"], ROWS)
    client.undeploy("packed")
