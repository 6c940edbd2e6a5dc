"""One model process over all its lives: fetched, started, watched, started again, drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from services.common import names
from services.common.discovery.peers import Peers
from services.common.errors import PenstockError, ResourceExhaustedError, UnavailableError
from services.common.lanes import LaneKeys
from services.common.logs import LogFormat
from services.inference.adapters.child import Child, Event
from services.inference.domain.content import Content
from services.inference.domain.fleet import Assignment, Slot
from services.inference.domain.restarts import CrashHistory
from services.inference.domain.sketching import SketchInputs
from services.inference.domain.variants import ORIGINAL
from services.inference.model_process.spec import ProcessSpec, consumer_name

_log = logging.getLogger(__name__)

_MODULE = "services.inference.model_process"
_FETCH_AGAIN_S = 1.0
_KILL_GRACE_S = 5.0
_FAREWELL_S = 1.0
"""How long gateways may take to hear that a version serves no more."""


class State(Enum):
    """Where a model process stands; the names are those of InstanceStatus.State."""

    FETCHING = "FETCHING"
    LOADING = "LOADING"
    READY = "READY"
    DRAINING = "DRAINING"
    UNAVAILABLE = "UNAVAILABLE"


class Artifacts(Protocol):
    """Where models come from."""

    def hold(self, content: Content) -> AbstractContextManager[None]: ...

    async def fetch(self, content: Content, on_progress: Callable[[float], None]) -> Path: ...

    def doubt(self, content: Content) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all instances of an agent share. ``incarnation`` names this life of the agent."""

    node: str
    incarnation: str
    artifacts: Artifacts
    admit: Callable[[str, Path], Awaitable[None]]
    end_lease: Callable[[LaneKeys, Sequence[str], str], Awaitable[None]]
    until_empty: Callable[[Sequence[str]], Awaitable[None]]
    redis_url: str
    monitors: Peers
    log_level: str
    log_format: LogFormat
    device: str
    threads: int
    drain_timeout_s: float
    shared_payload_bytes: int
    is_confined: bool
    probe_period_s: float = 0.0
    """How often models are probed; 0: never."""
    sketch_inputs: SketchInputs = "all"
    on_loaded: Callable[[float], None] = lambda _seconds: None
    """Told how long a process took from its start until it took requests."""


@dataclass(slots=True)
class Totals:
    """Figures of one instance over all its processes."""

    past: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.past.get(name, 0) + self.present.get(name, 0)

    def process_ended(self) -> None:
        self.past = {name: self[name] for name in self.past.keys() | self.present.keys()}
        self.present = {}


class Instance:
    """Keeps one process for one assignment running until :meth:`stop`. ``run`` is its life, owned by the agent."""

    def __init__(
        self, slot: Slot, assignment: Assignment, *, surroundings: Surroundings, on_change: Callable[[], None]
    ) -> None:
        self.slot = slot
        self.assignment = assignment
        self.name = f"{surroundings.node}.{slot.model}.{slot.version}.{slot.number}"
        self._around = surroundings
        self._on_change = on_change
        self._state = State.FETCHING
        self._reason = ""
        self._history = CrashHistory()
        self._ready_since: float | None = None
        self._was_ready = False
        self._started_at = 0.0
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._is_let_go = False
        self.variant = assignment.variant
        """How its process is loaded: as assigned, until that turns out not to work."""
        self._lane = LaneKeys(slot.model, slot.version)
        self.streams = frozenset(self._lane.streams(assignment.batching.priority_levels))
        self.is_retiring = False
        self.lacks_room = False
        """Whether this node's cache had no room for it when that was tried last."""
        self.progress = 0.0
        self.device = ""
        self.restarts = 0
        self.totals = Totals()
        self.changed_ns = time.time_ns()

    @property
    def version(self) -> str:
        """The resource name of what it runs."""
        return names.version_name(self.slot.model, self.slot.version)

    @property
    def pid(self) -> int:
        return 0 if self._child is None else self._child.pid

    @property
    def is_ready(self) -> bool:
        """True while the process takes requests."""
        return self._state is State.READY

    @property
    def ready_s(self) -> float:
        """How long its process has taken requests; 0 while there is none that does."""
        return 0.0 if self._ready_since is None else time.monotonic() - self._ready_since

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def status(self) -> tuple[State, str]:
        """The state to report, and the reason of a crash loop."""
        if self._state is not State.DRAINING and self._history.is_loop(time.monotonic(), ready_since=self._ready_since):
            return State.UNAVAILABLE, self._reason
        return self._state, ""

    def tell_monitors(self) -> None:
        """Tell the process where spans are to go from now on."""
        if self._child is not None:
            self._child.tell(monitors=self._around.monitors.addresses)

    def stop(self) -> None:
        """Let the process finish what it has, and end; ``run`` returns then."""
        self.is_retiring = True
        self._stopping.set()

    def let_go(self) -> None:
        """Leave a process that takes requests to itself, even if :meth:`run` is cancelled; let any other one finish."""
        self._is_let_go = True
        if not self.is_ready:
            self.stop()

    async def retire(self, streams: Sequence[str]) -> None:
        """Serve on until nothing is left in these streams, for a while at most; then stop."""
        self.is_retiring = True
        self._enter(State.DRAINING)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S + self._around.drain_timeout_s):
                await asyncio.sleep(_FAREWELL_S)
                await self._around.until_empty(streams)
        self.stop()

    async def run(self) -> None:
        with self._around.artifacts.hold(self.assignment.content):
            await self._keep_alive()

    async def _keep_alive(self) -> None:
        while not self.is_stopping:
            try:
                path = await self._until_stopped(self._prepare())
                if path is not None:
                    started = time.monotonic()
                    await self._live(path)
            except PenstockError as error:
                started, self._reason = time.monotonic(), error.message
                self.lacks_room = isinstance(error, ResourceExhaustedError)
            if not self.is_stopping:
                await self._after_crash(time.monotonic() - started)

    async def _until_stopped(self, work: Awaitable[Path]) -> Path | None:
        """The result of ``work``, or None when the instance is stopped before."""
        task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for one in (task, stopping):
                one.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)

    async def _prepare(self) -> Path:
        """The model's folder, once it is there and may be loaded."""
        path = await self._fetch()
        await self._around.admit(self.version, path)
        return path

    async def _fetch(self) -> Path:
        """The model's folder. While the registry is away this just takes longer."""
        while True:
            self._enter(State.FETCHING)
            try:
                return await self._around.artifacts.fetch(self.assignment.content, self._progressed)
            except UnavailableError as error:
                _log.debug("%s: fetching again: %s", self.name, error)
                await asyncio.sleep(_FETCH_AGAIN_S)

    def _progressed(self, share: float) -> None:
        # A report for each percent is enough.
        if int(share * 100) != int(self.progress * 100):
            self._on_change()
        self.progress = share

    async def _live(self, path: Path) -> None:
        """One process from start to end."""
        self.lacks_room = False
        self._enter(State.LOADING)
        self._was_ready = False
        self._started_at = time.monotonic()
        consumer = consumer_name(self.name, self._around.incarnation)
        spec = self._spec(consumer, path)
        self._child = child = await Child.start(_MODULE, spec.to_json(), self._heard)
        if spec.otlp_endpoint != str(self._around.monitors):
            self.tell_monitors()
        ending, stopping = asyncio.create_task(child.wait()), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ending, stopping), return_when=asyncio.FIRST_COMPLETED)
            if self.is_stopping:
                self._enter(State.DRAINING)
                child.terminate()
                await asyncio.wait((ending,), timeout=self._around.drain_timeout_s + _KILL_GRACE_S)
            else:
                self._reason = ending.result() or "the process ended by itself"
        finally:
            stopping.cancel()
            if not self._is_let_go:
                child.kill()  # nothing, where it ended by itself
            await ending
            self._child, self._ready_since = None, None
            self.totals.process_ended()
            await self._around.end_lease(self._lane, sorted(self.streams), consumer)

    def _spec(self, consumer: str, path: Path) -> ProcessSpec:
        around = self._around
        return ProcessSpec(
            consumer=consumer,
            model=self.slot.model,
            version=self.slot.version,
            path=str(path),
            format=self.assignment.format,
            manifest=self.assignment.manifest,
            signature=self.assignment.signature,
            batching=self.assignment.batching,
            redis_url=around.redis_url,
            otlp_endpoint=str(around.monitors),
            log_level=around.log_level,
            log_format=around.log_format,
            device=around.device,
            threads=around.threads,
            drain_timeout_s=around.drain_timeout_s,
            shared_payload_bytes=around.shared_payload_bytes,
            is_confined=around.is_confined,
            variant=self.variant,
            probe_period_s=around.probe_period_s,
            sketch_inputs=around.sketch_inputs,
            tells_predictions=self.assignment.tells_predictions,
            files=tuple(file.path for file in self.assignment.content.files),
            digest=self.assignment.content.digest,
        )

    def _heard(self, event: Event) -> None:
        """An event of the process."""
        if "figures" in event:
            self.totals.present = event["figures"]
        if event.get("state") == "ready" and not self.is_retiring:
            self.device, self._ready_since, self._was_ready = event["device"], time.monotonic(), True
            self._around.on_loaded(self._ready_since - self._started_at)
            self._enter(State.READY)

    async def _after_crash(self, uptime_s: float) -> None:
        self._history = self._history.crashed(time.monotonic(), uptime_s=uptime_s)
        self.restarts += 1
        self._enter(State.LOADING)
        if not self._was_ready:
            self._around.artifacts.doubt(self.assignment.content)
        if self.variant != ORIGINAL and (not self._was_ready or len(self._history.crashes) > 1):
            _log.warning("%s: it serves as it is from now on, not as %s", self.name, self.variant)
            self.variant = ORIGINAL
        _log.warning("%s: %s; starting it again in %.1f s", self.name, self._reason, self._history.pause_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._history.pause_s):
                await self._stopping.wait()

    def _enter(self, state: State) -> None:
        if self.is_retiring:
            state = State.DRAINING  # whatever still happens to its process
        if state is not self._state:
            self._state, self.progress, self.changed_ns = state, 0.0, time.time_ns()
        self._on_change()
