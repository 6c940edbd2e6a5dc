"""Models that another server runs, by the Open Inference Protocol: Triton, KServe, MLServer, Penstock.

The version is one small TOML file: requests get a place in the queue here, batches are formed here, and go there.

.. code-block:: toml

    address = "triton.example:8001"  # its gRPC API
    model = "resnet"
    version = "3"    # may be left out
    timeout_s = 30   # for one batch
    tls = true       # with the system's authorities; may be left out
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from services.common.datatypes import DATATYPES, datatype, join_bytes, split_bytes
from services.common.errors import DeadlineExceededError, InvalidArgumentError, UnavailableError
from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import ElsewhereError, LoadError, RunError
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension

_LARGEST_FILE = 16 * 1024
_LOAD_TIMEOUT_S = 10.0
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),  # a server that is back is used soon
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_REASON = "REMOTE_SERVER"
_OF_INPUT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE}
_OF_SERVER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_ADDRESS = re.compile(r"\b(?:ipv4|ipv6|unix|dns):\S+?(?=:?(?:\s|$))")

_KINDS = {"address": str, "model": str, "version": str, "timeout_s": int | float, "tls": bool}


@dataclass(frozen=True, slots=True)
class Target:
    """Where the model is."""

    address: str
    model: str
    version: str = ""
    timeout_s: float = 30.0
    tls: bool = False

    def __post_init__(self) -> None:
        """Raises: LoadError: a field is none of its kind."""
        for name, kind in _KINDS.items():
            if not isinstance(value := getattr(self, name), kind):
                raise LoadError(f"got {name} = {value!r}, expected {getattr(kind, '__name__', kind)}")
        if not (self.address and self.model and self.timeout_s > 0):
            raise LoadError("expected an address, a model, and a timeout_s of more than 0")


class Remote(Backend):
    format = "remote"
    library = "tritonclient"
    is_elsewhere = True

    def recognises(self, files: ModelFiles) -> bool:
        return {"address", "model"} <= _fields(files).keys()

    def danger(self, _files: ModelFiles) -> str:
        return "sends what callers send to another server"

    def load(
        self, files: ModelFiles, _manifest: Manifest, _placement: Placement, _options: Mapping[str, str]
    ) -> RemoteModel:
        fields = _fields(files)
        if strangers := fields.keys() - _KINDS.keys():
            raise LoadError(f"got {min(strangers)!r}, expected one of {', '.join(_KINDS)}")
        return RemoteModel(Target(**fields))


def _fields(files: ModelFiles) -> dict[str, Any]:
    if not files.only or files.size_bytes > _LARGEST_FILE:
        return {}
    try:
        return tomllib.loads(files.path(files.only).read_text())
    except ValueError:
        return {}


class RemoteModel:
    """A model of another server."""

    device = "remote"

    def __init__(self, target: Target) -> None:
        self._target = target
        credentials = grpc.ssl_channel_credentials() if target.tls else None
        self._channel = (
            grpc.secure_channel(target.address, credentials, options=_CHANNEL_OPTIONS)
            if credentials
            else grpc.insecure_channel(target.address, options=_CHANNEL_OPTIONS)
        )
        self._stub = GRPCInferenceServiceStub(self._channel)
        name = {"name": target.model, "version": target.version}
        try:
            metadata = self._stub.ModelMetadata(
                pb.ModelMetadataRequest(**name), timeout=_LOAD_TIMEOUT_S, wait_for_ready=True
            )
            largest = self._largest_batch(pb.ModelConfigRequest(**name))
        except grpc.RpcError as error:
            raise LoadError(f"{target.address} doesn't tell of {target.model!r}: {_said(error)}") from error
        inputs, outputs = _specs(metadata.inputs), _specs(metadata.outputs)
        is_batchable = largest != 0 and has_free_first_dimension((*inputs, *outputs))
        self.signature = Signature(inputs, outputs, is_batchable, max(0, largest) if is_batchable else 0)

    def _largest_batch(self, request: pb.ModelConfigRequest) -> int:
        """As the server's configuration says: 0 for none, -1 where it doesn't."""
        try:
            return int(self._stub.ModelConfig(request, timeout=_LOAD_TIMEOUT_S).config.max_batch_size)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # not every server has it
                return -1
            raise

    def run(self, inputs: Arrays) -> dict[str, Array]:
        request = pb.ModelInferRequest(model_name=self._target.model, model_version=self._target.version)
        for spec in self.signature.inputs:
            array = inputs[spec.name]
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
            request.raw_input_contents.append(_raw(array, spec.datatype))
        try:
            response = self._stub.ModelInfer(request, timeout=self._target.timeout_s)
        except grpc.RpcError as error:
            raise _failure(error, self._target.address) from error
        found = dict(zip([one.name for one in response.outputs], response.outputs, strict=True))
        contents = dict(zip(found, response.raw_output_contents, strict=False))
        outputs = {}
        for spec in self.signature.outputs:
            if spec.name not in found or spec.name not in contents:
                raise RunError(f"the model's server gave no output {spec.name!r}")
            outputs[spec.name] = _array(contents[spec.name], found[spec.name])
        return outputs


def _specs(tensors: Any) -> tuple[TensorSpec, ...]:
    for one in tensors:
        if one.datatype not in DATATYPES:
            raise LoadError(f"{one.name!r} is of the datatype {one.datatype}, expected one of {', '.join(DATATYPES)}")
    return tuple(TensorSpec(one.name, one.datatype, tuple(one.shape)) for one in tensors)


def _raw(array: Array, kind: str) -> bytes:
    return join_bytes(list(array.ravel())) if kind == "BYTES" else np.ascontiguousarray(array).tobytes()


def _array(raw: bytes, tensor: Any) -> Array:
    kind = datatype(tensor.datatype)
    if kind.name != "BYTES":
        return np.frombuffer(raw, kind.dtype).reshape(tensor.shape)
    elements = np.empty(len(parts := split_bytes(raw)), dtype=object)
    elements[:] = parts
    return elements.reshape(tensor.shape)


def _failure(error: grpc.RpcError, address: str) -> RunError:
    """What callers are told, without addresses."""
    code, said = error.code(), _ADDRESS.sub("…", _said(error)).replace(address, "…")
    said = f"the model's server: {said}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ElsewhereError(DeadlineExceededError(said, reason=_REASON))
    if code in _OF_SERVER:
        return ElsewhereError(UnavailableError(said, reason=_REASON))
    if code in _OF_INPUT:
        return ElsewhereError(InvalidArgumentError(said, reason=_REASON), is_of_input=True)
    return RunError(said)


def _said(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"


BACKEND = Remote()
