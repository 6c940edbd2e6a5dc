"""Where errors become gRPC statuses: the only place that aborts a call."""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common.errors import PenstockError, ResourceExhaustedError, UnavailableError
from services.common.status import code_of

_log = logging.getLogger(__name__)

ERROR_DOMAIN = "penstock.dev"
RETRY_AFTER = "retry-after"
"""Trailing metadata, and the header of HTTP, that says when to come again, in whole seconds."""

Servicer = TypeVar("Servicer")


def translated(servicer: Servicer) -> Servicer:
    """Let every rpc of a servicer (methods named like rpcs: ``UpperCamelCase``) end in a proper status.

    A :class:`PenstockError` becomes its code with ``google.rpc.ErrorInfo``; anything else is logged with its traceback
    under a fresh id and becomes INTERNAL with a fixed text and that id. Cancellation passes through.
    """
    for name, method in inspect.getmembers(servicer, inspect.isroutine):
        if name[0].isupper():
            setattr(servicer, name, _streaming(method) if inspect.isasyncgenfunction(method) else _single(method))
    return servicer


def _single(method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    @functools.wraps(method)
    async def call(request: Any, context: Any) -> Any:
        try:
            return await method(request, context)
        except Exception as error:  # noqa: BLE001 - the boundary is where everything ends
            await abort(error, context)

    return call


def _streaming(method: Callable[[Any, Any], AsyncIterator[Any]]) -> Callable[[Any, Any], AsyncIterator[Any]]:
    @functools.wraps(method)
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for message in method(request, context):
                yield message
        except Exception as error:  # noqa: BLE001 - the boundary is where everything ends
            await abort(error, context)

    return call


async def abort(error: Exception, context: Any) -> NoReturn:
    """End a call with the status of ``error``. Never returns."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    await context.abort_with_status(rich_status(error))
    raise AssertionError("unreachable: abort_with_status raises")


def rich_status(error: Exception) -> Any:
    """The status of an error as a ``grpc.Status``, with all that goes into the trailers."""
    status: Any = rpc_status.to_status(status_of(error))
    if (seconds := retry_after_s(error)) is not None:
        status = status._replace(trailing_metadata=(*status.trailing_metadata, (RETRY_AFTER, str(seconds))))
    return status


def retry_after_s(error: Exception) -> int | None:
    """Whole seconds after which the caller may try again; None: nobody knows."""
    return error.retry_after_s if isinstance(error, (ResourceExhaustedError, UnavailableError)) else None


def status_of(error: Exception) -> status_pb2.Status:
    """The rich status of an error; an error without a meaning for the caller is logged and hidden behind an id."""
    if isinstance(error, PenstockError):
        details = any_pb2.Any()
        details.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata))
        status = status_pb2.Status(code=code_of(error).value[0], message=error.message, details=[details])
        if (seconds := retry_after_s(error)) is not None:
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds)))
        return status
    return status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message=internal_message(error))


def internal_message(error: Exception) -> str:
    """Log an unexpected error under a fresh id; return the text for the caller, which names only the id."""
    error_id = secrets.token_hex(8)
    _log.error("unexpected error %s", error_id, exc_info=error, extra={"error.id": error_id})
    return f"internal error, logged under id {error_id}"
