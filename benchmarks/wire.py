"""The ways in which servers are asked: gRPC and REST of the v2 protocol, and what else a peer speaks."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tritonclient.grpc import service_pb2 as oip

from benchmarks.load import Call
from benchmarks.workloads import Rows, Workload


class Api(Protocol):
    """How a server is asked for one workload."""

    @property
    def is_size_fixed(self) -> bool:
        """Whether all replies to one request are equally long: so unless numbers are written as text."""
        ...

    def call(self, rows: Rows) -> Call:
        """A request for these rows."""
        ...

    def read(self, reply: bytes) -> Rows:
        """The values of a reply, in one dimension."""
        ...


@dataclass(frozen=True, slots=True)
class GrpcV2:
    """``ModelInfer`` with raw contents, as ``tritonclient`` sends it."""

    address: str
    workload: Workload
    is_size_fixed: bool = True

    def call(self, rows: Rows) -> Call:
        message = oip.ModelInferRequest(model_name=self.workload.name, raw_input_contents=[rows.tobytes()])
        message.inputs.add(name=self.workload.input_name, datatype="FP32", shape=rows.shape)
        return Call(self.address, "/inference.GRPCInferenceService/ModelInfer", message.SerializeToString())

    def read(self, reply: bytes) -> Rows:
        message = oip.ModelInferResponse.FromString(reply)
        if message.raw_output_contents:
            return np.frombuffer(message.raw_output_contents[0], np.float32)
        return np.array(message.outputs[0].contents.fp32_contents, np.float32)


@dataclass(frozen=True, slots=True)
class RestV2:
    """``POST /v2/models/…/infer`` with numbers as JSON, or with the binary tensor extension both ways."""

    address: str
    workload: Workload
    is_binary: bool

    @property
    def is_size_fixed(self) -> bool:
        return self.is_binary

    def call(self, rows: Rows) -> Call:
        tensor: dict[str, Any] = {"name": self.workload.input_name, "datatype": "FP32", "shape": list(rows.shape)}
        path = f"/v2/models/{self.workload.name}/infer"
        if not self.is_binary:
            tensor["data"] = rows.ravel().tolist()
            body = json.dumps({"inputs": [tensor]}).encode()
            return Call(self.address, path, body, is_grpc=False, headers=(("content-type", "application/json"),))
        tensor["parameters"] = {"binary_data_size": rows.nbytes}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        headers = (("content-type", "application/octet-stream"), ("inference-header-content-length", str(len(head))))
        return Call(self.address, path, head + rows.tobytes(), is_grpc=False, headers=headers)

    def read(self, reply: bytes) -> Rows:
        if not self.is_binary:
            return np.array(json.loads(reply)["outputs"][0]["data"], np.float32).ravel()
        size = json.JSONDecoder().raw_decode(reply.decode("latin-1"))[1]
        return np.frombuffer(reply[size:], np.float32)


@dataclass(frozen=True, slots=True)
class RawBytes:
    """A POST of a row's bytes, answered with bytes: for servers whose REST API is what their user makes it."""

    address: str
    path: str
    is_size_fixed: bool = True

    def call(self, rows: Rows) -> Call:
        headers = (("content-type", "application/octet-stream"),)
        return Call(self.address, self.path, rows.tobytes(), is_grpc=False, headers=headers)

    def read(self, reply: bytes) -> Rows:
        return np.frombuffer(reply, np.float32)


@dataclass(frozen=True, slots=True)
class Base64Json:
    """A POST of ``{"data": …}`` with a row's bytes in base64, answered alike: for servers that take JSON only.

    With ``is_list`` the data are a list of rows, and so is the answer.
    """

    address: str
    path: str
    is_list: bool = False
    is_size_fixed: bool = True

    def call(self, rows: Rows) -> Call:
        text = base64.b64encode(rows.tobytes()).decode()
        body = json.dumps({"data": [text] if self.is_list else text}).encode()
        return Call(self.address, self.path, body, is_grpc=False, headers=(("content-type", "application/json"),))

    def read(self, reply: bytes) -> Rows:
        answer = json.loads(reply)
        return np.frombuffer(base64.b64decode(answer[0] if self.is_list else answer["data"]), np.float32)


@dataclass(frozen=True, slots=True)
class TorchServeGrpc:
    """``org.pytorch.serve.grpc.inference``'s Predictions: a map of bytes in, bytes out."""

    address: str
    workload: Workload
    is_size_fixed: bool = True

    def call(self, rows: Rows) -> Call:
        entry = _field(1, b"data") + _field(2, rows.tobytes())
        body = _field(1, self.workload.name.encode()) + _field(3, entry)
        return Call(self.address, "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions", body)

    def read(self, reply: bytes) -> Rows:
        size = len(self.workload.expected(self.workload.rows(1)).tobytes())
        return np.frombuffer(reply[-size:], np.float32)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    size, varint = len(content), bytearray()
    while size > 127:
        varint.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *varint, size]) + content
