"""Where torch models run, and recorded batches: which size is recorded, what is padded.

Without a GPU the recorder repeats the call in the same memory; what needs one is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.inference import backends
from services.inference.backends import LoadError, ModelFiles, Placement
from services.inference.backends.cuda_graphs import MOST_ROWS, Recorded, Recording
from services.inference.backends.torch_devices import Call, Gpu, Host
from services.inference.backends.torch_runtime import graph_variants, recorded
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.variants import Level, Variant
from tests.integration.inference.test_search import Pictures, exported

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def signature(*shape: int) -> Signature:
    return Signature((TensorSpec("x", "FP32", shape),), (TensorSpec("y", "FP32", shape),), is_batchable=True)


class Repeater:
    """Records as a GPU does: one set of inputs, one of outputs."""

    def __init__(self, *, fails_at: int = 0) -> None:
        self.sizes: list[int] = []
        self.kept: Any = None
        self._fails_at = fails_at

    def __call__(self, call: Call, inputs: Sequence[Any]) -> Recording:
        self.sizes.append(len(inputs[0]))
        if self.sizes[-1] == self._fails_at:
            raise RuntimeError("out of memory")
        self.kept = inputs[0]
        outputs = call(*inputs)

        def replay() -> None:
            for output, fresh in zip(outputs, call(*inputs), strict=True):
                output.copy_(fresh)

        return Recording(inputs, outputs, replay)


def double(tensor: Any) -> list[Any]:
    return [tensor * 2]


def test_each_power_of_two_is_recorded_once_and_answers_have_the_rows_that_were_asked_for() -> None:
    recorder = Repeater()
    run = Recorded(double, max_rows=0, record=recorder)
    for rows in (3, 4, 1, 2, 9, 3, 16, 1):
        tensor = torch.rand(rows, 2)
        (output,) = run(tensor)
        assert torch.equal(output, tensor * 2)
    assert recorder.sizes == [4, 1, 2, 16]


def test_nothing_of_an_earlier_batch_is_in_the_padding() -> None:
    recorder = Repeater()
    run = Recorded(double, max_rows=0, record=recorder)
    run(torch.ones(4, 2))
    run(torch.ones(3, 2))
    assert recorder.kept.tolist() == [[1, 1]] * 3 + [[0, 0]]


def test_no_more_rows_are_recorded_than_the_model_takes_and_large_batches_run_as_they_are() -> None:
    recorder = Repeater()
    assert len(Recorded(double, max_rows=24, record=recorder)(torch.rand(20, 2))[0]) == 20
    assert len(Recorded(double, max_rows=0, record=recorder)(torch.rand(MOST_ROWS + 1, 2))[0]) == MOST_ROWS + 1
    assert recorder.sizes == [24]


def test_a_size_that_cannot_be_recorded_runs_as_it_is() -> None:
    recorder = Repeater(fails_at=4)
    run = Recorded(double, max_rows=0, record=recorder)
    for rows in (3, 4, 2):
        tensor = torch.rand(rows, 2)
        assert torch.equal(run(tensor)[0], tensor * 2)
    assert recorder.sizes == [4, 2]


def test_the_memory_layout_of_images_is_kept() -> None:
    recorder = Repeater()
    run = Recorded(double, max_rows=0, record=recorder)
    run(torch.rand(3, 3, 4, 4).contiguous(memory_format=torch.channels_last))
    assert recorder.kept.is_contiguous(memory_format=torch.channels_last)


def test_only_a_gpu_records_and_only_models_whose_inputs_differ_in_rows_alone() -> None:
    fixed, free = signature(-1, 8), signature(-1, -1)
    assert not any("cuda_graphs" in options for options in graph_variants(fixed, "cpu"))
    assert not any("cuda_graphs" in options for options in graph_variants(free, "cuda:0"))
    on_gpu = graph_variants(fixed, "cuda:0")
    assert {"cuda_graphs": "buckets"} in on_gpu
    assert {"graph": "frozen", "cuda_graphs": "buckets"} in on_gpu
    with pytest.raises(LoadError, match="needs a GPU"):
        recorded(double, {"cuda_graphs": "buckets"}, fixed, device="cpu")


@pytest.mark.parametrize("make", [Host, pytest.param(lambda: Gpu("cuda:0"), marks=needs_gpu)])
def test_arrays_of_every_type_come_back_and_belong_to_the_caller(make: Any) -> None:
    device = make()
    given = [
        (np.array([[1.5, -2.0]], np.float32), "FP32"),
        (np.array([[0x3F80, 0xC000]], np.uint16), "BF16"),
        (np.array([[1, 2]], np.uint16), "UINT16"),
        (np.array([[True, False]]), "BOOL"),
        (np.array(7, np.int64), "INT64"),
    ]
    for array, _ in given:
        array.flags.writeable = False
    first = device.run(lambda *tensors: list(tensors), given)
    device.run(lambda *tensors: [tensor * 0 for tensor in tensors], given)
    for (array, _), answer in zip(given, first, strict=True):
        assert answer.dtype == array.dtype
        np.testing.assert_array_equal(answer, array)


@needs_gpu
def test_every_variant_on_a_gpu_gives_what_the_original_gives(tmp_path: Path) -> None:
    path, gpu = exported(Pictures(), tmp_path / "m.pt2", 3, 8, 8), Placement("cuda:0", 1)
    original = backends.load(ModelFiles(path), "torch_export", gpu)
    variants = backends.variants(ModelFiles(path), "torch_export", original, level=Level.FAST)
    assert Variant.of({"cuda_graphs": "buckets"}) in variants
    for variant in variants:
        model = backends.load(ModelFiles(path), "torch_export", gpu, variant)
        for rows in (1, 3, 4, 2, 300, 3):
            inputs = {"picture": np.random.default_rng(rows).normal(size=(rows, 3, 8, 8)).astype(np.float32)}
            expected = original.run(inputs)["scores"]
            np.testing.assert_allclose(model.run(inputs)["scores"], expected, rtol=1e-3, atol=1e-4)
