"""Tells another system of incidents, for as long as it takes and without anybody waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from services.common.errors import FailedPreconditionError, PenstockError, UnavailableError
from services.monitor.domain.incidents import Incident

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0

Watch = Callable[[], AsyncGenerator[Incident]]
"""The open incidents, then each one that changes; ends with UnavailableError when the monitor stops."""


class Receiver(Protocol):
    """A system that is told of incidents. What it is to be told is kept in bounded memory."""

    kind: str
    """``alertmanager`` or ``grafana``."""
    address: str
    """``host:port``."""
    every_s: float | None
    """How often to tell it again though nothing changed; None: never."""
    results: Counter[str]
    """How often it was told of an incident: sent, failed (to be tried again) or dropped."""

    def __len__(self) -> int:
        """How many changes it hasn't been told of."""

    def take(self, incident: Incident) -> None:
        """Note how an incident is now."""

    async def tell(self) -> None:
        """Tell all that is to be told.

        Raises:
            UnavailableError: try again later.
            FailedPreconditionError: something was refused for good, and is lost.
        """


class Outlet:
    """Keeps one receiver told. After a failure it is left alone for a time that doubles with each further one."""

    def __init__(self, receiver: Receiver, *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        self.receiver = receiver
        self.is_up = True
        """Whether the last attempt succeeded."""
        self._first_pause_s = first_pause_s
        self._is_changed = asyncio.Event()

    async def run(self, watch: Watch) -> None:
        """Follow the incidents until the watch ends, or for ever."""
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell())
            await self._listen(watch)
            telling.cancel()

    async def _listen(self, watch: Watch) -> None:
        try:
            async with aclosing(watch()) as incidents:
                async for incident in incidents:
                    self.receiver.take(incident)
                    self._is_changed.set()
        except UnavailableError:
            """The monitor stops."""

    async def _tell(self) -> None:
        pause_s = self._first_pause_s
        while True:
            await self._wait_for_change()
            try:
                await self.receiver.tell()
            except UnavailableError as error:
                self._note(error)
                self._is_changed.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except FailedPreconditionError as error:
                self._note(error)
                pause_s = self._first_pause_s
            else:
                self._note(None)
                pause_s = self._first_pause_s

    async def _wait_for_change(self) -> None:
        try:
            async with asyncio.timeout(self.receiver.every_s):
                await self._is_changed.wait()
        except TimeoutError:
            """It is time to tell it again."""
        self._is_changed.clear()

    def _note(self, error: PenstockError | None) -> None:
        """Log that it went away or came back, once, and each time that something is lost."""
        if isinstance(error, FailedPreconditionError):
            _log.error("the %s was not told of incidents: %s", self.receiver.kind, error)
        elif error is not None and self.is_up:
            _log.warning("the %s can't be told of incidents, trying again: %s", self.receiver.kind, error)
        elif error is None and not self.is_up:
            _log.info("the %s at %s is told of incidents again", self.receiver.kind, self.receiver.address)
        self.is_up = error is None
