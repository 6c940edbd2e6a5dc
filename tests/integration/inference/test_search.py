"""The search for faster variants: real processes, real libraries, small models. Nothing here depends on speed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from services.inference import backends, sandbox
from services.inference.backends import ModelFiles, Placement
from services.inference.backends.samples import sample
from services.inference.domain.signature import Signature
from services.inference.domain.variants import ORIGINAL, Level, Trial, Variant
from services.inference.search import Search, SearchSpec
from services.inference.supervised_search import BrokenOffError, FailedSearchError, Limits, SupervisedSearch
from tests.support.models import digits_onnx, identity_onnx

PLENTY = Limits(total_s=600.0, variant_s=300.0, memory_bytes=2**35)
CPU = Placement("cpu", 1)


class Pictures(torch.nn.Module):
    """A small network of convolutions; its last layer is reshaped by the batch's size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
        )
        self.head = torch.nn.Linear(8 * 4 * 4, 5)

    def forward(self, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.layers(picture)
        return {"scores": self.head(features.view(picture.shape[0], features.shape[1] * 16))}


class SizeInAConstant(torch.nn.Module):
    """Scales by the length of its rows, in a way that a trace takes for a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (0, x.shape[1]))[:, : x.shape[1]].cumsum(1)[:, -1:] / x.shape[1]


def exported(module: torch.nn.Module, path: Path, *shape: int, dynamic: tuple[int, ...] = (0,)) -> Path:
    torch.manual_seed(0)
    sizes = {axis: torch.export.Dim(f"size{axis}", min=1 if axis == 0 else 4, max=512) for axis in dynamic}
    program = torch.export.export(module.eval(), (torch.zeros(2, *shape),), dynamic_shapes=(sizes,))
    torch.export.save(program, str(path))
    return path


def spec_of(path: Path, model_format: str, *, level: Level = Level.FAST, rows: int = 8) -> SearchSpec:
    signature = backends.load(ModelFiles(path), model_format, CPU).signature
    return SearchSpec(str(path), model_format, signature, "cpu", 1, level, rows, niceness=0, is_confined=True)


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


async def searched(spec: SearchSpec, limits: Limits = PLENTY, module: str = "services.inference.search") -> list[Trial]:
    search = SupervisedSearch(spec, limits, is_wanted=lambda: True, on_trial=lambda: None, module=module)
    await search.run()
    return list(search.trials)


async def test_every_variant_of_a_network_of_convolutions_gives_what_the_original_gives(tmp_path: Path) -> None:
    spec = spec_of(exported(Pictures(), tmp_path / "m.pt2", 3, 8, 8), "torch_export", rows=2)
    trials = {str(trial.variant): trial for trial in await searched(spec)}
    assert {"layout=channels_last", "graph=frozen", "graph=optimized layout=channels_last"} <= trials.keys()
    for trial in trials.values():
        assert [one.batch_rows for one in trial.measurements] == [1, 2], trial
        assert trial.relative_error < 1e-4
        assert all(one.rows_per_second > 0 and one.speedup > 0 for one in trial.measurements)


async def test_onnx_variants_are_tried(tmp_path: Path) -> None:
    trials = await searched(spec_of(digits_onnx(tmp_path / "m.onnx"), "onnx"))
    assert len(trials) >= 3
    assert all(trial.measurements and trial.relative_error < 1e-4 for trial in trials)


@pytest.mark.parametrize("how", ["frozen", "optimized"])
def test_a_variant_that_is_right_for_one_shape_only_is_refused(tmp_path: Path, how: str) -> None:
    path = exported(SizeInAConstant(), tmp_path / "m.pt2", 8, dynamic=(0, 1))
    trial = Search(spec_of(path, "torch_export")).try_out(Variant.of({"graph": how}))
    assert trial.refusal
    assert not trial.measurements


def test_an_unknown_option_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    search = Search(spec_of(identity_onnx(tmp_path / "m.onnx"), "onnx"))
    assert "of this release" in search.try_out(Variant.of({"graph": "of tomorrow"})).refusal


async def test_what_crashes_hangs_or_lies_is_refused_and_the_search_goes_on(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    spec = spec_of(identity_onnx(tmp_path / "m.onnx"), "onnx", rows=1)
    limits = Limits(total_s=600.0, variant_s=4.0, memory_bytes=2**35)
    trials = await searched(spec, limits, "tests.support.hostile_search")
    reasons = {dict(trial.variant.options)["test"]: trial.refusal for trial in trials}
    assert reasons["wrong"].startswith("output 'OUTPUT0' differs by 1.0e-02")
    assert "SIGABRT" in reasons["crash"]
    assert "took longer" in reasons["hang"]
    assert "differs" not in reasons["right"]
    if sandbox.is_available():
        assert reasons["spy"] == "was possible: []"
        assert names_in(tmp_path) == ["m.onnx", "secret"]


async def test_a_search_that_nobody_wants_any_more_ends_with_its_process(tmp_path: Path) -> None:
    spec = spec_of(identity_onnx(tmp_path / "m.onnx"), "onnx")
    search = SupervisedSearch(spec, PLENTY, is_wanted=lambda: False, on_trial=lambda: None)
    with pytest.raises(BrokenOffError):
        await search.run()
    assert not [one for one in psutil.Process().children() if "services.inference.search" in one.cmdline()]


async def test_a_model_that_does_not_repeat_itself_is_left_as_it_is(tmp_path: Path) -> None:
    class Dice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x)

    path = exported(Dice(), tmp_path / "m.pt2", 4)
    with pytest.raises(FailedSearchError, match="doesn't repeat itself"):
        await searched(spec_of(path, "torch_export"))


async def test_a_search_keeps_to_its_memory(tmp_path: Path) -> None:
    spec = spec_of(identity_onnx(tmp_path / "m.onnx"), "onnx")
    with pytest.raises(FailedSearchError, match="memory"):
        await searched(spec, Limits(600.0, 300.0, memory_bytes=2**20))


def test_torchscript_variants_give_what_the_original_gives(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(torch.nn.Conv2d(3, 4, 3).eval(), torch.zeros(1, 3, 8, 8))
        tensor = {"datatype": "FP32", "shape": [-1, 3, 8, 8]}
        signature = {"inputs": [{"name": "input", **tensor}], "outputs": [{"name": "y", **tensor}]}
        torch.jit.save(script, str(path), _extra_files={"signature.json": json.dumps(signature)})
    original = backends.load(ModelFiles(path), "torchscript", CPU, ORIGINAL)
    inputs = sample(original.signature, rows=3, free_size=1)
    for variant in backends.variants(ModelFiles(path), "torchscript", original, level=Level.FAST):
        got = backends.load(ModelFiles(path), "torchscript", CPU, variant).run(inputs)
        np.testing.assert_allclose(got["y"], original.run(inputs)["y"], rtol=1e-4, atol=1e-5)


def test_single_rows_take_the_copy_for_them(tmp_path: Path) -> None:
    path = exported(Pictures(), tmp_path / "m.pt2", 3, 8, 8)
    options = {"graph": "frozen", "alone.layout": "channels_last"}
    model = backends.load(ModelFiles(path), "torch_export", CPU, Variant.of(options))
    original = backends.load(ModelFiles(path), "torch_export", CPU)
    assert isinstance(model.signature, Signature)
    for rows in (1, 2, 5):
        inputs = sample(original.signature, rows=rows, free_size=1, seed=rows)
        np.testing.assert_allclose(model.run(inputs)["scores"], original.run(inputs)["scores"], rtol=1e-4, atol=1e-5)


@pytest.mark.compiler
@pytest.mark.timeout(300)
def test_a_program_is_compiled_once_and_gives_what_the_original_gives(tmp_path: Path) -> None:
    path = exported(torch.nn.Linear(4, 2), tmp_path / "m.pt2", 4)
    original = backends.load(ModelFiles(path), "torch_export", CPU)
    variant = Variant.of({"compile": "ahead_of_time"})
    assert variant in backends.variants(ModelFiles(path), "torch_export", original, level=Level.FULL)
    assert variant not in backends.variants(ModelFiles(path), "torch_export", original, level=Level.FAST)
    compiled = backends.load(ModelFiles(path), "torch_export", CPU, variant)
    (product,) = tmp_path.glob("m.pt2~*.pt2")
    written = product.stat().st_mtime_ns
    again = backends.load(ModelFiles(path), "torch_export", CPU, variant)
    assert product.stat().st_mtime_ns == written
    for rows in (1, 3):
        inputs = sample(original.signature, rows=rows, free_size=1, seed=rows)
        for model in (compiled, again):
            np.testing.assert_allclose(
                model.run(inputs)["output_0"], original.run(inputs)["output_0"], rtol=1e-4, atol=1e-5
            )


@pytest.mark.compiler
@pytest.mark.timeout(300)
async def test_a_confined_search_compiles_and_the_agent_keeps_what_it_made(tmp_path: Path) -> None:
    path = exported(torch.nn.Linear(4, 2), tmp_path / "m.pt2", 4)
    spec = spec_of(path, "torch_export", level=Level.FULL, rows=1)

    trials = await searched(spec, module="tests.support.compiling_search")

    (compiled,) = trials
    assert (dict(compiled.variant.options), compiled.relative_error < 1e-4) == ({"compile": "ahead_of_time"}, True)
    assert compiled.measurements
    assert [name.partition("-")[0] for name in names_in(tmp_path)] == ["m.pt2", "m.pt2~aot"]
