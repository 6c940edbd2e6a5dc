"""Processes that the agent starts: one JSON line in, JSON lines out, the last words of those that die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

_log = logging.getLogger(__name__)

Event = Mapping[str, Any]

_LONGEST_LINE = 1 << 20


class Child:
    """A Python module running in a process of its own, in a session of its own: a Ctrl-C is the agent's to pass on.

    Its standard input stays open as long as we live; ``on_event`` gets each JSON line of its standard output.
    """

    def __init__(self, process: asyncio.subprocess.Process, on_event: Callable[[Event], None]) -> None:
        self._process = process
        self._stdin = cast("asyncio.StreamWriter", process.stdin)
        self._stdout = cast("asyncio.StreamReader", process.stdout)
        self._stderr = cast("asyncio.StreamReader", process.stderr)
        self._on_event = on_event
        self._failure = ""
        self._last_line = ""
        self._pumps = [
            asyncio.create_task(self._pump_events(), name=f"events of {process.pid}"),
            asyncio.create_task(self._pump_errors(), name=f"stderr of {process.pid}"),
        ]

    @classmethod
    async def start(cls, module: str, spec: str, on_event: Callable[[Event], None]) -> Child:
        """Start ``python -m module`` and send it ``spec`` as a line."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        child = cls(process, on_event)
        with contextlib.suppress(OSError):  # it died at once: wait() tells
            child._stdin.write(spec.encode() + b"\n")
            await child._stdin.drain()
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> str:
        """Wait for its end; returns why it ended, empty when in order."""
        code = await self._process.wait()
        await asyncio.gather(*self._pumps)
        self._stdin.close()
        if self._failure:
            return self._failure
        if code < 0:
            how = f"died of {signal.Signals(-code).name}"
        elif code:
            how = f"ended with status {code}"
        else:
            return ""
        return f"{how}: {self._last_line}" if self._last_line else how

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, and end it after a grace. Cancelled: end it at once."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            _log.warning("process %d did not end within %.0f s: killing it", self.pid, grace_s)
            self.kill()
        except asyncio.CancelledError:
            self.kill()
            raise

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _pump_events(self) -> None:
        async for line in self._stdout:
            try:
                event = json.loads(line)
            except ValueError:
                _log.warning("process %d said %r, expected JSON", self.pid, line[:100])
                continue
            self._failure = event.get("failure", self._failure)
            self._on_event(event)

    async def _pump_errors(self) -> None:
        """Pass its standard error on to ours, and remember the last line."""
        while True:
            try:
                line = await self._stderr.readline()
            except ValueError:  # longer than any line should be
                continue
            if not line:
                return
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            self._last_line = _text_of(line) or self._last_line


def _text_of(line: bytes) -> str:
    """What a line of standard error says: the message of a log record, or the line itself."""
    text = line.decode(errors="replace").strip()
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            return str(json.loads(text).get("message", text))[:500]
    return text[:500]
