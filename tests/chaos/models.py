"""The model that is served: it repeats its input, takes a while, and can be killed by what it is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def breakable_onnx(path: Path, *, loops: int = 1_500) -> Path:
    """ONNX: INPUT0 FP32 [-1, -1] → OUTPUT0, the same; a batch takes about a microsecond of CPU per loop.

    A row that begins with POISON makes it divide the least whole number by -1, whose result has no room: ONNX Runtime
    looks for divisors of zero only, and the processor ends the process by SIGFPE.
    """
    turn = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("go_on", "value")],
        "turn",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["INPUT0", "first", "second", "columns"], ["begin"]),
            helper.make_node(
                "IsNaN", ["begin"], ["is_no_number"]
            ),  # it would become the least number, and probes send it
            helper.make_node("Where", ["is_no_number", "none", "begin"], ["number"]),
            helper.make_node("Cast", ["number"], ["whole"], to=TensorProto.INT32),
            helper.make_node("Div", ["whole", "minus_one"], ["quotient"]),
            helper.make_node("Mul", ["quotient", "nothing"], ["nought"]),
            helper.make_node("Cast", ["nought"], ["zero"], to=TensorProto.FLOAT),
            helper.make_node("Loop", ["loops", "yes", "zero"], ["later"], body=turn),
            helper.make_node("Add", ["INPUT0", "later"], ["OUTPUT0"]),
        ],
        "breakable",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", "width"])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", "width"])],
        [
            numpy_helper.from_array(np.array([0], np.int64), "first"),
            numpy_helper.from_array(np.array([1], np.int64), "second"),
            numpy_helper.from_array(np.array([1], np.int64), "columns"),
            numpy_helper.from_array(np.array(-1, np.int32), "minus_one"),
            numpy_helper.from_array(np.array(0, np.int32), "nothing"),
            numpy_helper.from_array(np.array(0, np.float32), "none"),
            numpy_helper.from_array(np.array(loops, np.int64), "loops"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path
