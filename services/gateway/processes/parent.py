"""The parent: starts the processes, keeps them, asks them, stops them. It never touches a request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.processes import exposition
from services.gateway.processes.link import Link

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_STEADY_AFTER_S = 30.0
"""A process that ran this long starts again without a pause when it dies."""
_ANSWER_WITHIN_S = 2.0
_STARTS = "penstock_gateway_process_starts_total"


class StartError(Exception):
    """A process ended before all were ready."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A process that runs."""

    process: asyncio.subprocess.Process
    link: Link


class Parent:
    """Keeps ``count`` processes running until ``stop`` is set."""

    def __init__(self, count: int, *, environ: Mapping[str, str], kill_after_s: float, stop: asyncio.Event) -> None:
        """``environ`` is the processes' environment; one that takes longer than ``kill_after_s`` to drain is killed."""
        self._environ = environ
        self._kill_after_s = kill_after_s
        self._stop = stop
        self._starts = dict.fromkeys(range(count), 0)
        self._members: dict[int, Member] = {}
        self._were_ready: set[int] = set()
        self._all_were_ready = asyncio.Event()

    async def run(self) -> bool:
        """Start all, keep each running, and let them drain after ``stop``; whether all then left in order.

        Raises:
            StartError: one ended before all were ready; the others were stopped.
        """
        keeping = [asyncio.create_task(self._keep(index)) for index in self._starts]
        for task in keeping:
            task.add_done_callback(lambda _: self._stop.set())
        await self._stop.wait()
        for member in self._members.values():
            _signal(member, signal.SIGTERM)
        await asyncio.wait(keeping, timeout=self._kill_after_s)
        for member in self._members.values():
            _signal(member, signal.SIGKILL)
        return {0, -signal.SIGTERM}.issuperset(await asyncio.gather(*keeping))  # -SIGTERM: it had hardly begun

    async def metrics(self) -> str:
        """All processes' metrics as one page; one that doesn't answer is missing."""
        pages = await self._ask_members("metrics")
        starts = "".join(f'{_STARTS}{{process="{index}"}} {count}\n' for index, count in self._starts.items())
        return (
            exposition.merged({str(index): page for index, page in sorted(pages.items())})
            + f"# HELP {_STARTS} Times that a gateway process was started\n# TYPE {_STARTS} counter\n{starts}"
        )

    async def _keep(self, index: int) -> int:
        """Run a process, again and again, until ``stop`` is set; return the last one's exit status."""
        clock = asyncio.get_running_loop().time
        pause = _FIRST_PAUSE_S
        while True:
            start = clock()
            status = await self._live(index)
            if self._stop.is_set():
                return status
            how = f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
            if not self._all_were_ready.is_set():
                raise StartError(f"gateway process {index} did not start ({how})")
            pause = 0.0 if clock() - start > _STEADY_AFTER_S else pause
            _log.error("gateway process %d died (%s); starting it again in %.1f s", index, how, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
                return 0
            pause = min(max(pause * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    async def _live(self, index: int) -> int:
        """One life of a process; return its exit status, negative for a signal."""
        self._starts[index] += 1
        ours, theirs = socket.socketpair()
        with theirs:
            command = (sys.executable, "-m", "services.gateway.processes", str(index))
            process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), env=self._environ)
        link = await Link.over(ours, functools.partial(self._answer, index))
        member = self._members[index] = Member(process, link)
        talking = asyncio.create_task(link.run())
        if self._stop.is_set():
            _signal(member, signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            del self._members[index]
            talking.cancel()

    async def _answer(self, index: int, question: str, arguments: list[Any]) -> Any:
        """What process ``index`` asks: to be let in once all are ready, or something of all the others."""
        if question != "ready":
            return [*(await self._ask_members(question, *arguments, but=index)).values()]
        self._were_ready.add(index)
        if len(self._were_ready) == len(self._starts):
            self._all_were_ready.set()
        return await self._all_were_ready.wait()

    async def _ask_members(self, question: str, *arguments: Any, but: int | None = None) -> dict[int, Any]:
        answers: dict[int, Any] = {}

        async def ask(index: int, member: Member) -> None:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    answers[index] = await member.link.ask(question, *arguments)

        await asyncio.gather(*(ask(index, member) for index, member in self._members.items() if index != but))
        return answers


def _signal(member: Member, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        member.process.send_signal(number)
