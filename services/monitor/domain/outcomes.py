"""Whose fault a request's end was."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Outcome(IntEnum):
    OK = 0
    CLIENT_ERROR = 1
    SERVER_ERROR = 2

    @property
    def label(self) -> str:
        return self.name.lower()


CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""``google.rpc.Code`` by number."""

_CLIENT_ERRORS = frozenset({
    "CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "FAILED_PRECONDITION",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "UNAUTHENTICATED",
})  # fmt: skip


class ErrorKind(IntEnum):
    """Server errors by what is behind them."""

    FAILURE = 0
    REFUSAL = 1
    LATENESS = 2

    @property
    def label(self) -> str:
        return ("the model or the service failed", "there was no room or nobody to serve", "it took too long")[self]


_KINDS = {"RESOURCE_EXHAUSTED": ErrorKind.REFUSAL, "UNAVAILABLE": ErrorKind.REFUSAL,
          "DEADLINE_EXCEEDED": ErrorKind.LATENESS}  # fmt: skip

KIND_OF_CODE: NDArray[np.int64] = np.array([_KINDS.get(name, ErrorKind.FAILURE) for name in CODES])
"""Kind by code number, of codes that are the server's fault."""

OUTCOME_OF_CODE: NDArray[np.uint8] = np.full(256, Outcome.SERVER_ERROR, dtype=np.uint8)
"""Outcome by code number, for whole arrays at once; a number without a name is the server's fault."""
for _number, _name in enumerate(CODES):
    if _name == "OK":
        OUTCOME_OF_CODE[_number] = Outcome.OK
    elif _name in _CLIENT_ERRORS:
        OUTCOME_OF_CODE[_number] = Outcome.CLIENT_ERROR


def outcome_of(*, rpc_status: str, error_type: str, http_status: int) -> Outcome:
    """Outcome of a request by its SERVER span's attributes ("" and 0 where absent).

    The gRPC code says it; else the error's reason where that is a code's name (over REST several codes share 400);
    else the class of the HTTP status.
    """
    for name in (rpc_status, error_type):
        if name in CODES:
            return Outcome(int(OUTCOME_OF_CODE[CODES.index(name)]))
    if http_status:
        return Outcome.OK if http_status < 400 else Outcome.CLIENT_ERROR if http_status < 500 else Outcome.SERVER_ERROR
    return Outcome.SERVER_ERROR if rpc_status or error_type else Outcome.OK
