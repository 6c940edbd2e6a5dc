"""``penstock versions``."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, size, state
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.resources_pb2 import ModelVersion


def register(app: typer.Typer) -> None:
    app.command("versions", epilog="Example: penstock versions digits --json")(versions)


@reporting
def versions(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show a model's versions, newest first: state, format, size, aliases, digest."""
    with Client(registry=registry) as client:
        found = client.versions(name)
        aliases = client.aliases(name)
        served = {version for deployment in client.deployments() for version in deployment.versions}
    named = {
        one.name: [alias.name.rpartition("/")[2] for alias in aliases if alias.version == one.name] for one in found
    }
    if json:
        print_json([{"version": one, "aliases": named[one.name], "is_deployed": one.name in served} for one in found])
        return
    rows = Rows(">VERSION", "STATE", "FORMAT", ">SIZE", "ALIASES", "SERVES", "CREATED", "DIGEST")
    for one in found:
        rows.add_row(
            one.name.rpartition("/")[2],
            state(ModelVersion.State.Name(one.state)),
            one.format or "–",
            size(sum(file.size_bytes for file in one.files)),
            ", ".join(named[one.name]),
            "yes" if one.name in served else "",
            one.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
            f"[dim]{one.digest[:16]}…[/]",
        )
    screen.print(rows if found else f"{name} has no version")
