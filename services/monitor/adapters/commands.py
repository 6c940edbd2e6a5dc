"""Retraining by a command on this machine: a process of its own, which outlives the monitor."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.common.errors import FailedPreconditionError, UnavailableError
from services.monitor import command_process
from services.monitor.adapters.runner import Progress
from services.monitor.domain.blocks import NS
from services.monitor.domain.recipes import Command, Recipe
from services.monitor.domain.retraining import Retraining
from services.monitor.environment import command_environment

REQUEST, RESULT = "request.json", "result.json"
MAX_RESULT_BYTES = 65_536

_MODULE = "services.monitor.command_process"
_START_S = 30.0
_KEPT_FOLDERS = 50


class Commands:
    """Runs commands in folders of their own below ``home``; a folder is the handle."""

    def __init__(self, home: Path) -> None:
        self._home = home

    async def start(self, retraining: Retraining, recipe: Recipe) -> str:
        """Start the recipe's command. It is told what is asked for by ``request.json`` and its environment."""
        folder = self._home / retraining.retraining_id
        if not isinstance(recipe.runner, Command):
            raise FailedPreconditionError(f"got {recipe.runner}, expected a command")
        environment = (
            command_environment(recipe.runner.passed_on)
            | dict(recipe.runner.environment)
            | _variables(folder, json.loads(retraining.request))
        )
        await asyncio.to_thread(self._tidy)
        await self.run(
            folder,
            recipe.runner.arguments,
            environment=environment,
            working_folder=Path(recipe.folder) if recipe.folder else folder,
            deadline_ns=retraining.deadline_ns,
            request=retraining.request,
        )
        return str(folder)

    async def run(
        self,
        folder: Path,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        working_folder: Path,
        deadline_ns: int,
        request: str = "",
    ) -> None:
        """Run a command with a folder as its handle, unless that was done before.

        Raises:
            UnavailableError: there is no room for a process, or for its files.
        """
        spec = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(working_folder),
            "deadline": deadline_ns / NS,
        }
        try:
            await asyncio.to_thread(_spawn, folder, spec, request)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"the command can't be started now: {error}") from error

    async def look(self, retraining: Retraining) -> Progress:
        return await self.look_at(Path(retraining.handle))

    async def look_at(self, folder: Path) -> Progress:
        """How far the command of a folder is."""
        return await asyncio.to_thread(_look, folder)

    async def stop(self, retraining: Retraining) -> None:
        await asyncio.to_thread(self.stop_in, Path(retraining.handle))

    @staticmethod
    def stop_in(folder: Path) -> None:
        """Have the command of a folder ended."""
        if folder.is_dir():
            (folder / command_process.STOP).touch()

    def _tidy(self) -> None:
        """Remove the oldest folders in which nothing runs."""
        folders = sorted(path for path in self._home.glob("*") if path.is_dir()) if self._home.is_dir() else []
        for path in folders[:-_KEPT_FOLDERS]:
            if not any(_is_running(one) for one in (path, path / "import") if one.is_dir()):
                shutil.rmtree(path, ignore_errors=True)


def _variables(folder: Path, request: Mapping[str, object]) -> dict[str, str]:
    told = {
        "REQUEST": folder / REQUEST,
        "RESULT": folder / RESULT,
        "NAME": request["retraining"],
        **{
            name.upper(): request[name]
            for name in ("model", "reason", "signal", "window_begin_time", "change_time", "window_end_time")
        },
    }
    return {f"RETRAINING_{name}": str(value).replace("\0", "") for name, value in told.items()}


def _spawn(folder: Path, spec: Mapping[str, object], request: str) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / command_process.EXIT).exists() or _is_running(folder):
        return
    if request:
        (folder / REQUEST).write_text(request)
    (folder / command_process.SPEC).write_text(json.dumps(spec))
    (folder / command_process.SPEC).chmod(0o600)
    subprocess.run(  # noqa: S603 - the policies' author decides what is run
        [sys.executable, "-m", _MODULE, str(folder)],
        env=command_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
        timeout=_START_S,
    )


def _look(folder: Path) -> Progress:
    is_running = _is_running(folder)  # first: it may end in between
    output = _text(folder / command_process.OUTPUT, command_process.MAX_OUTPUT_BYTES)
    ended = _text(folder / command_process.EXIT, MAX_RESULT_BYTES)
    if ended:
        told = json.loads(ended)
        why = told["why"] or (f"it ended with status {told['status']}" if told["status"] else "")
        return Progress(True, why, "" if why else _text(folder / RESULT, MAX_RESULT_BYTES), output)
    if not is_running:
        return Progress(True, "its process vanished without a word", "", output)
    return Progress(False, output_tail=output, heartbeat_ns=_changed_ns(folder / command_process.OUTPUT))


def _is_running(folder: Path) -> bool:
    """Whether a process holds the folder's lock."""
    try:
        lock = os.open(folder / command_process.LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _text(path: Path, most_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(most_bytes).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
