"""``penstock undeploy``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen
from penstock.client import Client


def register(app: typer.Typer) -> None:
    app.command("undeploy", epilog="Example: penstock undeploy digits")(undeploy)


@reporting
def undeploy(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    wait: Annotated[bool, typer.Option(help="Wait until the gateway no longer takes requests for it.")] = True,
    registry: options.Registry = None,
    gateway: options.Gateway = None,
    json: Json = False,
) -> None:
    """End a model's serving. Its processes finish what they have and exit; its versions stay in the registry."""
    with Client(registry=registry, gateway=gateway) as client:
        client.undeploy(name)
        end = time.monotonic() + 30
        while wait and client.is_ready(name) and time.monotonic() < end:
            time.sleep(0.05)
    if json:
        print_json({"model": name})
    else:
        screen.print(f"{name} is no longer served. Its versions are kept: penstock models {name}")
