"""``penstock status``."""

from __future__ import annotations

from typing import Any

import typer
from rich.markup import escape

from penstock import errors
from penstock.cli import options
from penstock.cli.output import Json, fail, print_json, reporting, screen, state
from penstock.cli.rollout_following import under_way
from penstock.cli.rollout_view import line
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.resources_pb2 import Deployment, InstanceStatus, Placement
from penstock.registry.v1.rollout_service_pb2 import Rollout


def register(app: typer.Typer) -> None:
    app.command("status", epilog="Example: penstock status --json")(status)


@reporting
def status(
    registry: options.Registry = None,
    gateway: options.Gateway = None,
    inference: options.Inference = None,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show the services' health, the deployed models and their processes, the rollouts under way.

    The exit status is 0 when every service is ready, else 1.
    """
    with Client(registry=registry, gateway=gateway, inference=inference, monitor=monitor) as client:
        services = [_service(client, part, found) for part, found in client.health().items()]
        try:
            deployments = client.deployments()
        except errors.PenstockError:
            deployments = []
        rollouts = under_way(client)
    is_ready = all(service["is_ready"] for service in services)
    if json:
        print_json({"is_ready": is_ready, "services": services, "deployments": deployments, "rollouts": rollouts})
    else:
        _show(services, deployments, rollouts)
    if not is_ready:
        raise typer.Exit(1)


def _service(client: Client, part: str, found: bool | errors.PenstockError) -> dict[str, Any]:
    return {
        "name": part,
        "address": getattr(client.endpoints, part),
        "is_ready": found is True,
        "error": str(found) if isinstance(found, errors.PenstockError) else "",
    }


def _show(services: list[dict[str, Any]], deployments: list[Deployment], rollouts: list[Rollout]) -> None:
    rows = Rows("SERVICE", "ADDRESS", "STATE")
    for service in services:
        word = "[green]ready[/]" if service["is_ready"] else "[yellow]not ready[/]"
        rows.add_row(service["name"], service["address"], "[red]no answer[/]" if service["error"] else word)
    screen.print(rows)
    if all(service["error"] for service in services):
        fail("no suite answers at these addresses. Start one with `penstock up`")
    else:
        for service in filter(lambda one: one["error"], services):
            fail(service["error"])
    if deployments:
        screen.print()
        screen.print(_instances(deployments))
    if rollouts:
        screen.print()
    for rollout in rollouts:
        screen.print(f"rollout {line(rollout)}")


def _instances(deployments: list[Deployment]) -> Any:
    rows = Rows("MODEL", "VERSION", "~PROCESS", "STATE", "DEVICE", ">PID", ">RESTARTS", "~REASON")
    for deployment in deployments:
        model = deployment.name.rpartition("/")[2]
        for name in deployment.versions:
            version = name.rpartition("/")[2]
            found = [one for one in deployment.instances if one.version == name]
            for one in found:
                word = state(InstanceStatus.State.Name(one.state))
                pid = str(one.pid or "–")
                rows.add_row(model, version, one.instance, word, one.device, pid, str(one.restarts), escape(one.reason))
            waiting = [one for one in deployment.placements if one.version == name and not one.node]
            if not found and not waiting:
                waiting = [Placement(reason="no agent has taken it up yet")]
            for place in waiting:
                word = "[blue]asleep[/]" if place.is_asleep else "[yellow]waiting[/]"
                rows.add_row(model, version, "–", word, "", "", "", escape(place.reason))
    return rows
