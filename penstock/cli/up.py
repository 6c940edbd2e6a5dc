"""``penstock up``."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.output import Json, fail, reporting

if TYPE_CHECKING:
    from penstock.launcher.reporter import Reporter


def register(app: typer.Typer) -> None:
    app.command(
        "up",
        epilog="Examples: penstock up · PENSTOCK_HOME=/srv/penstock penstock up · penstock up -- python main_job.py",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )(up)


@reporting
def up(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="A program to run once the suite is ready; the suite stays up."),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder for database, models, logs. Default: PENSTOCK_HOME, else ~/.penstock.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Start a whole suite on this machine: Redis, registry, monitor, inference, gateway.

    Starts them as processes of their own, waits until they are ready, and shows where they listen. A process that dies
    is started again. Ctrl-C lets them finish what they have and stops them, the gateway first; a second Ctrl-C stops
    them at once. Logs are in the home folder, under logs/; warnings are shown here.

    Ports and everything else are set by environment variables: see docs/configuration.md. With PENSTOCK_REDIS_URL set,
    that Redis is used and none is started.
    """
    try:
        from penstock.launcher.parts import StartError
        from penstock.launcher.reports import JsonReporter, TerminalReporter
    except ModuleNotFoundError as error:
        fail(f"this installation can't start a suite ({error.name} is missing): pip install 'penstock[embedded]'")
        raise typer.Exit(1) from None
    if home is not None:
        os.environ["PENSTOCK_HOME"] = str(home)
    main_job = _program(command or [])
    try:
        status = _run(main_job, JsonReporter() if json else TerminalReporter())
    except StartError as error:
        fail(str(error))
        raise typer.Exit(1) from None
    raise typer.Exit(status)


def _run(main_job: list[str], reporter: Reporter) -> int:
    from penstock.launcher import plan
    from penstock.launcher.supervisor import Supervisor

    made = plan.make(os.environ)
    with plan.lock_home(made.home):
        plan.check_ports(made.environ, host=made.environ.get("PENSTOCK_BIND") or "127.0.0.1")

        async def supervise() -> int:
            return await Supervisor(made, reporter, main_job=main_job).run()

        return asyncio.run(supervise())


def _program(command: list[str]) -> list[str]:
    """The command with the full path of its program.

    Raises:
        ValueError: there is no such program.
    """
    if not command:
        return []
    found = shutil.which(command[0])
    if found is None:
        raise ValueError(f"there is no program {command[0]!r} to run")
    return [str(Path(found).absolute()), *command[1:]]
