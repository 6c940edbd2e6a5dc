"""Models written in Python: what they may be, and what is said of those that are none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.inference import backends
from services.inference.backends import LoadError, ModelFiles, Placement, RefusedError, RunError
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.domain.signature import TensorSpec
from services.inference.inspector import Inspection, inspect

CODE = """
import json
from helper import double

class Model:
    def load(self, folder, options):
        self.bias = json.loads((folder / "bias.json").read_text()) + int(options.get("more", 0))

    def infer(self, inputs):
        x = inputs["x"]
        if (x < 0).any():
            raise ValueError("got a negative number, expected none")
        if (x > 1e6).any():
            return {"z": x}
        if (x == 77).any():
            return {"y": x.astype("float64")}
        return {"y": double(x) + self.bias}
"""
MANIFEST = Manifest(
    inputs=(TensorSpec("x", "INT64", (-1, 2)),), outputs=(TensorSpec("y", "INT64", (-1, 2)),), options={"more": "1"}
)


def written(folder: Path, code: str = CODE, **files: str) -> Path:
    (folder / "helper").mkdir(parents=True)
    (folder / "helper" / "__init__.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "bias.json").write_text("3")
    (folder / "model.py").write_text(code)
    for name, text in files.items():
        (folder / name.replace("_txt", ".txt")).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each model had a process of its own."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delitem(sys.modules, "helper", raising=False)


def load(folder: Path, manifest: Manifest = MANIFEST) -> Any:
    return backends.load(ModelFiles(folder), "python", Placement("cpu", 1), manifest=manifest)


def test_a_model_in_python_is_loaded_with_its_folder_and_options(tmp_path: Path) -> None:
    folder = written(tmp_path / "m")
    with pytest.raises(LoadError, match="in the format python is code: mark the version as trusted"):
        inspect(Inspection(str(folder), "", False, "cpu", 1, MANIFEST))
    verdict = inspect(Inspection(str(folder), "", True, "cpu", 1, MANIFEST))
    assert (verdict["format"], verdict["signature"]["is_batchable"]) == ("python", True)
    outputs = load(folder).run({"x": np.array([[1, 2], [3, 4]])})
    np.testing.assert_array_equal(outputs["y"], [[6, 8], [10, 12]])
    assert not list(folder.rglob("*.pyc"))


def test_what_it_says_of_its_input_goes_to_the_caller(tmp_path: Path) -> None:
    model = load(written(tmp_path / "m"))
    with pytest.raises(RefusedError, match=r"^got a negative number, expected none$"):
        model.run({"x": np.full((1, 2), -1)})
    for value, message in (
        (2_000_000, r"gave the outputs \['z'\], expected an array by the name 'y'"),
        (77, r"gave float64 for 'y', expected int64 \(INT64\)"),
    ):
        with pytest.raises(RunError, match=message):
            model.run({"x": np.full((1, 2), value)})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_this_name", r"model.py can't be imported: ModuleNotFoundError: No module named"),
        ("class Model", "model.py can't be imported: SyntaxError"),
        ("Model = 1", "has no class Model with methods load and infer"),
        ("class Model:\n    def load(self, folder, options): ...", "has no class Model with methods load and infer"),
        (CODE.replace("bias.json", "missing.json"), "Model.load failed: FileNotFoundError"),
        ("class Model:\n    load = infer = print\n    def __init__(self, x): ...", r"Model\(\) failed: TypeError"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=message):
        load(written(tmp_path / "m", code))


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        ("numpy>=1  # all of us have\n\nnothing-of-this-name", "requires nothing-of-this-name, which is not installed"),
        ("numpy<1", r"requires numpy<1, this node has \d"),
        ("-r other.txt", "can't read '-r other.txt'"),
        ("nothing-of-this-name; python_version < '3'", ""),
    ],
)
def test_requirements_are_checked(requirements: str, message: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "m", requirements_txt=requirements)
    if message:
        with pytest.raises(LoadError, match=message):
            load(folder)
    else:
        load(folder)


def test_a_manifest_is_needed(tmp_path: Path) -> None:
    folder = written(tmp_path / "m")
    with pytest.raises(LoadError, match="needs a manifest that describes its inputs and outputs"):
        load(folder, NOTHING_SAID)
    vague = Manifest(inputs=(TensorSpec("x", "", (-1, 2)),), outputs=MANIFEST.outputs)
    with pytest.raises(LoadError, match="of which datatype 'x' is"):
        load(folder, vague)


STREAM = """
class Model:
    closed = []

    def load(self, folder, options): ...

    def infer(self, inputs):
        try:
            for number in range(int(inputs["n"][0])):
                if number == 4:
                    raise ValueError("got to 4, expected less")
                if number == 3 and inputs["n"][0] == 77:
                    yield {"y": inputs["n"].astype("float64")}
                yield {"y": inputs["n"][:1] * 0 + number}
        finally:
            self.closed.append(int(inputs["n"][0]))
"""
STREAM_MANIFEST = Manifest(inputs=(TensorSpec("n", "INT64", (1,)),), outputs=(TensorSpec("y", "INT64", (1,)),))


def test_a_generator_is_a_decoupled_model(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", STREAM)
    verdict = inspect(Inspection(str(folder), "", True, "cpu", 1, STREAM_MANIFEST))
    assert verdict["signature"]["is_decoupled"]
    assert not verdict["signature"]["is_batchable"]
    assert [(one["name"], one["outcome"]) for one in verdict["probes"]] == [("stream", "PASSED")]
    model = load(folder, STREAM_MANIFEST)
    assert [int(one["y"][0]) for one in model.stream({"n": np.array([3])})] == [0, 1, 2]
    with pytest.raises(RunError, match="answers with streams"):
        model.run({"n": np.array([3])})


def test_a_generator_that_is_left_is_closed(tmp_path: Path) -> None:
    model = load(written(tmp_path / "m", STREAM), STREAM_MANIFEST)
    responses = model.stream({"n": np.array([3])})
    next(responses)
    assert model._model.closed == []
    responses.close()
    assert model._model.closed == [3]


def test_what_a_generator_does_wrong_is_named_and_closes_it(tmp_path: Path) -> None:
    model = load(written(tmp_path / "m", STREAM), STREAM_MANIFEST)
    for count, message in ((9, "^got to 4, expected less$"), (77, r"^response 4: the model gave float64 for 'y'")):
        given = []
        with pytest.raises(RunError, match=message):
            given.extend(model.stream({"n": np.array([count])}))
        assert model._model.closed[-1] == count


def test_a_response_of_another_shape_is_an_error(tmp_path: Path) -> None:
    code = STREAM.replace('inputs["n"][:1] * 0 + number', 'inputs["n"].reshape(1, 1)')
    model = load(written(tmp_path / "m", code), STREAM_MANIFEST)
    with pytest.raises(RunError, match=r"response 1: the model gave 'y' the shape \[1, 1\], expected \[1\]"):
        list(model.stream({"n": np.array([1])}))


def test_a_stream_without_an_end_is_tried_for_a_while(tmp_path: Path) -> None:
    code = STREAM.replace('range(int(inputs["n"][0]))', "__import__('itertools').repeat(0)")
    verdict = inspect(Inspection(str(written(tmp_path / "m", code)), "", True, "cpu", 1, STREAM_MANIFEST))
    assert [one["detail"] for one in verdict["probes"]] == ["1000 responses, then it was closed"]


@pytest.mark.parametrize("body", ["return {}", "yield {}"])
def test_asynchronous_models_are_refused(body: str, tmp_path: Path) -> None:
    code = f"class Model:\n    def load(self, f, o): ...\n    async def infer(self, i):\n        {body}\n"
    with pytest.raises(LoadError, match=r"Model\.infer is asynchronous, expected a function or a generator function"):
        load(written(tmp_path / "m", code), STREAM_MANIFEST)
