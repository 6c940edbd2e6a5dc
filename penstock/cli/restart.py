"""``penstock restart`` and ``penstock stop``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from penstock.cli.output import Json, fail, print_json, reporting, screen

Home = Annotated[
    Path | None,
    typer.Option(help="The suite's home folder. Default: PENSTOCK_HOME, else ~/.penstock.", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command("restart", epilog="Examples: penstock restart --rolling · penstock restart registry monitor")(restart)
    app.command("stop", epilog="Example: penstock stop")(stop)


@reporting
def restart(
    parts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PART...]", help="redis, registry, monitor, inference or gateway. Default: all."),
    ] = None,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Lose nothing, refuse nobody: successors are ready before others leave.")
    ] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Restart parts of the suite that `penstock up` runs on this machine, one after the other.

    Each must be ready before the next one's turn; if one doesn't come back, those after it are left alone. With
    --rolling the gateway's and the models' new processes start beside the old ones and take over from them. Redis comes
    last.

    The exit status is 0 when all were restarted, else 1.
    """
    last: dict[str, Any] = {}
    for last in _ask(home, command="restart", parts=parts or [], is_rolling=rolling):
        if json:
            print_json(last, indent=None)
        else:
            _show(last)
    if last.get("event") != "done":
        fail(last["why"] if last.get("event") == "failed" else "the suite was stopped before it was done")
        raise typer.Exit(1)


@reporting
def stop(home: Home = None, json: Json = False) -> None:
    """Stop the suite that `penstock up` runs on this machine: requests under way are finished first."""
    for event in _ask(home, command="stop"):
        if json:
            print_json(event, indent=None)
    if json:
        print_json({"event": "all_stopped"}, indent=None)
    else:
        screen.print("Everything has stopped.")


def _ask(home: Path | None, **request: object) -> Iterator[dict[str, Any]]:
    try:
        from penstock.launcher.control import ask
        from penstock.launcher.plan import control_socket
        from services.common.settings import load_suite
    except ModuleNotFoundError as error:
        raise ValueError(f"this installation can't run a suite ({error.name} is missing)") from None
    folder = (home or load_suite().home).absolute()
    try:
        yield from ask(control_socket(folder), **request)
    except (FileNotFoundError, ConnectionError):
        raise ValueError(
            f"no suite runs in {folder}: start one with `penstock up`, or name its folder: --home"
        ) from None


def _show(event: dict[str, Any]) -> None:
    part, after_s = event.get("part", ""), event.get("after_s", 0.0)
    match event["event"]:
        case "restarting":
            screen.print(f"[yellow]↻[/] {escape(part)}")
        case "restarted":
            screen.print(f"[green]✓[/] {escape(part)} restarted in {after_s:.1f} s")
        case "done":
            screen.print("Everything that was named has been restarted.")
