"""What a command does, step by step, as it goes on."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from penstock.cli.output import stderr
from penstock.registry.v1.resources_pb2 import Deployment, InstanceStatus, ModelVersion


class Steps:
    """The steps of a deployment, as they pass, on standard error."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=stderr,
            disable=is_quiet or not stderr.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._finish()
        self._progress.stop()

    def begin(self, what: str, *, total: float | None = None) -> None:
        self._finish()
        self._task = self._progress.add_task(what, total=total, detail="")

    def _finish(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, total=1, completed=1, detail="")

    def _update(self, **changes: Any) -> None:
        if self._task is not None:
            self._progress.update(self._task, **changes)

    def uploaded(self, sent: int, size: int) -> None:
        self._update(completed=sent, total=size, detail=f"{sent / 1e6:.1f} of {size / 1e6:.1f} MB")

    def validating(self, version: ModelVersion) -> None:
        self._update(detail=ModelVersion.State.Name(version.state).removeprefix("STATE_").lower())

    def loading(self, deployment: Deployment) -> None:
        states = [InstanceStatus.State.Name(one.state).removeprefix("STATE_").lower() for one in deployment.instances]
        ready = states.count("ready")
        waiting = next((one.reason for one in deployment.placements if one.reason), "waiting for an agent")
        self._update(total=max(len(states), 1), completed=ready, detail=", ".join(states) or waiting)
