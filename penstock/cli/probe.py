"""``penstock probe``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.monitor.v1.monitor_service_pb2 import ReplicaProbe

_WORDS = {
    ReplicaProbe.OUTCOME_PASS: "[green]pass[/]",
    ReplicaProbe.OUTCOME_FAIL: "[bold red]fail[/]",
    ReplicaProbe.OUTCOME_ERROR: "[bold red]error[/]",
    ReplicaProbe.OUTCOME_SKIP: "[dim]not probed[/]",
}
_SHOWN_DIGITS = 12
_SOME_FAIL = 3
"""Exit status; 1 and 2 are those of commands that don't work, or are asked wrongly."""


def register(app: typer.Typer) -> None:
    app.command("probe", epilog="Example: penstock probe digits")(probe)


@reporting
def probe(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only this model's replicas.")] = "",
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show whether replicas answer what they should: the last golden probe of each.

    Now and then every replica puts a made-up request to its model, if it can while nobody waits for it. Its answer is
    compared with its first one and with its siblings'. Times are UTC. Exit status 3: some fail.
    """
    with Client(monitor=monitor) as client:
        found = client.probes(model=model)
    if json:
        print_json(found)
    elif not found:
        screen.print("No replica has told of a probe.")
    else:
        screen.print(table(found))
    if any(one.outcome in (ReplicaProbe.OUTCOME_FAIL, ReplicaProbe.OUTCOME_ERROR) for one in found):
        raise typer.Exit(_SOME_FAIL)


def table(probes: list[ReplicaProbe]) -> Rows:
    """Probes, a line for each replica."""
    rows = Rows("MODEL", ">VERSION", "REPLICA", "DEVICE", "PROBE", ">WORST", "WEIGHTS", "AT (UTC)", "~")
    for one in probes:
        rows.add_row(
            escape(one.model),
            escape(one.version),
            escape(one.replica.partition("@")[0]),
            escape(one.device),
            _WORDS.get(one.outcome, "?"),
            f"{one.worst_error:.1e}" if one.worst_error else "0",
            one.weights_sha256[:_SHOWN_DIGITS] or "–",
            one.probe_time.ToDatetime().strftime("%H:%M:%S"),
            escape(one.detail),
        )
    return rows
