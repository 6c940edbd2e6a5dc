from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferInput, service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from services.common.datatypes import DATATYPES, Datatype, datatype, join_bytes, split_bytes
from services.common.errors import InvalidArgumentError

ELEMENTS = st.lists(st.binary(max_size=40), max_size=12)


@given(ELEMENTS)
def test_bytes_survive_joining_and_splitting(elements: list[bytes]) -> None:
    raw = join_bytes(elements)

    assert split_bytes(raw) == elements
    assert split_bytes(memoryview(raw)) == elements


@given(ELEMENTS.filter(bool))
def test_bytes_are_laid_out_as_tritonclient_does(elements: list[bytes]) -> None:
    raw = join_bytes(elements)

    assert serialize_byte_tensor(np.array(elements, dtype=object)).item() == raw
    assert deserialize_bytes_tensor(raw).tolist() == elements


@given(ELEMENTS.filter(bool), st.data())
def test_a_cut_off_tensor_is_refused_or_whole_up_to_an_element(elements: list[bytes], data: st.DataObject) -> None:
    raw = join_bytes(elements)
    ends = [len(join_bytes(elements[:count])) for count in range(len(elements) + 1)]
    cut = data.draw(st.integers(0, len(raw)))

    if cut in ends:
        assert split_bytes(raw[:cut]) == elements[: ends.index(cut)]
    else:
        with pytest.raises(InvalidArgumentError, match="malformed BYTES tensor"):
            split_bytes(raw[:cut])


@given(st.binary(max_size=60))
def test_any_bytes_are_split_without_loss_or_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidArgumentError):
        assert join_bytes(split_bytes(raw)) == raw


def test_a_refusal_says_which_element_and_how_much_is_left() -> None:
    with pytest.raises(InvalidArgumentError, match="element 1 announces 9 bytes, 2 are left"):
        split_bytes(join_bytes([b"abc"]) + (9).to_bytes(4, "little") + b"xy")


@pytest.mark.parametrize("kind", DATATYPES.values(), ids=DATATYPES)
def test_a_datatype_agrees_with_tritonclient_and_the_protocol(kind: Datatype) -> None:
    if kind.name not in ("BF16", "BYTES"):
        assert kind.dtype == np.dtype(triton_to_np_dtype(kind.name))
    assert kind.itemsize == (0 if kind.name == "BYTES" else kind.dtype.itemsize)
    assert InferInput("x", [1], kind.name).datatype() == kind.name
    fields = service_pb2.InferTensorContents.DESCRIPTOR.fields_by_name
    assert kind.contents_field is None or kind.contents_field in fields
    assert kind.config_name in service_pb2.model__config__pb2.DataType.keys()  # noqa: SIM118 - not a dict


def test_datatypes_are_read_little_endian() -> None:
    assert all(kind.dtype.newbyteorder("<") == kind.dtype for kind in DATATYPES.values())


@pytest.mark.parametrize("name", ["", "fp32", "FLOAT", "TYPE_FP32", "INT128"])
def test_an_unknown_datatype_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"unknown datatype .*BOOL, UINT8.*BYTES"):
        datatype(name)
