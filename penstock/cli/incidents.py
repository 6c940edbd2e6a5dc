"""``penstock incidents``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, state
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.monitor.v1.monitor_service_pb2 import Incident


def register(app: typer.Typer) -> None:
    app.command("incidents", epilog="Example: penstock incidents --open --watch")(incidents)


@reporting
def incidents(
    model: Annotated[str, typer.Option("--model", help="Only this model's.")] = "",
    only_open: Annotated[bool, typer.Option("--open", help="Only those that go on.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show changes as they come, until Ctrl-C.")] = False,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show what the monitor noticed: error rates and latencies that left their course."""
    with Client(monitor=monitor) as client:
        if watch:
            for incident in client.watch_incidents(model=model):
                if json:
                    print_json(incident, indent=None)
                elif not only_open or incident.state == Incident.STATE_OPEN:
                    screen.print(_line(incident))
            return
        found = client.incidents(model=model, only_open=only_open)
    if json:
        print_json(found)
    elif not found:
        screen.print("No incidents.")
    else:
        rows = Rows("INCIDENT", "STATE", "SINCE", "MODEL", ">VERSION", "~WHAT")
        for one in found:
            since = one.change_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
            word = state(Incident.State.Name(one.state))
            rows.add_row(one.name.rpartition("/")[2], word, since, one.model, one.version, escape(one.summary))
        screen.print(rows)


def _line(incident: Incident) -> str:
    when = (incident.close_time if incident.HasField("close_time") else incident.open_time).ToDatetime()
    word = state(Incident.State.Name(incident.state))
    return f"[dim]{when:%H:%M:%S}[/] {word} {incident.model} {incident.version}: {escape(incident.summary)}"
