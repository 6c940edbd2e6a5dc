"""Processes that the agent starts: one JSON line in, JSON lines out, the last words of those that die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import IO, Any

from services.inference.environment import model_environment

_log = logging.getLogger(__name__)

Event = Mapping[str, Any]

_LONGEST_LINE = 1 << 20
_SIGNALS = {one.value: one.name for one in signal.Signals}


class Child:
    """A Python module running in a process of its own, in a session of its own: a Ctrl-C is the agent's to pass on.

    Its standard input stays open as long as we live; ``on_event`` gets each JSON line of its standard output. Made by
    :meth:`start`; whoever started it awaits :meth:`wait`.
    """

    def __init__(self, process: subprocess.Popen[bytes], on_event: Callable[[Event], None]) -> None:
        self._process = process
        self._on_event = on_event
        self._failure = ""
        self._last_line = ""

    @classmethod
    async def start(cls, module: str, spec: str, on_event: Callable[[Event], None]) -> Child:
        """Start ``python -m module`` and send it ``spec`` as a line."""
        # Not the event loop's own way: uvloop forks, and gRPC's threads may hang a fork for ever. This one is a vfork.
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own modules; takes about a millisecond
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=model_environment(),
            start_new_session=True,
            bufsize=0,
        )
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once: wait() tells
                await asyncio.to_thread(_pipe(process.stdin).write, spec.encode() + b"\n")
        except asyncio.CancelledError:
            with process:  # closes its pipes and waits
                process.kill()
            raise
        return cls(process, on_event)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> str:
        """Hear its events until its end; returns why it ended, empty when in order. Call once, don't cancel."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump_events())
            group.create_task(self._pump_errors())
            await self._ended()
        _pipe(self._process.stdin).close()
        code = self._process.returncode
        if self._failure:
            return self._failure
        if code < 0:
            how = f"died of {_SIGNALS.get(-code, f'signal {-code}')}"
        elif code:
            how = f"ended with status {code}"
        else:
            return ""
        return f"{how}: {self._last_line}" if self._last_line else how

    async def _ended(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._process.wait()

    def tell(self, **news: Any) -> None:
        """Send it one line of JSON, of less than 4 KiB. One that has left, or reads nothing, doesn't get it."""
        pipe = _pipe(self._process.stdin)
        with contextlib.suppress(OSError, ValueError):  # ValueError: the pipe was closed after its end
            os.set_blocking(pipe.fileno(), False)
            pipe.write(json.dumps(news).encode() + b"\n")

    def terminate(self) -> None:
        """Ask it to finish what it has."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()

    async def _pump_events(self) -> None:
        async for line in _lines(self._process.stdout):
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if not isinstance(event, dict):
                _log.warning("process %d said %r, expected a JSON object", self.pid, line[:100])
                continue
            self._failure = event.get("failure", self._failure)
            self._on_event(event)

    async def _pump_errors(self) -> None:
        """Pass its standard error on to ours, and remember the last line."""
        async for line in _lines(self._process.stderr):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            self._last_line = _text_of(line) or self._last_line


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("expected a pipe")
    return stream


async def _lines(stream: IO[bytes] | None) -> AsyncIterator[bytes]:
    """The lines of a pipe until its end; one that is longer than any should be is left out."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), _pipe(stream)
    )
    try:
        while True:
            with contextlib.suppress(ValueError):
                if not (line := await reader.readline()):
                    return
                yield line
    finally:
        transport.close()


def _text_of(line: bytes) -> str:
    """What a line of standard error says: the message of a log record, or the line itself."""
    text = line.decode(errors="replace").strip()
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            return str(json.loads(text).get("message", text))[:500]
    return text[:500]
