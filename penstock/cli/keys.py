"""``penstock keys``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, time
from penstock.cli.tables import Rows
from penstock.client import Client

KeySet = Annotated[str, typer.Argument(metavar="SET", help="The key set.")]
Name = Annotated[str, typer.Argument(metavar="KEY", help="The key's name in the set.")]

app = typer.Typer(name="keys", help="Public keys of those who sign models, in sets.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@app.command("add", epilog="Example: penstock keys add release anna anna.pub")
@reporting
def add(
    key_set: KeySet,
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="PEM", exists=True, dir_okay=False, help="The public key.")],
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Add a public key to a set. Whoever has the private one can vouch for models from now on."""
    with Client(registry=registry) as client:
        key = client.trust.add_key(key_set, name, file.read_text())
    if json:
        print_json(key)
    else:
        screen.print(f"{key.name} is added, fingerprint {key.fingerprint}")


@app.command("list", epilog="Example: penstock keys list release")
@reporting
def show(
    key_set: Annotated[str, typer.Argument(metavar="SET", help="Only this set.", show_default=False)] = "-",
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """List keys, revoked ones too."""
    with Client(registry=registry) as client:
        keys = client.trust.signing_keys(key_set)
    if json:
        print_json(keys)
        return
    rows = Rows("SET", "KEY", "FINGERPRINT", "~ADDED", "~REVOKED")
    for one in keys:
        _, group, _, name = one.name.split("/")
        added = f"{time(one.create_time)} by {escape(one.creator)}"
        revoked = f"[red]{time(one.revoke_time)} by {escape(one.revoker)}: {escape(one.revoke_reason)}[/]"
        rows.add_row(group, name, one.fingerprint[:16], added, revoked if one.HasField("revoke_time") else "–")
    screen.print(rows)


@app.command("revoke", epilog='Example: penstock keys revoke release anna --reason "her laptop is lost"')
@reporting
def revoke(
    key_set: KeySet,
    name: Name,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for those who ask later.")],
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Revoke a key, for good: what it alone vouches for isn't loaded any more. What runs goes on until undeployed."""
    with Client(registry=registry) as client:
        deployed = client.trust.revoke_key(key_set, name, reason=reason)
    if json:
        print_json({"deployed": deployed})
        return
    screen.print(f"keySets/{key_set}/keys/{name} is revoked")
    warn_of(deployed)


def warn_of(deployed: list[str]) -> None:
    """Say which versions run that would not be loaded again."""
    for version in deployed:
        screen.print(f"[yellow]{version} is deployed: it runs on, but no process of it will start again[/]")
