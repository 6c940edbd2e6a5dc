"""Every way in which a request may not fit its model, and the message that says so."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import DATATYPES, join_bytes
from services.common.errors import InvalidArgumentError, PenstockError, UnimplementedError
from services.gateway.domain.validation import check
from tests.unit.gateway.requests import infer_request, served, spec

TWO = (spec("A", "FP32", -1, 4), spec("B", "INT64", -1))
A = ("A", "FP32", [2, 4], bytes(32))
B = ("B", "INT64", [2], bytes(16))


def typed(datatype: str, shape: list[int], **contents: Any) -> Any:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="X", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents))
    return request


def test_rows_are_the_batch_dimension() -> None:
    assert check(infer_request(A, B), served(*TWO)) == 2
    assert check(infer_request(B, A), served(*TWO)) == 2


def test_a_version_without_batch_dimension_takes_one_row() -> None:
    version = served(spec("X", "FP32", 3), max_batch_size=0)
    assert check(infer_request(("X", "FP32", [3], bytes(12))), version) == 1


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([A], "missing input 'B', model 'm' expects 'A' FP32 [-1, 4], 'B' INT64 [-1]"),
        (
            [A, ("C", "INT64", [2], bytes(16))],
            "got unexpected input 'C', model 'm' expects 'A' FP32 [-1, 4], 'B' INT64 [-1]",
        ),
        ([A, B, B], "got input 'B' more than once, model 'm' expects 'A' FP32 [-1, 4], 'B' INT64 [-1]"),
        ([A, A], "got input 'A' more than once"),
        ([A, ("B", "INT32", [2], bytes(8))], "input 'B' has datatype 'INT32', expected INT64"),
        ([A, ("B", "nonsense", [2], bytes(8))], "input 'B' has datatype 'nonsense', expected INT64"),
        ([A, ("B", "INT64", [2, 1], bytes(16))], "input 'B' has shape [2, 1], expected [-1]"),
        ([("A", "FP32", [2, 5], bytes(40)), B], "input 'A' has shape [2, 5], expected [-1, 4]"),
        ([("A", "FP32", [], b""), B], "input 'A' has shape [], expected [-1, 4]"),
        ([("A", "FP32", [-1, 4], bytes(16)), B], "input 'A' has shape [-1, 4], expected [-1, 4]"),
        ([("A", "FP32", [2, 4], bytes(31)), B], "input 'A' has 31 bytes, expected 32: 8 elements of FP32"),
        (
            [("A", "FP32", [2**62, 4], bytes(32)), B],
            f"input 'A' has 32 bytes, expected {2**66}: {2**64} elements of FP32",
        ),
        (
            [A, ("B", "INT64", [1], bytes(8))],
            "inputs differ in their batch dimension, expected the same for all: got 'A' 2, 'B' 1",
        ),
        (
            [("A", "FP32", [9, 4], bytes(144)), ("B", "INT64", [9], bytes(72))],
            "got a batch of 9, model 'm' takes 1 to 8",
        ),
        ([("A", "FP32", [0, 4], b""), ("B", "INT64", [0], b"")], "got a batch of 0, model 'm' takes 1 to 8"),
    ],
)
def test_tensors_that_do_not_fit(tensors: list[Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check(infer_request(*tensors), served(*TWO))
    assert message in caught.value.message


def test_a_request_without_inputs() -> None:
    with pytest.raises(InvalidArgumentError, match="missing input 'A', 'B'"):
        check(pb.ModelInferRequest(), served(*TWO))


@pytest.mark.parametrize("count", [1, 3])
def test_raw_contents_must_be_as_many_as_inputs(count: int) -> None:
    request = infer_request(A, B)
    del request.raw_input_contents[:]
    request.raw_input_contents.extend([bytes(32)] * count)
    with pytest.raises(
        InvalidArgumentError, match=f"got {count} raw_input_contents for 2 inputs, expected one for each"
    ):
        check(request, served(*TWO))


def test_raw_and_typed_contents_do_not_mix() -> None:
    request = infer_request(A, B)
    request.inputs[1].contents.int64_contents.extend([1, 2])
    with pytest.raises(InvalidArgumentError, match="input 'B' has typed contents in a request with raw_input_contents"):
        check(request, served(*TWO))


@pytest.mark.parametrize("size", [0, 3])
def test_free_dimensions_take_any_size(size: int) -> None:
    version = served(spec("X", "FP32", -1, -1))
    assert check(infer_request(("X", "FP32", [1, size], bytes(4 * size))), version) == 1


STRINGS = served(spec("X", "BYTES", -1))


def test_byte_strings_are_counted() -> None:
    raw = join_bytes([b"", b"abc"])
    assert check(infer_request(("X", "BYTES", [2], raw)), STRINGS) == 2
    with pytest.raises(InvalidArgumentError, match="input 'X' has 2 BYTES elements, expected 3"):
        check(infer_request(("X", "BYTES", [3], raw)), STRINGS)


@pytest.mark.parametrize("raw", [b"\x05\x00\x00\x00abc", b"\x00\x00", b"\xff\xff\xff\xffx"])
def test_malformed_byte_strings(raw: bytes) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"input 'X' is no BYTES tensor: element 0 ends at byte \d+, got \d bytes"
    ):
        check(infer_request(("X", "BYTES", [1], raw)), STRINGS)


@pytest.mark.parametrize(
    "kind", [kind for kind in DATATYPES.values() if kind.contents_field], ids=lambda kind: kind.name
)
def test_typed_contents_of_every_datatype(kind: Any) -> None:
    value = {"bytes_contents": b"x", "bool_contents": True}.get(kind.contents_field, 1)
    version = served(spec("X", kind.name, -1))
    assert check(typed(kind.name, [2], **{kind.contents_field: [value] * 2}), version) == 2
    with pytest.raises(InvalidArgumentError, match=f"input 'X' has 3 elements in {kind.contents_field}, expected 2"):
        check(typed(kind.name, [2], **{kind.contents_field: [value] * 3}), version)


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_half_floats_have_no_typed_contents(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"expected {name} there: it has no typed contents"):
        check(typed(name, [1], fp32_contents=[1.0]), served(spec("X", name, -1)))


def test_typed_contents_in_the_wrong_field() -> None:
    with pytest.raises(
        InvalidArgumentError, match="input 'X' has fp64_contents, expected fp32_contents for datatype FP32"
    ):
        check(typed("FP32", [1], fp64_contents=[1.0]), served(spec("X", "FP32", -1)))


@pytest.mark.parametrize(
    ("datatype", "field", "value", "limits"),
    [
        ("INT8", "int_contents", 128, "-128 to 127"),
        ("INT16", "int_contents", -40_000, "-32768 to 32767"),
        ("UINT8", "uint_contents", 256, "0 to 255"),
        ("UINT16", "uint_contents", 65_536, "0 to 65535"),
    ],
)
def test_typed_contents_out_of_range(datatype: str, field: str, value: int, limits: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"from {value} to {value}, expected {limits} for {datatype}"):
        check(typed(datatype, [1], **{field: [value]}), served(spec("X", datatype, -1)))


def test_outputs_may_be_chosen() -> None:
    request = infer_request()
    request.outputs.add(name="OUTPUT0")
    assert check(request, served()) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["OUTPUT1"], "got output 'OUTPUT1' which the model does not have, model 'm' gives 'OUTPUT0' FP32 [-1, 4]"),
        (["OUTPUT0", "OUTPUT0"], "got output 'OUTPUT0' more than once"),
    ],
)
def test_unknown_and_repeated_outputs(names: list[str], message: str) -> None:
    request = infer_request()
    for name in names:
        request.outputs.add(name=name)
    with pytest.raises(InvalidArgumentError) as caught:
        check(request, served())
    assert message in caught.value.message


@pytest.mark.parametrize("parameter", ["classification", "shared_memory_region"])
def test_what_outputs_can_not_be_yet(parameter: str) -> None:
    request = infer_request()
    request.outputs.add(name="OUTPUT0").parameters[parameter].int64_param = 1
    with pytest.raises(UnimplementedError, match=f"output 'OUTPUT0' asks for {parameter}"):
        check(request, served())


def test_inputs_in_shared_memory() -> None:
    request = infer_request()
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"
    with pytest.raises(PenstockError, match="input 'INPUT0' is in shared memory, which is not supported"):
        check(request, served())
