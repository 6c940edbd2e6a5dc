"""One search for the fastest variant, over the lives of its processes, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from services.inference import sandbox
from services.inference.adapters.child import Child, Event
from services.inference.backends import PRODUCT
from services.inference.domain.variants import Level, Trial, Variant
from services.inference.search import WORKSHOP, SearchSpec

_log = logging.getLogger(__name__)

_LOOK_S = 0.1
PATIENCE = 6.0


class BrokenOffError(Exception):
    """A search ended before its time; it may be repeated. The message says why."""


class StarvedError(BrokenOffError):
    """It hardly got any processor time."""


class FailedSearchError(Exception):
    """The model can't be searched; the message says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a search may take, in all and for one variant: seconds of work (on the clock or of processors, whichever is
    less: it may have to wait for both), and memory. On the clock alone it may take :data:`PATIENCE` times as long.
    """

    total_s: float
    variant_s: float
    memory_bytes: int

    @classmethod
    def of(cls, level: Level, *, memory_share: float) -> Limits:
        """Those of a level, with a share of the memory that is free now."""
        total_s, variant_s = {Level.FAST: (60.0, 20.0), Level.FULL: (900.0, 240.0)}[level]
        return cls(total_s, variant_s, int(psutil.virtual_memory().available * memory_share))


@dataclass(frozen=True, slots=True)
class _Moment:
    """On the clock, and in processor time that the search had taken by then."""

    clock_s: float
    cpu_s: float


class SupervisedSearch:
    """Runs search processes, one after the other, until every variant was tried. A new one begins where one died."""

    def __init__(
        self,
        spec: SearchSpec,
        limits: Limits,
        *,
        is_wanted: Callable[[], bool],
        on_trial: Callable[[], None],
        module: str = "services.inference.search",
    ) -> None:
        """``is_wanted`` is asked again and again: once it says no, the search is broken off."""
        self._module = module
        self._spec = spec
        self._limits = limits
        self._is_wanted = is_wanted
        self._on_trial = on_trial
        self._began = time.monotonic()
        self._cpu_s = 0.0
        self._trying: tuple[Variant, _Moment] | None = None
        self.trials: tuple[Trial, ...] = ()
        self.count = 0
        """How many variants there are to try; 0 before that is known."""

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    async def run(self) -> None:
        """Search until the end, or until the time is over: what was not tried by then stays untried.

        Raises:
            BrokenOffError: it is not wanted any more, or the machine had no time for it.
            FailedSearchError: the model itself can't be loaded, or doesn't repeat itself.
        """
        while reason := await self._live_in_scratch():
            if self._trying is None:
                raise FailedSearchError(reason)
            self._note(Trial(self._trying[0], reason))

    async def _live_in_scratch(self) -> str:
        with sandbox.folder() as scratch:
            try:
                return await self._live(scratch)
            finally:
                await asyncio.to_thread(self._keep_products, scratch)

    def _keep_products(self, scratch: Path) -> None:
        """Put native code that was made of the model beside it, and nothing else that the process may have left."""
        root = Path(self._spec.path)
        for made in (scratch / WORKSHOP).glob(f"{root.name}{PRODUCT}*.pt2"):
            if made.is_file() and not made.is_symlink():
                partial = root.with_name(f"{made.name}.partial")
                shutil.move(made, partial)
                partial.replace(root.with_name(made.name))

    async def _live(self, scratch: Path) -> str:
        """One process; returns why it ended before the search did, empty when the search is over."""
        self._forget_trying()
        spec = replace(self._spec, scratch=str(scratch), trials=self.trials)
        child = await Child.start(self._module, spec.to_json(), self._heard)
        ending = asyncio.create_task(child.wait())
        before_s = self._cpu_s
        try:
            while not ending.done():
                await asyncio.wait((ending,), timeout=_LOOK_S)
                with contextlib.suppress(psutil.Error):
                    cpu_s, memory_bytes = _usage(psutil.Process(child.pid))
                    self._cpu_s = before_s + cpu_s
                    if memory_bytes > self._limits.memory_bytes:
                        return f"took more than {self._limits.memory_bytes >> 20} MiB of memory"
                if not self._is_wanted():
                    raise BrokenOffError("the version doesn't serve here any more")
                if self._is_over(_Moment(self._began, 0.0), self._limits.total_s):
                    return self._end_of_time()
                if self._trying is not None and self._is_over(self._trying[1], self._limits.variant_s):
                    return f"took longer than {self._limits.variant_s:.0f} s"
            return ending.result()
        finally:
            child.kill()
            await ending

    def _is_over(self, since: _Moment, limit_s: float) -> bool:
        elapsed_s = time.monotonic() - since.clock_s
        return min(elapsed_s, self._cpu_s - since.cpu_s) > limit_s or elapsed_s > limit_s * PATIENCE

    def _end_of_time(self) -> str:
        if self._cpu_s <= self._limits.total_s:
            raise StarvedError(f"it got {self._cpu_s:.0f} s of a processor within {self.elapsed_s:.0f} s")
        if not self.count:
            raise FailedSearchError(f"loading the model took longer than {self._limits.total_s:.0f} s")
        _log.info("the time is over: %d of %d variants were tried", len(self.trials), self.count)
        return ""

    def _heard(self, event: Event) -> None:
        self.count = event.get("count", self.count)
        if "trying" in event:
            self._trying = Variant.of(event["trying"]), _Moment(time.monotonic(), self._cpu_s)
        if "trial" in event:
            self._note(Trial.from_json(event["trial"]))
            self._forget_trying()

    def _forget_trying(self) -> None:
        self._trying = None

    def _note(self, trial: Trial) -> None:
        """Take the result of a variant, in place of an earlier one."""
        _log.info("%s: %s", trial.variant, trial.refusal or f"{trial.speedup:.2f} times as fast")
        self.trials = (*(one for one in self.trials if one.variant != trial.variant), trial)
        self._on_trial()


def _usage(process: psutil.Process) -> tuple[float, int]:
    """Processor time and memory of a process with its descendants, which compile."""
    family: Iterable[psutil.Process] = (process, *process.children(recursive=True))
    cpu_s = sum(sum(process.cpu_times()[:4]) for process in family)
    return cpu_s, sum(process.memory_info().rss for process in family)
