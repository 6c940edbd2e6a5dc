"""Starting child processes, and hearing of their end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from penstock.launcher import execution

_PR_SET_CHILD_SUBREAPER = 36
# A SIGHUP that the launcher ignores, as nohup wishes, has a meaning for services.
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP)
_FIRST_PASSED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """A process in a group of its own; ``exited`` gets its exit status, negative for a signal."""

    pid: int
    exited: asyncio.Future[int]

    def signal(self, number: signal.Signals) -> None:
        if not self.exited.done():
            os.kill(self.pid, number)

    def count_processes(self) -> int:
        """How many processes work below it; 1, itself, where there are none."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return max(1, len(psutil.Process(self.pid).children()))
        return 0

    async def end(self, *, within_s: float, hurry: asyncio.Event) -> bool:
        """Wait for one that was asked to leave; kill it when it's late, or when there is a hurry. True when it left."""
        hurrying = asyncio.ensure_future(hurry.wait())
        awaited: list[asyncio.Future[Any]] = [self.exited, hurrying]
        await asyncio.wait(awaited, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if self.exited.done():
            return True
        self.kill_group()
        await asyncio.wait((self.exited,))
        return False

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Nursery:
    """Owns the launcher's children. Use from the main thread only, on a running event loop.

    Adopts processes whose parent died (on Linux), so that none can get away.
    """

    def __init__(self) -> None:
        self._running: dict[int, Child] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def start(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        output: int | None = None,
        passed: Mapping[str, int] | None = None,
        has_session: bool = False,
    ) -> Child:
        """Start a process that doesn't outlive this one. ``output`` takes its standard output and error.

        It leads a process group, and with ``has_session`` a session.

        It gets the descriptors ``passed`` (made by :func:`listeners.high`) by name, as sd_listen_fds(3) describes.
        """
        wrapped = [sys.executable, "-I", "-S", execution.__file__, str(os.getpid()), *command]
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        ]
        if output is not None:
            actions += [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
        environ = {name: value for name, value in environ.items() if not name.startswith("LISTEN_")}
        if passed:
            actions += [(os.POSIX_SPAWN_DUP2, one, at) for at, one in enumerate(passed.values(), _FIRST_PASSED)]
            environ |= {"LISTEN_FDS": str(len(passed)), "LISTEN_FDNAMES": ":".join(passed)}
        group: dict[str, Any] = {"setsid": True} if has_session else {"setpgroup": 0}
        pid = os.posix_spawn(sys.executable, wrapped, environ, file_actions=actions, setsigdef=_RESET_SIGNALS, **group)
        child = self._running[pid] = Child(pid, self._loop.create_future())
        return child

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                pid, status = ended
                if (child := self._running.pop(pid, None)) is not None:
                    child.exited.set_result(os.waitstatus_to_exitcode(status))

    async def end_strays(self, *, within_s: float) -> None:
        """End every process that descends from this one: kindly, then, after ``within_s``, by force."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            end = self._loop.time() + (within_s if number is signal.SIGTERM else 1.0)
            strays = _descendants()
            for stray in strays:
                with contextlib.suppress(psutil.NoSuchProcess):
                    stray.send_signal(number)
            while _descendants() and self._loop.time() < end:  # noqa: ASYNC110 - nothing tells of others' children
                await asyncio.sleep(0.02)

    def close(self) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)
        self._reap()


def _descendants() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def describe_status(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


class LinePump(asyncio.Protocol):
    """Cuts what a child writes into lines and hands each to ``on_line``; very long ones are cut."""

    LIMIT = 1 << 16

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > self.LIMIT:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._take(self._rest)

    def _take(self, line: bytes) -> None:
        if text := line.decode("utf-8", "replace").rstrip():
            self._on_line(text)


async def pump_lines(on_line: Callable[[str], None]) -> int:
    """The writing end of a pipe whose lines go to ``on_line`` until all that have it are gone. The caller closes it."""
    reading, writing = os.pipe()
    file = os.fdopen(reading, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: LinePump(on_line), file)
    return writing
