"""Serialised ``inference.ModelStreamInferResponse``, made of serialised responses without reading them."""

from __future__ import annotations

from tritonclient.grpc import service_pb2 as pb

from services.common.errors import PenstockError
from services.common.status import code_of

FINAL = "triton_final_response"

_TAG = pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER << 3 | 2


def response_message(response: bytes | memoryview, *, is_final: bool) -> bytes:
    """A ModelInferResponse with the parameter that says whether it is the last one; the message holds a copy."""
    tail = _FINAL_TAIL if is_final else _TAIL
    return b"".join((_prefix(len(response) + len(tail)), response, tail))


def end_message(*, request_id: str, model: str, version: str) -> bytes:
    """A last response without outputs."""
    end = pb.ModelInferResponse(id=request_id, model_name=model, model_version=version)
    return response_message(end.SerializeToString(), is_final=True)


def error_message(error: PenstockError, *, request_id: str, model: str, version: str) -> bytes:
    """The end of a request that failed. Beside its text it has the error's status and reason as parameters."""
    message = pb.ModelStreamInferResponse(error_message=error.message)
    about = message.infer_response
    about.id, about.model_name, about.model_version = request_id, model, version
    about.parameters[FINAL].bool_param = True
    about.parameters["status"].string_param = code_of(error).name
    about.parameters["reason"].string_param = error.reason
    return bytes(message.SerializeToString())


def _tail(*, is_final: bool) -> bytes:
    """What makes a serialised ModelInferResponse one with this parameter, when it is put at its end."""
    response = pb.ModelInferResponse()
    response.parameters[FINAL].bool_param = is_final
    return bytes(response.SerializeToString())


_TAIL, _FINAL_TAIL = _tail(is_final=False), _tail(is_final=True)


def _prefix(size: int) -> bytes:
    """The field's number and kind, and the length of its content, as protobuf's wire format has them."""
    said = bytearray((_TAG,))
    while size > 127:
        said.append(size & 127 | 128)
        size >>= 7
    said.append(size)
    return bytes(said)
