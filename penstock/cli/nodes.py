"""``penstock nodes``."""

from __future__ import annotations

import typer

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, size, state
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.resources_pb2 import Node, NodeCapacity


def register(app: typer.Typer) -> None:
    app.command("nodes", epilog="Example: penstock nodes --json")(nodes)


@reporting
def nodes(registry: options.Registry = None, json: Json = False) -> None:
    """Show the nodes that run models: what they have, what they have left, how many replicas are placed on them."""
    with Client(registry=registry) as client:
        found = client.nodes()
    if json:
        print_json(found)
        return
    if not found:
        screen.print("No node has reported yet. `penstock up` starts one with the suite")
        return
    rows = Rows("NODE", "STATE", ">REPLICAS", ">PROCESSORS", ">MEMORY", ">FREE", "~GPU", "ADDRESS")
    for one in found:
        most = f"/{one.capacity.max_instances}" if one.capacity.max_instances else ""
        rows.add_row(
            one.name.rpartition("/")[2],
            state(Node.State.Name(one.state)),
            f"{one.replicas}{most}",
            str(one.capacity.processors or "–"),
            _bytes(one.capacity.memory_bytes),
            _bytes(one.capacity.free_memory_bytes),
            _gpus(one.capacity) or "–",
            one.address or "–",
        )
    screen.print(rows)


def _gpus(capacity: NodeCapacity) -> str:
    """The GPUs with what they have left."""
    return ", ".join(
        f"{one.device} {size(one.free_memory_bytes)} of {size(one.memory_bytes)} free" for one in capacity.devices
    )


def _bytes(count: int) -> str:
    return size(count) if count else "–"
