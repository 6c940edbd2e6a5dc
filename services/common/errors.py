"""The errors that any part of Penstock may raise; ``boundary.py`` and ``status.py`` turn them into statuses.

PenstockError
├── InvalidArgumentError     the request itself is wrong, whatever the state
│   └── OutOfRangeError      past the end of what is kept
├── NotFoundError
├── AlreadyExistsError
├── FailedPreconditionError  someone must change state first
├── AbortedError             someone else was faster: redo the larger step
├── UnavailableError         repeating the call may work
├── ResourceExhaustedError   a disk or a limit is full
├── DeadlineExceededError
├── CancelledByCallerError
├── DataLossError            bytes are not what was announced
├── UnimplementedError
└── InternalError            our fault
"""

from __future__ import annotations

MAX_MESSAGE_BYTES = 1_800
"""Longer messages are cut: a status travels in headers, and gRPC replaces one that exceeds their limit by another."""


class PenstockError(Exception):
    """Base of all errors that carry a meaning for the caller.

    The message says what was got and what was expected, for people. ``reason`` is for programs
    (``google.rpc.ErrorInfo.reason``): upper snake case, stable over releases.
    """

    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None, **metadata: str) -> None:
        self.message = _cut(message)
        super().__init__(self.message)
        self.metadata = metadata
        if reason is not None:
            self.reason = reason


class InvalidArgumentError(PenstockError):
    reason = "INVALID_ARGUMENT"


class OutOfRangeError(InvalidArgumentError):
    reason = "OUT_OF_RANGE"


class NotFoundError(PenstockError):
    reason = "NOT_FOUND"


class AlreadyExistsError(PenstockError):
    reason = "ALREADY_EXISTS"


class FailedPreconditionError(PenstockError):
    reason = "FAILED_PRECONDITION"


class AbortedError(PenstockError):
    reason = "ABORTED"


class UnavailableError(PenstockError):
    """``retry_after_s`` says from when on repeating is worth while, where that is known."""

    reason = "UNAVAILABLE"

    def __init__(
        self, message: str, *, reason: str | None = None, retry_after_s: int | None = None, **metadata: str
    ) -> None:
        super().__init__(message, reason=reason, **metadata)
        self.retry_after_s = retry_after_s


class ResourceExhaustedError(PenstockError):
    """``retry_after_s`` says from when on there may be room again; None: repeating the same is of no use."""

    reason = "RESOURCE_EXHAUSTED"

    def __init__(
        self, message: str, *, reason: str | None = None, retry_after_s: int | None = None, **metadata: str
    ) -> None:
        super().__init__(message, reason=reason, **metadata)
        self.retry_after_s = retry_after_s


class DeadlineExceededError(PenstockError):
    reason = "DEADLINE_EXCEEDED"


class CancelledByCallerError(PenstockError):
    reason = "CANCELLED"


class DataLossError(PenstockError):
    reason = "DATA_LOSS"


class UnimplementedError(PenstockError):
    reason = "UNIMPLEMENTED"


class InternalError(PenstockError):
    reason = "INTERNAL"


def _cut(message: str) -> str:
    raw = message.encode(errors="replace")
    if len(raw) <= MAX_MESSAGE_BYTES:
        return message
    return raw[: MAX_MESSAGE_BYTES - 3].decode(errors="ignore") + "…"
