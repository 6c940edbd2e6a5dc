"""What an author says of a model, and what its files say."""

from __future__ import annotations

import dataclasses
import json

import pytest

from services.inference.domain.manifest import Manifest, MismatchError, Step
from services.inference.domain.signature import Signature, TensorSpec

FOUND = Signature(
    (TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (-1, -1)), TensorSpec("z", "INT64", (-1,))), True, 64
)


def said(*, inputs: tuple[TensorSpec, ...] = (), outputs: tuple[TensorSpec, ...] = (), **more: object) -> Manifest:
    return Manifest(inputs=inputs, outputs=outputs, **more)


def test_nothing_said_changes_nothing() -> None:
    assert Manifest().complete(FOUND) == FOUND


@pytest.mark.parametrize(("options", "probe"), [({}, ""), ({"probe": "on"}, "on"), ({"probe": "off"}, "off")])
def test_what_is_said_of_probes_is_not_the_backends(options: dict[str, str], probe: str) -> None:
    manifest = said(options={**options, "provider": "cpu"})
    assert (manifest.probe, manifest.for_backend) == (probe, said(options={"provider": "cpu"}))


def test_free_dimensions_are_given_sizes_and_classes_names() -> None:
    signature = said(outputs=(TensorSpec("y", "", (-1, 2), ("cat", "dog")),)).complete(FOUND)
    assert signature.outputs == (TensorSpec("y", "FP32", (-1, 2), ("cat", "dog")), FOUND.outputs[1])
    assert (signature.inputs, signature.is_batchable, signature.max_batch_size) == (FOUND.inputs, True, 64)


@pytest.mark.parametrize(
    ("manifest", "is_batchable", "max_batch_size"),
    [
        (said(max_batch_size=8), True, 8),
        (said(max_batch_size=128), True, 64),
        (said(is_unbatched=True), False, 0),
        (said(inputs=(TensorSpec("x", "", (1, 3)),)), False, 0),
    ],
)
def test_batches_are_what_both_allow(manifest: Manifest, is_batchable: bool, max_batch_size: int) -> None:
    signature = manifest.complete(FOUND)
    assert (signature.is_batchable, signature.max_batch_size) == (is_batchable, max_batch_size)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (said(inputs=(TensorSpec("X", "", ()),)), r"names the input 'X', the model has 'x' FP32 \[-1, 3\]"),
        (
            said(inputs=(TensorSpec("x", "FP64", ()),)),
            r"'x' FP64 of any shape is what the model calls 'x' FP32 \[-1, 3\]",
        ),
        (said(inputs=(TensorSpec("x", "", (-1, 4)),)), r"'x' of any type \[-1, 4\] is what the model calls"),
        (said(inputs=(TensorSpec("x", "", (-1, 3, 1)),)), r"\[-1, 3, 1\]"),
        (said(inputs=(TensorSpec("x", "", (-1, -1)),)), r"\[-1, -1\]"),
        (said(inputs=(TensorSpec("x", "", (), ("a",)),)), "1 labels for input 'x' .* expected 3"),
    ],
)
def test_a_contradiction_is_refused_with_both_sides(manifest: Manifest, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        manifest.complete(FOUND)


def test_it_survives_the_way_to_another_process() -> None:
    manifest = said(
        inputs=(TensorSpec("x", "", (-1, 3), ("a",)),),
        options={"a": "b"},
        max_batch_size=3,
        postprocessing=(Step("top_k", {"k": 1.0}),),
    )
    assert Manifest.from_json(json.loads(json.dumps(dataclasses.asdict(manifest)))) == manifest
