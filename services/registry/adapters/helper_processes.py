"""Short-lived processes for what heavy libraries do: one that hangs, crashes or grows harms nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.registry.source_check.messages import Answer, Outcome, Question

_log = logging.getLogger(__name__)

_LOOK = (sys.executable, "-m", "services.registry.source_check")
_EXPORT = (sys.executable, "-m", "penstock", "export", "records")
_TOLD_BYTES = 4096
_WORDS = 1024


@dataclass(frozen=True, slots=True)
class _End:
    """What a process said and how it ended; ``status`` is None where it took too long."""

    output: bytes
    told: str
    status: int | None

    @property
    def why(self) -> str:
        """Why there is nothing of it."""
        last = self.told.splitlines()[-1] if self.told else "it said nothing"
        status = self.status or 0
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"the process {how}: {last}"[:_WORDS]


class LookProcess:
    """Looks at sources. ``environ`` is all that its processes get."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def look(self, question: Question, *, limit_s: float) -> Answer:
        """What comes of a look; a process that takes too long, or dies, is an answer, too. Cancelled, it is killed."""
        end = await _run(_LOOK, self._environ, question.to_json(), limit_s=limit_s)
        if end.status is None:
            return Answer(outcome=Outcome.FAILED, text=f"it took longer than {limit_s:g} s, and was given up")
        if end.told:
            _log.info("a look at a source said: %s", end.told)
        try:
            return Answer.from_json(end.output)
        except (ValueError, TypeError, KeyError):
            return Answer(outcome=Outcome.FAILED, text=end.why)


class ExportProcess:
    """Writes records, as ``penstock export records`` does, of what ``registry``, an address, knows."""

    def __init__(self, environ: Mapping[str, str], *, registry: str) -> None:
        self._environ = environ
        self._registry = registry

    async def export(self, target: str, *, limit_s: float) -> str:
        """Write to "mlflow:URI" or "tensorboard:PATH". Returns why that failed, or nothing."""
        kind, _, where = target.partition(":")
        command = [*_EXPORT, f"--{kind}", where, "--registry", self._registry]
        end = await _run(command, self._environ, b"", limit_s=limit_s)
        if end.status is None:
            return f"it took longer than {limit_s:g} s"
        return end.why if end.status else ""


async def _run(command: Sequence[str], environ: Mapping[str, str], question: bytes, *, limit_s: float) -> _End:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
        start_new_session=True,  # what it starts is killed with it
    )
    try:
        async with asyncio.timeout(limit_s):
            output, errors = await process.communicate(question)
    except TimeoutError:
        return _End(b"", "", None)
    finally:
        await _kill(process)
    return _End(output, errors[-_TOLD_BYTES:].decode(errors="replace").strip(), process.returncode)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process, and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()
