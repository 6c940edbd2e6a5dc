"""Keeps the parts of a suite running."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Any, Protocol

from penstock.launcher.children import Child, Nursery, describe_status, pump_lines
from penstock.launcher.logfiles import LogLine, ServiceLog
from penstock.launcher.plan import Part, Plan, StartError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_STEADY_AFTER_S = 30.0
"""A part that ran this long starts again without a pause when it dies."""
_START_WITHIN_S = 90.0


class Reporter(Protocol):
    """Tells people, or programs, what happens."""

    def starting(self, part: Part) -> None: ...
    def ready(self, part: Part, *, after_s: float, is_restart: bool, processes: int) -> None: ...
    def died(self, part: Part, *, how: str, said: str, restart_in_s: float) -> None: ...
    def warned(self, line: LogLine) -> None: ...
    def all_ready(self, plan: Plan, *, after_s: float) -> None: ...
    def main_job_ended(self, status: int) -> None: ...
    def stopping(self) -> None: ...
    def stopped(self, part: Part, *, after_s: float, was_killed: bool) -> None: ...
    def all_stopped(self, *, after_s: float) -> None: ...


class Supervisor:
    """One run of a suite."""

    def __init__(self, plan: Plan, reporter: Reporter, *, main_job: Sequence[str] = ()) -> None:
        self._plan = plan
        self._reporter = reporter
        self._main_job = main_job
        self._children: dict[str, Child] = {}
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._ready = {part.name: asyncio.Event() for part in plan.parts}
        self._logs = {part.name: ServiceLog(plan.logs, part.name, on_warning=reporter.warned) for part in plan.parts}
        self._nursery = Nursery()

    async def run(self) -> int:
        """Start, keep and stop the suite; return the exit status for the shell.

        Raises:
            StartError: a part does not start; everything is stopped again by then.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish
                loop.add_signal_handler(number, self._interrupt)
        failures: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._keep(part)) for part in self._plan.parts]
                tasks.append(group.create_task(self._accompany()))
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
        except* StartError as group_of_errors:
            failures.extend(group_of_errors.exceptions)
        finally:
            status = await self._shut_down()
        if failures:
            raise failures[0]
        return status

    def _interrupt(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _accompany(self) -> None:
        start = time.monotonic()
        try:
            async with asyncio.timeout(_START_WITHIN_S):
                for event in self._ready.values():
                    await event.wait()
        except TimeoutError:
            late = [name for name, event in self._ready.items() if not event.is_set()]
            where = ", ".join(str(self._logs[name].path) for name in late)
            raise StartError(f"not ready after {_START_WITHIN_S:g} s: {', '.join(late)}; see {where}") from None
        self._reporter.all_ready(self._plan, after_s=time.monotonic() - start)
        if self._main_job:
            child = self._children["main job"] = self._nursery.start(self._main_job, environ=self._plan.environ)
            self._reporter.main_job_ended(await asyncio.shield(child.exited))

    async def _keep(self, part: Part) -> None:
        """Run a part, again and again, until cancelled."""
        if part.name != "redis" and "redis" in self._ready:
            await self._ready["redis"].wait()
        pause = _FIRST_PAUSE_S
        while True:
            start = time.monotonic()
            child = await self._start(part)
            watch = asyncio.create_task(self._watch_readiness(part, child, start))
            try:
                status = await asyncio.shield(child.exited)
            finally:
                watch.cancel()
            if not self._ready[part.name].is_set():
                raise StartError(self._failure(part, status))
            pause = 0.0 if time.monotonic() - start > _STEADY_AFTER_S else pause
            said = self._logs[part.name].last_complaint() if status > 0 else ""
            self._reporter.died(part, how=describe_status(status), said=said, restart_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(max(pause * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    async def _start(self, part: Part) -> Child:
        log = self._logs[part.name]
        log.last_words.clear()
        output = await pump_lines(log.take)
        try:
            child = self._nursery.start(part.command, environ=self._plan.environ, output=output)
        finally:
            os.close(output)
        self._children[part.name] = child
        self._reporter.starting(part)
        return child

    async def _watch_readiness(self, part: Part, child: Child, start: float) -> None:
        while not await part.is_ready():  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(0.1)
        event = self._ready[part.name]
        after_s, processes = time.monotonic() - start, child.count_processes()
        self._reporter.ready(part, after_s=after_s, is_restart=event.is_set(), processes=processes)
        event.set()

    def _failure(self, part: Part, status: int) -> str:
        log = self._logs[part.name]
        words = "\n".join(f"  {line}" for line in log.last_words) or "  (nothing)"
        return f"the {part.name} did not start ({describe_status(status)}); it said last:\n{words}\nIts log: {log.path}"

    async def _shut_down(self) -> int:
        """Stop everything, the gateway first and Redis last."""
        self._reporter.stopping()
        start = time.monotonic()
        if (job := self._children.pop("main job", None)) is not None:
            await self._end(job, within_s=3.0)
        for part in reversed(self._plan.parts):
            if (child := self._children.get(part.name)) is not None:
                begin = time.monotonic()
                is_kind = await self._end(child, within_s=part.stop_within_s)
                self._reporter.stopped(part, after_s=time.monotonic() - begin, was_killed=not is_kind)
        await self._nursery.end_strays(within_s=0.0 if self._hurry.is_set() else 3.0)
        self._nursery.close()
        await asyncio.sleep(0)  # let the pumps see the ends of their pipes
        for log in self._logs.values():
            log.close()
        self._reporter.all_stopped(after_s=time.monotonic() - start)
        return 130 if self._hurry.is_set() else 0

    async def _end(self, child: Child, *, within_s: float) -> bool:
        """Ask a child to leave; kill it when it doesn't in time, or when there is a hurry. True when it left."""
        child.signal(signal.SIGTERM)
        hurry = asyncio.ensure_future(self._hurry.wait())
        awaited: list[asyncio.Future[Any]] = [child.exited, hurry]
        await asyncio.wait(awaited, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if child.exited.done():
            return True
        child.kill_group()
        await child.exited
        return False
