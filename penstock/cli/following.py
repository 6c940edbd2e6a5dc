"""What is looked at once, or again and again."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import TypeVar

from rich.console import RenderableType
from rich.live import Live

from penstock.cli.output import print_json, screen

Seen = TypeVar("Seen")


def following(
    look: Callable[[], Seen],
    view: Callable[[Seen], RenderableType],
    *,
    live_view: Callable[[Seen], RenderableType] | None = None,
    interval_s: float,
    is_json: bool,
    is_once: bool,
) -> None:
    """Print what ``look`` finds, once or every ``interval_s`` seconds until Ctrl-C.

    A terminal shows the latest look in the place of the one before, by ``live_view`` if there is one.
    """
    if is_once or is_json or not screen.is_terminal:
        while True:
            seen = look()
            if is_json:
                print_json(seen, indent=2 if is_once else None)
            else:
                screen.print(view(seen))
            if is_once:
                return
            sleep(interval_s)
    shown = live_view or view
    with Live(shown(look()), console=screen, auto_refresh=False) as live:
        while True:
            sleep(interval_s)
            live.update(shown(look()), refresh=True)
