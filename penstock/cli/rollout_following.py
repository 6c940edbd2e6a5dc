"""How a rollout is followed: live on a terminal, a line for each event elsewhere."""

from __future__ import annotations

from contextlib import nullcontext
from time import time

import typer
from rich.console import RenderableType
from rich.live import Live

from penstock.cli.output import print_json, screen
from penstock.cli.rollout_view import event_line, line, view
from penstock.client import Client
from penstock.errors import PenstockError
from penstock.registry.v1.rollout_service_pb2 import Rollout

_STATUSES = {
    Rollout.STATE_PROMOTED: 0,
    Rollout.STATE_ROLLED_BACK: 3,
    Rollout.STATE_HELD: 4,
    Rollout.STATE_FAILED: 5,
}
"""Exit statuses; 1 and 2 are those of commands that don't work, or are asked wrongly."""


def under_way(client: Client, model: str = "-") -> list[Rollout]:
    """A model's rollouts that are under way; none where the registry can't be asked: others say that it is away."""
    try:
        return list(client.rollouts.list(model, only_active=True))
    except PenstockError:
        return []


def look(rollout: Rollout) -> RenderableType:
    """A rollout as it is now."""
    return view(rollout, now=time())


def exit_with_state(rollout: Rollout) -> None:
    """End the command with the exit status that tells how a rollout ended, or that it is held."""
    if status := _STATUSES.get(rollout.state, 1):
        raise typer.Exit(status)


def follow(client: Client, rollout: Rollout, *, is_quiet: bool, is_json: bool = False) -> Rollout:
    """Show every change until a rollout is over, or held. Returns it as it is then.

    ``is_json``: as one line of JSON for each change.
    """
    live = None
    if screen.is_terminal and not (is_quiet or is_json):
        live = Live(look(rollout), console=screen, auto_refresh=False)
    found, told = rollout, 0
    with live or nullcontext():
        for seen in client.rollouts.watch(rollout.name):
            found = seen
            if is_json:
                print_json(found, indent=None)
            elif live is not None:
                live.update(look(found), refresh=True)
            elif not is_quiet:
                told = _tell(found, since=told)
            if found.state == Rollout.STATE_HELD:
                break
    if live is None and not (is_quiet or is_json):
        screen.print(look(found))
    return found


def _tell(rollout: Rollout, *, since: int) -> int:
    """Print a rollout's events after ``since``, nanoseconds since 1970; return the time of the last one."""
    if not since:
        screen.print(line(rollout))
    for event in rollout.events:
        if event.event_time.ToNanoseconds() > since:
            screen.print(event_line(event))
    return max([since, 1, *(event.event_time.ToNanoseconds() for event in rollout.events)])
