"""Looks at sources, each in a short-lived process: one that hangs, crashes or grows harms nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping

from services.registry.source_check.messages import Answer, Outcome, Question

_log = logging.getLogger(__name__)

_MODULE = "services.registry.source_check"
_MOST_BYTES = 16 << 20
_TOLD_BYTES = 4096


class LookProcess:
    """Asks a process of its own. ``environ`` is all that it gets."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def look(self, question: Question, *, limit_s: float) -> Answer:
        """What comes of a look; a process that takes too long, or dies, is an answer, too. Cancelled, it is killed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environ,
            start_new_session=True,  # what it starts is killed with it
            limit=_MOST_BYTES,
        )
        try:
            async with asyncio.timeout(limit_s):
                output, errors = await process.communicate(question.to_json())
        except TimeoutError:
            return Answer(outcome=Outcome.FAILED, text=f"it took longer than {limit_s:g} s, and was given up")
        finally:
            await _end(process)
        return _read(output, errors, process.returncode)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()


def _read(output: bytes, errors: bytes, status: int | None) -> Answer:
    told = errors[-_TOLD_BYTES:].decode(errors="replace").strip()
    if told:
        _log.info("a look at a source said: %s", told)
    try:
        return Answer.from_json(output)
    except (ValueError, TypeError, KeyError):
        last = told.splitlines()[-1] if told else "it said nothing"
        how = f"was killed by signal {-status}" if status and status < 0 else f"ended with status {status}"
        return Answer(outcome=Outcome.FAILED, text=f"the process that looked {how}: {last}"[:1024])
