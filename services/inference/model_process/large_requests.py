"""Large requests stay with their gateway: their bytes are fetched by those who take them from the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.boundary import internal_message
from services.common.errors import InternalError, PenstockError
from services.inference.model_process.lane import Delivery, Lane

_PROMPT_S = 0.1
"""How long requests wait for the bytes of those that were taken along with them."""


class PayloadSource(Protocol):
    """Where the bytes are."""

    async def fetch(self, envelope: Envelope) -> bytes | memoryview | None:
        """The request's bytes, which stayed with the gateway; None when it was settled meanwhile.

        Raises:
            PenstockError: they can't be had.
        """


class LargeRequests:
    """Fetches bytes. What takes long is put back to the lane once it is here, and given out again.

    ``refuse`` ends a request whose bytes can't be had.
    """

    def __init__(self, source: PayloadSource, lane: Lane, *, refuse: Callable[[Delivery, PenstockError], None]) -> None:
        self._source = source
        self._lane = lane
        self._refuse = refuse
        self._late: set[asyncio.Task[Delivery | None]] = set()
        """What fetches bytes that others don't wait for."""

    @property
    def are_coming(self) -> bool:
        """Whether some are still on their way."""
        return bool(self._late)

    async def opened(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those whose bytes are here soon. A gateway that can't be reached keeps nobody else's requests waiting."""
        opening = [asyncio.create_task(self._open(one), name="open a large request") for one in deliveries]
        _, late = await asyncio.wait(opening, timeout=_PROMPT_S)
        for task in late:
            self._late.add(task)
            task.add_done_callback(self._open_late)
        return [one for task in opening if task not in late and (one := task.result()) is not None]

    async def finish(self) -> None:
        """Wait until nothing is on its way. What came was put back."""
        if self._late:
            await asyncio.wait(self._late)

    def _open_late(self, task: asyncio.Task[Delivery | None]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (delivery := task.result()) is not None:
            self._lane.put_back(delivery)

    async def _open(self, delivery: Delivery) -> Delivery | None:
        """Fetch the bytes of a large request."""
        entry = delivery.entry
        if entry.request or not entry.envelope.payload_bytes:
            return delivery
        try:
            content = await self._source.fetch(entry.envelope)
        except PenstockError as error:
            self._refuse(delivery, error)
            return None
        except Exception as error:  # noqa: BLE001 - one request must not take the process along
            self._refuse(delivery, InternalError(internal_message(error)))
            return None
        if content is None:
            self._lane.settle([delivery])
            return None
        return replace(delivery, entry=replace(entry, request=content))
