"""One of several processes, as it sees the others: through its parent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.gateway.processes.link import Link

Answer = Callable[..., Awaitable[Any]]


class Membership:
    """This process's place among its siblings."""

    def __init__(self, parent: socket.socket) -> None:
        """``parent`` is this process's end of the socket pair; it is closed when the parent leaves."""
        self._parent = parent
        self._link: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    async def follow_parent(self, answers: Mapping[str, Answer], *, stop: asyncio.Event) -> None:
        """Answer the parent by question; when it leaves, set ``stop``. Runs until cancelled."""

        async def answer(question: str, arguments: list[Any]) -> Any:
            return await answers[question](*arguments)

        link = await Link.over(self._parent, answer)
        self._link.set_result(link)
        await link.run()
        stop.set()
        await asyncio.Event().wait()

    async def wait_for_all(self) -> None:
        """Say that this process is ready; return when all are, or were before.

        Raises:
            ConnectionError: the parent left.
        """
        await (await self._link).ask("ready")

    async def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """What the siblings answer to ModelStatistics; of those that can't, nothing."""
        try:
            answers: list[dict[str, Any]] = await (await self._link).ask("statistics", model, version)
        except ConnectionError:
            return []
        return answers
