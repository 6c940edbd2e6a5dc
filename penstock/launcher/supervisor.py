"""Keeps the parts of a suite running."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence

from penstock.launcher.children import Child, Nursery
from penstock.launcher.control import Control
from penstock.launcher.keeper import Keeper, RestartError
from penstock.launcher.logfiles import ServiceLog
from penstock.launcher.parts import StartError
from penstock.launcher.plan import Plan, control_socket
from penstock.launcher.reporter import Reporter

_START_WITHIN_S = 90.0


class Supervisor:
    """One run of a suite."""

    def __init__(self, plan: Plan, reporter: Reporter, *, main_job: Sequence[str] = ()) -> None:
        self._plan = plan
        self._reporter = reporter
        self._main_job = main_job
        self._job: Child | None = None
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._nursery = Nursery()
        self._keepers = {
            part.name: Keeper(
                part,
                environ=plan.environ,
                nursery=self._nursery,
                log=ServiceLog(plan.logs, part.name, on_warning=reporter.warned),
                reporter=reporter,
                hurry=self._hurry,
            )
            for part in plan.parts
        }
        self._restarting = asyncio.Lock()

    async def run(self) -> int:
        """Start, keep and stop the suite, and do what is asked; return the exit status for the shell.

        Raises:
            StartError: a part does not start; everything is stopped again by then.
        """
        async with Control(control_socket(self._plan.home), self):
            return await self._run()

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish
                loop.add_signal_handler(number, self.stop)
        failures: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._keep(keeper)) for keeper in self._keepers.values()]
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

    def stop(self) -> None:
        """Stop the suite; called again, at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def restart(
        self, names: Sequence[str], *, is_rolling: bool, listener: Reporter, is_wanted: Callable[[], bool]
    ) -> None:
        """Replace the processes of the parts named, or of all, one after the other, Redis last; ``listener`` is told.

        No further part is begun once ``is_wanted`` says no.

        Raises:
            RestartError: it can't be done, or a part did not come back; those after it are as they were.
        """
        if unknown := [name for name in names if name not in self._keepers]:
            expected = ", ".join(self._keepers)
            raise RestartError(f"there is no part {', '.join(unknown)} in this suite, expected some of {expected}")
        if not all(keeper.was_ready.is_set() for keeper in self._keepers.values()):
            raise RestartError("the suite is not up yet")
        if self._stop.is_set() or self._restarting.locked():
            raise RestartError("the suite is being stopped" if self._stop.is_set() else "a restart is under way")
        chosen = [keeper for name, keeper in self._keepers.items() if name in names or not names]
        async with self._restarting:
            for keeper in sorted(chosen, key=lambda one: one.part.name == "redis"):
                if is_wanted():
                    await self._restart(keeper, is_rolling=is_rolling, listeners=(self._reporter, listener))

    @staticmethod
    async def _restart(keeper: Keeper, *, is_rolling: bool, listeners: Sequence[Reporter]) -> None:
        begin = time.monotonic()
        for one in listeners:
            one.restarting(keeper.part)
        try:
            await keeper.restart(is_rolling=is_rolling)
        except RestartError as error:
            for one in listeners:
                one.not_restarted(keeper.part, why=str(error))
            raise
        for one in listeners:
            one.restarted(keeper.part, after_s=time.monotonic() - begin)

    async def _keep(self, keeper: Keeper) -> None:
        if keeper.part.name != "redis" and (redis := self._keepers.get("redis")) is not None:
            await redis.was_ready.wait()
        await keeper.keep()

    async def _accompany(self) -> None:
        start = time.monotonic()
        try:
            async with asyncio.timeout(_START_WITHIN_S):
                for keeper in self._keepers.values():
                    await keeper.was_ready.wait()
        except TimeoutError:
            late = {name: one.log.path for name, one in self._keepers.items() if not one.was_ready.is_set()}
            where = ", ".join(map(str, late.values()))
            raise StartError(f"not ready after {_START_WITHIN_S:g} s: {', '.join(late)}; see {where}") from None
        self._reporter.all_ready(self._plan, after_s=time.monotonic() - start)
        if self._main_job:
            self._job = self._nursery.start(self._main_job, environ=self._plan.environ)
            self._reporter.main_job_ended(await asyncio.shield(self._job.exited))

    async def _shut_down(self) -> int:
        """Stop everything, the gateway first and Redis last."""
        self._reporter.stopping()
        start = time.monotonic()
        if self._job is not None:
            self._job.signal(signal.SIGTERM)
            await self._job.end(within_s=3.0, hurry=self._hurry)
        for keeper in reversed(self._keepers.values()):
            if keeper.runs:
                begin = time.monotonic()
                is_kind = await keeper.close()
                self._reporter.stopped(keeper.part, after_s=time.monotonic() - begin, was_killed=not is_kind)
        await self._nursery.end_strays(within_s=0.0 if self._hurry.is_set() else 3.0)
        self._nursery.close()
        await asyncio.sleep(0)  # let the pumps see the ends of their pipes
        for keeper in self._keepers.values():
            keeper.log.close()
        self._reporter.all_stopped(after_s=time.monotonic() - start)
        return 130 if self._hurry.is_set() else 0
