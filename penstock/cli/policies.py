"""``penstock require`` and ``penstock revoke``."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.keys import warn_of
from penstock.cli.output import Json, print_json, reporting, screen
from penstock.client import Client


def register(app: typer.Typer) -> None:
    app.command("require", epilog="Example: penstock require digits --signed-by release")(require)
    app.command("revoke", epilog='Example: penstock revoke digits 3 --reason "trained on test data"')(revoke)


@reporting
def require(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.")],
    signed_by: Annotated[str, typer.Option(metavar="SET", help="The key set; none: no signature is needed.")] = "",
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Say whose signature a model's versions need before they are loaded. What runs goes on until undeployed."""
    with Client(registry=registry) as client:
        model = client.trust.require(name, signed_by)
    if json:
        print_json(model)
    else:
        screen.print(f"{name} needs {f'a signature of keySets/{signed_by}' if signed_by else 'no signature'}")


@reporting
def revoke(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version's number.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for those who ask later.")],
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Revoke a version's content, for good: it isn't loaded any more, under whatever name. What runs goes on."""
    with Client(registry=registry) as client:
        deployed = client.trust.revoke_version(f"models/{name}/versions/{version}", reason=reason)
    if json:
        print_json({"deployed": deployed})
        return
    screen.print(f"{name} version {version} is revoked")
    warn_of(deployed)
