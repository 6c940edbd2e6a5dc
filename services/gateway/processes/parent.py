"""The parent: starts the processes, keeps them, asks them, replaces them, stops them. It never touches a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping
from typing import Any

from services.gateway.processes import exposition
from services.gateway.processes.place import Member, Place, StartError, describe

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_STEADY_AFTER_S = 30.0
"""A process that ran this long starts again without a pause when it dies."""
_ANSWER_WITHIN_S = 2.0
_STARTS = "penstock_gateway_process_starts_total"


class Parent:
    """Keeps ``count`` processes running until :meth:`stop`."""

    def __init__(
        self,
        count: int,
        *,
        host: str,
        ports: Mapping[str, int],
        environ: Mapping[str, str],
        kill_after_s: float,
        on_notice: Callable[[str], None],
    ) -> None:
        """``ports`` are the public ones, ``environ`` is the processes' environment.

        One that takes longer than ``kill_after_s`` to drain is killed. ``on_notice`` gets "ready" when all were, and
        after each :meth:`renew`, or "failed" and why.
        """
        self._kill_after_s = kill_after_s
        self._on_notice = on_notice
        self._stop = asyncio.Event()
        self._places = [
            Place(index, host=host, ports=ports, environ=environ, on_question=self._answer, stop=self._stop)
            for index in range(count)
        ]
        self._renewal: asyncio.Task[None] | None = None
        self._were_ready: set[int] = set()
        self._all_were_ready = asyncio.Event()

    async def run(self) -> bool:
        """Start all, keep each running, and let them drain after :meth:`stop`; whether all then left in order.

        Raises:
            StartError: one ended before all were ready; the others were stopped.
        """
        keeping = [asyncio.create_task(self._keep(place)) for place in self._places]
        for task in keeping:
            task.add_done_callback(lambda _: self._stop.set())
        await self._stop.wait()
        if self._renewal is not None:
            self._renewal.cancel()
        for member in self._members():
            member.leave(signal.SIGTERM)
        everything = [*keeping, *(member.ended for member in self._members())]
        await asyncio.wait(everything, timeout=self._kill_after_s)
        for member in self._members():
            member.signal(signal.SIGKILL)
        return {0, -signal.SIGTERM}.issuperset(await asyncio.gather(*keeping))  # -SIGTERM: it had hardly begun

    def _members(self) -> list[Member]:
        return [member for place in self._places for member in place.members]

    def stop(self) -> None:
        """Let all drain and leave; called again, hurry them."""
        if self._stop.is_set():
            for member in self._members():
                member.signal(signal.SIGTERM)
        self._stop.set()

    def renew(self) -> None:
        """Replace the processes one by one, each by one that is ready, so that nobody notices. Returns at once."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        await self._all_were_ready.wait()
        try:
            for place in self._places:
                await place.replace(kill_after_s=self._kill_after_s)
        except StartError as error:
            _log.error("a gateway process could not be replaced (%s); those that run stay", error)
            self._on_notice(f"failed {error}")
        else:
            self._on_notice("ready")

    async def metrics(self) -> str:
        """All processes' metrics as one page; one that doesn't answer is missing."""
        pages = await self._ask_members("metrics")
        starts = "".join(f'{_STARTS}{{process="{place.index}"}} {place.starts}\n' for place in self._places)
        return (
            exposition.merged({str(index): page for index, page in sorted(pages.items())})
            + f"# HELP {_STARTS} Times that a gateway process was started\n# TYPE {_STARTS} counter\n{starts}"
        )

    async def _keep(self, place: Place) -> int:
        """Run a process, again and again, until :meth:`stop`; return the last one's exit status."""
        clock = asyncio.get_running_loop().time
        pause = _FIRST_PAUSE_S
        while True:
            start = clock()
            status = await place.live()
            if self._stop.is_set():
                return status
            how = describe(status)
            if not self._all_were_ready.is_set():
                raise StartError(f"gateway process {place.index} did not start ({how})")
            pause = 0.0 if clock() - start > _STEADY_AFTER_S else pause
            _log.error("gateway process %d died (%s); starting it again in %.1f s", place.index, how, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
                return 0
            pause = min(max(pause * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    async def _answer(self, index: int, question: str, arguments: list[Any]) -> Any:
        """What process ``index`` asks: to be let in once all are ready, or something of all the others."""
        if question != "ready":
            return [*(await self._ask_members(question, *arguments, but=index)).values()]
        self._were_ready.add(index)
        if len(self._were_ready) == len(self._places) and not self._all_were_ready.is_set():
            self._all_were_ready.set()
            self._on_notice("ready")
        return await self._all_were_ready.wait()

    async def _ask_members(self, question: str, *arguments: Any, but: int | None = None) -> dict[int, Any]:
        answers: dict[int, Any] = {}

        async def ask(index: int, member: Member) -> None:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    answers[index] = await member.link.ask(question, *arguments)

        members = {place.index: place.current for place in self._places if place.index != but}
        await asyncio.gather(*(ask(index, member) for index, member in members.items() if member is not None))
        return answers
