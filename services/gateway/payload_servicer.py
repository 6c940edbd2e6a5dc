"""``penstock.gateway.v1.PayloadService``: hands out request bytes that were too large for a lane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from penstock.gateway.v1.payload_service_pb2 import FetchRequest, FetchResponse
from services.common.errors import NotFoundError
from services.gateway.domain.tickets import Ticket

_CHUNK_BYTES = 1024 * 1024


class PayloadServicer:
    """The rpc. A request's bytes are there until it is settled."""

    def __init__(self, *, gateway_id: str, find: Callable[[int], Ticket | None]) -> None:
        """``find`` knows the unsettled requests by key."""
        self._gateway_id = gateway_id
        self._find = find

    async def Fetch(self, request: FetchRequest, _context: Any) -> AsyncIterator[FetchResponse]:
        ticket = self._find(request.request_key) if request.gateway_id == self._gateway_id else None
        if ticket is None:
            raise NotFoundError(f"request {request.request_key} of gateway '{request.gateway_id}' is not pending here")
        for at in range(0, len(ticket.message), _CHUNK_BYTES):
            yield FetchResponse(chunk=bytes(ticket.message[at : at + _CHUNK_BYTES]))
