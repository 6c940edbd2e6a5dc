"""The backends on real files: what they read out of them, what they answer, what they refuse."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.inference import backends
from services.inference.backends import InputError, LoadError, Model, ModelFiles, Placement, RunError
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import TensorSpec
from services.inference.inspector import Inspection, inspect
from services.inference.probes import Outcome, Prober
from services.inference.warm_up import warm_up
from tests.support.models import (
    digits,
    digits_onnx,
    digits_torch_export,
    folder_onnx,
    identity_onnx,
    onnx_of,
    same_onnx,
)

CPU = Placement("cpu", 1)


def load(path: Path) -> Model:
    files = ModelFiles(path)
    return backends.load(files, backends.recognise(files).format, CPU)


def test_onnx_and_torch_export_agree_on_real_digits(tmp_path: Path) -> None:
    model = digits()
    for path in (digits_onnx(tmp_path / "a"), digits_torch_export(tmp_path / "b.pt2")):
        loaded = load(path)
        assert loaded.signature.inputs == (TensorSpec("image", "FP32", (-1, 64)),)
        assert loaded.signature.outputs == (TensorSpec("probabilities", "FP32", (-1, 10)),)
        assert loaded.signature.is_batchable
        assert loaded.device == "cpu"
        images = model.images[:50]
        images.flags.writeable = False
        classes = loaded.run({"image": images})["probabilities"].argmax(axis=1)
        np.testing.assert_array_equal(classes, model.predict(images))
        assert {probe.outcome for probe in Prober(loaded).probe()} == {Outcome.PASSED}
        assert warm_up(loaded, loaded.signature, rows=64).row_s < 1


def test_the_limit_of_an_exported_program_is_read_and_a_batch_beyond_it_fails_cleanly(tmp_path: Path) -> None:
    loaded = load(digits_torch_export(tmp_path / "m.pt2"))
    assert loaded.signature.max_batch_size == 1024
    with pytest.raises(RunError):
        loaded.run({"image": np.zeros((1025, 64), np.float32)})


ONNX_KINDS = {
    TensorProto.BOOL: ("BOOL", np.array([[True, False]])),
    TensorProto.UINT8: ("UINT8", np.array([[1, 255]], np.uint8)),
    TensorProto.UINT16: ("UINT16", np.array([[1, 65535]], np.uint16)),
    TensorProto.UINT32: ("UINT32", np.array([[1, 2**32 - 1]], np.uint32)),
    TensorProto.UINT64: ("UINT64", np.array([[1, 2**64 - 1]], np.uint64)),
    TensorProto.INT8: ("INT8", np.array([[-128, 127]], np.int8)),
    TensorProto.INT16: ("INT16", np.array([[-32768, 32767]], np.int16)),
    TensorProto.INT32: ("INT32", np.array([[-(2**31), 1]], np.int32)),
    TensorProto.INT64: ("INT64", np.array([[-1, 2**62]], np.int64)),
    TensorProto.FLOAT16: ("FP16", np.array([[1.5, -2]], np.float16)),
    TensorProto.FLOAT: ("FP32", np.array([[1.5, -2e30]], np.float32)),
    TensorProto.DOUBLE: ("FP64", np.array([[1e300, -2]], np.float64)),
    TensorProto.BFLOAT16: ("BF16", np.array([[0x3F80, 0xC000]], np.uint16)),
    TensorProto.STRING: ("BYTES", np.array([["é".encode(), b""]], dtype=object)),
}


@pytest.mark.parametrize("kind", ONNX_KINDS)
def test_onnx_passes_every_datatype_through(kind: int, tmp_path: Path) -> None:
    name, array = ONNX_KINDS[kind]
    loaded = load(same_onnx(tmp_path / "m", kind, ["n", 2]))
    assert loaded.signature.inputs[0].datatype == name
    result = loaded.run({"x": array})["y"]
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)


def test_strings_that_are_not_utf8_are_their_callers_errors_and_not_garbled(tmp_path: Path) -> None:
    loaded = load(same_onnx(tmp_path / "m", TensorProto.STRING, ["n", 2]))
    with pytest.raises(
        InputError, match=r"input 'x', row 1: got bytes that are not UTF-8 \(invalid start byte at 1\)"
    ) as caught:
        loaded.run({"x": np.array([[b"a", b"b"], [b"c", b"d\xff"], [b"", b"\xc3"]], dtype=object)})
    assert list(caught.value.rows) == [1, 2]


def test_an_error_of_the_model_names_no_path_of_this_machine(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    path = onnx_of(
        tmp_path / "m",
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [value("x", TensorProto.FLOAT, ["n", 3])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([7]), "shape")],
    )
    with pytest.raises(RunError) as caught:
        load(path).run({"x": np.zeros((1, 3), np.float32)})
    assert "/" not in str(caught.value)
    assert "\n" not in str(caught.value)


def mixed_rows(path: Path) -> Path:
    """Softmax over the batch: shapes look batchable, rows aren't independent."""
    value = helper.make_tensor_value_info
    return onnx_of(
        path,
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", 4])],
    )


def inspected(path: Path, *, is_trusted: bool = False, declared: str = "") -> dict[str, Any]:
    return inspect(Inspection(str(path), declared, is_trusted, "cpu", 1))


def test_rows_that_influence_each_other_are_found_and_not_batched(tmp_path: Path) -> None:
    assert inspected(mixed_rows(tmp_path / "m"))["signature"]["is_batchable"] is False
    assert inspected(identity_onnx(tmp_path / "i"))["signature"]["is_batchable"] is True


def test_the_verdict_names_backend_and_device(tmp_path: Path) -> None:
    verdict = inspected(identity_onnx(tmp_path / "m"))
    assert (verdict["format"], verdict["backend"], verdict["device"]) == ("onnx", "onnxruntime", "cpu")
    assert verdict["load_s"] > 0 < verdict["infer_s"]


def test_weights_may_lie_in_the_model_s_other_files(tmp_path: Path) -> None:
    assert inspected(folder_onnx(tmp_path))["signature"]["is_batchable"]
    outputs = load(tmp_path).run({"INPUT0": np.ones((2, 16), np.float32)})
    np.testing.assert_array_equal(outputs["OUTPUT0"], np.full((2, 16), 101, np.float32))


@pytest.mark.parametrize("location", ["/etc/hostname", "../secret", "weights/../../secret", "other", ""])
def test_weights_are_read_from_nowhere_else(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    with pytest.raises(LoadError, match="not among its files"):
        inspected(folder_onnx(tmp_path / "model", location=location))


def test_a_model_whose_library_is_missing_is_left_to_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "is_installed", lambda backend: backend.library != "onnxruntime")
    verdict = inspected(identity_onnx(tmp_path / "m"))
    assert verdict == {
        "format": "onnx",
        "libraries": [],
        "handed_back": "format onnx needs onnxruntime, no agent so far has it installed",
    }


def test_what_the_manifest_says_is_compared_and_added(tmp_path: Path) -> None:
    path = identity_onnx(tmp_path / "m")
    labels = tuple("abcdefghijklmnop")
    said = Manifest(outputs=(TensorSpec("OUTPUT0", "", (), labels),), max_batch_size=4)
    signature = inspect(Inspection(str(path), "", False, "cpu", 1, said))["signature"]
    assert (signature["outputs"][0]["labels"], signature["max_batch_size"]) == (labels, 4)
    wrong = Manifest(inputs=(TensorSpec("INPUT0", "FP64", (-1, 16)),))
    with pytest.raises(LoadError, match=r"'INPUT0' FP64 \[-1, 16\] is what the model calls 'INPUT0' FP32 \[-1, 16\]"):
        inspect(Inspection(str(path), "", False, "cpu", 1, wrong))


@pytest.mark.parametrize(
    ("device", "options", "words"),
    [
        ("auto", {"provider": "tensorrt"}, "tensorrt was asked for, but this onnxruntime has .*CPUExecutionProvider"),
        ("cuda:0", {}, "cuda was asked for, but this onnxruntime has .*CPUExecutionProvider"),
        ("cpu", {"provider": "cuda"}, "this node runs models on the CPU"),
        ("auto", {"provider": "tpu"}, "got the provider 'tpu', expected one of cpu, cuda, tensorrt"),
        ("auto", {"probe": "maybe"}, "got the option probe = 'maybe', expected on or off"),
        ("auto", {"threads": "3"}, "got the option 'threads', expected provider or prepacking"),
    ],
)
@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime can use a GPU"
)
def test_a_provider_that_is_not_there_is_refused_by_name(
    device: str, options: dict[str, str], words: str, tmp_path: Path
) -> None:
    files = ModelFiles(identity_onnx(tmp_path / "m"))
    with pytest.raises(LoadError, match=words):
        backends.load(files, "onnx", Placement(device, 1), manifest=Manifest(options=options))


def test_a_model_runs_on_the_processor_where_its_manifest_says_so(tmp_path: Path) -> None:
    files = ModelFiles(identity_onnx(tmp_path / "m"))
    model = backends.load(files, "onnx", Placement("auto", 1), manifest=Manifest(options={"provider": "cpu"}))
    assert model.device == "cpu"


def test_a_folder_that_is_no_model_is_rejected_with_what_it_holds(tmp_path: Path) -> None:
    for name in ("readme.md", "a.onnx", "b.onnx"):
        (tmp_path / name).write_text("no model")
    with pytest.raises(LoadError, match=r"it holds a\.onnx, b\.onnx, readme\.md"):
        inspected(tmp_path)


def sequence_output(path: Path) -> Path:
    value, sequence = helper.make_tensor_value_info, helper.make_tensor_sequence_value_info
    return onnx_of(
        path,
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [sequence("y", TensorProto.FLOAT, None)],
    )


def newer_opset(path: Path) -> Path:
    model = onnx.load(str(identity_onnx(path)))
    model.opset_import[0].version = 99
    path.write_bytes(model.SerializeToString())
    return path


def custom_operator(path: Path) -> Path:
    model = onnx.load(str(identity_onnx(path)))
    model.graph.node[0].domain = "my.company"
    model.graph.node[0].op_type = "Secret"
    model.opset_import.append(helper.make_opsetid("my.company", 1))
    path.write_bytes(model.SerializeToString())
    return path


def truncated(path: Path) -> Path:
    content = digits_onnx(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def contains(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


def archive(*names: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(f"m/{name}", b"x")
        return path

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (contains(b""), "the file is empty"),
        (contains(b"\x80"), "corrupt, or of an unknown format"),
        (contains(b"hello, I am a text file"), "corrupt, or of an unknown format"),
        (truncated, "corrupt, or of an unknown format"),
        (contains(b"\x80\x04\x95abc"), "Python pickle"),
        (contains(b"GGUF\x03\x00\x00\x00abcdefgh"), "unsupported format"),
        (contains(b"PK\x03\x04garbage"), "damaged archive"),
        (archive("data.pkl", "data/0"), "pickled PyTorch module"),
        (archive("whatever"), "unknown kind of archive"),
        (sequence_output, r"output 'y' has the type seq\(tensor\(float\)\)"),
        (newer_opset, "onnxruntime can't load the model"),
        (custom_operator, "onnxruntime can't load the model"),
        (digits_torch_export, "can run code while loading"),
    ],
)
def test_what_cannot_be_served_is_rejected_with_the_reason(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(LoadError, match=message) as caught:
        inspected(make(tmp_path / "model.pt2"))
    assert str(tmp_path) not in str(caught.value)


def test_a_file_of_another_format_than_declared_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="its format is torchscript, but the content is onnx"):
        inspected(identity_onnx(tmp_path / "m"), declared="torchscript")


def test_a_damaged_archive_of_trusted_origin_is_rejected_too(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="torch can't load the archive"):
        inspected(archive("archive_format", "models/model.json")(tmp_path / "m.pt2"), is_trusted=True)


class TestTorch:
    def exported(self, path: Path, module: Any, *args: Any, **kwargs: Any) -> Model:
        import torch

        torch.export.save(torch.export.export(module.eval(), args, **kwargs), str(path))
        return load(path)

    def test_outputs_without_names_are_numbered_and_nested_inputs_flattened(self, tmp_path: Path) -> None:
        import torch

        class Module(torch.nn.Module):
            def forward(self, pair: dict[str, torch.Tensor], *, shift: torch.Tensor) -> tuple[torch.Tensor, ...]:
                return pair["a"] + shift, pair["b"] > 0

        batch = torch.export.Dim("batch")
        loaded = self.exported(
            tmp_path / "m.pt2",
            Module(),
            {"a": torch.zeros(2, 3), "b": torch.zeros(2, 3, dtype=torch.int32)},
            kwargs={"shift": torch.zeros(2, 1)},
            dynamic_shapes={"pair": {"a": {0: batch}, "b": {0: batch}}, "shift": {0: batch}},
        )
        assert [spec.name for spec in loaded.signature.inputs] == ["pair_a", "pair_b", "shift"]
        assert [(spec.name, spec.datatype) for spec in loaded.signature.outputs] == [
            ("output_0", "FP32"),
            ("output_1", "BOOL"),
        ]
        outputs = loaded.run(
            {
                "pair_a": np.ones((1, 3), np.float32),
                "pair_b": np.array([[1, 0, -1]], np.int32),
                "shift": np.array([[5]], np.float32),
            }
        )
        np.testing.assert_array_equal(outputs["output_0"], [[6, 6, 6]])
        np.testing.assert_array_equal(outputs["output_1"], [[True, False, False]])

    def test_a_fixed_batch_is_not_batchable_and_bfloat16_goes_through(self, tmp_path: Path) -> None:
        import torch

        class Module(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + 1

        loaded = self.exported(tmp_path / "m.pt2", Module(), torch.zeros(2, 2, dtype=torch.bfloat16))
        assert not loaded.signature.is_batchable
        assert loaded.signature.inputs == (TensorSpec("x", "BF16", (2, 2)),)
        result = loaded.run({"x": np.full((2, 2), 0x3F80, np.uint16)})["output_0"]
        np.testing.assert_array_equal(result, np.full((2, 2), 0x4000, np.uint16))

    def scripted(self, path: Path, signature: object = None) -> Path:
        import torch

        class Module(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x * 2

        extra = {} if signature is None else {"signature.json": json.dumps(signature)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.script(Module()), str(path), _extra_files=extra)
        return path

    def test_torchscript_is_served_by_the_signature_inside(self, tmp_path: Path) -> None:
        tensors = [{"name": name, "datatype": "FP32", "shape": [-1, 2]} for name in ("x", "y")]
        path = self.scripted(tmp_path / "m.pt", {"inputs": tensors[:1], "outputs": tensors[1:]})
        verdict = inspected(path, is_trusted=True)
        assert (verdict["format"], verdict["signature"]["is_batchable"]) == ("torchscript", True)
        np.testing.assert_array_equal(load(path).run({"x": np.ones((3, 2), np.float32)})["y"], np.full((3, 2), 2))

    @pytest.mark.parametrize(
        ("signature", "message"),
        [
            (None, r"doesn't say the types and shapes of its inputs \['x'\]: describe all its tensors"),
            ({"inputs": []}, "can't be read"),
            ({"inputs": [{"name": "x", "datatype": "FLOAT", "shape": [1]}], "outputs": []}, "unknown datatype 'FLOAT'"),
            ({"inputs": [{"name": "q", "datatype": "FP32", "shape": [1]}], "outputs": []}, r"names the inputs \['q'\]"),
        ],
    )
    def test_torchscript_that_does_not_say_enough_is_rejected_with_how_to(
        self, signature: object, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(LoadError, match=message):
            inspected(self.scripted(tmp_path / "m.pt", signature), is_trusted=True)
