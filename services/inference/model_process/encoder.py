"""What a model gave to responses of the Open Inference Protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import datatype, join_bytes
from services.common.errors import InternalError
from services.inference.backends import Array
from services.inference.domain.signature import Signature
from services.inference.model_process.outputs import Column, Head, Heads, Layout, Outputs, layout_of
from services.inference.model_process.tensors import Tensors

Keep = Callable[[Sequence[bytes | memoryview], int], memoryview | None]
Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Of outputs, by name."""

KEPT_BYTES = 32 * 1024
"""Responses from this size on are put into shared memory."""
_MOST_KNOWN = 1_024
_MOST_BYTES = 2**31 - 2**20
"""Of a response: a protobuf message, which others wrap, has less than 2 GiB."""
_ID = pb.ModelInferResponse.ID_FIELD_NUMBER
_RAW_OUTPUT_CONTENTS = pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER


class Encoder:
    """Writes the responses of one model version; one begins like all of its shapes."""

    def __init__(
        self,
        *,
        model: str,
        version: str,
        signature: Signature,
        keep: Keep | None = None,
        is_watched: bool = True,
    ) -> None:
        """``keep`` is where large responses go; it answers None when it has no room.

        ``is_watched``: somebody is told what answers look like.
        """
        self._model = model
        self._version = version
        self._is_batchable = signature.is_batchable
        self._keep = keep
        self._outputs = {spec.name: datatype(spec.datatype) for spec in signature.outputs}
        self._is_watched = is_watched
        self._shapes: dict[Shapes, tuple[Heads, Layout | None]] = {}

    def prepare(self, outputs: Mapping[str, Array]) -> Outputs:
        """What the responses of a batch have in common."""
        skipped = 1 if self._is_batchable else 0
        columns: dict[str, Column] = {}
        for name, kind in self._outputs.items():
            array = outputs.get(name)
            if array is None or array.dtype != kind.dtype:
                continue
            shape = array.shape[skipped:]
            content = _content(array) if kind.itemsize else None
            columns[name] = Column(array, content, shape, math.prod(shape) * kind.itemsize)
        shapes = tuple([(name, column.shape) for name, column in columns.items()])
        return Outputs(outputs, columns, *(self._shapes.get(shapes) or self._learn(shapes, columns)))

    def _learn(self, shapes: Shapes, columns: Mapping[str, Column]) -> tuple[Heads, Layout | None]:
        """What all batches of such shapes have in common."""
        if len(self._shapes) >= _MOST_KNOWN:
            self._shapes.clear()
        layout = layout_of(columns, self._outputs, is_batchable=self._is_batchable) if self._is_watched else None
        known: tuple[Heads, Layout | None] = {}, layout
        self._shapes[shapes] = known
        return known

    def encode(self, tensors: Tensors, outputs: Outputs, first_row: int) -> bytes | memoryview:
        """A serialised ModelInferResponse with one request's share of the outputs, always as raw contents.

        Raises:
            InternalError: the model gave other outputs than its signature says, or more than a response can hold.
        """
        rows = tensors.form.rows
        said = (tensors.output_names, rows)
        head = outputs.heads.get(said)
        if head is None:
            head = self._head(tensors, outputs)
            if len(outputs.heads) < _MOST_KNOWN:
                outputs.heads[said] = head
        # As SerializeToString would, in another order: the id and each output's contents are fields of one message.
        parts: list[bytes | memoryview] = []
        if tensors.request_id:
            request_id = tensors.request_id.encode()
            parts = [_field(_ID, len(request_id)), request_id]
        for name, before in head:
            column = outputs.columns[name]
            if column.content is not None:
                start = first_row * column.size
                end = start + rows * column.size if self._is_batchable else None
                parts += (before, column.content[start:end])
            else:
                share = column.array[first_row : first_row + rows] if self._is_batchable else column.array
                raw = join_bytes(share.ravel().tolist())
                parts += (before, _field(_RAW_OUTPUT_CONTENTS, len(raw)), raw)
        size = sum(map(len, parts))
        if size > _MOST_BYTES:
            raise InternalError(f"the outputs take {size} bytes, a response may have {_MOST_BYTES}")
        kept = self._keep(parts, size) if size >= KEPT_BYTES and self._keep is not None else None
        return b"".join(parts) if kept is None else kept

    def _head(self, tensors: Tensors, outputs: Outputs) -> Head:
        names = tensors.output_names or tuple(self._outputs)
        response = pb.ModelInferResponse(model_name=self._model, model_version=self._version)
        head: Head = []
        for name in names:
            kind, column = self._outputs[name], outputs.columns.get(name)
            if column is None:
                array = outputs.arrays.get(name)
                got = "nothing" if array is None else f"numpy type {array.dtype}"
                raise InternalError(f"the model gave {got} for output {name!r}, expected {kind.name}")
            shape, size = column.shape, column.size
            if self._is_batchable:
                shape, size = (tensors.rows, *shape), tensors.rows * size
            response.outputs.add(name=name, datatype=kind.name, shape=shape)
            head.append((name, _field(_RAW_OUTPUT_CONTENTS, size) if column.content is not None else b""))
        if head:
            head[0] = names[0], bytes(response.SerializeToString()) + head[0][1]
        return head


def _content(array: Array) -> bytes | memoryview:
    """The bytes of an array: copied where there are few, which is faster than what a view takes."""
    return array.tobytes() if array.nbytes < KEPT_BYTES else np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@lru_cache(maxsize=1_024)
def _field(number: int, size: int) -> bytes:
    """What precedes the bytes of a field in protobuf's wire format: number and kind, length."""
    said = bytearray((number << 3 | 2,))
    while size > 127:
        said.append(size & 127 | 128)
        size >>= 7
    said.append(size)
    return bytes(said)
