"""Reading what an author says of a model."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from penstock import manifests
from penstock.registry.v1 import resources_pb2 as pb

TEXT = """
max_batch_size = 8
unbatched = true
options = { providers = "CPUExecutionProvider" }

[[inputs]]
name = "pixels"
shape = [-1, 3]

[[outputs]]
name = "logits"
datatype = "FP32"
labels = ["cat", "dog"]

[[postprocessing]]
operation = "top_k"
k = 1
tensors = ["logits"]
"""
ARGUMENTS = Struct()
ARGUMENTS.update({"k": 1, "tensors": ["logits"]})
WANTED = pb.Manifest(
    signature=pb.Signature(
        inputs=[pb.TensorSpec(name="pixels", shape=[-1, 3])],
        outputs=[pb.TensorSpec(name="logits", datatype="FP32", labels=["cat", "dog"])],
        max_batch_size=8,
    ),
    unbatched=True,
    options={"providers": "CPUExecutionProvider"},
    postprocessing=[pb.Step(operation="top_k", arguments=ARGUMENTS)],
)


def test_a_manifest_is_found_in_the_model_s_folder(tmp_path: Path) -> None:
    assert manifests.find(tmp_path) is None
    (tmp_path / "penstock.toml").write_text(TEXT)
    found = manifests.find(tmp_path)
    assert found is not None
    assert manifests.read(found) == WANTED
    assert manifests.find(tmp_path / "penstock.toml") is None


def test_json_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "about.json"
    step = {"operation": "top_k", "k": 1, "tensors": ["logits"]}
    path.write_text(
        json.dumps(
            {
                "max_batch_size": 8,
                "unbatched": True,
                "options": {"providers": "CPUExecutionProvider"},
                "inputs": [{"name": "pixels", "shape": [-1, 3]}],
                "outputs": [{"name": "logits", "datatype": "FP32", "labels": ["cat", "dog"]}],
                "postprocessing": [step],
            }
        )
    )
    assert manifests.read(path) == WANTED


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": []}, "got 'input', expected one of inputs, max_batch_size"),
        ({"inputs": [{"nam": "x"}]}, "nam"),
        ({"inputs": [{"shape": ["a"]}]}, "shape"),
        ({"options": {"threads": 2}}, "options"),
        ({"unbatched": "yes"}, "unbatched"),
        ({"preprocessing": {"operation": "scale"}}, "expected a list"),
        ({"preprocessing": ["scale"]}, "got 'scale' in preprocessing, expected a table with an operation"),
        ({"preprocessing": [{"by": 2}]}, "with an operation"),
    ],
)
def test_what_is_none_is_refused_with_the_place(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(manifests.ManifestError, match=message):
        manifests.parse(fields)
    (tmp_path / "m.json").write_text(json.dumps(fields))
    with pytest.raises(manifests.ManifestError, match=r"m\.json: "):
        manifests.read(tmp_path / "m.json")


@pytest.mark.parametrize("text", ["= 1", "a = ", "\x00"])
def test_a_file_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(manifests.ManifestError, match=r"m\.toml: "):
        manifests.read(tmp_path / "m.toml")


TEXTS = st.text(max_size=20)
NAMES = TEXTS.filter(lambda name: name not in ("operation", ""))
SCALARS = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
ARGUMENT = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
TENSORS = st.lists(
    st.builds(
        pb.TensorSpec,
        name=TEXTS,
        datatype=st.sampled_from(("", "FP32", "BYTES")),
        shape=st.lists(st.integers(-1, 2**40), max_size=3),
        labels=st.lists(TEXTS, max_size=3),
    ),
    max_size=2,
)


@st.composite
def steps(draw: st.DrawFn) -> pb.Step:
    step = pb.Step(operation=draw(NAMES), arguments=Struct())
    step.arguments.update(draw(st.dictionaries(NAMES, ARGUMENT, max_size=3)))
    return step


@given(
    inputs=TENSORS,
    outputs=TENSORS,
    most=st.integers(0, 1000),
    unbatched=st.booleans(),
    options=st.dictionaries(TEXTS, TEXTS, max_size=3),
    preprocessing=st.lists(steps(), max_size=2),
)
def test_what_is_rendered_is_read_as_the_same(
    inputs: list[pb.TensorSpec],
    outputs: list[pb.TensorSpec],
    most: int,
    unbatched: bool,
    options: dict[str, str],
    preprocessing: list[pb.Step],
) -> None:
    manifest = pb.Manifest(
        signature=pb.Signature(inputs=inputs, outputs=outputs, max_batch_size=most),
        unbatched=unbatched,
        options=options,
        preprocessing=preprocessing,
    )
    assert manifests.parse(tomllib.loads(manifests.render(manifest))) == manifest
