"""The pipe between a model process and its agent: events go up as JSON lines, the end of our input means it died."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from services.inference.model_process.spec import ProcessSpec

_SET_DEATH_SIGNAL = 1
_LONGEST_SPEC = 16 * 2**20


def take_standard_output() -> BinaryIO:
    """The agent's end of standard output; whatever libraries print from now on goes to standard error."""
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return events


def end_with_agent(*, is_meant: bool = True) -> None:
    """Have the kernel kill this process when its agent dies, whatever it is doing then; or no longer.

    To be called by the main thread. prctl(2): PR_SET_PDEATHSIG.
    """
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL if is_meant else 0, 0, 0, 0)


class AgentPipe:
    """Our side of the pipe. Once the agent is gone, events go nowhere."""

    def __init__(self, events: BinaryIO) -> None:
        self._events = events
        self._reader = asyncio.StreamReader(limit=_LONGEST_SPEC)

    async def receive_spec(self) -> ProcessSpec:
        """Raises ValueError when the agent left before it said anything."""
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), sys.stdin.buffer
        )
        line = await self._reader.readline()
        if not line:
            raise ValueError("expected the process' specification as a line of JSON on standard input, got its end")
        try:
            return ProcessSpec.from_json(line)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"unfit specification on standard input: {error!r}") from error

    async def listen(self, on_news: Callable[[Mapping[str, Any]], object]) -> None:
        """Hear what the agent says, a JSON object at a time; returns when it is gone."""
        while line := await self._reader.readline():
            with contextlib.suppress(ValueError):  # the last line of an agent that died may be half a line
                on_news(json.loads(line))

    def tell(self, **event: Any) -> None:
        """Send one event, for example ``state="ready"``. Short enough for a pipe to take it whole."""
        with contextlib.suppress(OSError):
            self._events.write(json.dumps(event).encode() + b"\n")
