"""Keeps one part of a suite running, and replaces its process when asked."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.launcher.children import Nursery, describe_status, pump_lines
from penstock.launcher.listeners import Listeners, high
from penstock.launcher.logfiles import ServiceLog
from penstock.launcher.parts import Part, StartError, Survey
from penstock.launcher.reporter import Reporter
from penstock.launcher.run import Notices, Run

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_STEADY_AFTER_S = 30.0
"""A part that did not die for so long starts again without a pause when it does."""
_LONGEST_WAIT_S = 1.0
"""Connections wait for a process that is started within this time; before a longer pause they are refused."""
_READY_WITHIN_S = 90.0
_WORKING_WITHIN_S = 600.0
_ASK_AGAIN_S = 0.1


class RestartError(Exception):
    """A part did not come back; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """To replace the process. ``failure`` gets why that was not done, empty when it was."""

    is_rolling: bool
    failure: asyncio.Future[str]


class Keeper:
    """One part over all its processes. :meth:`keep` is its life; :meth:`close` comes after it."""

    def __init__(
        self,
        part: Part,
        *,
        environ: Mapping[str, str],
        nursery: Nursery,
        log: ServiceLog,
        reporter: Reporter,
        hurry: asyncio.Event,
    ) -> None:
        """Once ``hurry`` is set, no process that is to leave is waited for."""
        self.part = part
        self.log = log
        self.was_ready = asyncio.Event()
        self.runs: list[Run] = []
        """Those that have not ended, or not been seen to, oldest first."""
        self._environ = environ
        self._nursery = nursery
        self._reporter = reporter
        self._hurry = hurry
        self._listeners = Listeners(part.listens_at)
        self._requests: asyncio.Queue[Request] = asyncio.Queue()

    async def keep(self) -> None:
        """Run the part, again and again, until cancelled.

        Raises:
            StartError: it ended before it was ever ready.
        """
        pause, died_at = _FIRST_PAUSE_S, -math.inf
        run = await self._start()
        while True:
            if (request := await self._until_ended_or_asked(run)) is not None:
                run = await self._replace(run, request)
                continue
            self.runs.remove(run)
            status = run.child.exited.result()
            if not self.was_ready.is_set():
                raise StartError(f"the {self.part.name} did not start: {self._last_words(status)}")
            before, died_at = died_at, asyncio.get_running_loop().time()
            pause = 0.0 if died_at - before > _STEADY_AFTER_S else pause
            said = self.log.last_complaint() if status > 0 else ""
            self._reporter.died(self.part, how=describe_status(status), said=said, restart_in_s=pause)
            if pause > _LONGEST_WAIT_S:
                self._listeners.close()
            await asyncio.sleep(pause)
            pause = min(max(pause * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            run = await self._start()

    async def restart(self, *, is_rolling: bool) -> None:
        """Replace the process; ``is_rolling``: so that nobody notices.

        Raises:
            RestartError: the new one did not get ready.
        """
        request = Request(is_rolling, asyncio.get_running_loop().create_future())
        await self._requests.put(request)
        if failure := await request.failure:
            raise RestartError(f"the {self.part.name} did not come back: {failure}")

    async def close(self) -> bool:
        """Refuse connections, and let what runs finish; False when something had to be killed."""
        self._listeners.close()
        return all([await self._end(run) for run in self.runs[::-1]])

    # Processes

    async def _start(self) -> Run:
        self.log.last_words.clear()
        passed, notices = self._listeners.descriptors(), None
        output = await pump_lines(self.log.take)
        to_close = [output]
        if passed:
            notices = Notices()
            pipe = await pump_lines(notices.hear)
            passed["notices"] = high(pipe)
            to_close += [pipe, passed["notices"]]
        try:
            child = self._nursery.start(
                self.part.command,
                environ=self._environ,
                output=output,
                passed=passed,
                has_session=self.part.is_aside,
            )
        finally:
            for descriptor in to_close:
                os.close(descriptor)
        run = Run(child, notices)
        self.runs.append(run)
        self._reporter.starting(self.part)
        return run

    async def _end(self, run: Run, number: signal.Signals = signal.SIGTERM) -> bool:
        is_asked, run.is_leaving = run.is_leaving, True
        if not is_asked:  # a second signal would hurry it
            run.child.signal(number)
        left = await run.child.end(within_s=self.part.stop_within_s, hurry=self._hurry)
        self.runs.remove(run)
        return left

    async def _until_ended_or_asked(self, run: Run) -> Request | None:
        asked = asyncio.create_task(self._requests.get())
        watch = asyncio.create_task(self._watch(run))
        try:
            await asyncio.wait((run.child.exited, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            if not asked.done():
                asked.cancel()
        return asked.result() if asked.done() else None

    # Readiness

    async def _watch(self, run: Run) -> None:
        """Report that a process is ready which was not asked for."""
        if not run.is_ready:
            await self._see_ready(run)
            after_s, processes = time.monotonic() - run.begin, run.child.count_processes()
            self._reporter.ready(self.part, after_s=after_s, is_restart=self.was_ready.is_set(), processes=processes)
            self.was_ready.set()

    async def _see_ready(self, run: Run) -> str:
        """Returns once the process takes work, nothing, or when it says why it can't."""
        if run.notices is not None:
            await run.notices.has_come.wait()
            if run.notices.failure:
                return run.notices.failure
        while not await self.part.is_ready():  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(_ASK_AGAIN_S)
        run.is_ready = True
        return ""

    async def _until_ready(self, run: Run) -> str:
        """Returns once the process takes work, nothing, or why that doesn't come to be."""
        return await self._unless_it_ends(run, self._see_ready(run), within_s=_READY_WITHIN_S)

    async def _unless_it_ends(self, run: Run, seeing: Coroutine[Any, Any, str], *, within_s: float) -> str:
        seen, ended = asyncio.create_task(seeing), run.child.exited
        try:
            await asyncio.wait((seen, ended), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return self._last_words(ended.result())
            return seen.result() if seen.done() else f"not ready after {within_s:g} s; its log: {self.log.path}"
        finally:
            seen.cancel()

    def _last_words(self, status: int) -> str:
        words = "\n".join(f"  {line}" for line in self.log.last_words) or "  (nothing)"
        return f"{describe_status(status)}; it said last:\n{words}\nIts log: {self.log.path}"

    # Replacement

    async def _replace(self, run: Run, request: Request) -> Run:
        """Do as asked; returns the process that is to be kept from now on."""
        if request.is_rolling and run.notices is not None and run.notices.renews:
            failure = await self._renew(run, run.notices)
        elif request.is_rolling and run.notices is not None:
            run, failure = await self._succeed(run)
        else:
            run, failure = await self._start_anew(run, is_rolling=request.is_rolling)
        if not request.failure.done():
            request.failure.set_result(failure)
        return run

    async def _renew(self, run: Run, notices: Notices) -> str:
        """Let it replace its own processes."""
        notices.has_come.clear()
        run.child.signal(signal.SIGHUP)
        return await self._unless_it_ends(run, self._see_ready(run), within_s=_WORKING_WITHIN_S)

    async def _succeed(self, run: Run) -> tuple[Run, str]:
        """Start a process beside the present one, which leaves when the new one is ready."""
        successor = await self._start()
        if failure := await self._until_ready(successor):
            successor.child.kill_group()
            await self._end(successor)
            return run, f"{failure}\nThe one before it serves on."
        await self._end(run, signal.SIGHUP)
        return successor, ""

    async def _start_anew(self, run: Run, *, is_rolling: bool) -> tuple[Run, str]:
        """Let the present process leave, then start another one."""
        survey = self.part.survey if is_rolling else None
        before = None if survey is None else await survey()
        await self._end(run, signal.SIGTERM if survey is None else signal.SIGHUP)
        run = await self._start()
        failure = await self._until_ready(run)
        if survey is not None and before and not failure:
            seeing = _see_working(survey, [name for name, state in before.items() if state == "READY"])
            failure = await self._unless_it_ends(run, seeing, within_s=_WORKING_WITHIN_S)
        return run, failure


async def _see_working(survey: Survey, names: Sequence[str]) -> str:
    """Returns once those of these processes are ready that are still wanted, nothing, or why one can't be."""
    while True:
        states = await survey()
        if states is not None:
            waited_for = {name: states[name] for name in names if states.get(name, "READY") != "READY"}
            hopeless = [f"{name} is {state}" for name, state in waited_for.items() if state.startswith("UNAVAILABLE")]
            if hopeless or not waited_for:
                return "; ".join(hopeless)
        await asyncio.sleep(_ASK_AGAIN_S)
