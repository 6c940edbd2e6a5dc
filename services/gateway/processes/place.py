"""One of the processes over all its lives, and its sockets, which stay open while one replaces another."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.common.listeners import bound
from services.gateway.keeper import Keeper
from services.gateway.processes.link import Link

_READY_WITHIN_S = 60.0

Answer = Callable[[str, list[Any]], Awaitable[Any]]


class StartError(Exception):
    """A process ended before it was ready."""


class Member:
    """A process that runs. ``ended`` gets its exit status, negative for a signal."""

    def __init__(self, process: asyncio.subprocess.Process, link: Link, is_ready: asyncio.Event) -> None:
        self.link = link
        self.is_ready = is_ready
        self.is_leaving = False
        self.ended = asyncio.create_task(self._attend(process))
        self._process = process

    async def _attend(self, process: asyncio.subprocess.Process) -> int:
        talking = asyncio.create_task(self.link.run())
        try:
            return await process.wait()
        finally:
            talking.cancel()

    def leave(self, number: signal.Signals) -> None:
        """Ask it to leave, once: a second signal would hurry it."""
        if not self.is_leaving:
            self.is_leaving = True
            self.signal(number)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def until_ready(self) -> None:
        """Wait until it is.

        Raises:
            StartError: it ended before, or took too long.
        """
        ready = asyncio.create_task(self.is_ready.wait())
        await asyncio.wait((ready, self.ended), timeout=_READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self.ended.done():
            raise StartError(describe(self.ended.result()))
        if not self.is_ready.is_set():
            raise StartError(f"not ready after {_READY_WITHIN_S:g} s")


class Place:
    """Where one process runs at a time, or for a moment two; ``current`` is the one to ask."""

    def __init__(
        self,
        index: int,
        *,
        host: str,
        ports: Mapping[str, int],
        environ: Mapping[str, str],
        on_question: Callable[[int, str, list[Any]], Awaitable[Any]],
        stop: asyncio.Event,
    ) -> None:
        """``ports`` are those of "grpc" and "http", which the processes of other places listen on too."""
        self.index = index
        self.starts = 0
        self.current: Member | None = None
        self.members: set[Member] = set()
        """All that run."""
        self._successor: Member | None = None
        self._is_replacing = False
        self._stop = stop
        self._host = host
        self._ports = ports
        self._environ = environ
        self._answer: Answer = functools.partial(on_question, index)
        self._listeners: dict[str, socket.socket] = {}

    async def live(self) -> int:
        """Run a process until it, or whichever took its place, ends; return the exit status."""
        member = self.current = await self._start()
        while True:
            await asyncio.wait((member.ended,))
            if self.current is member:
                self.current = None if self._successor is member else self._successor
            if self.current is None:
                break
            member = self.current
        # Nobody takes connections here now: the kernel is to send them to the others.
        while self._listeners and not self._is_replacing:
            self._listeners.popitem()[1].close()
        return member.ended.result()

    async def replace(self, *, kill_after_s: float) -> None:
        """Start a process beside the present one, which leaves when the new one is ready.

        Raises:
            StartError: that didn't come to be; the present one stays.
        """
        if self.current is None:
            return  # one is started soon in any case
        self._is_replacing = True
        try:
            self._successor = successor = await self._start()
            await self._until_ready(successor)
            old, self.current = self.current, successor
        finally:
            self._successor, self._is_replacing = None, False
        if old is not None and old is not successor:
            old.leave(signal.SIGHUP)
            await asyncio.wait((old.ended,), timeout=kill_after_s)
            old.signal(signal.SIGKILL)

    @staticmethod
    async def _until_ready(successor: Member) -> None:
        try:
            await successor.until_ready()
        except StartError:
            successor.signal(signal.SIGKILL)
            raise

    async def _start(self) -> Member:
        self.starts += 1
        if not self._listeners:
            self._listeners = {name: bound(self._host, port, reuse_port=True) for name, port in self._ports.items()}
        is_ready = asyncio.Event()

        async def answer(question: str, arguments: list[Any]) -> Any:
            if question == "ready":
                is_ready.set()
            return await self._answer(question, arguments)

        ours, theirs = socket.socketpair()
        with theirs:
            Keeper.send(self._listeners, ours)
            command = (sys.executable, "-m", "services.gateway.processes", str(self.index))
            process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), env=self._environ)
        member = Member(process, await Link.over(ours, answer), is_ready)
        self.members.add(member)
        member.ended.add_done_callback(lambda _: self.members.discard(member))
        if self._stop.is_set():
            member.leave(signal.SIGTERM)
        return member


def describe(status: int) -> str:
    """An exit status in words."""
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
