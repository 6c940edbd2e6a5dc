"""Weights that docs/formats.md says lie in the file, shared by processes, do; and models give the same from there."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from services.inference import backends
from services.inference.backends import LoadError, ModelFiles, Placement
from services.inference.domain.manifest import Manifest
from tests.support import models

SIDE = 2048
WEIGHT_BYTES = SIDE * SIDE * 4
ROWS = np.random.default_rng(0).normal(size=(3, SIDE)).astype(np.float32)


class Twice(torch.nn.Module):
    """Two layers of one size, and a third which has the first one's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.tied = (torch.nn.Linear(SIDE, SIDE) for _ in range(3))
        self.tied.weight = self.first.weight
        with torch.no_grad():
            self.second.weight[0, 0] = torch.nan

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tied(self.first(x)) + self.second(x).nan_to_num()


def exported(path: Path, module: torch.nn.Module) -> Path:
    rows = torch.export.Dim("rows", min=1, max=64)
    program = torch.export.export(module, (torch.zeros(2, SIDE),), dynamic_shapes=({0: rows},))
    torch.export.save(program, path.with_suffix(".pt2"))
    return path.with_suffix(".pt2")


def traced(path: Path, module: torch.nn.Module) -> Path:
    tensors = [{"name": name, "datatype": "FP32", "shape": [-1, SIDE]} for name in ("x", "output_0")]
    said = json.dumps({"inputs": tensors[:1], "outputs": tensors[1:]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, torch.zeros(2, SIDE)), str(path), _extra_files={"signature.json": said})
    return path


def load(path: Path, **options: str) -> Any:
    files = ModelFiles(path)
    return backends.load(
        files, backends.recognise(files).format, Placement("cpu", 1), manifest=Manifest(options=options)
    )


def mappings(path: Path) -> list[range]:
    """Where a file is in this process' memory."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    found = [one[0].split("-") for one in lines if one[-1] == str(path)]
    return [range(int(begin, 16), int(end, 16)) for begin, end in found]


def weights(model: Any) -> list[torch.Tensor]:
    module = model._module
    return [one for one in module.parameters() if one.ndim == 2]


def are_mapped(tensors: Iterable[torch.Tensor], path: Path) -> list[bool]:
    places = mappings(path)
    return [any(one.data_ptr() in place for place in places) for one in tensors]


@pytest.mark.parametrize("save", [exported, traced])
def test_weights_of_torch_lie_in_the_archive(save: Any, tmp_path: Path) -> None:
    module = Twice().eval()
    path = save(tmp_path / "m", module)
    model = load(path)
    assert are_mapped(weights(model), path) == [True] * len(weights(model))
    assert len({one.data_ptr() for one in weights(model)}) == 2, "what was tied is tied"
    with torch.no_grad():
        expected = module(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_allclose(model.run({"x": ROWS})["output_0"], expected, rtol=1e-4, atol=1e-4)


def test_what_a_program_writes_to_its_weights_stays_its_own(tmp_path: Path) -> None:
    path = exported(tmp_path / "m", Twice().eval())
    before = path.read_bytes()
    model = load(path)
    with torch.no_grad():
        weights(model)[0].zero_()
    assert path.read_bytes() == before


def test_weights_that_are_compressed_are_read(tmp_path: Path) -> None:
    module = Twice().eval()
    path = traced(tmp_path / "m", module)
    packed = tmp_path / "packed"
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in given.namelist():
            archive.writestr(name, given.read(name))
    model = load(packed)
    assert not any(are_mapped(weights(model), packed))
    np.testing.assert_array_equal(model.run({"x": ROWS})["output_0"], load(path).run({"x": ROWS})["output_0"])


def anonymous_bytes() -> int:
    """Memory of this process that is in no file."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def external(folder: Path) -> Path:
    """ONNX: a matrix in a file of its own."""
    matrix = np.random.default_rng(1).normal(size=(SIDE, SIDE)).astype(np.float32)
    folder.mkdir()
    value = helper.make_tensor_value_info
    models.onnx_of(
        folder / "model.onnx",
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        [value("x", TensorProto.FLOAT, ["n", SIDE])],
        [value("y", TensorProto.FLOAT, ["n", SIDE])],
        [numpy_helper.from_array(matrix, "w")],
    )
    onnx.save(onnx.load(folder / "model.onnx"), folder / "model.onnx", save_as_external_data=True, location="weights")
    return folder


def test_external_data_of_onnx_lies_in_its_file_if_it_is_not_to_be_packed(tmp_path: Path) -> None:
    path = external(tmp_path / "m")
    packed = load(path)
    before = anonymous_bytes()
    model = load(path, prepacking="off")
    outputs = model.run({"x": ROWS})["y"]
    assert mappings(path / "weights")
    assert anonymous_bytes() - before < WEIGHT_BYTES // 2
    np.testing.assert_allclose(outputs, packed.run({"x": ROWS})["y"], rtol=1e-4, atol=1e-4)
    with pytest.raises(LoadError, match="got the prepacking 'no', expected one of on, off"):
        load(path, prepacking="no")
