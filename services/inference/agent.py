"""Makes a node's model processes equal to what the deployments ask for, and says how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from types import MappingProxyType

from services.common import names
from services.common.errors import FailedPreconditionError, PenstockError, ResourceExhaustedError
from services.inference.domain.fleet import Assignment, Quarantine, Slot, plan
from services.inference.instance import Instance, State, Surroundings

_log = logging.getLogger(__name__)


class Agent:
    """Owns the instances. A slot has one, or two while a changed one replaces its predecessor.

    ``on_change`` is called whenever an instance's state changed.
    """

    def __init__(self, surroundings: Surroundings, on_change: Callable[[], None]) -> None:
        self._around = surroundings
        self._report = on_change
        self._slots: dict[Slot, list[Instance]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._retirements: set[asyncio.Task[None]] = set()

    def reconcile(
        self,
        desired: Mapping[Slot, Assignment],
        *,
        asleep: Collection[tuple[str, int]] = (),
        quarantined: Mapping[Slot, Quarantine] = MappingProxyType({}),
    ) -> None:
        """Start, replace and stop what differs. Returns at once; the instances take their time.

        Replicas that are ``asleep``, by version's resource name and number, stop at once: what comes for them waits in
        its lane until they are loaded again. So do processes that are ``quarantined`` since they were started.
        """
        for slot, last in quarantined.items():
            for instance in self._slots.get(slot, ()):
                self._take_out(instance, last)
        running = {
            slot: instances[-1].assignment
            for slot, instances in self._slots.items()
            if instances and not instances[-1].is_retiring
        }
        steps = plan(desired, running)
        for slot in (*steps.start, *steps.replace):
            self._start(slot, desired[slot])
        for slot in steps.stop:
            for instance in self._slots[slot]:
                if (names.version_name(slot.model, slot.version), slot.number) in asleep:
                    instance.stop()
                else:
                    self._retire(instance, instance.streams)
        if steps.start or steps.replace or steps.stop:
            _log.info("%d to start, %d to replace, %d to stop", *map(len, (steps.start, steps.replace, steps.stop)))

    def _take_out(self, instance: Instance, last: Quarantine) -> None:
        """End a process that is to take no more requests, and have its files looked at before they are used again."""
        if instance.assignment.quarantine < last.sequence and not instance.is_stopping:
            self._around.artifacts.doubt(instance.assignment.content)
            if not last.is_last:
                _log.warning("%s is taken out", instance.name)
                instance.stop()

    def _start(self, slot: Slot, assignment: Assignment) -> None:
        instance = Instance(slot, assignment, surroundings=self._around, on_change=self._changed)
        self._slots.setdefault(slot, []).append(instance)
        self._own(asyncio.create_task(self._live(instance), name=instance.name), self._tasks)
        self._changed()

    def _retire(self, instance: Instance, streams: frozenset[str]) -> None:
        if not instance.is_retiring:
            instance.is_retiring = True
            retirement = instance.retire(sorted(streams))
            self._own(asyncio.create_task(retirement, name=f"retire {instance.name}"), self._retirements)

    @staticmethod
    def _own(task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _live(self, instance: Instance) -> None:
        try:
            await instance.run()
        except Exception:  # noqa: BLE001 - one instance must not take the others along
            _log.exception("%s: unexpected end", instance.name)
        finally:
            siblings = self._slots[instance.slot]
            siblings.remove(instance)
            if not siblings:
                del self._slots[instance.slot]
            self._changed()

    def _changed(self) -> None:
        """A successor that takes requests releases its predecessors, once no lane is left that only they read."""
        for instances in self._slots.values():
            if instances[-1].is_ready:
                for predecessor in instances[:-1]:
                    if orphaned := predecessor.streams - instances[-1].streams:
                        self._retire(predecessor, orphaned)
                    else:
                        predecessor.stop()
        self._report()

    def instances(self) -> Iterator[Instance]:
        """The instance that stands for each slot, by name: the successor, unless it is not ready and another one is."""
        for _, instances in sorted(self._slots.items()):
            if not instances:
                continue  # its last one ended just now: metrics are read by another thread
            newest = instances[-1]
            if newest.status[0] in (State.READY, State.UNAVAILABLE):
                yield newest
            else:
                yield next((one for one in instances if one.is_ready), newest)

    def tell_monitors(self) -> None:
        """Tell all processes where spans are to go from now on."""
        for instances in self._slots.values():
            for instance in instances:
                instance.tell_monitors()

    def serving_s(self, version: str) -> float | None:
        """How long a process of this version, given by its resource name, has taken requests; None: there is none."""
        ready = [
            instance.ready_s
            for instances in self._slots.values()
            for instance in instances
            if instance.version == version and instance.is_ready
        ]
        return max(ready, default=None)

    def leave(self) -> None:
        """Let go of every process, for a successor: those that take requests go on until it has others."""
        for retirement in self._retirements:
            retirement.cancel()
        for instances in self._slots.values():
            for instance in instances:
                instance.let_go()

    async def close(self) -> None:
        """Drain every process. Cancelled: end them at once."""
        for retirement in self._retirements:
            retirement.cancel()
        for instances in self._slots.values():
            for instance in instances:
                instance.stop()
        tasks = list(self._tasks)
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            await asyncio.gather(*tasks, return_exceptions=True)
            raise


async def repeat(action: Callable[[], Awaitable[object]], *, wake: asyncio.Event, every_s: float) -> None:
    """Do something at each wake-up and at least so often; errors that have a meaning are for the next time."""
    while True:
        wake.clear()
        try:
            await action()
        except PenstockError as error:
            is_ours = isinstance(error, FailedPreconditionError | ResourceExhaustedError)
            level = logging.WARNING if is_ours else logging.DEBUG
            _log.log(level, "next time: %s", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await wake.wait()
