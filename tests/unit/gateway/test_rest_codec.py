"""REST bodies: what can be said in JSON and in binary comes through unchanged, everything else is refused."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from services.common.datatypes import DATATYPES, join_bytes
from services.common.errors import InvalidArgumentError, PenstockError, ResourceExhaustedError
from services.gateway.rest_compression import decompressed
from services.gateway.rest_generate import read_generate
from services.gateway.rest_request import OutputForm, read_request, tensor_bytes
from services.gateway.rest_response import write_event, write_response
from tests.unit.gateway.requests import infer_response, served, spec

FP32 = DATATYPES["FP32"]


def read(document: Any, *tails: bytes, version: Any = None) -> tuple[Any, OutputForm]:
    head = json.dumps(document).encode()
    return read_request(head + b"".join(tails), str(len(head)) if tails else None, version or served())


def one_input(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "INPUT0", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4], **fields}]}


def test_json_becomes_raw_tensors() -> None:
    request, form = read({"id": "abc", "parameters": {"priority": 2, "a": True, "b": 1.5, "c": "x"}, **one_input()})
    assert request.id == "abc"
    assert request.parameters["priority"].int64_param == 2
    assert [request.parameters[key].WhichOneof("parameter_choice") for key in "abc"] == [
        "bool_param",
        "double_param",
        "string_param",
    ]
    assert (request.inputs[0].name, list(request.inputs[0].shape)) == ("INPUT0", [1, 4])
    assert request.raw_input_contents[0] == np.array([1, 2, 3, 4], "<f4").tobytes()
    assert not form.is_binary("OUTPUT0")


def test_binary_tensors_follow_in_order() -> None:
    request, form = read(
        {
            "inputs": [
                {"name": "A", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
                {"name": "B", "shape": [1], "datatype": "FP32", "data": [1]},
                {"name": "C", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
            ],
            "parameters": {"binary_data_output": True},
        },
        b"abcd",
        b"ef",
    )
    assert list(request.raw_input_contents) == [b"abcd", b"\x00\x00\x80\x3f", b"ef"]
    assert "binary_data_output" not in request.parameters
    assert form.is_binary("anything")


def test_outputs_choose_their_form() -> None:
    _, form = read(
        {
            **one_input(),
            "outputs": [{"name": "X", "parameters": {"binary_data": True}}, {"name": "Y"}],
        },
        version=served(outputs=(spec("X", "FP16", -1), spec("Y", "FP32", -1))),
    )
    assert (form.is_binary("X"), form.is_binary("Y")) == (True, False)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the request is [], expected an object"),
        ({}, "'inputs' of the request is missing, expected a list"),
        ({"inputs": {}}, "'inputs' of the request is {}, expected a list"),
        ({"inputs": [1]}, "inputs[0] is 1, expected an object"),
        (one_input(name=1), "'name' of inputs[0] is 1, expected a string"),
        (one_input(datatype="FP31"), "unknown datatype 'FP31', expected one of BOOL"),
        (one_input(shape=[1, -4]), "'shape' of inputs[0] is [1, -4], expected whole numbers of at least 0"),
        (one_input(shape=[1, True]), "'shape' of inputs[0] is [1, True], expected whole numbers"),
        (one_input(shape=[1, 2**63]), "'shape' of inputs[0] is [1, 9223372036854775808], expected whole numbers"),
        (one_input(shape="4"), "'shape' of inputs[0] is '4', expected a list"),
        (one_input(data="1234"), "'data' of inputs[0] is '1234', expected a list"),
        (one_input(data=[[1, 2], [3]]), "'data' of inputs[0] is ragged, expected a flat list or the shape [1, 4]"),
        (one_input(data=[1, 2, 3]), "'data' of inputs[0] has shape [3], expected [1, 4], or a flat list of 4"),
        (one_input(data=[[1, 2], [3, 4]]), "'data' of inputs[0] has shape [2, 2], expected [1, 4]"),
        (one_input(data=["1", "2", "3", "4"]), "'data' of inputs[0] holds values that are no FP32"),
        (one_input(data=[1, 2, 3, None]), "'data' of inputs[0] holds values that are no FP32"),
        (one_input(data=[1, 2, 3, 1e300]), "'data' of inputs[0] has values that are too large for FP32"),
        (one_input(datatype="INT8", data=[1, 2, 3, 128]), "has values from 1 to 128, expected -128 to 127 for INT8"),
        (
            one_input(datatype="UINT32", data=[1, 2, 3, -1]),
            "has values from -1 to 3, expected 0 to 4294967295 for UINT32",
        ),
        (one_input(datatype="INT64", data=[1, 2, 3, 2**63]), "'data' of inputs[0]"),
        (one_input(datatype="INT64", data=[1, 2, 3, 2**64]), "'data' of inputs[0] holds values that are no INT64"),
        (one_input(datatype="INT32", data=[1, 2, 3, 4.5]), "'data' of inputs[0] holds values that are no INT32"),
        (one_input(datatype="BOOL", data=[1, 0, 1, 0]), "'data' of inputs[0] holds values that are no BOOL"),
        (one_input(datatype="FP16"), "'data' of inputs[0] is FP16, which JSON can't carry: send it as binary data"),
        (one_input(datatype="BYTES", data=["a", "b", "c", 1]), "'data' of inputs[0] holds 1, expected strings"),
        (one_input(parameters={"binary_data_size": 16}), "inputs[0] has both 'data' and 'binary_data_size'"),
        ({**one_input(), "id": 7}, "'id' of the request is 7, expected a string"),
        ({**one_input(), "parameters": {"a": [1]}}, "'a' of the request is [1], expected a boolean, number or string"),
        (
            {**one_input(), "parameters": {"binary_data_output": 1}},
            "'binary_data_output' of the request is 1, expected a boolean",
        ),
        ({**one_input(), "outputs": [{}]}, "'name' of outputs[0] is missing, expected a string"),
        (
            {**one_input(), "outputs": [{"name": "X", "parameters": {"binary_data": "yes"}}]},
            "'binary_data' of outputs[0] is 'yes'",
        ),
    ],
)
def test_malformed_documents(document: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read(document)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b'{"a": NaN', b"[" * 100_000 + b"NaN", b'{"inputs": [' + b"9" * 5_000 + b"], NaN}"]
)
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(InvalidArgumentError, match="the request is no JSON"):
        read_request(text, None, served())


def test_half_float_outputs_must_be_asked_for_as_binary() -> None:
    version = served(outputs=(spec("Y", "FP16", -1),))
    with pytest.raises(
        InvalidArgumentError, match="output 'Y' is FP16, which JSON can't carry: ask for it with 'binary_data'"
    ):
        read(one_input(), version=version)


@pytest.mark.parametrize("length", ["-1", "x", "", "9999999999999", "99", "１", "1.0"])
def test_bad_header_length(length: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"got Inference-Header-Content-Length '.*', expected 0 to 2"):
        read_request(b"{}", length, served())


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (5, "is 5, expected 0 to 4, the bytes left"),
        (-1, "is -1, expected 0 to 4"),
        (3, "1 bytes are left behind the last"),
        ("4", "is '4', expected a whole number"),
    ],
)
def test_binary_sizes_must_add_up(size: Any, message: str) -> None:
    tensor = {"name": "A", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    with pytest.raises(InvalidArgumentError) as caught:
        read({"inputs": [tensor]}, b"abcd")
    assert message in caught.value.message


def test_a_bare_body_is_the_only_input() -> None:
    request, form = read_request(bytes(32), "0", served())
    assert list(request.inputs[0].shape) == [2, 4]
    assert request.raw_input_contents[0] == bytes(32)
    assert form.is_binary("OUTPUT0")
    request, _ = read_request(b"text", "0", served(spec("S", "BYTES", -1, 1)))
    assert (list(request.inputs[0].shape), request.raw_input_contents[0]) == ([1, 1], join_bytes([b"text"]))


def test_a_bare_body_whose_shape_is_open() -> None:
    with pytest.raises(InvalidArgumentError, match="does not follow from 31 bytes"):
        read_request(bytes(31), "0", served())
    with pytest.raises(InvalidArgumentError, match="does not follow from 32 bytes"):
        read_request(bytes(32), "0", served(spec("X", "FP32", -1, -1)))
    with pytest.raises(InvalidArgumentError, match="only models with one input take; 'm' has 2"):
        read_request(bytes(32), "0", served(spec("A", "FP32", 1), spec("B", "FP32", 1)))


@pytest.mark.parametrize("data", [[[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0, 3.0, 4.0]])
def test_data_may_be_nested_or_flat(data: list[Any]) -> None:
    assert tensor_bytes(data, FP32, [2, 2], "x") == np.array([1, 2, 3, 4], "<f4").tobytes()


def test_python_clients_send_nan() -> None:
    request, _ = read(one_input(data=[1, float("nan"), float("inf"), float("-inf")]))
    values = np.frombuffer(request.raw_input_contents[0], "<f4")
    assert np.isnan(values[1])
    assert values[2:].tolist() == [float("inf"), float("-inf")]


NUMERIC = [kind for kind in DATATYPES.values() if kind.contents_field and kind.itemsize]


@pytest.mark.parametrize("kind", NUMERIC, ids=lambda kind: kind.name)
@pytest.mark.parametrize("is_binary", [True, False])
def test_tensors_survive_the_round_trip(kind: Any, is_binary: bool) -> None:
    @given(npst.arrays(kind.dtype, npst.array_shapes(max_dims=3, min_side=0, max_side=4)))
    def round_trip(array: np.ndarray[Any, Any]) -> None:
        body, size = write_response(infer_response(("Y", kind.name, array, array.shape)), OutputForm(default=is_binary))
        document = json.loads(body[:size])
        (output,) = document["outputs"]
        assert (output["datatype"], output["shape"]) == (kind.name, list(array.shape))
        raw = body[size:] if is_binary else tensor_bytes(output["data"], kind, output["shape"], "y")
        np.testing.assert_array_equal(np.frombuffer(raw, kind.dtype), array.ravel())

    round_trip()


@given(st.lists(st.text(max_size=5), max_size=5))
def test_strings_survive_the_round_trip(strings: list[str]) -> None:
    raw = join_bytes([text.encode() for text in strings])
    body, size = write_response(infer_response(("Y", "BYTES", raw, [len(strings)])), OutputForm())
    assert size is None
    (output,) = json.loads(body)["outputs"]
    assert output["data"] == strings
    assert tensor_bytes(output["data"], DATATYPES["BYTES"], output["shape"], "y") == raw


def test_bytes_that_are_no_text_must_be_asked_for_as_binary() -> None:
    response = infer_response(("Y", "BYTES", join_bytes([b"\xff"]), [1]))
    with pytest.raises(InvalidArgumentError, match="output 'Y' holds bytes that are no UTF-8"):
        write_response(response, OutputForm())
    body, size = write_response(response, OutputForm(default=True))
    assert body[size:] == join_bytes([b"\xff"])


def test_a_response_says_whose_it_is() -> None:
    body, _ = write_response(infer_response(("Y", "FP32", np.zeros(1, "<f4"), [1]), id="abc"), OutputForm())
    document = json.loads(body)
    assert (document["model_name"], document["model_version"], document["id"]) == ("m", "1", "abc")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "shape",
                    "datatype",
                    "data",
                    "parameters",
                    "binary_data_size",
                    "binary_data",
                    "inputs",
                    "outputs",
                    "id",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["INPUT0", "\ud800"]) | json_values,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
        "datatype": st.sampled_from(sorted(DATATYPES)) | json_values,
    },
    optional={"data": json_values, "parameters": json_values},
)


@given(
    st.fixed_dictionaries(
        {"inputs": st.lists(tensors, max_size=2) | json_values},
        optional={"outputs": json_values, "parameters": json_values, "id": json_values},
    ),
    st.binary(max_size=8),
    st.none() | st.integers(-2, 300).map(str),
)
def test_no_body_breaks_the_reader(document: Any, tail: bytes, length: str | None) -> None:
    with contextlib.suppress(PenstockError):
        read_request(json.dumps(document).encode() + tail, length, served())


@given(st.binary(max_size=40), st.none() | st.text(max_size=3))
def test_no_garbage_breaks_the_reader(body: bytes, length: str | None) -> None:
    with contextlib.suppress(PenstockError):
        read_request(body, length, served())


def test_compressed_bodies() -> None:
    assert decompressed(b"abc", "", 3) == b"abc"
    assert decompressed(gzip.compress(b"abc"), "gzip", 3) == b"abc"
    assert decompressed(zlib.compress(b"abc"), "deflate", 3) == b"abc"


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"abc", "br", "got Content-Encoding 'br', expected gzip, deflate or none"),
        (b"abc", "gzip", "the body is no gzip data"),
        (gzip.compress(b"abc", mtime=0)[:-5], "gzip", "the body is no whole gzip data"),
        (zlib.compress(b"abc") + b"x", "deflate", "the body is no whole deflate data"),
    ],
)
def test_bodies_that_do_not_decompress(body: bytes, encoding: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        decompressed(body, encoding, 100)


def test_a_small_body_that_unpacks_to_a_large_one_is_refused() -> None:
    with pytest.raises(ResourceExhaustedError, match="more than 1000 bytes"):
        decompressed(gzip.compress(bytes(10_000_000)), "gzip", 1_000)


PROMPT = served(spec("prompt", "BYTES", -1, 1), spec("bias", "FP32", 2))


def test_generate_takes_inputs_by_name_and_the_rest_as_parameters() -> None:
    body = {"prompt": "é", "bias": [1, 2.5], "id": "a", "parameters": {"stop": "."}, "temperature": 0.5, "n": 3}
    request = read_generate(json.dumps(body).encode(), PROMPT)
    assert [(one.name, one.datatype, list(one.shape)) for one in request.inputs] == [
        ("prompt", "BYTES", [1, 1]),
        ("bias", "FP32", [2]),
    ]
    assert list(request.raw_input_contents) == [join_bytes(["é".encode()]), np.array([1, 2.5], "<f4").tobytes()]
    assert request.id == "a"
    assert request.parameters["stop"].string_param == "."
    assert (request.parameters["temperature"].double_param, request.parameters["n"].int64_param) == (0.5, 3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "no JSON"),
        (b"3", "no object"),
        (b'{"parameters": 3}', "no object"),
        (b'{"id": 3}', "'id' of the request is 3, expected a string"),
        (b'{"bias": ["x", "y"]}', "no FP32"),
        (b'{"bias": [[1, 2], [3]]}', "ragged"),
        (b'{"prompt": [["a"], 3]}', "expected strings"),
        (b'{"temperature": [1]}', "expected a boolean, number or string"),
    ],
)
def test_what_generate_cant_read_is_named(body: bytes, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        read_generate(body, PROMPT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["prompt", "bias", "id", "parameters"]), inner),
    )
)
def test_whatever_generate_is_given_is_read_or_refused(document: Any) -> None:
    with contextlib.suppress(PenstockError):
        read_generate(json.dumps(document).encode(), PROMPT)


def test_an_event_has_outputs_by_name() -> None:
    response = infer_response(
        ("one", "INT64", np.array([3]), [1]), ("two", "FP32", np.array([1, 2], "<f4"), [2]), id="a"
    )
    event = write_event(response)
    assert event.endswith(b"\n\n")
    expected = {"model_name": "m", "model_version": "1", "id": "a", "one": 3, "two": [1.0, 2.0]}
    assert json.loads(event.removeprefix(b"data: ")) == expected
