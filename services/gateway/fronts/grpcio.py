"""The front that needs nothing of ours: grpc.aio."""

from __future__ import annotations

import asyncio
import logging
import sys

import grpc

from services.common import serving
from services.gateway.fronts import FrontOptions
from services.gateway.fronts.front import Front


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether grpc's own log record says more than that a caller left early, or that we did as we stop."""
    _, error, _ = record.exc_info or (None, None, None)
    is_ours = isinstance(error, asyncio.CancelledError)
    return not is_ours and not record.getMessage().startswith("ExecuteBatchError raised in core")


class GrpcioFront(Front):
    """With grpc.aio's server."""

    def __init__(self, options: FrontOptions) -> None:
        wanted = dict(serving.SERVER_OPTIONS) | {
            "grpc.max_receive_message_length": options.max_request_bytes,
            # It can't take a socket; but where there is one, it may listen beside those that do.
            "grpc.so_reuseport": int(options.reuse_port or "grpc" in options.listeners),
            # Over 1,000 calls that Python has not taken up yet, grpc would cancel some; how many wait is ours to bound.
            "grpc.server.max_pending_requests": serving.INT32_MAX,
            "grpc.server.max_pending_requests_hard_limit": serving.INT32_MAX,
        }
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_a_line)
        super().__init__(grpc.aio.server(options=list(wanted.items())), options)

    def _take_grpc_port(self, options: FrontOptions) -> int:
        listener = options.listeners.get("grpc")
        address = f"{options.host}:{options.grpc_port if listener is None else listener.getsockname()[1]}"
        if options.tls is None:
            return serving.bind(self.server, address)
        try:
            return self.server.add_secure_port(address, options.tls.credentials())
        except RuntimeError:
            sys.exit(f"can't listen on {address}: another program does, or the address isn't this machine's")
