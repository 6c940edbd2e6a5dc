"""Requests to arrays, arrays to responses: nothing is mixed up, and bad input gets a message."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import DATATYPES, join_bytes
from services.common.errors import InternalError, InvalidArgumentError
from services.inference.backends import Arrays
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.decoder import Decoder
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import execute
from services.inference.model_process.tensors import join

WIDTH = 3


def signature_of(datatype: str, **changes: Any) -> Signature:
    inputs, outputs = [(TensorSpec(name, datatype, (-1, WIDTH)),) for name in ("X", "Y")]
    return Signature(inputs, outputs, **{"is_batchable": True, **changes})


def decoder_for(datatype: str, **changes: Any) -> Decoder:
    return Decoder(model="m", signature=signature_of(datatype, **changes))


def encoder_for(datatype: str) -> Encoder:
    return Encoder(model="m", version="7", signature=signature_of(datatype))


class Identity:
    signature: Any = None
    device = "cpu"

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return {"Y": inputs["X"]}


def array_of(datatype: str, rows: int, seed: int) -> np.ndarray:
    kind, random = DATATYPES[datatype], np.random.default_rng(seed)
    if datatype == "BYTES":
        cells = np.empty((rows, WIDTH), dtype=object)
        cells[:] = [[random.bytes(int(random.integers(0, 5))) for _ in range(WIDTH)] for _ in range(rows)]
        return cells
    if datatype == "BOOL":
        return random.integers(0, 2, (rows, WIDTH)).astype(bool)
    return np.frombuffer(random.bytes(rows * WIDTH * kind.itemsize), kind.dtype).reshape(rows, WIDTH)


def raw_of(array: np.ndarray) -> bytes:
    return join_bytes(array.ravel().tolist()) if array.dtype == object else array.tobytes()


def request_of(array: np.ndarray, datatype: str, request_id: str = "") -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(id=request_id)
    request.inputs.add(name="X", datatype=datatype, shape=array.shape)
    request.raw_input_contents.append(raw_of(array))
    return request


@given(st.sampled_from(list(DATATYPES)), st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 99))
def test_a_batch_gives_each_request_its_own_bytes_back(datatype: str, sizes: list[int], seed: int) -> None:
    decoder = decoder_for(datatype)
    arrays = [array_of(datatype, rows, seed + n) for n, rows in enumerate(sizes)]
    batch = [decoder.decode(request_of(array, datatype, str(n)).SerializeToString()) for n, array in enumerate(arrays)]
    assert len({one.bucket for one in batch}) == 1

    execution = execute(Identity(), encoder_for(datatype), batch, is_batchable=True)

    for n, (outcome, array) in enumerate(zip(execution.outcomes, arrays, strict=True)):
        response = pb.ModelInferResponse.FromString(outcome.response)
        assert (response.id, response.model_version, response.outputs[0].datatype) == (str(n), "7", datatype)
        assert tuple(response.outputs[0].shape) == array.shape
        assert response.raw_output_contents[0] == raw_of(array)


@given(st.sampled_from([name for name, kind in DATATYPES.items() if kind.contents_field]), st.integers(0, 99))
def test_typed_contents_are_read_like_raw_ones(datatype: str, seed: int) -> None:
    array = np.nan_to_num(array_of(datatype, 2, seed)) if datatype.startswith("FP") else array_of(datatype, 2, seed)
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="X", datatype=datatype, shape=array.shape)
    getattr(tensor.contents, DATATYPES[datatype].contents_field or "").extend(array.ravel().tolist())

    decoded = decoder_for(datatype).decode(request.SerializeToString())

    np.testing.assert_array_equal(decoded.inputs["X"], array)
    assert decoded.rows == 2


@given(
    st.lists(st.sampled_from(list(DATATYPES)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(1, 3), st.text(max_size=200), st.booleans()), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_responses_are_what_protobuf_would_write(
    datatypes: list[str], requests: list[tuple[int, str, bool]], seed: int
) -> None:
    names = [f"Y{n}" for n in range(len(datatypes))]
    outs = tuple(TensorSpec(name, kind, (-1, WIDTH)) for name, kind in zip(names, datatypes, strict=True))
    signature = Signature((TensorSpec("X", "INT8", (-1, WIDTH)),), outs, is_batchable=True)
    decoder, encoder = Decoder(model="m", signature=signature), Encoder(model="m", version="7", signature=signature)
    total = sum(rows for rows, _, _ in requests)
    arrays = {name: array_of(kind, total, seed) for name, kind in zip(names, datatypes, strict=True)}
    outputs = encoder.prepare(arrays)
    first = 0
    for rows, request_id, is_last_only in requests:
        request = request_of(np.zeros((rows, WIDTH), np.int8), "INT8", request_id)
        wanted = names[-1:] if is_last_only else names
        if is_last_only:
            request.outputs.add(name=names[-1])
        tensors = decoder.decode(request.SerializeToString())
        response = pb.ModelInferResponse.FromString(encoder.encode(tensors, outputs, first))
        expected = pb.ModelInferResponse(model_name="m", model_version="7", id=request_id)
        for name in wanted:
            array = arrays[name][first : first + rows]
            expected.outputs.add(name=name, datatype=datatypes[names.index(name)], shape=array.shape)
            expected.raw_output_contents.append(raw_of(array))
        assert response == expected
        first += rows


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=2, max_size=4), st.integers(0, 99))
def test_inputs_in_any_order_and_form_are_joined_in_the_order_of_requests(
    requests: list[tuple[int, bool]], seed: int
) -> None:
    specs = (TensorSpec("a", "FP32", (-1, WIDTH)), TensorSpec("b", "INT8", (-1, WIDTH)))
    decoder = Decoder(model="m", signature=Signature(specs, (), is_batchable=True))
    decoded, expected = [], []
    for number, (rows, is_swapped) in enumerate(requests):
        arrays = {spec.name: array_of(spec.datatype, rows, seed + number) for spec in specs}
        request = pb.ModelInferRequest()
        for spec in reversed(specs) if is_swapped else specs:
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=(rows, WIDTH))
            request.raw_input_contents.append(arrays[spec.name].tobytes())
        decoder.decode(request.SerializeToString())  # what is known of the form must say the same
        decoded.append(decoder.decode(request.SerializeToString()))
        expected.append(arrays)
    joined = join(decoded)
    for name in ("a", "b"):
        assert joined[name].tobytes() == b"".join(arrays[name].tobytes() for arrays in expected)
        assert joined[name].shape == (sum(rows for rows, _ in requests), WIDTH)


def test_raw_and_typed_requests_share_a_batch() -> None:
    decoder, array = decoder_for("FP32"), np.arange(WIDTH, dtype=np.float32).reshape(1, WIDTH)
    typed = pb.ModelInferRequest()
    typed.inputs.add(name="X", datatype="FP32", shape=(1, WIDTH)).contents.fp32_contents.extend(array.ravel().tolist())
    batch = [decoder.decode(one.SerializeToString()) for one in (request_of(array, "FP32"), typed)]
    assert batch[0].bucket == batch[1].bucket
    np.testing.assert_array_equal(join(batch)["X"], np.concatenate([array, array]))


def test_only_the_outputs_asked_for_are_sent_in_their_order() -> None:
    specs = tuple(TensorSpec(name, "FP32", (-1,)) for name in ("a", "b", "c"))
    signature = Signature((specs[0],), specs, is_batchable=True)
    encoder = Encoder(model="m", version="1", signature=signature)
    request = pb.ModelInferRequest()
    request.inputs.add(name="a", datatype="FP32", shape=[1])
    request.raw_input_contents.append(bytes(4))
    request.outputs.add(name="c")
    request.outputs.add(name="a")
    tensors = Decoder(model="m", signature=signature).decode(request.SerializeToString())
    outputs = {name: np.full(1, n, np.float32) for n, name in enumerate("abc")}

    response = pb.ModelInferResponse.FromString(encoder.encode(tensors, encoder.prepare(outputs), 0))

    assert [one.name for one in response.outputs] == ["c", "a"]
    assert [np.frombuffer(raw, "<f4")[0] for raw in response.raw_output_contents] == [2.0, 0.0]


def bad_requests() -> dict[str, pb.ModelInferRequest]:
    def change(**changes: Any) -> pb.ModelInferRequest:
        request = request_of(np.zeros((2, WIDTH), np.float32), "FP32")
        for name, value in changes.items():
            if name == "shape":
                request.inputs[0].shape[:] = value
            elif name == "raw":
                request.raw_input_contents[:] = value
            elif name == "output":
                request.outputs.add(name=value)
            else:
                setattr(request.inputs[0], name, value)
        return request

    twice = change()
    twice.inputs.add().CopyFrom(twice.inputs[0])
    twice.raw_input_contents.append(twice.raw_input_contents[0])
    mixed = change()
    mixed.inputs[0].contents.fp32_contents.append(1)
    return {
        r"got input 'Z', expected each of \['X'\] once": change(name="Z"),
        r"got input 'X', expected each of \['X'\] once": twice,
        "missing inputs": pb.ModelInferRequest(),
        "got datatype INT8 for input 'X', expected FP32": change(datatype="INT8"),
        r"got 24 bytes for input 'X', expected 12 for FP32 \[1, 3\]": change(shape=[1, WIDTH]),
        r"got shape \[3, 2\] for input 'X', expected \[-1, 3\]": change(shape=[3, 2]),
        r"got shape \[-2, -3\]": change(shape=[-2, -WIDTH]),
        "batch size above 0": change(shape=[0, WIDTH], raw=[b""]),
        "got 2 raw_input_contents for 1 inputs": change(raw=[b"", b""]),
        "got raw and typed contents": mixed,
        "got 0 elements for input 'X', expected 6": change(raw=[]),
        "got output 'Q'": change(output="Q"),
    }


@pytest.mark.parametrize("message", bad_requests())
def test_what_does_not_fit_is_refused_with_got_and_expected(message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        decoder_for("FP32").decode(bad_requests()[message].SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(InvalidArgumentError):
        decoder_for("BYTES").decode(content)


@pytest.mark.parametrize("shape", [[1, 0, 2**62], [1, 0, *[1] * 70]])
def test_an_empty_tensor_that_numpy_cannot_hold_is_refused(shape: list[int]) -> None:
    spec = TensorSpec("X", "FP32", (-1,) * len(shape))
    request = pb.ModelInferRequest(raw_input_contents=[b""])
    request.inputs.add(name="X", datatype="FP32", shape=shape)
    with pytest.raises(InvalidArgumentError, match="got shape"):
        Decoder(model="m", signature=Signature((spec,), (), is_batchable=True)).decode(request.SerializeToString())


def test_more_rows_than_the_file_allows_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="got a batch of 5 rows, model 'm' takes at most 4"):
        decoder_for("FP32", max_batch_size=4).decode(
            request_of(np.zeros((5, WIDTH), np.float32), "FP32").SerializeToString()
        )


def test_a_typed_value_out_of_range_is_refused() -> None:
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="X", datatype="INT8", shape=[1, WIDTH])
    tensor.contents.int_contents.extend([1, 300, 2])
    with pytest.raises(InvalidArgumentError, match="outside INT8"):
        decoder_for("INT8").decode(request.SerializeToString())


@pytest.mark.parametrize("outputs", [{}, {"Y": np.zeros((1, WIDTH), np.float64)}])
def test_outputs_that_break_the_signature_are_our_error(outputs: Arrays) -> None:
    encoder = encoder_for("FP32")
    tensors = decoder_for("FP32").decode(request_of(np.zeros((1, WIDTH), np.float32), "FP32").SerializeToString())
    with pytest.raises(InternalError, match="for output 'Y', expected FP32"):
        encoder.encode(tensors, encoder.prepare(outputs), 0)


def test_a_model_that_is_not_batchable_takes_a_request_as_it_is() -> None:
    decoder = decoder_for("FP32", is_batchable=False)
    tensors = decoder.decode(request_of(np.zeros((4, WIDTH), np.float32), "FP32").SerializeToString())
    assert (tensors.rows, tensors.bucket) == (1, None)
