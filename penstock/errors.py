"""What can go wrong for a caller of Penstock.

PenstockError
├── ConnectionFailedError       nothing answers at an address
├── ModelRejectedError          validation refused the version; the message says why
├── ModelFailedError            the version is deployed, but its processes don't come up
├── WaitTimeoutError            what was waited for did not happen in time
└── ApiError                    a service answered with an error: `code`, `reason`, `metadata`
    ├── InvalidArgumentError
    │   └── OutOfRangeError
    ├── NotFoundError
    ├── AlreadyExistsError
    ├── FailedPreconditionError
    ├── AbortedError            someone else was faster: read again, then repeat
    ├── UnavailableError        repeating the call may work
    ├── ResourceExhaustedError
    ├── DeadlineExceededError
    ├── CancelledError
    ├── DataLossError
    ├── UnauthenticatedError
    ├── PermissionDeniedError
    ├── UnimplementedError
    └── InternalError           the service's fault (also for codes that it should not have sent)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2


class PenstockError(Exception):
    """Base of all errors that the client raises by itself."""


class ConnectionFailedError(PenstockError):
    """Nothing answers at ``address``, where ``part`` (for example "registry") should."""

    def __init__(self, part: str, address: str, why: str = "") -> None:
        super().__init__(f"the {part} does not answer at {address}" + (f": {why}" if why else ""))
        self.part = part
        self.address = address
        self.why = why
        """What stands in the way, where that is known."""


class ModelRejectedError(PenstockError):
    """Validation refused a version."""


class ModelFailedError(PenstockError):
    """A deployed version does not come up."""


class WaitTimeoutError(PenstockError):
    """What was waited for did not happen in time."""


class ApiError(PenstockError):
    """A service answered with an error.

    ``reason`` and ``metadata`` are those of ``google.rpc.ErrorInfo``, for programs; empty where the service sent none.
    """

    def __init__(
        self, message: str, *, code: grpc.StatusCode, reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})


class InvalidArgumentError(ApiError): ...


class OutOfRangeError(InvalidArgumentError): ...


class NotFoundError(ApiError): ...


class AlreadyExistsError(ApiError): ...


class FailedPreconditionError(ApiError): ...


class AbortedError(ApiError): ...


class UnavailableError(ApiError): ...


class ResourceExhaustedError(ApiError): ...


class DeadlineExceededError(ApiError): ...


class CancelledError(ApiError): ...


class DataLossError(ApiError): ...


class UnauthenticatedError(ApiError): ...


class PermissionDeniedError(ApiError): ...


class UnimplementedError(ApiError): ...


class InternalError(ApiError): ...


BY_CODE: dict[grpc.StatusCode, type[ApiError]] = {
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRangeError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: DataLossError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
}
"""Every status but OK."""

# gRPC's own words for a connection that could not be made or broke; a service that refuses has words of its own.
_CONNECTION_WORDS = (
    "failed to connect",
    "socket closed",
    "connection reset",
    "dns resolution",
    "errors resolving",
    "goaway",
    "recvmsg",
)


_TLS_WORDS = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is of no authority that is trusted here (PENSTOCK_GATEWAY_CA)"),
    ("Hostname Verification", "its certificate is for another name than its address (PENSTOCK_GATEWAY_SERVER_NAME)"),
    ("WRONG_VERSION_NUMBER", "it doesn't speak TLS (PENSTOCK_GATEWAY_CA)"),
)


def from_status(
    code: grpc.StatusCode, message: str, *, part: str, address: str, info: error_details_pb2.ErrorInfo | None = None
) -> PenstockError:
    """The error that a status from ``part`` at ``address`` stands for."""
    is_ours = info is not None or code is not grpc.StatusCode.UNAVAILABLE
    if not is_ours and any(words in message.lower() for words in _CONNECTION_WORDS):
        return ConnectionFailedError(part, address, next((why for word, why in _TLS_WORDS if word in message), ""))
    info = info or error_details_pb2.ErrorInfo()
    return BY_CODE[code](message, code=code, reason=info.reason, metadata=dict(info.metadata))


def from_call(error: grpc.RpcError, *, part: str, address: str) -> PenstockError:
    """The error that a failed call to ``part`` at ``address`` stands for."""
    trailers: Any = error.trailing_metadata() or ()
    details = [value for key, value in trailers if key == "grpc-status-details-bin"]
    info = _error_info(details[0]) if details else None
    return from_status(error.code(), error.details() or "no message", part=part, address=address, info=info)


def _error_info(raw: bytes) -> error_details_pb2.ErrorInfo | None:
    info = error_details_pb2.ErrorInfo()
    try:
        is_found = any(detail.Unpack(info) for detail in status_pb2.Status.FromString(raw).details)
    except DecodeError:
        return None
    return info if is_found else None
