"""SavedModels give through the backend, and the gateway, what TensorFlow gives; what is code is told by name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed: make test-formats")

from tensorflow.core.framework.op_def_pb2 import OpList
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.client import pywrap_tf_session

from services.inference.backends import LoadError, RunError, tensorflow_graph
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import TensorSpec
from tests.formats.conftest import Asking
from tests.formats.parity import check_digits, inspected, load
from tests.support.models import digits


def kept(function: Callable[..., Any], folder: Path, *specs: Any, **parts: Any) -> Path:
    """A SavedModel of a function, and of the variables and tables that it uses."""
    module = tf.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    module.function = tf.function(function, input_signature=list(specs))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.function})
    return folder


def spec(shape: list[int | None], name: str = "x", kind: str = "float32") -> Any:
    return tf.TensorSpec(shape, getattr(tf, kind), name=name)


def digits_model(folder: Path) -> Path:
    weights, bias = tf.Variable(digits().weights), tf.Variable(digits().bias)
    return kept(
        lambda image: {"probabilities": tf.nn.softmax(image @ weights + bias)},
        folder,
        spec([None, 64], "image"),
        weights=weights,
        bias=bias,
    )


def expected(folder: Path, images: Any) -> Any:
    """By the library itself."""
    return tf.saved_model.load(str(folder)).signatures["serving_default"](image=images)["probabilities"].numpy()


def test_a_classifier_gives_the_same_and_batches(tmp_path: Path) -> None:
    folder = digits_model(tmp_path / "m")
    check_digits(folder, "tensorflow", lambda images: expected(folder, images))


def test_it_is_served_through_the_gateway_without_trust(ask: Asking, tmp_path: Path) -> None:
    folder, images = digits_model(tmp_path / "m"), digits().images[:7]
    np.testing.assert_allclose(ask(folder, {"image": images})["probabilities"], expected(folder, images), rtol=1e-5)


KINDS = {
    "bool": ("BOOL", np.array([[True, False]])),
    "uint8": ("UINT8", np.array([[1, 255]], np.uint8)),
    "uint16": ("UINT16", np.array([[1, 65535]], np.uint16)),
    "uint32": ("UINT32", np.array([[1, 2**32 - 1]], np.uint32)),
    "uint64": ("UINT64", np.array([[1, 2**64 - 1]], np.uint64)),
    "int8": ("INT8", np.array([[-128, 127]], np.int8)),
    "int16": ("INT16", np.array([[-32768, 32767]], np.int16)),
    "int32": ("INT32", np.array([[-(2**31), 1]], np.int32)),
    "int64": ("INT64", np.array([[-(2**63), 1]], np.int64)),
    "float16": ("FP16", np.array([[1.5, -2]], np.float16)),
    "float32": ("FP32", np.array([[1.5, -2e30]], np.float32)),
    "float64": ("FP64", np.array([[1.5, -2e300]], np.float64)),
    "bfloat16": ("BF16", np.array([[0x3F80, 0xC000]], np.uint16)),
    "string": ("BYTES", np.array([["é".encode(), b""], [b"a\0b\xff", b"c"]], dtype=object)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_datatype_passes_through(kind: str, tmp_path: Path) -> None:
    name, array = KINDS[kind]
    model = load(kept(lambda x: {"y": tf.identity(x)}, tmp_path / "m", spec([None, 2], kind=kind)))
    assert model.signature.inputs == (TensorSpec("x", name, (-1, 2)),)
    found = model.run({"x": array})["y"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_tables_loops_and_strings_are_no_code(tmp_path: Path) -> None:
    words = tf.lookup.KeyValueTensorInitializer(["cat", "dog"], tf.constant([1, 2], tf.int64))
    table = tf.lookup.StaticHashTable(words, -1)

    def function(x: Any) -> Any:
        found = table.lookup(tf.strings.lower(x))
        return {"y": tf.while_loop(lambda at, _: at < 3, lambda at, one: (at + 1, one * 2), (0, found))[1]}

    folder = kept(function, tmp_path / "m", spec([None], kind="string"), table=table)
    assert inspected(folder)["signature"]["is_batchable"]
    outputs = load(folder).run({"x": np.array([b"Dog", b"cow"], dtype=object)})
    np.testing.assert_array_equal(outputs["y"], [16, -8])


def test_one_of_several_signatures_has_to_be_chosen(tmp_path: Path) -> None:
    module = tf.Module()
    module.one = tf.function(lambda x: {"y": x + 1}, input_signature=[spec([None])])
    module.two = tf.function(lambda x: {"y": x + 2}, input_signature=[spec([None])])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"one": module.one, "two": module.two})
    with pytest.raises(LoadError, match=r"got no choice of a signature, expected .* one of one, two"):
        load(tmp_path / "m")
    outputs = load(tmp_path / "m", Manifest(options={"signature": "two"})).run({"x": np.zeros(1, np.float32)})
    np.testing.assert_array_equal(outputs["y"], [2])


def reading(path: Path) -> Callable[..., Any]:
    return lambda x: {"y": tf.strings.length(tf.io.read_file(str(path))) + x}


def writing(path: Path) -> Callable[..., Any]:
    def function(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(path), "harm")]):
            return {"y": tf.identity(x)}

    return function


def printing(path: Path) -> Callable[..., Any]:
    def function(x: Any) -> Any:
        tf.print("harm", output_stream=f"file://{path}")
        return {"y": tf.identity(x)}

    return function


def calling(_path: Path) -> Callable[..., Any]:
    return lambda x: {"y": tf.ensure_shape(tf.py_function(lambda one: one, [x], tf.int32), [None])}


def looping(path: Path) -> Callable[..., Any]:
    def step(at: Any, one: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(path), "harm")]):
            return at + 1, tf.identity(one)

    return lambda x: {"y": tf.while_loop(lambda at, _: at < 3, step, (0, x))[1]}


HOSTILE = {
    "ReadFile": reading,
    "WriteFile": writing,
    "PrintV2": printing,
    "EagerPyFunc": calling,
    "WriteFile, in a loop": looping,
}


@pytest.mark.parametrize("operator", HOSTILE)
def test_what_does_more_than_compute_needs_trust(operator: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    folder = kept(HOSTILE[operator](trace), tmp_path / "m", spec([None], kind="int32"))
    with pytest.raises(LoadError, match=rf"do more than compute \({operator.partition(',')[0]}\)"):
        inspected(folder)
    assert not trace.exists()


def test_with_trust_it_may(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("four")
    folder = kept(reading(tmp_path / "words"), tmp_path / "m", spec([None], kind="int32"))
    inspected(folder, is_trusted=True)
    np.testing.assert_array_equal(load(folder).run({"x": np.ones(1, np.int32)})["y"], [5])


def tampered(folder: Path, change: Callable[[Any, dict[str, Any]], None]) -> Path:
    """Its graph changed, given the graph and its functions by what their names begin with."""
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    (graph,) = model.meta_graphs
    change(graph, {one.signature.name.rpartition("_")[0]: one for one in graph.graph_def.library.function})
    path.write_bytes(model.SerializeToString())
    return folder


def call_by_attribute(_graph: Any, functions: dict[str, Any]) -> None:
    saver = functions["__inference__traced_save"].signature.name
    node = functions["__inference_signature_wrapper_<lambda>"].node_def.add(name="harm", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saver


def call_by_name(_graph: Any, functions: dict[str, Any]) -> None:
    saver = functions["__inference__traced_save"].signature.name
    functions["__inference_signature_wrapper_<lambda>"].node_def.add(name="harm", op=saver)


def offer(graph: Any, functions: dict[str, Any]) -> None:
    graph.object_graph_def.concrete_functions[functions["__inference__traced_save"].signature.name].SetInParent()


def stand_in(_graph: Any, functions: dict[str, Any]) -> None:
    functions["__inference__traced_save"].attr["api_implements"].s = b"anything"


@pytest.mark.parametrize("change", [call_by_attribute, call_by_name, offer, stand_in])
def test_functions_that_save_are_not_for_others_to_call(change: Any, tmp_path: Path) -> None:
    folder = digits_model(tmp_path / "m")
    inspected(folder)
    with pytest.raises(LoadError, match=r"more than compute \(MergeV2Checkpoints, SaveV2, ShardedFilename\)"):
        inspected(tampered(folder, change))


def test_nothing_is_taken_for_the_graph_that_was_not_looked_at(tmp_path: Path) -> None:
    folder = digits_model(tmp_path / "m")
    for name in ("saved_model.cpb", "saved_model.pbtxt"):
        shutil.copy(folder / "saved_model.pb", folder / name)
        with pytest.raises(LoadError, match=rf"got a SavedModel as {name}, expected saved_model\.pb and nothing"):
            inspected(folder)
        (folder / name).unlink()


def test_graphs_of_tensorflow_1_need_trust(tmp_path: Path) -> None:
    folder = tampered(digits_model(tmp_path / "m"), lambda graph, _: graph.ClearField("object_graph_def"))
    with pytest.raises(LoadError, match="those of TensorFlow 1"):
        inspected(folder)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    folder = digits_model(tmp_path / "m")
    graph, variables = folder / "saved_model.pb", folder / "variables" / "variables.data-00000-of-00001"
    content = graph.read_bytes()
    for size in (10, 1000, len(content) - 1):
        graph.write_bytes(content[:size])
        with pytest.raises(LoadError, match=r"saved_model\.pb is damaged"):
            inspected(folder)
    graph.write_bytes(content)
    variables.write_bytes(variables.read_bytes()[:100])
    with pytest.raises(LoadError, match="TensorFlow can't load the model"):
        inspected(folder)
    shutil.rmtree(folder / "variables")
    with pytest.raises(LoadError, match="TensorFlow can't load the model"):
        inspected(folder)


def test_a_run_that_fails_is_the_callers_error_and_names_no_path(tmp_path: Path) -> None:
    folder = kept(lambda x: {"y": tf.gather([1, 2], x)}, tmp_path / "m", spec([None], kind="int32"))
    with pytest.raises(RunError, match=r"^(?!.*/tmp)"):
        load(folder).run({"x": np.array([7], np.int32)})


def test_nothing_is_listed_as_computing_that_sounds_otherwise() -> None:
    """And nothing that this release doesn't know, which would be a misspelt name."""
    listing = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    listed = tensorflow_graph._COMPUTING
    assert listed <= {one.name for one in OpList.FromString(listing).op}
    others = "File|Py|Print|Save|Restore|Checkpoint|Reader|Debug|Dump|Rpc|Dataset|Xla|Send|Recv|Assign"
    assert not [name for name in listed if re.search(others, name)]
