"""What is read of other tools' packages, laid out as those tools do."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.importing import ForeignModelError, find
from penstock.serving import Serving
from tests.support.models import identity_onnx

CONFIG = """
name: "echo"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] label_filename: "labels.txt" } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { max_queue_delay_microseconds: 500 default_queue_policy { max_queue_size: 20 } }
parameters { key: "threads" value: { string_value: "2" } }
"""
MLMODEL = """
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.23.2
  python_function:
    loader_module: mlflow.onnx
run_id: abc
signature:
  inputs: '[{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1]}}]'
"""


def archive(path: Path, model: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
        opened.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": model, "archiverVersion": "0.12.0"}))
    return path


def repository(folder: Path, config: str = CONFIG, *, versions: tuple[str, ...] = ("1", "10", "2")) -> Path:
    for version in versions:
        (folder / version).mkdir(parents=True)
        identity_onnx(folder / version / "model.onnx")
    (folder / "labels.txt").write_text("\n".join(f"class {at}" for at in range(16)))
    (folder / "config.pbtxt").write_text(config)
    return folder


def test_an_archive_of_torchserve_gives_its_model_without_the_handler(tmp_path: Path) -> None:
    described = {"modelName": "net", "serializedFile": "net.pt", "handler": "image_classifier", "modelVersion": "1.0"}
    path = archive(tmp_path / "net.mar", described, {"net.pt": b"weights", "handler.py": b"raise SystemExit"})
    (tmp_path / "scratch").mkdir()

    (found,) = find(path, scratch=tmp_path / "scratch")

    assert (found.name, found.path.read_bytes(), found.labels) == ("net", b"weights", {"torchserve-version": "1.0"})
    assert [one.name for one in (tmp_path / "scratch").iterdir()] == ["net.pt"]
    assert "image_classifier" in found.left_out[0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"modelName": "n", "serializedFile": "../../outside"}, "expected a file beside it"),
        ({"modelName": "n", "serializedFile": "other.pt"}, "doesn't hold"),
        ({"modelName": "n", "serializedFile": "net.pt", "modelFile": "net.py"}, "need the Python code of net.py"),
        ({"modelName": 7, "serializedFile": "net.pt"}, "expected a text"),
        ({"modelName": "n"}, "expected a file beside it"),
    ],
)
def test_an_archive_that_cannot_be_served_is_refused_by_name(
    model: Mapping[str, Any], words: str, tmp_path: Path
) -> None:
    path = archive(tmp_path / "net.mar", model, {"net.pt": b"weights", "../../outside": b"no"})
    (tmp_path / "scratch").mkdir()
    with pytest.raises(ForeignModelError, match=words):
        find(path, scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").rglob("*")) in ([], [tmp_path / "scratch" / "net.pt"])


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.mar", {"modelName": "n", "serializedFile": "net.pt"}, {"net.pt": b"w" * 1000})
    path.write_bytes(path.read_bytes().replace(b"wwww", b"xxxx", 1))
    with pytest.raises(ForeignModelError, match="damaged"):
        find(path, scratch=tmp_path)


def test_a_repository_of_triton_gives_all_versions_with_what_its_configuration_says(tmp_path: Path) -> None:
    found = find(repository(tmp_path / "models" / "echo").parent, scratch=tmp_path)

    assert [one.labels["triton-version"] for one in found] == ["1", "2", "10"]
    signature, serving = found[0].manifest.signature, found[0].serving
    assert (signature.inputs[0].name, signature.inputs[0].datatype) == ("INPUT0", "FP32")
    assert (list(signature.inputs[0].shape), len(signature.outputs[0].labels)) == ([-1, 16], 16)
    assert serving == Serving(replicas=2, max_batch_size=8, max_queue_delay_microseconds=500, max_queue_size=20)
    assert list(found[0].left_out) == ["parameters of its backend"]


def test_what_triton_would_find_out_by_itself_may_be_left_out(tmp_path: Path) -> None:
    (found,) = find(repository(tmp_path / "echo", "", versions=("3",)), scratch=tmp_path)
    assert (found.name, found.manifest.unbatched, found.serving) == ("echo", False, Serving())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("no such: field {", "can't be read"),
        ('default_model_filename: "../config.pbtxt"', "expected something in"),
        ('default_model_filename: "absent.onnx"', "which is not there"),
        ('ensemble_scheduling { step { model_name: "a" } }', "ensemble"),
        ('output [ { name: "a" label_filename: "../secret" } ]', "expected something in"),
    ],
)
def test_a_repository_that_cannot_be_served_is_refused_by_name(config: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ForeignModelError, match=words):
        find(repository(tmp_path / "echo", config), scratch=tmp_path)


@pytest.mark.parametrize(("file", "words"), [("model.plan", "GPU"), ("model.py", "python backend")])
def test_what_only_triton_can_run_is_refused_by_name(file: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / file).write_bytes(b"?")
    with pytest.raises(ForeignModelError, match=words):
        find(tmp_path / "m", scratch=tmp_path)


def test_a_folder_of_mlflow_gives_the_flavour_of_its_framework(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    identity_onnx(folder / "model.onnx")
    (folder / "MLmodel").write_text(MLMODEL)

    (found,) = find(folder, scratch=tmp_path)

    assert (found.name, found.path, found.labels) == ("model", folder / "model.onnx", {"mlflow-run-id": "abc"})
    (described,) = found.manifest.signature.inputs
    assert (described.name, described.datatype, list(described.shape)) == ("x", "FP32", [-1, 4])
    assert not found.manifest.signature.outputs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flavors: {python_function: {loader_module: mlflow.pyfunc.model}}", "has the flavors python_function"),
        ("flavors: {onnx: {data: ../outside.onnx}}", "expected something in"),
        ("flavors: {onnx: {}}", "names ''"),
        ("flavors: {pytorch: {model_data: data}}", "pt2"),
        ("[1, 2]", "holds a list"),
        ("a: [", "is no YAML"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)
def test_a_folder_of_mlflow_that_cannot_be_served_is_refused_by_name(text: str, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "model.pth").write_bytes(b"pickle")
    (folder / "MLmodel").write_text(text)
    with pytest.raises(ForeignModelError, match=words):
        find(folder, scratch=tmp_path)


def test_anything_else_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    model = identity_onnx(tmp_path / "model.onnx")
    for path in (model, tmp_path):
        with pytest.raises(ForeignModelError, match="penstock deploy"):
            find(path, scratch=tmp_path)
